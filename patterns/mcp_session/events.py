"""What a conversation tells while it runs, and what it leaves behind."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from anthropic.types import Message

Outcome = Literal["ok", "tool_error", "declined", "over budget", "unknown tool", "interrupted"]


@dataclass(frozen=True)
class Budget:
    """What one turn may use up.

    Attributes:
        calls: Tool calls.
        dollars: Price of the answers; needs `Conversation(price=...)`.
        seconds: Time, a person's approvals included.
    """

    calls: int | None = 50
    dollars: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ToolRequest:
    """A tool call that Claude asks for, with the ids that join the three logs.

    Attributes:
        tool_use_id: Of the block in the history, from the API.
        call_id: The correlation id that the MCP server sees, and the session's `history` has.
        request_id: Of the API response that asked for it.
        server: Name of the server in `Conversation(servers=...)`; empty for an unknown tool.
        tool: The server's own name of the tool.
        arguments: As the server gets them.
    """

    tool_use_id: str
    call_id: str
    request_id: str | None
    server: str
    tool: str
    arguments: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class ToolRun(ToolRequest):
    """A tool call and what became of it. An interrupted one may have run."""

    outcome: Outcome


@dataclass(frozen=True)
class TextDelta:
    """A piece of Claude's text."""

    text: str


@dataclass(frozen=True)
class ToolStarted:
    """A tool begins to run."""

    request: ToolRequest


@dataclass(frozen=True)
class ToolEnded:
    """A tool has run, or was not allowed to."""

    run: ToolRun


@dataclass(frozen=True)
class Turn:
    """One answered message.

    Attributes:
        text: Claude's text of the whole turn.
        stop_reason: Of the last answer; "budget" if the turn was ended before Claude was done.
        answers: Every API response of the turn, with its usage.
        request_ids: Their request ids.
        runs: The tool calls, in the order in which they ended.
        dollars: Price of the answers, None without a price list.
    """

    text: str
    stop_reason: str
    answers: tuple[Message, ...]
    request_ids: tuple[str | None, ...]
    runs: tuple[ToolRun, ...]
    dollars: Decimal | None = None


@dataclass(frozen=True)
class TurnEnded:
    """The last event of a turn."""

    turn: Turn


Event = TextDelta | ToolStarted | ToolEnded | TurnEnded
OnEvent = Callable[[Event], Awaitable[Any] | Any]
Approve = Callable[[ToolRequest], Awaitable[bool | str]]
"""True lets a call run; False or a reason, which Claude reads, does not."""


def to_progress(report: Callable[..., Awaitable[Any]]) -> OnEvent:
    """Passes Claude's words on to a client of ours, through `ctx.report_progress` of a tool."""
    pieces = 0

    async def tell(event: Event) -> None:
        nonlocal pieces
        if isinstance(event, TextDelta):
            pieces += 1
            await report(pieces, message=event.text)

    return tell
