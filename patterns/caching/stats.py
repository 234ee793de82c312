"""What the cache counters of `usage` cost and save, in tokens and in dollars.

Add up `CacheStats` where the calls are made; ask `savings` whether caching paid. The figures are
exact: Decimal, with the price of each kind of token, lifetime, batch and long prompts included.

Taught in chapter 07.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Generic, TypeVar

from anthropic.types import Message

from patterns.core.pricing import Rates, price, rates
from patterns.core.usage import InvalidUsage, Tokens, billable

from .economics import NoCachePrices, cache_rates

Number = TypeVar("Number", int, Decimal)

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)


@dataclass(frozen=True)
class Split(Generic[Number]):
    """One quantity by the five kinds of token that are billed apart."""

    uncached: Number
    read: Number
    written_5m: Number
    written_1h: Number
    output: Number

    @property
    def written(self) -> Number:
        """Both lifetimes together."""
        return self.written_5m + self.written_1h

    @property
    def prompt(self) -> Number:
        """Everything but the output."""
        return self.uncached + self.read + self.written

    @property
    def total(self) -> Number:
        """Everything."""
        return self.prompt + self.output

    def __add__(self, other: Split[Number]) -> Split[Number]:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Split(*(a + b for a, b in pairs))


@dataclass(frozen=True)
class CacheStats:
    """What calls read, wrote and cost. Add two to count both; the empty one counts nothing.

    Money is for tokens; web searches are not in it. A call without a published price adds its
    tokens and counts in `unpriced`, never as zero dollars.
    """

    calls: int = 0
    tokens: Split[int] = field(default_factory=lambda: Split(0, 0, 0, 0, 0))
    usd: Split[Decimal] = field(default_factory=lambda: Split(_ZERO, _ZERO, _ZERO, _ZERO, _ZERO))
    usd_without: Decimal = _ZERO
    """What the same work would have cost with no caching, and so without the warming calls."""
    warming: Split[int] = field(default_factory=lambda: Split(0, 0, 0, 0, 0))
    """The part of the tokens that belongs to calls that only warm the cache."""
    unpriced: int = 0
    """Calls whose tokens are counted and whose price is not known."""

    @classmethod
    def from_usage(cls, usage: Any, model: str, *, at: date | None = None) -> CacheStats:
        """The stats of one call.

        Reads `usage` of a response, a dict or anything with its fields. Missing cache fields mean
        that nothing was cached; a write without a split by lifetime counts as 5 minutes.

        Args:
            usage: `message.usage`.
            model: `message.model`.
            at: day of the call; None means the newest prices installed.
        """
        used = billable(usage)
        empty, tokens = cls(), _split(used.tokens)
        stats = cls(1, tokens, warming=tokens if used.warms else empty.warming)
        without = price(model, used.uncached(), at=at)
        if without is None:
            return replace(stats, unpriced=1)
        of = partial(rates, model, at=at, batch=used.batch, fast=used.fast, geo=used.geo)
        parts = ((of(prompt_tokens=tokens.prompt), tokens) for tokens in used.samplings)
        usd = sum((_usd(each, part) for each, part in parts if each), empty.usd)
        return replace(stats, usd=usd, usd_without=without.tokens)

    @classmethod
    def of(cls, message: Message) -> CacheStats:
        """The stats of an answer; unpriced where its usage, as of some proxies, is unreadable."""
        try:
            return cls.from_usage(message.usage, message.model)
        except InvalidUsage:
            return cls(1, unpriced=1)

    def __add__(self, other: CacheStats) -> CacheStats:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return CacheStats(*(a + b for a, b in pairs))

    @property
    def hit_rate(self) -> Decimal | None:
        """Tokens read over tokens read or written: the rate that break-even points are about."""
        marked = self.tokens.read + self.tokens.written
        return Decimal(self.tokens.read) / marked if marked else None

    @property
    def saved(self) -> Decimal:
        """Dollars less than without caching; below zero when caching cost money."""
        return self.usd_without - self.usd.total


@dataclass(frozen=True)
class Savings:
    """What caching did to the bill of some calls."""

    stats: CacheStats
    needed_hit_rate: Decimal | None
    """The hit rate at which these writes would have paid for themselves; None without writes."""

    @property
    def usd(self) -> Decimal:
        """Dollars saved; below zero when caching cost money."""
        return self.stats.saved

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if self.stats.hit_rate is None:
            return "Nothing was cached: no breakpoint, or a prefix under the model's minimum."
        change = "saved" if self.usd >= 0 else "cost"
        sums = f"Caching {change} ${abs(self.usd):.4f}: ${self.stats.usd.total:.4f} paid, "
        sums += f"${self.stats.usd_without:.4f} without it"
        rate = f"hit rate {self.stats.hit_rate:.1%}"
        needed = self.needed_hit_rate
        return f"{sums}; {rate}" + (f", {needed:.1%} needed." if needed is not None else ".")


def savings(usages: Iterable[Any], model: str, *, at: date | None = None) -> Savings:
    """What caching saved over these calls of one model, or what it cost.

    Args:
        usages: `message.usage` of each call.
        model: the model that answered them.
        at: day of the calls; None means the newest prices installed.

    Raises:
        NoCachePrices: the model, or one of the calls, has no published price.
        InvalidUsage: one of them is no usage.
    """
    each = usages if isinstance(usages, Iterable) else [usages]
    stats = sum((CacheStats.from_usage(usage, model, at=at) for usage in each), CacheStats())
    if stats.unpriced:
        raise NoCachePrices(model)
    return Savings(stats, _needed(stats, cache_rates(model, at=at)))


def _split(tokens: Tokens) -> Split[int]:
    return Split(
        tokens.input,
        tokens.cache_read,
        tokens.cache_write_5m,
        tokens.cache_write_1h,
        tokens.output,
    )


def _usd(prices: Rates, tokens: Tokens) -> Split[Decimal]:
    return Split(
        tokens.input * prices.input / _MILLION,
        tokens.cache_read * prices.cache_read / _MILLION,
        tokens.cache_write_5m * prices.cache_write_5m / _MILLION,
        tokens.cache_write_1h * prices.cache_write_1h / _MILLION,
        tokens.output * prices.output / _MILLION,
    )


def _needed(stats: CacheStats, prices: Rates) -> Decimal | None:
    """Hit rate at which this mix of writes costs what plain input would."""
    tokens, warming = stats.tokens, stats.warming
    if not tokens.written:
        return None
    extra = tokens.written_5m * prices.cache_write_5m + tokens.written_1h * prices.cache_write_1h
    extra -= (tokens.written - warming.written) * prices.input  # warming replaces no plain input
    extra += warming.read * prices.cache_read
    reads = extra / (prices.input - prices.cache_read) + warming.read
    return reads / (reads + tokens.written)
