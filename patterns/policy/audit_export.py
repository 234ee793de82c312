"""An audit log for other tools: JSON Lines, OpenTelemetry log records, and a report.

Fields of a row: `seq`, `time` (UTC), `event` (request, response, denied, error, erasure,
retention), `call`, `attempt`, `endpoint`, `models`, `max_tokens`, `tools`, `images`, `documents`,
`items`, `status`, `request_id`, `usage`, `stop_reason`, `stream` (how a stream ended), `error`,
`rule`, `reason`, `notes`, `ms`, `key` (of the ring), and under `detail` the personal part: `user`,
`workspace`, `ip`, `prompt`. Fields are added, never renamed.

Taught in chapter 01.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from patterns.policy.audit_writer import canonical


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
