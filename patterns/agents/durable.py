"""Plans that survive their process: the same scheduler as a DBOS workflow, each task a step.

A finished task is recorded in SQLite (nothing to set up) or PostgreSQL (several machines) and is
never run again; a task that was under way when the process died runs again, so give its side
effects `Context.idempotency_key`. Each step's number is reserved in the plan's order before
anything runs: identity by order of completion would hand results to the wrong tasks after a
restart. Not worth it for runs of seconds that may simply be repeated. Chapter 3 teaches it.

    async with DBOSEngine("sqlite:///runs.sqlite") as engine:
        report = await run_plan(plan, agents, call, max_concurrency=8, engine=engine, run_id="r1")

After a crash the same lines finish the run. When a worker of several is gone for good, hand its
runs to the living: `python -m patterns.agents.durable recover URL --executor NAME`.

Needs: pip install dbos.
"""

import argparse
import asyncio
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError
from sqlalchemy import make_url

from patterns.agents.balancer import Balancer
from patterns.agents.failures import one_line
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.report import Context, RunReport, TaskResult
from patterns.agents.scheduler import Call, Execute, Interrupted, Job, run_job

if not (_logger := logging.getLogger("dbos")).handlers:  # pragma: no branch - runs once a process
    # Else DBOS prints every start and stop, and tracebacks of failures that it hands on anyway.
    _logger.addHandler(logging.NullHandler())
    _logger.propagate = False

from dbos import (
    DBOS,
    DBOSClient,
    EnqueueOptions,
    SetWorkflowID,
    WorkflowHandleAsync,
)

QUEUE = "patterns-agents"
RUN, TASK = "patterns.agents.run", "patterns.agents.task"
POLL_S = 0.05
UNDONE = ("PENDING", "ENQUEUED")

_JOB = TypeAdapter(Job)
_RESULT = TypeAdapter(TaskResult)
_RESULTS = TypeAdapter(tuple[TaskResult, ...])
_INPUTS = TypeAdapter(dict[str, Any])


class EngineBusy(RuntimeError):
    """This process already runs an engine: DBOS has one database per process."""


