"""Whether the API would take a request body: shapes, roles, tools, and what a model refuses.

Each check raises the 400 (or 404) that the API documents, with the path of the field at fault in
front. Fields that this file does not know are refused, as the API refuses them, unless the
request asks for a beta.

Take along: the folder patterns/fake_api, patterns/models.py.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from patterns.fake_api.errors import APIError
from patterns.fake_api.schemas import check_schema
from patterns.fake_api.turns import check_messages
from patterns.models import ModelFacts, UnknownModel, facts_of

SAMPLING: Final = ("temperature", "top_p", "top_k")
KNOWN: Final = frozenset(
    (
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "speed",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        *SAMPLING,
    )
)
NOT_COUNTED: Final = frozenset(("max_tokens", "stream", "metadata", "stop_sequences"))
"""Fields that `count_tokens` does not take."""
MOST_TOKENS: Final = 1_000_000
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
USER_ID_MOST: Final = 512


def bad(path: str, problem: str) -> APIError:
    """A 400 that names the field at fault."""
    return APIError(400, f"{path}: {problem}")


def check_request(
    body: Any, *, now: float, beta: bool = False, counting: bool = False
) -> ModelFacts:
    """Raise the API's error for a body that it would not take; return the model's row.

    Args:
        body: the parsed JSON.
        now: the API's time, which decides on retired models.
        beta: the request asks for a beta, whose fields are let through.
        counting: the body is for `count_tokens`, which needs no `max_tokens`.
    """
    if not isinstance(body, dict):
        raise APIError(400, f"the body must be a JSON object, not {kind(body)}")
    required = ("model", "messages") if counting else ("model", "max_tokens", "messages")
    for key in required:
        if key not in body:
            raise bad(key, "this field is required")
    facts = check_model(body["model"], now)
    if not beta:
        _check_known(body, counting)
    if not counting or "max_tokens" in body:
        _check_max_tokens(body["max_tokens"])
    check_messages(body["messages"])
    for key, check in CHECKS.items():
        if body.get(key) is not None:
            check(body[key])
    _check_refused(body, facts)
    return facts


def kind(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def check_model(model: object, now: float) -> ModelFacts:
    """The model's row.

    Raises:
        APIError: 400 for something that is no id, 404 for an unknown or retired model.
    """
    if not isinstance(model, str) or not model:
        raise bad("model", f"must be a model id, got {kind(model)}")
    try:
        facts = facts_of(model)
    except UnknownModel:
        raise APIError(404, f"model: {model}") from None
    if facts.end_of_life is not None and facts.retired(datetime.fromtimestamp(now, UTC).date()):
        raise APIError(404, f"model: {model}")
    return facts


def _check_known(body: Mapping[str, Any], counting: bool) -> None:
    for key in body:
        if key not in KNOWN or (counting and key in NOT_COUNTED):
            raise bad(key, "this field is not permitted here")


def _check_max_tokens(value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad("max_tokens", f"must be a whole number, got {kind(value)}")
    if not 0 <= value <= MOST_TOKENS:
        raise bad("max_tokens", f"{value} is outside 0 to {MOST_TOKENS}")


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
    match thinking.get("type"):
        case "adaptive" | "disabled" | "between_tools":
            return
        case "enabled":
            budget = thinking.get("budget_tokens")
            if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1024:
                raise bad("thinking.budget_tokens", "must be a whole number of at least 1024")
        case _:
            raise bad("thinking.type", "must be adaptive, enabled, disabled or between_tools")


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


def _check_refused(body: Mapping[str, Any], facts: ModelFacts) -> None:
    """What the model refuses, and what does not go together."""
    refuses = facts.refuses
    thinking = (body.get("thinking") or {}).get("type")
    if "sampling" in refuses:
        for key in SAMPLING:
            if body.get(key) is not None:
                raise bad(key, f"sampling parameters are not supported by {facts.id}; remove it")
    if "forced_tool_choice" in refuses and forces_tool(body):
        raise bad("tool_choice", f"forcing a tool is not supported by {facts.id}; use auto or none")
    if "thinking_budget" in refuses and thinking == "enabled":
        raise bad(
            "thinking.type", f"a thinking budget is not supported by {facts.id}; use adaptive"
        )
    if "thinking_off" in refuses and thinking == "disabled":
        raise bad("thinking.type", f"thinking cannot be disabled on {facts.id}; lower the effort")
    if "prefill" in refuses and _is_prefill(body["messages"][-1]):
        raise bad(
            "messages", f"{facts.id} does not support prefill; the last turn must be the user's"
        )
    _check_together(body, thinking)


def forces_tool(body: Mapping[str, Any]) -> bool:
    """Whether the request forces the model to use a tool."""
    return (body.get("tool_choice") or {}).get("type") in ("any", "tool")


def _is_prefill(message: Mapping[str, Any]) -> bool:
    """An assistant turn at the end that is plain text; a paused turn holds other blocks."""
    if message["role"] != "assistant":
        return False
    content = message["content"]
    return isinstance(content, str) or all(
        block["type"] in ("text", "thinking", "redacted_thinking") for block in content
    )


def _check_together(body: Mapping[str, Any], thinking: str | None) -> None:
    most = body.get("max_tokens")
    if thinking == "enabled" and most is not None and body["thinking"]["budget_tokens"] >= most:
        raise bad("thinking.budget_tokens", "must be less than max_tokens")
    if body.get("tool_choice") is not None and not body.get("tools"):
        raise bad("tool_choice", "may only be given with tools")
    if most == 0:
        _check_warming(body, thinking)


def _check_warming(body: Mapping[str, Any], thinking: str | None) -> None:
    """`max_tokens` of 0 fills the cache and goes with nothing that shapes an answer."""
    reasons = {
        "stream": body.get("stream"),
        "thinking": thinking == "enabled",
        "output_config.format": (body.get("output_config") or {}).get("format"),
        "tool_choice": forces_tool(body),
    }
    for key, given in reasons.items():
        if given:
            raise bad("max_tokens", f"0 (cache warming) cannot be combined with {key}")
