"""Run one async function over many items: bounded, lazy, and with failures as data.

`asyncio.gather` over everything starts everything at once, keeps everything in memory and loses
the other results on the first error. Use `fan_out` for calls to Claude that do not depend on each
other, with an `AdaptiveLimit` where there are many: it runs at the rate that the API allows. For
tasks with dependencies see `patterns.agents`; for offline volume the Batches API costs half
(`patterns.batching`). Taught in chapters 06 and 08.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """How one item ended: with a value, or with the exception that its call raised."""

    index: int
    """Position of the item in the input, from 0."""
    item: Item
    value: Value | None = None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether the call returned."""
        return self.error is None

    def unwrap(self) -> Value:
        """The value.

        Raises:
            Exception: what the call raised, if it did.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only if the call returned None


class Limit(Protocol):
    """Decides how many calls run at once: an adaptive limit, or a semaphore that several share."""

    async def acquire(self) -> object:
        """Wait until one more call may start."""

    def release(self) -> None:
        """Take back a slot."""


async def fan_out(
    items: Iterable[Item] | AsyncIterable[Item],
    fn: Callable[[Item], Awaitable[Value]],
    *,
    limit: int | Limit,
    ordered: bool = False,
    buffer: int = 1_024,
) -> AsyncGenerator[Outcome[Item, Value]]:
    """Call `fn` on every item, at most `limit` at a time, and yield an `Outcome` for each.

    Outcomes come as calls end, or in the order of the items if `ordered`. An `Exception` becomes
    an outcome; anything else that a call raises, such as `SystemExit`, ends the iteration. Items
    are taken lazily: none is while `buffer` outcomes wait to be read, so memory holds at most those
    and the calls under way, also for an endless iterator. Closing the iterator early (a `break`
    does), or cancelling the task that reads it, cancels the calls that still run, waits for them,
    and closes `items` where it is an async generator.

    Raises:
        ValueError: `limit` or `buffer` is below 1.
        BaseException: whatever the iterable itself raises, after the calls that it led to; what a
            call raises that is no `Exception`, at once.
    """
    if buffer < 1 or (isinstance(limit, int) and limit < 1):
        raise ValueError(f"limit is {limit}, buffer {buffer}; both must be 1 or more.")
    gate = asyncio.Semaphore(limit) if isinstance(limit, int) else limit
    ended: asyncio.Queue[Outcome[Item, Value] | BaseException | None] = asyncio.Queue()
    waiting: dict[int, Outcome[Item, Value]] = {}
    has_room = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    async def run(index: int, item: Item) -> None:
        try:
            last_word: Outcome[Item, Value] | BaseException = Outcome(index, item, await fn(item))
        except BaseException as raised:
            error = _failure(raised, index)
            last_word = Outcome(index, item, error=error) if error else raised
        ended.put_nowait(last_word)

    def finish(task: asyncio.Task[None]) -> None:
        running.discard(task)
        gate.release()  # here, since a cancelled task may never have begun

    async def start_all() -> None:
        last_word: BaseException | None = None
        try:
            async with aclosing(_each(items)) as each:
                index = 0
                async for item in each:
                    while ended.qsize() + len(waiting) >= buffer:
                        has_room.clear()
                        await has_room.wait()
                    await gate.acquire()
                    task = asyncio.create_task(run(index, item))
                    running.add(task)
                    task.add_done_callback(finish)
                    index += 1
        except BaseException as raised:
            last_word = raised
        await asyncio.gather(*running, return_exceptions=True)
        ended.put_nowait(last_word)

    starter = asyncio.create_task(start_all())
    turn = 0
    try:
        while isinstance(outcome := await ended.get(), Outcome):
            waiting[outcome.index] = outcome
            while (head := turn if ordered else outcome.index) in waiting:
                yield waiting.pop(head)
                has_room.set()
                turn += 1
        if outcome is not None:
            raise outcome
    finally:
        tasks = [starter, *running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failure(raised: BaseException, index: int) -> Exception | None:
    """What a call's outcome says of what it raised; None for what must end everything."""
    if isinstance(raised, Exception):
        return raised
    task = asyncio.current_task()
    if not isinstance(raised, asyncio.CancelledError) or (task and task.cancelling()):
        return None
    error = RuntimeError(f"the call for item {index} cancelled itself")
    error.__cause__ = raised
    return error


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item]:
    if isinstance(items, AsyncIterable):
        try:
            async for item in items:
                yield item
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()
    else:
        for item in items:
            yield item
