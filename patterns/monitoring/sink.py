"""What receives the records of a `CallMonitor`: override what you need.

    class Print(Sink):
        def finished(self, record): print(record.outcome, record.cost_usd)

What a sink raises is counted and never felt by the call. Not for slow work: a sink runs on the
caller's thread. Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Container

from patterns.monitoring.record import CallRecord


class Sink:
    """Where records go. Each method is a place to listen; the default hears nothing."""

    def started(self) -> None:
        """A call began."""

    def attempted(self, status: str) -> None:
        """An HTTP attempt ended.

        Args:
            status: its status code; "timeout" or "connection" without one; "stopped" by our code.
        """

    def finished(self, record: CallRecord) -> None:
        """A call ended. `started` came before it, except for the results of a batch."""

    def dropped(self) -> None:
        """A call ended of which the monitor could make no record; `failed` follows."""

    def failed(self, sink: str) -> None:
        """A sink, by its class name, lost what it was given; or "CallMonitor" a record."""


class Memory(Sink):
    """Keeps what it hears in lists: for tests, notebooks and small scripts. It never forgets."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        """Calls that ended, in that order."""
        self.attempts: list[str] = []
        """The status of every HTTP attempt."""

    def attempted(self, status: str) -> None:
        """Keep the status."""
        self.attempts.append(status)

    def finished(self, record: CallRecord) -> None:
        """Keep the record."""
        self.records.append(record)


def model_label(model: str, known: Container[str]) -> str:
    """A model as a label: its own id, the alias of a dated id, or "other".

    Whatever a request names ends up in a record, so a label must not take it as it is.
    """
    alias, _, date = model.rpartition("-")
    if model in known:
        return model
    return alias if alias in known and len(date) == 8 and date.isdigit() else "other"
