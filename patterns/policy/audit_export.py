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
    options = _parser().parse_args(arguments)
    if not options.file.is_file():
        sys.stderr.write(f"{options.file}: no such file\n")
        return 2
    with AuditLog(options.file, options.key_file.read_bytes().strip()) as log:
        if options.command == "verify":
            return _verify(log, options.head)
        for line in export(_chosen(log, options)):
            sys.stdout.write(line + "\n")
    return 0


def _verify(log: AuditLog, head: Head | None) -> int:
    verdict = log.verify(head=head)
    stand = log.head()
    if verdict.intact:
        sys.stdout.write(f"intact: {verdict.rows} rows, {verdict.erased} erased; ")
        sys.stdout.write(f"head {stand.seq}:{stand.mac}\n")
        return 0
    sys.stdout.write(f"altered at row {verdict.broken_at}: {verdict.problem}\n")
    return 1


def _chosen(log: AuditLog, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    if options.command == "export":
        return log.rows(user=options.user)
    if options.user is None:
        return log.tail(options.n)
    return deque(log.rows(user=options.user), maxlen=options.n)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m patterns.policy.audit_export")
    parser.add_argument("command", choices=("verify", "tail", "export"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--key-file", type=Path, required=True, help="file that holds the key")
    parser.add_argument("--head", type=_head, help="SEQ:MAC, anchored when the log was whole")
    parser.add_argument("--user", help="rows of this pseudonym only")
    parser.add_argument("-n", type=int, default=10, help="rows that tail shows")
    return parser


def _head(text: str) -> Head:
    seq, _, mac = text.partition(":")
    return Head(int(seq), mac)


if __name__ == "__main__":  # pragma: no cover  # the tests call main()
    raise SystemExit(main())
