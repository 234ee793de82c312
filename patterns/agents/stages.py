"""One stage of a longer job as a run of its own: recorded, joined, and tried again if it failed.

Planning and synthesis are calls like any other, so they go through the scheduler too: retries,
time-outs and, with a durable engine, a record. Chapter 3 teaches it.
"""

from typing import Any, Protocol

from patterns.agents.balancer import Balancer
from patterns.agents.failures import OtherPlan
from patterns.agents.plan import Agent, Task
from patterns.agents.report import Context, Reply, RunReport
from patterns.agents.scheduler import Call, Engine, InProcess, Job


class Resumable(Engine, Protocol):
    """An engine that goes on with a run in another way: `DBOSEngine`."""

    async def recorded(self, run_id: str) -> Any:
        """As `DBOSEngine.recorded`."""

    async def resume(
        self, run_id: str, call: Call | str | None = None, **options: Any
    ) -> RunReport:
        """As `DBOSEngine.resume`."""


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
    balancer = balancer or Balancer()
    if engine is None:
        return await InProcess().run(job, call, balancer)
    found = await engine.recorded(job.run_id)
    changed = found.job.differing(job) if found else []
    if "plan" in changed and not new_plan:
        raise OtherPlan(job.run_id, changed)
    if found and (changed or found.ended):
        options = {name: getattr(job, name) for name in changed}
        return await engine.resume(
            job.run_id, call, balancer=balancer, retry_failed=True, **options
        )
    return await engine.run(job, call, balancer)


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
