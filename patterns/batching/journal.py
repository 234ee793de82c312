"""The memory of a batch job on disk: requests, batches and results in one SQLite file.

Everything that must survive a crash is written here before the step that depends on it, each step
in one transaction, synced to the disk (results, which can be read again, a little later). One
process at a time may hold a journal; the lock ends with the process, however that ends. Not a
database to query while a job runs: copy it first.

Taught in chapter 08.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

VERSION: Final = 2
APPLICATION: Final = 0x42A7C4  # tells our files from other people's SQLite files
CACHE: Final = 16_384
"""Kilobytes of the file that stay in memory: ids are looked up in any order."""
OPENING, CLOSING = b'{"requests":[', b"]}"

State = Literal["planned", "sending", "submitted", "ended", "collected"]
"""`sending`: a create went out and its answer is not known. `collected`: every result is stored."""

# Results are kept in the order in which they come, which is any: sorted by `n`, every chunk of them
# would rewrite most pages of the file.
_SCHEMA = """
CREATE TABLE shards(
    number INTEGER PRIMARY KEY, requests INTEGER NOT NULL, size INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'planned', since REAL, batch_id TEXT UNIQUE,
    sure INTEGER NOT NULL DEFAULT 0, created_at REAL, expires_at REAL);
CREATE TABLE requests(
    n INTEGER PRIMARY KEY, custom_id TEXT NOT NULL UNIQUE, shard INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX requests_of_shard ON requests(shard, n);
CREATE TABLE results(
    place INTEGER PRIMARY KEY, n INTEGER NOT NULL UNIQUE, outcome TEXT NOT NULL, error TEXT,
    batch_id TEXT NOT NULL, pass INTEGER NOT NULL, line BLOB NOT NULL);
CREATE TABLE foreign_batches(batch_id TEXT PRIMARY KEY);
"""


class JournalError(Exception):
    """A journal that cannot be used; what it holds is untouched.

    Attributes:
        path: the file.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"{Path(path).name}: {problem}")


class NotAJournal(JournalError):
    """The file is something else."""


class JournalVersion(JournalError):
    """The journal was written by another version of this module.

    Attributes:
        found: its version.
    """

    def __init__(self, path: str, found: int) -> None:
        self.found = found
        super().__init__(
            path,
            f"written in version {found} of the journal, this code reads {VERSION}; finish the "
            "job with the code that began it.",
        )


class JournalInUse(JournalError):
    """Another process holds the journal."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "another process works on this job; end it, or wait for it.")


class JournalFull(JournalError):
    """The disk is full. The step was undone; make room and call again."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "the disk is full; the step was undone. Make room and call again.")


@dataclass(frozen=True, slots=True)
class BatchShard:
    """A part of the requests that is one batch.

    Attributes:
        number: from 1.
        requests: how many it holds.
        size: bytes of the body that creates it, exactly as sent.
        state: how far it is.
        batch_id: the API's id, once it is known.
        sure: False for a batch that was found in the list and not yet seen from inside.
        since: when its create was last sent, seconds since 1970.
        created_at: by the API's clock.
        expires_at: by the API's clock.
    """

    number: int
    requests: int
    size: int
    state: State = "planned"
    batch_id: str | None = None
    sure: bool = False
    since: float | None = None
    created_at: float | None = None
    expires_at: float | None = None


