"""The small form of `make faults`: everything goes wrong, and the books add up."""

import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS, SURROUNDINGS, held, run, table

from patterns.policy import AuditLog

WORKER = """
import sys
from patterns.policy import AuditLog
log = AuditLog(sys.argv[1], b"k" * 32)
n = 0
while True:
    log.append("request", n=n)
    n += 1
    if n == 40:
        print("working", flush=True)
"""


@pytest.mark.parametrize("seed", [1])
@pytest.mark.slow
def test_every_call_has_one_outcome_and_the_books_add_up(seed: int) -> None:
    """To the last digit; nothing stays open, no thread and no file."""
    run(5, seed)  # what is made once stays: pools of the SDK, of SQLite, of asyncio
    before = held()
    books = run(300, seed)
    assert books.problems == []
    assert books.records == books.calls >= 300
    assert held() <= before
    assert {name for name, _ in books.seen} >= {*FAULTS, "audit disk full", "store down"}
    assert "| 529 to the end |" in table(books, seed)
    assert len(SURROUNDINGS) == 5


def test_a_worker_that_is_killed_leaves_a_log_that_is_whole(tmp_path: Path) -> None:
    """Every row that it wrote is there, and the next one goes on after it."""
    path = tmp_path / "audit.sqlite"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout
    assert worker.stdout.readline() == "working\n"
    worker.kill()
    worker.wait()
    worker.stdout.close()
    with AuditLog(path, b"k" * 32) as log:
        log.append("request", n=-1)
        rows = [row["n"] for row in log.rows() if row["event"] == "request"]
        assert rows == [*range(len(rows) - 1), -1]
        assert len(rows) > 40
        assert log.verify().intact
