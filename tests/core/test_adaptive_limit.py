"""patterns.core.adaptive_limit: the allowed rate, whatever it is, and next to no 429."""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from anthropic import AsyncAnthropic, RateLimitError
from limits_grid import MEAN, at

from patterns.core.adaptive_limit import AdaptiveLimit
from patterns.core.fan_out import fan_out
from patterns.core.messages import text_of
from patterns.core.models import SONNET
from patterns.course.views.batching import HEAVY_TAIL, QUICK, SLOW, measure
from patterns.fake_api import FakeAPI, Fault, Latency, RateLimits, Replies, Reply, VirtualClock

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


GRID = [
    (tight, rpm, seconds)
    for tight in ("requests", "output tokens")
    for rpm, seconds in (
        (5, 1.0),
        (5, 3.0),
        (5, 30.0),
        (37, 1.0),
        (37, 3.0),
        (37, 30.0),
        (300, 30.0),
    )
    if (tight, rpm, seconds) != ("output tokens", 5, 30.0)  # see `best_rate`
]


@pytest.mark.parametrize(("tight", "rpm", "seconds"), GRID)
@pytest.mark.slow
def test_adaptive_limit_runs_at_the_allowed_rate_with_answers_of_any_length(
    tight: str, rpm: int, seconds: float
) -> None:
    """Heavy-tailed lengths, few and many requests a minute, whichever bucket is the tightest."""
    load = at(rpm, seconds, tight, seed=3)
    assert load.rate >= 0.95
    assert load.refused <= 0.005
    assert load.lost == 0


def best_rate(rpm: int, seconds: float, refused: float) -> float:
    """A bound for every way of limiting, as a share of the allowed rate.

    Where the longest answer is more than the bucket holds, the bucket is overdrawn after it for
    `closed` seconds. A call sent in those, and before it is known how long the one before has
    become, meets a 429 as often as there are such answers; if fewer are to be refused, the others
    have to wait until it is known, or as long.
    """
    bucket, longest = rpm * MEAN, max(HEAVY_TAIL)
    closed = max(0.0, (longest - bucket) / (bucket / 60))
    lasts = [seconds / 5 + 0.8 * seconds * tokens / MEAN for tokens in HEAVY_TAIL]
    waiting = sum(min(closed, each) for each in lasts) / len(lasts)
    share = 1 - refused / (1 / len(HEAVY_TAIL))
    return math.inf if not closed else 60 / (share * waiting) / rpm


def test_an_answer_of_more_than_a_minutes_allowance_costs_rate_or_a_429() -> None:
    """Five requests a minute of 30 s: nobody gets 95 % with 0.5 % refused; ours is on the way."""
    assert best_rate(5, 30.0, 0.005) < 0.8
    assert min(best_rate(5, 3.0, 0.005), best_rate(37, 30.0, 0.005)) > 1
    load = at(5, 30.0, "output tokens")
    assert load.rate >= 0.7
    assert load.refused <= 0.04
    assert load.lost == 0


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("tight", ["requests", "output tokens"])
def test_adaptive_limit_runs_at_3000_requests_a_minute(seconds: float, tight: str) -> None:
    """With 30 s each that is 1,500 calls at once, within memory for those."""
    load = at(3_000, seconds, tight, until=600)
    assert load.rate >= 0.95
    assert load.refused <= 0.005
    assert load.lost == 0


