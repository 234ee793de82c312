"""What a response used, of what is billed: tokens by kind and by sampling, searches, price list.

Reads any `usage`: of the GA and the beta API, as an object or a dict, with parts missing. Nothing
is dropped in silence: what it cannot read is an error, what has no list price is said.
`patterns.core.pricing` puts a price on it. Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from patterns.core.errors import Portable

__all__ = ["Billable", "InvalidUsage", "Tokens", "billable", "tokens_of"]

# Fetches and tool searches are free beyond their tokens; web searches are billed per thousand.
_FREE_SERVER_TOOLS = frozenset({"web_fetch_requests", "tool_search_requests"})


class InvalidUsage(Portable, ValueError):
    """A `usage` that no API call can have produced: a count below zero, a part of no known shape.

    Attributes:
        field: the name of the offending field.
        value: what it held.
    """

    def __init__(self, field: str, value: object) -> None:
        self.field = field
        self.value = value
        super().__init__(
            f"usage.{field} is {value!r}; a count is a whole number from 0 up, a part an object "
            "or a dict. Pass the usage of a response unchanged."
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one response, each counted once, under the price it pays.

    Attributes:
        input: uncached input.
        output: output, thinking included.
        cache_write_5m: input written to the cache for five minutes.
        cache_write_1h: input written to the cache for an hour.
        cache_read: input read from the cache.
    """

    input: int = 0
    output: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0

    @property
    def prompt(self) -> int:
        """The whole prompt: everything but the output."""
        return self.input + self.cached

    @property
    def cached(self) -> int:
        """The part of the prompt that was written to the cache or read from it."""
        return self.cache_write_5m + self.cache_write_1h + self.cache_read

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, kind) + getattr(other, kind) for kind in _TOKEN_KINDS))


_TOKEN_KINDS = tuple(field.name for field in fields(Tokens))


@dataclass(frozen=True, slots=True)
class Billable:
    """What of a response decides its price.

    Attributes:
        samplings: the tokens of each sampling. A plain call has one; the turns of a server-side
            tool loop, and compactions, are priced one by one, each by its own prompt length.
        searches: web searches.
        batch: sent through the Batches API.
        fast: fast mode.
        geo: where inference ran.
        listed: False when something in it has no list price: priority capacity (bought by
            contract), an unknown tier, speed or server tool, help from a second model.
    """

    samplings: tuple[Tokens, ...]
    searches: int = 0
    batch: bool = False
    fast: bool = False
    geo: str | None = None
    listed: bool = True

    @property
    def tokens(self) -> Tokens:
        """The tokens of all samplings together."""
        return self.samplings[0] if len(self.samplings) == 1 else sum(self.samplings, Tokens())

    @property
    def warms(self) -> bool:
        """Whether it did nothing but write or refresh the cache, as `max_tokens=0` does."""
        return bool(self.tokens.cached and not self.tokens.output)

    def uncached(self) -> Billable:
        """The same work without caching; a call that only warms the cache would not be made."""
        if self.warms:
            return replace(self, samplings=(), searches=0)
        plain = (Tokens(input=part.prompt, output=part.output) for part in self.samplings)
        return replace(self, samplings=tuple(plain))

    def in_batch(self) -> Billable:
        """The same work through the Batches API, which has no fast mode."""
        return replace(self, batch=True, fast=False)


def tokens_of(usage: Any) -> Tokens:
    """The tokens of one response by kind, compactions included.

    Args:
        usage: `message.usage`, or a dict or any object with those fields.

    Raises:
        InvalidUsage: a count is negative or not a whole number.
    """
    return billable(usage).tokens


def billable(usage: Any) -> Billable:
    """What of a `usage` decides its price.

    Args:
        usage: `message.usage`, or a dict or any object with those fields.

    Raises:
        InvalidUsage: a count is negative or not a whole number, or a part is no object.
    """
    samplings, one_model = _samplings(usage)
    searches = _searches(_part(usage, "server_tool_use"))
    tier, speed = _word(usage, "service_tier"), _word(usage, "speed")
    known = tier in (None, "standard", "batch") and speed in (None, "standard", "fast")
    return Billable(
        samplings=samplings,
        searches=searches or 0,
        batch=tier == "batch",
        fast=speed == "fast",
        geo=_word(usage, "inference_geo"),
        listed=known and one_model and searches is not None,
    )


