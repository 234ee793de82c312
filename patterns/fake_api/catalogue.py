"""`/v1/models`: the models of `patterns.core.models` in the API's shape.

Limits and capabilities are those of the table. Release dates that it does not have are the epoch,
which stands for "unknown" there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Final, TypeVar, get_args

from patterns.core.models import MODELS, Effort, ModelFacts, Thinking
from patterns.fake_api.wire.errors import APIError

T = TypeVar("T")

EPOCH: Final = date(1970, 1, 1)
DEFAULT_LIMIT = 20
MOST = 1_000


def model_info(facts: ModelFacts, today: date, betas: frozenset[str]) -> dict[str, Any]:
    """One model as the API describes it."""
    ends = facts.end_of_life
    lifecycle = "retired" if facts.retired(today) else "deprecated" if ends else "active"
    info: dict[str, Any] = {
        "type": "model",
        "id": facts.id,
        "display_name": display_name(facts.id),
        "created_at": f"{facts.released or EPOCH}T00:00:00Z",
        "lifecycle": lifecycle,
        "line": line_of(facts.id),
        "retires_at": f"{ends.isoformat()}T00:00:00Z" if ends else None,
        "deprecated_at": None,
        "capabilities": capabilities_of(facts),
        "max_input_tokens": facts.context_tokens,
        "max_tokens": facts.max_output_tokens,
    }
    if any(beta.startswith("server-side-fallback-") for beta in betas):
        info["allowed_fallback_models"] = list(facts.fallbacks or ())
    return info


def capabilities_of(facts: ModelFacts) -> dict[str, Any]:
    """What a model can do, as the API's type says it."""
    every = ("batch", "citations", "code_execution", "image_input", "pdf_input")
    return {
        **{name: _supported(True) for name in (*every, "structured_outputs")},
        "context_management": {
            **_supported(True),
            "clear_thinking_20251015": _supported(True),
            "clear_tool_uses_20250919": _supported(True),
            "compact_20260112": _supported(facts.compaction),
        },
        "effort": {
            **_supported(bool(facts.efforts)),
            **{level: _supported(level in facts.efforts) for level in get_args(Effort)},
        },
        "server_tools": {
            **_supported(True),
            "code_execution": _supported(True),
            "web_search": _supported(True),
        },
        "thinking": {
            **_supported(True),
            "types": {mode: _supported(mode in facts.thinking) for mode in get_args(Thinking)},
        },
    }


def _supported(value: bool) -> dict[str, Any]:
    return {"supported": value}


def line_of(model: str) -> str | None:
    """The model line, such as `sonnet`."""
    match = re.search(r"haiku|sonnet|opus|fable|mythos", model)
    return match[0] if match else None


def display_name(model: str) -> str:
    """`claude-sonnet-5-5` as `Claude Sonnet 5.5`."""
    brand, line, *numbers = model.split("-")
    version = ".".join(part for part in numbers if len(part) < 8)
    return f"{brand} {line} {version}".title()


def list_models(
    query: Mapping[str, str], now: float, betas: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """A page of models; retired ones only when asked for."""
    today = datetime.fromtimestamp(now, UTC).date()
    wanted = {value for key, value in query.items() if key.startswith("lifecycle")}
    wanted = wanted or {"active", "deprecated"}
    infos = [model_info(facts, today, betas) for facts in MODELS.values()]
    chosen = [
        info
        for info in infos
        if info["lifecycle"] in wanted and snapshot_of(info["id"]) == info["id"]
    ]
    return page(chosen, query, lambda info: info["id"], lambda info: info)


def get_model(model: str, now: float, betas: frozenset[str] = frozenset()) -> dict[str, Any]:
    """One model by id; an alias gives the model that it stands for.

    Raises:
        APIError: 404 for an id that is not in the table.
    """
    if model not in MODELS:
        raise APIError(404, f"model: {model}")
    return model_info(MODELS[snapshot_of(model)], datetime.fromtimestamp(now, UTC).date(), betas)


@cache
def snapshot_of(model: str) -> str:
    """The dated id that an alias such as `claude-haiku-4-5` stands for, or the id itself.

    Source: about-claude/models/model-ids-and-versions, August 2026 (before the 4.6 generation).
    """
    dated = re.compile(rf"{re.escape(model)}-\d{{8}}\Z")
    return max(filter(dated.match, MODELS), default=model)


def page(
    items: Sequence[T],
    query: Mapping[str, str],
    id_of: Callable[[T], str],
    show: Callable[[T], dict[str, Any]],
) -> dict[str, Any]:
    """A page of a list with the API's cursors: `limit`, `after_id`, `before_id`."""
    limit = limit_of(query)
    ids = [id_of(item) for item in items]
    start, stop = 0, len(items)
    if after := query.get("after_id"):
        start = _position(ids, after, "after_id") + 1
    if before := query.get("before_id"):
        stop = _position(ids, before, "before_id")
        start = max(start, stop - limit)
    chosen = items[start:stop][:limit]
    more = start > 0 if query.get("before_id") else start + limit < stop
    return {
        "data": [show(item) for item in chosen],
        "has_more": more,
        "first_id": id_of(chosen[0]) if chosen else None,
        "last_id": id_of(chosen[-1]) if chosen else None,
    }


def limit_of(query: Mapping[str, str]) -> int:
    """The size of a page.

    Raises:
        APIError: 400 for anything but a whole number from 1 to 1,000.
    """
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise APIError(400, f"limit: must be a whole number from 1 to {MOST}, got {text!r}")
    return int(text)


def _position(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise APIError(400, f"{name}: there is no {wanted!r} in this list")
    return ids.index(wanted)