_MISSING = (
    "SELECT n FROM requests LEFT JOIN results USING (n) "
    "WHERE shard = ? AND results.n IS NULL ORDER BY n"
)
_SHARD = "number, requests, size, state, batch_id, sure, since, created_at, expires_at"


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A stored result."""

    n: int
    custom_id: str
    outcome: str
    batch_id: str
    line: bytes


class Journal:
    """One job's file. Every public method is one step: it happens wholly or not at all.

    Args:
        path: the file, made if it is missing; "" for one that is thrown away.

    Raises:
        JournalVersion, NotAJournal, JournalInUse, JournalFull: see there.
    """

    def __init__(self, path: Path | str = "") -> None:
        self.path = str(path)
        self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            with self._errors():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        # Exclusive: the lock is taken once, kept while the process lives, and gone when it dies.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE}")
        with self.step():
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (kind,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if tables and kind != APPLICATION:
                raise NotAJournal(self.path, "a database, but no journal of a batch job.")
            if tables and version != VERSION:
                raise JournalVersion(self.path, version)
            if not tables:
                self._make()

    def _make(self) -> None:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {APPLICATION}")
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            codes = {
                sqlite3.SQLITE_FULL: JournalFull(self.path),
                sqlite3.SQLITE_BUSY: JournalInUse(self.path),
                sqlite3.SQLITE_NOTADB: NotAJournal(self.path, "not an SQLite file."),
            }
            # IntegrityError and its like are bugs or damage: they stay what they are.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise codes.get(code, error) from None

    @contextmanager
    def step(self) -> Iterator[None]:
        """One transaction; inside another one, a part of that."""
        if self._db.in_transaction:
            yield
            return
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise

    # Requests and shards

    def add_request(self, custom_id: str, shard: int, body: bytes) -> bool:
        """Keep a request; False if the id is there already."""
        cursor = self._db.execute(
            "INSERT INTO requests(custom_id, shard, body) VALUES (?, ?, ?) "
            "ON CONFLICT(custom_id) DO NOTHING",
            (custom_id, shard, body),
        )
        return cursor.rowcount == 1

    def add_shard(self, number: int, requests: int, size: int) -> BatchShard:
        """Keep a shard whose requests are there."""
        row = (number, requests, size)
        self._db.execute("INSERT INTO shards(number, requests, size) VALUES (?, ?, ?)", row)
        return BatchShard(*row)

    def move_request(self, n: int, shard: int) -> None:
        """Let a request be sent again, in another shard; its result is forgotten."""
        self._db.execute("UPDATE requests SET shard = ? WHERE n = ?", (shard, n))
        self._db.execute("DELETE FROM results WHERE n = ?", (n,))

    def body_of(self, n: int) -> tuple[str, bytes] | None:
        """Id and encoded body of the n-th request, from 1."""
        query = "SELECT custom_id, body FROM requests WHERE n = ?"
        found: tuple[str, bytes] | None = self._db.execute(query, (n,)).fetchone()
        return found

    def count_requests(self) -> int:
        """How many requests the job has."""
        return int(self._db.execute("SELECT count(*) FROM requests").fetchone()[0])

    def shards(self, *states: State) -> list[BatchShard]:
        """The shards in order; only those in one of `states`, if given."""
        rows = self._db.execute(f"SELECT {_SHARD} FROM shards ORDER BY number")
        found = (_shard(row) for row in rows)
        return [shard for shard in found if not states or shard.state in states]

    def body(self, shard: BatchShard) -> Iterator[bytes]:
        """The body of the create, piece by piece; `shard.size` bytes in all."""
        query = "SELECT body FROM requests WHERE shard = ? ORDER BY n"
        piece, comma = bytearray(OPENING), b""
        for (body,) in self._db.execute(query, (shard.number,)):
            piece += comma + body
            comma = b","
            if len(piece) >= 65_536:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece + CLOSING)

    # Steps of a shard

    def mark_sending(self, shard: BatchShard, since: float) -> None:
        """A create is about to go out."""
        self._update(shard, "state = 'sending', batch_id = NULL, sure = 0, since = ?", since)

    def mark_planned(self, shard: BatchShard) -> None:
        """It was not created, for certain."""
        self._update(shard, "state = 'planned', batch_id = NULL, sure = 0, since = NULL")

    def mark_submitted(
        self, shard: BatchShard, batch_id: str, created: float, expires: float, *, sure: bool
    ) -> None:
        """It was created, or a batch was found that may be it."""
        values = (batch_id, created, expires, sure)
        change = "state = 'submitted', batch_id = ?, created_at = ?, expires_at = ?, sure = ?"
        self._update(shard, change, *values)

    def replan(self, shard: BatchShard) -> None:
        """Forget the batch; results that are stored stay, what has none is a new shard."""
        missing = [n for (n,) in self._db.execute(_MISSING, (shard.number,))]
        with self.step():
            number = len(self.shards()) + 1
            sizes = 0
            for n in missing:
                sizes += self._size_of(n)
                self._db.execute("UPDATE requests SET shard = ? WHERE n = ?", (number, n))
            if missing:
                framing = len(OPENING) + len(CLOSING) + len(missing) - 1
                self.add_shard(number, len(missing), sizes + framing)
            self.mark_collected(shard)

    def _size_of(self, n: int) -> int:
        query = "SELECT length(body) FROM requests WHERE n = ?"
        return int(self._db.execute(query, (n,)).fetchone()[0])

    def mark_ended(self, shard: BatchShard) -> None:
        """Its results can be read."""
        self._update(shard, "state = 'ended'")

    def mark_collected(self, shard: BatchShard) -> None:
        """Every result is stored."""
        self._update(shard, "state = 'collected'")

    def mark_sure(self, shard: BatchShard) -> None:
        """The batch that was found holds our ids."""
        self._update(shard, "sure = 1")

    def mark_foreign(self, shard: BatchShard) -> None:
        """The batch that was found is somebody else's: the shard is where it was before."""
        with self.step():
            self._db.execute("INSERT OR IGNORE INTO foreign_batches VALUES (?)", (shard.batch_id,))
            self._update(shard, "state = 'sending', batch_id = NULL")

    def _update(self, shard: BatchShard, change: str, *values: Any) -> None:
        with self.step():
            self._db.execute(
                f"UPDATE shards SET {change} WHERE number = ?", (*values, shard.number)
            )

    def known_batches(self) -> set[str]:
        """Ids that belong to a shard, or to somebody else for certain."""
        query = "SELECT batch_id FROM shards WHERE batch_id NOT NULL UNION SELECT * FROM "
        return {batch_id for (batch_id,) in self._db.execute(query + "foreign_batches")}

    # Results

    def holds(self, shard: BatchShard, custom_id: str) -> bool:
        """Whether a shard has a request of that id."""
        query = "SELECT 1 FROM requests WHERE custom_id = ? AND shard = ?"
        return self._db.execute(query, (custom_id, shard.number)).fetchone() is not None

    def store(self, shard: BatchShard, pass_: int, results: Iterable[tuple[Any, ...]]) -> int:
        """Keep results: (outcome, error type, line, custom_id) each; the first of an id stays.

        Returns:
            How many of them belong to the shard and are new in this pass over its lines.
        """
        insert = (
            "INSERT INTO results(n, outcome, error, line, batch_id, pass) "
            f"SELECT n, ?, ?, ?, '{shard.batch_id}', {int(pass_)} FROM requests "
            f"WHERE custom_id = ? AND shard = {shard.number} "
            "ON CONFLICT(n) DO UPDATE SET pass = excluded.pass WHERE pass <> excluded.pass"
        )
        # Not synced one by one: after a power cut the lines would be read again. The next step of
        # any other kind syncs them too.
        self._db.execute("PRAGMA synchronous = NORMAL")
        try:
            with self.step():
                return self._db.executemany(insert, results).rowcount
        finally:
            self._db.execute("PRAGMA synchronous = FULL")

    def last_pass(self) -> int:
        """The number of the last pass over results."""
        return int(self._db.execute("SELECT ifnull(max(pass), 0) FROM results").fetchone()[0])

    def missing(self, shard: BatchShard, most: int) -> list[str]:
        """Ids without a result, `most` of them."""
        query = (
            "SELECT custom_id FROM requests LEFT JOIN results USING (n) "
            "WHERE shard = ? AND results.n IS NULL ORDER BY n LIMIT ?"
        )
        return [custom_id for (custom_id,) in self._db.execute(query, (shard.number, most))]

    def count_missing(self, shard: BatchShard) -> int:
        """How many requests of a shard have no result."""
        query = "SELECT count(*) FROM requests LEFT JOIN results USING (n) WHERE shard = ? "
        row = self._db.execute(query + "AND results.n IS NULL", (shard.number,)).fetchone()
        return int(row[0])

    def results(self) -> Iterator[ResultRow]:
        """The stored results in the order of the requests."""
        query = (
            "SELECT n, custom_id, outcome, batch_id, line FROM results JOIN requests USING (n) "
            "WHERE n > ? ORDER BY n LIMIT 500"
        )
        last = 0
        while rows := self._db.execute(query, (last,)).fetchall():  # pages: no cursor stays open
            yield from (ResultRow(*row) for row in rows)
            last = rows[-1][0]

    def outcomes(self) -> dict[tuple[str, str | None], int]:
        """How many results there are of each outcome and error type."""
        query = "SELECT outcome, error, count(*) FROM results GROUP BY outcome, error"
        return {(outcome, error): n for outcome, error, n in self._db.execute(query)}

    def failed(self) -> list[tuple[int, int, str, str | None]]:
        """Number, body's length, outcome and error type of what did not succeed."""
        query = (
            "SELECT n, length(body), outcome, error FROM results JOIN requests USING (n) "
            "WHERE outcome <> 'succeeded' ORDER BY n"
        )
        return self._db.execute(query).fetchall()


def _shard(row: tuple[Any, ...]) -> BatchShard:
    number, requests, size, state, batch_id, sure, *times = row
    return BatchShard(number, requests, size, state, batch_id, bool(sure), *times)
