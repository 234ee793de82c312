"""patterns.batching.fleet: the same job on an engine, in this process; others in tests/system."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from batching_worker import PATH, created, request, requests_of

from patterns.batching import BatchJob, ResultsError, work
from patterns.batching.api import BatchAPI
from patterns.batching.fleet import BATCHES, SHARD
from patterns.core.durable import UNFINISHED, Durable
from patterns.fake_api import FakeAPI, Fault


def nap(seconds: float) -> None:
    """Real workers run in threads: short pauses, whatever was asked for."""
    time.sleep(min(seconds, 0.02))


@pytest.fixture
def api() -> FakeAPI:
    """A fake API whose batches take no time worth mentioning."""
    return FakeAPI(batch_seconds=0.05)


@pytest.fixture
def engine(api: FakeAPI, tmp_path: Path) -> Iterator[Durable]:
    """A started engine that serves batches."""
    calls = BatchAPI(api.client(), sleep=nap, patience=5.0, settle=0.2, every=0.05)
    engine = Durable(f"sqlite:///{tmp_path / 'runs'}", services={BATCHES: calls})
    engine.start()
    yield engine
    engine.stop()


def job_of(api: FakeAPI, engine: Durable, name: str = "job") -> BatchJob:
    """A job on an engine."""
    return BatchJob(api.client(), engine, name=name, sleep=nap, most_requests=5)


def test_jobs_on_an_engine_give_what_jobs_in_a_file_give(api: FakeAPI, engine: Durable) -> None:
    """Two jobs with the same ids, side by side; each batch was sent once."""
    with job_of(api, engine, "a") as a, job_of(api, engine, "b") as b:
        a.submit(requests_of(12))
        b.submit([request(n, system="b") for n in range(12)])
        assert a.wait().outcomes == b.wait().outcomes == {"succeeded": 12}
        for job in (a, b):
            assert [result.custom_id for result in job.results()] == [f"job-{n}" for n in range(12)]
        assert len({result.line for job in (a, b) for result in job.results()}) == 24
    assert set(created(api).values()) == {2}
    assert not engine.client.list_workflows(status=[*UNFINISHED])


def test_a_query_says_where_every_batch_is(api: FakeAPI, engine: Durable) -> None:
    """The one that the store's docstring shows, on the engine's database."""
    from sqlalchemy import text

    from patterns.batching import store

    query = (store.__doc__ or "").split("same database:\n\n")[1].split("\n\n")[0]
    with job_of(api, engine, "nightly") as job:
        job.plan(requests_of(12))
        with engine.database.connect() as connection:
            assert [
                (row.name, row.number, row.state) for row in connection.execute(text(query))
            ] == [("nightly", number, "planned") for number in (1, 2, 3)]
        job.submit()
        job.wait()
        with engine.database.connect() as connection:
            rows = [tuple(row) for row in connection.execute(text(query))]
        assert rows == [("nightly", s.number, "collected", s.batch_id) for s in job.shards]


def test_a_batch_that_a_worker_cannot_go_on_with_is_told_and_tried_again(
    api: FakeAPI, engine: Durable
) -> None:
    """The others are stored; the next wait() has it done."""
    refused = Fault.status(403, path=PATH, requests=lambda body: "Question 7" in str(body), times=1)
    api.add_faults(refused)
    with job_of(api, engine) as job:
        job.submit(requests_of(12))
        with pytest.raises(ResultsError, match="PermissionDeniedError"):
            job.wait()
        assert [s.state for s in job.shards] == ["collected", "planned", "collected"]
        assert job.wait().outcomes == {"succeeded": 12}
    assert set(created(api).values()) == {1}


def test_a_worker_pauses_between_its_looks_at_a_batch(tmp_path: Path) -> None:
    """Five seconds at first, as a job in a file does."""
    pauses: list[float] = []

    def noted(seconds: float) -> None:
        pauses.append(seconds)
        nap(seconds)

    api = FakeAPI(batch_seconds=0.3)
    calls = BatchAPI(api.client(), sleep=noted)
    engine = Durable(f"sqlite:///{tmp_path / 'runs'}", services={BATCHES: calls})
    engine.start()
    try:
        with job_of(api, engine) as job:
            job.submit(requests_of(3))
            job.wait()
    finally:
        engine.stop()
    assert pauses
    assert all(5 <= pause < 6 for pause in pauses)


def test_submitting_twice_queues_once(api: FakeAPI, engine: Durable) -> None:
    """By whoever does it."""
    with job_of(api, engine) as one, job_of(api, engine) as other:
        one.submit(requests_of(12))
        other.submit(requests_of(12))
        other.submit()
        assert one.wait().outcomes == {"succeeded": 12}
        ids = [w.workflow_id for w in engine.client.list_workflows(name=SHARD)]
        assert sorted(ids) == [f"{SHARD}:{one.nonce}:{n}:0" for n in (1, 2, 3)]


def test_a_worker_that_stops_ends_its_pauses_and_leaves_its_batches(
    api: FakeAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are unfinished for the engine, and the next worker goes on at once."""
    monkeypatch.setattr(work, "FIRST_LOOK", 600.0)
    monkeypatch.setattr(work, "SLOWEST_LOOK", 600.0)
    slow = FakeAPI(batch_seconds=0.3)
    calls = BatchAPI(slow.client())  # its pauses are the engine's
    url = f"sqlite:///{tmp_path / 'runs'}"
    engine = Durable(url, services={BATCHES: calls})
    engine.start()
    with job_of(slow, engine) as job:
        job.submit(requests_of(5))
        while job.shards[0].state != "submitted":
            nap(1)
        began = time.monotonic()
        engine.stop()
        assert time.monotonic() - began < 300  # its next look was ten minutes away
    second = Durable(url, services={BATCHES: replace(calls, sleep=nap)})
    second.start()
    try:
        with job_of(slow, second) as job:
            assert job.wait().outcomes == {"succeeded": 5}
    finally:
        second.stop()
    assert set(created(slow).values()) == {1}
    assert [entry.method for entry in slow.journal].count("POST") == 1
