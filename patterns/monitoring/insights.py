"""What would be cheaper: savings in dollars a day, computed from the event log.

Each comes with the query behind it and the threshold that made it worth saying. Nothing here is a
fixed sentence: no traffic, no insight. Not a promise: what depends on an assumption says so, as
"at most" or "at least".

Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from patterns.core.models import MODELS
from patterns.core.pricing import Rates, rates
from patterns.monitoring.event_log import PICO, EventLog
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
    first, last = log.query(f"SELECT min(at), max(at) FROM calls WHERE {PERIOD}", period)[0]
    if first is None:
        return []
    start = since.timestamp() if since else first
    end = until.timestamp() if until else last
    days = max(Decimal(1), Decimal(end - start) / 86_400)
    found: list[Insight] = []
    for look in (_batchable, _losing_caches, _missing_caches, _long_prompts, _truncated):
        found += look(log, period, days)
    worth = [insight for insight in found if insight.usd_per_day >= minimum_usd_per_day]
    return sorted(worth, key=lambda insight: insight.usd_per_day, reverse=True)


_Period = tuple[float, float]
_Found = Iterator[Insight]


def _batchable(log: EventLog, period: _Period, days: Decimal) -> _Found:
    for row in log.query(_OFFLINE, period):
        usual, batch = rates(row["model"]), rates(row["model"], batch=True)
        if usual and batch:
            saving = row["cost"] / PICO * (1 - batch.input / usual.input)
            yield Insight(
                name="batch",
                feature=row["feature"],
                model=row["model"],
                usd_per_day=saving / days,
                bound="exact",
                finding=f"{row['calls']:,} calls that nobody waited for were not sent as batches",
                threshold="offline and not batch",
                query=_OFFLINE,
            )


def _losing_caches(log: EventLog, period: _Period, days: Decimal) -> _Found:
    for row in log.query(_CACHED, period):
        price = rates(row["model"])
        if price is None:
            continue
        read, minutes, hour = row["read"], row["w5"], row["w1"]
        premium = minutes * price.cache_write_5m + hour * price.cache_write_1h
        premium -= (minutes + hour) * price.input
        lost = (premium - read * (price.input - price.cache_read)) / 1_000_000
        if lost > 0:
            hit = read / (read + minutes + hour)
            even = _break_even(price, minutes, hour)
            yield Insight(
                name="losing_cache",
                feature=row["feature"],
                model=row["model"],
                usd_per_day=lost / days,
                bound="exact",
                finding=f"cache hit rate {hit:.1%} is under the {even:.1%} where caching pays",
                threshold=f"hit rate < {even:.1%}",
                query=_CACHED,
            )


def _break_even(price: Rates, minutes: int, hour: int) -> Decimal:
    """The hit rate from which a cache written so pays: (w - 1) / (w - r)."""
    written = (minutes * price.cache_write_5m + hour * price.cache_write_1h) / (minutes + hour)
    return (written - price.input) / (written - price.cache_read)


def _missing_caches(log: EventLog, period: _Period, days: Decimal) -> _Found:
    for row in log.query(_UNCACHED, period):
        price, facts = rates(row["model"]), MODELS.get(row["model"])
        if price is None or facts is None or row["shared"] < facts.min_cacheable_tokens:
            continue
        warm, cold = row["warm"], row["calls"] - row["warm"]
        per_token = row["calls"] * price.input - warm * price.cache_read
        per_token -= cold * price.cache_write_5m
        yield Insight(
            name="cache",
            feature=row["feature"],
            model=row["model"],
            usd_per_day=row["shared"] * per_token / 1_000_000 / days,
            bound="at most",
            finding=(
                f"no prompt is cached, every one is at least {row['shared']:,} tokens long, and "
                f"{warm / row['calls']:.0%} come within 5 minutes of the one before"
            ),
            threshold=f"shortest prompt >= {facts.min_cacheable_tokens} tokens, all of it shared",
            query=_UNCACHED,
        )


def _long_prompts(log: EventLog, period: _Period, days: Decimal) -> _Found:
    for row in log.query(_LONG, period):
        low = rates(row["model"], prompt_tokens=_TIER)
        high = rates(row["model"], prompt_tokens=_TIER + 1)
        if low and high and low.input < high.input:
            yield Insight(
                name="long_prompts",
                feature=row["feature"],
                model=row["model"],
                usd_per_day=row["cost"] / PICO * (1 - low.input / high.input) / days,
                bound="at least",
                finding=(
                    f"{row['calls']:,} prompts are just over {_TIER:,} tokens, where every token "
                    f"costs {high.input / low.input:.0f} times as much"
                ),
                threshold=f"{_TIER:,} < prompt <= {_JUST_OVER:,} tokens",
                query=_LONG,
            )


def _truncated(log: EventLog, period: _Period, days: Decimal) -> _Found:
    for row in log.query(_CUT, period):
        yield Insight(
            name="truncated",
            feature=row["feature"],
            model=row["model"],
            usd_per_day=row["cost"] / PICO / days,
            bound="at most",
            finding=f"{row['calls']:,} answers were paid for and cut off by their token limit",
            threshold="outcome = truncated",
            query=_CUT,
        )


_OFFLINE: Final = f"""
SELECT feature, model, count(*) AS calls, sum(cost_pico) AS cost
FROM calls WHERE {PERIOD} AND offline AND NOT batch AND cost_pico > 0
GROUP BY feature, model
"""
_TIER: Final = 100_000  # where a model with a long-prompt price starts it
_JUST_OVER: Final = 125_000
_PROMPT: Final = "input + cache_write_5m + cache_write_1h + cache_read"
_CACHED: Final = f"""
SELECT feature, model, sum(cache_read) AS read,
       sum(cache_write_5m) AS w5, sum(cache_write_1h) AS w1
FROM calls WHERE {PERIOD} AND NOT batch AND {_PROMPT} <= {_TIER}
GROUP BY feature, model HAVING w5 + w1 > 0
"""
_UNCACHED: Final = f"""
SELECT feature, model, count(*) AS calls, min(input) AS shared, coalesce(sum(gap <= 300), 0) AS warm
FROM (
    SELECT feature, model, input, cache_read + cache_write_5m + cache_write_1h AS cached,
           at - lag(at) OVER (PARTITION BY feature, model ORDER BY at) AS gap
    FROM calls WHERE {PERIOD} AND NOT batch AND NOT offline AND {_PROMPT} BETWEEN 1 AND {_TIER}
)
GROUP BY feature, model HAVING sum(cached) = 0
"""
_LONG: Final = f"""
SELECT feature, model, count(*) AS calls, sum(cost_pico) AS cost
FROM calls WHERE {PERIOD} AND NOT batch AND {_PROMPT} > {_TIER} AND {_PROMPT} <= {_JUST_OVER}
GROUP BY feature, model
"""
_CUT: Final = f"""
SELECT feature, model, count(*) AS calls, coalesce(sum(cost_pico), 0) AS cost
FROM calls WHERE {PERIOD} AND outcome = 'truncated' GROUP BY feature, model
"""
