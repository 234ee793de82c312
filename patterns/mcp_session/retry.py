"""When to try again, and after how long. Decisions only: nothing here sleeps."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT, Tool

from patterns.mcp_session.errors import ServerUnavailable

RetryTools = Collection[str] | Callable[[Tool], bool]
"""The tools that may run twice: their names, or a rule on their declaration."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is tried and how long to wait in between.

    Attributes:
        attempts: Tries in all; 1 means never again.
        delay: Seconds before the second try, multiplied by `factor` for each one after.
        factor: Growth of the delay.
        max_delay: Upper limit of one delay in seconds.
        jitter: Share of the delay that is drawn at random, so that clients spread out.
        codes: JSON-RPC error codes that a later try can heal.
    """

    attempts: int = 3
    delay: float = 0.25
    factor: float = 2.0
    max_delay: float = 8.0
    jitter: float = 0.2
    codes: frozenset[int] = frozenset({CONNECTION_CLOSED, REQUEST_TIMEOUT})

    def delay_after(self, attempt: int, rng: Callable[[], float] = random.random) -> float:
        """Seconds to wait after the failed `attempt` (1 is the first)."""
        full = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        return full * (1 - self.jitter * rng())

    def heals(self, code: int) -> bool:
        """Whether an error with this code can go away by itself."""
        return code in self.codes


def declared_safe(tool: Tool) -> bool:
    """A rule for `retry_tools`: the server itself declares the tool read-only or idempotent.

    Use it with servers you trust: a hint of a stranger proves nothing.
    """
    hints = tool.annotations
    return bool(hints and (hints.read_only_hint or hints.idempotent_hint))


def never_started(error: Exception) -> bool:
    """Whether the request was certainly not sent, so that any tool may be tried again."""
    return isinstance(error, ServerUnavailable) and not error.maybe_done
