"""JSON Schema, draft 2020-12, as far as a request needs it: is it one, and does a value fit it.

A small part on purpose: the keywords that people write for tools. Unknown keywords are annotations,
as the draft says. `tests/fake_api/test_json_schema.py` compares it with the package `jsonschema`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (
        (isinstance(v, int) and not isinstance(v, bool))
        or (isinstance(v, float) and v.is_integer())
    ),
}
SCHEMAS: Final = (
    "items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
)  # fmt: skip
"""Keywords whose value is a schema."""
NAMED_SCHEMAS: Final = (
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
)
LISTED_SCHEMAS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
SIZES: Final = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "minContains", "maxContains",
)  # fmt: skip
NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
TEXTS: Final = (
    "$ref", "$id", "$schema", "$anchor", "$comment", "title", "description", "format", "pattern",
    "contentEncoding", "contentMediaType",
)  # fmt: skip
FLAGS: Final = ("uniqueItems", "deprecated", "readOnly", "writeOnly")


def faults(schema: Any, path: str = "") -> Iterator[str]:
    """What makes a value no JSON Schema of draft 2020-12, each fault with its place."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield f"{path or 'schema'} is {schema!r}, not a schema"
        return
    for key, value in schema.items():
        here = f"{path}.{key}".lstrip(".")
        if key in SCHEMAS:
            yield from faults(value, here)
        elif key in NAMED_SCHEMAS or key in LISTED_SCHEMAS:
            yield from _inner_faults(key, value, here)
        elif not _is_well_formed(key, value):
            yield f"{here} is {str(value)[:60]!r}"


def _inner_faults(key: str, value: Any, here: str) -> Iterator[str]:
    if key in NAMED_SCHEMAS and isinstance(value, dict):
        for name, part in value.items():
            if key == "patternProperties" and not _compiles(name):
                yield f"{here} has the pattern {name!r}"
            yield from faults(part, f"{here}.{name}")
    elif key in LISTED_SCHEMAS and isinstance(value, list) and value:
        for n, part in enumerate(value):
            yield from faults(part, f"{here}.{n}")
    else:
        yield f"{here} is {str(value)[:60]!r}"


def _is_well_formed(key: str, value: Any) -> bool:
    """Whether a keyword that holds no schema has a value of its kind."""
    if key == "type":
        names = value if isinstance(value, list) else [value]
        return bool(names) and _are_names(names) and all(name in TYPES for name in names)
    if key == "required":
        return _are_names(value)
    if key == "dependentRequired":
        return isinstance(value, dict) and all(map(_are_names, value.values()))
    if key in ("enum", "examples"):
        return isinstance(value, list)
    if key in SIZES:
        return TYPES["integer"](value) and value >= 0
    if key in NUMBERS:
        return TYPES["number"](value) and (key != "multipleOf" or value > 0)
    if key in FLAGS:
        return isinstance(value, bool)
    return key not in TEXTS or (isinstance(value, str) and (key != "pattern" or _compiles(value)))


def _are_names(value: Any) -> bool:
    """Whether it is a list of strings, none of them twice."""
    return (
        isinstance(value, list)
        and all(isinstance(each, str) for each in value)
        and len(set(value)) == len(value)
    )


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def misfit(value: Any, schema: Any, root: Mapping[str, Any], depth: int = 0) -> str | None:
    """Why a value does not fit a schema, in a few words; None where it fits.

    Args:
        value: what is checked.
        schema: a schema without faults.
        root: the schema that holds `$defs`.
        depth: how far references have been followed.
    """
    if schema is True or depth > 50:
        return None
    if schema is False:
        return "nothing is allowed here"
    for check in (_misfit_of_kind, _misfit_of_choice, _misfit_of_parts):
        if (problem := check(value, schema, root, depth)) is not None:
            return problem
    return None


def _misfit_of_kind(value: Any, schema: Any, root: Any, depth: int) -> str | None:
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(TYPES[name](value) for name in names):
            return f"{str(value)[:60]!r} is not of type {' or '.join(names)}"
    if TYPES["number"](value):
        return next((p for key in NUMBERS if (p := _out_of_bounds(key, value, schema))), None)
    if isinstance(value, str | list | dict):
        unit = {str: "Length", list: "Items", dict: "Properties"}[type(value)]
        if not schema.get(f"min{unit}", 0) <= len(value) <= schema.get(f"max{unit}", len(value)):
            return f"{len(value)} is not within the bounds of its {unit.lower()}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return f"{value[:60]!r} does not match {schema['pattern']!r}"
    return None


def _out_of_bounds(key: str, value: float, schema: Any) -> str | None:
    if key not in schema:
        return None
    bound = schema[key]
    fine = {
        "minimum": lambda: value >= bound,
        "maximum": lambda: value <= bound,
        "exclusiveMinimum": lambda: value > bound,
        "exclusiveMaximum": lambda: value < bound,
        "multipleOf": lambda: value % bound == 0,
    }[key]()
    return None if fine else f"{value} breaks {key} {bound}"


def same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: `true` is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def _misfit_of_choice(value: Any, schema: Any, root: Any, depth: int) -> str | None:
    def fits(part: Any) -> bool:
        return misfit(value, part, root, depth + 1) is None

    if "enum" in schema and not any(same(value, each) for each in schema["enum"]):
        return f"{str(value)[:60]!r} is not one of {schema['enum']}"
    if "const" in schema and not same(value, schema["const"]):
        return f"{str(value)[:60]!r} is not {schema['const']!r}"
    if "anyOf" in schema and not any(map(fits, schema["anyOf"])):
        return f"{str(value)[:60]!r} fits none of anyOf"
    if "oneOf" in schema and sum(map(fits, schema["oneOf"])) != 1:
        return f"{str(value)[:60]!r} does not fit exactly one of oneOf"
    for part in (*schema.get("allOf", ()), *_referred(schema, root)):
        if (problem := misfit(value, part, root, depth + 1)) is not None:
            return problem
    return "what must not fit fits" if "not" in schema and fits(schema["not"]) else None


def _referred(schema: Any, root: Any) -> list[Any]:
    """The definition that a local reference names, where there is one."""
    reference = schema.get("$ref")
    found = None if reference is None else resolve(reference, root)
    return [] if found is None else [found]


def resolve(reference: str, root: Any) -> Any:
    """The part of the root schema that a local reference names; None where there is none."""
    if reference == "#":
        return root
    part = root
    if not reference.startswith("#/"):
        return None
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(part, dict) or name not in part:
            return None
        part = part[name]
    return part


def _misfit_of_parts(value: Any, schema: Any, root: Any, depth: int) -> str | None:
    parts: list[tuple[str, Any, Any]] = []
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            return f"{missing[0]!r} is required"
        named = schema.get("properties", {})
        parts += [(key, value[key], named[key]) for key in named if key in value]
        rest = schema.get("additionalProperties", True)
        parts += [(key, value[key], rest) for key in value if key not in named]
    if isinstance(value, list) and "items" in schema:
        parts += [(str(n), each, schema["items"]) for n, each in enumerate(value)]
    for key, part, wanted in parts:
        if (problem := misfit(part, wanted, root, depth + 1)) is not None:
            return f"{key}: {problem}"
    return None
