"""`/v1/models`: the models of `patterns.core.models` in the API's shape.

The fake knows ids, families and end-of-life dates. Capabilities and limits are null, which the
API's type allows: ask the real API for them. Release dates are the epoch, which stands for
"unknown" there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from patterns.core.models import MODELS, ModelFacts
from patterns.fake_api.wire.errors import APIError

T = TypeVar("T")

DEFAULT_LIMIT = 20
MOST = 1_000


def model_info(facts: ModelFacts, today: date) -> dict[str, Any]:
    """One model as the API describes it."""
    ends = facts.end_of_life
    lifecycle = "retired" if facts.retired(today) else "deprecated" if ends else "active"
    return {
        "type": "model",
        "id": facts.id,
        "display_name": display_name(facts.id),
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": lifecycle,
        "line": line_of(facts.id),
        "retires_at": f"{ends.isoformat()}T00:00:00Z" if ends else None,
        "deprecated_at": None,
        "capabilities": None,
        "max_input_tokens": None,
        "max_tokens": None,
    }


def line_of(model: str) -> str | None:
    """The model line, such as `sonnet`."""
    match = re.search(r"haiku|sonnet|opus|fable|mythos", model)
    return match[0] if match else None


def display_name(model: str) -> str:
    """`claude-sonnet-5-5` as `Claude Sonnet 5.5`."""
    brand, line, *numbers = model.split("-")
    version = ".".join(part for part in numbers if len(part) < 8)
    return f"{brand} {line} {version}".title()


def list_models(query: Mapping[str, str], now: float) -> dict[str, Any]:
    """A page of models; retired ones only when asked for."""
    today = datetime.fromtimestamp(now, UTC).date()
    wanted = {value for key, value in query.items() if key.startswith("lifecycle")}
    wanted = wanted or {"active", "deprecated"}
    infos = [model_info(facts, today) for facts in MODELS.values()]
    chosen = [info for info in infos if info["lifecycle"] in wanted]
    return page(chosen, query, lambda info: info["id"], lambda info: info)


def get_model(model: str, now: float) -> dict[str, Any]:
    """One model by id.

    Raises:
        APIError: 404 for an id that is not in the table.
    """
    if model not in MODELS:
        raise APIError(404, f"model: {model}")
    return model_info(MODELS[model], datetime.fromtimestamp(now, UTC).date())


def page(
    items: Sequence[T],
    query: Mapping[str, str],
    id_of: Callable[[T], str],
    show: Callable[[T], dict[str, Any]],
) -> dict[str, Any]:
    """A page of a list with the API's cursors: `limit`, `after_id`, `before_id`."""
    limit = _limit(query.get("limit", str(DEFAULT_LIMIT)))
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


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise APIError(400, f"limit: must be a whole number from 1 to {MOST}, got {text!r}")
    return int(text)


def _position(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise APIError(400, f"{name}: there is no {wanted!r} in this list")
    return ids.index(wanted)
