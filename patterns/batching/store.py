"""What a batch job must remember: requests, batches and results in one SQL database.

A path is an SQLite file that one process has to itself; the lock ends with the process, however
that ends. A URL is a database that many share, such as that of `patterns.core.durable`: SQLite or
PostgreSQL. Everything that must survive a crash is written before the step that depends on it,
each step in one transaction. Where every batch is, for a dashboard on the same database:

    SELECT name, number, s.state, batch_id FROM patterns_batch_jobs JOIN patterns_batch_shards s
    USING (nonce) ORDER BY name, number

Used by the folder patterns/batching, taught in chapter 08.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from patterns.batching.wire import CLOSING, OPENING, wire_request
from patterns.core.errors import Portable

VERSION: Final = 3
APPLICATION: Final = 0x42A7C4  # tells our files from other people's SQLite files
CACHE: Final = 16_384
"""Kilobytes of a file that stay in memory: results come in any order."""
BUSY_S: Final = 30
"""How long to wait for others that write to the same SQLite database."""

State = Literal["planned", "sending", "submitted", "collected"]
"""`sending`: a create went out and its answer is not known. `collected`: every result is stored."""
JobState = Literal["planned", "running", "stopped"]

# Results are kept in the order in which they come, which is any: sorted by `n`, every chunk of them
# would rewrite most pages of the file.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS patterns_batch_jobs(
    name TEXT PRIMARY KEY, nonce TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS patterns_batch_shards(
    nonce TEXT NOT NULL, number INTEGER NOT NULL, requests INTEGER NOT NULL, size BIGINT NOT NULL,
    state TEXT NOT NULL, after_id TEXT, batch_id TEXT UNIQUE, created_at DOUBLE PRECISION,
    expires_at DOUBLE PRECISION, PRIMARY KEY(nonce, number));
CREATE TABLE IF NOT EXISTS patterns_batch_requests(
    nonce TEXT NOT NULL, n INTEGER NOT NULL, custom_id TEXT NOT NULL, shard INTEGER NOT NULL,
    params BYTEA NOT NULL, PRIMARY KEY(nonce, n), UNIQUE(nonce, custom_id));
CREATE INDEX IF NOT EXISTS patterns_batch_of_shard ON patterns_batch_requests(nonce, shard, n);
CREATE TABLE IF NOT EXISTS patterns_batch_results(
    nonce TEXT NOT NULL, n INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
    batch_id TEXT, line BYTEA NOT NULL, PRIMARY KEY(nonce, n))
"""


class JobStoreError(Portable, Exception):
    """The database of a job cannot be used; what it holds is untouched.

    Attributes:
        where: the file's name, or the server's address.
    """

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        super().__init__(f"{where}: {problem}")


class JobStoreInUse(JobStoreError):
    """Another process has the file to itself, or writes to it for too long."""


class JobStoreFull(JobStoreError):
    """The disk is full. The step was undone; make room and call again."""


@dataclass(frozen=True, slots=True)
class BatchShard:
    """A part of the requests that is one batch.

    Attributes:
        number: from 1.
        requests: how many it holds.
        size: bytes of the body that creates it, exactly as sent.
        state: how far it is.
        after_id: the newest batch that the API listed before the create was last sent.
        batch_id: the API's id, once it is known.
        created_at: by the API's clock, seconds since 1970.
        expires_at: by the API's clock.
    """

    number: int
    requests: int
    size: int
    state: State = "planned"
    after_id: str | None = None
    batch_id: str | None = None
    created_at: float | None = None
    expires_at: float | None = None


