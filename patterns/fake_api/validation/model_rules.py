"""What one model refuses and another takes, by the table `patterns.core.models`.

Each rule is one setting of a request. The first that is broken raises the API's 400; where a page
quotes the API's own words, they are used.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from patterns.core.models import ModelFacts
from patterns.fake_api.validation.settings import (
    effort_of,
    forces_tool,
    is_prefill,
    thinking_of,
)
from patterns.fake_api.wire.errors import APIError, bad

INTERLEAVED: Final = "interleaved-thinking-2025-05-14"
FAST_BETA: Final = "fast-mode-2026-02-01"
LONG_OUTPUT: Final = "output-300k-2026-03-24"
LEAST_BUDGET: Final = 1_024
"""Smallest `thinking.budget_tokens`: build-with-claude/extended-thinking, 21 August 2026."""
TOP_P_DEFAULT: Final = (0.99, 1)
"""`top_p` that newer models take; 1 only where no page says otherwise."""
RULED: Final = frozenset(
    (
        "inference_geo", "output_config", "speed", "temperature", "thinking", "tool_choice",
        "tools", "top_k", "top_p",
    )
)  # fmt: skip
"""Fields that some model refuses, or takes in part."""
GEOS: Final = ("us", "global")
NOT_FOR: Final = {
    "computer_20251124": re.compile(
        r"claude-((opus|sonnet|haiku)-5-5|(fable|mythos)-5-2|(haiku|sonnet)-4-5)"
    ),
    "computer_20250124": re.compile(r"claude-(?!(haiku|sonnet)-4-5)"),
}
"""Tools and the models that do not take them: agents-and-tools/tool-use/computer-use-tool (earlier
tool versions), August 2026; models/{sonnet,opus}-5-5/whats-new, October 2026."""


def check_model_rules(
    body: Mapping[str, Any],
    facts: ModelFacts,
    *,
    betas: frozenset[str],
    on: date,
    batched: bool = False,
) -> None:
    """Raise the 400 for a setting that the model does not take.

    Args:
        body: a request whose shape has been checked.
        facts: the model's row.
        betas: the request's betas.
        on: the day.
        batched: whether the request is part of a batch, which may be longer.
    """
    _check_max_tokens(body.get("max_tokens"), facts, batched and LONG_OUTPUT in betas)
    _check_turns(body, facts)
    if body.keys() & RULED:
        _check_thinking(body, facts, betas)
        _check_effort(body, facts)
        _check_sampling(body, facts)
        _check_forced_tool(body, facts)
        _check_tools(body, facts)
        _check_elsewhere(body, facts, betas, on)


def check_window(tokens: int, facts: ModelFacts) -> None:
    """Raise the 400 for input that is larger than the model's window."""
    if tokens > facts.context_tokens:
        raise APIError(400, f"prompt is too long: {tokens} tokens > {facts.context_tokens} maximum")


def _check_max_tokens(most: int | None, facts: ModelFacts, long: bool) -> None:
    limit = facts.batch_output_tokens if long else facts.max_output_tokens
    if most is not None and not 0 <= most <= limit:
        raise bad(
            "max_tokens",
            f"{most} is not between 0 and {limit}, which is the maximum allowed number of output "
            f"tokens for {facts.id}",
        )


def _check_thinking(body: Mapping[str, Any], facts: ModelFacts, betas: frozenset[str]) -> None:
    thinking = body.get("thinking") or {}
    mode = thinking.get("type")
    if mode is None:
        return
    if mode not in facts.thinking:
        raise APIError(400, _refused_mode(mode, facts))
    effort = effort_of(body, facts)
    if mode in ("disabled", "between_tools") and effort not in facts.quiet_efforts:
        allowed = ", ".join(facts.quiet_efforts)
        raise bad(
            "thinking.type",
            f'"{mode}" is not supported with effort {effort!r} on {facts.id}; use {allowed}',
        )
    if mode == "enabled":
        _check_budget(thinking["budget_tokens"], body.get("max_tokens"), facts, betas)


def _refused_mode(mode: str, facts: ModelFacts) -> str:
    if mode == "adaptive":
        return f"adaptive thinking is not supported on this model; {facts.id} takes enabled"
    if mode == "disabled" and "between_tools" in facts.thinking:
        return (
            'To turn thinking off on this model, send "thinking": {"type": "between_tools"} '
            'instead of {"type": "disabled"}.'
        )
    use = " or ".join(f'"thinking.type.{each}"' for each in facts.thinking)
    return f'"thinking.type.{mode}" is not supported for this model. Use {use}.'


