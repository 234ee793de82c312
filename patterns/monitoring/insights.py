"""What would be cheaper: savings in dollars a day, computed from the event log.

Every amount is the difference of two prices of the same calls under two plans, by
`patterns.core.pricing`: as they were made, and in a batch, without a cache, under a price step.
Each comes with the query behind it and the threshold that made it worth saying. Nothing here is a
fixed sentence: no traffic, no insight. Not a promise: what depends on an assumption, or on calls
whose end was not seen, says so, as "at most" or "at least".

Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from patterns.core.pricing import Rates
from patterns.core.usage import Tokens
from patterns.monitoring.event_log import PICO, EventLog
from patterns.monitoring.priced_parts import Part, far_over, price_edges, priced_parts
from patterns.monitoring.record import in_utc
from patterns.monitoring.shared_prompts import UNCACHED, SharedPrompts, shared_prompts
from patterns.monitoring.summary import PERIOD, period_of


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
    start = in_utc(since).timestamp() if since is not None else min(row["first"] for row in spans)
    end = in_utc(until).timestamp() if until is not None else max(row["last"] for row in spans)
    days = max(Decimal(1), Decimal(end - start) / 86_400)
    edges = price_edges(spans)
    parts, query = priced_parts(log, period, edges)
    found = [saving for plan in _PLANS for saving in _savings(plan, parts, days, query)]
    found += _missing_caches(shared_prompts(log, period, edges), days)
    worth = [insight for insight in found if insight.usd_per_day >= minimum_usd_per_day]
    return sorted(worth, key=lambda insight: insight.usd_per_day, reverse=True)


@dataclass(slots=True)
class _Sum:
    """What one plan changes for one feature, model and price step, added up over its parts."""

    step: int
    usd: Decimal = Decimal(0)
    calls: int = 0
    prompts: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    read_value: Decimal = Decimal(0)
    unseen: bool = False

    def add(self, part: Part, usd: Decimal) -> None:
        self.usd += usd
        self.calls += part.calls
        self.prompts += part.prompts
        self.tokens += part.tokens
        self.unseen |= part.is_lower_bound
        if (price := part.rates()) is not None:
            self.read_value += part.tokens.cached * (price.input - price.cache_read)

    @property
    def bound(self) -> str:
        """Exact, unless some of the calls cost more than was seen."""
        return "at least" if self.unseen else "exact"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Another way to make the same calls: what it saves on a part, and what is said of the sum."""

    name: str
    saved: Callable[[Part], Decimal | None]
    finding: Callable[[_Sum], str]
    threshold: Callable[[_Sum], str]
    bound: str | None = None
    by_step: bool = False


def _savings(plan: _Plan, parts: Iterable[Part], days: Decimal, query: str) -> Iterator[Insight]:
    """What a plan saves for each feature, model and price step; nothing where it costs."""
    sums: dict[tuple[str, str, int], _Sum] = {}
    for part in parts:
        saved = plan.saved(part)
        if saved is not None:
            step = part.just_over if plan.by_step else 0
            sums.setdefault((part.feature, part.model, step), _Sum(step)).add(part, saved)
    for (feature, model, _), total in sums.items():
        if total.usd > 0:
            yield Insight(
                name=plan.name,
                feature=feature,
                model=model,
                usd_per_day=total.usd / days,
                bound=plan.bound or total.bound,
                finding=plan.finding(total),
                threshold=plan.threshold(total),
                query=query,
            )


def _in_a_batch(part: Part) -> Decimal | None:
    if not part.offline or part.batch or part.tokens == Tokens():
        return None
    return _difference(part, part.rates(), part.rates(batch=True, fast=False))


def _uncached(part: Part) -> Decimal | None:
    price = part.rates()
    if not (price and part.tokens.cached):
        return None
    return price.usd(part.tokens) - price.usd(part.uncached())


def _under_the_step(part: Part) -> Decimal | None:
    step = part.just_over
    return _difference(part, part.rates(), part.rates(step)) if step else None


def _not_cut_off(part: Part) -> Decimal | None:
    return part.cost_pico / PICO if part.truncated else None


def _difference(part: Part, now: Rates | None, then: Rates | None) -> Decimal | None:
    return now.usd(part.tokens) - then.usd(part.tokens) if now and then else None


def _hit_rates(total: _Sum) -> tuple[Decimal, Decimal]:
    """The hit rate of a cache that loses money, and the one at which it would lose none."""
    marked, read = Decimal(total.tokens.cached), total.tokens.cache_read
    needed = read + total.usd * 1_000_000 / (total.read_value / marked)
    return read / marked, needed / (needed + marked - read)


_PLANS: Final = (
    _Plan(
        "batch",
        _in_a_batch,
        lambda total: f"{total.calls:,} calls that nobody waited for were not sent as batches",
        lambda _: "offline and not batch",
    ),
    _Plan(
        "losing_cache",
        _uncached,
        lambda total: "cache hit rate {:.1%} is under the {:.1%} where caching pays".format(
            *_hit_rates(total)
        ),
        lambda total: f"hit rate < {_hit_rates(total)[1]:.1%}",
    ),
    _Plan(
        "long_prompts",
        _under_the_step,
        lambda total: (
            f"{total.prompts:,} prompts are just over {total.step:,} tokens, where every token "
            "costs more"
        ),
        lambda total: f"{total.step:,} < prompt <= {far_over(total.step):,} tokens",
        bound="at least",
        by_step=True,
    ),
    _Plan(
        "truncated",
        _not_cut_off,
        lambda total: f"{total.calls:,} answers were paid for and cut off by their token limit",
        lambda _: "outcome = truncated",
        bound="at most",
    ),
)


def _missing_caches(found: Iterable[SharedPrompts], days: Decimal) -> Iterator[Insight]:
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
