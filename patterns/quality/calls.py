"""What every result of this folder keeps: the calls that were billed, and what was lost.

Taught in chapter 06.
"""

from dataclasses import dataclass

from anthropic.types import Usage


class InvalidInput(ValueError):
    """An argument with which a pattern cannot start; nothing was sent."""


def check_whole(name: str, value: object) -> None:
    """Refuse what is no count.

    Raises:
        InvalidInput: it is no whole number, or below 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name} is {value!r}; it must be a whole number, 1 or more.")


def check_said(name: str, value: object) -> None:
    """Refuse what says nothing.

    Raises:
        InvalidInput: it is no text, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"the {name} is {repr(value)[:80]}; it must be text that says it.")


@dataclass(frozen=True)
class Call:
    """One call that was billed, whether its answer could be used or not."""

    model: str
    usage: Usage
    request_id: str | None


@dataclass(frozen=True, kw_only=True)
class Billed:
    """The calls that a result took, also those that were lost; `prices.cost_of` adds them up."""

    calls: tuple[Call, ...] = ()

    @property
    def usage(self) -> tuple[Usage, ...]:
        """Tokens of each call."""
        return tuple(call.usage for call in self.calls)

    @property
    def request_ids(self) -> tuple[str | None, ...]:
        """One id per call, to name in a log or to support."""
        return tuple(call.request_id for call in self.calls)


@dataclass(frozen=True)
class Lost:
    """One call of several that brought no answer."""

    what: str
    """Which one: a sample's number, a subtask's title, a persona's id."""
    error: Exception
    reason: str
    """Why, in a few words."""