class Shared:
    """Allowances that several processes have in common: what a store on Redis would hold."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.free: dict[str, float] = {}  # when what is booked so far will have been filled up

    async def __call__(self, limits: Mapping[str, int], amounts: Mapping[str, float]) -> float:
        now, wait = self.clock.elapsed, 0.0
        for name, amount in amounts.items():
            full = now - 57.0  # a bucket holds a minute's worth, less 5 % of it
            self.free[name] = max(self.free.get(name, full), full) + 60 * amount / limits[name]
            wait = max(wait, self.free[name] - now)
        return wait


@pytest.mark.parametrize("tight", ["requests", "output tokens"])
@pytest.mark.slow
def test_four_processes_that_share_allowances_spend_one_limit(tight: str) -> None:
    """Each would have taken all of it; nearly all of it is used, and next to nothing refused."""
    clock = VirtualClock()
    limits = RateLimits(rpm=120, itpm=10**8, otpm=10**8)
    if tight == "output tokens":
        limits = RateLimits(rpm=10**5, itpm=10**8, otpm=2_400)
    api = FakeAPI(clock=clock, limits=limits, latency=Latency(1.0, 100.0))
    shared = Shared(clock)

    async def process() -> int:
        limit = AdaptiveLimit(share=shared)
        client = api.async_client(middleware=[limit.middleware])
        async for outcome in fan_out(range(10**6), lambda _: ask(client), limit=limit):
            outcome.unwrap()
            if clock.elapsed > 300:
                break
        return limit.refused

    async def main() -> None:
        await api.async_client().models.list()
        await asyncio.gather(*(process() for _ in range(4)))

    clock.run(main())
    after = [e for e in api.journal if 60 <= e.at - clock.start <= 300 and e.method == "POST"]
    good = [e.usage for e in after if e.usage]
    used = len(good) / 120 if tight == "requests" else sum(u["output_tokens"] for u in good) / 2_400
    assert used / 4 >= 0.95
    assert sum(e.status == 429 for e in after) <= 0.005 * len(after)


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


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_limit_is_entered_like_a_semaphore(at_once: int) -> None:
    """Without `fan_out`: calls of one's own, each inside the limit, and one that fails."""

    async def work(client: AsyncAnthropic, _: AdaptiveLimit) -> list[str]:
        narrow = AdaptiveLimit(start=at_once, most=at_once)

        async def one(n: int) -> str:
            async with narrow:
                running.append(n)
                most.append(len(running))
                try:
                    await ask(client, max_tokens=20 if n else -1)
                finally:
                    running.remove(n)
            return "answered"

        running: list[int] = []
        most: list[int] = []
        ended = await asyncio.gather(*map(one, range(30)), return_exceptions=True)
        assert max(most) == at_once
        return [each if isinstance(each, str) else type(each).__name__ for each in ended]

    ended, api, _ = in_virtual_time(work, latency=QUICK)
    assert ended == ["BadRequestError", *["answered"] * 29]
    assert all(entry.status != 429 for entry in api.journal)


def test_adaptive_limit_starts_slowly_and_grows_where_no_limit_is_known() -> None:
    """A server without rate limit headers gets two calls, then four, ..."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> None:
        async for outcome in fan_out(range(14), lambda _: ask(client), limit=limit):
            outcome.unwrap()

    latency = Latency(1.0, 10**9, input_tokens_per_second=10**9, jitter=0)
    _, api, clock = in_virtual_time(work, latency=latency)
    waves = [round(entry.at - clock.start, 3) for entry in api.journal]
    assert [waves.count(float(second)) for second in range(3)] == [2, 4, 8]


def test_an_answer_is_charged_for_what_it_took_where_no_header_says_so() -> None:
    """One that was longer than expected leaves less for the next, which waits for the refill."""

    def silent(answer: Any) -> None:
        for name in [name for name in answer.headers if "ratelimit" in name]:
            del answer.headers[name]

    clock = VirtualClock()
    api = FakeAPI(clock=clock, limits=RateLimits(otpm=600), faults=[Fault(silent, requests={2, 3})])
    api.enqueue("Short.", "word " * 400, "Short.")

    async def main() -> None:
        limit = AdaptiveLimit()
        client = api.async_client(middleware=[limit.middleware])
        for _ in range(3):
            async with limit:
                await ask(client, max_tokens=600)

    clock.run(main())
    ended = [entry.at - clock.start for entry in api.journal]
    assert ended[2] - ended[1] > 10


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
            limit.release()

    def headerless(answer: Any) -> None:
        answer.headers.pop("retry-after", None)

    faults = [Fault.status(429, requests=1), Fault(headerless)]
    _, api, clock = in_virtual_time(work, faults=faults)
    assert 1 <= api.journal[1].at - clock.start < 1.5
    short = [Fault.status(429, requests=1, retry_after=0.3)]
    _, api, clock = in_virtual_time(work, faults=short)
    assert 0.299 < api.journal[1].at - clock.start < 1


@pytest.mark.parametrize("told", ["nan", "inf", "1e999", "-5", "0", "many", ""])
def test_headers_that_make_no_sense_teach_nothing(told: str) -> None:
    """A broken proxy's figures neither end a call nor hold it back for ever."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> tuple[int, int]:
        async for outcome in fan_out(range(3), lambda _: ask(client), limit=limit):
            outcome.unwrap()
        return limit.refused, len(limit._buckets)

    def broken(answer: Any) -> None:
        limits = [name for name in answer.headers if name.startswith("anthropic-ratelimit-")]
        answer.headers.update(dict.fromkeys(limits, told) | {"retry-after": "nan"})

    faults = [Fault.status(429, requests=1), Fault(broken)]
    found, _, clock = in_virtual_time(work, limits=RateLimits(), faults=faults)
    assert found == (1, 0)
    assert clock.elapsed < 60


