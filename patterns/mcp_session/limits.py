"""The time limits of the requests that are running, which may stand still and start anew.

A timer for each request would be the dearest part of a call that is answered at once, so one alarm
serves them all: it rings at the earliest limit, if any request still runs then.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from math import inf

current: ContextVar[asyncio.Timeout | None] = ContextVar("limit of this request", default=None)


class Limits:
    """The limits that are running in one event loop."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Timeout, float] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> tuple[asyncio.Timeout, Token[asyncio.Timeout | None]]:
        """A limit for `async with`, which raises `TimeoutError`, and what `end` needs."""
        limit = asyncio.timeout(None)
        self._let_end(limit, asyncio.get_running_loop().time() + seconds)
        return limit, current.set(limit)

    def end(self, limit: asyncio.Timeout, token: Token[asyncio.Timeout | None]) -> None:
        """The request is over."""
        self._ends.pop(limit, None)
        current.reset(token)

    def silence(self) -> None:
        """No alarm any more: nothing of a session that is closed stays in its loop."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def extend(self, limit: asyncio.Timeout | None, seconds: float, last: float) -> None:
        """Let a limit end in so many seconds, but at the loop's time `last` at the latest."""
        if limit is not None and (end := self._ends.get(limit, inf)) < inf:
            self._ends[limit] = max(end, min(asyncio.get_running_loop().time() + seconds, last))

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block whose time does not count, such as a person's answer to a question.

        It stops the limit of the request that asks, or every limit if that cannot be told: a
        question of the 2025 era does not say which request it belongs to.
        """
        asking = current.get()
        known = asking in self._ends
        ends = {e: when for e, when in self._ends.items() if e is asking or not known}
        now = asyncio.get_running_loop().time
        started = now()
        self._ends.update(dict.fromkeys(ends, inf))
        try:
            yield
        finally:
            for limit, end in ends.items():
                if limit in self._ends and end < inf:
                    self._let_end(limit, end + now() - started)

    def _let_end(self, limit: asyncio.Timeout, end: float) -> None:
        self._ends[limit] = end
        if self._alarm is None or end < self._alarm.when():
            self.silence()
            self._alarm = asyncio.get_running_loop().call_at(end, self._ring)

    def _ring(self) -> None:
        now, self._alarm = asyncio.get_running_loop().time(), None
        for limit, end in list(self._ends.items()):
            if end <= now:
                limit.reschedule(self._ends.pop(limit))
            elif end < inf:
                self._let_end(limit, end)
