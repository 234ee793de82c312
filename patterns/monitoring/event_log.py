"""Every call as a row in SQLite: exact sums, questions about one call, users as pseudonyms.

    log = EventLog("calls.db")
    log.query("SELECT feature, sum(cost_pico) / 1e12 AS usd FROM calls GROUP BY feature")

One insert a call, on the caller's thread, in tens of microseconds. Money is kept as whole
picodollars (10⁻¹² USD), so sums are exact. A log that is locked, full or broken loses the record,
which the monitor counts, and never holds a call up longer than `timeout`. A file that is moved or
removed, as by logrotate, keeps what it holds; the next record begins a new one. Forked workers
share the file, each over a connection of its own. Not for a fleet: point each machine at its own
file and export JSON lines, or write a sink for your database.

Chapter 4 teaches it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, fields
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import Any, Final, TextIO

from patterns.core.errors import Portable
from patterns.core.usage import Tokens
from patterns.monitoring.forking import renew_in_children
from patterns.monitoring.json_log import as_json
from patterns.monitoring.record import CallRecord, in_utc
from patterns.monitoring.sink import Sink

PICO: Final = Decimal(10) ** 12
"""Picodollars in a dollar."""

_VERSION: Final = 2
_COLUMNS: Final = {  # by attribute of a record; all but the first and the last three as they are
    "at": "REAL NOT NULL",  # seconds since 1970, UTC
    "model": "TEXT NOT NULL",
    "feature": "TEXT NOT NULL",
    "outcome": "TEXT NOT NULL",
    "seconds": "REAL",
    "first_chunk_seconds": "REAL",
    "tokens.input": "INTEGER NOT NULL",
    "tokens.output": "INTEGER NOT NULL",
    "tokens.cache_write_5m": "INTEGER NOT NULL",
    "tokens.cache_write_1h": "INTEGER NOT NULL",
    "tokens.cache_read": "INTEGER NOT NULL",
    "cost_is_lower_bound": "INTEGER NOT NULL",
    "retries": "INTEGER NOT NULL",
    "stop_reason": "TEXT",
    "error_type": "TEXT",
    "user": "TEXT",
    "offline": "INTEGER NOT NULL",
    "batch": "INTEGER NOT NULL",
    "streamed": "INTEGER NOT NULL",
    "request_id": "TEXT",
    "response_id": "TEXT",
    "trace_id": "TEXT",
    "fast": "INTEGER NOT NULL",
    "geo": "TEXT",
    "cost_pico": "INTEGER",  # NULL: no published price
    "fees_pico": "INTEGER NOT NULL",  # in cost_pico, and not for tokens
    "samplings": "TEXT",  # NULL: one; else the tokens of each, as JSON in the order of `Tokens`
}
_NAMES: Final = [attribute.rpartition(".")[2] for attribute in _COLUMNS]
_taken: Final = attrgetter(*list(_COLUMNS)[1:-3])
_SCHEMA: Final = f"""
CREATE TABLE calls ({", ".join(map(" ".join, zip(_NAMES, _COLUMNS.values(), strict=True)))});
CREATE TABLE feedback (response_id TEXT PRIMARY KEY, helpful INTEGER NOT NULL, at REAL NOT NULL);
PRAGMA user_version = {_VERSION};
"""
_INSERT: Final = f"INSERT INTO calls ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"


_PARENTS: Final[list[sqlite3.Connection]] = []
"""Connections of the process that this one was forked from: SQLite must not even close them."""


class EventLogUnusable(Portable, RuntimeError):
    """The file cannot be used as an event log.

    Attributes:
        path: the file.
        reason: what SQLite, or its version number, says.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot log calls to {path!r}: {reason}. Move the file away, or fix it.")


