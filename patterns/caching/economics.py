"""What the prompt cache costs and from where on it pays.

A read is cheap and a write is dearer than plain input, so caching pays from some number of uses
on. No multiplier is written down here: they differ between models (a read is 0.025, 0.05 or 0.1
of the input price) and come from `patterns.core.pricing`.

Taught in chapter 07.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from patterns.core.errors import Portable
from patterns.core.pricing import Rates, rates

from .limits import TTL, as_ttl


class NoCachePrices(Portable, LookupError):
    """No cache prices are published for a model, so nothing about it can be computed.

    Attributes:
        model: the id that was asked for.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(
            f"no cache prices for {model!r}; pass a current id from patterns.core.models, "
            "or upgrade genai-prices."
        )


@dataclass(frozen=True)
class BreakEven:
    """From where on caching pays for one model and lifetime."""

    model: str
    ttl: TTL
    write: Decimal
    """Price of a write as a multiple of plain input."""
    read: Decimal
    """Price of a read as a multiple of plain input."""

    @property
    def uses(self) -> int:
        """How many uses of one prefix within its lifetime it takes to pay less than uncached."""
        return int((self.write - self.read) / (1 - self.read)) + 1

    @property
    def hit_rate(self) -> Decimal:
        """Below this share of tokens read over tokens read or written, caching loses money."""
        return (self.write - 1) / (self.write - self.read)

    def relative_cost(self, hit_rate: Decimal | float) -> Decimal:
        """Cost of the cached part, uncached = 1, at a hit rate between 0 and 1."""
        hits = Decimal(hit_rate)
        return hits * self.read + (1 - hits) * self.write


def break_even(
    model: str, ttl: TTL = "5m", *, at: date | None = None, batch: bool = False
) -> BreakEven:
    """Where caching starts to pay on a model, from its prices.

    Raises:
        NoCachePrices: no cache prices are published for the model.
        UnknownTTL: the lifetime is neither "5m" nor "1h".
    """
    prices = cache_rates(model, at=at, batch=batch)
    write = write_rate(prices, as_ttl(ttl))
    return BreakEven(model, ttl, write / prices.input, prices.cache_read / prices.input)


def cache_rates(
    model: str, *, at: date | None = None, batch: bool = False, prompt_tokens: int = 0
) -> Rates:
    """The prices of a model that has cache prices.

    Raises:
        NoCachePrices: the model is unknown, or a read costs it as much as plain input.
    """
    prices = rates(model, at=at, batch=batch, prompt_tokens=prompt_tokens)
    if prices is None or prices.cache_read >= prices.input:
        raise NoCachePrices(model)
    return prices


def write_rate(prices: Rates, ttl: TTL) -> Decimal:
    """Dollars per million tokens written with that lifetime."""
    return prices.cache_write_5m if ttl == "5m" else prices.cache_write_1h
