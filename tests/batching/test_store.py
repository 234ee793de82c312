"""patterns.batching.store: one holder of a file, whole steps, errors that say what to do."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from batching_worker import api_of, job_on, requests_of

from patterns.batching import BatchJob, JobStoreError
from patterns.batching.plan import fill
from patterns.batching.store import JobStore, JobStoreFull, JobStoreInUse


def test_one_process_at_a_time_holds_a_file(tmp_path: Path) -> None:
    """Two would submit everything twice; the message names the way for several."""
    first = JobStore(tmp_path / "j")
    with pytest.raises(JobStoreInUse, match=r"j: another process works on this job.*engine"):
        JobStore(tmp_path / "j")
    first.close()
    JobStore(tmp_path / "j").close()


def test_a_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """Finish the job with the code that began it."""
    JobStore(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(JobStoreError, match=r"of version 3; finish an older"):
        JobStore(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def text(path: Path) -> None:
    """A file that is no database."""
    path.write_text("dear diary " * 100)


def foreign(path: Path) -> None:
    """Somebody else's database."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine(x)")
    db.close()


def damaged(path: Path) -> None:
    """A database of ours with rubbish in the middle."""
    api, _ = api_of()
    with job_on(api, path) as job:
        job.submit(requests_of(500))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(Random(1).randbytes(size - 8_192))


UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "text": (text, "not an SQLite file"),
    "foreign": (foreign, "none of a batch job"),
    "folder": (Path.mkdir, "check that the folder exists"),
    "missing/folder": (lambda path: None, "check that the folder exists"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_files_that_cannot_be_used_are_told(name: str, tmp_path: Path) -> None:
    """With one kind of error that names the file and says what to do."""
    make, says = UNUSABLE[name]
    make(tmp_path / name)
    with pytest.raises(JobStoreError, match=says) as caught:
        JobStore(tmp_path / name)
    assert caught.value.where == Path(name).name


def test_a_damaged_file_is_told_whenever_it_is_met(tmp_path: Path) -> None:
    """No error of the database's own comes through."""
    damaged(tmp_path / "j")
    api, _ = api_of()
    with pytest.raises(JobStoreError, match=r"restore a copy|not an SQLite file"):
        _use(job_on(api, tmp_path / "j"))


def _use(job: BatchJob) -> None:
    with job:
        list(job.results())
        job.submit()
        job.wait()


def test_a_job_in_another_thread_or_after_its_end_is_told_what_to_do(tmp_path: Path) -> None:
    """`asyncio.to_thread(job.wait)` is what one tries first."""
    api, _ = api_of()
    with job_on(api, tmp_path / "j") as job, ThreadPoolExecutor(1) as thread:
        with pytest.raises(JobStoreError, match="in the thread that opened it") as caught:
            thread.submit(job.submit, requests_of(3)).result()
        assert "AsyncBatchJob" in str(caught.value)
    with pytest.raises(JobStoreError, match="until it is closed"):
        job.status()


def test_a_full_disk_undoes_the_step_and_nothing_else(tmp_path: Path) -> None:
    """Planning and reading: make room, call again."""
    api, _ = api_of()
    with job_on(api, tmp_path / "j") as job:
        database: Any = job._store._db
        database.execute("PRAGMA max_page_count = 20")
        with pytest.raises(JobStoreFull, match="the disk is full; the step was undone"):
            job.submit(requests_of(1_000))
        assert (job.shards, api.journal) == ((), [])
        database.execute("PRAGMA max_page_count = 100000")
        job.submit(requests_of(1_000))
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JobStoreFull):
            job.wait()
        assert list(job.results()) == []
        database.execute("PRAGMA max_page_count = 100000")
        assert job.wait().outcomes == {"succeeded": 1_000}
    assert sum(entry.method == "POST" for entry in api.journal) == 1


