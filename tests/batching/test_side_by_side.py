"""Two processes on one job: one works while the other cancels it, at every moment there is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import Middleware
from batching_worker import Moments, api_of, requests_of

from patterns.batching import BatchJob
from patterns.batching.store import JobStore
from patterns.fake_api import FakeAPI

COUNT = 5


@contextmanager
def counted(moments: Moments, own: BatchJob) -> Iterator[None]:
    """What `own` does to the database is moments too; but inside its transactions."""
    do = JobStore._do

    def counting(self: JobStore, query: str, *values: Any, **rows: Any) -> Any:
        cursor = do(self, query, *values, **rows)
        if self is own._store and not self._db.in_transaction:
            moments.pass_()
        return cursor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobStore, "_do", counting)
        yield


def job_on(api: FakeAPI, path: Path, *middleware: Middleware) -> BatchJob:
    """A process's own view of the one job, in a database that processes share."""
    clock: Any = api.clock
    timed: Any = {"clock": clock.now, "sleep": clock.sleep, "settle": 5.0}
    client = api.client(middleware=middleware)
    return BatchJob(client, f"sqlite:///{path}", most_requests=2, **timed)


def answered(api: FakeAPI) -> int:
    """What is paid so far."""
    batches = api.client().messages.batches.list(limit=100)
    return sum(batch.request_counts.succeeded for batch in batches)


def cancelled_at(api: FakeAPI, path: Path, chosen: int) -> int:
    """One process submits and waits, another cancels at that moment; how many moments passed."""
    clock: Any = api.clock
    expected: dict[str, int] = {}

    def cancel() -> None:
        with job_on(api, path) as other:
            other.cancel()
            if other.shards and not clock.elapsed:  # later, some may have been answered
                expected["canceled"] = COUNT

    moments = Moments(lambda moment: cancel() if moment == chosen else None)
    with job_on(api, path, moments) as job:
        with counted(moments, job):
            job.submit(requests_of(COUNT))
            outcomes = job.wait().outcomes
        assert outcomes == (expected or outcomes), chosen
        assert sum(outcomes.values()) == COUNT, chosen
        batches = {batch.id for batch in api.client().messages.batches.list(limit=100)}
        known = {shard.batch_id for shard in job.shards} - {None}
        assert batches == known, chosen
    return moments.passed


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.soak)])
def test_a_job_cancelled_by_another_process_stops_and_is_paid_once(
    tmp_path: Path, step: int
) -> None:
    """No batch runs on unknown, none is sent after; `resume` gets every answer, once."""
    whole = cancelled_at(api_of(0.01)[0], tmp_path / "whole", 0)
    assert whole > 60
    for chosen in range(1, whole + 1, step):
        api, path = api_of(0.01)[0], tmp_path / f"{chosen}"
        cancelled_at(api, path, chosen)
        with job_on(api, path) as job:
            job.resume({"canceled"})
            assert job.wait().outcomes == {"succeeded": COUNT}, chosen
            asked = [(each.custom_id, each.index) for each in job.results()]
        assert asked == [(each["custom_id"], n) for n, each in enumerate(requests_of(COUNT))]
        assert answered(api) == COUNT, f"paid twice: cancelled at moment {chosen}"
