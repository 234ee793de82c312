"""Durable runs: recorded, joined, resumed, killed and taken over, on SQLite and PostgreSQL."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from agents_worker import CAP, expected, plan_for, seed_of
from anthropic.types import Usage
from dbos import DBOS, DBOSClient
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from patterns.agents.budget import Budget
from patterns.agents.coordinator import (
    Coordinated,
    NoSynthesis,
    NothingToSynthesize,
    coordinate,
)
from patterns.agents.durable import DBOSEngine, InWorkflow
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.records import CallNotRegistered, OtherPlan, RunStalled, UnknownRun
from patterns.agents.report import Context, Reply, RunReport
from patterns.agents.scheduler import Call, Interrupted, RunBroken, run_plan
from patterns.core.durable import EngineBusy, running
from patterns.core.messages import Refused
from patterns.fake_api import FakeAPI
from patterns.fake_api import Reply as Answer

WORKER = Path(__file__).parents[1] / "support" / "agents_worker.py"
PLAN = Plan(
    (
        Task("slow", "?"),
        Task("fast", "?"),
        Task("next", "?", depends_on=("fast",)),
        Task("last", "?", depends_on=("next", "slow")),
    )
)
A = Agent("a")
POISONED = (A, Agent("b", pool="another"))


class Script:
    """A call that counts, and that can be told to hang or to fail in a task."""

    def __init__(self, name: str = "", hang: str = "", fail: str = "", tokens: int = 0) -> None:
        self.name, self.hang, self.fail, self.tokens = name, hang, fail, tokens
        self.calls: Counter[str] = Counter()
        self.called = {task.id: asyncio.Event() for task in PLAN}
        self.hung, self.answered = asyncio.Event(), asyncio.Event()

    async def __call__(self, agent: Agent, task: Task, context: Context) -> Any:
        self.calls[task.id] += 1
        self.called.setdefault(task.id, asyncio.Event()).set()
        if task.id == self.hang:
            await self.hung.wait()
            self.answered.set()
        await asyncio.sleep(0.02 if task.id == "slow" else 0.0)
        if task.id == self.fail:
            raise Refused("poison")
        told = {"task": task.id, "by": self.name, "inputs": dict(context.inputs)}
        usage = (Usage(input_tokens=self.tokens, output_tokens=0),) if self.tokens else ()
        return Reply(told, usage)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return f"sqlite:///{tmp_path}/runs.sqlite"


Test = Callable[[DBOSEngine], Coroutine[Any, Any, None]]


def under(url: str, test: Test, **options: Any) -> None:
    """Run a test with an engine."""

    async def run() -> None:
        async with DBOSEngine(url, **{"lease_s": 1.0, **options}) as engine:
            await asyncio.wait_for(test(engine), 600)

    asyncio.run(run())


async def start(
    engine: DBOSEngine | None, call: Call | str, run_id: str = "r", **options: Any
) -> RunReport:
    options = {"max_concurrency": 4, "agents": [A], **options}
    return await run_plan(PLAN, call=call, engine=engine, run_id=run_id, **options)


def recorded_steps(url: str, run_id: str) -> set[str]:
    client = DBOSClient(system_database_url=url)
    steps = client.list_workflow_steps(run_id)
    client.destroy()
    return {step["function_name"] for step in steps}


async def until_recorded(url: str, run_id: str, names: set[str]) -> None:
    for _ in range(30_000):
        if names <= await asyncio.to_thread(recorded_steps, url, run_id):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(names)


async def until_awaited(engine: DBOSEngine) -> None:
    """Somebody waits for a workflow of another."""
    for _ in range(30_000):
        if engine.awaited:
            return
        await asyncio.sleep(0.01)


async def stop_in(engine: DBOSEngine, call: Script, run_id: str = "r") -> RunReport:
    """Start a run and interrupt it where `call` hangs."""
    job = asyncio.create_task(start(engine, call, run_id))
    await call.called[call.hang].wait()
    await call.called["next"].wait()
    await until_recorded(engine.url, run_id, {"fast", "next"})
    job.cancel()
    with pytest.raises(Interrupted) as raised:
        await job
    return raised.value.report


def test_both_engines_give_the_same_results(url: str) -> None:
    """Outputs, agents and statuses; only the seconds differ."""

    async def test(engine: DBOSEngine) -> None:
        recorded, here = await start(engine, Script()), await start(None, Script())
        assert recorded.outputs == here.outputs
        assert recorded.outputs["last"]["inputs"].keys() == {"next", "slow"}
        assert [each.agent for each in recorded.attempts] == ["a"] * 4

    under(url, test)


def test_a_finished_run_is_read_not_repeated(url: str) -> None:
    """The same id gives the same report, also to another process."""

    async def first(engine: DBOSEngine) -> None:
        assert (await start(engine, Script())).ok

    async def second(engine: DBOSEngine) -> None:
        call = Script()
        assert (await start(engine, call)).ok
        assert not call.calls
        await asyncio.to_thread(str)  # the loop's thread pool works

    under(url, first)
    under(url, second)


def test_a_finished_run_is_read_with_all_that_has_no_output(url: str) -> None:
    """What failed, what was skipped and why; nothing is begun again."""

    async def test(engine: DBOSEngine) -> None:
        report, call = await start(engine, Script(fail="fast"), agents=POISONED), Script()
        assert (await start(engine, call, agents=POISONED)).results == report.results
        assert (await engine.resume("r", call)).results == report.results
        short: dict[str, Any] = {"budget": Budget(tokens=150), "max_concurrency": 1}
        ended = await start(engine, Script(tokens=100), "short", **short)
        assert (await start(engine, call, "short", **short)).results == ended.results
        assert not call.calls
        assert [record and record.generation for record in map(engine.record, ["r", "short"])] == [
            1,
            1,
        ]

    under(url, test)


def test_a_run_that_has_ended_is_looked_after_no_more(url: str) -> None:
    """However many runs an engine has had, its loop has no more tasks than after the first."""

    async def test(engine: DBOSEngine) -> None:
        await start(engine, Script(), "first")
        await asyncio.sleep(0.2)
        few = len(asyncio.all_tasks())
        for n in range(3):
            await start(engine, Script(), f"r{n}")
        for _ in range(1_000):
            if len(asyncio.all_tasks()) <= few:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(asyncio.all_tasks())

    under(url, test)


def test_an_interrupted_run_goes_on_where_it_stopped(url: str) -> None:
    """In the same process: what was finished is kept, what was under way runs again."""

    async def test(engine: DBOSEngine) -> None:
        report = await stop_in(engine, Script(hang="slow"))
        assert report.stopped == "interrupted"
        assert {"fast"} <= report.outputs.keys() <= {"fast", "next"}  # it may be on its way back
        call = Script()
        assert (await start(engine, call)).ok
        assert call.calls == {"slow": 1, "last": 1}

    under(url, test)


@DBOS.workflow(name="tests.with_a_plan")
async def with_a_plan(service: str, call: str = "") -> str:
    """A workflow of one's own that has a plan in its middle."""
    run: Any = call or running().services[service]
    report = await run_plan(PLAN, [A], run, max_concurrency=4, engine=InWorkflow())
    return " ".join(report.outputs)


