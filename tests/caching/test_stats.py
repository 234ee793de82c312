"""What the counters of `usage` cost and save."""

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import CacheCreation, Usage
from hypothesis import given
from hypothesis import strategies as st

from patterns.caching import CacheStats, savings
from patterns.caching.economics import NoCachePrices
from patterns.caching.stats import Savings
from patterns.core.models import HAIKU, MODELS, SONNET
from patterns.core.pricing import cost_usd, rates

PRICED = sorted(model for model in MODELS if rates(model) is not None)

tokens = st.integers(0, 400_000)


def usage(
    uncached: int = 0, read: int = 0, five: int = 0, hour: int = 0, output: int = 1, **more: Any
) -> Usage:
    """A usage as the API returns it."""
    split = CacheCreation(ephemeral_5m_input_tokens=five, ephemeral_1h_input_tokens=hour)
    return Usage(
        input_tokens=uncached,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=five + hour,
        cache_creation=split,
        output_tokens=output,
        **more,
    )


@pytest.mark.parametrize("model", PRICED)
@pytest.mark.parametrize(("five", "hour"), [(7_003, 0), (0, 7_003), (5_001, 2_002)])
def test_cost_by_kind_equals_cost_usd_and_hand_arithmetic(model: str, five: int, hour: int) -> None:
    """For every model of the table and both lifetimes, to the last digit."""
    used = usage(1_234, 56_789, five, hour, 321)
    prices = rates(model, prompt_tokens=1_234 + 56_789 + five + hour)
    assert prices is not None
    by_hand = (
        1_234 * prices.input
        + 56_789 * prices.cache_read
        + five * prices.cache_write_5m
        + hour * prices.cache_write_1h
        + 321 * prices.output
    ) / Decimal(1_000_000)
    assert CacheStats.from_usage(used, model).usd.total == by_hand == cost_usd(model, used)


@given(tokens, tokens, tokens, tokens, tokens, st.sampled_from(sorted(MODELS)), st.booleans())
def test_any_usage_costs_what_cost_usd_says(
    uncached: int, read: int, five: int, hour: int, output: int, model: str, batch: bool
) -> None:
    """Whatever the counters, the price step of long prompts and batches included."""
    used = usage(uncached, read, five, hour, output, service_tier="batch" if batch else "standard")
    stats = CacheStats.from_usage(used, model)
    expected = cost_usd(model, used)
    assert (stats.unpriced, stats.usd.total) == ((0, expected) if expected is not None else (1, 0))


@given(st.lists(st.tuples(tokens, tokens, tokens, tokens, tokens), max_size=8))
def test_stats_of_calls_add_up(calls: list[tuple[int, int, int, int, int]]) -> None:
    """The sum holds every token and every cent, in any grouping."""
    each = [CacheStats.from_usage(usage(*call), SONNET) for call in calls]
    total = sum(each, CacheStats())
    assert total.calls == len(calls)
    assert total.tokens.total == sum(sum(call) for call in calls)
    assert total.saved == sum((one.saved for one in each), Decimal(0))


def test_first_write_costs_more_than_no_caching() -> None:
    """One call that only writes loses a quarter of its price, and the verdict says so."""
    result = savings([usage(five=40_000)], SONNET)
    assert result.usd == Decimal("-0.02")
    assert result.verdict.startswith("Caching cost $0.0200: $0.1000 paid, $0.0800 without it")
    assert "hit rate 0.0%, 20.8% needed" in result.verdict


def test_eight_agents_with_one_going_first_cost_a_fifth() -> None:
    """The 40,000-token example: one write, seven reads, $0.128 in place of $0.64."""
    result = savings([usage(five=40_000), *[usage(read=40_000)] * 7], SONNET)
    assert result.stats.usd.prompt == Decimal("0.128")
    assert result.stats.usd_without - result.stats.usd.output == Decimal("0.64")
    assert result.verdict.startswith("Caching saved $0.5120: ")


def test_warming_call_would_not_be_made_without_a_cache() -> None:
    """It is paid, and stands on no bill without caching: eight prompts there, not nine."""
    warming = usage(5, five=40_000, output=0)
    result = savings([warming, *[usage(read=40_000)] * 8], SONNET)
    assert result.stats.usd_without - result.stats.usd.output == Decimal("0.64")
    assert result.stats.usd.prompt == Decimal("0.13201")
    assert result.usd == Decimal("0.64") - Decimal("0.13201")
    alone = savings([warming], SONNET)
    assert alone.usd == -alone.stats.usd.total


