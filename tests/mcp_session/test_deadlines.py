"""Time limits that share one timer, in virtual time."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.fake_api import VirtualClock
from patterns.mcp_session.deadlines import Deadlines


async def _late(deadlines: Deadlines, limit: float, work: float) -> bool:
    """Whether `work` seconds are too many for `limit`."""
    try:
        with deadlines.limit(limit):
            await asyncio.sleep(work)
    except TimeoutError:
        return True
    return False


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=20))
def test_exactly_those_that_take_too_long_are_interrupted(jobs: list[tuple[int, int]]) -> None:
    """Many at once, in any order, on one timer."""

    async def run() -> list[bool]:
        deadlines = Deadlines(asyncio.get_running_loop())
        late = [_late(deadlines, limit, work + 0.5) for limit, work in jobs]
        outcome = await asyncio.gather(*late)
        deadlines.close()
        return list(outcome)

    assert VirtualClock().run(run()) == [work + 0.5 > limit for limit, work in jobs]


def test_a_limit_comes_when_it_is_due() -> None:
    """Not when the timer next rings for somebody else."""

    async def run() -> float:
        deadlines = Deadlines(asyncio.get_running_loop())
        loop = asyncio.get_running_loop()
        started = loop.time()
        slow = asyncio.create_task(_late(deadlines, 100, 1))
        await asyncio.sleep(0)
        assert await _late(deadlines, 5, 50)
        elapsed = loop.time() - started
        await slow
        return elapsed

    assert VirtualClock().run(run()) == pytest.approx(5)


def test_a_cancellation_from_outside_stays_a_cancellation() -> None:
    """Even if it comes while a limit is running."""

    async def run() -> bool:
        task = asyncio.create_task(_late(Deadlines(asyncio.get_running_loop()), 10, 100))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert VirtualClock().run(run())


def test_an_error_inside_passes() -> None:
    """A limit is about time only."""

    async def run() -> None:
        with pytest.raises(KeyError), Deadlines(asyncio.get_running_loop()).limit(10):
            raise KeyError("mine")

    VirtualClock().run(run())


def test_a_request_that_ends_while_its_limit_is_held_stays_ended() -> None:
    """Nobody is interrupted later on its behalf."""

    async def run() -> bool:
        deadlines = Deadlines(asyncio.get_running_loop())
        short = asyncio.create_task(_late(deadlines, 3, 2))
        await asyncio.sleep(1)
        with deadlines.held():
            await asyncio.sleep(5)
        await asyncio.sleep(50)
        return await short

    assert not VirtualClock().run(run())
