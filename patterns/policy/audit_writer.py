"""Write to a tamper-evident log in one SQLite file, from many threads, tasks and processes.

Every row carries an HMAC over itself and over the row before it, so an edit, a gap or another
order breaks the chain. A tail that is cut off breaks nothing: keep `head()` somewhere else and
give it to `verify`. Whoever holds the key can rewrite history, so with the key on the same host
this is evidence against everyone but its owner. Not a debug log: it holds no prompt text. To read,
prove and erase: `audit_log`.

Taught in chapter 01.
"""

import json
import os
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Self

import anyio
import anyio.to_thread
from pydantic_core import to_json

from patterns.policy.audit_chain import GENESIS, KeyRing
from patterns.policy.flow import PolicyDenied

Row = tuple[str, str | None]
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY, body TEXT NOT NULL, detail TEXT, mac BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, mac BLOB NOT NULL,
    seal BLOB NOT NULL);
"""
_INSERT: Final = "INSERT INTO audit VALUES (?, ?, ?, ?)"


class AuditUnavailable(PolicyDenied):
    """The log cannot take a row, so the call that it should describe is not made.

    Attributes:
        reason: what SQLite says: locked, disk full, not a database, read-only ...
    """

    rule, status = "audit-unavailable", 503

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"the audit log {path.name} takes no row ({reason}); free it, ask again.")


class WrongKey(PolicyDenied):
    """The file was written with another key; writing on would break its chain."""

    rule, status = "audit-wrong-key", 503

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path.name} was signed with another key, or altered; run verify on it.")


@dataclass(frozen=True)
class Head:
    """The last row, to be kept where the writers of the log cannot change it."""

    seq: int
    mac: str


def canonical(value: Any) -> str:
    """One spelling per value, ASCII on one line: text cannot forge a row or move a cursor."""
    return _ENCODER.encode(value)


def _line(value: Any) -> str:
    """`canonical` in the order of the keys: six times as fast, and two of them make a row."""
    try:
        text = to_json(value).decode()
    except ValueError:  # half a surrogate pair, which `json` can write
        return canonical(value)
    return text if text.isascii() else canonical(value)


class AuditWriter:
    """Append rows to one file. Safe for threads, processes and event loops.

    A row about a stream that was dropped may come out of garbage collection, in the middle of
    another append: such rows go through a queue to a thread of the log.

    Args:
        path: the file; it and its `-wal` and `-shm` neighbours belong to the log.
        key: at least 32 bytes, from `secrets.token_bytes(32)`, kept elsewhere; or several by
            name, the newest last: rows are signed with that one, and read with any.
        clock: gives the UTC time of a row.
        wait: seconds to wait for another writer before the log counts as unavailable.
        survive: `process` keeps every row through a kill; `power` through a power cut too,
            for one disk flush per row.
        sleep: how to wait, in a thread that may.

    Raises:
        AuditUnavailable: the file cannot be opened or is no database.
    """

    def __init__(
        self,
        path: str | Path,
        key: bytes | Mapping[str, bytes],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: float = 5.0,
        survive: Literal["process", "power"] = "process",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.keys, self.path = KeyRing(key), Path(path)
        self._clock, self._wait, self._sleep = clock, wait, sleep
        self._lock = threading.RLock()
        self._newest: tuple[int, bytes] | None = None  # the last row, if it is known to be ours
        self._files: dict[Path, tuple[int, int, int]] = {}
        self._later: queue.SimpleQueue[Row] = queue.SimpleQueue()
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        with self.errors():
            self._db = self._open(survive, wait)
            self._db.execute("PRAGMA busy_timeout=0")  # waiting is done here, where it is known how
        self._remember()
        args = weakref.ref(self), self._wake
        threading.Thread(target=_drain, args=args, name="audit-log", daemon=True).start()
        self._end = weakref.finalize(self, self._wake.put, False)

    def _open(self, survive: str, wait: float) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=wait, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA page_size=1024")  # a row is small, and each commit writes whole pages
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if survive == 'power' else 'NORMAL'}")
        db.execute("PRAGMA secure_delete=ON")
        db.executescript(_TABLES)
        return db

    def hash(self, text: str) -> str:
        """A keyed fingerprint of `text`, equal for equal texts and useless without the key."""
        return self.keys.sign(b"text", text.encode("utf-8", "surrogatepass")).hex()[:32]

    def append(self, event: str, /, detail: Mapping[str, Any] | None = None, **facts: Any) -> int:
        """Add a row and return its sequence number; see `row` and `write`."""
        return self.write(self.row(event, detail, **facts))

    def write(self, row: Row, *, keep: bool = False) -> int:
        """Add a row, waiting for other writers; returns its number once it is committed.

        `keep` is for rows about what has happened: a response is paid for, and failing the call
        would not undo it. If the log is not available, such a row is kept for the next, which
        writes what is kept first and is refused as long as that does not work.

        Raises:
            AuditUnavailable: nothing was written.
            WrongKey: the file's last row was not signed with this key; nothing was written.
        """
        pause, left = 0.001, self._wait
        while True:
            try:
                with self._lock:
                    return self._append(row)
            except AuditUnavailable as error:
                if "locked" not in error.reason or left <= 0:
                    if not keep:
                        raise
                    self._later.put(row)
                    return 0
            self._sleep(min(pause, left))
            left, pause = left - pause, min(0.025, pause * 2)

    async def write_async(self, row: Row, *, keep: bool = False) -> int:
        """`write` that never blocks the event loop: it waits for other writers in a thread."""
        if self._lock.acquire(blocking=False):
            try:
                return self._append(row)
            except AuditUnavailable:
                pass  # the thread finds out whether waiting helps
            finally:
                self._lock.release()
        waiting = partial(self.write, row, keep=keep)
        with anyio.CancelScope(shield=True):  # a call that is cancelled has its row as well
            seq = await anyio.to_thread.run_sync(waiting)
        return seq  # noqa: RET504  # a cancel scope may swallow

    def queue(self, row: Row) -> None:
        """Add a row from anywhere, also from a finaliser: it is only queued, and never waits."""
        self._later.put(row)
        self._wake.put(True)

    @property
    def kept(self) -> int:
        """Rows that wait in memory for the log to be available again."""
        return self._later.qsize()

    def row(self, event: str, /, detail: Mapping[str, Any] | None = None, **facts: Any) -> Row:
        """Body and personal part of a row, as far as they do not depend on the row before.

        `detail` is the personal part, with the pseudonym under `user`: only it can be erased.
        """
        named = {"key": self.keys.name} if self.keys.name else {}
        at = self._clock().isoformat(timespec="microseconds")
        body = {"event": event, "time": at, **named, **facts}
        if not detail:
            return _line(body), None
        text = _line({"salt": os.urandom(8).hex(), **detail})
        return _line({**body, "detail": self.keys.sign(b"detail", text.encode()).hex()}), text

    def _append(self, row: Row) -> int:
        self._same_files()
        if self._newest is not None and self._later.empty():
            with self.errors(), suppress(sqlite3.IntegrityError):  # another process was faster
                self._newest = self._insert(row, *self._newest)  # one statement, one transaction
                return self._newest[0]
        with self.writing():
            return self.insert(row)

    def insert(self, row: Row) -> int:
        """Add a row inside `writing()`."""
        seq, _ = self._insert(row, *self.last())
        return seq

    def _insert(self, row: Row, seq: int, before: bytes) -> tuple[int, bytes]:
        mac = self.keys.chain(before, seq + 1, row[0])
        self._db.execute(_INSERT, (seq + 1, *row, mac))
        return seq + 1, mac

    def last(self) -> tuple[int, bytes]:
        """Sequence number and MAC of the last row, or of what stands before the first."""
        row = self._db.execute("SELECT seq, mac FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        return row or self.start()

    def start(self) -> tuple[int, bytes]:
        """What stands before the first row: nothing, or the checkpoint of a retention."""
        row = self._db.execute("SELECT seq, mac, seal FROM checkpoint").fetchone()
        if row is None:
            return 0, GENESIS
        if not self.keys.sealed(*row):
            raise WrongKey(self.path)
        return row[0], row[1]

    def _check_key(self) -> None:
        rows = self._db.execute(
            "SELECT seq, body, mac FROM audit ORDER BY seq DESC LIMIT 2"
        ).fetchall()
        if not rows:
            return  # what stands before the first row is checked where it is read
        seq, body, mac = rows[0]
        before = rows[1][2] if len(rows) == 2 else self.start()[1]
        if not self.keys.fits(mac, before, seq, str(body)):
            raise WrongKey(self.path)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What SQLite says, as this log's own error."""
        try:
            yield
        except sqlite3.Error as error:
            raise AuditUnavailable(self.path, str(error)) from None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, as it stands on the disk; what is queued is written first if it can be."""
        with self._lock, self.errors():
            with suppress(AuditUnavailable):
                self._flush()
            self._same_files()
            yield self._db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which what is queued takes part in; all or nothing."""
        with self._lock, self.errors():
            self._same_files()
            self._db.execute("BEGIN IMMEDIATE")
            taken = [self._later.get_nowait() for _ in range(self._later.qsize())]
            try:
                if self._newest is None:
                    self._check_key()
                for row in taken:
                    self.insert(row)
                yield self._db
                newest = self.last()
                self._db.execute("COMMIT")
            except BaseException:
                for row in taken:
                    self._later.put(row)
                self._db.rollback()
                raise
            self._newest = newest
            self._remember()

    def _remember(self) -> None:
        for file, shrinks in ((self.path, False), (Path(f"{self.path}-wal"), True)):
            with suppress(OSError):
                found = file.stat()
                self._files[file] = found.st_dev, found.st_ino, 0 if shrinks else found.st_size

    def _same_files(self) -> None:
        """Refuse to write where nobody will look: into a file that was unlinked, swapped or cut."""
        for file, (device, inode, size) in self._files.items():
            try:
                found = file.stat()
            except OSError:
                raise AuditUnavailable(self.path, "its file is gone") from None
            if (found.st_dev, found.st_ino) != (device, inode):
                raise AuditUnavailable(self.path, "its file was replaced")
            if found.st_size < size:
                raise AuditUnavailable(self.path, "its file was cut")

    def write_queued(self) -> None:
        """Write what is queued; what is not possible now is tried again a little later."""
        try:
            self._flush()
        except PolicyDenied:  # another process holds the file
            self._sleep(0.05)
            self._wake.put(True)

    def _flush(self) -> None:
        if not self._later.empty():
            with self.writing():
                pass

    def forget_pages(self) -> None:
        """Leave nothing of what was removed in the write-ahead log."""
        with self.errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file. Rows that were kept in memory are written first, if that is possible."""
        with self._lock:
            self._end()
            try:
                self._flush()
            finally:
                self._db.close()
                self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _drain(writer: "weakref.ref[AuditWriter]", wake: "queue.SimpleQueue[bool]") -> None:
    """The log's thread: writes what was queued, unless another append has taken it along."""
    while wake.get() and (owner := writer()) is not None:
        owner.write_queued()
        del owner
