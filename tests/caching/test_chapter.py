"""The chapter's drawings and exercises: what they say is what the modules compute."""

from decimal import Decimal

import pytest
from exercises.prompt_caching import OUTPUT, PLAIN, READS, RIGHT, WRITES
from matplotlib import pyplot as plt

from patterns.caching import CacheStats, Segment, break_even, plan_breakpoints
from patterns.caching.traffic import Gaps, Poisson
from patterns.core.models import SONNET
from patterns.core.pricing import rates
from patterns.course.views import caching


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw into memory."""
    plt.switch_backend("agg")
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)


def test_lifetimes_of_the_exercise_are_the_planners_choice() -> None:
    """What is called right is what costs least."""
    traffic = ((0.0, 40.0), (0.0, 1_200.0), (0.0, 86_400.0), (0.5, 10.0))
    for (changes, gap), right in zip(traffic, RIGHT.values(), strict=True):
        plan = plan_breakpoints([Segment("all", 9_000, changes)], SONNET, [gap])
        assert next((point.ttl for point in plan.breakpoints), None) == right


def test_week_of_the_exercise_is_priced_by_the_price_list() -> None:
    """An upgrade of the prices shows up here."""
    price = rates(SONNET)
    assert price is not None
    million = Decimal(1_000_000)
    assert 7 * 30_000 * price.cache_write_5m / million == WRITES
    assert 6_993 * 30_000 * price.cache_read / million == READS
    assert 7_000 * 200 * price.input / million == PLAIN
    assert 7_000 * 250 * price.output / million == OUTPUT


def test_plots_say_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """The alt texts hold what the curves cross at."""
    caching.plot_break_even()
    caching.plot_lifetimes()
    said = capsys.readouterr().out
    assert "cross 1 at 20.8% (5m) and 51.3% (1h)" in said
    assert "cross at 88 s" in said


def test_crossing_is_where_both_lifetimes_cost_the_same() -> None:
    """Five minutes are cheaper before it, an hour after."""
    at = caching.crossing(SONNET, 0.05)
    for gap, cheaper in ((at * 0.9, "5m"), (at * 1.1, "1h")):
        costs = {t: caching.relative_cost(SONNET, t, Poisson(gap), 0.05) for t in ("5m", "1h")}
        assert min(costs, key=lambda ttl: costs[ttl]) == cheaper


def test_relative_cost_of_a_steady_beat_is_a_read() -> None:
    """Every gap under the lifetime."""
    assert caching.relative_cost(SONNET, "5m", Gaps((60.0,)), 0) == pytest.approx(0.05)


def test_tables_hold_what_they_are_given() -> None:
    """Tokens and dollars of calls, break-even points, a plan with and without breakpoints."""
    calls = caching.token_table({"first": CacheStats()}, note="illustrative")
    assert "first" in repr(calls)
    assert repr(calls).endswith("illustrative")
    assert str(break_even(SONNET).read) in repr(caching.break_even_table())
    plan = plan_breakpoints(caching.prompt(3_000, 20_000, 30, 0), SONNET, [30])
    assert "125%" in repr(caching.plan_table(plan))
    empty = plan_breakpoints([Segment("question", 100, 1.0)], SONNET, [30])
    assert "planned     nowhere" in repr(caching.plan_table(empty))


def test_widget_draws_the_table_for_its_knobs() -> None:
    """Five knobs; a conversation instead of questions when turns grow."""
    widget = caching.planner_widget()
    assert len(widget.children[0].children) == 5
    assert [s.name for s in caching.prompt(1, 1, 0, 50)] == ["tools", "document", "turns"]
