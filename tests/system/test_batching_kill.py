"""A job killed at random points and started again: sent once, stored once, nothing lost.

The worker is a process of its own and gets SIGKILL; the fake API runs here, on a real socket, and
knows what was created. Creates answer late, so that many kills fall between sending one and
learning its id.
"""

import contextlib
import multiprocessing
import random
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from batching_worker import PATH, created, main

from patterns.fake_api import FakeAPI, Fault
from patterns.fake_api.wire.server import serve

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["patterns.batching", "patterns.fake_api"])  # a start takes no second
COUNT = 45  # five batches of ten and less
WORK_SECONDS = 1.6  # about what the work takes


def run(url: str, journal: Path, kill_after: float | None) -> None:
    """Run the worker; kill it so long after its start."""
    worker = FORKS.Process(target=main, args=(url, str(journal), str(COUNT)))
    worker.start()
    worker.join(kill_after)
    worker.kill()  # SIGKILL; nothing happens to one that has ended
    worker.join()


def trial(seed: int, folder: Path) -> int:
    """Kill the worker up to three times, let it end, and look at both sides.

    Returns:
        How many creates were cut off before their answer arrived, more or less.
    """
    rng = random.Random(seed)
    late = Fault.delay(0.2, path=PATH, requests=lambda body: body is not None)  # creates only
    cut = Fault.disconnect(after=4, path=f"{PATH}/m", requests=7)
    api = FakeAPI(batch_seconds=0.2, faults=[late, cut], seed=seed)
    journal = folder / f"job{seed}.sqlite"
    done = Path(f"{journal}.done")
    with serve(api) as url:
        for _ in range(rng.randint(1, 3)):
            if not done.exists():
                run(url, journal, rng.uniform(0.0, WORK_SECONDS))
        killed = not done.exists()
        if killed:
            run(url, journal, None)
    ids = created(api)
    expected = {f"job-{n}" for n in range(COUNT)}
    assert set(ids) == expected, "lost"
    assert set(ids.values()) == {1}, "sent twice"
    with contextlib.closing(sqlite3.connect(journal)) as db:
        query = "SELECT custom_id FROM patterns_batch_results JOIN patterns_batch_requests "
        stored = [row[0] for row in db.execute(f"{query} USING (nonce, n)")]
    assert Counter(stored) == dict.fromkeys(expected, 1)
    return killed


@pytest.mark.slow
def test_a_killed_job_sends_and_stores_everything_once(tmp_path: Path) -> None:
    """Three trials, side by side: they mostly wait."""
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(trial, (1, 2, 4), [tmp_path] * 3)) >= 1


@pytest.mark.soak
def test_fifty_jobs_killed_at_random_points(tmp_path: Path) -> None:
    """Each up to three times."""
    assert sum(trial(seed, tmp_path) for seed in range(100, 150)) >= 25


def test_the_worker_does_its_work_when_nobody_kills_it(tmp_path: Path) -> None:
    """In process, so that the trials above test what they mean to test."""
    api = FakeAPI(batch_seconds=0.1)
    with serve(api) as url:
        worker = threading.Thread(target=main, args=(url, str(tmp_path / "j"), "25"))
        worker.start()
        worker.join()
    assert (tmp_path / "j.done").exists()
    assert created(api) == dict.fromkeys((f"job-{n}" for n in range(25)), 1)
