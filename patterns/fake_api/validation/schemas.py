"""Schemas of structured output: which ones the API takes, and a value that fits one.

Structured output takes a subset of JSON Schema: closed objects, no bounds, references into
`$defs` only.
"""

from collections.abc import Mapping
from typing import Any, Final

from patterns.fake_api.wire.errors import APIError

NUMBER_BOUNDS: Final = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
)
SIZE_BOUNDS: Final = ("minLength", "maxLength", "maxItems", "uniqueItems")
CHOICES: Final = ("enum", "anyOf", "oneOf", "allOf")
DEEPEST: Final = 20
"""How far an example follows references and arrays."""


def check_schema(schema: object, path: str) -> None:
    """Raise the API's 400 for an output schema that it would not take.

    Args:
        schema: the value at `path`.
        path: where it stands in the request.

    Raises:
        APIError: with the path of the part at fault.
    """
    root = schema if isinstance(schema, dict) else {}
    _check(schema, path, root.get("$defs") or {})


def _bad(path: str, problem: str) -> APIError:
    return APIError(400, f"{path}: {problem}")


def _check(schema: object, path: str, definitions: Any) -> None:
    if not isinstance(schema, dict):
        raise _bad(path, "a schema must be an object")
    _check_words(schema, path)
    _check_reference(schema, path, definitions)
    for key in ("properties", "$defs"):
        parts = schema.get(key) or {}
        if not isinstance(parts, dict):
            raise _bad(f"{path}.{key}", "must be an object of schemas")
        for name, part in parts.items():
            _check(part, f"{path}.{key}.{name}", definitions)
    for key in CHOICES:
        _check_choice(schema.get(key), key, f"{path}.{key}", definitions)
    if schema.get("items") is not None:
        _check(schema["items"], f"{path}.items", definitions)


def _check_words(schema: Mapping[str, Any], path: str) -> None:
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise _bad(path, "for an object, the schema must set additionalProperties to false")
    for word in (*NUMBER_BOUNDS, *SIZE_BOUNDS):
        if word in schema:
            raise _bad(path, f"the schema keyword {word!r} is not supported")


def _check_reference(schema: Mapping[str, Any], path: str, definitions: Any) -> None:
    reference = schema.get("$ref")
    if reference is None:
        return
    start, _, name = str(reference).rpartition("/")
    if start != "#/$defs" or not isinstance(definitions, dict) or name not in definitions:
        raise _bad(f"{path}.$ref", f"{reference!r} is not in $defs of the schema")


def _check_choice(choices: object, key: str, path: str, definitions: Any) -> None:
    if choices is None:
        return
    if not isinstance(choices, list) or not choices:
        raise _bad(path, "must be an array that is not empty")
    for n, choice in enumerate(choices):
        if key != "enum":
            _check(choice, f"{path}.{n}", definitions)


def example_of(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Any:
    """A small value that fits a checked schema: first choices, zeros, and the word "echo"."""
    if depth > DEEPEST:
        return None
    if schema.get("$ref") is not None:
        name = str(schema["$ref"]).rpartition("/")[2]
        return example_of(root["$defs"][name], root, depth + 1)
    for key in CHOICES:
        if schema.get(key) is not None:
            first = schema[key][0]
            return first if key == "enum" else example_of(first, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "object":
        parts = (schema.get("properties") or {}).items()
        return {name: example_of(part, root, depth + 1) for name, part in parts}
    if schema.get("type") == "array":
        return [example_of(schema.get("items") or {}, root, depth + 1)]
    simple = {"integer": 0, "number": 0.0, "boolean": False, "null": None}
    return simple.get(str(schema.get("type")), "echo")
