"""What a shared cached prefix could save at most, on calls that were sent without any caching.

Assumes that calls of one feature begin alike, up to some length, and takes the length that would
save most: a few short prompts, a ping, do not hide what the long ones could save. It is a bound:
how much they share is not in the log. Used by `insights`. Chapter 4 teaches it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Final

from patterns.core.models import MODELS
from patterns.core.pricing import Rates, rates
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.priced_parts import Edges, Period, within
from patterns.monitoring.sink import model_label
from patterns.monitoring.summary import PERIOD

_LIFETIME: Final = 300
"""Seconds that a cached prefix lives after its last use, by default."""


@dataclass(frozen=True, slots=True)
class SharedPrompts:
    """Uncached calls of one feature and model, and what one prefix of theirs would save.

    Attributes:
        feature: of all of them.
        model: of all of them.
        minimum: the shortest prefix, in tokens, that the model caches.
        tokens: the shared length that would save most.
        calls: prompts at least that long.
        warm: of these, how many come within five minutes of another long enough to be cached.
        usd: the saving, at most.
    """

    feature: str
    model: str
    minimum: int
    tokens: int
    calls: int
    warm: int
    usd: Decimal


def shared_prompts(log: EventLog, period: Period, edges: Edges) -> Iterator[SharedPrompts]:
    """The features whose uncached prompts could be cached with a gain; none without a price."""
    least = {model: facts.min_cacheable_tokens for model, facts in MODELS.items()}
    calls: dict[tuple[str, str], list[_Call]] = {}
    for feature, model, *call in log.query(UNCACHED, (*period, min(least.values()))):
        calls.setdefault((feature, model), []).append(tuple(call))
    for (feature, model), made in calls.items():
        minimum = least.get(model_label(model, MODELS))
        long = [call for call in made if minimum is not None and call[1] >= minimum]
        if minimum is not None and (best := _best(model, sorted(long, key=itemgetter(0)), edges)):
            yield SharedPrompts(feature, model, minimum, *best)


_Call = tuple[float, int, int, str | None]
_Best = tuple[int, int, int, Decimal]


def _best(model: str, calls: Sequence[_Call], edges: Edges) -> _Best | None:
    """The length that saves most: (tokens, calls, warm, dollars); None when none saves."""
    price = cache(lambda *plan: _rates(model, *plan))
    worth: list[tuple[int, bool, Decimal]] = []
    before = float("-inf")
    for at, tokens, fast, geo in calls:
        warm = at - before <= _LIFETIME
        before = at
        each = price(at // 86_400, within(edges, bisect_left(edges, tokens)), fast, geo)
        if each is not None:
            cached = each.cache_read if warm else each.cache_write_5m
            worth.append((tokens, warm, each.input - cached))
    return _longest(worth)


def _longest(worth: list[tuple[int, bool, Decimal]]) -> _Best | None:
    """Takes the longest prompts first: the prefix can be as long as the shortest one taken."""
    best: _Best | None = None
    calls, warm_calls, per_token = 0, 0, Decimal(0)
    longest_first = sorted(worth, reverse=True)
    for tokens, equally_long in groupby(longest_first, key=lambda call: call[0]):
        for _, warm, saved in equally_long:
            calls, warm_calls, per_token = calls + 1, warm_calls + warm, per_token + saved
        usd = tokens * per_token / 1_000_000
        if usd > (best[3] if best else 0):
            best = (tokens, calls, warm_calls, usd)
    return best


def _rates(model: str, day: float, prompt: int, fast: int, geo: str | None) -> Rates | None:
    at = date(1970, 1, 1) + timedelta(days=day)
    return rates(model, at=at, prompt_tokens=prompt, fast=bool(fast), geo=geo)


UNCACHED: Final = f"""
SELECT feature, model, at, input, fast, geo FROM calls
WHERE {PERIOD} AND input >= ? AND NOT batch AND NOT offline
      AND cache_read + cache_write_5m + cache_write_1h = 0
"""
