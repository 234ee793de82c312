"""What a session remembers of its tool calls."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

CORRELATION_KEY = "com.claude-patterns/correlationId"
Outcome = Literal["ok", "tool_error", "failed", "cancelled"]


class ToolCall(NamedTuple):
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
