"""patterns.concurrency: bounded, lazy, failures as data, clean cancellation."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.concurrency import FixedLimit, Outcome, fan_out


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