class OtherPlan(ValueError):
    """A run of that id exists with another plan, other agents or other limits."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"run {run_id!r} is recorded with another plan, agents or limits; give a new run_id"
        )


class RunStalled(TimeoutError):
    """A run has recorded nothing for a while: its worker may be gone.

    `status` is the database's word on it, `executor_id` who last held it.
    """

    def __init__(self, run_id: str, status: str, executor_id: str | None, waited_s: float) -> None:
        self.run_id, self.status, self.executor_id = run_id, status, executor_id
        super().__init__(
            f"run {run_id!r} ({status}, held by {executor_id!r}) recorded nothing for "
            f"{waited_s:g} s; if that worker is gone: "
            f"python -m patterns.agents.durable recover URL --executor {executor_id}"
        )


class DBOSEngine:
    """Runs jobs as recorded workflows; one per process, and one `executor_id` per process.

    Args:
        url: `sqlite:///file` or `postgresql+psycopg://…`.
        executor_id: this worker's name, the same after a restart: its unfinished runs go on when
            the engine starts. Two living workers must never share one.
        application_version: which runs may be resumed here. Change it when `call` or the meaning
            of a plan changes; otherwise leave it, or a restart orphans what is unfinished.
        queue: run each task as a workflow of its own, on whichever worker is free. It costs tens
            of milliseconds a task, so use it only to cross machines.
        patience_s: raise `RunStalled` when nothing was recorded for this long. Make it longer
            than the longest task.
        clock: Unix time; a run's seconds go on counting over a restart.
    """

    def __init__(
        self,
        url: str,
        *,
        executor_id: str = "worker-1",
        application_version: str = "1",
        queue: bool = False,
        patience_s: float = 900.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url, self.queue, self.patience_s, self.clock = url, queue, patience_s, clock
        self.executor_id, self.application_version = executor_id, application_version
        self.calls: dict[str, tuple[Call, Balancer]] = {}
        self.under_way: dict[str, asyncio.Task[Any]] = {}
        self.interrupted: dict[str, RunReport] = {}
        self.client: DBOSClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def serve(self, call: Call, balancer: Balancer | None = None) -> None:
        """Start working: on this worker's unfinished runs, and on what others queue or hand over.

        `run` does this by itself; a worker that starts no runs of its own calls it.
        """
        global _engine
        self.calls[""] = call, balancer or Balancer()
        if _engine is self:
            return
        if _engine is not None:
            raise EngineBusy(f"an engine runs on {_engine.url!r} in this process; close it first")
        _engine = self
        _write_ahead(self.url)
        DBOS(
            config={
                "name": "patterns-agents",
                "system_database_url": self.url,
                "executor_id": self.executor_id,
                "application_version": self.application_version,
                "notification_listener_polling_interval_sec": 0.02,  # else close() takes a second
            }
        )
        DBOS.launch()
        if self.queue:
            await DBOS.register_queue_async(QUEUE, polling_interval_sec=POLL_S)
            self.client = DBOSClient(system_database_url=self.url)

    async def close(self) -> None:
        """Stop what is under way (it stays recorded as unfinished) and let go of the database."""
        global _engine
        if _engine is not self:
            return
        for task in self.under_way.values():
            task.cancel()
        await asyncio.gather(*self.under_way.values(), return_exceptions=True)
        if self.client:
            self.client.destroy()
        DBOS.destroy()
        _engine = None
        # DBOS made its thread pool the loop's and has shut it down: to_thread needs a new one.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    async def run(self, job: Job, call: Call, balancer: Balancer) -> RunReport:
        """Start the run, or join the one of that id: running, recorded, or interrupted.

        Raises:
            OtherPlan: that id belongs to another job.
            RunStalled: nothing was recorded for `patience_s`.
            Interrupted: this coroutine was cancelled; call it again to go on.
        """
        self.calls[job.run_id] = call, balancer
        await self.serve(call, balancer)
        waiting = asyncio.create_task(_results(await self._begin(job)))
        try:
            results = await self._patiently(job.run_id, waiting)
        except asyncio.CancelledError:
            await self._interrupt(job.run_id)
            if report := self.interrupted.get(job.run_id):
                raise Interrupted(report) from None
            raise  # it runs elsewhere, and goes on there
        finally:
            waiting.cancel()
            self.calls.pop(job.run_id, None)
        return RunReport(job.run_id, job.plan, {result.id: result for result in results})

    async def _begin(self, job: Job) -> WorkflowHandleAsync[str]:
        text = _JOB.dump_json(job).decode()
        status = await DBOS.get_workflow_status_async(job.run_id)
        if status is None:
            with SetWorkflowID(job.run_id):
                return await DBOS.start_workflow_async(_run, text, self.clock())
        if status.input is None or _JOB.validate_json(status.input["args"][0]) != job:
            raise OtherPlan(job.run_id)
        if self.interrupted.pop(job.run_id, None) or status.status == "CANCELLED":
            await DBOS.resume_workflow_async(job.run_id)
        return await DBOS.retrieve_workflow_async(job.run_id)

    async def _patiently(
        self, run_id: str, waiting: "asyncio.Task[tuple[TaskResult, ...]]"
    ) -> tuple[TaskResult, ...]:
        recorded = -1
        while True:
            steps = len(await DBOS.list_workflow_steps_async(run_id, load_output=False))
            if steps == recorded:
                status = await DBOS.get_workflow_status_async(run_id)
                if status and status.status in UNDONE:  # pragma: no branch - it may just have ended
                    raise RunStalled(run_id, status.status, status.executor_id, self.patience_s)
            recorded = steps
            done, _ = await asyncio.wait({waiting}, timeout=self.patience_s)
            if done:
                return waiting.result()

    async def _interrupt(self, run_id: str) -> None:
        if task := self.under_way.get(run_id):
            task.cancel()
            await asyncio.wait({task})

    def seam(self, run_id: str) -> tuple[Call, Balancer]:
        """What to call for a run: its own call, or for a run of a former process the served one."""
        return self.calls.get(run_id) or self.calls[""]


_engine: DBOSEngine | None = None  # the one that DBOS serves in this process


async def _results(handle: WorkflowHandleAsync[str]) -> tuple[TaskResult, ...]:
    return _RESULTS.validate_json(await handle.get_result(polling_interval_sec=POLL_S))


def _write_ahead(url: str) -> None:
    """Give an SQLite file a write-ahead log: one flush a step instead of three, as durable."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(make_url(url).database or "")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _working() -> DBOSEngine:
    assert _engine  # DBOS runs workflows only between serve() and close()
    return _engine