def test_a_plan_in_a_workflow_of_ones_own_goes_on_where_it_stopped(url: str) -> None:
    """Each task is a step of that workflow; the next process asks for the unrecorded one alone."""

    def starting(call: Script) -> Test:
        async def test(engine: DBOSEngine) -> None:
            await engine.serve()
            engine.enqueue("tests.with_a_plan", "mine", "call")
            if call.hang:
                await call.called[call.hang].wait()
                return await until_recorded(url, "mine", {"slow", "fast", "next"})
            ended = await asyncio.to_thread(engine.wait, "mine")
            assert ended.output == "slow fast next last"
            assert call.calls == {"last": 1}
            return None

        return test

    for call in (Script(hang="last"), Script()):
        under(url, starting(call), calls={"call": call})


def test_a_plan_in_a_workflow_needs_the_call_itself(url: str) -> None:
    """Names belong to runs that an engine hands from worker to worker."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        engine.enqueue("tests.with_a_plan", "mine", "call", "by name")
        ended = await asyncio.to_thread(engine.wait, "mine")
        assert ended.status == "ERROR"

    under(url, test, calls={"call": Script()})


def test_resuming_a_run_that_is_under_way_joins_it(url: str) -> None:
    """Where nothing is changed; its calls go on, and both get the report."""

    async def test(engine: DBOSEngine) -> None:
        call = Script(hang="slow")
        first = asyncio.create_task(start(engine, call))
        await call.called["next"].wait()
        second = asyncio.create_task(engine.resume("r", call))
        await until_recorded(url, "r", {"fast", "next"})
        await asyncio.sleep(0.2)
        call.hung.set()
        assert await first == await second
        assert call.calls == Counter([*PLAN.by_id])

    under(url, test)


def test_two_callers_of_one_run_get_the_same_report(url: str) -> None:
    """The second joins the first; each task is asked for once."""

    async def test(engine: DBOSEngine) -> None:
        call = Script()
        first, second = await asyncio.gather(start(engine, call), start(engine, call))
        assert first == second
        assert call.calls == Counter(["slow", "fast", "next", "last"])

    under(url, test)


# Who runs what.


def by(report: RunReport) -> set[str]:
    """The names of the calls that answered."""
    return {output["by"] for output in report.outputs.values()}


def test_a_run_goes_on_at_any_worker_that_has_its_call(url: str) -> None:
    """By name, by itself, and with that worker's function."""

    async def stopped(engine: DBOSEngine) -> None:
        await stop_in(engine, engine.services["ask"])

    async def started_again(engine: DBOSEngine) -> None:
        await engine.serve()
        await engine.services["ask"].called["last"].wait()
        report = await start(engine, "ask")
        assert report.outputs["last"]["by"] == "second"
        assert report.outputs["fast"]["by"] == "first"
        assert engine.services["ask"].calls == {"slow": 1, "last": 1}

    under(url, stopped, calls={"ask": Script("first", hang="slow")})
    under(url, started_again, calls={"ask": Script("second")})


