"""Service level objectives for calls to Claude: which outcomes count, how fast the budget burns.

An objective of 99 % over 30 days is a budget of 1 % of the calls. Burning at rate 1 uses it up in
exactly 30 days; at 14.4 in two. Alert on the rate in a long and a short window together: the long
one says that it matters, the short one that it still goes on. The same numbers are in
patterns/monitoring/ops/rules.yml. Not for latency objectives: count slow calls as bad first.

The scheme is that of the Google SRE Workbook, chapter 5. Chapter 4 of the course teaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from patterns.monitoring.outcomes import Outcome

BURNS: Final[frozenset[Outcome]] = frozenset(
    (
        "overloaded",
        "api_error",
        "timeout",
        "connection",
        "rate_limited",
        "spend_cap",
        "cut_short",
        "expired",
    )
)
"""The service, or our share of it, did not answer."""

IGNORED: Final[frozenset[Outcome]] = frozenset(
    ("invalid_request", "client_error", "abandoned", "cancelled")
)
"""Our own doing: neither good nor bad. What remains, refusals and truncations too, was answered."""


@dataclass(frozen=True, slots=True)
class BurnPolicy:
    """When a burn rate becomes somebody's business.

    Attributes:
        severity: "page" wakes somebody, "ticket" waits for the morning.
        rate: the burn rate above which it fires, in both windows.
        long: the window that shows that it matters.
        short: the window that shows that it still goes on.
    """

    severity: str
    rate: float
    long: timedelta
    short: timedelta


POLICIES: Final = (
    BurnPolicy("page", 14.4, timedelta(hours=1), timedelta(minutes=5)),
    BurnPolicy("page", 6.0, timedelta(hours=6), timedelta(minutes=30)),
    BurnPolicy("ticket", 1.0, timedelta(days=3), timedelta(hours=6)),
)


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """What an objective allowed, and what is left of it.

    Attributes:
        objective: the share of calls that must succeed, such as 0.99.
        good: calls that were answered.
        bad: calls that burn the budget.
    """

    objective: float
    good: int
    bad: int

    @classmethod
    def of(cls, outcomes: Mapping[Outcome, int], *, objective: float) -> ErrorBudget:
        """The budget after calls counted by outcome."""
        bad = sum(count for outcome, count in outcomes.items() if outcome in BURNS)
        counted = sum(count for outcome, count in outcomes.items() if outcome not in IGNORED)
        return cls(objective=objective, good=counted - bad, bad=bad)

    @property
    def allowed(self) -> float:
        """Bad calls that the objective allows in this much traffic."""
        return (1 - self.objective) * (self.good + self.bad)

    @property
    def left(self) -> float:
        """Share of the budget that is left; below zero when it is overspent, 1 without traffic."""
        return 1 - self.bad / self.allowed if self.allowed else 1.0


def burn_rate(
    outcomes: Mapping[Outcome, int], *, objective: float, minimum_calls: int = 0
) -> float | None:
    """How many times faster than allowed the error budget goes, in the window counted.

    Args:
        outcomes: calls by outcome in the window.
        objective: the share of calls that must succeed, below 1.
        minimum_calls: with fewer calls the answer is None: one failure at night is no trend.

    Raises:
        ValueError: an objective outside 0 to 1, which leaves no budget to burn.
    """
    if not 0 < objective < 1:
        raise ValueError(f"objective is {objective}; a share between 0 and 1, such as 0.99.")
    budget = ErrorBudget.of(outcomes, objective=objective)
    calls = budget.good + budget.bad
    if calls < max(minimum_calls, 1):
        return None
    return budget.bad / calls / (1 - objective)