def _samplings(usage: Any) -> tuple[tuple[Tokens, ...], bool]:
    """The samplings that are billed, and whether one model, at its own price, made them all."""
    whole = _counted(usage)
    no_credit = _get(usage, "fallback_credit") is None
    entries = _get(usage, "iterations")
    if entries is None:
        return (whole,), no_credit
    if not isinstance(entries, list | tuple):
        raise InvalidUsage("iterations", entries)
    by_hour = whole.cache_write_1h > 0 == whole.cache_write_5m  # for turns without a split
    parts = [(_word(entry, "type"), _counted(entry, by_hour=by_hour)) for entry in entries]
    turns = tuple(tokens for kind, tokens in parts if kind == "message")
    extra = tuple(tokens for kind, tokens in parts if kind == "compaction")
    models = {_word(entry, "model") for entry in entries} - {None}
    one_model = len(turns) + len(extra) == len(parts) and len(models) <= 1
    # The totals decide what is billed, and leave compactions out; the turns say how it was split.
    split = turns if sum(turns, Tokens()) == whole else (whole,)
    return (*split, *extra), one_model and no_credit


def _counted(usage: Any, *, by_hour: bool = False) -> Tokens:
    minutes, hour = _written(usage, by_hour)
    return Tokens(
        input=_count(usage, "input_tokens", required=True),
        output=_count(usage, "output_tokens", required=True),
        cache_write_5m=minutes,
        cache_write_1h=hour,
        cache_read=_count(usage, "cache_read_input_tokens"),
    )


def _written(usage: Any, by_hour: bool) -> tuple[int, int]:
    """Tokens written to the cache for five minutes and for an hour."""
    split = _part(usage, "cache_creation")
    minutes = 0 if split is None else _count(split, "ephemeral_5m_input_tokens")
    hour = 0 if split is None else _count(split, "ephemeral_1h_input_tokens")
    written = _get(usage, "cache_creation_input_tokens")
    if written is None or _count(usage, "cache_creation_input_tokens") == minutes + hour:
        return minutes, hour
    # The last event of a stream may correct the total, and says nothing of the split. What has no
    # split counts as the default, five minutes: a lower bound.
    hour = written if (hour or by_hour) and not minutes else min(hour, written)
    return written - hour, hour


def _searches(tools: Any) -> int | None:
    """Web searches to bill, or None when a server tool without a known price was used."""
    if tools is None:
        return 0
    used = tools if isinstance(tools, Mapping) else _fields_of(tools)
    unknown = used.keys() - _FREE_SERVER_TOOLS - {"web_search_requests"}
    if any(used[name] is not None and used[name] != 0 for name in unknown):
        return None
    return _count(tools, "web_search_requests")


def _fields_of(holder: Any) -> dict[str, Any]:
    return {**getattr(holder, "__dict__", {}), **(getattr(holder, "model_extra", None) or {})}


def _get(holder: Any, field: str) -> Any:
    if type(holder) is dict or isinstance(holder, Mapping):  # the first is far quicker
        return holder.get(field)
    return getattr(holder, field, None)


def _word(usage: Any, field: str) -> str | None:
    value = _get(usage, field)
    if value is not None and not isinstance(value, str):
        raise InvalidUsage(field, value)
    return value


def _part(usage: Any, field: str) -> Any:
    part = _get(usage, field)
    if part is not None and not isinstance(part, Mapping) and not hasattr(part, "__dict__"):
        raise InvalidUsage(field, part)
    return part


def _count(holder: Any, field: str, *, required: bool = False) -> int:
    value = _get(holder, field)
    if value is None and not required:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidUsage(field, value)
    return value
