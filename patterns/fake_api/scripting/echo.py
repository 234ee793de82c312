"""The answer to a request that no script knows: it says what it is, every time alike."""

from collections.abc import Mapping
from typing import Any

from patterns.fake_api.scripting.replies import Reply, ToolUse
from patterns.fake_api.validation.examples import example_of
from patterns.fake_api.validation.settings import forces_tool
from patterns.fake_api.validation.tools import output_format


def echo_of(body: Mapping[str, Any], last_text: str) -> Reply:
    """The answer to a request that no script knows: it says what it is, every time alike."""
    form = output_format(body)
    if forces_tool(body):
        return Reply(tool_use=[_forced(body)])
    if form is not None:
        return Reply(json=example_of(form["schema"], form["schema"]))
    shown = last_text if len(last_text) <= 200 else last_text[:200] + "…"
    return Reply(f"[echo of the fake API, no scripted reply fits] {shown}")


def _forced(body: Mapping[str, Any]) -> ToolUse:
    """A call of the tool that the request asks for, or of the first, with an example as input."""
    wanted = body["tool_choice"].get("name")
    tool = next(tool for tool in body["tools"] if wanted in (None, tool.get("name")))
    schema = tool.get("input_schema") or {"type": "object"}
    return ToolUse(tool.get("name") or tool["type"], example_of(schema, schema))


def start_of(text: str, size: int = 80) -> str:
    """The beginning of a text, for messages."""
    return text if len(text) <= size else text[:size] + "…"
