"""A stranger's input schema as the Messages API takes it, and the way back for the arguments.

The API wants an object at the root, without `anyOf`, `oneOf`, `allOf` or a reference there, keys of
letters, digits, `_`, `.` and `-`, 64 at most, and valid JSON Schema 2020-12 throughout. What is
rewritten accepts what the original means to accept, and sometimes more: the server still checks.
Of an alternative it keeps the fields that are named, and what they may hold.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from patterns.mcp_session.references import ORIGINAL, Schema, pointer, target

LONGEST_KEY: Final = 64
KEY: Final = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
ALTERNATIVES: Final = ("anyOf", "oneOf")
FOLDED: Final = ("allOf", "required", *ALTERNATIVES)
ABOUT_KEYS: Final = (
    "if",
    "then",
    "else",
    "not",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "patternProperties",
    "propertyNames",
)
MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
WHOLE: Final = "whole_input"
_META: Final = Draft202012Validator(Draft202012Validator.META_SCHEMA)


class UnusableSchema(ValueError):
    """No object schema can be made of it; the message says why."""


@dataclass(frozen=True)
class ToolInput:
    """The input of a tool.

    Attributes:
        schema: What the API takes.
        names: Keys that were renamed, to what the server calls them.
        note: What the schema can no longer say, in words; may be empty.
    """

    schema: Schema
    names: Mapping[str, str]
    note: str

    def restore(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Claude's arguments as the server expects them."""
        return {self.names.get(key, key): value for key, value in arguments.items()}


