"""Durable runs: recorded, joined, interrupted, killed and handed over, on SQLite and PostgreSQL."""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from agents_worker import AGENTS, CAP, expected, plan_for, value
from dbos import DBOSClient

from patterns.agents.durable import (
    DBOSEngine,
    EngineBusy,
    OtherPlan,
    RunStalled,
    main,
    recover,
    unfinished,
)
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.report import Context, RunReport
from patterns.agents.scheduler import Interrupted, run_plan

WORKER = Path(__file__).parents[1] / "support" / "agents_worker.py"
PLAN = Plan(
    (
        Task("slow", ""),
        Task("fast", ""),
        Task("next", "", depends_on=("fast",)),
        Task("last", "", depends_on=("next", "slow")),
    )
)
A = Agent("a")


class Script:
    """A call that counts, and that can be told to hang in a task until it is let go."""

    def __init__(self, hang: str = "") -> None:
        self.calls: Counter[str] = Counter()
        self.hang = hang
        self.called = {task.id: asyncio.Event() for task in PLAN}

    async def __call__(self, agent: Agent, task: Task, context: Context) -> Any:
        self.calls[task.id] += 1
        self.called[task.id].set()
        if task.id == self.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(0.02 if task.id == "slow" else 0.0)
        return {"task": task.id, "inputs": dict(context.inputs)}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return f"sqlite:///{tmp_path}/runs.sqlite"


def under(
    url: str, test: Callable[[DBOSEngine], Coroutine[Any, Any, None]], **options: Any
) -> None:
    """Run a test with an engine."""

    async def run() -> None:
        async with DBOSEngine(url, **options) as engine:
            await asyncio.wait_for(test(engine), 60)

    asyncio.run(run())


async def start(engine: DBOSEngine | None, call: Script, run_id: str = "r") -> RunReport:
    return await run_plan(PLAN, [A], call, max_concurrency=4, engine=engine, run_id=run_id)


def recorded_steps(url: str, run_id: str) -> set[str]:
    client = DBOSClient(system_database_url=url)
    steps = client.list_workflow_steps(run_id)
    client.destroy()
    return {step["function_name"] for step in steps}


async def until_recorded(url: str, run_id: str, names: set[str]) -> None:
    for _ in range(500):
        if names <= await asyncio.to_thread(recorded_steps, url, run_id):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(names)


async def stop_in(engine: DBOSEngine, call: Script) -> RunReport:
    """Start a run and interrupt it where `call` hangs."""
    job = asyncio.create_task(start(engine, call))
    await call.called[call.hang].wait()
    await call.called["next"].wait()
    await until_recorded(engine.url, "r", {"fast", "next"})
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
        assert [r.agent for r in recorded.results.values()] == ["a"] * 4

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


def test_an_interrupted_run_goes_on_where_it_stopped(url: str) -> None:
    """In the same process: what was finished is kept, what was under way runs again."""

    async def test(engine: DBOSEngine) -> None:
        report = await stop_in(engine, Script(hang="slow"))
        assert report.stopped == "interrupted"
        assert report.outputs.keys() == {"fast", "next"}
        call = Script()
        assert (await start(engine, call)).ok
        assert call.calls == {"slow": 1, "last": 1}

    under(url, test)


def test_a_run_goes_on_when_its_worker_starts_again(url: str) -> None:
    """A new engine with the same executor id picks it up by itself."""

    async def stopped(engine: DBOSEngine) -> None:
        await stop_in(engine, Script(hang="slow"))

    async def started_again(engine: DBOSEngine) -> None:
        call = Script()
        await engine.serve(call)
        await call.called["last"].wait()
        assert (await start(engine, call)).ok
        assert call.calls == {"slow": 1, "last": 1}

    under(url, stopped)
    under(url, started_again)


def test_closing_the_engine_leaves_a_run_to_be_resumed(url: str) -> None:
    """What hangs is cut off and stays unfinished in the database."""

    async def left(engine: DBOSEngine) -> None:
        call = Script(hang="slow")
        job = asyncio.create_task(start(engine, call))
        await call.called["slow"].wait()
        await engine.close()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    under(url, left)
    client = DBOSClient(system_database_url=url)
    assert unfinished(client) == {"worker-1": ["r"]}
    client.destroy()


