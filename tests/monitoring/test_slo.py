"""Budgets and burn rates against arithmetic that fits on a napkin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.monitoring.outcomes import OUTCOMES, Outcome
from patterns.monitoring.slo import BURNS, IGNORED, POLICIES, ErrorBudget, burn_rate


def test_every_outcome_burns_counts_or_is_ignored_once() -> None:
    """A new outcome has to be put somewhere."""
    assert not BURNS & IGNORED
    assert set(OUTCOMES) - BURNS - IGNORED == {"ok", "truncated", "refused"}


def test_budget_of_a_percent_allows_one_in_a_hundred() -> None:
    """Our own mistakes are neither good nor bad."""
    budget = ErrorBudget.of(
        {"ok": 990, "timeout": 5, "refused": 5, "abandoned": 99}, objective=0.99
    )
    assert (budget.good, budget.bad, round(budget.allowed, 6)) == (995, 5, 10)
    assert budget.left == pytest.approx(0.5)


def test_overspent_budget_is_below_zero() -> None:
    """Three times what was allowed."""
    budget = ErrorBudget.of({"ok": 97, "overloaded": 3}, objective=0.99)
    assert budget.left == pytest.approx(-2)


def test_budget_without_traffic_is_whole() -> None:
    """Nothing happened."""
    assert ErrorBudget.of({}, objective=0.99).left == 1.0


@pytest.mark.parametrize(
    ("outcomes", "rate"),
    [
        ({"ok": 99, "timeout": 1}, 1.0),
        ({"ok": 856, "overloaded": 144}, 14.4),
        ({"ok": 10}, 0.0),
        ({"cut_short": 4}, 100.0),
    ],
)
def test_burn_rate_is_the_bad_share_over_the_allowed_share(
    outcomes: dict[Outcome, int], rate: float
) -> None:
    """At rate 1 the budget lasts exactly its period."""
    assert burn_rate(outcomes, objective=0.99) == pytest.approx(rate)


def test_burn_rate_needs_traffic() -> None:
    """One failure at night is no trend; no call at all is no rate."""
    assert burn_rate({"timeout": 1}, objective=0.99, minimum_calls=20) is None
    assert burn_rate({"abandoned": 50}, objective=0.99) is None


@pytest.mark.parametrize("objective", [0.0, 1.0, 99.0])
def test_objective_without_a_budget_is_refused(objective: float) -> None:
    """The usual slip is a percentage."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        burn_rate({"ok": 1}, objective=objective)


@given(st.dictionaries(st.sampled_from(OUTCOMES), st.integers(0, 10**6)))
def test_burn_rate_and_budget_tell_the_same_story(outcomes: dict[Outcome, int]) -> None:
    """What burns faster than 1 leaves less than nothing."""
    rate = burn_rate(outcomes, objective=0.99)
    if rate is not None:
        left = ErrorBudget.of(outcomes, objective=0.99).left
        assert left == pytest.approx(1 - rate)


def test_policies_page_before_they_file_tickets() -> None:
    """Faster burns have shorter windows."""
    assert [policy.severity for policy in POLICIES] == ["page", "page", "ticket"]
    assert all(policy.short < policy.long for policy in POLICIES)
    assert [policy.rate for policy in POLICIES] == [14.4, 6.0, 1.0]
