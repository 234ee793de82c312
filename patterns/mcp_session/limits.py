"""The time limits of the requests that are running, which may stand still and start anew.

`asyncio.timeout` for each request would be the dearest part of a call that is answered at once. So
one alarm serves them all: it rings at the earliest limit, if any request still runs then.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from math import inf
from typing import Final


class Limit:
    """The end of one request, in the loop's time; `token` is what was the limit outside of it."""

    __slots__ = ("before", "end", "late", "task", "token")

    def __init__(self, task: "asyncio.Task[object]", end: float) -> None:
        self.task, self.end, self.late = task, end, False
        self.before = task.cancelling()
        self.token: Token[Limit | None] = current.set(self)

    @property
    def expired(self) -> bool:
        """Whether it is this limit, and nothing else, that has cancelled its task."""
        return self.late and self.task.cancelling() - 1 <= self.before


current: Final[ContextVar[Limit | None]] = ContextVar("limit of this request", default=None)


class Limits:
    """The limits that are running in one event loop."""

    def __init__(self) -> None:
        self._running: set[Limit] = set()
        self._alarm: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> Limit:
        """From now on the running task is cancelled after so many seconds, until `stop`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # a coroutine runs in a task
        limit = Limit(task, loop.time() + seconds)
        self._running.add(limit)
        self._ring_at(limit.end)
        return limit

    def stop(self, limit: Limit) -> None:
        """The request is over; a cancellation by its limit is taken back."""
        self._running.discard(limit)
        if limit.late:
            limit.task.uncancel()
        current.reset(limit.token)

    def silence(self) -> None:
        """No alarm any more: nothing of a session that is closed stays in its loop."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def extend(self, limit: Limit | None, seconds: float, last: float) -> None:
        """Let a limit end in so many seconds, but at the loop's time `last` at the latest."""
        if limit is not None:
            soonest = min(asyncio.get_running_loop().time() + seconds, last)
            limit.end = max(limit.end, soonest)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block whose time does not count, such as a person's answer to a question.

        It stops the limit of the request that asks, or every limit if that cannot be told: a
        question of the 2025 era does not say which request it belongs to.
        """
        asking = current.get()
        limits = {asking} if asking in self._running else self._running
        ends = {limit: limit.end for limit in limits if limit and limit.end < inf}
        now = asyncio.get_running_loop().time
        started = now()
        for limit in ends:
            limit.end = inf
        try:
            yield
        finally:
            for limit in ends.keys() & self._running:
                limit.end = ends[limit] + now() - started
                self._ring_at(limit.end)

    def _ring_at(self, end: float) -> None:
        if end < inf and (self._alarm is None or end < self._alarm.when()):
            self.silence()
            self._alarm = asyncio.get_running_loop().call_at(end, self._ring)

    def _ring(self) -> None:
        now, self._alarm = asyncio.get_running_loop().time(), None
        for limit in [limit for limit in self._running if limit.end <= now]:
            self._running.discard(limit)
            limit.late = limit.task.cancel()
        self._ring_at(min((limit.end for limit in self._running), default=inf))
