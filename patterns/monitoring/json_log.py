"""Call records as JSON, one line each, on a logger of the standard library.

For a log pipeline that already exists. Users appear as the pseudonyms of the record; content never
does, because a record holds none. Not for sums: ask the event log. Chapter 4 teaches it.
"""

from __future__ import annotations

import json
import logging

from pydantic_core import to_json

from patterns.monitoring.record import CallRecord
from patterns.monitoring.sink import Sink


class JsonLog(Sink):
    """Logs every call: INFO when it went well, WARNING when it did not.

    Args:
        logger: where the lines go; "claude.calls" by default.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("claude.calls")

    def finished(self, record: CallRecord) -> None:
        """Log the call on one line."""
        level = logging.WARNING if record.error_type else logging.INFO
        logger = self._logger
        if logger.isEnabledFor(level):  # `log` would search the stack for a caller: only for us
            line = logger.makeRecord(logger.name, level, __file__, 0, as_json(record), (), None)
            logger.handle(line)


def as_json(record: CallRecord) -> str:
    """The record as one line of JSON; amounts of money as strings, so that they stay exact."""
    text = to_json(record).decode()  # several times as fast as dataclasses.asdict and json.dumps
    return text if text.isascii() else json.dumps(json.loads(text))  # nothing that breaks a line
