"""Plans that survive their process: the same scheduler as a DBOS workflow, each task a step.

A finished task is recorded in SQLite (nothing to set up) or PostgreSQL (several machines) and is
never run again; a task that was under way when the process died runs again, so give its side
effects `Context.idempotency_key`. Each step's number is reserved in the plan's order before
anything runs: identity by order of completion would hand results to the wrong tasks after a
restart. Not worth it for runs of seconds that may simply be repeated. Chapter 3 teaches it.

    async with DBOSEngine("sqlite:///runs.sqlite") as engine:
        report = await run_plan(plan, agents, call, max_concurrency=8, engine=engine, run_id="r1")

After a crash the same lines finish the run. With changes (more budget, failed tasks once more,
an edited plan) `engine.resume` does. Workers that are given the call by name, `calls={"ask":
call}`, go on with each other's runs by themselves.

Needs: pip install dbos.
"""

import asyncio
import json
import time
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Self, cast

from patterns.agents import records
from patterns.agents.balancer import Balancer, Unbalanced
from patterns.agents.budget import UNLIMITED
from patterns.agents.failures import OtherPlan, one_line
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.records import CallNotRegistered, Record, RunStalled, UnknownRun
from patterns.agents.report import Context, RunReport, TaskResult
from patterns.agents.scheduler import (
    Call,
    Execute,
    InProcess,
    Interrupted,
    Job,
    RunBroken,
    report_of,
    run_job,
)
from patterns.agents.shared_ledger import SharedLedger
from patterns.core.durable import ENDED, POLL_S, UNFINISHED, Durable, holder_of, running

from dbos import DBOS, SetWorkflowID, WorkflowStatus  # isort: skip

RUN, TASK = "patterns.agents.run", "patterns.agents.task"
LOOK_S = 0.5
"""How often a run that another process holds is looked after."""


