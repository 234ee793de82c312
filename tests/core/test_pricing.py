"""Costs are compared with arithmetic done by hand in Decimal, from prices written out here."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import CacheCreation, ServerToolUsage, Usage
from anthropic.types.beta import BetaUsage
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.models import FABLE, HAIKU, MYTHOS, OPUS, SONNET
from patterns.core.pricing import InvalidUsage, Rates, Tokens, cost_usd, rates, tokens_of

D = Decimal

# USD per million tokens: input, output, 5-minute write, 1-hour write, cache read.
PUBLISHED = {
    SONNET: ("2", "10", "2.50", "4", "0.10"),
    OPUS: ("4", "20", "5", "8", "0.20"),
    HAIKU: ("0.10", "0.50", "0.125", "0.20", "0.01"),
    FABLE: ("8", "40", "10", "16", "0.20"),
    MYTHOS: ("8", "40", "10", "16", "0.20"),
}
FAST = {
    OPUS: ("8", "40", "10", "16", "0.40"),
    FABLE: ("16", "80", "20", "32", "0.40"),
    MYTHOS: ("16", "80", "20", "32", "0.40"),
}
LAUNCH = date(2026, 10, 14)  # the first day with a published batch price


def usage(**changes: Any) -> Usage:
    """A usage of 1,000 uncached tokens in and 200 out, with changes."""
    return Usage.model_validate({"input_tokens": 1_000, "output_tokens": 200, **changes})


def cached(minutes: int, hour: int, read: int = 0, **changes: Any) -> Usage:
    """A usage that wrote and read the cache."""
    split = CacheCreation(ephemeral_5m_input_tokens=minutes, ephemeral_1h_input_tokens=hour)
    return usage(
        cache_creation=split,
        cache_creation_input_tokens=minutes + hour,
        cache_read_input_tokens=read,
        **changes,
    )


def by_hand(prices: tuple[str, ...], u: Usage, factor: D | int = 1) -> D:
    """The same bill with a pencil."""
    input_, output, minutes, hour, read = map(D, prices)
    split = u.cache_creation or CacheCreation(
        ephemeral_5m_input_tokens=0, ephemeral_1h_input_tokens=0
    )
    total = D(u.input_tokens) * input_ + D(u.output_tokens) * output
    total += D(split.ephemeral_5m_input_tokens) * minutes
    total += D(split.ephemeral_1h_input_tokens) * hour
    total += D(u.cache_read_input_tokens or 0) * read
    return total * factor / D(1_000_000)


@pytest.mark.parametrize("model", PUBLISHED)
def test_rates_are_the_published_prices(model: str) -> None:
    """A change of any price in the installed table shows up here as a diff."""
    assert rates(model) == Rates(*map(D, PUBLISHED[model]))
    half = [D(price) / 2 for price in PUBLISHED[model]]
    assert rates(model, batch=True) == Rates(*half)


@pytest.mark.parametrize("model", PUBLISHED)
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(("minutes", "hour"), [(3_000, 0), (0, 3_000), (1_234, 567)])
def test_cost_equals_hand_arithmetic(model: str, batch: bool, minutes: int, hour: int) -> None:
    """Five models, both tiers, both cache lifetimes: to the last decimal."""
    u = cached(minutes, hour, read=7_001, service_tier="batch" if batch else "standard")
    factor = D("0.5") if batch else D(1)
    assert cost_usd(model, u) == by_hand(PUBLISHED[model], u, factor)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(("prompt", "times"), [(99_999, 1), (100_000, 1), (100_001, 5)])
def test_long_haiku_prompt_costs_five_times_on_every_token(
    prompt: int, times: int, batch: bool
) -> None:
    """The boundary counts the whole prompt, cache included, and lifts the output too."""
    u = cached(2_000, 3_000, 40_000, service_tier="batch" if batch else "standard")
    u.input_tokens = prompt - 45_000
    factor = D(times) / 2 if batch else D(times)
    assert cost_usd(HAIKU, u) == by_hand(PUBLISHED[HAIKU], u, factor)


def test_long_prompt_rates_can_be_asked_for() -> None:
    """The tier starts above 100,000 tokens, not at it."""
    at, above = rates(HAIKU, prompt_tokens=100_000), rates(HAIKU, prompt_tokens=100_001)
    assert at is not None
    assert above is not None
    assert (at.output, above.output) == (D("0.50"), D("2.50"))
    assert rates(SONNET, prompt_tokens=900_000) == rates(SONNET)


def test_unknown_model_has_no_price() -> None:
    """None, so that it can be counted: zero would look free."""
    assert cost_usd("claude-quartz-9", usage()) is None
    assert rates("claude-quartz-9") is None
    assert cost_usd("", usage()) is None


def test_model_with_a_hole_in_its_price_list_has_no_price() -> None:
    """Claude 2 never had cache prices."""
    assert rates("claude-2") is None


def test_dated_model_id_has_the_price_of_its_alias() -> None:
    """Responses name a snapshot."""
    assert rates(f"{SONNET}-20260930") == rates(SONNET)


def test_batch_before_its_first_published_price_is_unpriced() -> None:
    """The table would answer with the standard price, which is twice too much."""
    u = usage(service_tier="batch")
    assert cost_usd(SONNET, u, at=LAUNCH - timedelta(days=1)) is None
    assert cost_usd(SONNET, u, at=LAUNCH) == by_hand(PUBLISHED[SONNET], u, D("0.5"))
    assert rates(SONNET, batch=True, at=LAUNCH - timedelta(days=1)) is None


def test_day_of_a_call_is_read_in_utc() -> None:
    """Half past midnight in Zurich is still the day before."""
    zurich = timezone(timedelta(hours=2))
    assert rates(SONNET, batch=True, at=datetime(2026, 10, 14, 0, 30, tzinfo=zurich)) is None
    assert rates(SONNET, batch=True, at=datetime(2026, 10, 14, 0, 30, tzinfo=UTC))
    assert rates(SONNET, batch=True, at=datetime(2026, 10, 14, 0, 30))  # noqa: DTZ001 (naive)


def test_price_change_follows_the_day_of_the_call() -> None:
    """Opus 4.6 lost its long-prompt surcharge on 13 March 2026."""
    before = rates("claude-opus-4-6", at=date(2026, 3, 12), prompt_tokens=300_000)
    after = rates("claude-opus-4-6", at=date(2026, 3, 13), prompt_tokens=300_000)
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (D(10), D(5))


@pytest.mark.parametrize("model", PUBLISHED)
def test_us_inference_costs_a_tenth_more(model: str) -> None:
    """The factor applies to every kind of token."""
    u = cached(300, 200, 100, inference_geo="us")
    assert cost_usd(model, u) == by_hand(PUBLISHED[model], u, D("1.1"))


@pytest.mark.parametrize("geo", [None, "global", "not_available"])
def test_other_documented_geographies_cost_the_same(geo: str | None) -> None:
    """Only a restriction is charged for."""
    u = usage(inference_geo=geo)
    assert cost_usd(OPUS, u) == by_hand(PUBLISHED[OPUS], u)


def test_geography_without_a_published_figure_is_unpriced() -> None:
    """A guess would be a wrong bill."""
    assert cost_usd(OPUS, usage(inference_geo="moon")) is None


@pytest.mark.parametrize("model", FAST)
def test_fast_mode_has_its_own_prices(model: str) -> None:
    """They are in the table; the cache multipliers stay."""
    u = cached(300, 200, 100, speed="fast")
    assert cost_usd(model, u) == by_hand(FAST[model], u)
    us = cached(300, 200, 100, speed="fast", inference_geo="us")
    assert cost_usd(model, us) == by_hand(FAST[model], u, D("1.1"))


@pytest.mark.parametrize("model", [SONNET, HAIKU])
def test_fast_mode_without_a_published_price_is_unpriced(model: str) -> None:
    """Sonnet and Haiku have no fast mode."""
    assert cost_usd(model, usage(speed="fast")) is None
    assert cost_usd(OPUS, usage(speed="fast", service_tier="batch")) is None


def test_web_searches_are_added_and_fetches_are_free() -> None:
    """Ten dollars a thousand, at the same price in a batch and in the US."""
    tools = ServerToolUsage(web_search_requests=3, web_fetch_requests=9)
    u = usage(server_tool_use=tools)
    assert cost_usd(SONNET, u) == by_hand(PUBLISHED[SONNET], u) + D("0.03")
    us_batch = usage(server_tool_use=tools, service_tier="batch", inference_geo="us")
    half = by_hand(PUBLISHED[SONNET], u, D("0.55"))
    assert cost_usd(SONNET, us_batch) == half + D("0.03")


def test_unknown_server_tool_is_unpriced_once_used() -> None:
    """A tool that the table does not know may cost anything."""
    tools = {"web_search_requests": 0, "web_fetch_requests": 0, "moon_requests": 0}
    assert cost_usd(SONNET, usage(server_tool_use=tools)) is not None
    tools["moon_requests"] = 1
    assert cost_usd(SONNET, usage(server_tool_use=tools)) is None


def test_searches_on_a_model_without_a_search_price_are_unpriced() -> None:
    """Claude 3 Opus is in the table, without one."""
    tools = ServerToolUsage(web_search_requests=1, web_fetch_requests=0)
    assert cost_usd("claude-3-opus-latest", usage()) is not None
    assert cost_usd("claude-3-opus-latest", usage(server_tool_use=tools)) is None


def test_priority_capacity_is_unpriced() -> None:
    """It is bought by contract, so no list price applies."""
    assert cost_usd(SONNET, usage(service_tier="priority")) is None


def test_writes_without_a_split_count_as_five_minutes() -> None:
    """The API's default lifetime, and the lower bound."""
    u = usage(cache_creation_input_tokens=1_000_000)
    assert cost_usd(SONNET, u) == by_hand(PUBLISHED[SONNET], usage()) + D("2.50")


