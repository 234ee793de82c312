"""Time limits for many short requests, with one timer for all of them.

`asyncio.timeout` arms and cancels a timer per request, which costs a session 4 to 6 % of its
calls per second in memory. Here the timer stays armed, and looks who is late when it rings.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self

_current: ContextVar["Limit | None"] = ContextVar("limit of the running request", default=None)


class Deadlines:
    """The limits that are running in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._running: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def limit(self, seconds: float) -> "Limit":
        """A `with` block that raises `TimeoutError` after `seconds`."""
        return Limit(self, seconds)

    @property
    def current(self) -> "Limit | None":
        """The limit of the request that the running task is in."""
        return _current.get()

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block whose time does not count, such as a person's answer to a question.

        It stops the limit of the request that asks, or every limit if that cannot be told: a
        question of the 2025 era does not say which request it belongs to.
        """
        asking = _current.get()
        limits = [asking] if asking in self._running else list(self._running)
        started = self.loop.time()
        self._running.difference_update(limits)
        try:
            yield
        finally:
            for limit in limits:
                if limit.open:
                    limit.when += self.loop.time() - started
                    self.start(limit)

    def start(self, limit: "Limit") -> None:
        """Watch over a limit."""
        self._running.add(limit)
        if self._timer is None or limit.when < self._timer.when():
            self._arm(limit.when)

    def stop(self, limit: "Limit") -> None:
        """Forget a limit; the timer may ring for nothing."""
        self._running.discard(limit)

    def close(self) -> None:
        """Disarm the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self.close()
        self._timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self.loop.time()
        for limit in [limit for limit in self._running if limit.when <= now]:
            self._running.discard(limit)
            limit.expire()
        if self._running:
            self._arm(min(limit.when for limit in self._running))


class Limit:
    """One limit. `expired` says whether it, and not somebody else, ended the block."""

    __slots__ = (
        "_before",
        "_deadlines",
        "_seconds",
        "_task",
        "_token",
        "expired",
        "open",
        "started",
        "when",
    )

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self.expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a limit needs a task to interrupt"
        self._task = task
        self._before = task.cancelling()
        self._token = _current.set(self)
        self.open = True
        self.started = self._deadlines.loop.time()
        self.when = self.started + self._seconds
        self._deadlines.start(self)
        return self

    def restart(self, last: float) -> None:
        """Begin again, but end at the loop's time `last` at the latest."""
        self.when = max(self.when, min(self._deadlines.loop.time() + self._seconds, last))

    def expire(self) -> None:
        """Interrupt the task."""
        self.expired = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.open = False
        self._deadlines.stop(self)
        _current.reset(self._token)
        ours = self.expired and self._task.uncancel() <= self._before
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error