def test_two_runs_of_one_process_never_exchange_their_calls(url: str) -> None:
    """After a crash each goes on with its own: one is passed again, the other waits for it."""

    async def crashed(engine: DBOSEngine) -> None:
        await asyncio.gather(
            stop_in(engine, Script("for a", hang="slow"), "a"),
            stop_in(engine, Script("for b", hang="slow"), "b"),
        )

    async def later(engine: DBOSEngine) -> None:
        first = Script("for a")
        assert by(await start(engine, first, "a")) == {"for a"}
        await asyncio.sleep(1.5)  # long enough for a worker that looks after others' runs
        record = engine.record("b")
        assert record
        assert (record.status.status, [*record.report().outputs]) == ("PENDING", ["fast", "next"])
        assert {
            one["by"] for one in (await start(engine, Script("for b"), "b")).outputs.values()
        } == {"for b"}
        assert first.calls == {"slow": 1, "last": 1}

    under(url, crashed)
    under(url, later, calls={"other": Script("other")})


def test_of_two_runs_that_take_one_id_at_once_one_is_turned_down(url: str) -> None:
    """The same for two that resume it, each with a plan of its own: no call is made for another."""

    def asking(word: str) -> Plan:
        return Plan(tuple(replace(task, prompt=word) for task in PLAN))

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()

        def begin(word: str, call: Call) -> Coroutine[Any, Any, RunReport]:
            limits: Any = {"max_concurrency": 4, "engine": engine, "run_id": "r"}
            return run_plan(asking(word), [A], call, **limits)

        def resume(word: str, call: Call) -> Coroutine[Any, Any, RunReport]:
            return engine.resume("r", call, plan=asking(word))

        for go, words in ((begin, "ab"), (resume, "cd")):
            calls = [Script(word) for word in words]
            ended = await asyncio.gather(*map(go, words, calls), return_exceptions=True)
            for word, call, report in zip(words, calls, ended, strict=True):
                if isinstance(report, RunReport):
                    assert (report.plan, by(report)) == (asking(word), {word})
                elif isinstance(report, OtherPlan):
                    assert not call.calls
                else:  # it had begun when the other resumed it
                    assert isinstance(report, RunBroken | Interrupted)
            assert RunReport in map(type, ended)
            if go is begin:
                assert OtherPlan in map(type, ended)

    under(url, test)


def test_a_run_whose_call_is_not_here_is_reported_not_served(url: str) -> None:
    """With the name that is missing, whoever asks, and however."""

    async def left(engine: DBOSEngine) -> None:
        await stop_in(engine, engine.services["ask"])

    async def found(engine: DBOSEngine) -> None:
        await engine.serve()
        with pytest.raises(CallNotRegistered, match="asks for the call 'ask'"):
            await engine.resume("r")
        with pytest.raises(CallNotRegistered, match="asks for the call 'ask'"):
            await start(engine, "ask")
        with pytest.raises(UnknownRun, match="no run 'x'"):
            await engine.resume("x", Script())

    async def nameless(engine: DBOSEngine) -> None:
        await start(engine, Script(), "n")
        with pytest.raises(CallNotRegistered, match="a call without a name"):
            await engine.resume("n", retry_failed=True)

    under(url, left, calls={"ask": Script(hang="slow")})
    under(url, found)
    under(url, nameless)


def test_ids_that_look_alike_are_apart(url: str) -> None:
    """A colon in an id is no seam: neither a resumption's nor a task's."""

    async def test(engine: DBOSEngine) -> None:
        await start(engine, Script("plain", fail="fast"), "a")
        await start(engine, Script("colon"), "a:2")
        await engine.resume("a", Script("again"), retry_failed=True)
        again, colon = engine.record("a"), engine.record("a:2")
        assert again
        assert colon
        assert again.report().outputs["fast"]["by"] == "again"
        assert colon.report().outputs["fast"]["by"] == "colon"

    under(url, test)
    keys = {Context(run, task, 1, {}).idempotency_key for run, task in (("a", "b:c"), ("a:b", "c"))}
    assert len(keys) == 2


def test_closing_the_engine_leaves_its_runs_to_others(url: str) -> None:
    """What hangs is cut off; nothing holds it any more, and who comes next goes on with it."""

    async def left(engine: DBOSEngine) -> None:
        call = Script(hang="slow")
        job = asyncio.create_task(start(engine, call))
        await call.called["slow"].wait()
        await until_recorded(url, "r", {"fast", "next"})
        await engine.close()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        assert not engine.living(engine.executor_id)

    async def goes_on(engine: DBOSEngine) -> None:
        call = Script("second")
        report = await start(engine, call)
        assert report.ok
        assert {*call.calls} == {"slow", "last"}

    under(url, left, executor_id="w1")
    under(url, goes_on, executor_id="w2")


@pytest.mark.slow
def test_who_only_waits_for_a_run_may_stop_waiting(url: str, tmp_path: Path) -> None:
    """The run belongs to another process, so cancelling is not its interruption."""
    trial = Trial(url, tmp_path / "log")

    async def waits(engine: DBOSEngine) -> None:
        plan = plan_for(3)[0]
        job = asyncio.create_task(
            run_plan(plan, trial.agents, Script(), max_concurrency=CAP, engine=engine, run_id="r-3")
        )
        await until_awaited(engine)
        job.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await job
        assert not isinstance(raised.value, Interrupted)

    try:
        trial.start("w1", "work", "r-3")
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= 2)
        under(url, waits, executor_id="w2")
        trial.wait_for(lambda lines: any("done" in line for line in lines))
        assert trial.outputs("r-3") == expected("work", "r-3")
    finally:
        trial.end()


