"""What a session remembers of its tool calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CORRELATION_KEY = "com.claude-patterns/correlationId"
Outcome = Literal["ok", "tool_error", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call.

    Attributes:
        id: Correlation id; the server sees it as `CORRELATION_KEY` in the request's `_meta`.
        name: The tool.
        arguments: What it was called with, unredacted.
        outcome: "ok", "tool_error" (the tool said no), "failed" (no answer) or "cancelled".
        error: Why it failed, else empty.
        attempts: How often it was sent or tried to be sent.
        connection: Number of the connection that carried the last attempt, from 1.
        seconds: Duration with all attempts and waits.
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    outcome: Outcome
    error: str
    attempts: int
    connection: int
    seconds: float


@dataclass(slots=True)
class Trace:
    """What happened to one request so far; becomes a `ToolCall` when somebody asks.

    `waiting_on` is the connection that carries an attempt right now; `maybe_done` says that an
    earlier attempt may have run.
    """

    id: str = ""
    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    connection: int = 0
    outcome: Outcome = "failed"
    error: str = ""
    seconds: float = 0.0
    waiting_on: Any = None
    maybe_done: bool = False

    def as_tool_call(self) -> ToolCall:
        """The record of a finished call."""
        return ToolCall(
            self.id,
            self.name,
            self.arguments,
            self.outcome,
            self.error,
            self.attempts,
            self.connection,
            self.seconds,
        )