class JobStore:
    """One job in a database. Every public method is one step: it happens wholly or not at all.

    Args:
        where: a file, a URL, or "" for one that is thrown away.
        name: of the job, where a database has several.

    Raises:
        JobStoreError: the database cannot be used.
    """

    def __init__(self, where: Path | str = "", name: str = "job") -> None:
        self.name, text = name, str(where)
        scheme, is_url, _ = text.partition("://")
        self._where = re.sub(r"//.*@", "//", text) if is_url else Path(text).name
        self._postgres = bool(is_url) and scheme.startswith("postgresql")
        self._deep = False
        self._nonce = ""
        try:
            self._db = _connect(text, self._postgres)
        except Exception as error:
            raise _explained(error, self._where) from error
        try:
            self._open(own=not is_url)
        except BaseException:
            self._db.close()
            raise

    def _open(self, own: bool) -> None:
        if not self._postgres:
            # Exclusive: the lock is taken once and gone when the process is.
            self._do(f"PRAGMA locking_mode = {'EXCLUSIVE' if own else 'NORMAL'}")
            self._do("PRAGMA journal_mode = WAL")
            self._do("PRAGMA synchronous = FULL")
            self._do(f"PRAGMA cache_size = -{CACHE}")
        with self.step():
            if own:
                self._check_file()
            if self._postgres:  # two that make the same tables at once would collide
                self._do("SELECT pg_advisory_xact_lock(?)", APPLICATION)
            for statement in _SCHEMA.split(";"):
                self._do(statement)

    def _check_file(self) -> None:
        """Make the file ours, or see that it is.

        Raises:
            JobStoreError: it belongs to something else, or to another version.
        """
        (tables,) = self._do("SELECT count(*) FROM sqlite_schema").fetchone()
        (kind,) = self._do("PRAGMA application_id").fetchone()
        (version,) = self._do("PRAGMA user_version").fetchone()
        if tables and (kind, version) != (APPLICATION, VERSION):
            problem = f"a database, but none of a batch job of version {VERSION}; finish an older "
            raise JobStoreError(self._where, problem + "job with the code that began it.")
        self._do(f"PRAGMA application_id = {APPLICATION}")
        self._do(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    def _do(self, query: str, *values: Any, rows: Sequence[tuple[Any, ...]] = ()) -> Any:
        """The cursor after a statement, run once or for each of `rows`."""
        text = query.replace("?", "%s") if self._postgres else query
        try:
            cursor = self._db.cursor()
            if rows:
                return cursor.executemany(text, rows) or cursor
            return cursor.execute(text, values)
        except Exception as error:
            raise _explained(error, self._where) from error

    @contextmanager
    def step(self) -> Iterator[None]:
        """One transaction; inside another one, a part of that."""
        if self._deep:
            yield
            return
        self._do("BEGIN" if self._postgres else "BEGIN IMMEDIATE")
        self._deep = True
        try:
            yield
            self._do("COMMIT")
        except BaseException:
            with suppress(Exception):  # a full disk has rolled back already
                self._db.execute("ROLLBACK")
            raise
        finally:
            self._deep = False

    # The job and its requests

    @property
    def nonce(self) -> str:
        """What the job's ids begin with on the wire; "" before it has requests."""
        if not self._nonce and self._where:  # another process may have planned it meanwhile
            self._nonce = self._job()[0]
        return self._nonce

    def _job(self) -> tuple[str, JobState | None]:
        query = "SELECT nonce, state FROM patterns_batch_jobs WHERE name = ?"
        return self._do(query, self.name).fetchone() or ("", None)

    @property
    def state(self) -> JobState | None:
        """None before it has requests; `stopped` after `cancel`."""
        return self._job()[1]

    def set_state(self, state: JobState, *before: JobState) -> None:
        """Let it run, or send nothing more; with `before`, only if it is in one of those states."""
        query = "UPDATE patterns_batch_jobs SET state = ? WHERE name = ?"
        query += f" AND state IN ({', '.join('?' * len(before))})" if before else ""
        with self.step():
            self._do(query, state, self.name, *before)

    def begin(self, plan: "JobStore", nonce: str) -> bool:
        """Take over requests and shards of another store; False if the job has some already."""
        with self.step():
            query = (
                "INSERT INTO patterns_batch_jobs VALUES (?, ?, 'planned') ON CONFLICT DO NOTHING"
            )
            if self._do(query, self.name, nonce).rowcount != 1:
                self._nonce = ""
                return False
            self._nonce = nonce
            for page in plan.pages():
                self._do(_ADD, rows=[(nonce, *row) for row in page])
            for shard in plan.shards():
                self.add_shard(shard.number, shard.requests, shard.size)
        return True

    def add_request(self, n: int, custom_id: str, shard: int, params: bytes) -> bool:
        """Keep a request; False if the id is there already."""
        added = self._do(f"{_ADD} ON CONFLICT DO NOTHING", self.nonce, n, custom_id, shard, params)
        return int(added.rowcount) == 1

    def add_shard(self, number: int, requests: int, size: int) -> BatchShard:
        """Keep a shard whose requests are there."""
        query = "INSERT INTO patterns_batch_shards(nonce, number, requests, size, state) "
        self._do(query + "VALUES (?, ?, ?, ?, 'planned')", self.nonce, number, requests, size)
        return BatchShard(number, requests, size)

    def move(self, n: int, shard: int) -> None:
        """Let a request be sent again, in another shard; its result is forgotten."""
        where = "WHERE nonce = ? AND n = ?"
        self._do(f"UPDATE patterns_batch_requests SET shard = ? {where}", shard, self.nonce, n)
        self._do(f"DELETE FROM patterns_batch_results {where}", self.nonce, n)

    def pages(self, shard: int | None = None) -> Iterator[list[tuple[int, str, int, bytes]]]:
        """(n, id, shard, params) of the requests in order, some at a time: no cursor stays open."""
        query = "SELECT n, custom_id, shard, params FROM patterns_batch_requests WHERE nonce = ? "
        query += "" if shard is None else f"AND shard = {int(shard)} "
        last = 0
        while rows := self._do(
            f"{query}AND n > ? ORDER BY n LIMIT 50", self.nonce, last
        ).fetchall():
            yield rows
            last = rows[-1][0]

    def count_requests(self) -> int:
        """How many requests the job has."""
        query = "SELECT count(*) FROM patterns_batch_requests WHERE nonce = ?"
        return int(self._do(query, self.nonce).fetchone()[0])

    def body(self, shard: BatchShard) -> Iterator[bytes]:
        """The body of the create, piece by piece; `shard.size` bytes in all."""
        piece, comma = bytearray(OPENING), b""
        for page in self.pages(shard.number):
            for n, custom_id, number, params in page:
                piece += comma + wire_request(self.nonce, number, n, custom_id, params)
                comma = b","
            if len(piece) >= 65_536:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece + CLOSING)

    # Shards

    def shards(self, *states: State) -> list[BatchShard]:
        """The shards in order; only those in one of `states`, if given."""
        query = f"SELECT {_SHARD} FROM patterns_batch_shards WHERE nonce = ? ORDER BY number"
        found = (BatchShard(*row) for row in self._do(query, self.nonce).fetchall())
        return [shard for shard in found if not states or shard.state in states]

    def shard(self, number: int) -> BatchShard:
        """One shard, as it is now."""
        return self.shards()[number - 1]

    def mark_sending(self, shard: BatchShard, after_id: str | None) -> bool:
        """A create is about to go out; False if another worker was first, or it is cancelled."""
        return self._update(shard, shard.state, "state = 'sending', after_id = ?", after_id)

    def mark_planned(self, shard: BatchShard) -> None:
        """It was not created, for certain."""
        self._update(shard, "sending", "state = 'planned'")

    def mark_submitted(
        self, shard: BatchShard, batch_id: str, created: float, expires: float
    ) -> None:
        """It was created, and this is its batch."""
        change = "state = 'submitted', batch_id = ?, created_at = ?, expires_at = ?"
        self._update(shard, "sending", change, batch_id, created, expires)

    def mark_collected(self, shard: BatchShard) -> None:
        """Every result is stored."""
        self._update(shard, "submitted", "state = 'collected'")

    def mark_unsent(self, shard: BatchShard) -> None:
        """It will not be sent: what is not answered counts as canceled."""
        query = f"INSERT INTO patterns_batch_results {_MISSING_AS}"
        with self.step():
            if self._update(shard, shard.state, "state = 'collected'"):
                self._do(query, _UNSENT, self.nonce, shard.number)

    def release(self, shard: BatchShard) -> list[tuple[int, str, int]]:
        """Give a batch up; (n, id, bytes) of what it has no result for."""
        self.mark_collected(shard)
        query = f"SELECT r.n, custom_id, length(params) {_MISSING} ORDER BY r.n"
        return list(self._do(query, self.nonce, shard.number).fetchall())

    def _update(self, shard: BatchShard, was: State, change: str, *values: Any) -> bool:
        """Change a shard that is still in that state: another process may have been first."""
        query = f"UPDATE patterns_batch_shards SET {change} "
        query += "WHERE nonce = ? AND number = ? AND state = ?"
        with self.step():
            changed = self._do(query, *values, self.nonce, shard.number, was)
            return int(changed.rowcount) == 1

    def known_batches(self) -> set[str]:
        """Ids of batches that belong to a job of this database."""
        query = "SELECT batch_id FROM patterns_batch_shards WHERE batch_id IS NOT NULL"
        return {batch_id for (batch_id,) in self._do(query).fetchall()}

    # Results

    def store(self, shard: BatchShard, results: Iterable[tuple[Any, ...]]) -> int:
        """Keep results: (n, outcome, reason, line) each; the first of a request stays.

        Returns:
            How many of them belong to the shard and are new.
        """
        insert = (
            "INSERT INTO patterns_batch_results SELECT nonce, n, ?, ?, ?, ? "
            "FROM patterns_batch_requests WHERE nonce = ? AND n = ? AND shard = ? "
            "ON CONFLICT DO NOTHING"
        )
        with self.step():
            rows = [
                (outcome, reason, shard.batch_id, line, self.nonce, n, shard.number)
                for n, outcome, reason, line in results
            ]
            return int(self._do(insert, rows=rows).rowcount) if rows else 0

    def missing(self, shard: BatchShard) -> tuple[int, list[str]]:
        """How many requests of a shard have no result, and the ids of the first three."""
        count = self._do(f"SELECT count(*) {_MISSING}", self.nonce, shard.number).fetchone()[0]
        query = f"SELECT custom_id {_MISSING} ORDER BY r.n LIMIT 3"
        found = self._do(query, self.nonce, shard.number).fetchall()
        return int(count), [custom_id for (custom_id,) in found]

    def results(self) -> Iterator[tuple[Any, ...]]:
        """(n, id, outcome, batch, line) of the stored results in the order of the requests."""
        query = (
            "SELECT n, custom_id, outcome, batch_id, line FROM patterns_batch_results "
            "JOIN patterns_batch_requests USING (nonce, n) "
            "WHERE nonce = ? AND n > ? ORDER BY n LIMIT 500"
        )
        last = 0
        while rows := self._do(query, self.nonce, last).fetchall():
            yield from rows
            last = rows[-1][0]

    def outcomes(self) -> dict[str, int]:
        """How many results there are of each outcome."""
        query = (
            "SELECT outcome, count(*) FROM patterns_batch_results WHERE nonce = ? "
            "GROUP BY outcome ORDER BY outcome"
        )
        return dict(self._do(query, self.nonce).fetchall())

    def failed(self) -> list[tuple[int, str, int, str]]:
        """(n, id, bytes, reason) of what did not succeed."""
        query = (
            "SELECT n, custom_id, length(params), reason FROM patterns_batch_results "
            "JOIN patterns_batch_requests USING (nonce, n) "
            "WHERE nonce = ? AND outcome <> 'succeeded' ORDER BY n"
        )
        return list(self._do(query, self.nonce).fetchall())


