"""patterns.batching.async_job: the same job, while the event loop goes on."""

import asyncio
import gc
import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from batching_worker import PATH, request, requests_of

from patterns.batching import AsyncBatchJob, BatchJob
from patterns.batching.store import JobStoreInUse
from patterns.fake_api import FakeAPI, Fault, VirtualClock


def job_on(api: FakeAPI, journal: Path | str = "", **options: Any) -> AsyncBatchJob:
    """A job that talks to a fake API in its virtual time."""
    clock = api.clock
    return AsyncBatchJob(api.client(), journal, clock=clock.now, sleep=clock.sleep, **options)


def test_results_come_as_from_the_sync_job() -> None:
    """In the order of the requests, with cost and status."""

    async def work() -> tuple[list[str], int, Any]:
        async with job_on(FakeAPI(clock=VirtualClock()), most_requests=20) as job:
            await job.plan(requests_of(50))
            await job.submit()
            ended = (await job.wait()).ended
            ids = [result.custom_id async for result in job.results()]
            assert (await job.status()).outcomes == {"succeeded": 50}
            return ids, ended, (await job.cost()).usd

    ids, ended, usd = asyncio.run(work())
    assert ids == [f"job-{n}" for n in range(50)]
    assert ended == 3
    assert usd > 0


def test_what_was_cancelled_and_what_failed_is_gone_on_with() -> None:
    """The steps after a job that went wrong."""
    api = FakeAPI(clock=VirtualClock(), batch_seconds=1_000)
    wrong: Any = request(1, max_tokens="many")

    async def work() -> list[str]:
        async with job_on(api) as job:
            (shard,) = await job.submit([request(0), wrong])
            assert await job.cancel() == (shard.batch_id,)
            assert (await job.wait()).outcomes == {"canceled": 2}
            assert (await job.resume({"canceled"})).again == {"canceled": 2}
            await job.wait()
            assert (await job.resume({"invalid_request_error"})).kept == 1
            await job.wait()
            return [result.outcome async for result in job.results()]

    assert asyncio.run(work()) == ["succeeded", "errored"]


def test_the_event_loop_goes_on_and_a_cancelled_wait_stops() -> None:
    """In real time: the job would look again after five seconds; it can be gone on with."""
    api = FakeAPI(batch_seconds=3_600)
    looked = threading.Event()

    async def work() -> str:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with AsyncBatchJob(api.client(), "") as job:
            await job.submit(requests_of(3))
            waiting = asyncio.create_task(job.wait(progress=lambda _: looked.set()))
            await asyncio.to_thread(looked.wait)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            del waiting
            gc.collect()
            return (await job.submit())[0].state

    complaints: list[Any] = []
    assert asyncio.run(work()) == "submitted"
    assert complaints == [], "an error that nobody asked for"


def test_a_step_that_is_cancelled_twice_stops_all_the_same() -> None:
    """Neither the second cancel nor the next step waits for the batch."""
    api = FakeAPI(batch_seconds=3_600)
    looked = threading.Event()

    async def work() -> str:
        async with AsyncBatchJob(api.client(), "") as job:
            await job.submit(requests_of(3))
            waiting = asyncio.create_task(job.wait(progress=lambda _: looked.set()))
            await asyncio.to_thread(looked.wait)
            waiting.cancel()
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return (await job.status()).outcomes.get("succeeded", "none")  # type: ignore[return-value]

    assert asyncio.run(work()) == "none"


def test_a_step_that_is_cancelled_before_it_begins_does_nothing() -> None:
    """It waits for the one before it, and then sends nothing."""
    gate, sent = threading.Event(), threading.Event()

    def hold(body: Any) -> bool:
        sent.set()
        return gate.wait() and False

    api = FakeAPI(clock=VirtualClock(), faults=[Fault.status(500, path=PATH, requests=hold)])

    async def work() -> int:
        async with job_on(api, most_requests=2) as job:
            submitting = asyncio.create_task(job.submit(requests_of(4)))
            await asyncio.to_thread(sent.wait)
            cancelling = asyncio.create_task(job.cancel())
            await asyncio.sleep(0)
            cancelling.cancel()
            await asyncio.sleep(0)  # the loop tells it before the thread is free
            gate.set()
            await submitting
            with pytest.raises(asyncio.CancelledError):
                await cancelling
            return (await job.status()).submitted

    assert asyncio.run(work()) == 2
    assert not [entry for entry in api.journal if entry.path.endswith("/cancel")]


def test_a_step_without_a_pause_ends_before_its_cancelling_does() -> None:
    """A create that has been sent is not forgotten."""
    gate, sent = threading.Event(), threading.Event()

    def hold(body: Any) -> bool:
        sent.set()
        return gate.wait() and False

    api = FakeAPI(clock=VirtualClock(), faults=[Fault.status(500, path=PATH, requests=hold)])

    async def work() -> str:
        async with job_on(api) as job:
            submitting = asyncio.create_task(job.submit(requests_of(3)))
            await asyncio.to_thread(sent.wait)
            submitting.cancel()
            await asyncio.sleep(0)
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            return (await job.submit())[0].state

    assert asyncio.run(work()) == "submitted"
    assert sum(entry.method == "POST" for entry in api.journal) == 1


def test_a_file_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    """The error comes through as it is."""
    api = FakeAPI(clock=VirtualClock())

    async def work() -> None:
        async with job_on(api, tmp_path / "j"):
            raise AssertionError

    with BatchJob(api.client(), tmp_path / "j"), pytest.raises(JobStoreInUse):
        asyncio.run(work())
    assert not [each for each in threading.enumerate() if each.name.startswith("batch-job")]


def test_requests_are_made_in_the_context_of_the_caller() -> None:
    """So that a middleware knows on whose behalf it runs."""
    name: ContextVar[str] = ContextVar("name")

    async def work() -> None:
        name.set("ada")
        async with job_on(FakeAPI(clock=VirtualClock())) as job:
            await job.plan(request(n) for n in range(2) if name.get() == "ada")

    asyncio.run(work())


def test_leaving_is_finished_although_it_is_cancelled(tmp_path: Path) -> None:
    """The file is free and the thread is gone, also where a step was under way."""
    gate, sent = threading.Event(), threading.Event()

    def hold(body: Any) -> bool:
        sent.set()
        return gate.wait() and False

    api = FakeAPI(clock=VirtualClock(), faults=[Fault.status(500, path=PATH, requests=hold)])

    async def work() -> None:
        job = job_on(api, tmp_path / "j")
        async with job:
            submitting = asyncio.create_task(job.submit(requests_of(3)))
            await asyncio.to_thread(sent.wait)
            leaving = asyncio.create_task(job.__aexit__())
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            gate.set()
            await submitting
            [thread] = [each for each in threading.enumerate() if each.name.startswith("batch-job")]
            await asyncio.to_thread(thread.join)

    with pytest.raises(RuntimeError, match="after shutdown"):
        asyncio.run(work())  # it leaves a second time
    with BatchJob(api.client(), tmp_path / "j") as again:
        assert again.shards[0].state == "submitted"
