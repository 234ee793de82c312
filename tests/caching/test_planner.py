"""Where the planner puts breakpoints, against every other placement."""

import random
from collections.abc import Iterator
from itertools import accumulate, combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.caching import Segment, break_even, plan_breakpoints, savings
from patterns.caching.economics import NoCachePrices
from patterns.caching.limits import min_cacheable
from patterns.caching.traffic import Arrivals, Gaps, InvalidTraffic, Poisson
from patterns.core.models import FABLE, HAIKU, OPUS, SONNET, UnknownModel
from patterns.core.pricing import rates
from patterns.fake_api import FakeAPI, VirtualClock

MODELS = (SONNET, OPUS, HAIKU, FABLE, "claude-opus-4-6")
Placement = tuple[tuple[int, str], ...]
"""(segment, lifetime) of each breakpoint."""


class Bill:
    """The mean bill of one workload by the cache's own rules, scenario by scenario."""

    def __init__(self, segments: list[Segment], prices: dict[str, float], calls: Arrivals) -> None:
        self.prices, self.ends = prices, list(accumulate(s.tokens for s in segments))
        self.old_ends = [end - s.grows for end, s in zip(self.ends, segments, strict=True)]
        grows = (i for i, s in enumerate(segments) if s.grows)
        self.stop = next(grows, len(segments))
        self.scenarios = list(scenarios(segments, calls))

    def mean(self, marks: Placement) -> float:
        """Over what may have changed and how long the pause was."""
        return sum(share * self.one(marks, first, ttls) for share, first, ttls in self.scenarios)

    def one(self, marks: Placement, changed: int, alive: str) -> float:
        """One call: the first segment that differs, and the lifetimes that outlive the pause."""
        found = [i for i, ttl in marks if i < changed and i <= self.stop and ttl in alive]
        start = self.old_ends[found[-1]] if found else 0
        total = start * self.prices["read"]
        for i, ttl in marks:
            if self.ends[i] > start:
                total += (self.ends[i] - start) * self.prices[ttl]
                start = self.ends[i]
        return total + (self.ends[-1] - start) * self.prices["input"]


def scenarios(segments: list[Segment], calls: Arrivals) -> Iterator[tuple[float, int, str]]:
    """(probability, first changed segment, lifetimes still alive), the impossible left out."""
    near, far = calls.within(300), calls.within(3_600)
    unchanged = 1.0
    for first in range(len(segments) + 1):
        changes = segments[first].changes if first < len(segments) else 1.0
        for alive, share in (("5m 1h", near), ("1h", far - near), ("", 1 - far)):
            if weight := unchanged * changes * share:
                yield weight, first, alive
        unchanged *= 1 - changes


def placements(segments: list[Segment], minimum: int) -> Iterator[Placement]:
    """Every placement of up to four breakpoints that the API takes and the cache notices."""
    long = [i for i in range(len(segments)) if sum(s.tokens for s in segments[: i + 1]) >= minimum]
    for count in range(5):
        for places in combinations(long, count):
            for ttls in product(("5m", "1h"), repeat=count):
                if list(ttls) == sorted(ttls):  # "1h" sorts before "5m"
                    yield tuple(zip(places, ttls, strict=True))


def price_of(model: str, prompt: int) -> dict[str, float]:
    """Dollars per token by kind."""
    found = rates(model, prompt_tokens=prompt)
    assert found is not None
    kinds = {"input": found.input, "read": found.cache_read}
    kinds |= {"5m": found.cache_write_5m, "1h": found.cache_write_1h}
    return {kind: float(usd) / 1e6 for kind, usd in kinds.items()}


def workload(seed: int) -> tuple[list[Segment], str, Arrivals]:
    """A random prompt layout and traffic: up to eight segments, some of them volatile."""
    rng = random.Random(seed)
    segments = []
    for i in range(rng.randint(2, 8)):
        size = int(10 ** rng.uniform(2, 4.7))
        changes = rng.choice([0, 0, rng.random() / 9, rng.random() ** 3, 1] if i else [0])
        grows = rng.randint(1, size) if rng.random() < 0.12 else 0
        segments.append(Segment(f"s{i}", size, changes, grows))
    spread = [10 ** rng.uniform(0, 4) for _ in range(rng.randint(1, 30))]
    calls: Arrivals = Gaps(tuple(spread)) if rng.random() < 0.5 else Poisson(spread[0])
    return segments, rng.choice(MODELS), calls


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_plan_is_as_cheap_as_the_best_of_all_placements(first: int) -> None:
    """200 random workloads, each against every placement, billed call by call."""
    for seed in range(first, first + 20):
        segments, model, calls = workload(seed)
        bill = Bill(segments, price_of(model, sum(s.tokens for s in segments)), calls)
        plan = plan_breakpoints(segments, model, calls)
        best = min(map(bill.mean, placements(segments, min_cacheable(model))))
        true_cost = bill.mean(tuple((point.index, point.ttl) for point in plan.breakpoints))
        assert plan.usd == pytest.approx(true_cost, rel=1e-9), f"workload {seed}"
        assert true_cost <= best * 1.02, f"workload {seed}"
        assert true_cost == pytest.approx(best, rel=1e-9), f"workload {seed}"


