"""One stage of a longer job as a run of its own: recorded, joined, and tried again if it failed.

Planning and synthesis are calls like any other, so they go through the scheduler too: retries,
time-outs and, with a durable engine, a record. Chapter 3 teaches it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from anthropic.types import Usage

from patterns.agents.balancer import Balancer
from patterns.agents.failures import OtherPlan
from patterns.agents.plan import Agent, Task
from patterns.agents.report import Context, Reply, RunReport, TaskResult
from patterns.agents.scheduler import Call, Engine, InProcess, Job
from patterns.agents.worker import total


class Resumable(Engine, Protocol):
    """An engine that goes on with a run in another way: `DBOSEngine`."""

    async def resume(
        self, run_id: str, call: Call | str | None = None, **options: Any
    ) -> RunReport:
        """As `DBOSEngine.resume`."""


@dataclass(frozen=True)
class Spent:
    """What calls outside the plan took."""

    usage: tuple[Usage, ...]
    cost_usd: Decimal | None
    request_ids: tuple[str, ...]


def spent_on(results: Iterable[TaskResult]) -> Spent:
    """The sum over every attempt."""
    attempts = [attempt for result in results for attempt in result.attempts]
    return Spent(
        tuple(usage for attempt in attempts for usage in attempt.usage),
        total(*(attempt.cost_usd for attempt in attempts if attempt.usage)),
        tuple(request_id for attempt in attempts for request_id in attempt.request_ids),
    )


async def go_on(
    job: Job,
    call: Call,
    *,
    engine: Resumable | None,
    balancer: Balancer | None = None,
    new_plan: bool = False,
) -> RunReport:
    """Run a job; one that is recorded goes on with what has changed, its failures once more.

    Raises:
        OtherPlan: the recorded run has another plan, and that is not to be replaced.
    """
    made: list[str] = []

    async def noting(agent: Agent, task: Task, context: Context) -> Any:
        made.append(task.id)
        return await call(agent, task, context)

    balancer = balancer or Balancer()
    if engine is None:
        return await InProcess().run(job, call, balancer)
    options: dict[str, Any] = {"balancer": balancer, "retry_failed": True}
    try:
        report = await engine.run(job, noting, balancer)
        if made or not report.missing:  # a failure now is not one of before
            return report
    except OtherPlan as other:
        if "plan" in other.fields and not new_plan:
            raise
        options |= {name: getattr(job, name) for name in other.fields}
    return await engine.resume(job.run_id, call, **options)


async def asked(job: Job, call: Call, *, engine: Resumable | None, **options: Any) -> RunReport:
    """`go_on` for a job that is worth nothing in part: raises what its call failed with last."""
    failures: list[Exception] = []

    async def noting(agent: Agent, task: Task, context: Context) -> Any:
        try:
            reply = await call(agent, task, context)
        except Exception as error:
            failures.append(error)
            raise
        if isinstance(reply, Reply) and reply.error:
            failures.append(reply.error)
        return reply

    report = await go_on(job, noting, engine=engine, **options)
    if report.missing:
        causes = (result.cause for result in report.results.values() if result.cause)
        raise failures[-1] if failures else RuntimeError("; ".join(causes))
    return report
