"""Read a request before it is sent: what it marks for the cache, and whether that is enough.

A request here is the keyword arguments of `client.messages.create`, as a dict. The API checks the
breakpoints too, but it says nothing about a prefix that is too short: `will_cache` counts first.

Taught in chapter 07.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from anthropic import Anthropic, AsyncAnthropic

from patterns.core.errors import Portable

from .blocks import Request, blocks_of
from .limits import MAX_BREAKPOINTS, TTL, as_ttl, min_cacheable

_COUNTED = frozenset(("model", "system", "tools", "messages", "thinking", "tool_choice"))
_PLACEHOLDER: Final = ({"role": "user", "content": "."},)


class TooManyBreakpoints(Portable, ValueError):
    """More breakpoints than the API takes.

    Attributes:
        places: where they are, in prompt order.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places = tuple(places)
        super().__init__(
            f"{len(places)} cache breakpoints ({', '.join(places)}); at most {MAX_BREAKPOINTS} "
            "are allowed: keep the ones that plan_breakpoints names."
        )


class TTLOrder(Portable, ValueError):
    """A one-hour breakpoint after a five-minute one.

    Attributes:
        place: where the one-hour breakpoint is.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(f"{place} has ttl 1h after a 5m breakpoint; put longer lifetimes first.")


class TTLConflict(Portable, ValueError):
    """The last block has a breakpoint of its own, of another lifetime than the automatic one.

    Attributes:
        own: lifetime on the block.
        automatic: lifetime of the request's `cache_control`.
    """

    def __init__(self, own: TTL, automatic: TTL) -> None:
        self.own, self.automatic = own, automatic
        super().__init__(
            f"the last block has ttl {own} and the request's cache_control {automatic}; "
            "give both the same, or take one away."
        )


@dataclass(frozen=True)
class Mark:
    """A breakpoint found in a request."""

    section: str
    """tools, system or messages."""
    index: int
    block: int | None
    """Which block of a message; None in tools and system."""
    ttl: TTL

    @property
    def place(self) -> str:
        """Where it is, as one would write it."""
        inner = "" if self.block is None else f".content[{self.block}]"
        return f"{self.section}[{self.index}]{inner}"


@dataclass(frozen=True)
class CacheForecast:
    """Whether the marked prefix of a request is long enough to be cached."""

    caches: bool
    tokens: int
    """Length of the longest marked prefix, by `count_tokens`: an estimate."""
    minimum: int
    breakpoints: int

    @property
    def reason(self) -> str:
        """The forecast in one sentence."""
        if not self.breakpoints:
            return "No cache_control anywhere: nothing will be cached."
        if not self.caches:
            return (
                f"The marked prefix has {self.tokens:,} tokens and {self.minimum:,} is the least "
                "that is cached: it will be processed uncached, without an error."
            )
        return f"The marked prefix has {self.tokens:,} tokens, at least {self.minimum:,}: cached."


def check_breakpoints(request: Request) -> tuple[Mark, ...]:
    """The breakpoints of a request in prompt order, the automatic one last.

    Raises:
        TooManyBreakpoints: more than four.
        UnknownTTL: a lifetime other than 5m and 1h.
        TTLOrder: 1h after 5m.
        TTLConflict: the last block is marked twice, with two lifetimes.
    """
    marks = tuple(_marks(request))
    if len(marks) > MAX_BREAKPOINTS:
        raise TooManyBreakpoints([mark.place for mark in marks])
    for earlier, later in pairwise(marks):
        if earlier.ttl == "5m" and later.ttl == "1h":
            raise TTLOrder(later.place)
    return marks


def will_cache(client: Anthropic, request: Request) -> CacheForecast:
    """Count the marked prefix of a request before sending it; counting is free of charge.

    Raises:
        TooManyBreakpoints, UnknownTTL, TTLOrder: the request would be refused.
        UnknownModel: the model's minimum is not known.
    """
    marks, minimum, counts = _forecast_plan(request)
    tokens = [client.messages.count_tokens(**count).input_tokens for count in counts]
    return _forecast(tokens, minimum, len(marks))


async def will_cache_async(client: AsyncAnthropic, request: Request) -> CacheForecast:
    """`will_cache` for an async client."""
    marks, minimum, counts = _forecast_plan(request)
    tokens = [(await client.messages.count_tokens(**count)).input_tokens for count in counts]
    return _forecast(tokens, minimum, len(marks))


def _marks(request: Request) -> Iterator[Mark]:
    for section in ("tools", "system"):
        for index, block in enumerate(blocks_of(request.get(section))):
            yield from _mark(block, section, index, None)
    messages = request.get("messages") or ()
    for index, message in enumerate(messages):
        for place, block in enumerate(blocks_of(message["content"])):
            for inner in blocks_of(block.get("content")):
                yield from _mark(inner, "messages", index, place)
            yield from _mark(block, "messages", index, place)
    yield from _automatic(request.get("cache_control"), messages)


def _automatic(
    control: Mapping[str, Any] | None, messages: Sequence[Mapping[str, Any]]
) -> Iterator[Mark]:
    """The breakpoint on the last block, unless that block has one of its own."""
    if control is None:
        return
    blocks = blocks_of(messages[-1]["content"]) if messages else []
    own = blocks[-1].get("cache_control") if blocks else None
    if own and _ttl(own) != _ttl(control):
        raise TTLConflict(_ttl(own), _ttl(control))
    if not own:
        yield Mark(
            "messages", len(messages) - 1, len(blocks) - 1 if blocks else None, _ttl(control)
        )


def _mark(block: Mapping[str, Any], section: str, index: int, place: int | None) -> Iterator[Mark]:
    if (control := block.get("cache_control")) is not None:
        yield Mark(section, index, place, _ttl(control))


def _ttl(control: Mapping[str, Any]) -> TTL:
    return as_ttl(control.get("ttl", "5m") if isinstance(control, Mapping) else control)


def _forecast_plan(request: Request) -> tuple[tuple[Mark, ...], int, list[dict[str, Any]]]:
    """The marks, the minimum, and the requests whose token counts give the prefix's length."""
    marks, minimum = check_breakpoints(request), min_cacheable(request["model"])
    if not marks:
        return marks, minimum, []
    prefix = {key: value for key, value in request.items() if key in _COUNTED}
    last = marks[-1]
    if last.section == "messages":
        prefix["messages"] = _up_to(request["messages"], last)
        return marks, minimum, [prefix]
    # The prefix ends before the messages, and a count needs one: take its tokens off again.
    prefix["messages"] = list(_PLACEHOLDER)
    prefix[last.section] = blocks_of(request[last.section])[: last.index + 1]
    if last.section == "tools":
        prefix.pop("system", None)
    return marks, minimum, [prefix, {"model": request["model"], "messages": list(_PLACEHOLDER)}]


def _up_to(messages: Sequence[Mapping[str, Any]], last: Mark) -> list[Mapping[str, Any]]:
    """The messages up to a mark, completed to a request that can be counted.

    An answer cannot come last and a tool call needs its result, so a few tokens are added.
    """
    end = messages[last.index]
    kept = blocks_of(end["content"])[: (last.block or 0) + 1]
    turns = [*messages[: last.index], {**end, "content": kept}]
    answer = turns[-1] if end["role"] == "assistant" else turns[-2] if last.index else {}
    asked = [each["id"] for each in blocks_of(answer.get("content")) if each["type"] == "tool_use"]
    given = {each.get("tool_use_id") for each in blocks_of(turns[-1]["content"])}
    missing = [
        {"type": "tool_result", "tool_use_id": i, "content": "."} for i in asked if i not in given
    ]
    if end["role"] == "assistant":
        return [*turns, {"role": "user", "content": missing or "."}]
    return [*turns[:-1], {**end, "content": [*missing, *kept]}]


def _forecast(counts: Sequence[int], minimum: int, marks: int) -> CacheForecast:
    tokens = counts[0] - sum(counts[1:]) if counts else 0
    return CacheForecast(bool(marks) and tokens >= minimum, tokens, minimum, marks)
