"""The chapter's drawings and exercises: what they say is what the modules compute."""

import asyncio

import ipywidgets as widgets
import pytest
from exercises.prompt_caching import GAPS, _costs
from matplotlib import pyplot as plt

from patterns.caching import CacheStats, Segment, break_even, plan_breakpoints
from patterns.caching.traffic import Gaps, Poisson
from patterns.core.fan_out import fan_out
from patterns.core.models import SONNET
from patterns.course.views import caching
from patterns.fake_api import FakeAPI


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw into memory."""
    plt.switch_backend("agg")
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)


def test_lifetimes_of_the_exercise_are_the_planners_choice() -> None:
    """Long steady traffic: what is called right is what the planner calls cheapest."""
    for gap in (40, 1_200, 86_400):
        costs = _costs([gap] * 1_000)
        plan = plan_breakpoints([Segment("all", 9_000)], SONNET, [gap])
        chosen = next((point.ttl for point in plan.breakpoints), None)
        assert min(costs, key=lambda ttl: costs[ttl]) == chosen


def test_every_lifetime_is_right_for_some_traffic_of_the_exercise() -> None:
    """Else a constant would pass."""
    cheapest = [min(_costs(gaps).items(), key=lambda item: item[1])[0] for gaps, _ in GAPS]
    assert set(cheapest) == {"5m", "1h", None}


def test_differences_say_where_or_that_there_is_none() -> None:
    """A row for each request."""
    base = {"model": SONNET, "messages": [{"role": "user", "content": "Hi"}]}
    table = caching.difference_table(base, {"same": base, "other": {**base, "system": "x"}})
    assert table.rows[0] == ("same", "nowhere")
    assert table.rows[1][1].startswith("system")


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


@pytest.mark.parametrize(
    ("knob", "value"), [("changes, %", 100), ("turn grows", 500), ("document", 20_000)]
)
def test_widget_reaches_what_the_text_says(knob: str, value: int) -> None:
    """On a step of the slider, and within its ends."""
    controls = caching.planner_widget().children[0].children
    control = next(each for each in controls if each.description == knob)
    assert isinstance(control, widgets.IntSlider)
    assert control.min <= value <= control.max
    assert (value - control.min) % control.step == 0
    control.value = value


def test_knobs_of_the_text_change_the_plan_as_it_says() -> None:
    """No breakpoint after a document that always changes; automatic is nearly best for turns."""
    changing = plan_breakpoints(caching.prompt(3_000, 20_000, 100, 0), SONNET, Poisson(120))
    assert "document" not in [point.after for point in changing.breakpoints]
    single = plan_breakpoints(caching.prompt(3_000, 20_000, 30, 0), SONNET, Poisson(120))
    assert single.usd_automatic > single.usd_uncached
    turns = plan_breakpoints(caching.prompt(3_000, 20_000, 30, 500), SONNET, Poisson(120))
    assert turns.usd_automatic < turns.usd_uncached


def test_usages_of_a_fan_out_are_what_each_call_was_billed_for() -> None:
    """As the journal of the API has them."""
    api = FakeAPI()
    send = api.async_client().messages.create
    ask = {"model": SONNET, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    outcomes = fan_out([ask, ask], lambda job: send(**job), limit=2)  # type: ignore[call-overload]
    usages = asyncio.run(caching.usages_of(outcomes))
    billed = [(entry.usage or {})["input_tokens"] for entry in api.journal]
    assert [usage.input_tokens for usage in usages] == billed