USAGES: list[Any] = [
    None,
    {},
    {"input_tokens": None, "output_tokens": 5},
    {"input_tokens": "12", "output_tokens": 5},
    {"input_tokens": -12, "output_tokens": 5},
    {"input_tokens": 1e999, "output_tokens": 5},
    {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": "many"},
    "12 tokens",
    [1],
]


@pytest.mark.parametrize("usage", USAGES, ids=str)
def test_a_usage_that_makes_no_sense_costs_no_answer(usage: Any) -> None:
    """Gateways leave it out or send something else; the call was answered, and the next one is."""

    def strange(answer: Any) -> None:
        answer.body = json.dumps({**json.loads(answer.body), "usage": usage}).encode()

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> list[str]:
        outcomes = fan_out(range(4), lambda _: ask(client), limit=limit)
        return [text_of(outcome.unwrap()) async for outcome in outcomes]

    faults = [Fault(strange, requests={1, 2})]
    found, _, clock = in_virtual_time(work, limits=RateLimits(), faults=faults)
    assert len(found) == 4
    assert clock.elapsed < 60


@pytest.mark.parametrize(
    ("limit", "left"), [("50", "-50"), ("0.5", "0"), ("50", "9e99"), ("50", "")]
)
def test_a_limit_and_a_rest_that_do_not_fit_hold_nothing_back(limit: str, left: str) -> None:
    """Below zero, below a call a minute, more than there can be: twenty calls go through."""
    told = {"anthropic-ratelimit-requests-limit": limit}
    told["anthropic-ratelimit-requests-remaining"] = left

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        asked = fan_out(range(20), lambda _: ask(client), limit=limit)
        return sum([outcome.ok async for outcome in asked])

    fault = Fault(lambda answer: answer.headers.update(told))
    answered, _, clock = in_virtual_time(work, limits=RateLimits(), faults=[fault])
    assert answered == 20
    assert clock.elapsed < 30


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


@pytest.mark.parametrize("options", [{"start": 0}, {"most": 1}])
def test_numbers_that_make_no_sense_are_refused(options: Any) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="start must be 1 to most"):
        AdaptiveLimit(**options)


def test_what_is_booked_for_all_is_what_was_used_and_what_they_say_is_waited_for() -> None:
    """The books of several processes agree with the API's; refused calls used nothing."""
    booked: list[Mapping[str, float]] = []

    async def share(limits: Mapping[str, int], amounts: Mapping[str, float]) -> float:
        assert limits == {"requests": 100, "input-tokens": 10_000, "output-tokens": 5_000}
        booked.append(amounts)
        calls = [each for each in booked if "requests" in each]
        return 20.0 if len(calls) == 2 and amounts is calls[1] else 0.0

    clock = VirtualClock()
    limits = RateLimits(rpm=100, itpm=10_000, otpm=5_000)
    api = FakeAPI(clock=clock, limits=limits)
    api.enqueue("First.", "One.", "word " * 90, "Three.")

    async def main() -> None:
        client = api.async_client(middleware=[AdaptiveLimit(share=share).middleware])
        for _ in range(4):  # the first answer says what the limits are
            await ask(client, max_tokens=200)

    clock.run(main())
    used = [entry.usage or {} for entry in api.journal[1:]]
    for name, key in (("input-tokens", "input_tokens"), ("output-tokens", "output_tokens")):
        assert sum(each[name] for each in booked) == pytest.approx(sum(u[key] for u in used))
    assert sum(each.get("requests", 0) for each in booked) == 3
    sent = [entry.at - clock.start for entry in api.journal]
    assert sent[2] - sent[1] >= 20
    assert sent[3] - sent[2] < 5


