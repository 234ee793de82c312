"""Clocks for the fake API: the machine's, and a virtual one on which waiting takes no time.

`VirtualClock.run` runs a coroutine on an event loop that never waits: when nothing is ready, its
time jumps to the next timer. Every `asyncio.sleep` and `anyio.sleep` on that loop, the async
SDK's retry pauses among them, takes no real time and still happens in the right order. Not for
code that waits for real sockets, subprocesses or threads while timers run: those timers would
fire first. The sync SDK pauses with `time.sleep`, which no clock of ours can shorten.

Used by chapters 03, 04, 07 and 08.
"""

import asyncio
import contextvars
import heapq
import selectors
import threading
import time
import weakref
from collections.abc import Coroutine
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

DAY: Final = 86_400

START: Final = 1_793_523_600.0
"""Where a virtual clock starts: 1 November 2026, 09:00 UTC."""


IDLE: Final = 0.003
"""Real seconds after which a real event loop counts as idle."""


def day_of(at: float) -> date:
    """The day, in UTC, of a time in seconds since 1970."""
    return _day(int(at // DAY))


@lru_cache(maxsize=8)
def _day(number: int) -> date:
    return datetime.fromtimestamp(number * DAY, UTC).date()


class Clock(Protocol):
    """What the fake API needs to know about time."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let the time pass, in sync code."""
        ...

    async def asleep(self, seconds: float) -> None:
        """Let the time pass, in async code."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Suspend this task."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """Time that only moves when somebody waits for it.

    Args:
        start: the first moment, in seconds since 1970.
    """

    def __init__(self, start: float = START) -> None:
        self.start = start
        # Counted from zero, so that microseconds survive the float's rounding for years.
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()

    def now(self) -> float:
        """Seconds since 1970, as this clock has it."""
        return self.start + self._elapsed

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Move the time forward at once.

        Raises:
            ValueError: the time would go back.
        """
        if seconds < 0:
            raise ValueError(f"cannot sleep {seconds} s; a clock only goes forward.")
        with self._lock:
            self._elapsed += seconds

    advance = sleep

    async def asleep(self, seconds: float) -> None:
        """Sleep until the time has come, on any event loop.

        On this clock's own loop that takes no real time. On another one, such as a notebook's,
        the time moves on when that loop has been idle for a few milliseconds, so that what runs
        side by side stays side by side.
        """
        loop = asyncio.get_running_loop()
        if seconds <= 0 or (isinstance(loop, _VirtualLoop) and loop.clock is self):
            await asyncio.sleep(seconds)
            return
        turns = self._turns.setdefault(loop, _Turns(self, loop))
        await turns.until(self._elapsed + seconds)

    def reach(self, elapsed: float) -> None:
        """Move the time forward to a moment, unless it is past it already."""
        with self._lock:
            self._elapsed = max(self._elapsed, elapsed)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in virtual time and return its result.

        Where a loop is running already, as in a notebook, it runs in a thread of its own while
        the caller waits.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._run(main)
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(self._run(main))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _run(self, main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=lambda: _VirtualLoop(self)) as runner:
            return runner.run(main)


class _Turns:
    """The sleepers of one real event loop, woken in order of time whenever it is idle."""

    def __init__(self, clock: VirtualClock, loop: asyncio.AbstractEventLoop) -> None:
        self._clock = clock
        self._loop = weakref.ref(loop)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    async def until(self, elapsed: float) -> None:
        """Return when the clock has got there."""
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (elapsed, self._count, future))
        self._look_later()
        await future

    def _look_later(self) -> None:
        """Look whether the loop is idle, a moment after the last sleeper lay down."""
        loop = self._loop()
        if self._timer is not None:
            self._timer.cancel()
        if loop is not None and self._sleepers:
            self._timer = loop.call_later(IDLE, self._look, loop, loop.time() + IDLE)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Wake the next sleeper, unless the loop was too busy to look in time."""
        if loop.time() - due < IDLE:
            elapsed, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self._clock.reach(elapsed)
                future.set_result(None)
        self._look_later()


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for the next timer, moves the clock to it."""

    clock: VirtualClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer is set: only another thread or a socket can go on
            return super().select(None)
        ready = super().select(0)
        if not ready and timeout > 0:
            self.clock.sleep(timeout)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a virtual clock's."""

    def __init__(self, clock: VirtualClock) -> None:
        selector = _JumpingSelector()
        selector.clock = clock
        super().__init__(selector)
        self.clock = clock
        self._clock_resolution = 1e-6  # timers this close to now are due: sums of floats round

    def time(self) -> float:
        return self.clock.elapsed

    async def shutdown_default_executor(self, *_: Any, **__: Any) -> None:
        """Wait for the threads, however long: newer Pythons would wait 300 s of this clock."""
        await super().shutdown_default_executor()
