"""A tamper-evident log in one SQLite file that many processes write to.

Every row carries an HMAC over itself and over the row before it, so an edit, a gap or another
order breaks the chain. A tail that is cut off breaks nothing: keep `head()` somewhere else and
give it to `verify`. Whoever holds the key can rewrite history, so with the key on the same host
this is evidence against everyone but its owner. Not a debug log: it holds no prompt text.

Taught in chapter 01.
"""

import hmac
import json
import secrets
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import anyio.to_thread
from pydantic_core import to_json

from patterns.policy.wire import PolicyDenied

Row = tuple[str, str | None]
GENESIS: Final = bytes(32)
SHORTEST_KEY: Final = 32
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS audit (
    seq INTEGER PRIMARY KEY, body TEXT NOT NULL, detail TEXT, mac BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, mac BLOB NOT NULL,
    seal BLOB NOT NULL);
"""
_NEXT: Final = """
INSERT INTO audit SELECT seq + 1, ?1, ?2, chain(mac, seq + 1, ?1)
FROM audit ORDER BY seq DESC LIMIT 1
"""


class AuditUnavailable(PolicyDenied):
    """The log cannot take a row, so the call that it should describe is not made.

    Attributes:
        reason: what SQLite says: locked, disk full, not a database, read-only ...
    """

    rule = "audit-unavailable"

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"the audit log {path.name} takes no row ({reason}); free it, ask again.")


class WrongKey(PolicyDenied):
    """The file was written with another key; writing on would break its chain."""

    rule = "audit-wrong-key"

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path.name} was signed with another key, or altered; run verify on it.")


@dataclass(frozen=True)
class Head:
    """The last row, to be kept where the writers of the log cannot change it."""

    seq: int
    mac: str


@dataclass(frozen=True)
class Verdict:
    """What `verify` found.

    Attributes:
        rows: rows whose MAC is right.
        broken_at: sequence number of the first row that is not as written; None if all are.
        problem: what is wrong there, in words; empty if nothing is.
        erased: rows whose personal part was removed as the log itself records.
    """

    rows: int
    broken_at: int | None = None
    problem: str = ""
    erased: int = 0

    @property
    def intact(self) -> bool:
        """Whether every row is there, unchanged and in order."""
        return self.broken_at is None


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


class AuditLog:
    """Append, verify, export and erase rows of one file. Safe for threads and processes.

    Args:
        path: the file; it and its folder's `-wal` neighbour belong to the log.
        key: at least 32 bytes, from `secrets.token_bytes(32)`, kept elsewhere.
        clock: gives the UTC time of a row.
        wait: seconds to wait for another writer before the log counts as unavailable.
        survive: `process` keeps every row through a kill; `power` through a power cut too,
            for one disk flush per row.

    Raises:
        AuditUnavailable: the file cannot be opened or is no database.
    """

    def __init__(
        self,
        path: str | Path,
        key: bytes,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait: float = 5.0,
        survive: Literal["process", "power"] = "process",
    ) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"the key has {len(key)} bytes; take secrets.token_bytes(32).")
        self.path, self._clock = Path(path), clock
        self._mac = hmac.new(key, digestmod="sha256")
        self._lock, self._wait, self._known = threading.RLock(), wait, False
        self._pending: deque[Row] = deque()
        with self._errors():
            self._db = sqlite3.connect(
                self.path, timeout=wait, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if survive == 'power' else 'NORMAL'}")
            self._db.execute("PRAGMA secure_delete=ON")
            self._db.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: fewer flushes per row
            self._db.executescript(_TABLES)
            self._db.create_function("chain", 3, self._chain, deterministic=True)

    def hash(self, text: str) -> str:
        """A keyed fingerprint of `text`, equal for equal texts and useless without the key."""
        return self._sign(b"text", text.encode("utf-8", "surrogatepass")).hex()[:32]

    def append(self, event: str, /, detail: Mapping[str, Any] | None = None, **facts: Any) -> int:
        """Add a row and return its sequence number; it is committed when this returns.

        `detail` is the personal part, with the pseudonym under `user`: only it can be erased.

        Raises:
            AuditUnavailable: nothing was written.
            WrongKey: the file's last row was not signed with this key; nothing was written.
        """
        return self._append(self._row(event, detail, **facts))

    async def append_async(
        self, event: str, /, detail: Mapping[str, Any] | None = None, **facts: Any
    ) -> int:
        """`append` that never blocks the event loop: it waits for other writers in a thread."""
        row = self._row(event, detail, **facts)
        seq = self._at_once(row)
        return await anyio.to_thread.run_sync(self._append, row) if seq is None else seq

    def _append(self, row: Row) -> int:
        with self._lock:
            if self._known and not self._pending:
                try:
                    added = self._db.execute(_NEXT, row)  # one statement is one transaction
                except sqlite3.Error as error:
                    raise AuditUnavailable(self.path, str(error)) from None
                if added.rowcount == 1 and added.lastrowid is not None:
                    return added.lastrowid
            with self._writing():
                self._insert_pending()
                return self._insert(row)

    def _at_once(self, row: Row) -> int | None:
        """Append if nobody else is writing; None if somebody is."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._db.execute("PRAGMA busy_timeout=0")
            return self._append(row)
        except AuditUnavailable as error:
            if "locked" in error.reason:
                return None
            raise
        except sqlite3.Error as error:
            raise AuditUnavailable(self.path, str(error)) from None
        finally:
            with suppress(sqlite3.Error):
                self._db.execute(f"PRAGMA busy_timeout={int(self._wait * 1000)}")
            self._lock.release()

    def append_later(
        self, event: str, /, detail: Mapping[str, Any] | None = None, **facts: Any
    ) -> None:
        """Add a row about something that has happened: if the log is busy, keep it for the next.

        A response is paid for; failing the call would not undo it. The next `append` writes what
        is kept first, and is refused as long as that does not work.
        """
        self._append_later(self._row(event, detail, **facts))

    async def append_later_async(
        self, event: str, /, detail: Mapping[str, Any] | None = None, **facts: Any
    ) -> None:
        """`append_later` that never blocks the event loop."""
        row = self._row(event, detail, **facts)
        with suppress(AuditUnavailable):
            if self._at_once(row) is not None:
                return
        await anyio.to_thread.run_sync(self._append_later, row)

    def _append_later(self, row: Row) -> None:
        with self._lock:
            try:
                self._append(row)
            except AuditUnavailable:
                self._pending.append(row)

    @property
    def kept(self) -> int:
        """Rows that wait in memory for the log to be available again."""
        return len(self._pending)

    def _row(self, event: str, detail: Mapping[str, Any] | None = None, **facts: Any) -> Row:
        """Body and personal part of a row, as far as they do not depend on the row before."""
        body = {"event": event, "time": self._clock().isoformat(timespec="microseconds"), **facts}
        if not detail:
            return _line(body), None
        text = _line({"salt": secrets.token_hex(8), **detail})
        return _line({**body, "detail": self._commitment(text)}), text

    def _insert_pending(self) -> None:
        for row in self._pending:
            self._insert(row)

    def _insert(self, row: Row) -> int:
        body, detail = row
        seq, before = self._last()
        mac = self._chain(before, seq + 1, body)
        self._db.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", (seq + 1, body, detail, mac))
        return seq + 1

    def _last(self) -> tuple[int, bytes]:
        row = self._db.execute("SELECT seq, mac FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        return row or self._start()

    def _start(self) -> tuple[int, bytes]:
        row = self._db.execute("SELECT seq, mac, seal FROM checkpoint").fetchone()
        if row is None:
            return 0, GENESIS
        if not hmac.compare_digest(row[2], self._seal(row[0], row[1])):
            raise WrongKey(self.path)
        return row[0], row[1]

    def _sign(self, *parts: bytes) -> bytes:
        mac = self._mac.copy()  # half the time of a new one, which prepares the key again
        mac.update(b"\0".join(parts))
        return mac.digest()

    def _chain(self, before: bytes, seq: int, body: str) -> bytes:
        return self._sign(before, str(seq).encode(), body.encode())

    def _commitment(self, detail: str) -> str:
        return self._sign(b"detail", detail.encode()).hex()

    def _seal(self, seq: int, mac: bytes) -> bytes:
        return self._sign(b"checkpoint", str(seq).encode(), mac)

    def _check_key(self) -> None:
        rows = self._db.execute(
            "SELECT seq, body, mac FROM audit ORDER BY seq DESC LIMIT 2"
        ).fetchall()
        if not rows:
            self._start()
            return
        seq, body, mac = rows[0]
        before = rows[1][2] if len(rows) == 2 else self._start()[1]
        if not hmac.compare_digest(mac, self._chain(before, seq, str(body))):
            raise WrongKey(self.path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise AuditUnavailable(self.path, str(error)) from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if not self._known:
                    self._check_key()
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._known = True
            self._pending.clear()

    def head(self) -> Head:
        """Where the chain stands. Anchor it elsewhere: mail it, print it, commit it."""
        with self._lock, self._errors():
            seq, mac = self._last()
        return Head(seq, mac.hex())

    def rows(self, *, user: str | None = None) -> Iterator[dict[str, Any]]:
        """Every row as a dict in order, or those of the calls of one pseudonym.

        The personal part stands under `detail`, None where there is none or it was erased.
        """
        with self._lock, self._errors():
            found = self._db.execute("SELECT seq, body, detail FROM audit ORDER BY seq").fetchall()
        calls: set[str] = set()
        for seq, body, detail in found:
            row = {"seq": seq, **json.loads(body), "detail": json.loads(detail or "null")}
            if row["detail"] is not None:
                del row["detail"]["salt"]
                if row["detail"].get("user") == user:
                    calls.add(row.get("call", seq))
            if user is None or row.get("call", seq) in calls:
                yield row

    def verify(self, *, head: Head | None = None) -> Verdict:
        """Check every row; with an anchored `head` a cut-off tail is found as well."""
        with self._lock, self._errors():
            self._db.execute("BEGIN")
            try:
                return self._verify(head)
            except WrongKey:
                return Verdict(0, 0, "the checkpoint is not signed with this key")
            finally:
                self._db.execute("ROLLBACK")

    def _verify(self, head: Head | None) -> Verdict:
        start, before = self._start()
        seq = start
        missing: set[int] = set()
        excused: set[int] = set()
        anchored = head is None or head.seq <= start
        for found, body, detail, mac in self._db.execute(
            "SELECT seq, body, detail, mac FROM audit ORDER BY seq"
        ):
            if found != seq + 1:
                return Verdict(seq - start, seq + 1, f"row {seq + 1} is missing")
            if not hmac.compare_digest(mac, self._chain(before, found, str(body))):
                return Verdict(seq - start, found, f"row {found} is not as it was written")
            seq, before = found, mac
            row = json.loads(body)
            if not self._detail_fits(row, detail):
                if detail is not None or "detail" not in row:
                    return Verdict(seq - 1 - start, seq, f"the detail of row {seq} was altered")
                missing.add(seq)
            if row["event"] == "erasure":
                excused.update(row["rows"])
            if head is not None and head.seq == seq:
                anchored = head.mac == mac.hex()
        if not anchored and head is not None:
            return Verdict(seq - start, min(head.seq, seq + 1), "the anchored row is not there")
        if gone := missing - excused:
            return Verdict(seq - start, min(gone), f"the detail of row {min(gone)} was removed")
        return Verdict(seq - start, erased=len(missing))

    def _detail_fits(self, row: Mapping[str, Any], detail: str | None) -> bool:
        if detail is None:
            return "detail" not in row
        return row.get("detail") == self._commitment(str(detail))

    def erase(self, user: str) -> int:
        """Remove the personal part of every row of a pseudonym; the chain stays verifiable.

        The erasure is a row itself, which names the rows and not the person.
        """
        with self._lock:
            with self._writing():
                self._insert_pending()
                found = self._db.execute(
                    "SELECT seq FROM audit WHERE json_extract(detail, '$.user') = ?", (user,)
                ).fetchall()
                rows = [seq for (seq,) in found]
                self._db.executemany("UPDATE audit SET detail = NULL WHERE seq = ?", found)
                self._insert(self._row("erasure", rows=rows))
            self._forget()
        return len(rows)

    def retain(self, *, since: datetime) -> int:
        """Remove the rows before `since`; a signed checkpoint keeps the rest verifiable."""
        limit = since.astimezone(UTC).isoformat(timespec="microseconds")
        with self._lock:
            with self._writing():
                self._insert_pending()
                cut = self._cut(limit)
                if cut is not None:
                    seq, mac = cut
                    self._db.execute(
                        "REPLACE INTO checkpoint VALUES (1, ?, ?, ?)", (seq, mac, self._seal(*cut))
                    )
                    removed = self._db.execute("DELETE FROM audit WHERE seq <= ?", (seq,)).rowcount
                    self._insert(self._row("retention", before=seq + 1))
            if cut is not None:
                self._forget()
        return removed if cut is not None else 0

    def _cut(self, limit: str) -> tuple[int, bytes] | None:
        """The last row of the oldest stretch before `limit`; later rows may be out of order."""
        query = "SELECT seq, mac FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT 1"
        first_kept = self._db.execute(
            "SELECT min(seq) FROM audit WHERE json_extract(body, '$.time') >= ?", (limit,)
        ).fetchone()[0]
        end = first_kept if first_kept is not None else self._last()[0] + 1
        found: tuple[int, bytes] | None = self._db.execute(query, (end,)).fetchone()
        return found

    def _forget(self) -> None:
        """Leave nothing of what was removed in the write-ahead log."""
        with self._errors():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file. Rows that were kept in memory are written first, if that is possible."""
        with self._lock:
            if self._pending:
                with self._writing():
                    self._insert_pending()
            self._db.close()

    def __enter__(self) -> "AuditLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def export(rows: Sequence[Mapping[str, Any]] | Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as JSON lines, ASCII only."""
    return (canonical(row) for row in rows)