def claude_input(raw: Any) -> ToolInput:
    """Rewrite a schema; raises `UnusableSchema` if its root cannot be an object."""
    raw = raw[ORIGINAL] if isinstance(raw, Mapping) and ORIGINAL in raw else raw
    try:
        if not isinstance(raw, Mapping):
            raise UnusableSchema(f"the input schema is {json.dumps(raw)}, not an object")
        root = _modern(deepcopy(dict(raw)))
        notes: list[str] = []
        flat = _flattened(root, root, (), notes)
        flat = _repaired(_in_order(flat, root))
        names = _legal(flat["properties"])
        flat = _without_self_reference(_renamed(flat, names), root)
        json.dumps(flat, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise UnusableSchema("the input schema is nested too deeply") from None
    except (TypeError, UnicodeEncodeError, ValueError) as error:
        raise UnusableSchema(str(error)) from error
    return ToolInput(flat, {new: old for old, new in names.items() if new != old}, " ".join(notes))


def _in_order(flat: Schema, root: Schema) -> Schema:
    """The keys as the server had them, so that a schema that was fine stays the same text."""
    return {key: flat[key] for key in (*(k for k in root if k in flat), *flat)}


# -- the root: one object ------------------------------------------------------------------------


def _flattened(node: Any, root: Schema, seen: tuple[str, ...], notes: list[str]) -> Schema:
    """One object schema for a node, its reference and its combinators."""
    node = _resolved(node, root, seen)
    kind = node.get("type", "object")
    if kind != "object" and "object" not in (kind or "object"):
        raise UnusableSchema(f"the input is of type {json.dumps(kind)}, not an object")
    flat = {key: value for key, value in node.items() if key not in FOLDED}
    flat["type"] = "object"
    flat["properties"] = dict(_mapping(node.get("properties")))
    required = dict.fromkeys(_strings(node.get("required")))
    for part in _list(node.get("allOf")):
        branch = _flattened(part, root, seen, notes)
        _merge(flat, branch, "allOf")
        required.update(dict.fromkeys(branch.get("required", ())))
    for word in ALTERNATIVES:
        branches = _objects(_list(node.get(word)), root, seen, notes, flat)
        for branch in branches:
            _merge(flat, branch, "anyOf")
        if branches:
            common = set.intersection(*(set(branch.get("required", ())) for branch in branches))
            notes.extend(_choice(word, branches, common))
            required.update(dict.fromkeys(sorted(common)))
    return {**flat, "required": list(required)} if required else flat


def _objects(
    branches: list[Any], root: Schema, seen: tuple[str, ...], notes: list[str], flat: Schema
) -> list[Schema]:
    """The alternatives that are objects: no other can be a tool's input."""
    found, reason = [], None
    for branch in branches:
        try:
            found.append(_flattened(branch, root, seen, notes))
        except UnusableSchema as unusable:
            reason = unusable
    if reason and not found and not flat["properties"]:
        raise reason
    return found


def _choice(word: str, branches: list[Schema], common: set[str]) -> Iterable[str]:
    """Which fields belong together, in words."""
    sets = [sorted(set(branch.get("required", ())) - common) for branch in branches]
    if len(sets) > 1 and any(sets):
        listed = "; ".join(", ".join(fields) or "none of these" for fields in sets)
        exactly = "exactly one" if word == "oneOf" else "at least one"
        yield f"Give {exactly} of these sets of fields: {listed}."


def _merge(flat: Schema, branch: Schema, joint: str) -> None:
    own = flat["properties"]
    for key, schema in branch["properties"].items():
        if key not in own:
            own[key] = schema
        elif own[key] != schema:
            parts = own[key].get(joint) if isinstance(own[key], dict) else None
            joined = parts if isinstance(parts, list) and len(own[key]) == 1 else [own[key]]
            own[key] = {joint: [*joined, schema]}
    if joint == "allOf":
        own_words = ("properties", "required", "additionalProperties")
        rest = {key: value for key, value in branch.items() if key not in own_words}
        flat.update({**rest, **flat})


def _resolved(node: Any, root: Schema, seen: tuple[str, ...]) -> Schema:
    """A node without a reference at its root."""
    if node is True:
        return {}
    if not isinstance(node, dict):
        raise UnusableSchema(f"a part of the input schema is {json.dumps(node)}")
    if "$ref" not in node:
        return node
    way = pointer(node["$ref"], root)
    found = target(root, way)
    if found is None or way in seen:
        raise UnusableSchema(f"the root refers to {node['$ref']!r}, which leads nowhere")
    rest = {key: value for key, value in node.items() if key != "$ref"}
    return {**_resolved(found, root, (*seen, way)), **rest}


# -- references ----------------------------------------------------------------------------------


def _without_self_reference(flat: Schema, root: Schema) -> Schema:
    """References that lead to the old root find it among the definitions; lost ones allow all."""
    old = {key: value for key, value in root.items() if key not in ("$defs", "definitions")}
    whole = f"#/$defs/{WHOLE}"
    used: list[str] = []

    def repoint(node: Any) -> Any:
        if isinstance(node, list):
            return [repoint(item) for item in node]
        if not isinstance(node, dict):
            return node
        node = {key: repoint(value) for key, value in node.items()}
        if not isinstance(node.get("$ref"), str):
            return node
        way = pointer(node["$ref"], root)
        if target(root, way) is None:
            del node["$ref"]
            return node
        inside = way.startswith(("#/$defs/", "#/definitions/"))
        used.extend(() if inside else (way,))
        return {**node, "$ref": way if inside else whole + way[1:]}

    flat = repoint(flat)
    if used:
        flat["$defs"] = {**flat.get("$defs", {}), WHOLE: _repaired(repoint(old))}
    return flat


# -- keys ----------------------------------------------------------------------------------------


def _legal(properties: Mapping[str, Any]) -> dict[str, str]:
    """A legal key for each property; legal ones stay."""
    names = {key: key for key in properties if KEY.fullmatch(key)}
    for key in properties:
        if key not in names:
            clean = re.sub(r"[^a-zA-Z0-9_.-]+", "_", key).strip("_") or "field"
            names[key] = unique(clean, names.values(), LONGEST_KEY)
    return names


def unique(name: str, taken: Collection[str], longest: int) -> str:
    """A name, cut and numbered until nobody has it."""
    candidate, number = name[:longest], 2
    while candidate in taken:
        mark = f"_{number}"
        candidate, number = name[: longest - len(mark)] + mark, number + 1
    return candidate


def _renamed(node: Schema, names: Mapping[str, str]) -> Schema:
    """The root with the new keys; what else speaks of the old ones is for the server to check."""
    if all(old == new for old, new in names.items()):
        return node
    new = {key: value for key, value in node.items() if key not in ABOUT_KEYS}
    new["properties"] = {names[key]: value for key, value in node["properties"].items()}
    if "required" in node:
        new["required"] = [names.get(key, key) for key in node["required"]]
    return new


# -- older drafts and broken schemas -------------------------------------------------------------


def _modern(node: Any) -> Any:
    """Keywords of older drafts in the words of 2020-12; `$schema` would promise another draft."""
    if isinstance(node, list):
        return [_modern(item) for item in node]
    if not isinstance(node, dict):
        return node
    new = {
        key: _modern(value)
        for key, value in node.items()
        if key != "$schema" and not (isinstance(value, float) and not isfinite(value))
    }
    if isinstance(new.get("items"), list):
        new["prefixItems"] = new.pop("items")
        if isinstance(new.get("additionalItems"), dict | bool):
            new["items"] = new.pop("additionalItems")
    for word in ("Minimum", "Maximum"):
        if new.get(f"exclusive{word}") is True and word.lower() in new:
            new[f"exclusive{word}"] = new.pop(word.lower())
    properties = _mapping(new.get("properties"))
    flagged = {
        key
        for key, value in properties.items()
        if isinstance(value, dict) and value.get("required") is True
    }
    if flagged:
        new["required"] = sorted({*_strings(new.get("required")), *flagged})
    return new


def _repaired(schema: Schema) -> Schema:
    """A schema without the keywords that 2020-12 does not allow to be so."""
    while errors := list(_META.iter_errors(schema)):
        for error in errors:
            with suppress(KeyError, IndexError, TypeError):  # a part that has gone with another
                _without(schema, *error.absolute_path)
    return schema


def _without(schema: Any, *way: Any) -> None:
    """Take out the part at the end of the way, or let it allow everything."""
    *before, last = way
    for step in before:
        schema = schema[step]
    if before and before[-1] in MAPS and isinstance(schema, dict):
        schema[last] = {}
    else:
        del schema[last]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [item for item in _list(value) if isinstance(item, str)]
