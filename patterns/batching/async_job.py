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
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

from anthropic import Anthropic
from anthropic.types.messages.batch_create_params import Request

from patterns.batching.job import RESUMABLE, BatchJob, Engine, Resumed
from patterns.batching.results import BatchResult
from patterns.batching.status import JobCost, JobStatus
from patterns.batching.store import BatchShard

T = TypeVar("T")

PAGE: Final = 500
"""Results that are read at once."""


class _Stopped(BaseException):
    """Ends a cancelled step inside its thread; no `except Exception` of a caller takes it."""


class AsyncBatchJob:
    """Requests on their way through the Batches API; use it with `async with`.

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

    async def plan(self, requests: Iterable[Request]) -> tuple[BatchShard, ...]:
        """See `BatchJob.plan`; the requests are made in the job's thread."""
        return await self._run(self._job.plan, requests)

    async def submit(self, requests: Iterable[Request] | None = None) -> tuple[BatchShard, ...]:
        """See `BatchJob.submit`; the requests are made in the job's thread."""
        return await self._run(self._job.submit, requests)

    async def status(self) -> JobStatus:
        """See `BatchJob.status`."""
        return await self._run(self._job.status)

    async def wait(self, **options: Any) -> JobStatus:
        """See `BatchJob.wait`; `progress` is told in the job's thread."""
        return await self._run(self._job.wait, **options)

    async def results(self) -> AsyncIterator[BatchResult]:
        """See `BatchJob.results`; read in pages, so that other steps may come between."""
        results = self._job.results()
        page: list[BatchResult]
        while page := await self._run(list, islice(results, PAGE)):
            for result in page:
                yield result

    async def cost(self) -> JobCost:
        """See `BatchJob.cost`."""
        return await self._run(self._job.cost)

    async def resume(self, reasons: Collection[str] = RESUMABLE) -> Resumed:
        """See `BatchJob.resume`."""
        return await self._run(self._job.resume, reasons)

    async def cancel(self) -> tuple[str, ...]:
        """See `BatchJob.cancel`: it asks the API to stop the batches."""
        return await self._run(self._job.cancel)
