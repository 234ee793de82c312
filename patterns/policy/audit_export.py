"""An audit log for other tools: JSON Lines, OpenTelemetry log records, and a command line.

    python -m patterns.policy.audit_export verify|tail|export FILE --key-file KEY

Fields of a row: `seq`, `time` (UTC), `event` (request, response, denied, error, erasure,
retention), `call`, `attempt`, `endpoint`, `models`, `max_tokens`, `tools`, `images`, `documents`,
`items`, `status`, `request_id`, `usage`, `stop_reason`, `stream` (how a stream ended), `error`,
`rule`, `reason`, `notes`, `ms`, `key` (of the ring), and under `detail` the personal part: `user`,
`workspace`, `ip`, `prompt`. Fields are added, never renamed.

Taught in chapter 01.
"""

import argparse
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from patterns.policy.audit_log import AuditLog, Head, canonical


def export(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Rows as JSON lines, ASCII only; the fields are those that `Audit` documents."""
    return (canonical(row) for row in found)


def emit(found: Iterable[Mapping[str, Any]], logger: Any) -> int:
    """Rows as OpenTelemetry log records; `logger` is `opentelemetry._logs.get_logger("audit")`.

    The event is `claude.audit.<event>`, the other fields are attributes under `claude.audit.`.
    """
    from opentelemetry._logs import LogRecord, SeverityNumber

    count = 0
    for row in found:
        count += 1
        at = int(datetime.fromisoformat(row["time"]).timestamp() * 1e9)
        record = LogRecord(
            timestamp=at,
            observed_timestamp=at,
            severity_number=SeverityNumber.INFO,
            body=canonical(row),
            attributes={
                f"claude.audit.{key}": value
                if isinstance(value, str | int | float)
                else canonical(value)
                for key, value in row.items()
                if value is not None
            },
        )
        record.event_name = f"claude.audit.{row['event']}"
        logger.emit(record)
    return count


def would_change(found: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """What `enforce` would have done to the calls of policies that only observed, by kind."""
    counts: Counter[str] = Counter()
    for row in found:
        kept = row.get("notes", {}).get("observed", {})
        for policy, what in kept.items():
            counts.update({f"{policy}: {name}": count for name, count in what.items()})
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """`verify`, `tail` or `export` a log; 0 when all is well, 1 when it was altered."""
    parser = argparse.ArgumentParser(prog="python -m patterns.policy.audit_export")
    parser.add_argument("command", choices=("verify", "tail", "export"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--key-file", type=Path, required=True, help="file that holds the key")
    parser.add_argument("--head", help="SEQ:MAC, anchored when the log was whole")
    parser.add_argument("--user", help="rows of this pseudonym only")
    parser.add_argument("-n", type=int, default=10, help="rows that tail shows")
    options = parser.parse_args(arguments)
    if not options.file.is_file():
        parser.error(f"{options.file}: no such file")
    with AuditLog(options.file, options.key_file.read_bytes().strip()) as log:
        lines, code = _answer(log, options)
        for line in lines:
            sys.stdout.write(line + "\n")
    return code


def _answer(log: AuditLog, options: argparse.Namespace) -> tuple[Iterable[str], int]:
    if options.command == "verify":
        seq, _, mac = (options.head or "").partition(":")
        found = log.verify(head=Head(int(seq), mac) if seq else None)
        if not found.intact:
            return [f"altered at row {found.broken_at}: {found.problem}"], 1
        stand = log.head()
        whole = f"intact: {found.rows} rows, {found.erased} erased"
        return [f"{whole}; head {stand.seq}:{stand.mac}"], 0
    if options.command == "tail" and options.user is None:
        return export(log.tail(options.n)), 0
    rows = log.rows(user=options.user)
    return export(rows if options.command == "export" else deque(rows, maxlen=options.n)), 0


if __name__ == "__main__":  # pragma: no cover  # the tests call main()
    raise SystemExit(main())
