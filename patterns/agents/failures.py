"""What a failed call means: whether to try again, when, with whom, and what it cost anyway.

Only what is transient is retried as it is. A refusal, a truncated answer or an invalid one comes
back the same, so the task moves to an agent of another pool; when that one fails too, the task
is the likelier culprit. Chapter 3 teaches it.
"""

from collections.abc import Mapping, Sequence

from anthropic import APIConnectionError, APIStatusError
from anthropic.types import Usage

from patterns.agents.plan import Agent
from patterns.agents.report import Attempt, Reply

TRANSIENT = frozenset({408, 409, 429})  # and every 5xx
BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed later: overload, rate limits, lost connections."""
    if isinstance(error, APIStatusError):
        return error.status_code in TRANSIENT or error.status_code >= 500
    return isinstance(error, TimeoutError | ConnectionError | APIConnectionError)


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


def pause(attempt: int, wait_s: float | None, draw: float) -> float:
    """Seconds before the next attempt: what `retry-after` says or doubling, with jitter.

    `draw` is uniform in [0, 1).
    """
    if wait_s is not None:
        return wait_s * (1 + 0.1 * draw)
    return min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** (attempt - 1)) * (0.5 + draw / 2)


def retry_after(error: BaseException | None) -> float | None:
    """The seconds that a response asks to wait, if the error carries one that does."""
    headers = headers_of(error)
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    return None


def headers_of(error: BaseException | None, reply: Reply | None = None) -> Mapping[str, str]:
    """The headers of the response that a call ended with, good or bad."""
    if isinstance(error, APIStatusError):
        return error.response.headers
    return reply.headers if reply else {}


def usage_of(error: BaseException | None) -> tuple[Usage, ...]:
    """The tokens of an answer that was refused, truncated or invalid: they are billed too."""
    usage = getattr(error, "usage", None) or getattr(getattr(error, "message", None), "usage", ())
    several = usage if isinstance(usage, tuple) else (usage,)
    return tuple(one for one in several if isinstance(one, Usage))


def one_line(error: BaseException) -> str:
    """The error's type and the beginning of its message, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")
