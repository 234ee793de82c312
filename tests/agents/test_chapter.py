"""The chapter's helpers, drawings and exercises: what they say is what the modules compute."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from exercises.multi_agent import (
    BRIEF,
    EXERCISES,
    FERRY,
    SECONDS,
    TEAM,
    asked,
    recorded,
    rush,
    start_worker,
)
from matplotlib import pyplot as plt

from patterns.agents.balancer import Balancer
from patterns.agents.durable import DBOSEngine
from patterns.agents.plan import Agent, Plan, Task, lower_bound
from patterns.agents.report import Context
from patterns.agents.scheduler import run_plan
from patterns.core.models import SONNET
from patterns.course.views import agents as views
from patterns.fake_api import FakeAPI

WRITER = [Agent("writer")]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be displayed; figures are drawn in memory."""
    things: list[Any] = []
    plt.switch_backend("agg")
    monkeypatch.setattr(
        "IPython.display.display", lambda thing, **_: things.append(getattr(thing, "figure", thing))
    )
    return things


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_starter_is_not_enough_and_solution_passes(exercise: Any) -> None:
    """The starter runs and gets a hint."""
    assert not exercise.run(exercise.starter).passed
    assert exercise.run(exercise.solution).passed


WRONG = [(exercise, wrong) for exercise in EXERCISES for wrong in exercise.wrong]


@pytest.mark.parametrize(("exercise", "wrong"), WRONG)
def test_wrong_answers_are_turned_down_with_their_hint(exercise: Any, wrong: Any) -> None:
    """The hint says what is wrong with this answer."""
    grade = exercise.run(wrong.code)
    assert not grade.passed
    assert wrong.hint in grade.hint


def test_the_numbers_of_the_title_are_the_schedules() -> None:
    """29 by waves, 19 eager, and 19 is the bound."""
    call = views.taking(SECONDS)
    runs = [
        views.in_virtual_time(plan, WRITER, call, max_concurrency=4)
        for plan in (views.as_waves(BRIEF), BRIEF)
    ]
    assert [run.makespan for run in runs] == [29, 19]
    assert lower_bound(BRIEF, 4) == 19


def test_round_robin_takes_turns() -> None:
    """Whatever the limits say."""
    balancer, page = views.RoundRobin(), Task("page", "")
    turns = []
    for _ in range(4):
        agent = balancer.choose(page, [Agent("a"), Agent("b")], 0.0)
        assert agent
        balancer.started(page, agent, 0.0)
        turns.append(agent.name)
    assert turns == ["a", "b", "a", "b"]
    assert balancer.choose(page, [Agent("a", max_concurrency=1)], 0.0) is None


def test_headroom_blocks_no_call_where_round_robin_does() -> None:
    """On the fake API's own limits; all pages are done either way."""
    (robin, turned_down), (balanced, blocked) = rush(views.RoundRobin()), rush(Balancer())
    assert turned_down > 5
    assert blocked == 0
    assert robin.ok
    assert balanced.ok
    assert balanced.makespan < robin.makespan


def test_a_killed_worker_leaves_seven_tasks(tmp_path: Path) -> None:
    """They are recorded; the notebook's own call does the eighth."""
    url = f"sqlite:///{tmp_path}/runs.sqlite"

    async def again(agent: Agent, task: Task, context: Context) -> str:
        return f"{task.id} here"

    async def resume() -> dict[str, Any]:
        worker = start_worker(url)
        try:
            assert len(await recorded(url, 7)) == 7
        finally:
            worker.kill()
            worker.wait()
        async with DBOSEngine(url) as engine:
            report = await run_plan(
                FERRY, WRITER, again, max_concurrency=4, engine=engine, run_id="brief"
            )
        return report.outputs

    outputs = asyncio.run(resume())
    assert [name for name, text in outputs.items() if text.endswith("here")] == ["forecast"]


def test_tables_say_what_the_run_did() -> None:
    """Plan, results with their causes, and each agent's share."""
    plan = Plan(
        (
            Task("a", "Do a.", frozenset({"law"}), max_attempts=1),
            Task("b", "Do b, which is long and is cut after some letters.", depends_on=("a",)),
        )
    )

    async def call(agent: Agent, task: Task, context: Context) -> None:
        raise ValueError("no " * 30)

    report = views.in_virtual_time(plan, TEAM, call, max_concurrency=1)
    assert "a     law    –" in repr(views.plan_table(plan))
    results = repr(views.results_table(report, source="authored"))
    assert "failed   lawyer  lawyer: ValueError: no no" in results
    assert "needs 'a', which failed" in results
    assert results.endswith("authored")
    assert "lawyer      1" in repr(views.agents_table(report, source=""))


def test_the_table_of_widths_has_the_bound_beside_the_makespan() -> None:
    """Two at once is where the two differ."""
    table = repr(views.caps_table(BRIEF, WRITER, SECONDS))
    assert "2  24.5 s  26 s       1.06" in table


def test_the_gantt_chart_is_told_in_words_too(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """One panel a run, one bar a call, and calls that failed among them."""
    run = views.in_virtual_time(BRIEF, WRITER, views.failing(SECONDS, 0.4, 3), max_concurrency=4)
    views.gantt({"one": run, "two": run}, 19, title="Two runs", alt="Two Gantt charts.")
    [fig] = shown
    assert [len(axis.patches) for axis in fig.axes] == [len(run.attempts)] * 2
    assert capsys.readouterr().out == "Two Gantt charts.\n"


def test_the_knobs_lines_are_the_widgets(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Width shortens a run until the critical path does not let it."""
    lines = repr(views.knob_lines(BRIEF, WRITER, SECONDS)).splitlines()
    assert lines[1].startswith("4 at once, 0% of calls lost: 19.0 s on average, 8.0 calls")
    views.widget(BRIEF, WRITER, SECONDS)
    assert "4 at once, 20% of calls lost: 22.7 s on average" in capsys.readouterr().out
    [fig] = shown
    assert sum(bar.get_height() for bar in fig.axes[0].patches) == 40
    assert fig.get_suptitle() == "1.19 times the bound on average"


def test_the_knobs_reach_what_the_text_asks_for(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """One call at a time up to a width that helps no longer, with and without failures."""
    cap, rate = views.widget(BRIEF, WRITER, SECONDS).children[0].children
    rate.value = 0.0
    for cap.value, seconds in ((1, 49.0), (3, 19.0), (8, 19.0)):
        line = f"{cap.value} at once, 0% of calls lost: {seconds} s on average"
        assert line in capsys.readouterr().out
    assert len(shown) == 5


def test_who_was_asked_is_told_in_order() -> None:
    """And nobody, where a plan has no such task."""
    run = views.in_virtual_time(BRIEF, WRITER, views.taking(SECONDS), max_concurrency=4)
    assert (asked(run, "patents"), asked(run, "nothing")) == (["writer"], [])


def test_notes_keep_what_is_sent() -> None:
    """As a middleware of the async client."""
    notes = views.Notes()
    client = FakeAPI().async_client(middleware=[notes])
    turns: Any = [{"role": "user", "content": "hi"}]
    asyncio.run(client.messages.create(model=SONNET, max_tokens=10, messages=turns))
    assert notes.sent[0]["messages"] == turns
