"""Time limits that stand still while a person thinks and start anew with progress: virtual time."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.fake_api import VirtualClock
from patterns.mcp_session.limits import Limits, current

T = TypeVar("T")


async def _within(limits: Limits, seconds: float, work: Awaitable[T]) -> T:
    """Do the work as a session does."""
    limit = limits.start(seconds)
    try:
        return await work
    except asyncio.CancelledError:
        if not limit.expired:
            raise
        raise TimeoutError from None
    finally:
        limits.stop(limit)


async def _late(limits: Limits, seconds: float, work: float) -> bool:
    """Whether `work` seconds are too many for `seconds`."""
    try:
        await _within(limits, seconds, asyncio.sleep(work))
    except TimeoutError:
        return True
    return False


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=9))
def test_time_that_is_held_does_not_count(jobs: list[tuple[int, int]]) -> None:
    """Whoever is running when the clock stands still for 100 seconds has them on top."""

    async def run() -> list[bool]:
        limits = Limits()
        late = [
            asyncio.create_task(_late(limits, limit + 0.5, work + 100 * (work > 20)))
            for limit, work in jobs
        ]
        await asyncio.sleep(20.25)
        with limits.held():
            await asyncio.sleep(100)
        return list(await asyncio.gather(*late))

    expected = [work > limit if limit > 20 or work <= 20 else True for limit, work in jobs]
    assert VirtualClock().run(run()) == expected


def test_only_the_request_that_asks_stands_still() -> None:
    """Another one keeps its limit; which one asks is known where the question runs in its task."""

    async def ask(limits: Limits) -> str:
        with limits.held():
            await asyncio.sleep(10)
        return "answered"

    async def run() -> tuple[str, bool]:
        limits = Limits()
        other = asyncio.create_task(_late(limits, 5, 8))
        await asyncio.sleep(0)
        answered = await _within(limits, 3, ask(limits))
        return answered, await other

    assert VirtualClock().run(run()) == ("answered", True)


def test_two_questions_at_once_stop_the_clock_from_the_first_to_the_end_of_the_first() -> None:
    """The second one finds it standing, and leaves it so."""

    async def run() -> float:
        limits, loop = Limits(), asyncio.get_running_loop()

        async def ask(seconds: float) -> None:
            with limits.held():
                await asyncio.sleep(seconds)

        started = loop.time()
        late = asyncio.create_task(_late(limits, 5, 100))
        await asyncio.sleep(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(10))
            group.create_task(ask(3))
        assert await late
        return loop.time() - started

    assert VirtualClock().run(run()) == pytest.approx(15)


def test_a_request_that_ends_while_its_limit_is_held_stays_ended() -> None:
    """Nobody is interrupted later on its behalf."""

    async def run() -> bool:
        limits = Limits()
        short = asyncio.create_task(_late(limits, 3, 2))
        await asyncio.sleep(1)
        with limits.held():
            await asyncio.sleep(5)
        await asyncio.sleep(50)
        return await short

    assert not VirtualClock().run(run())


@pytest.mark.parametrize(("reports", "ends"), [(0, 5), (1, 8), (2, 11), (9, 20)])
def test_each_report_lets_a_limit_end_five_seconds_later_up_to_the_last(
    reports: int, ends: float
) -> None:
    """A report every three seconds; the last limit is at twenty."""

    async def run() -> float:
        limits, loop = Limits(), asyncio.get_running_loop()
        started = loop.time()

        async def work() -> None:
            limit = current.get()
            for _ in range(reports):
                await asyncio.sleep(3)
                limits.extend(limit, 5, started + 20)
            await asyncio.sleep(100)

        with pytest.raises(TimeoutError):
            await _within(limits, 5, work())
        return loop.time() - started

    assert VirtualClock().run(run()) == pytest.approx(ends)


def test_progress_changes_nothing_outside_of_a_request_or_after_it_or_while_it_is_held() -> None:
    """A report may come late, or while a person thinks: the clock starts where it stood."""

    async def run() -> float:
        limits, loop = Limits(), asyncio.get_running_loop()
        limits.extend(None, 5, 20)
        limit = limits.start(1)
        limits.stop(limit)
        limits.extend(limit, 5, 20)

        async def ask() -> None:
            with limits.held():
                await asyncio.sleep(10)
                limits.extend(current.get(), 500, 1_000)
            await asyncio.sleep(500)

        started = loop.time()
        with pytest.raises(TimeoutError):
            await _within(limits, 3, ask())
        return loop.time() - started

    assert VirtualClock().run(run()) == pytest.approx(13)


def test_one_alarm_serves_every_limit_and_none_is_left_when_it_is_silenced() -> None:
    """A later limit sets none; the earliest one is kept, also among many that have ended."""

    async def run() -> None:
        limits, loop = Limits(), asyncio.get_running_loop()
        started = loop.time()
        for _ in range(50):
            await _within(limits, 30, asyncio.sleep(0))
        late = [asyncio.create_task(_late(limits, seconds, 100)) for seconds in (40, 20, 30)]
        await asyncio.sleep(0)
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert len(timers) == 3 + 1
        assert await late[1]
        assert loop.time() - started == pytest.approx(20)
        assert await late[2]
        assert loop.time() - started == pytest.approx(30)
        limits.silence()
        limits.silence()
        assert await _late(limits, 1, 5)
        assert loop.time() - started == pytest.approx(31)
        late[0].cancel()

    VirtualClock().run(run())


def test_a_limit_that_rings_leaves_no_cancellation_behind() -> None:
    """The task may go on, and be cancelled again."""

    async def run() -> tuple[bool, int]:
        late = await _late(Limits(), 1, 5)
        task = asyncio.current_task()
        assert task is not None
        return late, task.cancelling()

    assert VirtualClock().run(run()) == (True, 0)


@pytest.mark.parametrize("first", ["the limit", "the caller"])
def test_who_is_cancelled_as_the_limit_rings_is_cancelled(first: str) -> None:
    """A caller's stop is never taken for a timeout, whichever comes first in the same moment."""

    async def run() -> bool:
        limits, loop = Limits(), asyncio.get_running_loop()
        now = loop.time()
        working = asyncio.create_task(_late(limits, 5, 100))
        if first == "the limit":
            await asyncio.sleep(0)
        loop.call_at(now + 5, working.cancel)
        await asyncio.wait([working])
        assert loop.time() - now == pytest.approx(5)
        return working.cancelled()

    assert VirtualClock().run(run())


def test_a_request_that_ends_as_its_question_is_answered_sets_no_alarm() -> None:
    """Nothing of it stays in the loop."""

    async def run() -> list[object]:
        limits, loop = Limits(), asyncio.get_running_loop()
        limit = limits.start(3)
        with limits.held():
            limits.stop(limit)
            limits.silence()
        return [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    assert VirtualClock().run(run()) == []
