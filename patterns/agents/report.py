"""What a run gives back: one result per task, with every attempt, its tokens and its cost.

Everything here is frozen data that survives a round trip through JSON, so that a durable engine
can store it and a dashboard can read it. Chapter 3 teaches it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from anthropic.types import Usage

from patterns.agents.plan import Plan

Stop: TypeAlias = Literal["budget", "deadline", "interrupted"]
Status: TypeAlias = Literal["ok", "failed", "skipped"]


def escaped(run_id: str) -> str:
    """A run's id without colons, so that one may stand between it and what follows."""
    return run_id.replace("%", "%25").replace(":", "%3A")


@dataclass(frozen=True)
class Context:
    """What a call may know besides its task: its dependencies' outputs, in the task's order."""

    run_id: str
    task_id: str
    attempt: int
    inputs: Mapping[str, Any]

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt, in this process and in the one that resumes after it."""
        return f"{escaped(self.run_id)}:{self.task_id}"


@dataclass(frozen=True)
class Reply:
    """What a call gives back: the output, and what the API said about it.

    With an `error` the call has failed, as if it had raised that, and its tokens are counted.
    `trimmed` names the inputs that it read only in part.
    """

    output: Any
    usage: tuple[Usage, ...] = ()
    cost_usd: Decimal | None = None
    request_ids: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None
    trimmed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One call: who made it, when (seconds since the run began), and what went wrong if it did."""

    agent: str
    started: float
    ended: float
    error: str = ""
    transient: bool = False
    usage: tuple[Usage, ...] = ()
    cost_usd: Decimal | None = None
    request_ids: tuple[str, ...] = ()
    trimmed: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """How one task ended, with every attempt that was made.

    `cause` says why it is not ok. `root` is the failed task that a skipped one depends on, and
    `stop` says that the run, not the task, was at its end.
    """

    id: str
    status: Status
    output: Any = None
    attempts: tuple[Attempt, ...] = ()
    cause: str = ""
    root: str | None = None
    stop: Stop | None = None

    @property
    def started(self) -> float | None:
        """When the first attempt began, in seconds since the run did."""
        return self.attempts[0].started if self.attempts else None

    @property
    def ended(self) -> float | None:
        """When the last attempt ended."""
        return self.attempts[-1].ended if self.attempts else None

    @property
    def quarantined(self) -> bool:
        """Whether two agents failed on it: the task is the likelier culprit."""
        return self.status == "failed" and len({attempt.agent for attempt in self.attempts}) > 1


@dataclass(frozen=True)
class Totals:
    """What one agent did in a run."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal


@dataclass(frozen=True)
class RunReport:
    """Every task's result in the plan's order; one status each, whatever happened."""

    run_id: str
    plan: Plan
    results: Mapping[str, TaskResult]

    def __repr__(self) -> str:
        # Counts, not contents: asyncio.run() makes a repr of whatever its coroutine returns.
        counts = Counter(result.status for result in self.results.values())
        told = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
        return f"RunReport({self.run_id!r}: {told})"

    @property
    def ok(self) -> bool:
        """Whether every task ended well."""
        return not self.missing

    @property
    def outputs(self) -> dict[str, Any]:
        """The output of each task that ended well."""
        return {r.id: r.output for r in self.results.values() if r.status == "ok"}

    @property
    def missing(self) -> tuple[str, ...]:
        """The tasks without an output, failed or skipped."""
        return tuple(r.id for r in self.results.values() if r.status != "ok")

    @property
    def partial(self) -> bool:
        """Whether a required task is missing."""
        return any(self.plan[task_id].required for task_id in self.missing)

    @property
    def trimmed(self) -> dict[str, tuple[str, ...]]:
        """By task, the inputs that its last call read only in part, for lack of room."""
        last = {r.id: r.attempts[-1].trimmed for r in self.results.values() if r.attempts}
        return {task_id: names for task_id, names in last.items() if names}

    @property
    def stopped(self) -> Stop | None:
        """What ended the run before its tasks, if anything did."""
        return next((r.stop for r in self.results.values() if r.stop), None)

    @property
    def makespan(self) -> float:
        """Seconds from the start of the run to the end of its last call."""
        return max((r.ended or 0.0 for r in self.results.values()), default=0.0)

    @property
    def seconds(self) -> dict[str, float]:
        """How long each task's calls took: what `lower_bound` and `critical_path` take."""
        return {
            r.id: sum(attempt.ended - attempt.started for attempt in r.attempts)
            for r in self.results.values()
        }

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every call of the run."""
        return tuple(attempt for r in self.results.values() for attempt in r.attempts)

    def by_agent(self) -> dict[str, Totals]:
        """Calls, tokens and dollars of each agent that was called."""
        names = sorted({attempt.agent for attempt in self.attempts})
        return {name: totals(a for a in self.attempts if a.agent == name) for name in names}


def totals(attempts: Iterable[Attempt]) -> Totals:
    """The sum of some attempts."""
    attempts = tuple(attempts)
    usages = [usage for attempt in attempts for usage in attempt.usage]
    return Totals(
        calls=len(attempts),
        input_tokens=sum(tokens_in(usage) for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cost_usd=sum((a.cost_usd for a in attempts if a.cost_usd is not None), Decimal(0)),
    )


def tokens_in(usage: Usage) -> int:
    """All input tokens, read from the cache or not."""
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return usage.input_tokens + cached