class DBOSEngine(Durable):
    """Runs jobs as recorded workflows.

    Args:
        url: `sqlite:///file` or `postgresql+psycopg://…`.
        calls: the calls that this worker offers, by name. A run that was started with a name goes
            on at any worker that has it; one that was started with a bare function only where
            that is passed again.
        queue: run each task as a workflow of its own, on whichever worker is free. It costs tens
            of milliseconds a task, so use it only to cross machines. Tasks of a run whose call
            has no name stay here.
        patience_s: raise `RunStalled` when nothing was recorded for this long. Make it longer
            than the longest task.
        clock: Unix time; a run's seconds go on counting over a restart.
        options: of `Durable`: `executor_id`, `application_version`, `at_once`, `lease_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        calls: Mapping[str, Call] | None = None,
        queue: bool = False,
        patience_s: float = 900.0,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        super().__init__(url, services=calls, **options)
        self.queue, self.patience_s, self.clock = queue, patience_s, clock
        self.balancer = Balancer()
        self.passed: dict[Job, tuple[Call, Balancer]] = {}
        self.under_way: dict[str, asyncio.Task[Any]] = {}
        self.reports: dict[str, RunReport] = {}
        self.awaited: dict[asyncio.Future[WorkflowStatus | Exception], str] = {}
        self.poller: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def serve(self) -> None:
        """Start working: on what others queue or leave behind, as far as their calls are here.

        `run_plan` does this by itself; a worker that starts no runs of its own calls it.
        """
        self.start()

    def _launch(self) -> None:
        super()._launch()
        SharedLedger.prepare(self.database)

    async def close(self) -> None:
        """Stop what is under way (another worker may go on with it) and leave the database."""
        tasks = [*self.under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.stop()

    async def run(self, job: Job, call: Call | str, balancer: Balancer) -> RunReport:
        """Start the run, or join the one of that id: running, recorded, or broken off.

        Raises:
            OtherPlan: that id belongs to another job.
            CallNotRegistered: `call` is a name that this engine was not given.
            RunStalled: nothing was recorded for `patience_s`.
            RunBroken: the engine failed; start it again to go on.
            Interrupted: this coroutine was cancelled; start it again to go on.
        """
        with self._passing(job, call, balancer) as service:
            found = await self.recorded(job.run_id)
            if found is None:
                return await self._begin(job, service, self.clock())
            if found.job != job:
                raise OtherPlan(job.run_id, found.job.differing(job))
            if not found.ended or found.status.status == "SUCCESS":
                return await self._attend(job, found.status.workflow_id)
            return await self._go_on(found, job, service, retry_failed=False)

    async def resume(
        self,
        run_id: str,
        call: Call | str | None = None,
        *,
        balancer: Balancer | None = None,
        retry_failed: bool = False,
        **changes: Any,
    ) -> RunReport:
        """Go on with a run, however it ended: every recorded result stays.

        `outlook` says beforehand what will be asked for.

        Args:
            run_id: which run.
            call: as for `run_plan`; None for the one whose name is recorded with the run.
            balancer: as for `run_plan`.
            retry_failed: ask again for tasks that failed for good.
            changes: `plan`, `agents`, `max_concurrency`, `budget`, `deadline_s`. The budget is
                for all of the run, what is spent included; the seconds of a deadline do not
                count while nothing runs.

        Raises:
            UnknownRun: nothing is recorded under that id.
            CallNotRegistered: no call was passed, and this engine has none of that name.
            RunStalled, RunBroken, Interrupted: as `run`.
        """
        found = await self._known(run_id)
        job = replace(found.job, **changes)
        with self._passing(job, call or found.service, balancer) as service:
            if not (found.ended or retry_failed or job != found.job):
                return await self._attend(job, found.status.workflow_id)
            return await self._go_on(found, job, service, retry_failed)

    async def outlook(
        self, run_id: str, *, retry_failed: bool = False, **changes: Any
    ) -> records.Outlook:
        """What `resume` with the same arguments would keep, and what it would ask for again."""
        found = await self._known(run_id)
        return records.outlook(found, replace(found.job, **changes), retry_failed)

    async def recorded(self, run_id: str) -> Record | None:
        """What is recorded of a run, also while it runs; None if that is nothing."""
        self.start()  # in the loop that its workflows will run on
        return await to_thread(self.record, run_id)

    def record(self, run_id: str) -> Record | None:
        """As `recorded`; starts the engine where it is called."""
        self.start()
        first = records.workflow_id(run_id)
        found = [
            *self.client.list_workflows(workflow_ids=[first]),
            *self.client.list_workflows(workflow_id_prefix=f"{first}:", name=RUN),
        ]
        if not found:
            return None
        newest_id = records.workflow_id(run_id, len(found))
        newest = next(one for one in found if one.workflow_id == newest_id)
        return self._read(newest, len(found))

    def _read(self, status: WorkflowStatus, generation: int) -> Record:
        assert status.input
        service, text, begun, before = status.input["args"]
        job = records.job_of(text)
        steps = self.client.list_workflow_steps(status.workflow_id)
        recorded = {one["function_name"]: one["output"] for one in steps if one["output"]}
        results = records.results_of(before)
        for task in self._tasks(job, generation, "SUCCESS"):  # the run may not have them yet
            result = records.result_of(str(task.output))
            results[result.id] = records.joined(results.get(result.id), result)
        results |= {name: records.result_of(text) for name, text in recorded.items()}
        if status.status == "SUCCESS":
            results |= records.results_of(str(status.output))
        return Record(generation, status, service, job, begun, results)

    def _tasks(self, job: Job, generation: int, *status: str) -> list[WorkflowStatus]:
        """The queued tasks of a run that are in one of these states."""
        return self.client.list_workflows(
            workflow_id_prefix=records.workflow_id(job.run_id, generation, ""),
            name=TASK,
            status=[*status],
            load_input=False,
        )

    async def _known(self, run_id: str) -> Record:
        if found := await self.recorded(run_id):
            return found
        raise UnknownRun(run_id, self.url)

    @contextmanager
    def _passing(self, job: Job, call: Call | str, balancer: Balancer | None) -> Iterator[str]:
        """Have a run's call at hand while it is waited for; gives its name, "" if it has none."""
        name = next((n for n, each in self.services.items() if call in (n, each)), "")
        if not name and isinstance(call, str):
            raise CallNotRegistered(job.run_id, call)
        function: Any = self.services[name] if name else call
        self.passed[job] = mine = function, balancer or self.balancer
        try:
            yield name
        finally:
            if self.passed.get(job) is mine:
                del self.passed[job]

    async def _begin(
        self, job: Job, service: str, begun: float, generation: int = 1, before: str = "[]"
    ) -> RunReport:
        name = records.workflow_id(job.run_id, generation)
        with SetWorkflowID(name):
            handle = await DBOS.start_workflow_async(
                _run, service, records.job_text(job), begun, before
            )

        async def ending() -> str:
            status: Any = await handle.get_status()
            begun_with = records.job_of(status.input["args"][1])
            if begun_with != job:  # somebody else was first
                raise OtherPlan(job.run_id, begun_with.differing(job))
            return await handle.get_result(polling_interval_sec=POLL_S)

        return await self._attend(job, name, ending())

    async def _go_on(self, found: Record, job: Job, service: str, retry_failed: bool) -> RunReport:
        """Let go of the run as it stands, and start it again with all that is recorded."""
        name = found.status.workflow_id
        if not found.ended:  # after which nobody can record a step of it
            await to_thread(self.client.cancel_workflow, name)
            await self._interrupt(name)
        queued = await to_thread(self._tasks, found.job, found.generation, *UNFINISHED)
        await to_thread(self.client.cancel_workflows, [one.workflow_id for one in queued])
        found = await self._known(job.run_id)
        ahead = records.outlook(found, job, retry_failed)
        report = found.report()
        if found.status.status == "SUCCESS" and job == found.job and not ahead.again:
            return report
        await to_thread(SharedLedger(self, job.run_id).go_on, report.attempts)
        begun = self.clock() - report.makespan
        return await self._begin(
            job,
            service,
            begun,
            found.generation + 1,
            records.results_text(records.carried(found, ahead)),
        )

    async def _attend(
        self, job: Job, name: str, ending: Coroutine[Any, Any, str] | None = None
    ) -> RunReport:
        """Wait for a run's end, and look after it."""
        ended = asyncio.create_task(ending or self._outcome(name))
        watching = asyncio.create_task(self._watch(job.run_id, name))
        try:
            await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                watching.result()  # it raises
            results = records.results_of(await ended)
            return RunReport(job.run_id, job.plan, results)
        except asyncio.CancelledError:
            if await self._interrupt(name):
                raise Interrupted(self.reports.pop(name)) from None
            raise  # it runs elsewhere, and goes on there
        except (RunStalled, OtherPlan):
            raise
        except Exception as error:  # the database's, or what a run has ended with
            report = report_of(job, {}, {})
            with suppress(Exception):
                report = (await self._known(job.run_id)).report()
            raise RunBroken(report, one_line(error)) from error
        finally:
            for task in (ended, watching):
                task.cancel()

    async def _watch(self, run_id: str, name: str) -> None:
        """Take the run over if its worker is gone; raise `RunStalled` if it records nothing."""
        clock = asyncio.get_running_loop().time
        steps: int | None = None
        since, idle = clock(), False
        while True:
            idle = await to_thread(self._look_after, name, idle)
            await asyncio.sleep(min(LOOK_S, self.patience_s))
            if clock() - since < self.patience_s:
                continue
            found = await self._known(run_id)
            if len(found.results) == steps and not found.ended:
                raise RunStalled(found.report(), self._holders(found), self.patience_s)
            steps, since = len(found.results), clock()

    def _look_after(self, name: str, idle: bool) -> bool:
        """Whether a run is held here and not worked on; one that was `idle` before starts again.

        It was interrupted, or its end was not recorded. At the first look it may be about to begin.
        """
        status = self.look(name, take=True, load=False)
        here = status and holder_of(status) == self.executor_id and name not in self.under_way
        return bool(status and here and not (idle and self.requeue(status)))

    def _holders(self, found: Record) -> tuple[str, ...]:
        """Who has the tasks of a run that are queued, or else the run."""
        queued = self._tasks(found.job, found.generation, *UNFINISHED)
        held = {holder_of(one) for one in queued or [found.status]}
        return tuple(sorted(holder for holder in held if holder))

    async def _interrupt(self, name: str) -> bool:
        """Cut a run off, if it is under way here."""
        task = self.under_way.get(name)
        if task:
            task.cancel()
            await asyncio.wait({task})
        return task is not None

    async def _outcome(self, name: str) -> str:
        """What a workflow of any worker has ended with; one look at the database is for all."""
        future = asyncio.get_running_loop().create_future()
        self.awaited[future] = name
        if self.poller is None or self.poller.done():
            self.poller = asyncio.create_task(self._poll())
        try:
            status = await future
        finally:
            del self.awaited[future]
        if isinstance(status, Exception):
            raise status
        if status.status != "SUCCESS":
            raise RuntimeError(f"{status.status}: {status.error or 'it was resumed elsewhere'}")
        return str(status.output)

    async def _poll(self) -> None:
        while self.awaited:
            names = [*{*self.awaited.values()}]
            look = partial(self.client.list_workflows, workflow_ids=names, load_input=False)
            answers: dict[str, WorkflowStatus | Exception]
            try:
                ended = await to_thread(look, status=[*ENDED])
                answers = {status.workflow_id: status for status in ended}
            except Exception as error:
                answers = dict.fromkeys(names, error)
            for future, name in self.awaited.items():
                if name in answers and not future.done():
                    future.set_result(answers[name])
            await asyncio.sleep(POLL_S)

    def call_of(self, job: Job, service: str) -> tuple[Call, Balancer]:
        """What to call for a run: what was passed with it, or what has the name."""
        if job in self.passed:
            return self.passed[job]
        if service not in self.services:  # pragma: no cover  # in a worker of its own process
            raise CallNotRegistered(job.run_id, service)
        return self.services[service], self.balancer

    def ledger_of(self, job: Job) -> SharedLedger | None:
        """Where a run's spending is kept, if it has a limit; else its results tell it."""
        return None if job.budget == UNLIMITED else SharedLedger(self, job.run_id)

    @contextmanager
    def working(self) -> Iterator[str]:
        """While a workflow runs here: `close` can cut it off. Gives its id."""
        name = str(DBOS.workflow_id)
        self.under_way[name] = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            yield name
        finally:
            del self.under_way[name]


