"""Single fields of a request: each has the shape that the API asks for, or a 400 with its path."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from patterns.fake_api.validation.schemas import check_schema
from patterns.fake_api.wire.errors import APIError

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
USER_ID_MOST: Final = 512


def bad(path: str, problem: str) -> APIError:
    """A 400 that names the field at fault."""
    return APIError(400, f"{path}: {problem}")


def kind(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _check_system(system: object) -> None:
    if isinstance(system, str):
        return
    if not isinstance(system, list):
        raise bad("system", f"must be a string or an array of text blocks, got {kind(system)}")
    for n, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise bad(f"system.{n}", "must be a text block")
        if not isinstance(block.get("text"), str) or not block["text"]:
            raise bad(f"system.{n}.text", "must be a non-empty string")


def _check_tools(tools: object) -> None:
    if not isinstance(tools, list):
        raise bad("tools", f"must be an array, got {kind(tools)}")
    names: set[str] = set()
    for n, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise bad(f"tools.{n}", f"must be an object, got {kind(tool)}")
        _check_tool(f"tools.{n}", tool)
        name = tool.get("name")
        if name is not None and name in names:
            raise bad("tools", f"tool names must be unique, {name!r} comes twice")
        names.add(name or "")


def _check_tool(path: str, tool: Mapping[str, Any]) -> None:
    if tool.get("type") not in (None, "custom"):
        if not isinstance(tool["type"], str):
            raise bad(f"{path}.type", f"must be a string, got {kind(tool['type'])}")
        if not isinstance(tool.get("name"), str | None):
            raise bad(f"{path}.name", f"must be a string, got {kind(tool['name'])}")
        return
    name = tool.get("name")
    if not isinstance(name, str) or not TOOL_NAME.match(name):
        raise bad(f"{path}.name", "must be 1 to 128 letters, digits, underscores or hyphens")
    if not isinstance(tool.get("description", ""), str):
        raise bad(f"{path}.description", f"must be a string, got {kind(tool['description'])}")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise bad(f"{path}.input_schema", "this field is required and must be an object")
    if schema.get("type") != "object":
        raise bad(f"{path}.input_schema.type", "must be 'object'")


def _check_tool_choice(choice: object) -> None:
    if not isinstance(choice, dict):
        raise bad("tool_choice", f"must be an object, got {kind(choice)}")
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        raise bad("tool_choice.type", "must be auto, any, tool or none")
    if choice["type"] == "tool" and not isinstance(choice.get("name"), str):
        raise bad("tool_choice.name", "this field is required for a tool choice of type 'tool'")


def _check_thinking(thinking: object) -> None:
    if not isinstance(thinking, dict):
        raise bad("thinking", f"must be an object, got {kind(thinking)}")
    chosen = thinking.get("type")
    if chosen not in ("adaptive", "enabled", "disabled", "between_tools"):
        raise bad("thinking.type", "must be adaptive, enabled, disabled or between_tools")
    budget = thinking.get("budget_tokens")
    enough = isinstance(budget, int) and not isinstance(budget, bool) and budget >= 1024
    if chosen == "enabled" and not enough:
        raise bad("thinking.budget_tokens", "must be a whole number of at least 1024")


def _check_output_config(config: object) -> None:
    if not isinstance(config, dict):
        raise bad("output_config", f"must be an object, got {kind(config)}")
    if config.get("effort") is not None and config["effort"] not in EFFORTS:
        raise bad("output_config.effort", f"must be one of {', '.join(EFFORTS)}")
    form = config.get("format")
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise bad("output_config.format", "must be an object of type 'json_schema'")
    if not isinstance(form.get("schema"), dict):
        raise bad("output_config.format.schema", "this field is required and must be an object")
    check_schema(form["schema"], "output_config.format.schema")


def _check_stop_sequences(value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise bad("stop_sequences", "must be an array of strings")
    for n, word in enumerate(value):
        if not word.strip():
            raise bad(f"stop_sequences.{n}", "must hold something other than whitespace")


def _check_metadata(value: object) -> None:
    if not isinstance(value, dict):
        raise bad("metadata", f"must be an object, got {kind(value)}")
    for key in value:
        if key != "user_id":
            raise bad(f"metadata.{key}", "this field is not permitted here")
    user = value.get("user_id")
    if user is not None and (not isinstance(user, str) or len(user) > USER_ID_MOST):
        raise bad("metadata.user_id", f"must be a string of at most {USER_ID_MOST} characters")


def _check_stream(value: object) -> None:
    if not isinstance(value, bool):
        raise bad("stream", f"must be a boolean, got {kind(value)}")


def _check_service_tier(value: object) -> None:
    if value not in ("auto", "standard_only"):
        raise bad("service_tier", "must be auto or standard_only")


def _check_speed(value: object) -> None:
    if value not in ("standard", "fast"):
        raise bad("speed", "must be standard or fast")


def _check_diagnostics(value: object) -> None:
    if not isinstance(value, dict):
        raise bad("diagnostics", f"must be an object, got {kind(value)}")
    if not isinstance(value.get("previous_message_id"), str | None):
        raise bad("diagnostics.previous_message_id", "must be a string or null")


def _check_cache_control(value: object) -> None:
    check_cache_control("cache_control", value)


def check_cache_control(path: str, value: object) -> None:
    """A `cache_control` of the right shape."""
    if not isinstance(value, dict) or value.get("type") != "ephemeral":
        raise bad(path, "must be an object of type 'ephemeral'")
    if value.get("ttl", "5m") not in ("5m", "1h"):
        raise bad(f"{path}.ttl", "must be 5m or 1h")


def _check_sampling(value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise bad("temperature", "must be a number that is not negative")


CHECKS: Final[Mapping[str, Callable[[object], None]]] = {
    "stream": _check_stream,
    "system": _check_system,
    "tools": _check_tools,
    "tool_choice": _check_tool_choice,
    "thinking": _check_thinking,
    "output_config": _check_output_config,
    "stop_sequences": _check_stop_sequences,
    "metadata": _check_metadata,
    "service_tier": _check_service_tier,
    "speed": _check_speed,
    "diagnostics": _check_diagnostics,
    "cache_control": _check_cache_control,
    "temperature": _check_sampling,
}
"""The check of each field, for the fields that are there."""
