"""The time limits of the requests that are running, which may stand still and start anew."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
current: ContextVar[asyncio.Timeout | None] = ContextVar("limit of this request", default=None)


class Limits:
    """The limits that are running in one event loop."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()

    async def within(self, limit: asyncio.Timeout, work: Awaitable[T]) -> T:
        """Do the work inside a limit, which raises `TimeoutError`."""
        token = current.set(limit)
        self._running.add(limit)
        try:
            async with limit:
                return await work
        finally:
            self._running.discard(limit)
            current.reset(token)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block whose time does not count, such as a person's answer to a question.

        It stops the limit of the request that asks, or every limit if that cannot be told: a
        question of the 2025 era does not say which request it belongs to.
        """
        asking = current.get()
        limits = {asking} if asking in self._running else self._running
        ends = {limit: limit.when() for limit in limits if limit and not limit.expired()}
        now = asyncio.get_running_loop().time
        started = now()
        for limit in ends:
            limit.reschedule(None)
        try:
            yield
        finally:
            for limit, end in ends.items():
                if limit in self._running and end is not None:
                    limit.reschedule(end + now() - started)


def extend(limit: asyncio.Timeout | None, seconds: float, last: float) -> None:
    """Let a limit end in so many seconds, but at the loop's time `last` at the latest."""
    end = limit and limit.when()
    if limit and end is not None and not limit.expired():
        limit.reschedule(max(end, min(asyncio.get_running_loop().time() + seconds, last)))