def test_a_run_that_records_nothing_is_reported_with_who_holds_it(url: str) -> None:
    """The process that really has the work, and what is recorded so far."""

    async def test(engine: DBOSEngine) -> None:
        hanging = Script(hang="slow")
        job = asyncio.create_task(start(engine, hanging))
        await hanging.called["slow"].wait()
        await until_recorded(engine.url, "r", {"fast", "next"})
        engine.patience_s = 0.1
        with pytest.raises(RunStalled, match="end a process that hangs") as raised:
            await job
        assert raised.value.holders == (engine.executor_id,)
        assert raised.value.report.outputs.keys() == {"fast", "next"}
        engine.patience_s, call = 900, Script()
        await engine.resume("r", call, max_concurrency=2)
        assert call.calls == {"slow": 1, "last": 1}
        [before] = engine.client.list_workflows(workflow_ids=["r"])
        assert (before.status, engine.under_way) == ("CANCELLED", {})  # nobody goes on with it

    under(url, test)


def test_tasks_for_which_there_is_no_worker_are_reported(url: str) -> None:
    """They wait in the queue; nobody holds them."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        engine.enqueue = lambda *args, **_: None  # type: ignore[method-assign]
        with pytest.raises(RunStalled, match="held by"):
            await start(engine, "ask")

    under(url, test, patience_s=0.4, queue=True, calls={"ask": Script()})


def test_one_engine_per_process(url: str) -> None:
    """The second is told who is there; closing the one that never started does nothing."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        await engine.serve()
        async with DBOSEngine("sqlite:///other.sqlite") as other:
            with pytest.raises(EngineBusy, match="close it first"):
                await other.serve()

    under(url, test)


def test_an_output_that_is_not_json_fails_its_task(url: str) -> None:
    """And skips what depends on it, like any failure."""

    async def call(agent: Agent, task: Task, context: Context) -> Any:
        return object() if task.id == "fast" else task.id

    async def test(engine: DBOSEngine) -> None:
        report = await start(engine, call)
        assert report.missing == ("fast", "next", "last")
        assert "Unable to serialize unknown type" in report.results["fast"].cause

    under(url, test)


@pytest.mark.parametrize("output", ["\ud800", "", "ß\0", 1.5, float("inf"), [None, {"a": [True]}]])
def test_outputs_come_back_as_they_were(url: str, output: Any) -> None:
    """Lone surrogates, infinity and all, in this process and in the next."""

    async def call(agent: Agent, task: Task, context: Context) -> Any:
        return output

    async def test(engine: DBOSEngine) -> None:
        assert (await start(engine, call)).outputs == dict.fromkeys(PLAN.by_id, output)

    under(url, test)
    under(url, test)


# Whatever way it ends, there is a call that goes on, and nothing recorded is asked for again.


def test_another_plan_under_a_recorded_id_says_how_to_go_on(url: str) -> None:
    """It is a mistake, not a resumption, until it is called one."""

    async def test(engine: DBOSEngine) -> None:
        await start(engine, Script())
        with pytest.raises(OtherPlan, match=r"\(max_concurrency, budget differ\); engine.resume"):
            await start(engine, Script(), max_concurrency=2, budget=Budget(tokens=9))
        with pytest.raises(OtherPlan, match=r"\(plan differ"):
            other = Plan((Task("x", ""),))
            await run_plan(other, [A], Script(), max_concurrency=4, engine=engine, run_id="r")

    under(url, test)


def edited(**prompts: str) -> Plan:
    """The plan with other prompts for some tasks."""
    return Plan(tuple(replace(task, prompt=prompts.get(task.id, task.prompt)) for task in PLAN))


@pytest.mark.parametrize(
    ("first", "options", "changes", "again"),
    [
        ({"fail": "fast"}, {}, {"retry_failed": True}, ["fast", "next", "last"]),
        ({"fail": "fast"}, {}, {}, []),
        ({"fail": "fast"}, {"agents": POISONED}, {"retry_failed": True}, ["fast", "next", "last"]),
        ({"fail": "next"}, {}, {"plan": edited(next="another way")}, ["next", "last"]),
        ({}, {}, {"plan": edited(fast="other")}, ["fast", "next", "last"]),
        ({}, {}, {"agents": (Agent("a", "described anew"), Agent("b"))}, []),
        ({}, {}, {"max_concurrency": 1, "budget": Budget(tokens=1)}, []),
        ({}, {}, {"plan": Plan((*PLAN, Task("more", "", depends_on=("last",))))}, ["more"]),
        (
            {"tokens": 100},
            {"budget": Budget(tokens=250), "max_concurrency": 1},
            {"budget": Budget(tokens=999)},
            ["next", "last"],
        ),
        (
            {"hang": "next"},
            {"deadline_s": 3.0},
            {"deadline_s": 60.0},
            ["next", "last"],
        ),
    ],
    ids=[
        "refused, once more",
        "refused, as it is",
        "a poisoned task that two agents refused",
        "refused, asked another way",
        "edited after the end",
        "agents edited",
        "limits edited",
        "a task more",
        "budget",
        "deadline",
    ],
)
def test_a_run_goes_on_however_it_ended(
    url: str,
    first: dict[str, Any],
    options: dict[str, Any],
    changes: dict[str, Any],
    again: list[str],
) -> None:
    """What will be asked for is told beforehand, and it is all that is asked for."""

    async def ends(engine: DBOSEngine) -> None:
        await start(engine, Script("first", **first), **options)

    async def goes_on(engine: DBOSEngine) -> None:
        before = engine.record("r")
        ahead = await engine.outlook("r", **changes)
        call = Script("second", tokens=first.get("tokens", 0))
        report = await engine.resume("r", call, **changes)
        assert [*ahead.again] == again
        assert call.calls == Counter(again)
        assert before
        for name in ahead.kept:
            assert report.results[name] == before.results[name]
        assert report.ok == (again != [] or not first)
        assert (await engine.resume("r", call)).outputs == report.outputs
        assert call.calls == Counter(again)
        ran_s = before.report().makespan
        new = [report.results[name].attempts[-1].started for name in again]
        assert [ran_s <= at < ran_s + 60 for at in new] == [True] * len(new)
        paid = [attempt for result in before.results.values() for attempt in result.attempts]
        assert not [one for one in paid if one not in report.attempts and "plan" not in changes]

    under(url, ends)
    under(url, goes_on, clock=lambda: time.time() + 3_600)  # an hour in which nothing ran