def test_compaction_is_billed_on_top() -> None:
    """A compaction's tokens are missing from the totals of the usage."""
    zero = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    parts = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, **zero},
        {"type": "message", "input_tokens": 1_000, "output_tokens": 200, **zero},
    ]
    beta = BetaUsage.model_validate(
        {"input_tokens": 1_000, "output_tokens": 200, "iterations": parts}
    )
    extra = by_hand(PUBLISHED[OPUS], usage(input_tokens=180_000, output_tokens=3_500))
    assert cost_usd(OPUS, beta) == by_hand(PUBLISHED[OPUS], usage()) + extra
    assert tokens_of(beta) == Tokens(input=181_000, output=3_700)


def test_help_from_a_second_model_is_unpriced() -> None:
    """Neither the totals nor the documentation say who pays what."""
    part = {"type": "advisor_message", "model": OPUS, "input_tokens": 1, "output_tokens": 1}
    part |= {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    beta = BetaUsage.model_validate({"input_tokens": 1, "output_tokens": 1, "iterations": [part]})
    assert cost_usd(SONNET, beta) is None


@pytest.mark.parametrize("bad", [-1, 1.5, "12", True, None])
def test_impossible_count_is_named(bad: object) -> None:
    """The message says which field held what."""
    broken = SimpleNamespace(input_tokens=bad, output_tokens=1)
    with pytest.raises(InvalidUsage, match=r"usage\.input_tokens is") as error:
        cost_usd(SONNET, broken)
    assert (error.value.field, error.value.value) == ("input_tokens", bad)


def test_anything_with_the_two_token_counts_can_be_priced() -> None:
    """The cost of a plan needs no response."""
    plan = SimpleNamespace(input_tokens=10_000, output_tokens=1_000)
    assert cost_usd(SONNET, plan) == D("0.03")


def test_tokens_are_counted_once_under_their_price() -> None:
    """The prompt is everything but the output."""
    tokens = tokens_of(cached(300, 200, 100))
    assert tokens == Tokens(1_000, 200, cache_write_5m=300, cache_write_1h=200, cache_read=100)
    assert tokens.prompt == 1_600


@given(
    model=st.sampled_from([SONNET, OPUS, FABLE]),
    counts=st.tuples(*[st.integers(0, 10**9)] * 5),
    twice=st.integers(2, 50),
)
def test_cost_is_linear_in_the_tokens(model: str, counts: tuple[int, ...], twice: int) -> None:
    """Without tiers, n times the tokens cost exactly n times as much."""

    def cost(times: int) -> D | None:
        plain, out, minutes, hour, read = (times * count for count in counts)
        return cost_usd(model, cached(minutes, hour, read, input_tokens=plain, output_tokens=out))

    once = cost(1)
    assert once is not None
    assert cost(twice) == once * twice
