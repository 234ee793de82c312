"""What a pattern cost and what it lost: kept on every result and on every error.

An answer that was cut, refused or not valid is billed as well, so it is counted here too.

Needs: pip install genai-prices. Taught in chapter 06.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import anthropic
from anthropic.types import Usage

from patterns.core.messages import Refused, Truncated
from patterns.core.pricing import cost_usd
from patterns.prompting.structured import InvalidOutput

LOSSES: Final = (anthropic.APIError, Refused, Truncated, InvalidOutput)
"""How one call may fail without taking the others with it. Anything else is raised."""


class InvalidInput(ValueError):
    """An argument with which a pattern cannot start; nothing was sent."""


@dataclass(frozen=True)
class Call:
    """One call that was billed, whether its answer could be used or not."""

    model: str
    usage: Usage
    request_id: str | None

    @property
    def cost(self) -> Decimal | None:
        """US dollars, or None when no published price covers the call."""
        return cost_usd(self.model, self.usage)


@dataclass(frozen=True, kw_only=True)
class Billed:
    """What every result of this chapter keeps: the calls it took, also those that were lost."""

    calls: tuple[Call, ...] = ()

    @property
    def usage(self) -> tuple[Usage, ...]:
        """Tokens of each call."""
        return tuple(call.usage for call in self.calls)

    @property
    def request_ids(self) -> tuple[str | None, ...]:
        """One id per call, to name in a log or to support."""
        return tuple(call.request_id for call in self.calls)

    @property
    def cost(self) -> Decimal | None:
        """US dollars for all of it; None when a call has no published price."""
        return total_cost(self.calls)


@dataclass(frozen=True)
class Lost:
    """One call of several that brought no answer."""

    what: str
    """Which one: a sample's number, a subtask's title, a persona's id."""
    error: Exception

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        match self.error:
            case Refused(category=category):
                return f"refused ({category or 'no category'})"
            case Truncated(stop_reason=stop_reason):
                return f"truncated ({stop_reason})"
            case InvalidOutput(errors=errors):
                return f"invalid ({errors[0]})"
            case anthropic.APIStatusError(status_code=status):
                return f"HTTP {status}"
            case _:
                return type(self.error).__name__


class Unfinished(Exception):
    """Calls were paid for, but they do not add up to a result.

    Attributes:
        done: the answers that did come back, by what was asked.
        lost: those that did not.
        calls: every call that was billed.
    """

    def __init__(
        self, problem: str, done: Mapping[str, Any], lost: Sequence[Lost], calls: Sequence[Call]
    ) -> None:
        self.done, self.lost, self.calls = dict(done), tuple(lost), tuple(calls)
        named = "; ".join(f"{each.what}: {each.reason}" for each in self.lost)
        super().__init__(f"{problem} ({named}).")

    @property
    def cost(self) -> Decimal | None:
        """US dollars for all of it; None when a call has no published price."""
        return total_cost(self.calls)


class AllLost(Unfinished):
    """Not one answer came back."""


def total_cost(calls: Sequence[Call]) -> Decimal | None:
    """The sum of the calls' costs; None when one of them has no published price."""
    total = Decimal(0)
    for call in calls:
        if (cost := call.cost) is None:
            return None
        total += cost
    return total
