"""What a durable run leaves in the database, and what of it a resumed run keeps.

A run is a workflow for each time that it was started or resumed with changes; ids are escaped so
that no two runs, tasks or resumptions can share one. Chapter 3 teaches it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python

from patterns.agents.failures import OtherPlan as OtherPlan
from patterns.agents.failures import one_line
from patterns.agents.plan import Task, graph
from patterns.agents.report import RunReport, TaskResult, escaped
from patterns.agents.scheduler import Job, report_of
from patterns.core.errors import Portable

if TYPE_CHECKING:
    from dbos import WorkflowStatus

_JOB = TypeAdapter(Job)
_RESULT = TypeAdapter(TaskResult)


class UnknownRun(Portable, LookupError):
    """Nothing is recorded under that id."""

    def __init__(self, run_id: str, url: str) -> None:
        self.run_id = run_id
        super().__init__(f"{url} has no run {run_id!r}; run_plan starts one")


class CallNotRegistered(Portable, LookupError):
    """A run asks for a call by a name that this engine was not given."""

    def __init__(self, run_id: str, name: str) -> None:
        self.run_id, self.name = run_id, name
        given = f"asks for the call {name!r}" if name else "has a call without a name"
        super().__init__(
            f"run {run_id!r} {given}, which is not registered here; pass the call, or give the "
            f"engine calls={{{name or 'name'!r}: ...}}"
        )


class RunStalled(Portable, TimeoutError):
    """A run has recorded nothing for a while; `holders` are the workers that have its work."""

    def __init__(self, report: RunReport, holders: tuple[str, ...], waited_s: float) -> None:
        self.report, self.holders = report, holders
        who = ", ".join(map(repr, holders)) or "no worker, so none that is there can take it"
        super().__init__(
            f"run {report.run_id!r} recorded nothing for {waited_s:g} s; its work is held by "
            f"{who}; end a process that hangs, and its work goes on at another"
        )


@dataclass(frozen=True)
class Record:
    """What the database knows of a run: what it was asked, and every result so far."""

    generation: int
    status: "WorkflowStatus"
    service: str
    job: Job
    begun: float
    results: Mapping[str, TaskResult]

    @property
    def ended(self) -> bool:
        """Whether nobody works on it any more."""
        return self.status.status not in ("ENQUEUED", "PENDING")

    def report(self) -> RunReport:
        """A report with what is recorded."""
        return report_of(self.job, self.results, {})


@dataclass(frozen=True)
class Outlook:
    """What resuming a run would do.

    Attributes:
        kept: tasks whose recorded results stay, the failed ones among them.
        again: tasks that would be asked for, because they are new, changed, read one that is
            changed, were not done, or failed and are to be tried once more.
    """

    kept: tuple[str, ...]
    again: tuple[str, ...]


def outlook(record: Record, job: Job, retry_failed: bool) -> Outlook:
    """What of a record a changed job keeps.

    A result stays if its task still asks the same question of the same inputs. Other limits,
    agents, priorities and descriptions change no result.
    """
    changed: set[str] = set()
    kept, blocked, again = [], set[str](), []
    for task in map(job.plan.by_id.__getitem__, TopologicalSorter(graph(job.plan)).static_order()):
        known = record.job.plan.by_id.get(task.id)
        if known is None or _question(known) != _question(task) or changed & {*task.depends_on}:
            changed.add(task.id)
        result = None if task.id in changed else record.results.get(task.id)
        if result and (result.status == "ok" or _failed_for_good(result, retry_failed)):
            kept.append(task.id)
            if result.status != "ok":
                blocked.add(task.id)
        elif blocked & {*task.depends_on}:
            blocked.add(task.id)
        else:
            again.append(task.id)
    return Outlook(tuple(kept), tuple(again))


def carried(record: Record, ahead: Outlook) -> list[TaskResult]:
    """The results that a resumed run brings along: those it keeps, and what others have cost."""
    return [
        result
        if result.id in ahead.kept
        else replace(result, status="failed", output=None, stop="interrupted")
        for result in record.results.values()
        if result.id in ahead.kept or result.attempts
    ]


def joined(earlier: TaskResult | None, result: TaskResult) -> TaskResult:
    """A task's result with the attempts that were made before the run went on."""
    tried = earlier.attempts if earlier else ()
    return replace(result, attempts=(*tried, *result.attempts))


def _question(task: Task) -> tuple[Any, ...]:
    return task.prompt, task.depends_on


def _failed_for_good(result: TaskResult, retry_failed: bool) -> bool:
    return result.status == "failed" and result.stop is None and not retry_failed


def workflow_id(run_id: str, generation: int = 1, task_id: str | None = None) -> str:
    """A run's first workflow has its id, `id:2` is the one that went on with changes, and so on."""
    run = escaped(run_id)
    if task_id is not None:
        return f"{run}:{generation}:{task_id}"
    return run if generation == 1 else f"{run}:{generation}"


def job_text(job: Job) -> str:
    """A job as JSON."""
    return _json(job)


def job_of(text: str) -> Job:
    """What `job_text` gave."""
    return _JOB.validate_python(json.loads(text))


def result_text(result: TaskResult) -> str:
    """A result as JSON; an output that is none is a failure of its task."""
    try:
        return _json(result)
    except (PydanticSerializationError, ValueError) as error:
        return _json(replace(result, status="failed", output=None, cause=one_line(error)))


def result_of(text: str) -> TaskResult:
    """What `result_text` gave."""
    return _RESULT.validate_python(json.loads(text))


def _json(value: Any) -> str:
    """As JSON with NaN, infinity and lone surrogates, which pydantic's own text cannot hold."""
    return json.dumps(to_jsonable_python(value, inf_nan_mode="constants"))


def results_text(results: Iterable[TaskResult]) -> str:
    """Several results as one text."""
    return json.dumps([result_text(one) for one in results])


def results_of(text: str) -> dict[str, TaskResult]:
    """What `results_text` gave, by task."""
    found = [result_of(one) for one in json.loads(text)]
    return {one.id: one for one in found}