def test_a_run_of_a_lost_worker_is_reported_and_handed_over(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a silent hang: the error names the worker and the command that frees its runs."""

    async def lost(engine: DBOSEngine) -> None:
        await stop_in(engine, Script(hang="slow"))

    async def found(engine: DBOSEngine) -> None:
        call = Script()
        with pytest.raises(RunStalled, match="--executor w1") as raised:
            await start(engine, call)
        assert (raised.value.executor_id, raised.value.status) == ("w1", "PENDING")
        assert not call.calls
        assert main(["recover", url]) == 0
        assert main(["recover", url, "--executor", "w1"]) == 0
        assert main(["recover", url, "--executor", "w1"]) == 0
        engine.patience_s = 30.0
        assert (await start(engine, call)).ok
        assert call.calls == {"slow": 1, "last": 1}

    under(url, lost, executor_id="w1")
    under(url, found, executor_id="w2", patience_s=0.3)
    said = capsys.readouterr().out.splitlines()
    assert said == ["w1: 1 unfinished (r)", "w1: 1 handed over", "w1: 0 handed over"]


def test_who_only_waits_for_a_run_may_stop_waiting(url: str) -> None:
    """The run belongs to another worker, so cancelling is not its interruption."""

    async def lost(engine: DBOSEngine) -> None:
        await stop_in(engine, Script(hang="slow"))

    async def waits(engine: DBOSEngine) -> None:
        await engine.serve(Script())  # so that only the waiting is left to do
        job = asyncio.create_task(start(engine, Script()))
        await asyncio.sleep(0.5)
        job.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await job
        assert not isinstance(raised.value, Interrupted)

    under(url, lost, executor_id="w1")
    under(url, waits, executor_id="w2")


def test_an_id_names_one_plan(url: str) -> None:
    """Another plan under a recorded id is a mistake, not a resumption."""

    async def test(engine: DBOSEngine) -> None:
        await start(engine, Script())
        with pytest.raises(OtherPlan, match="run 'r' is recorded with another plan"):
            await run_plan(
                Plan((Task("x", ""),)), [A], Script(), max_concurrency=4, engine=engine, run_id="r"
            )

    under(url, test)


def test_one_engine_per_process(url: str) -> None:
    """The second is told who is there; closing the one that never started does nothing."""

    async def test(engine: DBOSEngine) -> None:
        await engine.serve(Script())
        await engine.serve(Script())
        async with DBOSEngine("sqlite:///other.sqlite") as other:
            with pytest.raises(EngineBusy, match="close it first"):
                await other.serve(Script())

    under(url, test)


def test_an_output_that_is_not_json_fails_its_task(url: str) -> None:
    """And skips what depends on it, like any failure."""

    async def call(agent: Agent, task: Task, context: Context) -> Any:
        return object() if task.id == "fast" else task.id

    async def test(engine: DBOSEngine) -> None:
        report = await run_plan(PLAN, [A], call, max_concurrency=4, engine=engine)
        assert report.missing == ("fast", "next", "last")
        assert "Unable to serialize unknown type" in report.results["fast"].cause

    under(url, test)


def test_tasks_can_be_queued_for_any_worker(url: str) -> None:
    """Each is a workflow of its own, with its inputs, and the results are the same."""

    async def test(engine: DBOSEngine) -> None:
        call = Script()
        queued, here = await start(engine, call), await start(None, Script())
        assert queued.outputs == here.outputs
        assert call.calls == Counter(["slow", "fast", "next", "last"])

    under(url, test, queue=True)


# What follows kills real processes.


class Trial:
    """Workers as processes on one database, and the log of their calls."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, executor: str, run_id: str, seed: int) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            str(WORKER),
            self.url,
            executor,
            str(self.log),
            run_id,
            str(seed),
        ]
        self.processes.append(subprocess.Popen(command, cwd=WORKER.parents[2]))
        return self.processes[-1]

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def wait_for(self, enough: Callable[[list[dict[str, Any]]], bool], seconds: float = 90) -> None:
        until = time.monotonic() + seconds
        while not enough(self.lines()):
            assert time.monotonic() < until, self.lines()[-5:]
            time.sleep(0.01)

    def started(self, pid: int) -> list[str]:
        return [
            line["started"] for line in self.lines() if line["pid"] == pid and "started" in line
        ]

    def outputs(self, run_id: str) -> dict[str, str]:
        done = [line for line in self.lines() if line.get("done") == run_id]
        return dict(done[-1]["outputs"])

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def kill_and_resume(url: str, tmp_path: Path, seed: int) -> None:
    """Kill -9 a run at a random point and finish it in another process; check every value."""
    trial, run_id = Trial(url, tmp_path / f"log-{seed}"), f"run-{seed}"
    plan, _ = plan_for(seed)
    kill_after = random.Random(seed).randint(1, len(plan) - 1)
    try:
        first = trial.start("w1", run_id, seed)
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= kill_after)
        time.sleep(random.Random(-seed).random() * 0.2)
        first.kill()
        first.wait()
        kept = recorded_steps(url, run_id)
        second = trial.start("w1", run_id, seed)
        assert second.wait(90) == 0
        assert trial.outputs(run_id) == expected(plan)
        again = trial.started(second.pid)
        assert not kept & set(again)
        assert len(set(trial.started(first.pid)) & set(again)) <= CAP
    finally:
        trial.end()


