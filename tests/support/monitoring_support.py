"""Shared by the tests of chapter 4: a sink that keeps everything, a monitored client, a record."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from anthropic import Anthropic
from anthropic.types import MessageParam

from patterns.core.models import SONNET
from patterns.core.pricing import Tokens
from patterns.fake_api import Error, FakeAPI
from patterns.monitoring.calls import CallMonitor
from patterns.monitoring.record import CallRecord
from patterns.monitoring.sink import Sink

ASK: Final[list[MessageParam]] = [{"role": "user", "content": "What is 2 + 2?"}]
NOW: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOON: Final = 0.001
"""Seconds before a retry."""
OVERLOADED: Final = Error(529, retry_after=SOON)


class Kept(Sink):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        self.attempts: list[str] = []
        self.running = 0
        self.failures: list[str] = []

    def started(self) -> None:
        self.running += 1

    def attempted(self, status: str) -> None:
        self.attempts.append(status)

    def finished(self, record: CallRecord) -> None:
        if record.seconds is not None:
            self.running -= 1
        self.records.append(record)

    def failed(self, sink: str) -> None:
        self.failures.append(sink)

    def only(self) -> CallRecord:
        """The one record there is, with no call left running."""
        assert self.running == 0
        (record,) = self.records
        return record


class Broken(Sink):
    """Raises whatever it is told."""

    def started(self) -> None:
        raise RuntimeError("started")

    def attempted(self, status: str) -> None:
        raise RuntimeError(status)

    def finished(self, record: CallRecord) -> None:
        raise RuntimeError(record.outcome)

    def failed(self, sink: str) -> None:
        raise RuntimeError(sink)


def watched(api: FakeAPI, monitor: CallMonitor, **options: Any) -> Anthropic:
    """A real client on the fake API, watched by the monitor."""
    return api.client(**monitor.client_options(), **options)


def ask(client: Anthropic, **changes: Any) -> Any:
    """One small call."""
    arguments: dict[str, Any] = {"model": SONNET, "max_tokens": 64, "messages": ASK} | changes
    return client.messages.create(**arguments)


def a_record(**changes: Any) -> CallRecord:
    """A plain successful call of one cent."""
    facts: dict[str, Any] = {
        "at": NOW,
        "model": SONNET,
        "feature": "chat",
        "outcome": "ok",
        "seconds": 1.5,
        "tokens": Tokens(input=1_000, output=800),
        "cost_usd": Decimal("0.01"),
        "stop_reason": "end_turn",
    }
    return CallRecord(**(facts | changes))
