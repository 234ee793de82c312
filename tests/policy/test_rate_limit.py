"""Budgets are reserved all at once, settled to what was used, and shared where asked for."""

import asyncio
import multiprocessing
import socket
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import redis
import redis.asyncio
from anthropic import (
    Anthropic,
    APIConnectionError,
    AsyncAnthropic,
    InternalServerError,
    RateLimitError,
)
from hypothesis import given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from patterns.core.models import HAIKU, OPUS
from patterns.fake_api import FakeAPI, Fault
from patterns.policy.budgets import Charge, check_capacity
from patterns.policy.flow import PolicyDenied, noting
from patterns.policy.rate_limit import (
    AboveCapacity,
    Budget,
    Cost,
    Limits,
    MemoryStore,
    RateLimit,
    StoreFull,
    StoreUnavailable,
    Throttled,
    TokenBucket,
    Unpriced,
    estimate_tokens,
)
from patterns.policy.redis_store import RedisStore
from patterns.policy.texts import Texts
from patterns.policy.view import Action, Item

LIMITS = Limits(rpm=60, itpm=6_000, otpm=600)
ASK: Any = {"model": HAIKU, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


class Used(NamedTuple):
    """What was taken of the three buckets."""

    requests: float
    input: float
    output: float


class Clock:
    """Time that moves when somebody sleeps, or when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.now += seconds


class Api:
    """The real SDK over the fake API, with a limiter on a clock of ours in between."""

    def __init__(self, limits: Limits = LIMITS, *, faults: Any = (), **options: Any) -> None:
        self.clock = Clock()
        self.fake = FakeAPI(faults=faults)
        self.store = MemoryStore(clock=self.clock)
        self.limit = RateLimit(
            limits,
            options.pop("store", self.store),
            sleep=self.clock.sleep,
            sleep_async=self.clock.sleep_async,
            **options,
        )
        self.client: Anthropic = self.fake.client(middleware=[self.limit], max_retries=1)

    def ask(self, **changes: Any) -> Any:
        return self.client.messages.create(**{**ASK, **changes})

    def used(self, key: str = HAIKU) -> "Used":
        levels = self.store.levels(key, self.limit.limits)
        pairs = zip(self.limit.limits.capacities, levels, strict=True)
        return Used(*((full or 0) - (level or 0) for full, level in pairs))


def test_a_call_is_settled_to_what_it_used() -> None:
    """The reservation was an estimate; what remains booked is the usage."""
    api = Api()
    usage = api.ask().usage
    assert api.used() == (1, usage.input_tokens, usage.output_tokens)


def test_cache_writes_count_and_cache_reads_do_not() -> None:
    """As the API counts the input of current models."""
    api = Api(Limits(60, 60_000, 600))
    system: Any = [
        {"type": "text", "text": "stable " * 6_000, "cache_control": {"type": "ephemeral"}}
    ]
    first = api.ask(system=system).usage
    assert first.cache_creation_input_tokens > 0
    written = api.used().input
    second = api.ask(system=system).usage
    assert second.cache_read_input_tokens > 0
    assert written == first.input_tokens + first.cache_creation_input_tokens
    assert api.used().input == written + second.input_tokens


def test_all_buckets_are_taken_from_or_none() -> None:
    """A call that lacks output tokens takes no request and no input."""
    api = Api(Limits(60, 6_000, 150), max_wait=0)
    api.store.reserve([Charge(HAIKU, api.limit.limits, Cost(0, 0, 100))], 0)
    before = api.used()
    with pytest.raises(Throttled, match="max_wait is 0 s") as caught:
        api.ask()
    assert api.used() == before
    assert caught.value.wait == pytest.approx(20)
    assert api.fake.journal == []


def test_a_call_waits_for_its_turn_and_no_longer() -> None:
    """A booked wait is slept once; nobody polls."""
    api = Api(Limits(rpm=1), max_wait=60)
    api.ask()
    started = api.clock.now
    api.ask()
    assert api.clock.now - started == pytest.approx(60)
    with pytest.raises(Throttled):
        api.client.with_options(
            middleware=[RateLimit(api.limit.limits, api.store, max_wait=59)]
        ).messages.create(**ASK)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(rpm=0), "1 requests, a full bucket holds 0"),
        (Limits(itpm=5), "input tokens, a full bucket holds 5"),
        (Limits(otpm=99), "100 output tokens"),
    ],
)
def test_a_cost_above_capacity_is_refused_at_once(limits: Limits, what: str) -> None:
    """A limit of zero, or a call bigger than a full bucket: no waiting helps."""
    api = Api(limits)
    with pytest.raises(AboveCapacity, match=what) as caught:
        api.ask()
    assert (caught.value.wait, api.clock.now, api.fake.journal) == (None, 1_000.0, [])


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_a_limit_is_a_number_from_zero(value: float) -> None:
    """None is how to say no limit."""
    with pytest.raises(ValueError, match="give a number from 0"):
        Limits(otpm=value)


def test_failed_calls_give_their_tokens_back_and_the_request_stays_spent() -> None:
    """The API counts the request too."""
    api = Api(faults=[Fault.status(500)])
    with pytest.raises(InternalServerError):
        api.client.with_options(max_retries=0).messages.create(**ASK)
    assert api.used() == (1, 0, 0)


def test_a_retry_is_charged_once() -> None:
    """Two attempts of one call are one request and one usage."""
    api = Api(faults=[Fault.status(529, times=1, retry_after=0.001)])
    usage = api.ask().usage
    assert len(api.fake.journal) == 2
    assert api.used() == (1, usage.input_tokens, usage.output_tokens)


def test_a_lost_connection_gives_the_tokens_back() -> None:
    """Nothing was answered."""
    api = Api(faults=[Fault.disconnect()])
    with pytest.raises(APIConnectionError):
        api.client.with_options(max_retries=0).messages.create(**ASK)
    assert api.used() == (1, 0, 0)


def test_a_denial_further_in_gives_everything_back() -> None:
    """Nothing was sent."""
    api = Api()

    def deny(request: Any, call_next: Any) -> Any:
        raise PolicyDenied("no")

    with pytest.raises(PolicyDenied):
        api.client.with_options(middleware=[api.limit, deny]).messages.create(**ASK)
    assert api.used() == (0, 0, 0)


def test_an_interrupted_wait_gives_everything_back() -> None:
    """The call was not made."""
    api = Api(Limits(rpm=1), max_wait=60)
    api.ask()

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    api.limit._sleep = interrupted
    with pytest.raises(KeyboardInterrupt):
        api.ask()
    assert api.used() == (1, 0, 0)


def read(api: Api, how: str) -> None:
    stream = api.ask(stream=True)
    if how == "end":
        list(stream)
    elif how == "close":
        next(iter(stream))
        stream.close()
        stream.close()
    elif how == "drop":
        next(iter(stream))


@pytest.mark.parametrize(
    ("how", "output_left"), [("end", None), ("close", 100), ("drop", 100), ("unread", 100)]
)
def test_a_stream_is_settled_exactly_once(how: str, output_left: int | None) -> None:
    """At its end by usage; broken off or abandoned it keeps its output reservation."""
    api = Api()
    usage = api.ask().usage
    api.clock.now += 60
    read(api, how)
    spent = api.used()
    assert spent.requests == 1
    assert spent.output == (usage.output_tokens if output_left is None else output_left)
    if how in ("end", "close"):
        assert spent.input == usage.input_tokens


def test_a_stream_that_fails_keeps_what_was_produced_unknown() -> None:
    """Its start said what the input was; the output stays reserved."""
    api = Api(faults=[Fault.disconnect(after=3)])
    with pytest.raises(httpx2.RemoteProtocolError):
        list(api.ask(stream=True))
    assert (api.used().requests, api.used().output) == (1, 100)
    api = Api(faults=[Fault.disconnect(after=0)])
    with pytest.raises(httpx2.RemoteProtocolError):
        list(api.ask(stream=True))
    assert api.used() == (1, 0, 0)


def test_an_error_in_place_of_a_stream_gives_the_tokens_back() -> None:
    """A 429 before the first event."""
    api = Api(faults=[Fault.status(500)])
    with pytest.raises(InternalServerError):
        api.client.with_options(max_retries=0).messages.create(**ASK, stream=True)
    assert api.used() == (1, 0, 0)


def headers(status: int = 200, **values: str) -> httpx2.MockTransport:
    named = {
        f"anthropic-ratelimit-{key.replace('_', '-')}-remaining": v for key, v in values.items()
    }
    named |= {"retry-after": values["after"]} if "after" in values else {}
    return httpx2.MockTransport(lambda _: httpx2.Response(status, headers=named, json={}))


def test_what_the_api_says_is_left_caps_the_levels() -> None:
    """Other clients use the same key; a header that is no number is not believed."""
    api = Api()
    transport = headers(requests="7", input_tokens="0", output_tokens="many")
    client = Anthropic(
        api_key="t", http_client=httpx2.Client(transport=transport), middleware=[api.limit]
    )
    client.post("/v1/messages", cast_to=object, body=ASK)
    assert api.store.levels(HAIKU, LIMITS)[:2] == (7, 0)
    assert api.used().output == 100  # no usage in the answer: the reservation stays


def test_what_a_stream_is_told_at_its_start_counts_while_it_is_read() -> None:
    """For those who call meanwhile; and once it is over as well."""
    api, body = Api(), b'data: {"type": "message_start", "message": {}}\n\n'
    sent = {"content-type": "text/event-stream", "anthropic-ratelimit-requests-remaining": "7"}
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers=sent, stream=httpx2.ByteStream(body))
    )
    http = httpx2.Client(transport=transport)
    client = Anthropic(api_key="t", http_client=http, middleware=[api.limit])
    stream = client.messages.create(**ASK, stream=True)
    assert api.store.levels(HAIKU, LIMITS)[0] == 7
    api.clock.now += 1
    stream.close()
    assert api.store.levels(HAIKU, LIMITS)[0] == 8
    client.messages.create(**ASK, stream=True).close()
    assert api.clock.now == 1_001


@pytest.mark.parametrize(("answered", "spent"), [(HAIKU, 0.02), (OPUS, 0.2), ("another", 0.2)])
def test_dollars_are_those_of_the_model_that_answered(answered: str, spent: float) -> None:
    """A fallback may be dearer; of one that nobody named the dearest price counts."""
    store = MemoryStore(clock=lambda: 0.0, today=lambda: 0.0)
    price = {HAIKU: 0.01, OPUS: 0.1}.__getitem__
    limit = RateLimit(
        Limits(usd_per_day=50), store,
        price=lambda model, usage: price(model) * (usage["input_tokens"] + usage["output_tokens"]),
    )  # fmt: skip
    message = {
        "model": answered,
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=message))
    http = httpx2.Client(transport=transport)
    client = Anthropic(api_key="t", http_client=http, middleware=[limit])
    body = {**ASK, "fallbacks": [{"model": OPUS}]}
    client.post("/v1/messages", cast_to=object, body=body)
    assert not store.reserve([Charge(HAIKU, limit.limits, Cost(usd=50.01 - spent))], 0).granted
    assert store.reserve([Charge(HAIKU, limit.limits, Cost(usd=49.99 - spent))], 0).granted


def test_retry_after_keeps_everybody_out() -> None:
    """Not only the call that was told."""
    api = Api(max_wait=10)
    transport = headers(429, after="30")
    client = Anthropic(
        api_key="t",
        http_client=httpx2.Client(transport=transport),
        middleware=[api.limit],
        max_retries=0,
    )
    with pytest.raises(RateLimitError):
        client.post("/v1/messages", cast_to=object, body=ASK)
    with pytest.raises(Throttled) as caught:
        api.ask()
    assert caught.value.wait == pytest.approx(30)
    api.clock.now += 25
    api.ask()
    assert api.clock.now == pytest.approx(1_030)


def test_retry_after_holds_async_clients_too() -> None:
    """Until the time that was told, and no longer."""
    api = Api(max_wait=60)
    transport = headers(429, after="30")

    async def run() -> None:
        http = httpx2.AsyncClient(transport=transport)
        told = AsyncAnthropic(api_key="t", http_client=http, middleware=[api.limit], max_retries=0)
        with pytest.raises(RateLimitError):
            await told.post("/v1/messages", cast_to=object, body=ASK)
        await api.fake.async_client(middleware=[api.limit]).messages.create(**ASK)

    asyncio.run(run())
    assert api.clock.now == pytest.approx(1_030)


def test_a_clock_that_runs_backwards_refills_nothing_and_breaks_nothing() -> None:
    """Clock backwards: time passes again when it has caught up."""
    api = Api(Limits(rpm=2), max_wait=0)
    api.ask()
    api.clock.now -= 500
    api.ask()
    with pytest.raises(Throttled):
        api.ask()
    api.clock.now += 530
    api.ask()


def test_counting_costs_a_request_and_a_batch_what_its_items_may_cost() -> None:
    """Nobody knows a batch's usage before its results; other calls cost nothing."""
    api = Api()
    api.client.messages.count_tokens(model=HAIKU, messages=ASK["messages"])
    items: Any = [{"custom_id": f"q{number}", "params": ASK} for number in range(3)]
    api.client.messages.batches.create(requests=items)
    api.client.models.list()
    assert api.used() == (1, 0, 0)
    assert (api.used("batches")[0], api.used("batches")[2]) == (3, 300)
    with pytest.raises(AboveCapacity):
        api.client.messages.batches.create(requests=items * 3)


def test_models_have_budgets_of_their_own_unless_told_otherwise() -> None:
    """As the API keeps them."""
    api = Api(Limits(rpm=1), max_wait=0)
    api.ask()
    api.ask(model=OPUS)
    shared = Api(Limits(rpm=1), max_wait=0, key=lambda request: "all")
    shared.ask()
    with pytest.raises(Throttled):
        shared.ask(model=OPUS)


class Down:
    """A store that does not answer; or only does not settle."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store

    def reserve(self, *arguments: Any) -> Any:
        if self.store is None:
            raise ConnectionError("refused")
        return self.store.reserve(*arguments)

    def adjust(self, *arguments: Any) -> None:
        raise ConnectionError("refused")


def test_a_limiter_whose_store_is_down_denies() -> None:
    """Fail closed unless told otherwise, and do not retry."""
    api = Api(store=Down())
    with noting() as told, pytest.raises(StoreUnavailable, match="ConnectionError"):
        api.ask()
    assert (api.fake.journal, told) == ([], {"limiter": "ConnectionError: deny"})


def test_a_limiter_whose_store_is_down_may_allow_and_says_so() -> None:
    """The audit row holds the exception's class."""
    api = Api(store=Down(), on_store_error="allow")
    with noting() as told:
        api.ask()
    assert told == {"limiter": "ConnectionError: allow"}


def test_a_store_that_fails_after_the_answer_loses_no_answer() -> None:
    """It is paid for."""
    api = Api(store=Down(MemoryStore()))
    with noting() as told:
        assert api.ask().content
    assert "not settled" in told["limiter"]
    assert repr(api.limit) == "RateLimit(Down)"


def test_the_async_client_reserves_settles_waits_and_refunds_alike() -> None:
    """One price list, two thin twins."""
    api = Api(Limits(rpm=2, itpm=6_000, otpm=600), max_wait=60)

    async def run() -> None:
        client: AsyncAnthropic = api.fake.async_client(middleware=[api.limit], max_retries=0)
        usage = (await client.messages.create(**ASK)).usage
        assert api.used() == (1, usage.input_tokens, usage.output_tokens)
        async for _ in await client.messages.create(**ASK, stream=True):
            pass
        assert api.used() == (2, 2 * usage.input_tokens, 2 * usage.output_tokens)
        stream = await client.messages.create(**ASK, stream=True)  # waits half a minute
        await stream.close()
        api.fake.add_faults(Fault.status(500))
        with pytest.raises(InternalServerError):
            await client.messages.create(**ASK)
        with pytest.raises(InternalServerError):
            await client.messages.create(**ASK, stream=True)

    asyncio.run(run())
    assert api.clock.now > 1_030


@pytest.mark.parametrize("store", [Down(), Down(MemoryStore())])
def test_the_async_client_passes_where_the_store_is_down_and_may(store: Down) -> None:
    """Neither the reservation nor the settlement breaks the call."""
    api = Api(store=store, on_store_error="allow")

    async def run() -> None:
        client = api.fake.async_client(middleware=[api.limit])
        assert (await client.messages.create(**ASK)).content
        await client.models.list()

    asyncio.run(run())


def test_a_cancelled_async_call_gives_its_tokens_back() -> None:
    """A task that is cancelled while it waits for its turn has sent nothing."""
    api = Api(Limits(rpm=1, otpm=600))

    async def run() -> None:
        api.limit._sleep_async = asyncio.sleep
        client = api.fake.async_client(middleware=[api.limit])
        await client.messages.create(**ASK)
        waiting = asyncio.create_task(client.messages.create(**ASK))
        for _ in range(20):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(run())
    assert api.used().requests == 1


@pytest.mark.parametrize("users", [5_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_100_000_users_fit_into_bounded_memory(users: int) -> None:
    """Keys that have refilled make room; busy ones are not forgotten."""
    clock, limits = Clock(), Limits(rpm=1)
    store = MemoryStore(clock=clock, max_keys=1_000)
    for number in range(users):
        if number % 1_000 == 0:
            clock.now += 61
        store.reserve([Charge(f"user-{number}", limits, Cost(1))], 0)
    assert len(store) == 1_000
    with pytest.raises(StoreFull, match="1000 keys"):
        store.reserve([Charge("one more", limits, Cost(1))], 0)


def test_the_key_that_was_used_longest_ago_makes_room() -> None:
    """Not the one that came first and is busy again."""
    clock, once = Clock(), Limits(rpm=1)
    store = MemoryStore(clock=clock, max_keys=2)
    for name in ("a", "b"):
        store.reserve([Charge(name, once, Cost(1))], 0)
    clock.now += 61
    store.reserve([Charge("a", once, Cost(1))], 0)
    assert store.reserve([Charge("c", once, Cost(1))], 0).granted
    assert not store.reserve([Charge("a", once, Cost(1))], 0).granted


@pytest.mark.parametrize("waits", ["overdrawn", "held", "paid"])
def test_a_key_that_is_still_in_use_makes_no_room(waits: str) -> None:
    """It has refilled only when its level, its hold and its dollars are as new ones would be."""
    clock, day = Clock(), [0.0]
    store = MemoryStore(clock=clock, today=lambda: day[0], max_keys=1)
    limits = Limits(rpm=60, usd_per_day=1)
    charge = Charge("a", limits, Cost(usd=0.5 if waits == "paid" else 0))
    store.adjust([charge._replace(cost=Cost(-120 if waits == "overdrawn" else 0))],
                 hold=120 if waits == "held" else 0)  # fmt: skip
    store.reserve([charge], 1_000)
    other = Charge("b", limits, Cost(1))
    clock.now += 119
    with pytest.raises(StoreFull, match="1 keys are in use"):
        store.reserve([other], 0)
    clock.now += 1
    day[0] += 86_399
    if waits == "paid":
        with pytest.raises(StoreFull):
            store.reserve([other], 0)
    day[0] += 1
    assert store.reserve([other], 0).granted


def test_what_is_told_counts_from_the_time_at_which_it_is_told() -> None:
    """What is left, and how long to stay away, after a while without a call."""
    clock, limits = Clock(), Limits(rpm=60, itpm=60)
    store = MemoryStore(clock=clock)
    assert store.reserve([Charge("k", limits, Cost(60, 60))], 0).granted
    clock.now += 30
    store.adjust([Charge("k", limits, Cost())], Cost(5, 40, 10))
    assert store.levels("k", limits) == (5, 30, None)
    clock.now += 100
    store.adjust([Charge("k", limits, Cost())], hold=20)
    store.adjust([Charge("k", limits, Cost())], hold=10)  # the longer one counts
    assert store.reserve([Charge("k", limits, Cost(1))], 0) == (False, 20)
    clock.now += 20
    assert store.reserve([Charge("k", limits, Cost(60, 60))], 0) == (True, 0)


@pytest.mark.parametrize("name", ["rpm", "itpm", "otpm", "usd_per_day", "usd_per_month"])
def test_a_full_budget_covers_its_limit_and_nothing_above_it(name: str) -> None:
    """For each of the five; the rest is not limited."""
    store = MemoryStore(clock=lambda: 0.0, today=lambda: 0.0)
    limits = Limits(**{name: 5})
    part = {"rpm": "requests", "itpm": "input", "otpm": "output"}.get(name, "usd")
    just, more = (Cost(1e9, 1e9, 1e9, 1e9)._replace(**{part: most}) for most in (5, 5.5))
    check_capacity(limits, just)
    with pytest.raises(AboveCapacity, match=r"needs 5\.5 .* holds 5;") as refused:
        check_capacity(limits, more)
    assert (refused.value.cost, refused.value.capacity) == (5.5, 5)
    assert store.reserve([Charge("k", limits, just)], 0).granted
    assert not store.reserve([Charge("k", limits, Cost()._replace(**{part: 0.5}))], 0).granted
    assert store.reserve([Charge("k", limits, Cost(1, 1, 1, 1)._replace(**{part: 0}))], 0).granted


def test_a_limit_of_nothing_lets_free_things_through() -> None:
    """And nothing that costs: not even after a while."""
    store, none = MemoryStore(clock=(clock := Clock())), Limits(rpm=0)
    clock.now += 1_000
    assert store.reserve([Charge("k", none, Cost(0, 5))], 0) == (True, 0)
    assert store.reserve([Charge("k", none, Cost(1))], 1e9) == (False, float("inf"))


def test_an_overdrawn_bucket_lets_free_things_through() -> None:
    """What costs no request does not wait for the requests."""
    store, limits = MemoryStore(clock=Clock()), Limits(rpm=1, itpm=60)
    store.adjust([Charge("k", limits, Cost(-5))])
    assert store.reserve([Charge("k", limits, Cost(0, 1))], 0) == (True, 0)
    assert store.reserve([Charge("k", limits, Cost(1))], 0) == (False, 300)


def test_changed_limits_keep_their_level() -> None:
    """Also where a limit goes and comes back: alternating two would let everything through."""
    store = MemoryStore(clock=Clock())
    store.reserve([Charge("k", Limits(rpm=5), Cost(5))], 0)
    assert store.levels("k", Limits(rpm=5)) == (0, None, None)
    assert store.levels("k", Limits(rpm=6)) == (0, None, None)
    assert store.levels("k", Limits(rpm=6, itpm=9)) == (0, 9, None)
    assert store.levels("k", Limits(itpm=9)) == (None, 9, None)
    assert store.levels("k", Limits(rpm=5)) == (0, None, None)


def test_a_limit_that_is_raised_refills_at_its_old_rate_until_then() -> None:
    """Raising and lowering a limit in turns gives nothing away."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    assert store.reserve([Charge("k", Limits(rpm=60), Cost(60))], 0).granted
    clock.now += 30
    assert store.levels("k", Limits(rpm=6_000)) == (30, None, None)
    clock.now += 0.5
    assert store.levels("k", Limits(rpm=6_000)) == (80, None, None)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), max_size=50))
def test_a_bucket_never_gives_more_than_capacity_and_refill(
    steps: list[tuple[float, float]],
) -> None:
    """Whatever the order of costs and pauses."""
    bucket, now, taken = TokenBucket(60, 0.0), 0.0, 0.0
    for cost, pause in steps:
        now += pause
        bucket.refill(now)
        if bucket.wait(cost) == 0:
            bucket.add(-cost)
            taken += cost
    assert taken <= 60 + now + 1e-6
    assert TokenBucket(0, 0.0).wait(1) == float("inf")


def estimated(body: dict[str, Any]) -> int:
    texts = Texts(body)
    return estimate_tokens(Item((), body, Action("messages.create"), texts))


def test_an_estimate_counts_text_and_attachments_and_not_base64() -> None:
    """High rather than low, in any script."""
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 10_000}}
    plain = estimated(ASK)
    more = estimated({**ASK, "messages": [{"role": "user", "content": ["Hello", image]}]})
    assert more - plain == 1_600
    paper = {"type": "document", "source": {"type": "base64", "data": "A" * 10_000}}
    both = estimated({**ASK, "messages": [{"role": "user", "content": ["Hello", image, paper]}]})
    assert both - plain == 3_200
    assert estimated({**ASK, "system": "\ud800" * 70}) > plain
    assert estimated({**ASK, "system": "漢" * 700}) >= 600


# a real Redis -----------------------------------------------------------------------------------


def test_redis_and_memory_decide_alike(redis_port: int) -> None:
    """The same reservations, adjustments and refusals on both."""
    with redis.Redis(port=redis_port) as client:
        stores: list[Any] = [MemoryStore(clock=Clock()), RedisStore(client, prefix="alike")]
        limits = Limits(rpm=60, itpm=6_000)
        for store in stores:
            assert store.reserve([Charge("k", limits, Cost(1, 6_000, 10**9))], 0) == (True, 0)
            refused = store.reserve([Charge("k", limits, Cost(1, 1_000))], 0)
            assert not refused.granted
            assert refused.wait == pytest.approx(10, abs=0.5)
            assert store.reserve([Charge("k", limits, Cost(1, 1_000))], 11).granted
            store.adjust([Charge("k", limits, Cost(0, 4_000))], Cost(50, 9_999, 9_999), hold=0)
            assert store.reserve([Charge("k", limits, Cost(0, 3_000))], 0).granted
            assert not store.reserve([Charge("k", limits, Cost(0, 300))], 0).granted
            inner, outer = (Charge(name, limits, Cost()) for name in ("inner", "outer"))
            store.adjust([inner, outer], Cost(5, 9_999, 9_999))
            assert store.reserve([inner._replace(cost=Cost(6))], 0).granted
            assert not store.reserve([outer._replace(cost=Cost(6))], 0).granted
            dollars = Limits(rpm=60, usd_per_day=1)
            assert store.reserve([Charge("usd", dollars, Cost(usd=1))], 0).granted
            store.adjust([Charge("usd", dollars, Cost(usd=-0.5))])
            assert store.reserve([Charge("usd", dollars, Cost(1))], 0).granted
            assert not store.reserve([Charge("usd", dollars, Cost(usd=0.01))], 0).granted
            store.adjust([Charge("k", limits, Cost())], hold=30)
            assert store.reserve([Charge("k", limits, Cost(1))], 0).wait == pytest.approx(
                30, abs=0.5
            )


def test_a_redis_key_vanishes_when_its_bucket_is_full_again(redis_port: int) -> None:
    """Bounded memory without a sweeper; the key is in braces for a cluster."""
    with redis.Redis(port=redis_port) as client:
        store = RedisStore(client, prefix="vanish")
        store.reserve([Charge("user-1", Limits(rpm=60), Cost(30))], 0)
        (key,) = client.scan_iter("{vanish}:*")
        assert key == b"{vanish}:user-1"
        assert 29_000 < int(str(client.pttl(key))) <= 31_100


def test_a_restarted_redis_gets_its_script_again(redis_port: int) -> None:
    """The script is sent once more when the server does not know it."""
    with redis.Redis(port=redis_port) as client:
        store = RedisStore(client, prefix="again")
        store.reserve([Charge("k", LIMITS, Cost(1))], 0)
        client.script_flush()
        assert store.reserve([Charge("k", LIMITS, Cost(1))], 0).granted


def test_the_async_client_shares_a_redis(redis_port: int) -> None:
    """Reserve, settle; with the levels that a sync client sees."""

    async def run() -> int:
        client = redis.asyncio.Redis(port=redis_port)
        limit = RateLimit(Limits(rpm=3), RedisStore(client, prefix="async"), max_wait=0)
        api = FakeAPI()
        caller = api.async_client(middleware=[limit])
        results = await asyncio.gather(
            *(caller.messages.create(**ASK) for _ in range(8)), return_exceptions=True
        )
        await client.aclose()
        return sum(not isinstance(one, Throttled) for one in results)

    assert asyncio.run(run()) == 3


def test_a_stopped_redis_denies(tmp_path: Path) -> None:
    """Limiter store down: nothing is sent."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = redis.Redis(
            port=nobody.getsockname()[1], socket_timeout=1, retry=Retry(NoBackoff(), 0)
        )
        api = Api(store=RedisStore(client))
        with pytest.raises(StoreUnavailable, match="ConnectionError"):
            api.ask()
        client.close()
    assert api.fake.journal == []


def _take(port: int, tries: int) -> int:
    with redis.Redis(port=port) as client:
        store, limits = RedisStore(client, prefix="many"), Limits(itpm=600_000)
        charge = Charge("org", limits, Cost(0, 1_000))
        return sum(store.reserve([charge], 0).granted for _ in range(tries))


def _seconds(client: Any) -> float:
    whole, micro = client.time()
    return float(whole + micro / 1e6)


@pytest.mark.parametrize(
    ("processes", "tries"), [(2, 500), pytest.param(8, 10_000, marks=pytest.mark.soak)]
)
def test_processes_on_one_redis_never_admit_more_than_the_limit(
    redis_port: int, processes: int, tries: int
) -> None:
    """Limiter processes: capacity and refill, by Redis' own clock, bound what all of them get."""
    spawn = multiprocessing.get_context("spawn")
    with redis.Redis(port=redis_port) as client, ProcessPoolExecutor(processes, spawn) as pool:
        client.delete("{many}:org")
        started = _seconds(client)
        taken = sum(pool.map(_take, [redis_port] * processes, [tries] * processes))
        elapsed = _seconds(client) - started
    assert 0 < taken <= 600 + elapsed * 10 + 1


USER, TEAM, ORGANISATION = Limits(otpm=200), Limits(otpm=300), Limits(otpm=1_000)


def nested(store: Any, *, user: str = "ada", **options: Any) -> RateLimit:
    """A user's, a team's and the organisation's budget."""
    budgets = [
        Budget(USER, lambda _: f"user:{user}"),
        Budget(TEAM, lambda _: "team:x"),
        Budget(ORGANISATION, lambda _: "organisation"),
    ]
    return RateLimit(budgets, store, max_wait=0, **options)


def test_nested_budgets_are_taken_from_all_or_none() -> None:
    """The strictest decides, and a refusal leaves no trace in the others."""
    fake, store = FakeAPI(), MemoryStore(clock=lambda: 0.0)
    fake.enqueue(*["x"] * 9)
    for user in ("ada", "bob"):
        client = fake.client(middleware=[nested(store, user=user)])
        client.messages.create(**{**ASK, "max_tokens": 150}, stream=True).close()
        if user == "ada":
            with pytest.raises(Throttled):
                client.messages.create(**ASK)
    levels = [
        store.levels(key, limits)[2]
        for key, limits in (
            ("user:ada", USER), ("user:bob", USER), ("team:x", TEAM), ("organisation", ORGANISATION)
        )
    ]  # fmt: skip
    assert levels == [50, 50, 0, 700]
    fresh = fake.client(middleware=[nested(store, user="eve")])
    with pytest.raises(Throttled):
        fresh.messages.create(**ASK)
    assert store.levels("user:eve", USER)[2] == 200


def test_a_429_holds_everybody() -> None:
    """The API's limit is the organisation's: another user and another model wait as well."""
    fake = FakeAPI(faults=[Fault.status(429, times=1, retry_after=20)])
    clock = Clock()
    store = MemoryStore(clock=clock)
    first, second = (
        fake.client(middleware=[nested(store, user=user)], max_retries=0) for user in ("ada", "bob")
    )
    with pytest.raises(RateLimitError):
        first.messages.create(**ASK)
    with pytest.raises(Throttled) as caught:
        second.messages.create(**ASK)
    assert caught.value.wait == pytest.approx(20)
    clock.now += 21
    second.messages.create(**ASK)


def dollars(model: str, usage: Any) -> float | None:
    """A cent a token; half of that in a batch; no price for Opus."""
    if model == OPUS:
        return None
    tokens = usage["input_tokens"] + usage["output_tokens"]
    return float(tokens / 100 * (0.5 if usage.get("service_tier") == "batch" else 1))


@given(st.integers(1_700_000_000, 1_900_000_000))
def test_a_budget_of_dollars_lasts_to_the_end_of_its_day_and_month(now: int) -> None:
    """As the calendar has it, in UTC."""
    for name, limit, lasts in Limits(usd_per_day=1, usd_per_month=2).periods(now):
        shown = "%Y-%m-%d" if limit == 1 else "%Y-%m"
        before, after = (datetime.fromtimestamp(now + lasts + one, UTC) for one in (-1, 1))
        assert f"{before:{shown}}" == name != f"{after:{shown}}"


def test_dollars_are_reserved_and_settled_like_tokens() -> None:
    """Per day and month; what was not used comes back, and the next day begins anew."""
    fake, today = FakeAPI(), [86_400.0 * 10 + 10]
    store = MemoryStore(clock=lambda: 0.0, today=lambda: today[0])
    limits = Limits(usd_per_day=2, usd_per_month=3)
    limit = RateLimit(limits, store, price=dollars, max_wait=0)
    client = fake.client(middleware=[limit])
    usage = client.messages.create(**ASK).usage
    spent = (usage.input_tokens + usage.output_tokens) / 100
    account = store._accounts[HAIKU]
    assert list(account.spent.values()) == pytest.approx([spent, spent])
    with pytest.raises(AboveCapacity, match="dollars a day"):
        client.messages.create(**{**ASK, "max_tokens": 300})
    client.messages.create(**{**ASK, "max_tokens": 150}, stream=True).close()
    with pytest.raises(Throttled) as caught:
        client.messages.create(**ASK)
    assert caught.value.wait == pytest.approx(86_390)
    today[0] += 86_400
    with pytest.raises(Throttled) as caught:  # the month
        client.messages.create(**{**ASK, "max_tokens": 150})
    assert (caught.value.wait or 0) > 86_400
    with pytest.raises(Unpriced, match="opus"):
        client.messages.create(**{**ASK, "model": OPUS})
    with pytest.raises(ValueError, match="price=cost_usd"):
        RateLimit(limits)


def test_a_batch_costs_the_dollars_of_a_batch() -> None:
    """Of all its items."""
    fake, store = FakeAPI(), MemoryStore(clock=lambda: 0.0, today=lambda: 0.0)
    limit = RateLimit(Limits(usd_per_day=5), store, price=dollars)
    client = fake.client(middleware=[limit])
    items: Any = [{"custom_id": f"q{number}", "params": ASK} for number in range(2)]
    client.messages.batches.create(requests=items)
    (spent,) = store._accounts["batches"].spent.values()
    assert 1 < spent < 1.3


def test_limits_that_alternate_admit_no_more_than_the_stricter() -> None:
    """1,000 alternating reservations against 5 and 6 a minute."""
    store = MemoryStore(clock=lambda: 0.0)
    granted = sum(
        store.reserve([Charge("k", Limits(rpm=5 + number % 2), Cost(1))], 0).granted
        for number in range(1_000)
    )
    assert granted == 5


def test_an_owner_stays_the_owner() -> None:
    """In bounded memory; what was forgotten belongs to nobody."""
    store = MemoryStore(max_keys=2)
    store.claim(["a"], "ada")
    store.claim(["a"], "bob")
    assert store.owners("a") == ["ada"]
    store.claim("bc", "ada")
    assert store.owners("abc") == [None, "ada", "ada"]


def test_redis_keeps_nested_budgets_dollars_and_owners(redis_port: int) -> None:
    """As memory does, over sync and async clients."""
    with redis.Redis(port=redis_port) as client:
        store = RedisStore(client, prefix="nested", today=lambda: 86_400.0 * 20)
        limits = Limits(otpm=100, usd_per_day=1, usd_per_month=2)
        charges = [Charge("user", limits, Cost(0, 0, 60, 0.6)), Charge("all", Limits(otpm=900),
                                                                       Cost(0, 0, 60))]  # fmt: skip
        assert store.reserve(charges, 0).granted
        refused = store.reserve(charges, 0)
        assert not refused.granted
        assert refused.wait == pytest.approx(86_400, abs=1)
        assert store.reserve([Charge("all", Limits(otpm=900), Cost(0, 0, 840))], 0).granted
        store.adjust([Charge("user", limits, Cost(0, 0, 60, 0.6))])
        assert store.reserve([Charge("user", limits, Cost(0, 0, 90, 0.9))], 0).granted
        store.claim("x", "ada")
        store.claim("xz", "bob")
        assert store.owners("xyz") == ["ada", None, "bob"]

        async def run() -> Any:
            async with redis.asyncio.Redis(port=redis_port) as other:
                both = RedisStore(other, prefix="nested")
                await both.claim("xy", "eve")
                return await both.owners("xyz")

        assert asyncio.run(run()) == ["ada", "eve", "bob"]
