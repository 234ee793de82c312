"""A `BatchJob` for async code: the same steps, one after the other, in a thread of their own.

    async with AsyncBatchJob(client, "job.sqlite") as job:
        await job.submit(requests)
        await job.wait()
        async for result in job.results():
            ...

The client is the sync one. A job is a file and a call a minute: an async client would make nothing
faster, and what matters is that the event loop goes on meanwhile. A step that is cancelled ends at
its next pause, or when the call that it is in has its answer; the journal knows how far it was.

Taught in chapter 08.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from anthropic import Anthropic

from patterns.batching.job import BatchJob, Engine
from patterns.batching.results import BatchResult

P = ParamSpec("P")
T = TypeVar("T")

PAGE: Final = 500
"""Results that are read at once."""


class _Stopped(BaseException):
    """Ends a cancelled step inside its thread; no `except Exception` of a caller takes it."""


def _awaited(
    step: Callable[Concatenate[BatchJob, P], T],
) -> "Callable[Concatenate[AsyncBatchJob, P], Coroutine[Any, Any, T]]":
    """A step of `BatchJob`, in the job's thread; so is what it is given, such as an iterable."""

    @wraps(step)
    async def run(self: "AsyncBatchJob", /, *args: P.args, **options: P.kwargs) -> T:
        return await self._run(step, self._job, *args, **options)

    return run


class AsyncBatchJob:
    """Requests on their way through the Batches API; use it with `async with`.

    Its steps are those of `BatchJob`, awaited.

    Args:
        client: the SDK's sync client.
        where: see `BatchJob`; it is opened on entering.
        sleep: waits that many seconds, in the job's thread; by default so that cancelling ends it.
        options: the other options of `BatchJob`.
    """

    def __init__(
        self,
        client: Anthropic,
        where: Path | str | Engine,
        *,
        sleep: Callable[[float], None] | None = None,
        **options: Any,
    ) -> None:
        self._open = partial(BatchJob, client, where, sleep=self._pause, **options)
        self._sleep = sleep
        self._stopping = threading.Event()  # of the step that is under way, one for each
        # One thread: an SQLite connection stays where it was opened, and steps do not overlap.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch-job")

    async def __aenter__(self) -> "AsyncBatchJob":
        try:
            self._job = await self._run(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = self._thread.submit(self._job.close)
        self._thread.shutdown(wait=False)  # after closing, which no cancelling can prevent
        await asyncio.shield(asyncio.wrap_future(closing))

    def _pause(self, seconds: float) -> None:
        if self._sleep is not None:
            self._sleep(seconds)
        if self._stopping.wait(seconds if self._sleep is None else 0):
            raise _Stopped

    async def _run(self, step: Callable[..., T], *args: Any, **options: Any) -> T:
        """The result of a step, in the caller's context; cancelling waits until it has stopped."""
        stopping = threading.Event()
        call = partial(step, *args, **options)

        def begin() -> T:
            self._stopping = stopping
            if stopping.is_set():
                raise _Stopped  # cancelled while it waited for the step before it
            return call()

        running = asyncio.get_running_loop().run_in_executor(
            self._thread, partial(copy_context().run, begin)
        )
        cancelled = False
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                stopping.set()
                cancelled = True
        if cancelled:
            running.exception()  # is not lost: whoever cancels does not ask for it
            raise asyncio.CancelledError
        return running.result()

    plan = _awaited(BatchJob.plan)
    submit = _awaited(BatchJob.submit)
    status = _awaited(BatchJob.status)
    wait = _awaited(BatchJob.wait)
    cost = _awaited(BatchJob.cost)
    resume = _awaited(BatchJob.resume)
    cancel = _awaited(BatchJob.cancel)

    async def results(self) -> AsyncIterator[BatchResult]:
        """See `BatchJob.results`; read in pages, so that other steps may come between."""
        results = self._job.results()
        page: list[BatchResult]
        while page := await self._run(list, islice(results, PAGE)):
            for result in page:
                yield result