@given(st.integers(10_000, 10**9))
@settings(max_examples=60, deadline=None)
def test_plan_never_costs_more_than_automatic_or_nothing(seed: int) -> None:
    """Doing what it says is never worse than the two obvious choices."""
    segments, model, calls = workload(seed)
    plan = plan_breakpoints(segments, model, calls)
    assert plan.usd <= min(plan.usd_uncached, plan.usd_automatic) * (1 + 1e-12)


@given(st.integers(10_000, 10**9))
@settings(max_examples=40, deadline=None)
def test_plan_is_one_that_the_api_takes(seed: int) -> None:
    """At most four breakpoints, in order, lifetimes falling, none under the minimum."""
    segments, model, calls = workload(seed)
    points = plan_breakpoints(segments, model, calls).breakpoints
    assert len(points) <= 4
    assert [p.index for p in points] == sorted({p.index for p in points})
    assert [p.ttl for p in points] == sorted(p.ttl for p in points)
    for point in points:
        tokens = sum(segment.tokens for segment in segments[: point.index + 1])
        assert tokens >= min_cacheable(model)


def test_automatic_caching_of_single_questions_is_dearer_than_none() -> None:
    """The moving breakpoint sits behind the question, which never comes back."""
    prompt = [Segment("instructions", 4_000), Segment("question", 200, changes=1)]
    plan = plan_breakpoints(prompt, SONNET, [30])
    assert plan.usd_automatic == pytest.approx(1.25 * plan.usd_uncached)
    assert [point.after for point in plan.breakpoints] == ["instructions"]
    assert plan.usd < plan.usd_uncached / 7


def test_automatic_caching_of_a_conversation_is_best() -> None:
    """One breakpoint at the end of what grows is all that a lone conversation needs."""
    prompt = [Segment("instructions", 2_000), Segment("turns", 6_000, grows=300)]
    plan = plan_breakpoints(prompt, SONNET, [60])
    assert [point.after for point in plan.breakpoints] == ["turns"]
    assert plan.usd == plan.usd_automatic


def test_shared_instructions_live_longer_than_one_conversation() -> None:
    """Calls every 10 minutes outlive 5m in front; new documents each time get no breakpoint."""
    prompt = [Segment("tools", 9_000), Segment("document", 5_000, changes=0.95)]
    plan = plan_breakpoints(prompt, SONNET, [600])
    assert [(p.after, p.ttl) for p in plan.breakpoints] == [("tools", "1h")]


def test_slow_conversation_behind_busy_instructions_gets_mixed_lifetimes() -> None:
    """Instructions change daily and serve all; a turn comes every 90 seconds or not at all."""
    turns = Segment("turns", 6_000, changes=0.3, grows=900, arrivals=Gaps((90,)))
    prompt = [Segment("tools", 20_000, changes=0.001), turns]
    plan = plan_breakpoints(prompt, SONNET, [20] * 99 + [1_800])
    assert [(p.after, p.ttl) for p in plan.breakpoints] == [("tools", "1h"), ("turns", "5m")]


def test_content_lives_no_longer_than_the_prefix_in_front_of_it() -> None:
    """A busier segment behind a quiet one is still found only as often as the quiet one."""
    quiet = Segment("quiet", 5_000, arrivals=Gaps((4_000,)))
    busy = Segment("busy", 5_000, arrivals=Gaps((1,)))
    assert plan_breakpoints([quiet, busy], SONNET, [1]).breakpoints == ()


def test_breakpoint_comes_where_the_hit_rate_passes_break_even() -> None:
    """With one segment the plan is the break-even rule."""
    needed = float(break_even(SONNET, "5m").hit_rate)
    for change, expected_points in ((1 - needed - 0.01, 1), (1 - needed + 0.01, 0)):
        plan = plan_breakpoints([Segment("all", 9_000, changes=change)], SONNET, [10])
        assert len(plan.breakpoints) == expected_points


def test_prefix_under_the_minimum_gets_no_breakpoint() -> None:
    """The cache would ignore it; neither plan nor automatic caching counts on it."""
    plan = plan_breakpoints([Segment("all", 511)], SONNET, [10])
    assert (plan.breakpoints, plan.usd, plan.usd_automatic) == ((), plan.usd_uncached, plan.usd)
    assert plan_breakpoints([Segment("all", 512)], SONNET, [10]).breakpoints


def test_fewer_breakpoints_win_among_equals() -> None:
    """Segments that never change need one breakpoint, not four."""
    plan = plan_breakpoints([Segment(f"s{i}", 1_000) for i in range(6)], SONNET, [10])
    assert [(p.after, p.ttl) for p in plan.breakpoints] == [("s5", "5m")]


def test_long_prompt_on_haiku_is_planned_at_its_own_price() -> None:
    """Over 100,000 tokens every token costs five times as much."""
    usd = [plan_breakpoints([Segment("all", n)], HAIKU, [10]).usd_uncached for n in (10**5, 10**6)]
    assert usd[1] == pytest.approx(50 * usd[0])


