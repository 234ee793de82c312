"""A small value that fits a JSON Schema: what the echo answers where a schema is asked for."""

from collections.abc import Mapping
from typing import Any, Final

from patterns.fake_api.validation.json_schema import misfit, resolve

DEEPEST: Final = 20
"""How far an example follows references and arrays."""
TEXTS: Final[Mapping[str, str]] = {
    "date-time": "2026-11-26T12:00:00Z",
    "time": "12:00:00Z",
    "date": "2026-11-26",
    "duration": "P1D",
    "email": "echo@example.com",
    "hostname": "example.com",
    "uri": "https://example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
TRIES: Final = ("echo", "a", "A", "0", "1", "2026-11-26", "a-1", "A1", "00000", "+10000000000", "")
"""Texts that are tried where a pattern is asked for."""
TOGETHER: Final = ("anyOf", "oneOf", "allOf")


def example_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that fits, as far as that can be told: first choices, zeros, and the word "echo".

    Args:
        schema: a schema without faults.
        root: the schema that holds `$defs`.
        depth: how deep this part stands; from `DEEPEST` on optional parts are left out.
    """
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("$ref") is not None:
        return example_of(resolve(schema["$ref"], root), root, depth + 1)
    chosen = [_joined(schema, part) for key in TOGETHER for part in _choices(schema, key)]
    found: Any = None
    parts: list[Mapping[str, Any]] = [*chosen] or [schema]
    for part in parts:
        found = _of_type(part, root, depth) if part is schema else example_of(part, root, depth + 1)
        if misfit(found, schema, root) is None:
            break
    return found


def _choices(schema: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    parts = [part for part in schema.get(key) or () if isinstance(part, Mapping)]
    if key == "allOf" and parts:
        whole: Mapping[str, Any] = {}
        for part in parts:
            whole = _joined(whole, part)
        return [whole]
    return parts


def _joined(schema: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """A schema and one of its parts as one, without the other choices."""
    both = {key: value for key, value in schema.items() if key not in TOGETHER} | dict(part)
    properties = {**(schema.get("properties") or {}), **(part.get("properties") or {})}
    if properties:
        both["properties"] = properties
    if schema.get("required") or part.get("required"):
        both["required"] = [*(schema.get("required") or ()), *(part.get("required") or ())]
    return both


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            count = max(1, schema.get("minItems", 1)) if schema.get("maxItems", 1) else 0
            count = 0 if depth >= DEEPEST else count
            return [example_of(schema.get("items", {}), root, depth + 1) for _ in range(count)]
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return _text(schema)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    named = schema.get("properties") or {}
    needed = schema.get("required") or ()
    wanted = named if depth < DEEPEST // 2 else [name for name in named if name in needed]
    made = {name: example_of(named[name], root, depth + 1) for name in wanted}
    return made | {name: "echo" for name in needed if name not in made}


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    step = schema.get("multipleOf", 1 if whole else 0.5)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    start = 0 if low is None or low <= 0 else low
    if (high is not None and start > high) or (high is not None and high < 0):
        start = high
    near = [start // step * step + n * step for n in range(-2, 3)]
    middle = [(low + high) / 2] if low is not None and high is not None and not whole else []
    for value in (0 if whole else 0.0, start, *near, *middle):
        if misfit(int(value) if whole else value, schema, schema) is None:
            return int(value) if whole else value
    return 0 if whole else 0.0


def _text(schema: Mapping[str, Any]) -> str:
    text = TEXTS.get(schema.get("format", ""), "echo")
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
    sized = text.ljust(shortest, "o")[:longest]
    fitting = [t for t in (sized, *TRIES) if misfit(t, schema, schema) is None]
    return fitting[0] if fitting else sized