def full_disk(url: str, table: str, after: int) -> None:
    """Have the database refuse what comes after so many rows, as a full disk does."""
    of = {
        "operation_outputs": f"INSERT ON operation_outputs WHEN (SELECT count(*) FROM "
        f"operation_outputs) >= {after}",
        "workflow_status": "UPDATE ON workflow_status WHEN NEW.status IN ('SUCCESS', 'ERROR')",
    }
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(
            f"CREATE TRIGGER full BEFORE {of[table]} BEGIN "
            "SELECT RAISE(ABORT, 'database or disk is full'); END"
        )


def more_room(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("DROP TRIGGER full")


def test_a_queued_task_that_its_run_could_not_record_is_not_paid_again(url: str) -> None:
    """Its worker has recorded it: the run that goes on with a change takes it from there."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        full_disk(url, "operation_outputs", 1)
        with pytest.raises(RunBroken):
            await start(engine, "ask", max_concurrency=1, budget=Budget(tokens=900))
        more_room(url)
        call = engine.services["ask"]
        assert [*call.calls.values()] == [1, 1]
        report = await engine.resume("r", budget=Budget(tokens=400))
        assert call.calls == Counter([*PLAN.by_id])
        assert report.ok
        assert [len(result.attempts) for result in report.results.values()] == [1] * 4

    under(url, test, queue=True, calls={"ask": Script(tokens=100)})


@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize(
    ("table", "after"), [("operation_outputs", n) for n in range(4)] + [("workflow_status", 0)]
)
def test_a_full_disk_breaks_a_run_off_and_no_more(
    url: str, table: str, after: int, same_process: bool
) -> None:
    """At every step, and where the report is written: told with what is done, and it goes on."""

    async def breaks(engine: DBOSEngine) -> None:
        await engine.serve()
        full_disk(url, table, after)
        call = Script("first")
        with pytest.raises(RunBroken, match="database or disk is full") as raised:
            await start(engine, call, max_concurrency=1)
        kept = recorded_steps(url, "r")
        assert len(kept) == (after if table == "operation_outputs" else 4)
        assert raised.value.report.outputs.keys() == kept
        more_room(url)
        if same_process:
            await goes_on(engine)

    async def goes_on(engine: DBOSEngine) -> None:
        kept, call = recorded_steps(url, "r"), Script("second")
        report = await start(engine, call, max_concurrency=1)
        assert report.ok
        assert call.calls == Counter(PLAN.by_id.keys() - kept)
        assert {name: each["by"] for name, each in report.outputs.items()} == {
            name: "first" if name in kept else "second" for name in PLAN.by_id
        }

    under(url, breaks)
    if not same_process:
        under(url, goes_on)


def test_who_only_joined_a_run_that_breaks_off_is_told_what_is_done(url: str) -> None:
    """As who started it, though it reads the end from the database."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        full_disk(url, "operation_outputs", 2)
        call = Script(hang="slow")
        first = asyncio.create_task(start(engine, call))
        await call.called["next"].wait()
        second = asyncio.create_task(start(engine, call))
        await until_recorded(url, "r", {"fast", "next"})
        await until_awaited(engine)
        call.hung.set()
        for each in await asyncio.gather(first, second, return_exceptions=True):
            assert isinstance(each, RunBroken)
            assert each.report.outputs.keys() == {"fast", "next"}

    under(url, test)


def test_a_run_that_broke_off_does_not_try_again_what_had_failed_for_good(url: str) -> None:
    """Started again under its id, it goes on; `resume` tries again when it is told to."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        full_disk(url, "operation_outputs", 2)
        with pytest.raises(RunBroken):
            await start(engine, Script(fail="slow"), max_concurrency=1)
        more_room(url)
        call = Script()
        report = await start(engine, call, max_concurrency=1)
        assert (call.calls, report.missing) == (Counter(["next"]), ("slow", "last"))

    under(url, test)


def lose(url: str, *, back: bool) -> None:
    """Have the server turn every connection away, those that are open too; or let them in again."""
    place = make_url(url)
    admin = place.set(drivername="postgresql", database="template1")
    with psycopg.connect(admin.render_as_string(hide_password=False), autocommit=True) as server:
        server.execute(f"ALTER DATABASE {place.database} ALLOW_CONNECTIONS {back}")
        look = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        server.execute(look, [place.database])


def test_a_database_that_is_lost_for_a_while_costs_no_step(postgres: str) -> None:
    """The run waits for it; what is recorded stays, and no call is made twice."""

    async def test(engine: DBOSEngine) -> None:
        call = Script("first", hang="last")
        job = asyncio.create_task(start(engine, call, "lost"))
        await call.called["last"].wait()
        await until_recorded(postgres, "lost", {"slow", "fast", "next"})
        await asyncio.to_thread(lose, postgres, back=False)
        with pytest.raises(OperationalError):
            await asyncio.to_thread(engine.database.connect)
        call.hung.set()
        await call.answered.wait()  # and its result cannot be written yet
        await asyncio.to_thread(lose, postgres, back=True)
        report = await job
        assert report.ok
        assert call.calls == Counter([*PLAN.by_id])

    under(postgres, test)


DRAFT = {"id": "a", "prompt": "Do a.", "needs": [], "depends_on": [], "required": True}


def scripted(answers: Sequence[Any]) -> FakeAPI:
    """A fake API that gives these answers in turn."""
    api = FakeAPI()
    for answer in answers:
        api.enqueue(json.dumps(answer) if isinstance(answer, dict) else answer)
    return api


@pytest.mark.parametrize(
    ("ends_with", "answers", "kept"),
    [
        (Refused, [Answer(refusal="bio")], 0),
        (NothingToSynthesize, [{"tasks": [DRAFT]}, Answer(refusal="bio")], 1),
        (NoSynthesis, [{"tasks": [DRAFT]}, "Done a.", Answer(refusal="bio")], 2),
        (type(None), [{"tasks": [DRAFT]}, "Done a.", "Buy."], 3),
    ],
)
def test_a_goal_goes_on_with_what_was_paid(
    url: str, ends_with: type[Exception], answers: list[Any], kept: int
) -> None:
    """Plan, work and answer are recorded; asked again, only what failed costs another call."""
    texts: list[Any] = [{"tasks": [DRAFT]}, "Done a.", "Buy."]

    async def goal(engine: DBOSEngine, api: FakeAPI, **options: Any) -> Coordinated:
        client = api.async_client(max_retries=0)
        return await coordinate(
            "Buy?", [A], client=client, max_concurrency=2, engine=engine, **options
        )

    async def ends(engine: DBOSEngine) -> None:
        api = scripted(answers)
        with pytest.raises(ends_with) if kept < 3 else nullcontext():
            await goal(engine, api)
        assert len(api.journal) == len(answers)

    async def goes_on(engine: DBOSEngine) -> None:
        api = scripted(texts[kept:])
        done = await goal(engine, api, budget=Budget(tokens=99_999))
        assert done.text == "Buy."
        assert len(api.journal) == 3 - kept
        assert [*done.report.outputs] == ["a"]

    under(url, ends)
    under(url, goes_on)


def test_another_goal_needs_another_id(url: str) -> None:
    """Its plan would be the other's."""

    async def test(engine: DBOSEngine) -> None:
        api = scripted([{"tasks": [DRAFT]}, "Done a.", "Buy."])
        options: dict[str, Any] = {"client": api.async_client(), "max_concurrency": 2}
        await coordinate("Buy?", [A], engine=engine, **options)
        with pytest.raises(OtherPlan, match="run/plan"):
            await coordinate("Sell?", [A], engine=engine, **options)

    under(url, test)


# Queued tasks: each a workflow of its own, on whichever worker is free.


def test_tasks_can_be_queued_for_any_worker(url: str) -> None:
    """With their inputs, and the results are the same; a call without a name stays here."""

    async def test(engine: DBOSEngine) -> None:
        call = engine.services["ask"]
        queued, here = await start(engine, call), await start(None, Script())
        assert queued.outputs == here.outputs
        slow, fast, following, last = queued.attempts
        assert 0 < fast.started < fast.ended < following.started < last.started
        assert slow.ended < last.started < last.ended < 600  # seconds since the run began
        assert call.calls == Counter(["slow", "fast", "next", "last"])
        assert (await start(engine, Script("here"), "other")).ok

    under(url, test, queue=True, calls={"ask": Script()})


def test_what_a_resumed_run_had_queued_before_is_called_off(url: str) -> None:
    """Else another worker would still take it, and be paid for it."""

    async def test(engine: DBOSEngine) -> None:
        call = engine.services["ask"]
        before = asyncio.create_task(start(engine, "ask"))
        await call.called["slow"].wait()
        await until_recorded(url, "r", {"fast", "next"})
        call.hang = ""
        assert (await engine.resume("r", budget=Budget(tokens=9_999))).ok
        found = engine.client.list_workflows(workflow_id_prefix="r:1:")
        assert {one.workflow_id: one.status for one in found}["r:1:slow"] == "CANCELLED"
        call.hung.set()
        await asyncio.gather(before, return_exceptions=True)

    under(url, test, queue=True, calls={"ask": Script(hang="slow")})


@pytest.mark.parametrize(("first", "then"), [(True, False), (False, True)])
def test_a_budget_is_one_wherever_the_tasks_run(url: str, first: bool, then: bool) -> None:
    """Queued before and not queued now, or the other way round: what was spent is spent."""
    wide = Plan(tuple(Task(f"t{n}", "") for n in range(9)))
    options: dict[str, Any] = {"max_concurrency": 2, "run_id": "r"}

    async def begins(engine: DBOSEngine) -> None:
        await run_plan(wide, [A], "ask", budget=Budget(tokens=400), engine=engine, **options)

    async def goes_on(engine: DBOSEngine) -> None:
        report = await engine.resume("r", budget=Budget(tokens=700))
        assert (len(report.outputs), report.stopped) == (7, "budget")
        assert sum(call.calls.values()) == 7

    call = Script(tokens=100)
    under(url, begins, queue=first, calls={"ask": call})
    under(url, goes_on, queue=then, calls={"ask": call})


def test_a_run_without_a_budget_that_is_given_one_counts_what_it_has_spent(url: str) -> None:
    """Its results tell it."""

    async def test(engine: DBOSEngine) -> None:
        await start(engine, Script(tokens=100, fail="last"), max_concurrency=1)
        call = Script(tokens=100)
        report = await engine.resume("r", call, retry_failed=True, budget=Budget(tokens=300))
        assert (report.stopped, call.calls) == ("budget", {})

    under(url, test)


def test_closing_a_worker_ends_its_queued_tasks(url: str) -> None:
    """A call that nobody waits for any more is not paid on."""

    async def test(engine: DBOSEngine) -> None:
        call = engine.services["ask"]
        job = asyncio.create_task(start(engine, "ask"))
        await call.called["slow"].wait()
        await engine.close()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        call.hung.set()
        await asyncio.sleep(0.1)
        assert not call.answered.is_set()

    under(url, test, queue=True, calls={"ask": Script(hang="slow")})


def test_queued_tasks_share_one_budget(url: str) -> None:
    """Every worker sets aside in the database what its call is expected to take."""

    async def test(engine: DBOSEngine) -> None:
        wide = Plan(tuple(Task(f"t{n}", "") for n in range(12)))
        budget = Budget(tokens=450)
        options: dict[str, Any] = {"max_concurrency": 12, "engine": engine, "run_id": "r"}
        report = await run_plan(wide, [A], "ask", budget=budget, **options)
        assert len(report.outputs) == 4
        assert report.stopped == "budget"
        assert sum(engine.services["ask"].calls.values()) == 4
        report = await engine.resume("r", budget=Budget(tokens=700))
        assert sum(engine.services["ask"].calls.values()) == len(report.outputs) == 7

    under(url, test, queue=True, calls={"ask": Script(tokens=100)}, at_once=12)


def test_a_budget_in_dollars_may_be_a_float(url: str) -> None:
    """A tenth comes back from the database as the same tenth, so the run is joined."""

    async def test(engine: DBOSEngine) -> None:
        budget: Any = Budget(usd=0.1)  # type: ignore[arg-type]
        await start(engine, Script(), budget=budget)
        assert (await start(engine, Script(), budget=budget)).ok

    under(url, test)


def test_a_look_at_the_database_that_fails_is_told_to_who_waits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run would wait for its queued tasks until somebody looks after it."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve()
        looks = engine.client.list_workflows

        def damaged(**options: Any) -> Any:
            if "SUCCESS" in options.get("status", ()) and options.get("workflow_ids"):
                raise OperationalError("SELECT", {}, Exception("disk image is malformed"))
            return looks(**options)

        monkeypatch.setattr(engine.client, "list_workflows", damaged)
        with pytest.raises(RunBroken, match="disk image is malformed"):
            await start(engine, "ask")
        monkeypatch.undo()
        assert (await start(engine, "ask")).ok

    under(url, test, queue=True, calls={"ask": Script()})


# What follows kills real processes.


class Trial:
    """Workers as processes on one database, and the log of their calls."""

    agents = (Agent("a", pool="one"), Agent("b", pool="two"))

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, call: str, run_ids: str, *queue: str) -> subprocess.Popen[bytes]:
        words = [self.url, name, str(self.log), call, run_ids, *queue]
        self.processes.append(
            subprocess.Popen([sys.executable, str(WORKER), *words], cwd=WORKER.parents[2])
        )
        return self.processes[-1]

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def wait_for(self, enough: Callable[[list[dict[str, Any]]], bool]) -> None:
        until = time.monotonic() + 600
        while not enough(self.lines()):
            assert time.monotonic() < until, self.lines()[-5:]
            time.sleep(0.01)

    def started(self, *processes: subprocess.Popen[bytes]) -> list[tuple[str, str]]:
        pids = {process.pid for process in processes}
        lines = [line for line in self.lines() if line["pid"] in pids and "started" in line]
        return [(line["run"], line["started"]) for line in lines]

    def outputs(self, run_id: str) -> dict[str, str]:
        done = [line for line in self.lines() if line.get("done") == run_id]
        return dict(done[-1]["outputs"])

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def end(self) -> None:
        for process in self.processes:
            self.kill(process)