class InWorkflow:
    """Runs a plan inside a DBOS workflow of yours: each task is recorded as a step of it.

    `run_plan(..., engine=InWorkflow())` in a workflow that does more than the plan. What goes on
    after a crash, and where, is that workflow's matter.
    """

    async def run(self, job: Job, call: Call | str, balancer: Balancer) -> RunReport:
        """Run the job as steps of the current workflow."""
        record = _recorder(job.plan)

        async def step(task: Task, inputs: Mapping[str, Any], execute: Execute) -> TaskResult:
            return await record(task.id, execute)

        return await InProcess(step).run(job, call, balancer)


def _recorder(plan: Plan) -> Callable[[str, Execute], Awaitable[TaskResult]]:
    """What records each task of a plan as a step; call it before anything else of the workflow."""
    reserved = {task.id: DBOS.reserve_step() for task in plan}

    async def record(name: str, execute: Execute) -> TaskResult:
        async def step() -> str:
            return records.result_text(await execute())

        return records.result_of(await reserved[name].run_async({"name": name}, step))

    return record


@DBOS.workflow(name=RUN)
async def _run(service: str, text: str, begun: float, before: str) -> str:
    """A whole run. `text` is the job: the plan is an argument, never computed in here.

    `before` are the results that a resumed run brings along.
    """
    engine, job = cast(DBOSEngine, running()), records.job_of(text)
    record, brought = _recorder(job.plan), records.results_of(before)
    queued = engine.queue and bool(service)

    async def step(task: Task, inputs: Mapping[str, Any], execute: Execute) -> TaskResult:
        earlier = brought.get(task.id)
        if earlier and earlier.stop is None:
            return earlier

        async def executed() -> TaskResult:
            result = await (queue(task, inputs) if queued else execute())
            return records.joined(earlier, result)

        return await record(task.id, executed)

    async def queue(task: Task, inputs: Mapping[str, Any]) -> TaskResult:
        """Have any worker do it. Its workflow has the task's id, so asking twice is harmless."""
        alone = replace(job, plan=Plan((replace(task, depends_on=()),)))
        child = records.workflow_id(job.run_id, int(name.partition(":")[2] or 1), task.id)
        arguments = service, records.job_text(alone), json.dumps(dict(inputs)), begun
        await to_thread(engine.enqueue, TASK, child, *arguments)
        return records.result_of(await engine._outcome(child))

    with engine.working() as name:
        try:
            call, balancer = engine.call_of(job, service)
            if queued:  # the worker that takes a task balances it
                balancer = Unbalanced()
            report = await run_job(
                job,
                call,
                balancer,
                step=step,
                elapsed=max(0.0, engine.clock() - begun),
                ledger=engine.ledger_of(job),
            )
        except Interrupted as stop:
            engine.reports[name] = stop.report
            raise
        except RunBroken as stop:
            raise RuntimeError(stop.reason) from stop  # of which the database can keep a copy
    return records.results_text(report.results.values())


@DBOS.workflow(name=TASK)
async def _task(service: str, text: str, inputs: str, begun: float) -> str:
    """One task of a run, on whichever worker took it from the queue."""
    engine, job = cast(DBOSEngine, running()), records.job_of(text)
    call, balancer = engine.call_of(job, service)

    async def call_with_inputs(agent: Agent, task: Task, context: Context) -> Any:
        return await call(agent, task, replace(context, inputs=json.loads(inputs)))

    with engine.working():
        report = await run_job(
            job,
            call_with_inputs,
            balancer,
            elapsed=max(0.0, engine.clock() - begun),
            ledger=engine.ledger_of(job),
        )
    [result] = report.results.values()
    return records.result_text(result)