def sent_at(api: FakeAPI, clock: VirtualClock) -> list[float]:
    """When each message was asked for."""
    return [entry.at - clock.start for entry in api.journal]


def test_as_many_answers_of_one_length_are_under_way_as_the_allowance_holds() -> None:
    """Nothing is kept free for longer ones where all are the same."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        for _ in range(20):  # what it has learned of them
            async with limit:
                await ask(client, max_tokens=100)
        await asyncio.sleep(120)
        asked = fan_out(range(12), lambda _: ask(client, max_tokens=100), limit=limit)
        assert all([outcome.ok async for outcome in asked])
        return limit.refused

    refused, api, clock = in_virtual_time(
        work,
        limits=RateLimits(otpm=1_000),
        latency=Latency(30.0, 10**9, input_tokens_per_second=10**9, jitter=0),
        replies=Replies.of({"reply": [{"text": "ok", "output_tokens": 100}]}),
    )
    fanned = sent_at(api, clock)[20:]
    at_once = sum(at - fanned[0] < 1 for at in fanned)
    assert refused == 0
    assert at_once == 9  # 1,000 tokens, less 5 % that are never touched


def test_after_a_429_calls_come_in_at_the_rate_and_not_all_at_once() -> None:
    """Another program has overdrawn the bucket: what fills up until `retry-after` is its debt."""
    clock = VirtualClock()
    replies = Replies.of({"reply": [{"contains": "Hi", "text": "ok", "output_tokens": 100}]})
    api = FakeAPI(clock=clock, limits=RateLimits(otpm=600), replies=replies)

    async def main() -> None:
        limit = AdaptiveLimit()
        client = api.async_client(middleware=[limit.middleware])
        async with limit:
            await ask(client, max_tokens=100)
        await asyncio.sleep(60)
        api.enqueue(Reply(text="ok", output_tokens=1_200))
        await ask(api.async_client(), max_tokens=1_200)
        asked = fan_out(range(6), lambda _: ask(client, max_tokens=100), limit=limit)
        assert all([outcome.ok async for outcome in asked])

    clock.run(main())
    at = {status: [e.at for e in api.journal if e.status == status] for status in (200, 429)}
    assert max(at[429]) - min(at[429]) < 1, "only those that were on their way"
    assert min(b - a for a, b in pairwise(at[200][-6:])) > 5


def test_a_refused_call_costs_no_allowance() -> None:
    """Three refusals by a proxy, which knows of no allowance: the next try is not held back."""

    def headerless(answer: Any) -> None:
        for name in [name for name in answer.headers if "ratelimit" in name]:
            del answer.headers[name]

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> int:
        patient = client.with_options(max_retries=3)
        for _ in range(2):
            async with limit:
                await ask(patient, max_tokens=300)
        return limit.refused

    busy = Fault.status(429, requests=range(2, 5), retry_after=1)
    refused, _, clock = in_virtual_time(
        work,
        limits=RateLimits(otpm=1_000),
        faults=[replace(busy, damage=headerless)],
        replies=Replies.of({"reply": [{"text": "ok", "output_tokens": 300}]}),
    )
    assert refused == 3
    assert clock.elapsed < 20


def test_a_call_after_an_entry_that_sent_nothing_waits_like_any_other() -> None:
    """What was set aside for the entry went back with it; now the limit is still, after a 429."""

    async def work(client: AsyncAnthropic, limit: AdaptiveLimit) -> None:
        async with limit:
            pass
        hasty = ask(client.with_options(max_retries=0))
        with pytest.raises(RateLimitError):
            await asyncio.create_task(hasty, context=Context())
        await ask(client)

    busy = Fault.status(429, requests={1}, retry_after=30)
    _, api, clock = in_virtual_time(work, limits=RateLimits(), faults=[busy])
    assert sent_at(api, clock)[1] >= 30
