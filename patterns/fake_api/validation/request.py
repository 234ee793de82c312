"""Whether the API would take a request body: shapes, roles, tools, and what a model refuses.

Each check raises the 400 (or 404) that the API documents, with the path of the field at fault in
front. Fields that this file does not know are refused, as the API refuses them, unless the
request asks for a beta.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from patterns.core.models import ModelFacts, UnknownModel, facts_of
from patterns.fake_api.validation.fields import CHECKS, bad, kind
from patterns.fake_api.validation.turns import check_messages
from patterns.fake_api.wire.errors import APIError

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
