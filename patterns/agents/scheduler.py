"""Run a plan: every task starts as soon as its dependencies are done, within every limit.

Eager scheduling on `graphlib` and asyncio, with the longest remaining chain first, stays within
a few per cent of the best schedule there is; waves (`asyncio.gather` level by level) do not.
Failure is data: a failed task skips its descendants and nothing else, and the report says what
is missing. Not for independent calls (`patterns.core.fan_out.fan_out` is enough) and not for work
that must survive the process (`patterns.agents.durable` runs the same code there).

Time is the event loop's, so a loop with virtual time runs hours of a plan at once.

Chapter 3 teaches it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from math import inf
from typing import Any, Protocol, TypeAlias

from patterns.agents.balancer import Balancer, Ticket
from patterns.agents.budget import UNLIMITED, Budget, Ledger, LocalLedger
from patterns.agents.dispatch import Dispatcher, Slot
from patterns.agents.failures import next_agents, one_line, usage_of
from patterns.agents.plan import Agent, Plan, Task, graph, match, ranks
from patterns.agents.report import Attempt, Context, Reply, RunReport, Status, Stop, TaskResult
from patterns.core.errors import Portable
from patterns.core.retrying import backoff, headers_of, is_transient, retry_after

GRACE_S = 1.0
"""Seconds that a call which was told to stop may take to do so, before it is left behind."""

Call: TypeAlias = Callable[[Agent, Task, Context], Awaitable[Any]]
"""The only seam to the SDK: an async function that returns a `Reply`, or just an output."""


@dataclass(frozen=True)
class Job:
    """A run as plain data: all that a durable engine has to remember."""

    plan: Plan
    agents: tuple[Agent, ...]
    max_concurrency: int
    run_id: str = "run"
    budget: Budget = UNLIMITED
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        if not self.run_id:
            raise ValueError("run_id is empty, give the run a name")
        if not (isinstance(self.max_concurrency, int) and self.max_concurrency >= 1):
            raise ValueError(f"max_concurrency is {self.max_concurrency}, give a number from 1")
        if self.deadline_s is not None and not 0 < self.deadline_s < inf:
            raise ValueError(f"deadline_s is {self.deadline_s}, give seconds above 0, or None")
        names = [agent.name for agent in self.agents]
        if len(set(names)) < len(names):
            raise ValueError(f"agents are told apart by name, and some share one: {names}")
        for task in self.plan:
            match(task, self.agents)

    def differing(self, other: "Job") -> list[str]:
        """The fields in which another job differs."""
        return [name for name, value in vars(self).items() if vars(other)[name] != value]


class Engine(Protocol):
    """Where a job runs."""

    async def run(self, job: Job, call: Call | str, balancer: Balancer) -> RunReport:
        """Run it to its end, or join the run of that id which is already under way."""


class RunBroken(Portable, RuntimeError):
    """The run ended by no fault of a task, such as a full disk; `report` keeps what was done.

    A durable run goes on when it is started again: nothing that is recorded is asked for again.
    """

    def __init__(self, report: RunReport, reason: str) -> None:
        self.report, self.reason = report, reason
        super().__init__(
            f"run {report.run_id!r} broke off with {len(report.outputs)} of {len(report.plan)} "
            f"tasks done ({reason}); repair that and start it again under the same id"
        )


class Interrupted(Portable, asyncio.CancelledError):
    """The run was cancelled; `report` keeps what was finished by then."""

    def __init__(self, report: RunReport) -> None:
        self.report = report
        super().__init__(f"interrupted with {len(report.outputs)} of {len(report.plan)} tasks done")


Execute: TypeAlias = Callable[[], Awaitable[TaskResult]]
Step: TypeAlias = Callable[[Task, Mapping[str, Any], Execute], Awaitable[TaskResult]]
"""What an engine puts around a task, given its inputs: run it, record it, or send it elsewhere."""


async def run_plan(
    plan: Plan,
    agents: Sequence[Agent],
    call: Call | str,
    *,
    max_concurrency: int,
    engine: Engine | None = None,
    balancer: Balancer | None = None,
    budget: Budget = UNLIMITED,
    deadline_s: float | None = None,
    run_id: str = "run",
) -> RunReport:
    """Run every task of `plan` on a capable agent, as early as its dependencies allow.

    Args:
        plan: the tasks.
        agents: who can do them; checked for every task before the first call.
        call: makes one call. Use a client with `max_retries=0`: this function retries. By name,
            it is one that the engine was given; only such a run may go on in another process
            without being asked for.
        max_concurrency: calls under way at once, over all agents.
        engine: where to run; in this process unless you pass a durable engine.
        balancer: pass one to share it between runs that share rate limits; where workers take
            tasks from a queue, each chooses by the one of its own engine.
        budget: tokens and dollars that calls reserve before they start.
        deadline_s: seconds after which nothing more starts and calls under way are cut off.
        run_id: names the run, for idempotency keys and for a durable engine.

    Raises:
        NoCapableAgent: a task needs what no agent offers.
        Interrupted: this coroutine was cancelled; the exception carries the report.
        RunBroken: the engine failed; the exception carries the report.
    """
    job = Job(plan, tuple(agents), max_concurrency, run_id, budget, deadline_s)
    return await (engine or InProcess()).run(job, call, balancer or Balancer())


class InProcess:
    """The default engine: nothing outlives the process, unless `step` records it."""

    def __init__(self, step: Step | None = None) -> None:
        self.step = step

    async def run(self, job: Job, call: Call | str, balancer: Balancer) -> RunReport:
        """Run the job on the current event loop."""
        if isinstance(call, str):
            raise ValueError(f"call is the name {call!r}; pass the function, or an engine= with it")
        return await run_job(job, call, balancer, step=self.step)


async def run_job(
    job: Job,
    call: Call,
    balancer: Balancer,
    *,
    step: Step | None = None,
    elapsed: float = 0.0,
    ledger: Ledger | None = None,
) -> RunReport:
    """What every engine runs: `step` may record each task's execution, or replay it.

    `elapsed` is how long ago the run began, for one that another process started; `ledger` is
    where its spending is kept.
    """
    run = _Run(job, call, balancer, step or _direct, elapsed, ledger or LocalLedger())
    return await run.all()


class _Run:
    """One job under way. Only `all` starts tasks; everything else wakes it."""

    def __init__(
        self,
        job: Job,
        call: Call,
        balancer: Balancer,
        step: Step,
        elapsed: float,
        ledger: Ledger,
    ) -> None:
        self.job, self.call, self.step, self.ledger = job, call, step, ledger
        self.loop = asyncio.get_running_loop()
        self.origin = self.loop.time() - elapsed
        self.sorter = TopologicalSorter(graph(job.plan))
        self.capable = {task.needs: match(task, job.agents) for task in job.plan}
        self.results: dict[str, TaskResult] = {}
        self.attempts: dict[str, list[Attempt]] = {}
        self.running: set[asyncio.Task[None]] = set()
        self.wake = asyncio.Event()
        self.dispatcher = Dispatcher(balancer, job.max_concurrency, ranks(job.plan), self.wake)
        self.crash: BaseException | None = None

    async def all(self) -> RunReport:
        try:
            self.sorter.prepare()
            self.release()
            while self.sorter.is_active():
                self.dispatcher.grant()
                await self.wake.wait()
                self.wake.clear()
                if self.crash:
                    await self.cut_off()
                    if not isinstance(self.crash, Exception):  # an order to stop, not a failure
                        raise self.crash
                    raise RunBroken(self.report(), one_line(self.crash)) from self.crash
        except asyncio.CancelledError:
            await self.cut_off()
            raise Interrupted(self.report()) from None
        finally:
            await self.cut_off()
        return self.report()

    async def cut_off(self) -> None:
        self.dispatcher.close()
        for running in self.running:
            running.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    def release(self) -> None:
        """Queue what became ready; skip what a failure left without its dependencies."""
        while ready := self.sorter.get_ready():
            for task_id in ready:
                task = self.job.plan[task_id]
                lost = [d for d in task.depends_on if self.results[d].status != "ok"]
                if lost:
                    self.results[task_id] = _skipped(task, self.results[lost[0]])
                    self.sorter.done(task_id)
                else:
                    self.dispatcher.ask(task, self.capable[task.needs], partial(self.start, task))

    def start(self, task: Task, ticket: Ticket) -> None:
        running = asyncio.create_task(self.one(task, ticket))
        self.running.add(running)
        running.add_done_callback(self.running.discard)

    async def one(self, task: Task, ticket: Ticket) -> None:
        """Execute one task, or have the engine replay it, and note how it ended."""
        slot = Slot(self.dispatcher, ticket)
        inputs = {d: self.results[d].output for d in task.depends_on}
        try:
            result = await self.step(task, inputs, lambda: self.execute(task, inputs, slot))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # the engine's, not the call's: `execute` keeps those
            self.crash = error
        else:
            self.results[task.id] = result
            self.attempts.pop(task.id, None)
            self.sorter.done(task.id)
            self.release()
        finally:
            slot.leave()
        self.wake.set()

    async def execute(self, task: Task, inputs: Mapping[str, Any], slot: Slot) -> TaskResult:
        """Attempt a task until it succeeds, cannot succeed, or may not be tried again."""
        attempts = self.attempts.setdefault(task.id, [])
        capable = self.capable[task.needs]
        for number in range(1, task.max_attempts + 1):
            await slot.take(task, capable)
            if reason := await self.closed(task):
                return _stopped(task, attempts, *reason)
            own = {name: _copy(output) for name, output in inputs.items()}
            context = Context(self.job.run_id, task.id, number, own)
            reply, error = await self.attempt(task, context, slot, attempts)
            if error is None:
                return TaskResult(task.id, "ok", reply.output, tuple(attempts))
            capable = next_agents(self.capable[task.needs], attempts)
            if not capable:
                break
            if attempts[-1].transient and number < task.max_attempts:
                await asyncio.sleep(self.pause(task, number, error))
        return _failed(task, attempts)

    async def attempt(
        self, task: Task, context: Context, slot: Slot, attempts: list[Attempt]
    ) -> tuple[Reply, Exception | None]:
        """One call, timed and counted; after a failure the slot is free again."""
        agent, started = slot.agent, self.now()
        try:
            reply, error = await self.ask_agent(agent, task, context)
        except asyncio.CancelledError:
            attempts.append(Attempt(agent.name, started, self.now(), "interrupted"))
            await self.ledger.settle(task.id, None)
            raise
        attempts.append(
            Attempt(
                agent.name,
                started,
                self.now(),
                "" if error is None else one_line(error),
                error is not None and is_transient(error),
                reply.usage or usage_of(error),
                reply.cost_usd,
                reply.request_ids,
                reply.trimmed,
            )
        )
        await self.ledger.settle(task.id, attempts[-1])
        slot.settle(reply, error)
        if error is not None:
            slot.leave()
        return reply, error

    async def ask_agent(
        self, agent: Agent, task: Task, context: Context
    ) -> tuple[Reply, Exception | None]:
        """What the call gave or raised; too late is an error, whatever it gives."""

        async def ask() -> Any:
            return await self.call(agent, task, context)

        limit, asking = self.time_left(task), asyncio.create_task(ask())
        try:
            done, _ = await asyncio.wait({asking}, timeout=limit)
        finally:  # also when this run is cut off
            await _stop(asking)
        error: Exception | None = None
        if not done:
            error = TimeoutError(f"no answer within {limit:.6g} s")
        if not asking.done():
            return Reply(None), error
        if asking.cancelled():
            return Reply(None), error or RuntimeError("the call cancelled itself")
        if raised := asking.exception():
            if not isinstance(raised, Exception):
                raise raised
            return Reply(None), error or raised
        output = asking.result()
        reply = output if isinstance(output, Reply) else Reply(output)
        return reply, error or reply.error

    def pause(self, task: Task, attempt: int, error: Exception) -> float:
        draw = random.Random(f"{self.job.run_id}:{task.id}:{attempt}").random()
        return backoff(attempt, retry_after(headers_of(error)), draw)

    def time_left(self, task: Task) -> float:
        if self.job.deadline_s is None:
            return task.timeout_s
        return min(task.timeout_s, self.job.deadline_s - self.now())

    async def closed(self, task: Task) -> tuple[Stop, str] | None:
        """Why no call may start any more, if that is so; else its budget is set aside."""
        while True:
            if self.job.deadline_s is not None and self.now() >= self.job.deadline_s:
                return "deadline", f"deadline: {self.job.deadline_s:g} s are over"
            answer = await self.ledger.reserve(task.id, self.job.budget)
            if answer != "":
                return ("budget", answer) if answer else None
            await self.ledger.changed()

    def now(self) -> float:
        return self.loop.time() - self.origin

    def report(self) -> RunReport:
        """Every task with exactly one status, also those that the end of the run caught."""
        return report_of(self.job, self.results, self.attempts)


def report_of(
    job: Job, results: Mapping[str, TaskResult], attempts: Mapping[str, Sequence[Attempt]]
) -> RunReport:
    """A report with what there is; everything else was interrupted."""
    cause = "interrupted before it was done"
    given = {
        task.id: results.get(task.id)
        or _stopped(task, attempts.get(task.id, ()), "interrupted", cause)
        for task in job.plan
    }
    return RunReport(job.run_id, job.plan, given)


async def _stop(asking: "asyncio.Task[Any]") -> None:
    """Cancel a call that still runs, and wait a moment for it; one that will not end is left."""
    if not asking.done():
        asking.cancel()
        await asyncio.wait({asking}, timeout=GRACE_S)


def _copy(output: Any) -> Any:
    """An output of its own for each call that reads it; what cannot be copied is shared."""
    try:
        return deepcopy(output)
    except Exception:  # a client, a lock: whatever its class raises
        return output


async def _direct(task: Task, inputs: Mapping[str, Any], execute: Execute) -> TaskResult:
    return await execute()


def _skipped(task: Task, lost: TaskResult) -> TaskResult:
    root = lost.root or lost.id
    cause = f"needs {lost.id!r}, which {lost.status}" + (
        f" because of {root!r}" if lost.root else ""
    )
    return TaskResult(task.id, "skipped", cause=cause, root=root, stop=lost.stop)


def _failed(task: Task, attempts: Sequence[Attempt]) -> TaskResult:
    cause = f"{attempts[-1].agent}: {attempts[-1].error}"
    return TaskResult(task.id, "failed", attempts=tuple(attempts), cause=cause)


def _stopped(task: Task, attempts: Sequence[Attempt], stop: Stop, cause: str) -> TaskResult:
    status: Status = "failed" if attempts else "skipped"
    return TaskResult(task.id, status, attempts=tuple(attempts), cause=cause, stop=stop)
