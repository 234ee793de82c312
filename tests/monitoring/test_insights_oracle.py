"""Insights against a calculation written the slow way: call by call, from prices written out here.

The oracle prices every sampling of a random week under two plans and adds up the differences.
Nothing of `patterns.core.pricing` is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monitoring_support import NOW, a_record

from patterns.core.models import FABLE, HAIKU, OPUS, SONNET
from patterns.core.pricing import Tokens, billable, price
from patterns.core.usage import Billable
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.insights import Insight, insights
from patterns.monitoring.record import CallRecord

D = Decimal
ZERO = D(0)
OLD = "claude-sonnet-4-5"

# US dollars per million tokens: input, output, 5-minute write, 1-hour write, cache read.
PLAIN = {
    SONNET: ("2", "10", "2.50", "4", "0.10"),
    OPUS: ("4", "20", "5", "8", "0.20"),
    HAIKU: ("0.10", "0.50", "0.125", "0.20", "0.01"),
    FABLE: ("8", "40", "10", "16", "0.20"),
    OLD: ("3", "15", "3.75", "6", "0.30"),
}
LONG = {
    HAIKU: (100_000, ("0.50", "2.50", "0.625", "1.00", "0.05")),
    OLD: (200_000, ("6", "22.5", "7.50", "12", "0.60")),
}
FAST = {OPUS, FABLE}  # twice the price
BATCHES_BEGIN = datetime(
    2026, 10, 14, tzinfo=UTC
)  # but for Fable, the first day with a batch price
START = datetime(2026, 10, 11, tzinfo=UTC)


def usd(call: CallRecord, part: Tokens, *, as_long_as: int | None = None, **plan: Any) -> D | None:
    """What one sampling costs under a plan, a token kind at a time."""
    batch, fast = plan.get("batch", call.batch), plan.get("fast", call.fast)
    no_batch = call.model != FABLE and call.at < BATCHES_BEGIN
    if (batch and no_batch) or (fast and call.model not in FAST):
        return None
    prices = PLAIN[call.model]
    prompt = part.input + part.cache_write_5m + part.cache_write_1h + part.cache_read
    step, long = LONG.get(call.model, (10**12, prices))
    if (prompt if as_long_as is None else as_long_as) > step:
        prices = long
    kinds = (part.input, part.output, part.cache_write_5m, part.cache_write_1h, part.cache_read)
    total = D(0)
    for count, dollars in zip(kinds, prices, strict=True):
        total += count * D(dollars) / 1_000_000
    return total * (D("1.1") if call.geo == "us" else 1) * (2 if fast else 1) / (2 if batch else 1)


def samplings(call: CallRecord) -> tuple[Tokens, ...]:
    """One or more."""
    return call.samplings or (call.tokens,)


counts = st.integers(0, 2_000) | st.sampled_from([0, 512, 60_000, 100_001, 124_000, 201_000])
tokens = st.builds(Tokens, counts, st.integers(1, 3_000), counts, counts, counts)
plain = st.builds(Tokens, counts, st.integers(1, 3_000))


@st.composite
def calls(draw: st.DrawFn) -> CallRecord:
    """A call of any kind in the random week, with the cost that a monitor would have logged."""
    parts = tuple(draw(st.lists(tokens | plain, min_size=1, max_size=3)))
    batch, fast = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    model = draw(st.sampled_from(sorted(PLAIN)))
    at = START + timedelta(seconds=draw(st.integers(0, 7 * 86_400 - 1)))
    geo, searches = draw(st.sampled_from([(None, 0), ("us", 5)]))
    used = Billable(parts, searches, batch=batch, fast=fast, geo=geo)
    cost = price(model, used, at=at)
    return a_record(
        at=at,
        model=model,
        feature=draw(st.sampled_from(["chat", "search"])),
        outcome=draw(st.sampled_from(["ok", "truncated"])),
        tokens=used.tokens,
        cost_usd=None if cost is None else cost.total,
        fees_usd=D(0) if cost is None else cost.fees,
        samplings=parts if len(parts) > 1 else (),
        batch=batch,
        fast=fast,
        geo=geo,
        offline=draw(st.booleans()),
        cost_is_lower_bound=draw(st.booleans()),
    )


Change = Callable[[CallRecord, Tokens], D | None]


def batched(call: CallRecord, part: Tokens) -> D | None:
    """Saved by a batch, which has no fast mode."""
    now, then = usd(call, part), usd(call, part, batch=True, fast=False)
    wanted = call.offline and not call.batch and now is not None and then is not None
    return now - then if wanted and now is not None and then is not None else None


def without_cache(call: CallRecord, part: Tokens) -> D | None:
    """Lost to the cache."""
    now, prompt = usd(call, part), part.prompt
    then = usd(call, Tokens(input=prompt, output=part.output))
    marked = prompt > part.input
    return now - then if marked and now is not None and then is not None else None


def just_over(call: CallRecord, part: Tokens) -> D | None:
    """Saved by the price under the step."""
    step = LONG.get(call.model, (10**12,))[0]
    now, then = usd(call, part), usd(call, part, as_long_as=step)
    near = step < part.prompt <= step * 5 // 4
    return now - then if near and now is not None and then is not None else None


@dataclass
class Total:
    """What a change is worth for one feature and model, in how many calls or prompts."""

    dollars: D = ZERO
    calls: set[int] = field(default_factory=set)
    prompts: int = 0
    unseen: bool = False

    @property
    def bound(self) -> str:
        """Of an amount that assumes nothing."""
        return "at least" if self.unseen else "exact"


def by_hand(week: Iterable[CallRecord], change: Change) -> dict[tuple[str, str], Total]:
    """The sum of a change by feature and model."""
    sums: dict[tuple[str, str], Total] = {}
    for number, call in enumerate(week):
        for part in samplings(call):
            if (dollars := change(call, part)) is not None:
                total = sums.setdefault((call.feature, call.model), Total())
                total.dollars += dollars
                total.calls.add(number)
                total.prompts += 1
                total.unseen |= call.cost_is_lower_bound
    return {key: total for key, total in sums.items() if total.dollars > D(10) ** -18}


Said = dict[str, dict[tuple[str, str], Insight]]


def said(week: Iterable[CallRecord]) -> Said:
    """What is said of the whole week, by insight, feature and model."""
    log = EventLog()
    log.extend(week)
    found: Said = {}
    until = START + timedelta(days=7)
    for one in insights(log, since=START, until=until, minimum_usd_per_day=D(0)):
        if one.usd_per_day > D(10) ** -18:
            found.setdefault(one.name, {})[one.feature, one.model] = one
    log.close()
    return found


def same(week_of_it: D, per_day: D) -> bool:
    """Equal to 18 digits: dividing by seven days and back rounds the last of 28."""
    return abs(week_of_it - 7 * per_day) <= D(10) ** -17


def count_in(one: Insight) -> int:
    """How many calls or prompts its sentence speaks of, which begins with them."""
    return int(one.finding.partition(" ")[0].replace(",", ""))


def cut_off(call: CallRecord, part: Tokens) -> D | None:
    """The price of an answer that its limit cut; once for a call, however many samplings."""
    if call.outcome != "truncated" or call.cost_usd is None:
        return None
    return call.cost_usd / len(samplings(call))


@given(st.lists(calls(), max_size=12))
@settings(max_examples=1_000, deadline=None)
def test_amounts_bounds_and_counts_of_a_thousand_random_weeks_equal_the_slow_calculation(
    week: list[CallRecord],
) -> None:
    """Batch, cache and price steps: all models, searches, fast mode, geography, loops, days."""
    found = said(week)
    for name, change in CHANGES.items():
        expected, got = by_hand(week, change), found.get(name, {})
        assert got.keys() == expected.keys()
        for key, total in expected.items():
            assert same(total.dollars, got[key].usd_per_day)
            assert got[key].bound == BOUNDS.get(name, total.bound)
            if name != "losing_cache":  # its sentence speaks of rates
                prompts = name == "long_prompts"
                assert count_in(got[key]) == (total.prompts if prompts else len(total.calls))


CHANGES: dict[str, Change] = {
    "batch": batched,
    "losing_cache": without_cache,
    "long_prompts": just_over,
    "truncated": cut_off,
}
BOUNDS = {"long_prompts": "at least", "truncated": "at most"}


def shared_by_hand(week: list[CallRecord], length: int) -> tuple[D, list[bool]]:
    """What a prefix of this length saves, call by call, and which of the calls came warm."""
    alone = sorted((c for c in week if c.tokens.input >= 512), key=lambda call: call.at)
    total, warms, before = D(0), [], None
    for call in alone:
        warm = before is not None and (call.at - before).total_seconds() <= 300
        before = call.at
        if call.tokens.input >= length:
            warms.append(warm)
            cached = Tokens(
                input=call.tokens.input - length,
                cache_read=length if warm else 0,
                cache_write_5m=0 if warm else length,
            )
            now, then = usd(call, replace(call.tokens, output=0)), usd(call, cached)
            assert now is not None
            assert then is not None
            total += now - then
    return total, warms


lengths = st.sampled_from([12, 511, 512, 700, 5_000, 100_001])


@given(st.lists(st.tuples(st.integers(0, 3_000), lengths)), st.sampled_from([SONNET, HAIKU]))
@settings(max_examples=300, deadline=None)
def test_shared_prefix_is_the_one_that_would_save_most(
    traffic: list[tuple[int, int]], model: str
) -> None:
    """A ping, or ten, change nothing; what is claimed is the best of all lengths."""
    week = [
        a_record(at=START + timedelta(seconds=second), model=model, tokens=Tokens(length, 5))
        for second, length in dict(traffic).items()
    ]
    tried = {length: shared_by_hand(week, length) for length in sorted(set(dict(traffic).values()))}
    best = max((total for total, _ in tried.values()), default=D(0))
    found = said(week).get("cache", {})
    assert bool(found) == (best > 0)
    for one in found.values():
        assert same(best, one.usd_per_day)
        assert one.bound == "at most"
        length = int(one.finding.split("at least ")[1].split()[0].replace(",", ""))
        total, warms = tried[length]
        assert total == best
        assert count_in(one) == len(warms)
        assert f"{sum(warms) / len(warms):.0%} come" in one.finding


def found_in(name: str, *records: CallRecord) -> Insight:
    """The one insight of that name."""
    log = EventLog()
    log.extend(records)
    (one,) = [i for i in insights(log) if i.name == name]
    return one


def priced(model: str, usage: dict[str, Any], **changes: Any) -> CallRecord:
    """A record as a monitor makes it of a usage."""
    used = billable(usage)
    cost = price(model, used, at=NOW)
    assert cost is not None
    return a_record(
        model=model,
        tokens=used.tokens,
        cost_usd=cost.total,
        fees_usd=cost.fees,
        fast=used.fast,
        geo=used.geo,
        **changes,
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"server_tool_use": {"web_search_requests": 5}}, "0.35"),
        ({}, "0.35"),
        ({"inference_geo": "us"}, "0.385"),
    ],
)
def test_batch_saves_half_of_the_tokens_and_none_of_the_searches(
    changes: dict[str, Any], expected: str
) -> None:
    """A hundred offline calls; in the US a tenth more of everything but searches."""
    usage = {"input_tokens": 1_000, "output_tokens": 500, **changes}
    insight = found_in("batch", *[priced(SONNET, usage, offline=True)] * 100)
    assert (insight.usd_per_day, insight.bound) == (D(expected), "exact")


def test_batch_gives_up_fast_mode() -> None:
    """Twice the price becomes half of it."""
    usage = {"input_tokens": 1_000, "output_tokens": 500, "speed": "fast"}
    insight = found_in("batch", *[priced(OPUS, usage, offline=True)] * 100)
    assert insight.usd_per_day == D("2.1")


def test_price_step_is_the_model_s_own() -> None:
    """Sonnet 4.5 pays more above 200,000 tokens, not above 100,000."""
    usage = {"input_tokens": 210_000, "output_tokens": 500}
    insight = found_in("long_prompts", *[priced(OLD, usage)] * 10)
    assert insight.usd_per_day == 10 * (210_000 * D(3) + 500 * D("7.5")) / 1_000_000
    assert insight.threshold == "200,000 < prompt <= 250,000 tokens"


def test_ping_does_not_hide_what_a_cache_would_save() -> None:
    """Nor does one call that was cached already."""
    calls = [
        a_record(at=NOW + timedelta(minutes=n), tokens=Tokens(input=40_000, output=1))
        for n in range(60)
    ]
    alone = found_in("cache", *calls).usd_per_day
    ping = a_record(at=NOW, tokens=Tokens(input=12, output=1))
    cached = a_record(at=NOW, tokens=Tokens(input=12, output=1, cache_read=40_000))
    assert found_in("cache", *calls, ping, cached).usd_per_day == alone > 4


def test_warming_call_is_not_made_without_a_cache() -> None:
    """Its whole price is lost when nobody reads what it wrote."""
    tokens = Tokens(input=5, cache_write_5m=40_000)
    warming = a_record(tokens=tokens, stop_reason="max_tokens", cost_usd=D("0.10001"))
    assert found_in("losing_cache", warming).usd_per_day == D("0.10001")


def test_saving_on_calls_whose_end_was_not_seen_is_at_least_that() -> None:
    """Their cost is a lower bound, and so is half of it."""
    usage = {"input_tokens": 100_000, "output_tokens": 0}
    call = priced(SONNET, usage, offline=True, cost_is_lower_bound=True, outcome="abandoned")
    assert found_in("batch", call).bound == "at least"
