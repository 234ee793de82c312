"""Costs are compared with arithmetic done by hand in Decimal, from prices written out here."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import hostile
import pytest
from anthropic.types import CacheCreation, ServerToolUsage, Usage
from anthropic.types.beta import BetaUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.models import FABLE, HAIKU, MYTHOS, OPUS, SONNET
from patterns.core.pricing import (
    InvalidDay,
    InvalidUsage,
    Rates,
    Tokens,
    billable,
    cost_usd,
    price,
    price_steps,
    rates,
    tokens_of,
)

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


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-10",
        "claude-opus-4-11",
        "claude-sonnet-4-50",
        "claude-haiku-4-5-mini",
        "claude-sonnet-4-5-20250929-thinking",
        "claude-haiku-5-5@2026",
    ],
)
def test_model_whose_name_begins_like_another_has_no_price(model: str) -> None:
    """The neighbour's price would be a confident, wrong number."""
    assert cost_usd(model, usage()) is None


@pytest.mark.parametrize(
    ("model", "alias"),
    [
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("claude-opus-4-20250514", "claude-opus-4"),
        ("claude-haiku-4-5-latest", "claude-haiku-4-5"),
    ],
)
def test_version_of_a_model_costs_what_the_model_does(model: str, alias: str) -> None:
    """However its day is written."""
    assert rates(model) == rates(alias)
    assert rates(model) is not None


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
    tools: dict[str, int | None] = {
        "web_search_requests": 0,
        "web_fetch_requests": 0,
        "moon_requests": 0,
    }
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


def test_tool_searches_are_free() -> None:
    """Tokens are all that a search for a tool costs."""
    none = {"web_search_requests": 0, "web_fetch_requests": 0}
    u = usage(server_tool_use={**none, "tool_search_requests": 2})
    assert cost_usd(SONNET, u) == by_hand(PUBLISHED[SONNET], usage())


TURN = {"type": "message", "input_tokens": 30_000, "output_tokens": 500}


def test_turns_of_a_loop_are_priced_one_by_one() -> None:
    """Each by its own prompt: 5 times 30,000 tokens are no long prompt."""
    loop = {"input_tokens": 150_000, "output_tokens": 2_500, "iterations": [TURN] * 5}
    assert cost_usd(HAIKU, loop) == D("0.01625")
    long = {**TURN, "input_tokens": 100_001}
    mixed = {"input_tokens": 130_001, "output_tokens": 1_000, "iterations": [TURN, long]}
    plain, five_times = by_hand_of(HAIKU, 30_000, 500), 5 * by_hand_of(HAIKU, 100_001, 500)
    assert cost_usd(HAIKU, mixed) == plain + five_times


def by_hand_of(model: str, plain: int, out: int) -> D:
    """A prompt without a cache, with a pencil."""
    return by_hand(PUBLISHED[model], usage(input_tokens=plain, output_tokens=out))


def test_totals_decide_when_the_turns_do_not_add_up_to_them() -> None:
    """What is billed is the total."""
    odd = {"input_tokens": 150_000, "output_tokens": 500, "iterations": [TURN]}
    assert cost_usd(HAIKU, odd) == 5 * by_hand_of(HAIKU, 150_000, 500)


def test_turns_without_a_split_of_writes_follow_that_of_the_total() -> None:
    """All for an hour, or all for five minutes."""
    turn = {**TURN, "cache_creation_input_tokens": 1_000, "cache_read_input_tokens": 0}
    loop = {
        "input_tokens": 60_000,
        "output_tokens": 1_000,
        "cache_creation_input_tokens": 2_000,
        "cache_creation": {"ephemeral_1h_input_tokens": 2_000, "ephemeral_5m_input_tokens": 0},
        "iterations": [turn, turn],
    }
    used = billable(loop)
    assert used.samplings == (Tokens(30_000, 500, cache_write_1h=1_000),) * 2


def test_turns_of_two_models_are_unpriced() -> None:
    """So is any iteration of a kind that nobody has described."""
    other = {**TURN, "model": OPUS}
    loop = {"input_tokens": 60_000, "output_tokens": 1_000}
    same = {**TURN, "model": HAIKU}
    assert cost_usd(HAIKU, {**loop, "iterations": [same, TURN]}) is not None
    assert cost_usd(HAIKU, {**loop, "iterations": [same, other]}) is None
    assert cost_usd(HAIKU, {**loop, "iterations": [TURN, {**TURN, "type": "news"}]}) is None


def test_repriced_retry_is_unpriced() -> None:
    """A fallback credit moves tokens to another model's bill."""
    assert cost_usd(SONNET, usage(fallback_credit={"status": {"type": "redeemed"}})) is None


@pytest.mark.parametrize("changes", [{"service_tier": "flex"}, {"speed": "warp"}])
def test_unknown_tier_or_speed_is_unpriced(changes: dict[str, str]) -> None:
    """A word that no price list knows is no reason to take the standard one."""
    assert cost_usd(SONNET, {"input_tokens": 1, "output_tokens": 1, **changes}) is None


