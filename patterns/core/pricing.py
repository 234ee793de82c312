"""What a call cost: `usage` in, US dollars out, exact, or None when no published price covers it.

For cost metrics, budgets and break-even points. The figures are those of the installed
`genai-prices`, so an upgrade is a diff of tests/test_pricing.py; nothing is fetched. Not for
invoices: discounts, credits and taxes of your contract are not in `usage`, and neither are the
container hours of code execution. A call that cannot be priced is None, never zero: count it.

Chapter 4 teaches it; chapters 6 to 9 use it. Needs: pip install genai-prices.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

__all__ = ["InvalidUsage", "Rates", "Tokens", "cost_usd", "rates", "tokens_of"]

_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1_000)
_ONE = Decimal(1)

# Where inference ran and what that multiplies on every kind of token. Source: the data residency
# and pricing pages of the platform documentation. A geography that is not here has no published
# figure, so its calls are unpriced.
_GEOGRAPHIES = {None: _ONE, "global": _ONE, "not_available": _ONE, "us": Decimal("1.1")}

# Web fetches are free beyond their tokens; web searches are billed per thousand.
_FREE_SERVER_TOOLS = frozenset({"web_fetch_requests"})


class InvalidUsage(ValueError):
    """A `usage` that no API call can have produced: a count below zero or not a whole number.

    Attributes:
        field: the name of the offending field.
        value: what it held.
    """

    def __init__(self, field: str, value: object) -> None:
        self.field = field
        self.value = value
        super().__init__(
            f"usage.{field} is {value!r}; a count is a whole number from 0 up. "
            "Pass the usage of a response unchanged."
        )


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
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read


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
        model: a model id, as in a response.
        at: the day of the call (a datetime is read in UTC). None means the newest prices
            installed, whatever the clock says.
        batch: sent through the Batches API. Batch prices are published from 14 October 2026.
        prompt_tokens: the whole prompt, cache reads and writes included: on some models a long
            prompt raises the price of every token of the request.
        fast: fast mode (`usage.speed`). Not offered in batches, nor on every model.
        geo: where inference ran (`usage.inference_geo`).
    """
    prices = _price_list(model, _day(at), batch, fast, geo)
    return None if prices is None else prices.at(prompt_tokens)


def cost_usd(model: str, usage: Any, *, at: date | None = None) -> Decimal | None:
    """What one response cost in US dollars, exactly, or None when it cannot be priced.

    Reads the tokens by kind, `service_tier` (batch), `speed`, `inference_geo`, web searches and,
    on a beta usage, compactions that its totals leave out. None means: unknown model, an unknown
    geography or server tool, fast mode or batch without a published price, priority capacity
    (bought by contract), or help from a second model.

    Args:
        model: the model that answered, `message.model`.
        usage: `message.usage`, or anything with those fields.
        at: the day of the call; None means the newest prices installed.

    Raises:
        InvalidUsage: a count is negative or not a whole number.
    """
    tier = getattr(usage, "service_tier", None)
    fast = getattr(usage, "speed", None) == "fast"
    geo = getattr(usage, "inference_geo", None)
    prices = _price_list(model, _day(at), tier == "batch", fast, geo)
    searches = _searches(getattr(usage, "server_tool_use", None))
    parts = [usage, *_compactions(usage)]
    if prices is None or searches is None or tier == "priority" or not _one_model(usage):
        return None
    if searches and prices.per_search is None:
        return None
    total = searches * (prices.per_search or _ONE)
    return sum((_tokens_usd(prices, part) for part in parts), total)


def tokens_of(usage: Any) -> Tokens:
    """The tokens of one response by kind, compactions included.

    Args:
        usage: `message.usage`, or anything with those fields.

    Raises:
        InvalidUsage: a count is negative or not a whole number.
    """
    total = _counted(usage)
    for part in map(_counted, _compactions(usage)):
        kinds = (getattr(total, f.name) + getattr(part, f.name) for f in fields(Tokens))
        total = Tokens(*kinds)
    return total


def _counted(usage: Any) -> Tokens:
    written = _count(usage, "cache_creation_input_tokens")
    split = getattr(usage, "cache_creation", None)
    hour = _count(split, "ephemeral_1h_input_tokens")
    minutes = _count(split, "ephemeral_5m_input_tokens")
    return Tokens(
        input=_count(usage, "input_tokens", required=True),
        output=_count(usage, "output_tokens", required=True),
        # Without a split every write counts as the default, five minutes: a lower bound.
        cache_write_5m=max(minutes, written - hour),
        cache_write_1h=hour,
        cache_read=_count(usage, "cache_read_input_tokens"),
    )


def _tokens_usd(prices: _PriceList, usage: Any) -> Decimal:
    """The price of one sampling: every token at the rate that its prompt length selects."""
    tokens = _counted(usage)
    rates = prices.at(tokens.prompt)
    return (
        tokens.input * rates.input
        + tokens.output * rates.output
        + tokens.cache_write_5m * rates.cache_write_5m
        + tokens.cache_write_1h * rates.cache_write_1h
        + tokens.cache_read * rates.cache_read
    ) / _MILLION


def _compactions(usage: Any) -> list[Any]:
    """Samplings that the totals of a beta usage leave out."""
    iterations = getattr(usage, "iterations", None) or ()
    return [part for part in iterations if part.type == "compaction"]


def _one_model(usage: Any) -> bool:
    """Whether every token was sampled, and is billed, at the answering model's own price."""
    kinds = {part.type for part in getattr(usage, "iterations", None) or ()}
    return kinds <= {"message", "compaction"} and not getattr(usage, "fallback_credit", None)


def _searches(tools: Any) -> int | None:
    """Web searches to bill, or None when a server tool without a known price was used."""
    if tools is None:
        return 0
    fields = {**getattr(tools, "__dict__", {}), **(getattr(tools, "model_extra", None) or {})}
    unknown = fields.keys() - _FREE_SERVER_TOOLS - {"web_search_requests"}
    if any(isinstance(fields[name], int) and fields[name] for name in unknown):
        return None
    return _count(tools, "web_search_requests")


def _count(holder: Any, field: str, *, required: bool = False) -> int:
    value = getattr(holder, field, None)
    if value is None and not required:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidUsage(field, value)
    return value


def _day(at: date | None) -> date:
    """The UTC day of a call; the end of time for None, so that the newest prices hold."""
    if at is None:
        return date.max
    if isinstance(at, datetime):
        return at.astimezone(UTC).date() if at.tzinfo else at.date()
    return at


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
        _, info = get_snapshot().find_provider_model(model, None, "anthropic", None)
    except LookupError:
        return None
    noon = datetime.combine(day, time(12), tzinfo=UTC)
    if wanted and not _has_variant(info, wanted, noon):
        return None
    return info.get_prices(noon, wanted)


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
    tiered = (price for price in _listed(prices) if isinstance(price, TieredPrices))
    return {tier.start for price in tiered for tier in price.tiers}


def _rates_above(prices: ModelPrice, start: int, factor: Decimal) -> Rates:
    """The rates for prompts of more than `start` tokens."""

    def rate(kind: str) -> Decimal:
        price: Decimal | TieredPrices = getattr(prices, f"{kind}_mtok")
        if isinstance(price, TieredPrices):
            tiers = (tier.price for tier in reversed(price.tiers) if start >= tier.start)
            price = next(tiers, price.base)
        return price * factor

    return Rates(
        input=rate("input"),
        output=rate("output"),
        cache_write_5m=rate("cache_write"),
        cache_write_1h=rate("cache_write_1h"),
        cache_read=rate("cache_read"),
    )