@DBOS.workflow(name=RUN)
async def _run(text: str, begun: float) -> str:
    """A whole run. `text` is the job: the plan is an argument, never computed in here."""
    engine, job = _working(), _JOB.validate_json(text)
    reserved = {task.id: DBOS.reserve_step() for task in job.plan}  # before anything else

    async def step(task: Task, inputs: Mapping[str, Any], execute: Execute) -> TaskResult:
        async def recorded() -> str:
            if engine.client:
                return await _elsewhere(engine.client, job, task, inputs, begun)
            return _dump(await execute())

        return _RESULT.validate_json(await reserved[task.id].run_async({"name": task.id}, recorded))

    current = asyncio.current_task()
    assert current
    engine.under_way[job.run_id] = current
    try:
        elapsed = max(0.0, engine.clock() - begun)
        report = await run_job(job, *engine.seam(job.run_id), step=step, elapsed=elapsed)
    except Interrupted as stop:
        engine.interrupted[job.run_id] = stop.report
        raise
    finally:
        del engine.under_way[job.run_id]
    return _RESULTS.dump_json(tuple(report.results.values())).decode()


@DBOS.workflow(name=TASK)
async def _task(text: str, inputs: str, begun: float) -> str:
    """One task of a run, on whichever worker took it from the queue."""
    engine, job, given = _working(), _JOB.validate_json(text), _INPUTS.validate_json(inputs)
    call, balancer = engine.seam(job.run_id)

    async def call_with_inputs(agent: Agent, task: Task, context: Context) -> Any:
        return await call(agent, task, replace(context, inputs=given))

    elapsed = max(0.0, engine.clock() - begun)
    report = await run_job(job, call_with_inputs, balancer, elapsed=elapsed)
    [result] = report.results.values()
    return _dump(result)


async def _elsewhere(
    client: DBOSClient, job: Job, task: Task, inputs: Mapping[str, Any], begun: float
) -> str:
    """Queue a task and wait for it. Its workflow has the task's id, so asking twice is harmless."""
    options: EnqueueOptions = {
        "queue_name": QUEUE,
        "workflow_name": TASK,
        "workflow_id": f"{job.run_id}:{task.id}",
        "app_version": DBOS.application_version,
    }
    alone = replace(job, plan=Plan((replace(task, depends_on=()),)))
    arguments = _JOB.dump_json(alone).decode(), _INPUTS.dump_json(dict(inputs)).decode(), begun
    handle: WorkflowHandleAsync[str] = await client.enqueue_async(options, *arguments)
    return await handle.get_result(polling_interval_sec=POLL_S)


def _dump(result: TaskResult) -> str:
    """A result as JSON; an output that is none is a failure of its task."""
    try:
        return _RESULT.dump_json(result).decode()
    except PydanticSerializationError as error:
        failed = replace(result, status="failed", output=None, cause=one_line(error))
        return _RESULT.dump_json(failed).decode()


def unfinished(client: DBOSClient, executor_id: str | None = None) -> dict[str, list[str]]:
    """The ids of runs (and queued tasks) that are not done, by the worker that holds them."""
    held: dict[str, list[str]] = {}
    for one in client.list_workflows(status="PENDING", executor_id=executor_id, load_input=False):
        held.setdefault(one.executor_id or "", []).append(one.workflow_id)
    return held


def recover(client: DBOSClient, executor_id: str) -> list[str]:
    """Hand the unfinished runs of a dead worker to the living; gives their ids.

    Only for a worker that is gone: one that still lives would work on the same runs.
    """
    ids = unfinished(client, executor_id).get(executor_id, [])
    if ids:
        client.resume_workflows(ids)
    return ids


def main(arguments: Sequence[str] | None = None) -> int:
    """`recover URL` lists unfinished runs by worker; with `--executor NAME` it frees that one's."""
    parser = argparse.ArgumentParser(prog="python -m patterns.agents.durable")
    parser.add_argument("command", choices=["recover"])
    parser.add_argument("url", help="sqlite:///file or postgresql+psycopg://user@host/database")
    parser.add_argument("--executor", help="the worker that is gone for good")
    asked = parser.parse_args(arguments)
    client = DBOSClient(system_database_url=asked.url)
    try:
        if asked.executor:
            freed = recover(client, asked.executor)
            sys.stdout.write(f"{asked.executor}: {len(freed)} handed over\n")
        else:
            for name, ids in sorted(unfinished(client).items()):
                sys.stdout.write(f"{name}: {len(ids)} unfinished ({', '.join(sorted(ids)[:5])})\n")
    finally:
        client.destroy()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())  # pragma: no cover - the tests call main() in process
