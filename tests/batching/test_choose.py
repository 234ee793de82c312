"""patterns.batching.choose: arithmetic that can be checked by hand."""

from decimal import Decimal

import pytest

from patterns.batching.choose import Allowance, NoPrice, choose, in_batch
from patterns.core.models import SONNET
from patterns.core.pricing import Tokens, rates

HOUR = 3_600.0
TOKENS = Tokens(input=1_000, output=500)


def test_a_day_buys_half_the_price() -> None:
    """Only then is a batch surely done."""
    choice = choose(10_000, 86_400, TOKENS, model=SONNET)
    assert (choice.best.way, choice.fits) == ("batch", "surely")
    prices = {option.way: option.usd for option in choice.options}
    price = rates(SONNET)
    assert price is not None
    each = (1_000 * price.input + 500 * price.output) / Decimal(1_000_000)
    assert prices == {"batch": 5_000 * each, "fan-out": 10_000 * each, "one by one": 10_000 * each}


def test_an_hour_and_a_half_is_too_little_to_be_sure_of_a_batch() -> None:
    """A batch would usually do, and costs half; the caller decides whether that is enough."""
    choice = choose(10_000, 1.5 * HOUR, TOKENS, model=SONNET)
    batch = next(option for option in choice.options if option.way == "batch")
    assert (choice.best.way, batch.fits(1.5 * HOUR)) == ("fan-out", "usually")


def test_a_few_calls_need_no_machinery() -> None:
    """Of two that cost the same and are in time, the simpler one."""
    assert choose(5, 300, TOKENS, model=SONNET).best.way == "one by one"


def test_the_tightest_limit_sets_the_time_of_a_fan_out() -> None:
    """Cache reads do not count against it."""
    allowance = Allowance(requests=1_000, input_tokens=100_000, output_tokens=1_000_000)
    cached = Tokens(input=100, output=500, cache_read=50_000)
    assert allowance.seconds(1_000, TOKENS) == 600
    assert allowance.seconds(1_000, cached) == 60


def test_more_than_the_limits_allow_usually_goes_into_a_batch_or_nowhere() -> None:
    """And where nothing fits, the fastest is said not to."""
    assert choose(10_000_000, 2 * HOUR, TOKENS, model=SONNET).best.way == "batch"
    late = choose(10_000_000, HOUR / 2, TOKENS, model=SONNET)
    assert (late.best.way, late.fits) == ("batch", "no")


def test_cache_reads_that_a_batch_misses_are_written_anew() -> None:
    """So a batch is not half the price of well-cached calls."""
    cached = Tokens(input=100, output=100, cache_read=50_000)
    plain = choose(1_000, 86_400, cached, model=SONNET, batch_cache_hits=1.0)
    missed = choose(1_000, 86_400, cached, model=SONNET, batch_cache_hits=0.3)
    assert plain.best.way == "batch"
    assert missed.best.way == "one by one"


def test_what_is_written_to_the_cache_stays_written_in_a_batch() -> None:
    """Every token is counted once, under one price; the missed reads join the writes."""
    tokens = Tokens(input=1, output=2, cache_write_5m=3, cache_write_1h=4, cache_read=10)
    expected = Tokens(input=1, output=2, cache_write_5m=3, cache_write_1h=11, cache_read=3)
    assert in_batch(tokens, 0.37) == expected


def test_nonsense_is_refused() -> None:
    """No request, no price."""
    with pytest.raises(ValueError, match="n is 0"):
        choose(0, 1, TOKENS, model=SONNET)
    with pytest.raises(NoPrice, match="'gpt-9'"):
        choose(1, 1, TOKENS, model="gpt-9")