def test_a_full_disk_of_a_server_is_told_as_that_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the database calls it."""

    def full(*_: Any, **__: Any) -> Any:
        raise psycopg.errors.DiskFull("could not extend file")

    monkeypatch.setattr(psycopg, "connect", full)
    with pytest.raises(JobStoreFull, match="the disk is full"):
        JobStore("postgresql://127.0.0.1/runs")


def test_a_bug_of_the_callers_is_no_error_of_the_database(tmp_path: Path) -> None:
    """What his own iterable raises comes through as it is, and nothing is kept."""
    api, _ = api_of()

    def broken() -> Any:
        yield from requests_of(3)
        raise KeyError("row 3")

    with job_on(api, tmp_path / "j") as job:
        with pytest.raises(KeyError, match="row 3"):
            job.submit(broken())
        assert job.shards == ()


def test_a_password_is_in_no_message() -> None:
    """Nor is the user's name; a server that is not there is told like a file."""
    with pytest.raises(JobStoreError, match="that the server runs") as caught:
        JobStore("postgresql+psycopg://me:secret@127.0.0.1:1/runs")
    assert "secret" not in str(caught.value)
    assert caught.value.where == "postgresql+psycopg://127.0.0.1:1/runs"


def planned(store: JobStore, count: int = 3) -> bool:
    """Whether this store took the plan."""
    plan = JobStore()
    list(fill(plan, requests_of(count), 2, 10_000))
    try:
        return store.begin(plan, f"{count:016x}")
    finally:
        plan.close()


def test_a_file_may_be_called_like_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a URL is one."""
    monkeypatch.chdir(tmp_path)
    JobStore("postgresql-nightly").close()
    assert (tmp_path / "postgresql-nightly").exists()


def test_only_the_first_of_two_plans_counts(tmp_path: Path) -> None:
    """The second sees it and keeps nothing of its own."""
    url = f"sqlite:///{tmp_path / 'jobs'}"
    first, second = JobStore(url), JobStore(url)
    assert (second.state, second.nonce) == (None, "")
    assert (planned(first, 3), planned(second, 5)) == (True, False)
    assert second.nonce == first.nonce
    assert second.count_requests() == 3
    first.close()
    second.close()


def test_a_step_that_reads_before_it_writes_is_not_overtaken(tmp_path: Path) -> None:
    """Another process that writes to the same database waits until the step is over."""
    url = f"sqlite:///{tmp_path / 'jobs'}"

    def resume() -> None:
        with closing(JobStore(url)) as other:
            other.set_state("running")

    with closing(JobStore(url)) as store, ThreadPoolExecutor(1) as thread:
        assert planned(store)
        with store.step():
            assert [store.state] == ["planned"]
            resuming = thread.submit(resume)
            wait([resuming], timeout=0.2)  # it cannot end before we do
            store.set_state("stopped", "planned")
        resuming.result()
        assert [store.state] == ["running"]


def test_a_batch_that_was_sent_meanwhile_is_not_marked_as_unsent() -> None:
    """A cancel does not overtake a worker."""
    store = JobStore()
    assert planned(store)
    shard = store.shard(1)
    assert store.mark_sending(shard, None)
    store.mark_submitted(shard, "msgbatch_1", 0.0, 1.0)
    store.mark_unsent(shard)
    assert (store.shard(1).state, store.outcomes()) == ("submitted", {})
    assert not store.mark_sending(shard, None)
    store.close()


def test_a_server_holds_a_job_as_a_file_does(postgres: str) -> None:
    """Requests, shards and results on PostgreSQL."""
    store = JobStore(postgres.replace("/runs", "/postgres"), "on-a-server")
    assert planned(store)
    shard = store.shard(1)
    assert store.mark_sending(shard, None)
    store.mark_submitted(shard, "msgbatch_server", 0.0, 1.0)
    lines = [(1, "succeeded", "succeeded", b"{}"), (1, "expired", "expired", b"{}")]
    assert store.store(store.shard(1), lines) == 1
    assert store.missing(shard) == (1, ["job-1"])
    store.mark_unsent(store.shard(2))
    assert store.outcomes() == {"canceled": 1, "succeeded": 1}
    assert [row[0] for row in store.results()] == [1, 3]
    assert len(b"".join(store.body(shard))) == shard.size
    store.close()