def kill_and_resume(url: str, tmp_path: Path, after: int, runs: Sequence[str]) -> None:
    """Kill -9 a process with some runs after so many calls; another finishes them by itself.

    Each process has a call of its own beside the one that they share, so that a mix-up shows.
    """
    trial = Trial(url, tmp_path / f"log-{'+'.join(runs)}-{after}")
    try:
        first = trial.start("w1", "work", ",".join(runs))
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= after)
        trial.kill(first)
        kept = {(run, task) for run in runs for task in recorded_steps(url, run)}
        second = trial.start("w2", "work", ",".join(runs))
        assert second.wait(600) == 0
        assert {run: trial.outputs(run) for run in runs} == {
            run: expected("work", run) for run in runs
        }
        again = trial.started(second)
        assert not kept & set(again)
        assert len(again) == len(set(again))
        assert len(set(trial.started(first)) & set(again)) <= CAP * len(runs)
    finally:
        trial.end()


def sessions_side_by_side(url: str, tmp_path: Path) -> None:
    """Three processes with default settings and two runs each, of three calls; one is killed."""
    trial = Trial(url, tmp_path / "log-side")
    own = {"one": "a-1,b-2", "two": "c-1,d-2", "three": "e-1,f-2"}
    try:
        workers = {call: trial.start("worker", call, runs) for call, runs in own.items()}
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= 40)
        trial.kill(workers["two"])
        for call in ("one", "three"):
            assert workers[call].wait(600) == 0
        assert {run for run, _ in trial.started(workers["one"], workers["three"])} == {
            "a-1", "b-2", "e-1", "f-2",
        }  # fmt: skip
        assert trial.start("worker", "two", own["two"]).wait(600) == 0
        for call, runs in own.items():
            for run in runs.split(","):
                assert trial.outputs(run) == expected(call, run)
    finally:
        trial.end()


