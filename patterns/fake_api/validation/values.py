"""Checks of single values: JSON types, literals, lists, bounds.

A check raises `Mismatch`, which gathers the path on its way out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from patterns.core.errors import Portable
from patterns.fake_api.validation.ranges import Bound

Betas: TypeAlias = frozenset[str]
Check: TypeAlias = Callable[[Any, Betas], None]

NAMES: Final = {
    dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer",
    float: "a number", type(None): "null",
}  # fmt: skip


class Mismatch(Portable, Exception):
    """A value that does not have its shape, and where it stands, innermost part first."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.path: list[str] = []
        super().__init__(problem)


def at(key: str, problem: str) -> Mismatch:
    """A mismatch of one key."""
    error = Mismatch(problem)
    error.path.append(key)
    return error


def of_type(wanted: type) -> Check:
    """A JSON type; `bool` is no number, and a whole number is a number."""
    accepted = (int, float) if wanted is float else wanted
    named = NAMES[wanted].partition(" ")[2] or "null"

    def check(value: Any, betas: Betas) -> None:
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
            raise Mismatch(f"Input should be a valid {named}, got {said(value)}")

    return check


def said(value: object) -> str:
    """What JSON calls the type of a value."""
    return NAMES.get(type(value), "something else")


def literal(allowed: tuple[Any, ...]) -> Check:
    """One of a few values."""
    accepted = set(allowed)
    words = " or ".join(repr(value) for value in allowed)

    def check(value: Any, betas: Betas) -> None:
        if not isinstance(value, str | int) or value not in accepted:
            raise Mismatch(f"Input should be {words}, got {repr(value)[:60]}")

    return check


def array(item: Check) -> Check:
    """A list whose items all pass a check."""

    def check(value: Any, betas: Betas) -> None:
        if not isinstance(value, list):
            raise Mismatch(f"Input should be a valid array, got {said(value)}")
        for n, each in enumerate(value):
            try:
                item(each, betas)
            except Mismatch as error:
                error.path.append(str(n))
                raise

    return check


def bounded(bound: Bound) -> Check:
    """A value within its bounds; null has none."""

    def check(value: Any, betas: Betas) -> None:
        if value is not None and (problem := bound(value)) is not None:
            raise Mismatch(problem)

    return check


def gated(gates: Mapping[str, Betas | None]) -> Check:
    """A value that a beta opens."""

    def check(value: Any, betas: Betas) -> None:
        gate = gates.get(value)
        if gate is not None and not gate & betas:
            raise Mismatch(f"{value!r} is not permitted without a beta ({', '.join(gate)})")

    return check


def all_of(checks: list[Check]) -> Check:
    """Several checks, one after the other."""

    def check(value: Any, betas: Betas) -> None:
        for each in checks:
            each(value, betas)

    return check
