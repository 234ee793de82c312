"""What every result of this folder keeps: the calls that were billed, and what was lost.

Taught in chapter 06.
"""

from dataclasses import dataclass

from anthropic.types import Usage


class InvalidInput(ValueError):
    """An argument with which a pattern cannot start; nothing was sent."""


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
