"""What a request asks for, with what it leaves out filled in from the model's row."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from patterns.core.models import ModelFacts


def thinking_of(body: Mapping[str, Any], facts: ModelFacts) -> str:
    """The thinking mode of a request: what it says, or the model's default."""
    asked = (body.get("thinking") or {}).get("type")
    return asked or ("adaptive" if facts.thinks_by_default else "disabled")


def effort_of(body: Mapping[str, Any], facts: ModelFacts) -> str:
    """The effort of a request: what it says, or the model's default."""
    return (body.get("output_config") or {}).get("effort") or facts.default_effort


def forces_tool(body: Mapping[str, Any]) -> bool:
    """Whether the request forces the model to use a tool."""
    return (body.get("tool_choice") or {}).get("type") in ("any", "tool")


def is_prefill(body: Mapping[str, Any]) -> bool:
    """Whether the last turn is a started answer; a paused turn holds other blocks."""
    last = body["messages"][-1] if body["messages"] else {"role": "user"}
    if last["role"] != "assistant" or body.get("compaction") is not None:
        return False
    started = ("text", "thinking", "redacted_thinking")
    return isinstance(last["content"], str) or all(b["type"] in started for b in last["content"])


def speed_of(body: Mapping[str, Any], facts: ModelFacts, on: date) -> str | None:
    """The speed that a request gets, where it asks for one."""
    asked = body.get("speed")
    return "standard" if asked == "fast" and facts.fast_mode(on) == "ignored" else asked


def thinks(body: Mapping[str, Any], facts: ModelFacts) -> bool:
    """Whether an answer begins with thinking: not where it is off, nor before a forced tool."""
    return thinking_of(body, facts) in ("adaptive", "enabled") and not forces_tool(body)


def shows_thinking(body: Mapping[str, Any], facts: ModelFacts) -> bool:
    """Whether the text of thinking is returned; it is paid for either way."""
    display = (body.get("thinking") or {}).get("display")
    return facts.shows_thinking if display is None else display != "omitted"
