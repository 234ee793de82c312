"""Lifetimes, minimums and break-even points of the prompt cache."""

from decimal import Decimal
from typing import Any

import pytest

from patterns.caching import break_even
from patterns.caching.economics import NoCachePrices, cache_rates, write_rate
from patterns.caching.limits import UnknownTTL, min_cacheable
from patterns.core.models import FABLE, HAIKU, MODELS, OPUS, SONNET, UnknownModel
from patterns.core.pricing import rates

UNPUBLISHED = {"claude-mythos-5", "claude-mythos-5-1"}  # in the API's list, without a price
PRICED = sorted(MODELS.keys() - UNPUBLISHED)


def test_five_minutes_pay_from_the_second_use_and_an_hour_from_the_third() -> None:
    """The two numbers that everyone should know, on the current models."""
    for model in (SONNET, OPUS):
        assert [break_even(model, "5m").uses, break_even(model, "1h").uses] == [2, 3]


def test_break_even_hit_rates_of_sonnet() -> None:
    """(w - 1) / (w - r) with w = 1.25 or 2 and r = 0.05."""
    assert break_even(SONNET, "5m").hit_rate == Decimal("0.25") / Decimal("1.2")
    assert break_even(SONNET, "1h").hit_rate == Decimal(1) / Decimal("1.95")


def test_read_multiplier_differs_between_models() -> None:
    """A constant such as 0.1 would be wrong for three of four current models."""
    reads = [break_even(model).read for model in (SONNET, OPUS, HAIKU, FABLE)]
    assert reads == [Decimal("0.05"), Decimal("0.05"), Decimal("0.1"), Decimal("0.025")]


@pytest.mark.parametrize("model", PRICED)
@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_uses_is_the_first_number_of_uses_that_is_cheaper(model: str, ttl: Any) -> None:
    """One use fewer costs at least as much as no caching, for every model in the table."""
    point = break_even(model, ttl)
    costs = {n: point.write + (n - 1) * point.read for n in (point.uses - 1, point.uses)}
    assert costs[point.uses] < point.uses
    assert costs[point.uses - 1] >= point.uses - 1


@pytest.mark.parametrize("model", PRICED)
@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_relative_cost_is_one_at_the_break_even_hit_rate(model: str, ttl: Any) -> None:
    """The curve of the chapter's plot crosses 1 exactly there."""
    point = break_even(model, ttl)
    assert abs(point.relative_cost(point.hit_rate) - 1) < Decimal("1e-20")
    assert point.relative_cost(1) == point.read
    assert point.relative_cost(0) == point.write


@pytest.mark.parametrize("model", PRICED)
def test_cache_prices_are_those_of_the_price_list(model: str) -> None:
    """Nothing is copied: an upgrade of the list moves the break-even points."""
    prices = rates(model)
    assert prices is not None
    assert cache_rates(model) == prices
    assert write_rate(prices, "1h") == prices.cache_write_1h > prices.cache_write_5m


@pytest.mark.parametrize("model", sorted(UNPUBLISHED))
def test_model_without_a_published_price_has_no_break_even(model: str) -> None:
    """Its minimum is known, its money is not."""
    assert min_cacheable(model) == 512
    with pytest.raises(NoCachePrices, match=model):
        break_even(model)


def test_batch_prices_leave_the_break_even_where_it_is() -> None:
    """Half price on every kind of token halves both sides."""
    assert break_even(SONNET, "1h", batch=True) == break_even(SONNET, "1h")


def test_minimum_prefix_comes_from_the_model_table() -> None:
    """512 on the 5.5 generation, 4,096 on Haiku 4.5."""
    assert [min_cacheable(SONNET), min_cacheable("claude-haiku-4-5")] == [512, 4_096]


def test_unknown_model_is_an_error_and_not_a_guess() -> None:
    """Neither a minimum nor a break-even point is made up."""
    with pytest.raises(UnknownModel, match="claude-9"):
        min_cacheable("claude-9")
    with pytest.raises(NoCachePrices, match=r"'claude-9'.*patterns\.core\.models"):
        break_even("claude-9")


def test_model_without_caching_is_refused() -> None:
    """Where the price list has no read price, a read costs plain input: nothing breaks even."""
    with pytest.raises(NoCachePrices) as caught:
        break_even("claude-2")
    assert caught.value.model == "claude-2"


def test_unknown_ttl_names_the_two_that_exist() -> None:
    """The API's answer to "10m" would be a 400."""
    with pytest.raises(UnknownTTL, match=r"'10m'; the cache offers 5m and 1h\.") as caught:
        break_even(SONNET, "10m")  # type: ignore[arg-type]
    assert caught.value.ttl == "10m"
