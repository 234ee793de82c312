"""patterns.core.fan_out: bounded, lazy, failures as data, clean cancellation, the allowed rate."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.adaptive_limit import AdaptiveLimit
from patterns.core.fan_out import FixedLimit, Outcome, fan_out
from patterns.core.models import SONNET
from patterns.course.views.batching import QUICK, SLOW, measure
from patterns.fake_api import FakeAPI, Fault, Latency, RateLimits, VirtualClock


async def double(x: int) -> int:
    await asyncio.sleep(0)
    if x % 7 == 3:
        raise ValueError(x)
    return 2 * x


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 60), limit=st.integers(1, 12), ordered=st.booleans(), b=st.integers(1, 20))
def test_every_item_ends_in_exactly_one_outcome(n: int, limit: int, ordered: bool, b: int) -> None:
    """Values and failures, in order when asked for, and never more at once than allowed."""
    running = peak = 0

    async def watched(x: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        try:
            return await double(x)
        finally:
            running -= 1

    async def collect() -> list[Outcome[int, int]]:
        return [o async for o in fan_out(range(n), watched, limit=limit, ordered=ordered, buffer=b)]

    outcomes = asyncio.run(collect())
    if ordered:
        assert [o.index for o in outcomes] == list(range(n))
    assert sorted(o.item for o in outcomes) == list(range(n))
    assert all(o.ok == (o.item % 7 != 3) for o in outcomes)
    assert peak <= limit


def test_unwrap_gives_the_value_or_raises_what_the_call_raised() -> None:
    """An outcome can be turned back into a call."""
    assert Outcome(0, "a", value=1).unwrap() == 1
    with pytest.raises(KeyError):
        Outcome(0, "a", error=KeyError("k")).unwrap()


def test_items_are_taken_only_when_there_is_room() -> None:
    """An endless iterator is fine, and closing early stops taking."""
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    async def first(count: int) -> list[int]:
        outcomes = fan_out(endless(), double, limit=2, buffer=4)
        seen = []
        async for outcome in outcomes:
            seen.append(outcome.item)
            if len(seen) == count:
                break
        await outcomes.aclose()
        return seen

    assert len(asyncio.run(first(10))) == 10
    assert taken <= 16


def test_an_async_iterable_feeds_it_too() -> None:
    """Items may come from a stream."""

    async def numbers() -> AsyncIterator[int]:
        for x in (1, 2):
            yield x

    async def collect() -> list[int]:
        return sorted([o.unwrap() async for o in fan_out(numbers(), double, limit=1)])

    assert asyncio.run(collect()) == [2, 4]


def test_a_failing_iterable_is_raised_after_the_outcomes_it_led_to() -> None:
    """What was started is not lost."""

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    async def collect() -> list[int]:
        seen = []
        with pytest.raises(OSError, match="disk"):
            async for outcome in fan_out(broken(), double, limit=2):
                seen.append(outcome.unwrap())
        return seen

    assert asyncio.run(collect()) == [2]


def test_closing_early_cancels_the_calls_that_still_run() -> None:
    """No task is left behind."""
    cancelled: list[int] = []

    async def hang(x: int) -> int:
        if x == 0:
            return x
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(x)
            raise
        return x

    async def main() -> int:
        outcomes = fan_out(range(4), hang, limit=4)
        await anext(outcomes)
        await outcomes.aclose()
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert sorted(cancelled) == [1, 2, 3]


def test_a_call_that_cancels_itself_is_a_failure_and_not_a_hang() -> None:
    """The other items still come through."""

    async def moody(x: int) -> int:
        if x == 1:
            raise asyncio.CancelledError
        return x

    async def collect() -> list[bool]:
        return [o.ok async for o in fan_out(range(3), moody, limit=1, ordered=True)]

    assert asyncio.run(collect()) == [True, False, True]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    """Nothing would ever run."""

    async def collect() -> None:
        async for _ in fan_out([1], double, limit=limit):
            pass

    with pytest.raises(ValueError, match="must be 1 or more"):
        asyncio.run(collect())


def test_a_buffer_below_one_is_refused() -> None:
    """The same for the buffer, with a limit object of one's own."""

    async def collect() -> None:
        async for _ in fan_out([1], double, limit=FixedLimit(1), buffer=0):
            pass

    with pytest.raises(ValueError, match="buffer is 0"):
        asyncio.run(collect())


