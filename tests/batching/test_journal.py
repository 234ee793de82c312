"""patterns.batching.journal: one holder, one version, whole steps, errors that say what to do."""

import sqlite3
from pathlib import Path

import pytest
from batching_worker import job_on, requests_of

from patterns.batching import (
    Journal,
    JournalFull,
    JournalInUse,
    JournalVersion,
    NotAJournal,
)
from patterns.fake_api import FakeAPI, VirtualClock


def test_one_process_at_a_time_holds_a_journal(tmp_path: Path) -> None:
    """Two would submit everything twice."""
    first = Journal(tmp_path / "j")
    with pytest.raises(JournalInUse, match="j: another process works on this job"):
        Journal(tmp_path / "j")
    first.close()
    Journal(tmp_path / "j").close()


def test_a_journal_of_another_version_is_left_alone(tmp_path: Path) -> None:
    """Finish the job with the code that began it."""
    Journal(tmp_path / "j").close()
    with sqlite3.connect(tmp_path / "j") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(JournalVersion, match="version 9 of the journal, this code reads 2") as it:
        Journal(tmp_path / "j")
    assert it.value.found == 9
    assert (tmp_path / "j").read_bytes() == before


def test_other_files_are_no_journals(tmp_path: Path) -> None:
    """A text, or somebody else's database."""
    (tmp_path / "text").write_text("dear diary " * 100)
    with pytest.raises(NotAJournal, match="not an SQLite file"):
        Journal(tmp_path / "text")
    with sqlite3.connect(tmp_path / "db") as db:
        db.execute("CREATE TABLE mine(x)")
    db.close()
    with pytest.raises(NotAJournal, match="no journal of a batch job"):
        Journal(tmp_path / "db")


def test_a_full_disk_undoes_the_step_and_nothing_else(tmp_path: Path) -> None:
    """Planning and collecting: make room, call again."""
    api = FakeAPI(clock=VirtualClock())
    with job_on(api, tmp_path / "j") as job:
        database = job._journal._db
        database.execute("PRAGMA max_page_count = 20")
        with pytest.raises(JournalFull, match="the disk is full; the step was undone"):
            job.submit(requests_of(1_000))
        assert (job.shards, api.journal) == ((), [])
        database.execute("PRAGMA max_page_count = 100000")
        job.submit(requests_of(1_000))
        job.wait()
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalFull):
            job.collect()
        assert list(job.stored()) == []
        database.execute("PRAGMA max_page_count = 100000")
        assert len(list(job.results())) == 1_000


def test_other_errors_of_the_database_stay_what_they_are(tmp_path: Path) -> None:
    """They are bugs or damage, and no advice of ours would be true."""
    journal = Journal(tmp_path / "j")
    with pytest.raises(sqlite3.OperationalError, match="no such table"), journal.step():
        journal._db.execute("SELECT * FROM nowhere")
    journal.close()