class EventLog(Sink):
    """A sink that keeps every record in one SQLite file.

    Args:
        path: the file, made when absent; ":memory:" keeps it in memory.
        timeout: seconds to wait for another process's lock before the record is given up.

    Raises:
        EventLogUnusable: the file exists and is not an event log of this version.
    """

    def __init__(self, path: str | os.PathLike[str] = ":memory:", *, timeout: float = 0.05) -> None:
        self.path = str(path)
        if not isinstance(path, str | os.PathLike):
            raise EventLogUnusable(self.path, "it is no path")
        self._timeout = timeout
        self._lock = Lock()
        self._connect()
        renew_in_children(self)

    def renew(self) -> None:  # pragma: no cover  # in a forked child
        """After a fork: open the file anew before the next row; a log in memory is a copy."""
        self._lock = Lock()
        self._forked = self._file is not None

    def _connect(self) -> None:
        try:
            self._db = sqlite3.connect(
                self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            self._prepare()
            self._file = self._on_disk()
        except sqlite3.Error as error:
            raise EventLogUnusable(self.path, str(error)) from error
        self._forked = False
        self._db.row_factory = sqlite3.Row

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version == 0 and tables == 0:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)
        elif version != _VERSION:
            raise EventLogUnusable(self.path, f"its version is {version}, this code's {_VERSION}")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB: fewer flushes per row

    def _on_disk(self) -> tuple[int, int] | None:
        """Which file the path leads to; None for a log in memory, or when there is none."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 (a quarter of the time, on every call)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        """The connection to the file that the path leads to now, in this process."""
        if self._forked:  # pragma: no cover  # in a forked child
            _PARENTS.append(self._db)  # closing it here would take the parent's locks away
            self._connect()
        elif self._file != self._on_disk():
            self._leave()
            self._connect()
        return self._db

    def _leave(self) -> None:
        """Let go of a file that was moved or removed, with all its rows in it."""
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
        # Else another process has begun the new file already.
        if self._on_disk() is None:  # pragma: no branch
            for part in ("-wal", "-shm"):  # these belong to the old one, and kept their names
                Path(self.path + part).unlink(missing_ok=True)

    def finished(self, record: CallRecord) -> None:
        """Keep the record; one insert, committed."""
        with self._lock:
            self._open().execute(_INSERT, _row(record))

    def extend(self, records: Iterable[CallRecord]) -> None:
        """Keep many records in one transaction, all or none."""
        with self._lock:
            db = self._open()
            db.execute("BEGIN")
            try:
                db.executemany(_INSERT, map(_row, records))
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def feedback(self, response_id: str, *, helpful: bool, at: datetime) -> None:
        """Keep what a user thought of an answer; the last word counts."""
        row = (response_id, helpful, in_utc(at).timestamp())
        with self._lock:
            self._open().execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?)", row)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Rows of `calls` and `feedback`, whose columns go by index and by name."""
        with self._lock:
            return self._open().execute(sql, parameters).fetchall()

    def numbers(self, sql: str, parameters: Sequence[object] = ()) -> array[float]:
        """One numeric column, compactly: eight bytes a row."""
        with self._lock:
            cursor = self._open().cursor()
            cursor.row_factory = None
            return array("d", (value for (value,) in cursor.execute(sql, parameters)))

    def export(self, file: TextIO, *, since: datetime | None = None) -> int:
        """Write records as JSON lines, oldest first, and return how many."""
        start = in_utc(since).timestamp() if since is not None else float("-inf")
        rows = self.query("SELECT * FROM calls WHERE at >= ? ORDER BY at", (start,))
        for row in rows:
            file.write(as_json(_record(row)) + "\n")
        return len(rows)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()


def _row(record: CallRecord) -> tuple[Any, ...]:
    return (
        record.at.timestamp(),
        *_taken(record),
        None if record.cost_usd is None else int(record.cost_usd * PICO),
        int(record.fees_usd * PICO),
        json.dumps([astuple(part) for part in record.samplings]) if record.samplings else None,
    )


def _record(row: sqlite3.Row) -> CallRecord:
    values: dict[str, Any] = dict(row)
    values["tokens"] = Tokens(*(values.pop(kind.name) for kind in fields(Tokens)))
    values["at"] = datetime.fromtimestamp(values["at"], UTC)
    pico = values.pop("cost_pico")
    values["cost_usd"] = None if pico is None else pico / PICO
    values["fees_usd"] = values.pop("fees_pico") / PICO
    values["samplings"] = tuple(Tokens(*part) for part in json.loads(values["samplings"] or "[]"))
    for name in ("cost_is_lower_bound", "offline", "batch", "streamed", "fast"):
        values[name] = bool(values[name])
    return CallRecord(**values)
