"""Run one async function over many items: bounded, lazy, and with failures as data.

`asyncio.gather` over everything starts everything at once, keeps everything in memory and loses
the other results on the first error. Use `fan_out` for calls to Claude that do not depend on each
other, with an `AdaptiveLimit` where there are many: it runs at the rate that the API allows. For
tasks with dependencies see `patterns.agents`; for offline volume the Batches API costs half
(`patterns.batching`). Taught in chapters 06 and 08.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
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
    """Decides how many calls run at once: an adaptive limit in place of a number."""

    async def acquire(self) -> None:
        """Wait until one more call may start."""

    def release(self, error: Exception | None) -> None:
        """Take back a slot; `error` is what the call raised, or None."""


class FixedLimit:
    """At most `n` calls at once."""

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"limit is {n}; it must be 1 or more, or nothing would ever run.")
        self._slots = asyncio.Semaphore(n)

    async def acquire(self) -> None:
        """Wait for a free slot."""
        await self._slots.acquire()

    def release(self, error: Exception | None) -> None:
        """Free a slot."""
        self._slots.release()


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
    an outcome. Items are taken lazily: at most `buffer` (or `limit`, if that is more) are started
    and not yet read, so an endless iterator needs no more memory than a short one. Closing the
    iterator early, or cancelling the task that reads it, cancels the calls that still run and
    waits for them.

    Raises:
        ValueError: `limit` or `buffer` is below 1.
        Exception: whatever the iterable itself raises, after the calls that it led to.
    """
    gate = FixedLimit(limit) if isinstance(limit, int) else limit
    if buffer < 1:
        raise ValueError(f"buffer is {buffer}; it must be 1 or more.")
    room = asyncio.Semaphore(max(buffer, limit) if isinstance(limit, int) else buffer)
    ended: asyncio.Queue[Outcome[Item, Value] | Exception | None] = asyncio.Queue()
    running: set[asyncio.Task[None]] = set()

    async def run(index: int, item: Item) -> None:
        value: Value | None = None
        error: Exception | None = None
        try:
            value = await fn(item)
        except Exception as raised:
            error = raised
        except asyncio.CancelledError as cancelled:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # we are in a task
                raise
            error = RuntimeError(f"the call for item {index} cancelled itself")
            error.__cause__ = cancelled
        finally:
            gate.release(error)
        ended.put_nowait(Outcome(index, item, value, error))

    async def start_all() -> None:
        last_word: Exception | None = None
        try:
            index = 0
            async for item in _each(items):
                await room.acquire()
                await gate.acquire()
                task = asyncio.create_task(run(index, item))
                running.add(task)
                task.add_done_callback(running.discard)
                index += 1
        except Exception as raised:
            last_word = raised
        await asyncio.gather(*running)
        ended.put_nowait(last_word)

    starter = asyncio.create_task(start_all())
    waiting: dict[int, Outcome[Item, Value]] = {}
    turn = 0
    try:
        while isinstance(outcome := await ended.get(), Outcome):
            waiting[outcome.index] = outcome
            while (head := turn if ordered else outcome.index) in waiting:
                yield waiting.pop(head)
                room.release()
                turn += 1
        if outcome is not None:
            raise outcome
    finally:
        tasks = [starter, *running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