@pytest.mark.parametrize(
    ("minutes", "hour", "corrected", "expected"),
    [
        (1_000, 0, 0, (0, 0)),
        (0, 1_000, 2_500, (0, 2_500)),
        (0, 1_000, 400, (0, 400)),
        (1_000, 0, 2_500, (2_500, 0)),
        (600, 400, 1_500, (1_100, 400)),
        (600, 400, 300, (0, 300)),
    ],
)
def test_corrected_total_of_writes_wins_over_an_old_split(
    minutes: int, hour: int, corrected: int, expected: tuple[int, int]
) -> None:
    """The last event of a stream corrects the total and says nothing of the split."""
    corrections = {"cache_creation_input_tokens": corrected}
    tokens = tokens_of(cached(minutes, hour).model_copy(update=corrections))
    assert (tokens.cache_write_5m, tokens.cache_write_1h) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cache_creation", 3),
        ("server_tool_use", "3 searches"),
        ("iterations", 3),
        ("service_tier", 1),
        ("inference_geo", ["us"]),
    ],
)
def test_part_of_no_known_shape_is_named_and_not_dropped(field: str, value: object) -> None:
    """Whatever cannot be read is an error: silence would be a wrong amount."""
    with pytest.raises(InvalidUsage, match=f"usage.{field} is"):
        cost_usd(SONNET, {"input_tokens": 1, "output_tokens": 1, field: value})


@pytest.mark.parametrize("at", ["2026-11-01", 20261101, 1.5])
def test_what_is_no_day_is_refused(at: Any) -> None:
    """With what to pass."""
    with pytest.raises(InvalidDay, match="pass a date"):
        rates(SONNET, at=at)


def test_price_steps_are_those_of_the_table() -> None:
    """Prices of Sonnet 4.5 rise at 200,000 tokens; those of Sonnet 4.6 did until 13 March."""
    assert price_steps(HAIKU) == (100_000,)
    assert price_steps("claude-sonnet-4-5") == (200_000,)
    assert price_steps("claude-sonnet-4-6", at=date(2026, 3, 12)) == (200_000,)
    assert price_steps("claude-sonnet-4-6") == price_steps("claude-quartz-9") == ()


def test_plans_of_the_same_use_are_compared_by_their_prices() -> None:
    """Fees stay, fast mode goes with a batch, warming goes with the cache."""
    tools = ServerToolUsage(web_search_requests=5, web_fetch_requests=0)
    used = billable(cached(1_000, 0, 4_000, speed="fast", server_tool_use=tools))
    fast, batch = price(OPUS, used), price(OPUS, used.in_batch())
    assert fast is not None
    assert batch is not None
    assert (fast.fees, batch.fees) == (D("0.05"), D("0.05"))
    assert batch.tokens == fast.tokens / 4
    assert used.uncached().tokens == Tokens(input=6_000, output=200)
    warming = billable(cached(1_000, 0, output_tokens=0))
    assert warming.uncached().samplings == ()


def test_without_the_price_table_nothing_has_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are still counted; the patterns that only report a cost go on without one."""
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    never_asked_before = date(2027, 1, 3)
    assert cost_usd(SONNET, usage(), at=never_asked_before) is None
    assert tokens_of(usage()).input == 1_000


@given(usage=hostile.usages(), model=st.sampled_from([SONNET, OPUS, HAIKU]))
@settings(max_examples=300)
def test_every_shape_of_a_usage_has_the_same_price(usage: dict[str, Any], model: str) -> None:
    """A dict, an object of either API, dicts inside objects: one price, and tokens by hand."""
    prices = {name: cost_usd(model, shape) for name, shape in hostile.shapes_of(usage).items()}
    assert len(set(prices.values())) == 1, prices
    priced = {"standard", "batch", None}
    if usage.get("service_tier") not in priced or usage.get("inference_geo") == "moon":
        assert prices["dict"] is None


@given(model=hostile.values(), at=hostile.values(), usage=hostile.values())
@settings(max_examples=300)
def test_any_value_is_priced_or_refused_by_name(model: Any, at: Any, usage: Any) -> None:
    """Nothing but a typed error comes out."""
    for call in (
        lambda: cost_usd(model, {"input_tokens": 1, "output_tokens": 1}),
        lambda: cost_usd(SONNET, {"input_tokens": 1, "output_tokens": 1}, at=at),
        lambda: cost_usd(SONNET, usage),
        lambda: cost_usd(SONNET, {"input_tokens": usage, "output_tokens": 1}),
        lambda: cost_usd(SONNET, {"input_tokens": 1, "output_tokens": 1, "cache_creation": usage}),
        lambda: cost_usd(SONNET, {"input_tokens": 1, "output_tokens": 1, "iterations": usage}),
        lambda: cost_usd(SONNET, {"input_tokens": 1, "output_tokens": 1, "speed": usage}),
    ):
        settled = hostile.settle(call)
        assert settled.value is None or settled.value >= 0


@pytest.mark.parametrize("said", [{"service_tier": "standard"}, {"speed": "standard"}, {}])
def test_standard_said_aloud_is_the_list_price(said: dict[str, str]) -> None:
    """Of the tier and of the speed."""
    counts = {"input_tokens": 1_000_000, "output_tokens": 0}
    assert cost_usd(SONNET, {**counts, **said}) == Decimal(2)


@pytest.mark.parametrize("end", [datetime.min, datetime.max])  # noqa: DTZ901 (it gets one)
@pytest.mark.parametrize("hours", [-2, 2])
def test_ends_of_the_calendar_are_days(end: datetime, hours: int) -> None:
    """In another zone they would lie outside of it."""
    at = end.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert rates("claude-9", at=at) is None