def test_batch_halves_every_figure() -> None:
    """The placement stays."""
    segments, model, calls = [Segment("all", 9_000)], SONNET, Gaps((10.0,))
    full = plan_breakpoints(segments, model, calls)
    half = plan_breakpoints(segments, model, calls, batch=True)
    assert half.breakpoints == full.breakpoints
    assert half.usd * 2 == pytest.approx(full.usd)


def test_mark_is_spread_into_the_last_block_of_a_segment() -> None:
    """A segment with a breakpoint gets its cache_control, any other nothing."""
    prompt = [Segment("tools", 9_000), Segment("question", 50, changes=1)]
    plan = plan_breakpoints(prompt, SONNET, [600])
    assert plan.mark("tools") == {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert plan.mark("question") == {}


def test_plan_predicts_what_the_cache_bills() -> None:
    """240 calls over the fake API with the planned breakpoints cost what the plan expects."""
    rng, clock = random.Random(7), VirtualClock()
    prompt = [Segment("rules", 900, 0.02), Segment("notes", 2_000, 0.6), Segment("ask", 20, 1)]
    plan = plan_breakpoints(prompt, SONNET, Poisson(200))
    assert [(p.after, p.ttl) for p in plan.breakpoints] == [("rules", "1h"), ("notes", "5m")]
    client, contents, usages = FakeAPI(clock=clock).client(), ["r0", "n0", "a0"], []
    for n in range(240):
        clock.advance(rng.expovariate(1 / 200))
        for i, segment in enumerate(prompt):
            if rng.random() < segment.changes:
                contents[i] = f"{segment.name[0]}{n}"
        texts = [c.ljust(4 * s.tokens, ".") for c, s in zip(contents, prompt, strict=True)]
        system: Any = [
            {"type": "text", "text": text, **plan.mark(segment.name)}
            for text, segment in zip(texts[:2], prompt, strict=False)
        ]
        asked: Any = [{"role": "user", "content": texts[2][:68]}]  # and 3 tokens for the message
        message = client.messages.create(model=SONNET, max_tokens=1, system=system, messages=asked)
        usages.append(message.usage)
    billed = float(savings(usages, SONNET).stats.usd.prompt) / 240
    assert billed == pytest.approx(plan.usd, rel=0.05)
    assert billed < plan.usd_uncached < plan.usd_automatic


def test_poisson_gaps_are_exponential() -> None:
    """63 % come within the mean."""
    assert Poisson(300).within(300) == pytest.approx(0.6321, abs=1e-4)


NONE: Any = None
TEXT: Any = "1"
SEVEN: Any = 7
HALF: Any = 10.5
LIST: Any = [1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaps(()), "at least one"),
        (lambda: Gaps((-1.0,)), "from 0 up"),
        (lambda: Gaps(NONE), "gaps are None"),
        (lambda: Gaps((float("nan"),)), "from 0 up"),
        (lambda: Poisson(TEXT), "mean gap is '1'"),
        (lambda: Segment(SEVEN, 10), "named 7"),
        (lambda: Segment("a", HALF), "whole numbers"),
        (lambda: Segment("a", 10, TEXT), "changes is '1'"),
        (lambda: Segment("a", 10, arrivals=LIST), "arrivals is"),
        (lambda: plan_breakpoints(NONE, SONNET, [1]), "segments are None"),
        (lambda: plan_breakpoints(LIST, SONNET, [1]), "at least one `Segment`"),
        (lambda: Poisson(0), "above 0"),
        (lambda: Segment("a", 10, changes=1.5), "a: changes is 1.5"),
        (lambda: Segment("a", 10, grows=11), "a: grows by 11 of 10"),
        (lambda: Segment("a", -1), "a: grows by 0 of -1"),
        (lambda: plan_breakpoints([], SONNET, [1]), "at least one"),
        (lambda: plan_breakpoints([Segment("a", 1)] * 2, SONNET, [1]), "its own name"),
    ],
)
def test_impossible_traffic_is_refused_with_its_value(make: Any, message: str) -> None:
    """What was given and what is allowed."""
    with pytest.raises(InvalidTraffic, match=message):
        make()


def test_model_without_minimum_or_price_cannot_be_planned_for() -> None:
    """Unknown ids and known ones without a published price."""
    with pytest.raises(NoCachePrices):
        plan_breakpoints([Segment("a", 1)], "claude-2", [1])
    with pytest.raises(UnknownModel):
        plan_breakpoints([Segment("a", 1)], "claude-3-haiku-20240307", [1])


def test_entry_is_gone_when_its_lifetime_is_over() -> None:
    """A gap of just that long misses; mean gaps may be under a second."""
    assert (Gaps((300.0,)).within(300), Gaps((299.9,)).within(300)) == (0, 1)
    assert Poisson(0.5).within(300) == pytest.approx(1)
    with pytest.raises(ValueError, match="above 0"):
        Poisson(0)