def lose_one_of_three(url: str, tmp_path: Path) -> None:
    """Queued tasks on three workers, one of which is killed: nothing is lost, mixed up or stuck."""
    trial, run = Trial(url, tmp_path / "log-three"), "r-7"
    try:
        others = [trial.start(name, "work", "-", "queue") for name in ("w2", "w3")]
        trial.wait_for(lambda lines: sum("serving" in line for line in lines) == 2)
        parent = trial.start("w1", "work", run, "queue")
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= 8)
        trial.kill(others[0])
        assert parent.wait(600) == 0
        assert trial.outputs(run) == expected("work", run)
        assert set(trial.started(*trial.processes)) == {
            (run, task.id) for task in plan_for(seed_of(run))[0]
        }
    finally:
        trial.end()


def lose_who_started_it(url: str, tmp_path: Path) -> None:
    """The process that started a run is killed: a worker with the same call finishes it."""
    trial, run = Trial(url, tmp_path / "log-lost"), "r-5"

    async def wait_for_it(engine: DBOSEngine) -> None:
        plan = plan_for(5)[0]
        report = await run_plan(
            plan, trial.agents, "none", max_concurrency=CAP, engine=engine, run_id=run
        )
        assert report.outputs == expected("work", run)

    async def never(agent: Agent, task: Task, context: Context) -> str:
        raise AssertionError(task)

    try:
        trial.start("w2", "work", "-")
        trial.wait_for(lambda lines: any("serving" in line for line in lines))
        dead = trial.start("w1", "work", run)
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= 8)
        trial.kill(dead)
        trial.wait_for(lambda lines: len({line.get("started") for line in lines}) > 20)
        under(url, wait_for_it, calls={"none": never})
    finally:
        trial.end()


