"""Call records as DogStatsD metrics, for a Datadog agent.

    DogStatsDSink(datadog.DogStatsd(host="127.0.0.1", port=8125))

Tags come from the same closed sets as the labels of the Prometheus sink. Fire and forget over UDP:
an agent that is down loses metrics, not calls. Not for exact money: ask the event log. Chapter 4
teaches it. Needs: pip install datadog.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from patterns.core.models import MODELS
from patterns.monitoring.record import CallRecord
from patterns.monitoring.sink import Sink, model_label


class Statsd(Protocol):
    """What is used of `datadog.DogStatsd`."""

    def increment(self, metric: str, value: float = 1, tags: list[str] | None = None) -> None: ...
    def distribution(self, metric: str, value: float, tags: list[str] | None = None) -> None: ...


class DogStatsDSink(Sink):
    """Sends counts, latencies and dollars to a DogStatsD agent.

    Args:
        statsd: a `datadog.DogStatsd`, or anything that counts and distributes like one.
        models: the closed set of models; dated ids count under their alias, others as "other".
    """

    def __init__(self, statsd: Statsd, *, models: Iterable[str] = MODELS) -> None:
        self._statsd = statsd
        self._models = frozenset(models)

    def attempted(self, status: str) -> None:
        """Count the attempt."""
        self._statsd.increment("claude.attempts", tags=[f"status:{status}"])

    def finished(self, record: CallRecord) -> None:
        """Count, time and price the call."""
        model = model_label(record.model, self._models)
        tags = [f"model:{model}", f"feature:{record.feature}"]
        self._statsd.increment("claude.calls", tags=[*tags, f"outcome:{record.outcome}"])
        if record.seconds is not None:
            self._statsd.distribution("claude.call.seconds", record.seconds, tags=tags)
        if record.first_chunk_seconds is not None:
            self._statsd.distribution(
                "claude.first_chunk.seconds", record.first_chunk_seconds, tags=tags
            )
        if record.cost_usd is None:
            self._statsd.increment("claude.unpriced", tags=tags)
        else:
            self._statsd.increment("claude.cost_usd", float(record.cost_usd), tags=tags)
