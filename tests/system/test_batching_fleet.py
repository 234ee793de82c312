"""Several workers on one job, on SQLite and PostgreSQL: killed, drained, and nothing mixed up.

Workers are processes of their own and share the database with an engine here that starts jobs. The
fake API runs here, on a real socket, and knows what was created.
"""

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from batching_worker import PATH, created, request, serve_batches

from patterns.batching import BatchJob
from patterns.batching.fleet import SHARD
from patterns.core.durable import UNFINISHED, Durable
from patterns.core.messages import text_of
from patterns.fake_api import FakeAPI, Fault
from patterns.fake_api.wire.server import serve

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["patterns.batching", "patterns.fake_api"])
COUNT, EACH = 12, 3


class Fleet:
    """Workers on one database, and the API that they call."""

    def __init__(self, database: str, url: str, folder: Path) -> None:
        self.database, self.url, self.folder = database, url, folder
        self.workers: list[Any] = []

    def hire(self) -> Any:
        """One more worker, when it is ready."""
        ready = self.folder / f"ready-{len(self.workers)}"
        worker = FORKS.Process(target=serve_batches, args=(self.database, self.url, str(ready)))
        worker.start()
        self.workers.append(worker)
        until(ready.exists)
        return worker

    def end(self) -> None:
        """Nobody is left."""
        for worker in self.workers:
            worker.kill()
            worker.join()


def until(true: Callable[[], bool]) -> None:
    """Wait for an event."""
    while not true():
        time.sleep(0.05)


@contextmanager
def fleet_on(database: str, folder: Path, api: FakeAPI) -> Iterator[tuple[Fleet, Durable]]:
    """A fleet without workers, and an engine that only starts jobs."""
    with serve(api) as url:
        engine = Durable(database, lease_s=1.0)
        fleet = Fleet(database, url, folder)
        engine.start()
        try:
            yield fleet, engine
        finally:
            engine.stop()
            fleet.end()


def slow_creates() -> Fault:
    """So that kills and stops fall between sending a create and learning its batch."""
    return Fault.delay(0.15, path=PATH, requests=lambda body: body is not None)


def job_of(fleet: Fleet, engine: Durable, name: str) -> BatchJob:
    """A job on the fleet's database."""
    client = Anthropic(base_url=fleet.url, api_key="starter")
    options: Any = {"sleep": lambda s: time.sleep(min(s, 0.1)), "most_requests": EACH}
    return BatchJob(client, engine, name=name, **options)


def rows(name: str) -> list[Any]:
    """The same ids in every job, and questions that name it."""
    messages = [[{"role": "user", "content": f"{name} {n}"}] for n in range(COUNT)]
    return [request(n, messages=each) for n, each in enumerate(messages)]


def check(fleet: Fleet, engine: Durable, names: str) -> None:
    """Every answer belongs to its question, and nothing is pending."""
    for name in names:
        with job_of(fleet, engine, name) as job:
            assert job.wait().outcomes == {"succeeded": COUNT}
            texts = [text_of(result.message) for result in job.results() if result.message]
            assert all(f"{name} {n}" in text for n, text in enumerate(texts))
            assert {shard.state for shard in job.shards} == {"collected"}
    # The answers are kept a moment before the workflow that kept them is recorded as ended.
    until(lambda: not engine.client.list_workflows(status=[*UNFINISHED]))


def side_by_side(database: str, folder: Path, seed: int) -> None:
    """Three jobs, two workers; one is killed, one drained, a third one finishes."""
    rng = random.Random(seed)
    api = FakeAPI(batch_seconds=0.3, faults=[slow_creates()], seed=seed)
    with fleet_on(database, folder, api) as (fleet, engine):
        killed, drained = fleet.hire(), fleet.hire()
        for name in "abc":
            with job_of(fleet, engine, name) as job:
                job.submit(rows(name))
        time.sleep(rng.uniform(0.0, 1.5))
        killed.kill()
        time.sleep(rng.uniform(0.0, 0.5))
        drained.terminate()  # SIGTERM: it stops its engine, and ends
        drained.join(30)
        assert drained.exitcode == 0
        gone = (folder / "ready-1").read_text("utf-8")
        held = engine.client.list_workflows(status="PENDING", executor_id=gone)
        fleet.hire()
        check(fleet, engine, "abc")
        for workflow in held:  # handed over, and finished by somebody else
            status = engine.look(workflow.workflow_id)
            assert status
            assert (status.status, status.executor_id != gone) == ("SUCCESS", True)
        workers = {one.executor_id for one in engine.client.list_workflows(name=SHARD)}
        assert len(workers) >= 1
    assert set(created(api).values()) == {3}, "sent twice"
    assert len(created(api)) == COUNT


@pytest.mark.slow
def test_killed_and_drained_workers_on_sqlite(tmp_path: Path) -> None:
    """Three jobs with the same ids at once."""
    side_by_side(f"sqlite:///{tmp_path / 'runs'}", tmp_path, 1)


@pytest.mark.slow
def test_killed_and_drained_workers_on_postgresql(postgres: str, tmp_path: Path) -> None:
    """The same on a server."""
    side_by_side(postgres, tmp_path, 2)


@pytest.mark.soak
def test_ten_fleets_killed_at_random_moments(tmp_path: Path) -> None:
    """On SQLite."""
    for seed in range(10, 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        side_by_side(f"sqlite:///{folder / 'runs'}", folder, seed)


def test_several_processes_plan_one_job_and_only_one_plan_counts(
    postgres: str, tmp_path: Path
) -> None:
    """At the same time, on a server: the others compare, and nothing is there twice."""
    api = FakeAPI(batch_seconds=0.1)
    with fleet_on(postgres, tmp_path, api) as (fleet, engine):
        fleet.hire()

        def plan(_: int) -> str:
            with job_of(fleet, engine, "planned-at-once") as job:
                job.submit(rows("x"))
                return job.nonce

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(plan, range(4)))) == 1
        with job_of(fleet, engine, "planned-at-once") as job:
            assert job.wait().outcomes == {"succeeded": COUNT}
    assert set(created(api).values()) == {1}