def test_a_limit_of_ones_own_takes_the_place_of_a_number() -> None:
    """It hears of each failure, which is what an adaptive limit lives on."""
    heard: list[Exception | None] = []

    class Listening(FixedLimit):
        def release(self, error: Exception | None) -> None:
            heard.append(error)
            super().release(error)

    async def collect() -> int:
        return len([o async for o in fan_out([1, 3], double, limit=Listening(2))])

    assert asyncio.run(collect()) == 2
    assert sorted(type(each).__name__ for each in heard) == ["NoneType", "ValueError"]


async def grown_by(count: int) -> int:
    """Bytes of the peak above the start while `fan_out` goes over so many items."""
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    async for _ in fan_out(range(count), double, limit=50):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - start


def test_memory_does_not_grow_with_the_number_of_items() -> None:
    """Neither tasks nor outcomes pile up."""
    assert asyncio.run(grown_by(5_000)) < 2_000_000


@pytest.mark.soak
def test_a_million_items_need_no_more_memory() -> None:
    """At most 50 MB above the start."""
    assert asyncio.run(grown_by(1_000_000)) < 50_000_000


SMALL = {
    "requests": RateLimits(rpm=120, itpm=10**7, otpm=10**7),
    "input": RateLimits(rpm=10**5, itpm=20_000, otpm=10**7),
    "output": RateLimits(rpm=10**5, itpm=10**7, otpm=30_000),
}
LARGE = {
    "requests": RateLimits(rpm=240, itpm=10**7, otpm=10**7),
    "input": RateLimits(rpm=10**5, itpm=40_000, otpm=10**7),
    "output": RateLimits(rpm=10**5, itpm=10**7, otpm=60_000),
}


@pytest.mark.parametrize("limits", SMALL.values(), ids=SMALL)
def test_adaptive_limit_runs_at_the_allowed_rate(limits: RateLimits) -> None:
    """Whichever bucket is the tightest, with next to no 429."""
    load = measure("adaptive", limits, seconds=160, warm_up=80)
    assert load.rate >= 0.95
    assert load.refused <= 0.005
    assert load.lost == 0


TINY = {
    "5 requests": RateLimits(rpm=5, itpm=10**7, otpm=10**7),
    "600 input tokens": RateLimits(rpm=10**5, itpm=600, otpm=10**7),
    "1,000 output tokens": RateLimits(rpm=10**5, itpm=10**7, otpm=1_000),
}


@pytest.mark.parametrize("limits", TINY.values(), ids=TINY)
def test_adaptive_limit_runs_at_a_rate_of_a_few_calls_a_minute(limits: RateLimits) -> None:
    """Also where one request is most of what a minute allows."""
    load = measure("adaptive", limits, seconds=2_400, warm_up=600)
    assert load.rate >= 0.95
    assert load.refused <= 0.005


def test_adaptive_limit_leaves_room_for_answers_of_uneven_length() -> None:
    """Where a minute allows a few, and one that is under way may be three times the average."""
    limits = RateLimits(rpm=10**5, itpm=10**7, otpm=2_500)
    load = measure("adaptive", limits, SLOW, seconds=1_200, warm_up=300)
    assert load.rate >= 0.95
    assert load.refused <= 0.005


@pytest.mark.soak
@pytest.mark.parametrize("latency", [QUICK, SLOW], ids=["quick", "slow"])
@pytest.mark.parametrize("limits", LARGE.values(), ids=LARGE)
def test_adaptive_limit_runs_at_the_allowed_rate_for_long(
    limits: RateLimits, latency: Latency
) -> None:
    """Three limits, two shapes of latency."""
    load = measure("adaptive", limits, latency, seconds=300, warm_up=120)
    assert load.rate >= 0.95
    assert load.refused <= 0.005


