"""Virtual time: waiting is free, order is kept, the SDK's own pauses included."""

import asyncio
import threading
import time
from typing import Any

import anthropic
import anyio
import pytest

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Fault, Latency, RealClock, VirtualClock
from patterns.fake_api.clock import IDLE

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "hi"}],
}


def test_sleepers_wake_in_order_of_time() -> None:
    """Five hours pass at once and in the right order, by asyncio and by anyio."""
    clock = VirtualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await (anyio.sleep(seconds) if name == "b" else asyncio.sleep(seconds))
        woken.append((name, round(clock.elapsed, 3)))

    async def main() -> None:
        await asyncio.gather(sleeper("c", 18_000), sleeper("a", 0.5), sleeper("b", 60))

    clock.run(main())
    assert woken == [("a", 0.5), ("b", 60.0), ("c", 18_000.0)]


def test_timeouts_fire_in_virtual_time() -> None:
    """`asyncio.timeout` counts the same seconds."""
    clock = VirtualClock()

    async def main() -> None:
        async with asyncio.timeout(10):
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        clock.run(main())
    assert clock.elapsed == pytest.approx(10)


def test_run_works_where_a_loop_is_running() -> None:
    """As in a notebook: the virtual loop gets a thread of its own, errors come through."""
    clock = VirtualClock()

    async def inner(value: int) -> int:
        await asyncio.sleep(1_000)
        if value < 0:
            raise ValueError(value)
        return value

    async def notebook() -> int:
        with pytest.raises(ValueError, match="-1"):
            clock.run(inner(-1))
        return clock.run(inner(7))

    assert asyncio.run(notebook()) == 7
    assert clock.elapsed == pytest.approx(2_000)


def test_clock_only_goes_forward() -> None:
    """A negative sleep is a mistake."""
    with pytest.raises(ValueError, match="only goes forward"):
        VirtualClock().sleep(-1)


def test_virtual_sleep_on_another_loop_moves_the_time() -> None:
    """On a loop of another kind hours pass in milliseconds, side by side and in order."""
    clock = VirtualClock(start=50)
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await clock.asleep(seconds)
        woken.append(clock.elapsed)

    async def main() -> None:
        given_up = asyncio.ensure_future(sleeper(1))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(sleeper(7_200), sleeper(3_600), sleeper(0))

    asyncio.run(main())
    assert woken == [0, 3_600, 7_200]
    assert clock.now() == 7_250


def test_busy_loop_holds_the_time() -> None:
    """While other work goes on, sleepers sleep."""
    clock = VirtualClock()

    async def work() -> None:
        for _ in range(20):
            end = time.perf_counter() + IDLE * 3
            while time.perf_counter() < end:
                pass
            assert clock.elapsed == 0
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(clock.asleep(60), work())

    asyncio.run(main())
    assert clock.elapsed == 60


def test_other_threads_can_wake_the_loop() -> None:
    """With no timer set, the loop waits for them as any loop does."""
    clock = VirtualClock()

    async def main() -> str:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        threading.Timer(0.01, lambda: loop.call_soon_threadsafe(done.set)).start()
        await done.wait()
        return "woken"

    assert clock.run(main()) == "woken"


def test_waiting_for_threads_at_the_end_takes_none_of_its_time() -> None:
    """Of what ran beside the loop, the clock knows nothing."""
    clock = VirtualClock()
    assert clock.run(asyncio.to_thread(int, "7")) == 7
    assert clock.elapsed == 0


def test_real_clock_is_the_machines() -> None:
    """Its sleeps of no length return."""
    clock = RealClock()
    clock.sleep(0)
    asyncio.run(clock.asleep(0))
    assert abs(clock.now() - time.time()) < 5


def test_sdk_retries_take_no_real_time() -> None:
    """Two 529s with a minute's `retry-after` each: answered after two virtual minutes."""
    api = FakeAPI(clock=VirtualClock(), faults=[Fault.status(529, times=2, retry_after=60)])

    async def main() -> str | None:
        message: Any = await api.async_client().messages.create(**ASK)
        return str(message.stop_reason)

    assert isinstance(api.clock, VirtualClock)
    assert api.clock.run(main()) == "end_turn"
    assert [round(entry.at - api.clock.start) for entry in api.journal] == [0, 60, 120]


def test_answers_take_the_latency_models_time() -> None:
    """A median answer takes first token, reading and writing; a stream starts earlier."""
    latency = Latency(first_token=1, tokens_per_second=10, input_tokens_per_second=100, jitter=0)
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=latency)
    api.enqueue("a" * 80, "a" * 80)
    client = api.client()
    client.messages.create(**ASK)  # 4 tokens in, 20 out
    assert clock.elapsed == pytest.approx(1 + 0.04 + 2)
    stream = iter(client.messages.create(stream=True, **ASK))
    next(stream)
    assert clock.elapsed == pytest.approx(3.04 + 1.04)
    list(stream)
    assert clock.elapsed == pytest.approx(2 * 3.04)


def test_jitter_is_seeded_and_bound_to_the_request() -> None:
    """Another order of requests gives each the same time; another seed another one."""

    def times(order: list[int], seed: int) -> dict[int, float]:
        clock = VirtualClock()
        client = FakeAPI(clock=clock, latency=Latency(), seed=seed).client()
        took = {}
        for n in order:
            start = clock.elapsed
            client.messages.create(**{**ASK, "max_tokens": n})
            took[n] = round(clock.elapsed - start, 6)
        return took

    assert times([10, 20, 30], 1) == times([30, 10, 20], 1) != times([10, 20, 30], 2)


@pytest.mark.parametrize("bad", [{"tokens_per_second": 0}, {"first_token": -1}, {"jitter": -1}])
def test_latency_refuses_impossible_figures(bad: dict[str, float]) -> None:
    """Speeds are above zero, times not below."""
    with pytest.raises(ValueError, match="must"):
        Latency(**bad)


def load(count: int) -> VirtualClock:
    """So many requests, 200 at a time, each taking a second."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=Latency(first_token=1, tokens_per_second=1e9, jitter=0))
    client = api.async_client()

    async def main() -> None:
        gate = asyncio.Semaphore(200)

        async def one(n: int) -> None:
            async with gate:
                await client.messages.create(**ASK)

        await asyncio.gather(*(one(n) for n in range(count)))

    clock.run(main())
    assert len(api.journal) == count
    return clock


def test_many_concurrent_requests() -> None:
    """400, 200 at a time: two virtual seconds."""
    assert load(400).elapsed == pytest.approx(2, abs=0.1)


@pytest.mark.soak
def test_a_hundred_thousand_concurrent_requests() -> None:
    """500 virtual seconds."""
    assert load(100_000).elapsed == pytest.approx(500, abs=1)


def test_hang_ends_with_the_clients_timeout() -> None:
    """In process too the client waits as long as its read timeout, in virtual time."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, faults=[Fault.hang()])
    with pytest.raises(anthropic.APITimeoutError):
        api.client(max_retries=0, timeout=600.0).messages.create(**ASK)
    assert clock.elapsed == pytest.approx(600)
    with pytest.raises(anthropic.APITimeoutError):
        api.client(max_retries=0, timeout=None).messages.create(**ASK)
