"""A tamper-evident log in one SQLite file: append, read, prove that it is whole, erase, retain.

To append alone: `audit_writer`. To export: `audit_export`.

Taught in chapter 01.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from patterns.policy.audit_chain import key_name
from patterns.policy.audit_writer import AuditUnavailable, AuditWriter, Head, WrongKey, canonical

__all__ = ["AuditLog", "AuditUnavailable", "Head", "Verdict", "WrongKey", "canonical"]

_PAGE: Final = 1_000


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


class AuditLog(AuditWriter):
    """An audit log with all that one does with it: append, read, prove, erase, retain."""

    def head(self) -> Head:
        """Where the chain stands. Anchor it elsewhere: mail it, print it, commit it."""
        with self.reading():
            seq, mac = self.last()
        return Head(seq, mac.hex())

    def rows(self, *, user: str | None = None) -> Iterator[dict[str, Any]]:
        """Every row as a dict in order, or those of the calls of one pseudonym.

        The personal part stands under `detail`, None where there is none or it was erased.
        """
        calls: set[Any] = set()
        after = 0
        while True:
            with self.reading() as db:
                found = db.execute(
                    "SELECT seq, body, detail FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",
                    (after, _PAGE),
                ).fetchall()
            if not found:
                return
            after = found[-1][0]
            for one in found:
                row = _shown(*one)
                if row["detail"] is not None and row["detail"].get("user") == user:
                    calls.add(row.get("call", row["seq"]))
                if user is None or row.get("call", row["seq"]) in calls:
                    yield row

    def tail(self, count: int = 10) -> list[dict[str, Any]]:
        """The last rows, in order; takes the same time for a million rows as for ten."""
        with self.reading() as db:
            found = db.execute(
                "SELECT seq, body, detail FROM audit ORDER BY seq DESC LIMIT ?", (count,)
            ).fetchall()
        return [_shown(*one) for one in reversed(found)]

    def verify(self, *, head: Head | None = None) -> Verdict:
        """Check every row; with an anchored `head` a cut-off tail is found as well."""
        with self.reading() as db:
            db.execute("BEGIN")
            try:
                return _Check(self, head).verdict(db)
            except WrongKey:
                return Verdict(0, 0, "the checkpoint is not signed with this key")
            finally:
                db.execute("ROLLBACK")

    def erase(self, user: str) -> int:
        """Remove the personal part of every row of a pseudonym; the chain stays verifiable.

        The erasure is a row itself, which names the rows and not the person.
        """
        with self.writing() as db:
            found = db.execute(
                "SELECT seq FROM audit WHERE json_extract(detail, '$.user') = ?", (user,)
            ).fetchall()
            db.executemany("UPDATE audit SET detail = NULL WHERE seq = ?", found)
            self.insert(self.row("erasure", rows=[seq for (seq,) in found]))
        self.forget_pages()
        return len(found)

    def retain(self, *, since: datetime) -> int:
        """Remove the rows before `since`; a signed checkpoint keeps the rest verifiable."""
        limit = since.astimezone(UTC).isoformat(timespec="microseconds")
        with self.writing() as db:
            first_kept = db.execute(
                "SELECT min(seq) FROM audit WHERE json_extract(body, '$.time') >= ?", (limit,)
            ).fetchone()[0]
            end = first_kept if first_kept is not None else self.last()[0] + 1
            cut = db.execute(
                "SELECT seq, mac FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT 1", (end,)
            ).fetchone()
            if cut is None:
                return 0
            seal = self.keys.seal(*cut)
            db.execute("REPLACE INTO checkpoint VALUES (1, ?, ?, ?)", (*cut, seal))
            removed = db.execute("DELETE FROM audit WHERE seq <= ?", (cut[0],)).rowcount
            self.insert(self.row("retention", before=cut[0] + 1))
        self.forget_pages()
        return int(removed)


def _shown(seq: int, body: str, detail: str | None) -> dict[str, Any]:
    row = {"seq": seq, **json.loads(body), "detail": json.loads(detail or "null")}
    if row["detail"] is not None:
        row["detail"].pop("salt", None)
    return row


class _Check:
    def __init__(self, log: AuditWriter, head: Head | None) -> None:
        self.log, self.head = log, head
        self.first, self.before = log.start()
        self.seq, self.rank = self.first, 0
        self.missing: set[int] = set()
        self.excused: set[int] = set()
        self.anchored = head is None or head.seq <= self.first

    def verdict(self, db: sqlite3.Connection) -> Verdict:
        for row in db.execute("SELECT seq, body, detail, mac FROM audit ORDER BY seq"):
            problem = self._problem(*row)
            if problem:
                return Verdict(self.seq - self.first, self.seq + 1, problem)
            self.seq, self.before = row[0], row[3]
        if not self.anchored and self.head is not None:
            at = min(self.head.seq, self.seq + 1)
            return Verdict(self.seq - self.first, at, "the anchored row is not there")
        if gone := self.missing - self.excused:
            problem = f"the detail of row {min(gone)} was removed"
            return Verdict(self.seq - self.first, min(gone), problem)
        return Verdict(self.seq - self.first, erased=len(self.missing))

    def _problem(self, seq: int, body: str, detail: str | None, mac: bytes) -> str:
        if seq != self.seq + 1:
            return f"row {self.seq + 1} is missing"
        rank = self.log.keys.rank(key_name(str(body)))
        if rank < self.rank or not self.log.keys.fits(mac, self.before, seq, str(body)):
            return f"row {seq} is not as it was written"
        row, self.rank = json.loads(body), rank
        if detail is None:
            if "detail" in row:
                self.missing.add(seq)
        elif not self.log.keys.committed(row, str(detail)):
            return f"the detail of row {seq} was altered"
        if row["event"] == "erasure":
            self.excused.update(row["rows"])
        if self.head is not None and self.head.seq == seq:
            self.anchored = self.head.mac == mac.hex()
        return ""