async def ask(client: AsyncAnthropic, **options: Any) -> Any:
    """One small call."""
    options = {"max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}], **options}
    return await client.messages.create(model=SONNET, **options)


Work = Callable[[AsyncAnthropic, AdaptiveLimit], Coroutine[Any, Any, Any]]


def in_virtual_time(work: Work, **options: Any) -> tuple[Any, FakeAPI, VirtualClock]:
    """Run `work(client, limit)` on the fake API; its result, the API and the clock."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, **options)

    async def main() -> Any:
        limit = AdaptiveLimit(start=2)
        return await work(api.async_client(middleware=[limit.middleware]), limit)

    return clock.run(main()), api, clock


def test_adaptive_limit_starts_slowly_and_grows_where_no_limit_is_known() -> None:
    """A server without rate limit headers gets two calls, then four, ..."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> None:
        async for outcome in fan_out(range(14), lambda _: ask(client), limit=limit):
            outcome.unwrap()

    latency = Latency(1.0, 10**9, input_tokens_per_second=10**9, jitter=0)
    _, api, clock = in_virtual_time(work, latency=latency)
    waves = [round(entry.at - clock.start, 3) for entry in api.journal]
    assert [waves.count(float(second)) for second in range(3)] == [2, 4, 8]


def test_adaptive_limit_is_still_until_a_429_has_passed() -> None:
    """Nothing goes out before `retry-after`, with limits known or not."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        async for outcome in fan_out(range(6), lambda _: ask(client), limit=limit):
            outcome.unwrap()
        return limit.refused

    for limits in (None, RateLimits()):
        busy = Fault.status(429, requests={2}, retry_after=30)
        refused, api, clock = in_virtual_time(work, limits=limits, faults=[busy], latency=Latency())
        later = [entry.at - clock.start for entry in api.journal[2:]]
        assert refused == 1
        assert min(later) >= 30


@pytest.mark.parametrize("status", [429, 529])
def test_calls_that_all_fail_at_first_are_sent_again(status: int) -> None:
    """Retries do not queue behind calls that wait for one of them to end."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        async with asyncio.timeout(3_600):
            outcomes = fan_out(range(6), lambda _: ask(client), limit=limit)
            return sum([outcome.ok async for outcome in outcomes])

    assert in_virtual_time(work, faults=[Fault.status(status, requests={1, 2})])[0] == 6


def test_a_429_without_a_wait_blocks_for_a_second() -> None:
    """And a fraction of a second is taken as it is."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> None:
        for _ in range(3):
            await limit.acquire()
            await ask(client)
            limit.release(None)

    def headerless(answer: Any) -> None:
        answer.headers.pop("retry-after", None)

    faults = [Fault.status(429, requests=1), Fault(headerless)]
    _, api, clock = in_virtual_time(work, faults=faults)
    assert api.journal[1].at - clock.start >= 1
    short = [Fault.status(429, requests=1, retry_after=0.3)]
    _, api, clock = in_virtual_time(work, faults=short)
    assert 0.299 < api.journal[1].at - clock.start < 1


def test_a_slot_that_sent_nothing_is_free_again() -> None:
    """A call that fails before its request costs no allowance."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> float:
        async for outcome in fan_out([1], lambda _: ask(client), limit=limit):
            outcome.unwrap()
        before = limit._buckets["requests"].level
        async for failed in fan_out(range(50), int_of, limit=limit):
            assert not failed.ok
        return before - limit._buckets["requests"].level

    async def int_of(_: int) -> int:
        raise ValueError

    assert in_virtual_time(work, limits=RateLimits(rpm=100))[0] == pytest.approx(0, abs=0.01)


def test_calls_outside_of_a_fan_out_and_second_calls_wait_for_an_allowance_too() -> None:
    """The middleware alone keeps to the limit, also for retries and for calls that call twice."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        for _ in range(12):
            await ask(client)
        return limit.refused

    refused, api, clock = in_virtual_time(work, limits=RateLimits(rpm=10))
    assert refused == 0
    assert api.journal[-1].at - clock.start >= 12


def test_streams_and_other_endpoints_pass_through() -> None:
    """A stream's usage is not known when its head arrives; counting has a limit of its own."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> tuple[int, int]:
        messages: Any = [{"role": "user", "content": "Hi"}]
        await client.messages.count_tokens(model=SONNET, messages=messages)
        async for _ in await ask(client, stream=True):
            pass
        return limit._means["input-tokens"].count, len(limit._buckets)

    assert in_virtual_time(work, limits=RateLimits())[0] == (0, 3)


def test_an_error_that_is_no_429_settles_nothing() -> None:
    """The headers, where there are any, stay the truth."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        async for outcome in fan_out([1], lambda _: ask(client), limit=limit):
            outcome.unwrap()
        return limit.refused

    api_error = Fault.status(500, requests=1)
    assert in_virtual_time(work, faults=[api_error])[0] == 0


@pytest.mark.parametrize("options", [{"margin": 1.0}, {"margin": -0.1}, {"start": 0}, {"most": 1}])
def test_numbers_that_make_no_sense_are_refused(options: Any) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="margin must be 0 to below 1, and start 1 to most"):
        AdaptiveLimit(**options)
