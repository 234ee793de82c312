"""What a run may spend: reserved before each call starts, settled when it has ended.

A call is expected to take what the calls before it took on average; the first one, of which
nothing is known, may take all that is left, so nothing starts beside it. Many calls at once then
stay inside the budget as one does. For a ceiling on one call there is `max_tokens`. Chapter 3
teaches it.
"""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Protocol

from patterns.agents.report import Attempt, tokens_in


@dataclass(frozen=True)
class Budget:
    """The most that a run may spend, over all its workers and resumptions.

    With `usd`, a call without a known price (`Reply.cost_usd` is None) ends the budget too.
    """

    tokens: int | None = None
    usd: Decimal | None = None

    def __post_init__(self) -> None:
        for name, limit in (("tokens", self.tokens), ("usd", self.usd)):
            if limit is not None and not (isfinite(limit) and limit >= 0):
                raise ValueError(f"budget: {name} is {limit}, give a number from 0 or None")
        if self.usd is not None:  # a float would not come back from a database as it was
            object.__setattr__(self, "usd", Decimal(str(self.usd)))


UNLIMITED = Budget()


@dataclass
class Spent:
    """What some calls have taken, or what is set aside for them."""

    calls: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, attempt: Attempt) -> None:
        """Count one more call; one that failed without a bill says nothing about the next."""
        self.calls += bool(attempt.usage) or not attempt.error
        self.tokens += sum(tokens_in(usage) + usage.output_tokens for usage in attempt.usage)
        self.usd += attempt.cost_usd or 0
        self.unpriced += bool(attempt.usage) and attempt.cost_usd is None


def admit(budget: Budget, spent: Spent, held: Spent) -> Spent | str:
    """What to set aside for one more call; "" to ask again when one has ended; or why not.

    `spent` is what calls have taken, `held` what is set aside for those that are under way.
    """
    if budget.usd is not None and spent.unpriced:
        return "budget: a call has no known price, so dollars cannot be counted"
    calls = max(1, spent.calls)
    usual = Spent(1, -(-spent.tokens // calls), spent.usd / calls)
    for limit, used, aside, takes, text in (
        (budget.tokens, spent.tokens, held.tokens, usual.tokens, "{} of {} tokens are spent"),
        (budget.usd, spent.usd, held.usd, usual.usd, "${} of ${} is spent"),
    ):
        unknown = not spent.calls and held.calls
        if limit is not None and (used >= limit or unknown or used + aside + takes > limit):
            why = text.format(used, limit) + _usual(used, limit, takes)
            return "" if held.calls else f"budget: {why}"
    return usual


def _usual(used: Decimal | int, limit: Decimal | int, takes: Decimal | int) -> str:
    return f", and a call takes about {takes:.6g}" if used < limit else ""


class Ledger(Protocol):
    """Where a run's spending is kept: in one process, or in the database that its workers share."""

    async def reserve(self, task: str, budget: Budget) -> str | None:
        """None if a call of the task may start now; "" if later perhaps; or why none may."""

    async def settle(self, task: str, attempt: Attempt | None) -> None:
        """The task's call has ended: with what it took, or None for one that was cut off."""

    async def changed(self) -> None:
        """Wait until asking again may give another answer."""


class LocalLedger:
    """The ledger of a run that makes all its calls in this process."""

    def __init__(self) -> None:
        self.spent, self.held = Spent(), dict[str, Spent]()
        self.settled = asyncio.Event()

    async def reserve(self, task: str, budget: Budget) -> str | None:
        """As `Ledger`."""
        if budget == UNLIMITED:
            return None
        held = Spent(len(self.held))
        for one in self.held.values():
            held.tokens, held.usd = held.tokens + one.tokens, held.usd + one.usd
        answer = admit(budget, self.spent, held)
        if isinstance(answer, str):
            return answer
        self.held[task] = answer
        return None

    async def settle(self, task: str, attempt: Attempt | None) -> None:
        """As `Ledger`."""
        self.held.pop(task, None)
        if attempt is not None:
            self.spent.add(attempt)
        self.settled.set()

    async def changed(self) -> None:
        """As `Ledger`."""
        self.settled.clear()
        await self.settled.wait()
