"""The shape of a request, taken from the SDK's own parameter types.

`shape_of(annotation)` makes a check of a type annotation: known and required fields, JSON types,
literals, unions told apart by `type` or `role`. The checks of a `TypedDict` are made when its
first value is seen, once per process. What a type does not say is data beside it: `ranges` holds
bounds and patterns, `betas` says which beta opens what.

A check raises `Mismatch`, which gathers the path on its way out; `check_shape` makes a 400 of it.
"""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Union

import typing_extensions as te
from pydantic import BaseModel

from patterns.fake_api.validation.betas import opening
from patterns.fake_api.validation.ranges import RANGES
from patterns.fake_api.validation.values import (
    NAMES,
    Betas,
    Check,
    Mismatch,
    all_of,
    array,
    at,
    bounded,
    gated,
    literal,
    of_type,
    said,
)
from patterns.fake_api.wire.errors import APIError, bad

NOT_PERMITTED: Final = "Extra inputs are not permitted"
WRAPPERS: Final = (te.Annotated, te.Required, te.NotRequired)
LISTS: Final = (list, Iterable, Sequence)
OUTGOING: Final = (BaseModel,)
"""Types that the SDK takes from a caller and sends as something else."""


def check_shape(annotation: Any, value: object, betas: Betas) -> None:
    """Raise the API's 400 for a value that does not have the shape of a type."""
    try:
        shape_of(annotation)(value, betas)
    except Mismatch as error:
        path = ".".join(reversed(error.path))
        raise (bad(path, error.problem) if path else APIError(400, error.problem)) from None


def name_of(shape: Any) -> str:
    """The name of a `TypedDict`, the same for a type and its beta form."""
    return str(shape.__name__).removeprefix("Beta").replace("Request", "").removesuffix("Param")


@cache
def shape_of(annotation: Any) -> Check:
    """The check of one type annotation."""
    origin, arguments = te.get_origin(annotation), te.get_args(annotation)
    if origin in WRAPPERS:
        return shape_of(arguments[0])
    if te.is_typeddict(annotation):
        return Record(annotation)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin in (te.Literal, typing.Literal):
        return literal(arguments)
    if origin in LISTS:
        return array(shape_of(arguments[0]))
    if origin in (dict, Mapping):
        return of_type(dict)
    if annotation in NAMES:
        return of_type(annotation)
    return lambda value, betas: None  # object: anything


class Record:
    """The check of a `TypedDict`: its fields are looked up when the first value comes.

    Args:
        shape: the `TypedDict`.
        is_open: whether fields that it does not have are taken.
    """

    def __init__(self, shape: Any, *, is_open: bool = False) -> None:
        self.shape = shape
        self.name = name_of(shape)
        self.is_open = is_open
        self._fields: dict[str, tuple[Check, Betas | None]] | None = None
        self._required: tuple[str, ...] = ()

    def fields(self) -> dict[str, tuple[Check, Betas | None]]:
        """Each field's check, and the betas of which one opens it (None: open to all)."""
        if self._fields is None:
            hints = te.get_type_hints(self.shape, include_extras=True)
            needed = self.shape.__required_keys__  # of functional definitions; else in the hint
            self._required = tuple(
                key for key, hint in hints.items() if key in needed or _is_required(hint)
            )
            self._fields = {
                key: (self._check_of(key, hint), opening(self.name, key))
                for key, hint in hints.items()
            }
        return self._fields

    def __call__(self, value: Any, betas: Betas) -> None:
        fields = self.fields()
        if not isinstance(value, dict):
            raise Mismatch(f"Input should be a valid object, got {said(value)}")
        for key, part in value.items():
            check, gate = fields.get(key, (None, None))
            if check is None and self.is_open:
                continue
            if check is None or (gate is not None and not gate & betas):
                raise at(str(key), NOT_PERMITTED)
            try:
                check(part, betas)
            except Mismatch as error:
                error.path.append(key)
                raise
        for key in self._required:
            if key not in value:
                raise at(key, "Field required")

    def _check_of(self, key: str, hint: Any) -> Check:
        """The check of a field's type, of its bounds, and of values that a beta opens."""
        checks = [shape_of(hint)]
        if (bound := RANGES.get(f"{self.name}.{key}")) is not None:
            checks.append(bounded(bound))
        gates = {value: opening(self.name, f"{key}={value}") for value in _literals(hint)}
        gates = {value: gate for value, gate in gates.items() if gate is not None}
        if gates and key not in ("type", "role"):
            checks.append(gated(gates))
        return checks[0] if len(checks) == 1 else all_of(checks)

    def tags(self, key: str) -> tuple[str, ...]:
        """The values of a literal field, such as `type`."""
        return _literals(te.get_type_hints(self.shape, include_extras=True).get(key))


