"""Output schemas, and schemas of strict tools: which ones the API compiles.

It takes a subset of JSON Schema and bounds how much of it one request holds. Source:
build-with-claude/structured-outputs, 21 August 2026 ("JSON Schema limitations" and "Schema
complexity limits"), and issues that quote the API (`tests/evidence`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from patterns.fake_api.validation.json_schema import faults, resolve
from patterns.fake_api.wire.errors import APIError, bad

NOT_SUPPORTED: Final = frozenset(
    (
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minLength", "maxLength", "maxItems", "uniqueItems", "contains", "minContains",
        "maxContains", "prefixItems", "oneOf", "not", "if", "then", "else", "patternProperties",
        "propertyNames", "minProperties", "maxProperties", "dependentRequired",
        "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
    )
)  # fmt: skip
FORMATS: Final = (
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
)  # fmt: skip
NOT_IN_PATTERNS: Final = re.compile(r"\\[1-9]|\(\?[=!<]|\\[bB]|\{\d{4,}|,\d{4,}\}")
"""Back references, lookaround, word boundaries, large repetitions."""
MOST_STRICT_TOOLS: Final = 20
MOST_OPTIONAL: Final = 24
MOST_UNIONS: Final = 16


def check_schema(schema: Any, path: str) -> None:
    """Raise the API's 400 for an output schema that it would not take.

    Args:
        schema: the value at `path`.
        path: where it stands in the request.

    Raises:
        APIError: with the path of the part at fault.
    """
    for fault in faults(schema):
        raise bad(path, f"the schema is no JSON Schema (draft 2020-12): {fault}")
    for where, part in walk(schema, path):
        _check_part(part, where, schema)
    if (cycle := circular(schema, schema)) is not None:
        raise bad(path, f"Circular $ref detected: {cycle}; recursive schemas are not supported")


def check_complexity(schemas: Sequence[Any], strict_tools: int) -> None:
    """Raise the 400 for schemas that are too much together.

    Args:
        schemas: the output schema and those of strict tools.
        strict_tools: how many of them are of tools.
    """
    if strict_tools > MOST_STRICT_TOOLS:
        raise bad("tools", f"at most {MOST_STRICT_TOOLS} strict tools are allowed")
    parts = [part for schema in schemas for _, part in walk(schema, "") if isinstance(part, dict)]
    optional = sum(
        len(set(part.get("properties") or ()) - set(part.get("required") or ())) for part in parts
    )
    if optional > MOST_OPTIONAL:
        raise _too_complex(f"{optional} optional parameters, at most {MOST_OPTIONAL} are allowed")
    unions = sum(isinstance(part.get("type"), list) or "anyOf" in part for part in parts)
    if unions > MOST_UNIONS:
        raise _too_complex(
            f"{unions} parameters with union types (anyOf or a type array), at most {MOST_UNIONS} "
            "are allowed"
        )


def _too_complex(why: str) -> APIError:
    return APIError(400, f"Schema is too complex for compilation: {why}.")


def walk(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A schema and every schema in it, each with its path."""
    yield path, schema
    if not isinstance(schema, Mapping):
        return
    for key in ("properties", "$defs", "definitions"):
        for name, part in (schema.get(key) or {}).items():
            yield from walk(part, f"{path}.{key}.{name}")
    for key in ("anyOf", "allOf"):
        for n, part in enumerate(schema.get(key) or ()):
            yield from walk(part, f"{path}.{key}.{n}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}.items")


def _check_part(schema: Any, path: str, root: Any) -> None:
    if not isinstance(schema, dict):
        raise bad(path, "true and false are not supported as schemas")
    kinds = schema.get("type")
    is_object = kinds == "object" or (isinstance(kinds, list) and "object" in kinds)
    if (is_object or "properties" in schema) and schema.get("additionalProperties") is not False:
        raise bad(path, "for 'object' type, 'additionalProperties' must be explicitly set to false")
    for word in schema:
        if word in NOT_SUPPORTED:
            raise bad(path, f"property '{word}' is not supported")
    if schema.get("minItems", 0) > 1:
        raise bad(path, f"'minItems' must be 0 or 1, got {schema['minItems']}")
    if schema.get("format", FORMATS[0]) not in FORMATS:
        raise bad(path, f"format {schema['format']!r} is not supported; use {', '.join(FORMATS)}")
    if found := NOT_IN_PATTERNS.search(schema.get("pattern", "")):
        raise bad(path, f"the pattern uses {found[0]!r}, which is not supported")
    if any(isinstance(each, dict | list) for each in schema.get("enum") or ()):
        raise bad(path, "'enum' values must be strings, numbers, booleans or null")
    _check_reference(schema, path, root)


def _check_reference(schema: Mapping[str, Any], path: str, root: Any) -> None:
    if any("$ref" in part for part in schema.get("allOf") or () if isinstance(part, dict)):
        raise bad(path, "'allOf' with '$ref' is not supported")
    reference = schema.get("$ref")
    if reference is not None and not isinstance(resolve(reference, root), dict):
        raise bad(path, f"$ref {reference!r} is not in the schema; only local ones are supported")


def circular(schema: Any, root: Any) -> str | None:
    """The first reference that leads back to itself, or None."""
    open_: dict[str, bool] = {}

    def visit(part: Any) -> str | None:
        for _, inner in walk(part, ""):
            reference = inner.get("$ref") if isinstance(inner, dict) else None
            if not isinstance(reference, str) or open_.get(reference) is False:
                continue
            if open_.get(reference):
                return reference
            open_[reference] = True
            if (found := visit(resolve(reference, root))) is not None:
                return found
            open_[reference] = False
        return None

    return visit(schema)