@given(st.integers(1, 100_000), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_sign_of_the_saving_follows_the_needed_hit_rate_with_warming(
    prefix: int, readers: int, refreshed: int, hour: bool
) -> None:
    """A write that only warms replaces no plain input, so it needs more reads to pay."""
    write = usage(hour=prefix, output=0) if hour else usage(five=prefix, output=0)
    calls = [write, *[usage(read=prefix, output=0)] * refreshed, *[usage(read=prefix)] * readers]
    result = savings(calls, SONNET)
    assert result.needed_hit_rate is not None
    assert result.stats.hit_rate is not None
    assert (result.usd >= 0) == (result.stats.hit_rate >= result.needed_hit_rate)


def test_loop_is_priced_turn_by_turn() -> None:
    """Five turns of 30,000 tokens never reach the price of a long prompt."""
    turn = {"type": "message", "input_tokens": 30_000, "output_tokens": 500}
    loop = {"input_tokens": 150_000, "output_tokens": 2_500, "iterations": [turn] * 5}
    stats = CacheStats.from_usage(loop, HAIKU)
    assert stats.usd.total == cost_usd(HAIKU, loop) == Decimal("0.01625")


def test_well_known_ninety_percent_is_not_the_saving() -> None:
    """Reads times 0.9 counts tokens, forgets the writes and misses the price of a read."""
    calls = [usage(five=10_000), usage(read=10_000)]
    claimed = Decimal(sum(call.cache_read_input_tokens or 0 for call in calls)) * Decimal("0.9")
    true_in_tokens = savings(calls, SONNET).usd / Decimal(2) * 1_000_000
    assert (claimed, true_in_tokens) == (Decimal(9_000), Decimal(7_000))


@given(st.integers(1, 100_000), st.integers(0, 100_000), st.booleans())
def test_sign_of_the_saving_follows_the_needed_hit_rate(
    written: int, read: int, hour: bool
) -> None:
    """Above the needed rate caching saves, below it costs; nothing else decides."""
    call = usage(read=read, hour=written) if hour else usage(read=read, five=written)
    result = savings([call], SONNET)
    assert result.needed_hit_rate is not None
    assert result.stats.hit_rate is not None
    assert (result.usd >= 0) == (result.stats.hit_rate >= result.needed_hit_rate)


def test_mixed_lifetimes_need_a_rate_between_the_two() -> None:
    """Writes for an hour weigh more in the mix."""
    needed = savings([usage(five=1_000, hour=1_000)], SONNET).needed_hit_rate
    assert needed is not None
    assert Decimal("0.2084") < needed < Decimal("0.5128")


def test_reads_alone_need_no_hit_rate() -> None:
    """Somebody else paid for the write."""
    result = savings([usage(read=1_000)], SONNET)
    assert result.needed_hit_rate is None
    assert result.verdict.endswith("hit rate 100.0%.")


def test_usage_without_cache_fields_means_nothing_was_cached() -> None:
    """Old recordings and compatible servers leave the fields out."""
    old = SimpleNamespace(input_tokens=900, output_tokens=10)
    result = savings([old], SONNET)
    assert (result.stats.tokens.uncached, result.usd) == (900, Decimal(0))
    assert result.verdict.startswith("Nothing was cached")


def test_write_without_a_split_counts_as_five_minutes() -> None:
    """The default lifetime, and the same lower bound as cost_usd."""
    flat = Usage(input_tokens=5, cache_creation_input_tokens=1_000, output_tokens=1)
    stats = CacheStats.from_usage(flat, SONNET)
    assert (stats.tokens.written_5m, stats.tokens.written_1h) == (1_000, 0)
    assert stats.usd.total == cost_usd(SONNET, flat)


def test_long_prompt_on_haiku_pays_five_times_on_every_token() -> None:
    """Cache reads count towards the length that selects the price."""
    short = CacheStats.from_usage(usage(1_000, read=99_000), HAIKU)
    long = CacheStats.from_usage(usage(1_001, read=99_000), HAIKU)
    assert long.usd.read == 5 * short.usd.read
    without = long.usd_without - long.usd.output
    assert without == 100_001 * Decimal("0.5") / 1_000_000


@pytest.mark.parametrize(("model", "tier"), [("claude-9", "standard"), (SONNET, "priority")])
def test_unpriced_call_is_counted_and_never_free(model: str, tier: Any) -> None:
    """Tokens are kept; a saving cannot be claimed."""
    used = usage(1_000, service_tier=tier)
    stats = CacheStats.from_usage(used, model)
    assert (stats.calls, stats.unpriced, stats.tokens.uncached) == (1, 1, 1_000)
    with pytest.raises(NoCachePrices):
        savings([used], model)


def test_no_calls_save_nothing() -> None:
    """An empty list is an answer, not a division by zero."""
    result = savings([], SONNET)
    assert (result.usd, result.stats.hit_rate) == (Decimal(0), None)


def test_neither_saved_nor_cost_reads_as_saved_nothing() -> None:
    """The sign is that of the difference."""
    stats = CacheStats.from_usage(usage(read=10), SONNET)
    even = Savings(replace(stats, usd_without=Decimal(0)), None)
    level = replace(even.stats, usd_without=even.stats.usd.total)
    assert Savings(level, None).verdict.startswith("Caching saved $0.0000")
    assert even.verdict.startswith("Caching cost $")