def _check_budget(budget: int, most: int | None, facts: ModelFacts, betas: frozenset[str]) -> None:
    if budget < LEAST_BUDGET:
        raise bad("thinking.enabled.budget_tokens", f"must be at least {LEAST_BUDGET}")
    interleaved = INTERLEAVED in betas and "haiku" not in facts.id
    if most is not None and budget >= most and not interleaved:
        raise APIError(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_effort(body: Mapping[str, Any], facts: ModelFacts) -> None:
    effort = (body.get("output_config") or {}).get("effort")
    if effort is None or effort in facts.efforts:
        return
    if not facts.efforts:
        raise bad("output_config.effort", f"effort is not supported by {facts.id}")
    allowed = ", ".join(facts.efforts)
    raise bad(
        "output_config.effort", f"effort {effort!r} is not supported by {facts.id}; use {allowed}"
    )


def _check_sampling(body: Mapping[str, Any], facts: ModelFacts) -> None:
    temperature, top_p, top_k = (body.get(key) for key in ("temperature", "top_p", "top_k"))
    if temperature is not None and top_p is not None:
        raise APIError(
            400,
            "`temperature` and `top_p` cannot both be specified for this model. "
            "Please use only one.",
        )
    if not facts.sampling:
        for key, value, fine in (
            ("temperature", temperature, (1,)),
            ("top_p", top_p, TOP_P_DEFAULT[:1] if "haiku" in facts.id else TOP_P_DEFAULT),
            ("top_k", top_k, ()),
        ):
            if value is not None and value not in fine:
                raise bad(key, f"`{key}` is not supported by {facts.id}; leave it out")
    elif thinking_of(body, facts) != "disabled":
        _check_sampling_while_thinking(temperature, top_p, top_k)


def _check_sampling_while_thinking(
    temperature: float | None, top_p: float | None, top_k: int | None
) -> None:
    if temperature is not None and temperature != 1:
        raise bad("temperature", "may only be set to 1 when thinking is enabled")
    if top_p is not None and top_p < 0.95:
        raise bad("top_p", "must be greater than or equal to 0.95 when thinking is enabled")
    if top_k is not None:
        raise bad("top_k", "must be unset when thinking is enabled")


def _check_forced_tool(body: Mapping[str, Any], facts: ModelFacts) -> None:
    if not forces_tool(body):
        return
    if not facts.forced_tools:
        raise APIError(400, 'tool_choice: type "tool" and "any" are not supported for this model.')
    if (body.get("thinking") or {}).get("type") == "enabled":
        raise APIError(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _check_turns(body: Mapping[str, Any], facts: ModelFacts) -> None:
    if not facts.system_turns:
        for n, message in enumerate(body["messages"]):
            if message["role"] == "system":
                raise bad(f"messages.{n}", "role 'system' is not supported on this model")
    if not is_prefill(body):
        return
    if not facts.prefill:
        raise APIError(
            400,
            "This model does not support assistant message prefill. "
            "The conversation must end with a user message.",
        )
    if thinking_of(body, facts) != "disabled":
        raise APIError(400, "an assistant message prefill does not go with thinking")


def _check_tools(body: Mapping[str, Any], facts: ModelFacts) -> None:
    kinds = [str(tool.get("type")) for tool in body.get("tools") or ()]
    refused = [kind for kind in kinds if kind in NOT_FOR and NOT_FOR[kind].match(facts.id)]
    if refused:
        others = ["computer_toolset_20260801"] if facts.toolsets else []
        others += [kind for kind, models in NOT_FOR.items() if not models.match(facts.id)]
        raise APIError(
            400,
            f"'{facts.id}' does not support tool types: {', '.join(refused)}. "
            f"Did you mean one of {', '.join(others)}?",
        )


def _check_elsewhere(
    body: Mapping[str, Any], facts: ModelFacts, betas: frozenset[str], on: date
) -> None:
    geo = body.get("inference_geo")
    if geo is not None and not facts.inference_geo:
        raise bad("inference_geo", f"`inference_geo` is not supported by {facts.id}")
    if geo is not None and geo not in GEOS:
        raise bad("inference_geo", f"must be {' or '.join(GEOS)}, got {geo!r}")
    if (body.get("output_config") or {}).get("task_budget") and not facts.task_budget:
        raise bad("output_config.task_budget", f"task_budget is not supported by {facts.id}")
    _check_speed(body.get("speed"), facts.fast_mode(on), betas, facts.id)


def _check_speed(speed: str | None, fast: str, betas: frozenset[str], model: str) -> None:
    if speed is None:
        return
    if fast == "beta" and FAST_BETA not in betas:
        raise bad("speed", f"Extra inputs are not permitted without the beta {FAST_BETA}")
    if speed == "fast" and fast == "refused":
        raise bad("speed", f"fast mode is not supported by {model}")
