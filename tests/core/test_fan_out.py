"""patterns.core.fan_out: bounded, lazy, failures as data, clean cancellation."""

import asyncio
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.fan_out import Outcome, fan_out


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


def endless(taken: list[int]) -> Iterator[int]:
    """1, 2, 3, …; what was taken is in `taken`."""
    for n in itertools.count(1):
        taken.append(n)
        yield n


def test_unwrap_gives_the_value_or_raises_what_the_call_raised() -> None:
    """An outcome can be turned back into a call."""
    assert Outcome(0, "a", value=1).unwrap() == 1
    with pytest.raises(KeyError):
        Outcome(0, "a", error=KeyError("k")).unwrap()


def test_items_are_taken_only_when_there_is_room() -> None:
    """An endless iterator is fine, and closing early stops taking."""
    taken = list[int]()

    async def first(count: int) -> list[int]:
        outcomes = fan_out(endless(taken), double, limit=2, buffer=4)
        seen = []
        async for outcome in outcomes:
            seen.append(outcome.item)
            if len(seen) == count:
                break
        await outcomes.aclose()
        return seen

    assert len(asyncio.run(first(10))) == 10
    assert len(taken) <= 16


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
        async for _ in fan_out([1], double, limit=asyncio.Semaphore(1), buffer=0):
            pass

    with pytest.raises(ValueError, match="buffer 0; both must be 1"):
        asyncio.run(collect())


def test_several_fan_outs_may_share_one_semaphore() -> None:
    """It takes the place of a number, and holds for all of them together."""
    running = peak = 0

    async def watched(x: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1
        return x

    async def collect(limit: asyncio.Semaphore) -> int:
        return len([o async for o in fan_out(range(10), watched, limit=limit)])

    async def main() -> list[int]:
        shared = asyncio.Semaphore(3)
        return await asyncio.gather(*(collect(shared) for _ in range(4)))

    assert asyncio.run(main()) == [10] * 4
    assert peak == 3


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


class Odd(BaseException):
    """Neither an exception nor a cancellation."""


@pytest.mark.parametrize("odd", [Odd, SystemExit, KeyboardInterrupt])
def test_what_is_no_exception_ends_everything_and_hangs_nothing(odd: type[BaseException]) -> None:
    """It reaches whoever reads, and the calls that still run are cancelled."""
    ended: list[int] = []

    async def call(x: int) -> int:
        if x == 2:
            raise odd
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(x)
        return x

    async def collect() -> int:
        async with asyncio.timeout(60):
            with pytest.raises(odd):
                async for _ in fan_out(range(4), call, limit=4):
                    raise AssertionError
        return len(asyncio.all_tasks())

    assert asyncio.run(collect()) == 1
    assert sorted(ended) == [0, 1, 3]


def test_a_call_whose_task_is_cancelled_from_outside_hangs_nothing() -> None:
    """The reader is told."""

    async def call(x: int) -> int:
        current = asyncio.current_task()
        assert current
        if x == 1:
            current.cancel()
        await asyncio.sleep(0)
        return x

    async def collect() -> None:
        async with asyncio.timeout(60):
            async for _ in fan_out(range(3), call, limit=1):
                pass

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(collect())


def test_an_iterable_may_raise_what_is_no_exception() -> None:
    """After the outcomes that it led to."""

    def odd() -> Iterator[int]:
        yield 1
        raise Odd

    async def collect() -> list[int]:
        seen = []
        with pytest.raises(Odd):
            async for outcome in fan_out(odd(), double, limit=2):
                seen.append(outcome.unwrap())
        return seen

    assert asyncio.run(collect()) == [2]


@pytest.mark.parametrize("explicitly", [True, False])
def test_leaving_early_closes_the_callers_generator(explicitly: bool) -> None:
    """Its `finally` runs: the file or connection behind it is not left open."""

    async def collect() -> list[str]:
        closed: list[str] = []
        done = asyncio.Event()

        async def numbers() -> AsyncIterator[int]:
            try:
                for x in range(100):
                    yield x
            finally:
                closed.append("closed")
                done.set()

        outcomes = fan_out(numbers(), double, limit=2, buffer=2)
        async for _ in outcomes:
            break
        if explicitly:
            await outcomes.aclose()
        del outcomes
        async with asyncio.timeout(60):
            await done.wait()
        return closed

    assert asyncio.run(collect()) == ["closed"]


def test_an_async_iterator_that_is_no_generator_is_left_as_it_is() -> None:
    """There is nothing to close."""

    class Numbers:
        def __init__(self) -> None:
            self.left = [3, 2, 1]

        def __aiter__(self) -> "Numbers":
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    async def collect() -> list[int]:
        return sorted([outcome.item async for outcome in fan_out(Numbers(), double, limit=1)])

    assert asyncio.run(collect()) == [1, 2, 3]


def test_every_slot_is_given_back_also_of_calls_that_never_began() -> None:
    """A limit that is shared by several fan-outs loses nothing when one of them is closed."""
    taken: list[int] = []

    class Counting(asyncio.Semaphore):
        async def acquire(self) -> Literal[True]:
            await super().acquire()
            taken.append(1)
            return True

        def release(self) -> None:
            super().release()
            taken.append(-1)

    async def main(after: int) -> int:
        limit = Counting(3)
        outcomes = fan_out(range(20), double, limit=limit)
        reading = asyncio.ensure_future(anext(outcomes))
        for _ in range(after):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await outcomes.aclose()
        await asyncio.sleep(0)
        return sum(taken)

    assert [asyncio.run(main(after)) for after in range(8)] == [0] * 8


def test_calls_may_run_long_while_outcomes_wait_for_a_slow_reader() -> None:
    """The buffer holds ended calls; more than that may be under way."""
    running = 0

    async def slow(x: int) -> int:
        nonlocal running
        running += 1
        await gate.wait()
        return x

    async def main() -> int:
        outcomes = fan_out(range(50), slow, limit=30, buffer=1)
        reading = asyncio.ensure_future(anext(outcomes))
        for _ in range(200):
            await asyncio.sleep(0)
        seen = running
        gate.set()
        await reading
        await outcomes.aclose()
        return seen

    gate = asyncio.Event()
    assert asyncio.run(main()) == 30


def test_a_reader_who_is_slow_holds_the_source_back() -> None:
    """At most `buffer` outcomes wait; the rest is not even taken."""
    taken: list[int] = []

    def source() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    async def run() -> int:
        seen = 0
        async for _ in fan_out(source(), lambda n: asyncio.sleep(0, n), limit=4, buffer=8):
            for _turn in range(50):
                await asyncio.sleep(0)
            seen += 1
            assert len(taken) <= seen + 8 + 4 + 1
        return seen

    assert asyncio.run(run()) == 100


def test_in_order_what_waits_for_an_earlier_outcome_fills_the_buffer() -> None:
    """A first call that is slow does not have the rest of an endless source in memory."""
    taken = list[int]()

    async def call(n: int) -> int:
        if n == 1:
            await gate.wait()
        return n

    async def main() -> list[int]:
        outcomes = fan_out(endless(taken), call, limit=2, ordered=True, buffer=4)
        reading = asyncio.ensure_future(anext(outcomes))
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(taken) <= 4 + 2 + 1
        gate.set()
        seen = [(await reading).item, *[(await anext(outcomes)).item for _ in range(9)]]
        await outcomes.aclose()
        return seen

    gate = asyncio.Event()
    assert asyncio.run(main()) == [*range(1, 11)]
