"""What would be cheaper: savings in dollars a day, computed from the event log.

Every amount is the difference of two prices of the same calls under two plans, by
`patterns.core.pricing`: as they were made, and in a batch, without a cache, under a price step.
Each comes with the query behind it and the threshold that made it worth saying. Nothing here is a
fixed sentence: no traffic, no insight. Not a promise: what depends on an assumption, or on calls
whose end was not seen, says so, as "at most" or "at least".

Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from patterns.core.usage import Tokens
from patterns.monitoring.event_log import PICO, EventLog
from patterns.monitoring.priced_parts import Part, price_edges, priced_parts
from patterns.monitoring.record import in_utc
from patterns.monitoring.shared_prompts import UNCACHED, SharedPrompts, shared_prompts
from patterns.monitoring.summary import PERIOD, period_of

__all__ = ["Insight", "insights"]


@dataclass(frozen=True, slots=True)
class Insight:
    """Money that could be saved, and where the figure comes from.

    Attributes:
        name: "batch", "losing_cache", "cache", "long_prompts" or "truncated".
        feature: where.
        model: with which model.
        usd_per_day: the saving.
        bound: "exact", or "at most" and "at least" where an assumption is in it.
        finding: one sentence with its numbers.
        threshold: what made it worth saying.
        query: the SQL whose result it was computed from.
    """

    name: str
    feature: str
    model: str
    usd_per_day: Decimal
    bound: str
    finding: str
    threshold: str
    query: str


def insights(
    log: EventLog,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    minimum_usd_per_day: Decimal = Decimal("0.01"),
) -> list[Insight]:
    """Every saving of at least that much a day, dearest first; empty when there is none."""
    period = period_of(since, until)
    spans = log.query(_SPANS, period)
    if not spans:
        return []
    start = in_utc(since).timestamp() if since else min(row["first"] for row in spans)
    end = in_utc(until).timestamp() if until else max(row["last"] for row in spans)
    days = max(Decimal(1), Decimal(end - start) / 86_400)
    edges = price_edges(spans)
    parts, query = priced_parts(log, period, edges)
    found = [
        *_batchable(parts, days, query),
        *_losing_caches(parts, days, query),
        *_long_prompts(parts, days, query),
        *_truncated(parts, days, query),
        *_missing_caches(shared_prompts(log, period, edges), days),
    ]
    worth = [insight for insight in found if insight.usd_per_day >= minimum_usd_per_day]
    return sorted(worth, key=lambda insight: insight.usd_per_day, reverse=True)


@dataclass(slots=True)
class _Sum:
    """What one plan changes for one feature and model, added up over its parts."""

    usd: Decimal = Decimal(0)
    calls: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    read_value: Decimal = Decimal(0)
    unseen: bool = False

    def add(self, part: Part, usd: Decimal) -> None:
        self.usd += usd
        self.calls += part.calls
        self.tokens += part.tokens
        self.unseen |= part.is_lower_bound

    @property
    def bound(self) -> str:
        """Exact, unless some of the calls cost more than was seen."""
        return "at least" if self.unseen else "exact"


_Sums = dict[tuple[str, str], _Sum]
_Found = Iterator[Insight]


def _batchable(parts: Iterable[Part], days: Decimal, query: str) -> _Found:
    sums: _Sums = {}
    for part in parts:
        if part.offline and not part.batch and part.tokens != Tokens():
            usual, batch = part.rates(), part.rates(batch=True, fast=False)
            if usual and batch:
                saved = usual.usd(part.tokens) - batch.usd(part.tokens)
                sums.setdefault(part.key, _Sum()).add(part, saved)
    for (feature, model), total in sums.items():
        yield Insight(
            name="batch",
            feature=feature,
            model=model,
            usd_per_day=total.usd / days,
            bound=total.bound,
            finding=f"{total.calls:,} calls that nobody waited for were not sent as batches",
            threshold="offline and not batch",
            query=query,
        )


def _losing_caches(parts: Iterable[Part], days: Decimal, query: str) -> _Found:
    sums: _Sums = {}
    for part in parts:
        price = part.rates()
        if part.tokens.cached and price:
            total = sums.setdefault(part.key, _Sum())
            total.add(part, price.usd(part.tokens) - price.usd(part.uncached()))
            total.read_value += part.tokens.cached * (price.input - price.cache_read)
    for (feature, model), total in sums.items():
        if total.usd > 0:
            hit, even = _hit_rates(total)
            yield Insight(
                name="losing_cache",
                feature=feature,
                model=model,
                usd_per_day=total.usd / days,
                bound=total.bound,
                finding=f"cache hit rate {hit:.1%} is under the {even:.1%} where caching pays",
                threshold=f"hit rate < {even:.1%}",
                query=query,
            )


def _hit_rates(total: _Sum) -> tuple[Decimal, Decimal]:
    """The hit rate of a cache that loses money, and the one at which it would lose none."""
    marked, read = Decimal(total.tokens.cached), total.tokens.cache_read
    needed = read + total.usd * 1_000_000 / (total.read_value / marked)
    return read / marked, needed / (needed + marked - read)


def _long_prompts(parts: Iterable[Part], days: Decimal, query: str) -> _Found:
    sums: dict[tuple[str, str, int], _Sum] = {}
    times: dict[tuple[str, str, int], Decimal] = {}
    for part in parts:
        if part.just_over and (dear := part.rates()) and (cheap := part.rates(part.just_over)):
            key = (*part.key, part.just_over)
            saved = dear.usd(part.tokens) - cheap.usd(part.tokens)
            sums.setdefault(key, _Sum()).add(part, saved)
            times[key] = dear.input / cheap.input
    for (feature, model, step), total in sums.items():
        yield Insight(
            name="long_prompts",
            feature=feature,
            model=model,
            usd_per_day=total.usd / days,
            bound="at least",
            finding=(
                f"{total.calls:,} prompts are just over {step:,} tokens, where every token "
                f"costs {times[feature, model, step]:.0f} times as much"
            ),
            threshold=f"{step:,} < prompt <= {step * 5 // 4:,} tokens",
            query=query,
        )


def _truncated(parts: Iterable[Part], days: Decimal, query: str) -> _Found:
    sums: _Sums = {}
    for part in parts:
        if part.truncated:
            sums.setdefault(part.key, _Sum()).add(part, part.cost_pico / PICO)
    for (feature, model), total in sums.items():
        yield Insight(
            name="truncated",
            feature=feature,
            model=model,
            usd_per_day=total.usd / days,
            bound="at most",
            finding=f"{total.calls:,} answers were paid for and cut off by their token limit",
            threshold="outcome = truncated",
            query=query,
        )


def _missing_caches(found: Iterable[SharedPrompts], days: Decimal) -> _Found:
    for shared in found:
        yield Insight(
            name="cache",
            feature=shared.feature,
            model=shared.model,
            usd_per_day=shared.usd / days,
            bound="at most",
            finding=(
                f"{shared.calls:,} prompts of at least {shared.tokens:,} tokens are not cached, "
                f"and {shared.warm / shared.calls:.0%} come within 5 minutes of another"
            ),
            threshold=f"prompt >= {shared.minimum} tokens; at most {shared.tokens:,} of it shared",
            query=UNCACHED,
        )


_SPANS: Final = f"""
SELECT model, min(at) AS first, max(at) AS last FROM calls WHERE {PERIOD} GROUP BY model
"""
