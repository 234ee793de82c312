"""What a call cost: `usage` in, US dollars out, exact, or None when no published price covers it.

For cost metrics, budgets and break-even points. The figures are those of the installed
`genai-prices`, so an upgrade is a diff of tests/core/test_pricing.py; nothing is fetched, and
without that package nothing has a price. Not for invoices: discounts, credits and taxes of your
contract are not in `usage`, and neither are the container hours of code execution. A call that
cannot be priced is None, never zero: count it.

Chapter 4 teaches it; chapters 6 to 9 use it. Needs: pip install genai-prices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from patterns.core.errors import Portable
from patterns.core.usage import Billable, InvalidUsage, Tokens, billable, tokens_of

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

__all__ = [
    "Billable",
    "InvalidDay",
    "InvalidUsage",
    "Price",
    "Rates",
    "Tokens",
    "billable",
    "cost_usd",
    "price",
    "price_steps",
    "rates",
    "tokens_of",
]

_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1_000)
_ONE = Decimal(1)

# Where inference ran and what that multiplies on every kind of token. Source: the data residency
# and pricing pages of the platform documentation. A geography that is not here has no published
# figure, so its calls are unpriced.
_GEOGRAPHIES = {None: _ONE, "global": _ONE, "not_available": _ONE, "us": Decimal("1.1")}


class InvalidDay(Portable, TypeError):
    """Something that is no day, and so cannot choose a price.

    Attributes:
        value: what was given.
    """

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"at is {value!r}; pass a date, a datetime (naive ones are UTC) or None.")


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices in US dollars per million tokens.

    Attributes:
        input: uncached input.
        output: output, thinking included.
        cache_write_5m: input written to the cache for five minutes.
        cache_write_1h: input written to the cache for an hour.
        cache_read: input read from the cache.
    """

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal

    def usd(self, tokens: Tokens) -> Decimal:
        """What these tokens cost."""
        return (
            tokens.input * self.input
            + tokens.output * self.output
            + tokens.cache_write_5m * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
            + tokens.cache_read * self.cache_read
        ) / _MILLION


@dataclass(frozen=True, slots=True)
class Price:
    """What a response cost, in US dollars: its tokens, and fees such as those of web searches."""

    tokens: Decimal
    fees: Decimal

    @property
    def total(self) -> Decimal:
        """Both together."""
        return self.tokens + self.fees


@dataclass(frozen=True, slots=True)
class _PriceList:
    """One model's prices on one day: `steps` are (prompt tokens above which they hold, rates)."""

    steps: tuple[tuple[int, Rates], ...]
    per_search: Decimal | None

    def at(self, prompt_tokens: int) -> Rates:
        """The rates for a prompt of this many tokens."""
        long = (rates for start, rates in reversed(self.steps) if prompt_tokens > start)
        return next(long, self.steps[0][1])


def rates(
    model: str,
    *,
    at: date | None = None,
    batch: bool = False,
    prompt_tokens: int = 0,
    fast: bool = False,
    geo: str | None = None,
) -> Rates | None:
    """The prices that a request pays, or None when no published price covers it.

    Args:
        model: a model id, as in a response; a dated one has the price of its alias.
        at: the day of the call (a datetime is read in UTC). None means the newest prices
            installed, whatever the clock says.
        batch: sent through the Batches API. Batch prices are published from 14 October 2026.
        prompt_tokens: the whole prompt, cache reads and writes included: on some models a long
            prompt raises the price of every token of the request.
        fast: fast mode (`usage.speed`). Not offered in batches, nor on every model.
        geo: where inference ran (`usage.inference_geo`).

    Raises:
        InvalidDay: `at` is no day.
    """
    prices = _prices_of(model, at, batch, fast, geo)
    return None if prices is None else prices.at(prompt_tokens)


def price_steps(model: str, *, at: date | None = None) -> tuple[int, ...]:
    """Prompt lengths in tokens above which a longer prompt costs more per token; often none."""
    prices = _prices_of(model, at, False, False, None)
    return tuple(start for start, _ in prices.steps[1:]) if prices else ()


def cost_usd(model: str, usage: Any, *, at: date | None = None) -> Decimal | None:
    """What one response cost in US dollars, exactly, or None when it cannot be priced.

    Reads the tokens by kind and by sampling (`iterations`), `service_tier` (batch), `speed`,
    `inference_geo` and web searches. None means: unknown model, an unknown geography, tier or
    server tool, fast mode or batch without a published price, priority capacity (bought by
    contract), or help from a second model.

    Args:
        model: the model that answered, `message.model`.
        usage: `message.usage`, or a dict or any object with those fields.
        at: the day of the call; None means the newest prices installed.

    Raises:
        InvalidUsage: a count is negative or not a whole number, or a part is no object.
        InvalidDay: `at` is no day.
    """
    cost = price(model, billable(usage), at=at)
    return None if cost is None else cost.total