def _is_required(hint: Any) -> bool:
    return te.get_origin(hint) in (te.Required, typing.Required)


def _literals(hint: Any) -> tuple[str, ...]:
    if te.get_origin(hint) in (te.Literal, typing.Literal):
        return te.get_args(hint)
    parts = [part for part in te.get_args(hint) if not isinstance(part, str)]
    return tuple(value for part in parts for value in _literals(part))


def _members(arguments: Iterable[Any]) -> list[Any]:
    """The members of a union, unions in it opened."""
    found: list[Any] = []
    for each in arguments:
        origin = te.get_origin(each)
        if origin in (Union, types.UnionType):
            found += _members(te.get_args(each))
        elif origin in WRAPPERS:
            found += _members(te.get_args(each)[:1])
        else:
            found.append(each)
    return found


def _union(arguments: tuple[Any, ...]) -> Check:
    members = _members(arguments)
    is_open = any(te.get_origin(member) is dict for member in members)
    records = [Record(m, is_open=is_open) for m in members if te.is_typeddict(m)]
    by_type: dict[type, Check] = {}
    others: list[Any] = []
    for member in members:
        origin = te.get_origin(member)
        if te.is_typeddict(member) or (isinstance(member, type) and issubclass(member, OUTGOING)):
            continue
        kind = list if origin in LISTS else dict if origin is dict else member
        if kind in NAMES:
            by_type[kind] = shape_of(member)
        elif origin in (te.Literal, typing.Literal):
            others.append(member)
    if records:
        by_type[dict] = records[0] if len(records) == 1 else Choice(records)
    if others and str not in by_type:
        by_type[str] = literal(tuple(v for member in others for v in te.get_args(member)))
    return _by_type(by_type)


def _by_type(by_type: Mapping[type, Check]) -> Check:
    kinds = sorted(by_type, key=lambda kind: kind is type(None))
    words = " or ".join(NAMES[each].partition(" ")[2] or "null" for each in kinds)
    whole = by_type.get(int) or by_type.get(float)

    def check(value: Any, betas: Betas) -> None:
        found = by_type.get(type(value)) or (whole if type(value) is int else None)
        if found is None:
            raise Mismatch(f"Input should be a valid {words}, got {said(value)}")
        found(value, betas)

    return check


class Choice:
    """The check of a union of records: `type` or `role` says which one it is."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self._tags: dict[str, tuple[Record, Betas | None]] = {}
        self._key = "type"
        self._default: Record | None = None

    def _look_up(self) -> None:
        roles = all(record.tags("role") for record in self.records)
        self._key = "role" if roles else "type"
        for record in self.records:
            for tag in record.tags(self._key):
                self._tags[tag] = (record, opening(record.name, f"{self._key}={tag}"))
            if not _is_required(
                te.get_type_hints(record.shape, include_extras=True).get(self._key)
            ):
                self._default = record

    def __call__(self, value: Any, betas: Betas) -> None:
        if not self._tags:
            self._look_up()
        key = self._key
        tag = value.get(key)
        if tag is None and self._default is not None:
            return self._default(value, betas)
        if tag is None:
            raise at(key, "Field required")
        record, gate = self._tags.get(tag, (None, None)) if isinstance(tag, str) else (None, None)
        if record is None or (gate is not None and not gate & betas):
            open_ = [each for each, (_, g) in self._tags.items() if g is None or g & betas]
            raise Mismatch(
                f"Input tag {tag!r} found using '{key}' does not match any of the expected tags: "
                f"{', '.join(map(repr, open_))}"
            )
        try:
            record(value, betas)
        except Mismatch as error:
            if key == "type":
                error.path.append(tag)
            raise
