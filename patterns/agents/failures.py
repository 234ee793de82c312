"""What a failed call means: who may try again, and what it cost anyway.

Only what is transient (`patterns.core.retrying`) is retried as it is. A refusal, a truncated
answer or an invalid one comes back the same, so the task moves to an agent of another pool; when
that one fails too, the task is the likelier culprit. Chapter 3 teaches it.
"""

from collections.abc import Iterable, Sequence

from anthropic.types import Usage

from patterns.agents.plan import Agent
from patterns.agents.report import Attempt
from patterns.core.errors import Portable


class OtherPlan(Portable, ValueError):
    """A run of that id exists with another plan, other agents or other limits."""

    def __init__(self, run_id: str, fields: Iterable[str]) -> None:
        self.run_id, self.fields = run_id, tuple(fields)
        super().__init__(
            f"run {run_id!r} is recorded with another plan, agents or limits "
            f"({', '.join(self.fields)} differ); engine.resume(run_id, call, ...) goes on with "
            "the change and keeps what was paid; a new run needs a new run_id"
        )


def next_agents(capable: Sequence[Agent], attempts: Sequence[Attempt]) -> tuple[Agent, ...]:
    """Who may try after the last attempt failed; nobody, when two agents gave a bad answer.

    Agents of a pool that has not failed come first. After a transient failure all that gave no
    bad answer may try again.
    """
    bad = {attempt.agent for attempt in attempts if not attempt.transient}
    failed = {attempt.agent for attempt in attempts}
    pools = {agent.pool for agent in capable if agent.name in failed}
    elsewhere = [agent for agent in capable if agent.pool not in pools]
    fresh = elsewhere or [agent for agent in capable if agent.name not in failed]
    if attempts[-1].transient:
        return tuple(fresh or [agent for agent in capable if agent.name not in bad])
    return tuple(fresh) if len(bad) < 2 else ()


def usage_of(error: BaseException | None) -> tuple[Usage, ...]:
    """The tokens of an answer that was refused, truncated or invalid: they are billed too."""
    usage = getattr(error, "usage", None) or getattr(getattr(error, "message", None), "usage", ())
    several = usage if isinstance(usage, tuple) else (usage,)
    return tuple(one for one in several if isinstance(one, Usage))


def one_line(error: BaseException) -> str:
    """The error's type and the beginning of its message, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")