_ADD: Final = "INSERT INTO patterns_batch_requests VALUES (?, ?, ?, ?, ?)"
_SHARD: Final = "number, requests, size, state, after_id, batch_id, created_at, expires_at"
_MISSING: Final = (
    "FROM patterns_batch_requests r LEFT JOIN patterns_batch_results a "
    "ON a.nonce = r.nonce AND a.n = r.n WHERE r.nonce = ? AND r.shard = ? AND a.n IS NULL"
)
_MISSING_AS: Final = f"SELECT r.nonce, r.n, 'canceled', 'canceled', NULL, ? {_MISSING}"
_UNSENT: Final = b'{"result":{"type":"canceled"}}'


def _connect(where: str, postgres: bool) -> Any:
    if postgres:
        psycopg = import_module("psycopg")  # comes with DBOS, which a job in a file needs not
        return psycopg.connect(re.sub(r"\+\w+", "", where, count=1), autocommit=True)
    timeout = BUSY_S if where.startswith("sqlite://") else 0
    path = where.removeprefix("sqlite:///")
    return sqlite3.connect(path, timeout=timeout, isolation_level=None)


def _explained(error: Exception, where: str) -> Exception:
    """A database's error with what to do next; any other as it is."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", None) == "53100":
        problem = "the disk is full; the step was undone. Make room and call again."
        return JobStoreFull(where, problem)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        problem = "another process works on this job; end it, or wait for it. Several may share a "
        return JobStoreInUse(where, problem + "job through an engine (patterns.core.durable).")
    if code == sqlite3.SQLITE_NOTADB:
        return JobStoreError(where, "not an SQLite file.")
    if isinstance(error, sqlite3.ProgrammingError):
        problem = f"{error} A job is used in the thread that opened it, until it is closed; in "
        return JobStoreError(where, problem + "async code take AsyncBatchJob.")
    if isinstance(error, sqlite3.Error) or hasattr(error, "sqlstate"):
        problem = f"cannot be used ({error}); check that the folder exists and may be written to, "
        return JobStoreError(where, problem + "or that the server runs; else restore a copy.")
    return error  # pragma: no cover  # nothing of a database
