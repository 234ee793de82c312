"""What structured output cannot express, found before a call is paid for.

Limits of the API as of November 2026 (documentation, "Structured outputs", schema complexity): no
recursion, 24 optional parameters and 16 parameters with a union type over the whole request.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, cast

MOST_OPTIONAL: Final = 24
MOST_UNIONS: Final = 16
_NAMED: Final = ("properties", "$defs")
"""Keywords that hold schemas by name."""
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties")

Schema = Mapping[str, Any]


def why_refused(schema: Schema) -> str | None:
    """Why the API would refuse a JSON schema, and what to change; None if nothing is known.

    Args:
        schema: as `model_json_schema()` gives it, with its definitions under `$defs`.
    """
    every = list(_schemas(schema, ""))
    for path, each in every:
        if each.get("additionalProperties") and "properties" not in each:
            where = ".".join(filter(None, (str(schema.get("title", "")), path))) or "it"
            return f"{where} has free keys and would always be empty; use a list of key and value."
    if loop := _recursion(schema):
        return f"{loop} refers to itself; unroll it to a fixed depth, or use a flat list with ids."
    optional = [name for path, each in every for name in _optional(path, each)]
    if len(optional) > MOST_OPTIONAL:
        return (
            f"{len(optional)} optional fields, at most {MOST_OPTIONAL} are compiled; make some "
            f"required and nullable (`x: int | None`), from {optional[0]} on, by hand or by "
            "nulls=True, or split the model."
        )
    unions = [path for path, each in every if _is_union(each)]
    if len(unions) > MOST_UNIONS:
        return (
            f"{len(unions)} fields with a union type, at most {MOST_UNIONS} are compiled; give "
            f"some one type with a value for 'none', from {unions[0]} on, or split the model."
        )
    return None


def with_nulls(schema: Schema) -> dict[str, Any]:
    """The schema with every field required whose default is null: nothing is lost, it may be null.

    Such a field counts no longer as optional, and keeps counting as a union.
    """
    copy: dict[str, Any] = deepcopy(dict(schema))
    for _, each in _schemas(copy, ""):
        fields, required = each.get("properties") or {}, set(each.get("required", ()))
        nulls = {name for name, field in fields.items() if _is_null_by_default(field)}
        if nulls - required:
            cast("dict[str, Any]", each)["required"] = [n for n in fields if n in required | nulls]
    return copy


def _is_null_by_default(field: Any) -> bool:
    options = field.get("anyOf") or () if isinstance(field, Mapping) else ()
    can_be_null = any(isinstance(each, Mapping) and each.get("type") == "null" for each in options)
    return can_be_null and field.get("default", 0) is None


def _schemas(schema: Any, path: str) -> Iterator[tuple[str, Schema]]:
    """Every schema inside a schema with its path; values such as `examples` are none."""
    if not isinstance(schema, Mapping):
        return
    yield path, schema
    for keyword in _NAMED:
        for name, each in (schema.get(keyword) or {}).items():
            yield from _schemas(each, f"{path}.{name}" if path else str(name))
    for keyword in _LISTED:
        for each in schema.get(keyword) or ():
            yield from _schemas(each, path)
    for keyword in _SINGLE:
        yield from _schemas(schema.get(keyword), path)


def _optional(path: str, schema: Schema) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name in schema.get("properties") or {}:
        if name not in required:
            yield f"{path}.{name}" if path else str(name)


def _is_union(schema: Schema) -> bool:
    options = schema.get("anyOf") or schema.get("oneOf") or ()  # the second has a discriminator
    return len(options) > 1 or isinstance(schema.get("type"), list)


def _recursion(schema: Schema) -> str | None:
    """The name of a definition that leads back to itself."""
    leads = {name: set(_references(each)) for name, each in (schema.get("$defs") or {}).items()}
    try:
        TopologicalSorter(leads).prepare()
    except CycleError as loop:
        return str(loop.args[1][0])
    return None


def _references(schema: Schema) -> Iterator[str]:
    for _, each in _schemas(schema, ""):
        reference = each.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