def price(model: str, used: Billable, *, at: date | None = None) -> Price | None:
    """The price of what a response used; None when no published price covers all of it.

    To compare two plans, price the same use twice: `used` and `used.in_batch()`.

    Raises:
        InvalidDay: `at` is no day.
    """
    prices = _prices_of(model, at, used.batch, used.fast, used.geo)
    if prices is None or not used.listed or (used.searches and prices.per_search is None):
        return None
    tokens = sum((prices.at(part.prompt).usd(part) for part in used.samplings), Decimal(0))
    return Price(tokens, used.searches * (prices.per_search or _ONE))


def _day(at: date | None) -> date:
    """The UTC day of a call; the end of time for None, so that the newest prices hold."""
    if at is None:
        return date.max
    if isinstance(at, datetime):
        aware = at.tzinfo is not None and date.min < at.date() < date.max
        return at.astimezone(UTC).date() if aware else at.date()
    if not isinstance(at, date):
        raise InvalidDay(at)
    return at


def _prices_of(
    model: str, at: date | None, batch: bool, fast: bool, geo: str | None
) -> _PriceList | None:
    return _price_list(model, _day(at), batch, fast, geo) if isinstance(model, str) else None


@lru_cache(maxsize=1024)
def _price_list(
    model: str, day: date, batch: bool, fast: bool, geo: str | None
) -> _PriceList | None:
    """The prices of a model on a day, looked up once and kept."""
    factor = _GEOGRAPHIES.get(geo)
    prices = _published(model, day, batch, fast)
    if factor is None or prices is None or None in _listed(prices):
        return None  # a price list with holes (long retired models) cannot price a call
    starts = sorted({0, *_tier_starts(prices)})
    steps = tuple((start, _rates_above(prices, start, factor)) for start in starts)
    search = prices.web_searches_kcount
    per_search = search / _THOUSAND if isinstance(search, Decimal) else None
    return _PriceList(steps, per_search)


def _published(model: str, day: date, batch: bool, fast: bool) -> ModelPrice | None:
    """The price table's row for such a request; None when it has none."""
    wanted = {"processing": "batch"} if batch else {"speed": "fast"} if fast else {}
    if batch and fast:
        return None
    try:
        from genai_prices.data_snapshot import get_snapshot

        _, info = get_snapshot().find_provider_model(model, None, "anthropic", None)
    except (ImportError, LookupError):
        return None
    if _family(model) != _family(info.id):
        return None  # the table matches beginnings: 4-10 would cost what 4-1 does
    noon = datetime.combine(day, time(12), tzinfo=UTC)
    if wanted and not _has_variant(info, wanted, noon):
        return None
    return info.get_prices(noon, wanted)


def _family(model: str) -> str:
    """A model id without its version of one day: claude-opus-4-1 for claude-opus-4-1-20250805."""
    return re.sub(r"(-0)?(-latest|[-@]\d{8})?\Z", "", model.lower().replace(".", "-"))


def _has_variant(info: ModelInfo, wanted: dict[str, str], at: datetime) -> bool:
    # Without this check the table falls back to the standard price: twice a batch, half of fast.
    return any(
        variant.when == wanted and (variant.constraint is None or variant.constraint.active(at))
        for variant in info.price_variants or ()
    )


_KINDS = ("input", "output", "cache_write", "cache_write_1h", "cache_read")


def _listed(prices: ModelPrice) -> list[Decimal | TieredPrices | None]:
    return [getattr(prices, f"{kind}_mtok") for kind in _KINDS]


def _tier_starts(prices: ModelPrice) -> set[int]:
    return {tier.start for price in _listed(prices) for tier in getattr(price, "tiers", ())}


def _rates_above(prices: ModelPrice, start: int, factor: Decimal) -> Rates:
    """The rates for prompts of more than `start` tokens."""

    def rate(kind: str) -> Decimal:
        price = getattr(prices, f"{kind}_mtok")
        tiers = [tier.price for tier in getattr(price, "tiers", ()) if start >= tier.start]
        base: Decimal = getattr(price, "base", price)
        return (tiers[-1] if tiers else base) * factor

    return Rates(
        input=rate("input"),
        output=rate("output"),
        cache_write_5m=rate("cache_write"),
        cache_write_1h=rate("cache_write_1h"),
        cache_read=rate("cache_read"),
    )
