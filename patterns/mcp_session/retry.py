"""When to try again, and after how long. Decisions only: nothing here sleeps."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mcp import MCPError
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
        max_retry_after: Longest `Retry-After` that is waited for; a longer one ends the tries.
        never_ran: HTTP statuses that mean "not executed", if the owner of the server and of every
            proxy before it says so; after them even a tool that must not repeat is sent again.
            429 and 503 prove nothing by themselves, nor does the 404 of a forgotten session.
    """

    attempts: int = 3
    delay: float = 0.25
    factor: float = 2.0
    max_delay: float = 8.0
    jitter: float = 0.2
    codes: frozenset[int] = frozenset({CONNECTION_CLOSED, REQUEST_TIMEOUT})
    max_retry_after: float = 60.0
    never_ran: frozenset[int] = frozenset()

    def delay_after(
        self,
        attempt: int,
        rng: Callable[[], float] = random.random,
        retry_after: float | None = None,
    ) -> float:
        """Seconds to wait after the failed `attempt` (1 is the first).

        `retry_after` is what the server asked for: never less, and a little more, so that not
        everybody comes back at once.
        """
        full = min(self.delay * self.factor ** (attempt - 1), self.max_delay)
        if retry_after is not None:
            return max(full, retry_after * (1 + self.jitter * rng()))
        return full * (1 - self.jitter * rng())

    def heals(self, error: MCPError) -> bool:
        """Whether an error can go away by itself, within the wait that the server asks for."""
        asked = getattr(error, "retry_after", None)
        patient = asked is None or asked <= self.max_retry_after
        return patient and error.code in self.codes


def declared_safe(tool: Tool) -> bool:
    """A rule for `retry_tools`: the server itself declares the tool read-only or idempotent.

    Use it with servers you trust: a hint of a stranger proves nothing, and a tool that claims to be
    read-only and destructive at once is not believed.
    """
    hints = tool.annotations
    if hints is not None and hints.read_only_hint:
        return not hints.destructive_hint
    return bool(hints and hints.idempotent_hint)


def never_started(error: Exception, policy: RetryPolicy) -> bool:
    """Whether the request was certainly not executed, so that any tool may be tried again."""
    return isinstance(error, ServerUnavailable) and (
        not error.maybe_done or error.status in policy.never_ran
    )