@pytest.mark.slow
def test_kill_9_loses_nothing_and_mixes_up_nothing(url: str, tmp_path: Path) -> None:
    """One trial with two runs in the process; every point is a soak."""
    kill_and_resume(url, tmp_path, 11, ["a-0", "b-3"])


@pytest.mark.slow
def test_sessions_side_by_side_on_sqlite(url: str, tmp_path: Path) -> None:
    """Default settings, one database, six runs: each is served by who has its call."""
    sessions_side_by_side(url, tmp_path)


@pytest.mark.slow
def test_one_of_three_workers_is_killed_on_postgresql(postgres: str, tmp_path: Path) -> None:
    """Its queued tasks go on at the others."""
    lose_one_of_three(postgres, tmp_path)


@pytest.mark.slow
def test_who_started_a_run_is_killed_on_postgresql(postgres: str, tmp_path: Path) -> None:
    """A worker that has the call takes it over unasked."""
    lose_who_started_it(postgres, tmp_path)


def test_postgresql_gives_the_same_results(postgres: str) -> None:
    """As SQLite and as no engine at all."""

    async def test(engine: DBOSEngine) -> None:
        assert (await start(engine, Script())).outputs == (await start(None, Script())).outputs

    under(postgres, test)


def test_queued_tasks_share_one_budget_on_postgresql(postgres: str) -> None:
    """There, a lock of the transaction keeps their sums apart."""

    async def test(engine: DBOSEngine) -> None:
        wide = Plan(tuple(Task(f"t{n}", "") for n in range(12)))
        options: dict[str, Any] = {"max_concurrency": 12, "engine": engine, "run_id": "budget"}
        report = await run_plan(wide, [A], "ask", budget=Budget(tokens=450), **options)
        assert len(report.outputs) == 4

    under(postgres, test, queue=True, calls={"ask": Script(tokens=100)}, at_once=12)


@pytest.mark.soak
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_kill_9_at_every_call(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """After each of the forty calls of two runs: every value is right."""
    url = request.getfixturevalue("url" if database == "sqlite" else database)
    for after in range(1, 41):
        kill_and_resume(url, tmp_path, after, [f"a{after}-{after}", f"b{after}-{after + 50}"])


@pytest.mark.soak
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_fleets_on_both(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What is tried once on one of them, on both."""
    url = request.getfixturevalue("url" if database == "sqlite" else database)
    sessions_side_by_side(url, tmp_path)
    lose_one_of_three(url, tmp_path)
    lose_who_started_it(url, tmp_path)