def lose_one_of_two(url: str, tmp_path: Path) -> None:
    """Two workers, one is killed: who waits is told, and a living one finishes the run."""
    trial, plan = Trial(url, tmp_path / "log-two"), plan_for(7)[0]
    try:
        living = trial.start("w2", "-", 7)
        trial.wait_for(lambda lines: any(line.get("serving") == "w2" for line in lines))
        dead = trial.start("w1", "run-7", 7)
        trial.wait_for(lambda lines: sum("started" in line for line in lines) >= 8)
        dead.kill()
        dead.wait()

        async def call(agent: Agent, task: Task, context: Context) -> str:
            return value(task.id, context.inputs)  # whoever waits may be given the run as well

        async def wait_for_it(engine: DBOSEngine) -> None:
            async def join() -> RunReport:
                return await run_plan(
                    plan, AGENTS, call, max_concurrency=CAP, engine=engine, run_id="run-7"
                )

            with pytest.raises(RunStalled, match="held by 'w1'"):
                await join()
            client = DBOSClient(system_database_url=url)
            assert recover(client, "w1") == ["run-7"]
            client.destroy()
            engine.patience_s = 30.0
            assert (await join()).outputs == expected(plan)

        under(url, wait_for_it, executor_id="w3", patience_s=1.0)
        assert len(set(trial.started(dead.pid)) & set(trial.started(living.pid))) <= CAP
    finally:
        trial.end()


def test_kill_9_loses_nothing_and_repeats_only_what_was_under_way(url: str, tmp_path: Path) -> None:
    """One trial on SQLite; twenty are a soak."""
    kill_and_resume(url, tmp_path, 0)


def test_one_of_two_workers_is_killed_on_postgresql(postgres: str, tmp_path: Path) -> None:
    """Reported and recovered."""
    lose_one_of_two(postgres, tmp_path)


def test_postgresql_gives_the_same_results(postgres: str) -> None:
    """As SQLite and as no engine at all."""

    async def test(engine: DBOSEngine) -> None:
        assert (await start(engine, Script())).outputs == (await start(None, Script())).outputs

    under(postgres, test)


@pytest.mark.soak
def test_kill_9_twenty_times_on_sqlite(url: str, tmp_path: Path) -> None:
    """Every value is right, whatever the moment."""
    for seed in range(100, 120):
        kill_and_resume(url, tmp_path, seed)


@pytest.mark.soak
def test_kill_9_twenty_times_on_postgresql(postgres: str, tmp_path: Path) -> None:
    """Every value is right, whatever the moment."""
    for seed in range(200, 220):
        kill_and_resume(postgres, tmp_path, seed)


@pytest.mark.soak
def test_one_of_two_workers_is_killed_on_sqlite(url: str, tmp_path: Path) -> None:
    """As on PostgreSQL."""
    lose_one_of_two(url, tmp_path)
