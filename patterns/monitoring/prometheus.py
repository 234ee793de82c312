"""Call records as Prometheus metrics, with labels from closed sets only.

    sink = PrometheusSink()
    prometheus_client.start_http_server(9000, registry=sink.registry)

However many users and features there are, the number of series stays the same: users live in the
event log, and an exemplar on each latency bucket leads to one trace. Money is a float here: sums of
exact amounts live in the event log. Not for questions about one call or one user.

Chapter 4 teaches it; patterns/monitoring/ops/ holds the rules and the dashboard for it. Needs: pip
install prometheus-client.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from patterns.core.errors import Portable
from patterns.core.models import MODELS
from patterns.monitoring.record import CallRecord
from patterns.monitoring.sink import Sink, model_label

BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))  # 10 ms to 81.92 s

_HTTP: Final = (200, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)
_STATUSES: Final = frozenset(map(str, _HTTP)) | {"timeout", "connection", "stopped"}


class RegistryInUse(Portable, ValueError):
    """The registry already holds these metrics: a second sink would count into the first one's."""

    def __init__(self) -> None:
        super().__init__(
            "this registry already holds the claude_ metrics; use the sink that made them, "
            "or give the new one its own CollectorRegistry()."
        )


class PrometheusSink(Sink):
    """Counts, times and prices calls in a Prometheus registry.

    Args:
        registry: where the metrics live; a fresh one by default, so that a notebook cell can be
            run twice. `prometheus_client.REGISTRY` is the process-wide one.
        models: the closed set of models; dated ids count under their alias, others as "other".

    Several processes, as under gunicorn: set `PROMETHEUS_MULTIPROC_DIR`, serve a
    `multiprocess.MultiProcessCollector`, and call `multiprocess.mark_process_dead(pid)` when a
    worker ends. Counters keep what it counted; its running calls are gone with it.

    Raises:
        RegistryInUse: the registry has such a sink already.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, models: Iterable[str] = MODELS
    ) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._models = frozenset(models)
        # Looked up once: the labels are of closed sets, and the client's own look-up locks.
        self._series = cache(lambda metric, *labels: metric.labels(*labels))
        try:
            self._define(self.registry)
        except ValueError as error:
            raise RegistryInUse from error
        self._start_at_zero()

    def _define(self, registry: CollectorRegistry) -> None:
        count = partial(Counter, registry=registry)
        time = partial(Histogram, labelnames=["model"], buckets=BUCKETS, registry=registry)
        said = "Calls to Claude by how they ended, retries and stream reading included."
        self._calls = count("claude_calls_total", said, ["model", "outcome", "feature"])
        said = "Time from the call to the end of its answer."
        self._seconds = time("claude_call_duration_seconds", said)
        said = "Time from the call to the first piece of a streamed answer."
        self._first_chunk = time("claude_time_to_first_chunk_seconds", said)
        said = "Tokens by the price they pay."
        self._tokens = count("claude_tokens_total", said, ["model", "type"])
        said = "US dollars spent, at list price."
        self._cost = count("claude_cost_usd_total", said, ["model", "feature"])
        said = "Calls whose cost no published price covers."
        self._unpriced = count("claude_unpriced_calls_total", said, ["model"])
        said = "HTTP attempts by status code, or by why there was none."
        self._attempts = count("claude_attempts_total", said, ["status"])
        said = "Calls turned away because the spend limit of the organisation is reached."
        self._spend_cap = count("claude_spend_cap_calls_total", said)
        said = "Records that a monitoring sink failed to keep."
        self._sink_errors = count("claude_sink_errors_total", said)
        # Of the living processes, once `mark_process_dead` names the dead.
        one = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self._active = one("claude_active_calls", "Calls that have not ended.")

    def _start_at_zero(self) -> None:
        # increase() sees nothing in a counter born at 1: what must alert at once starts at 0.
        for model in (*self._models, "other"):
            self._unpriced.labels(model)

    def started(self) -> None:
        """One more call is running."""
        self._active.inc()

    def attempted(self, status: str) -> None:
        """Count the attempt."""
        self._series(self._attempts, status if status in _STATUSES else "other").inc()

    def dropped(self) -> None:
        """One call less is running."""
        self._active.dec()

    def failed(self, sink: str) -> None:
        """Count a record that a sink, or the monitor, lost."""
        self._sink_errors.inc()

    def finished(self, record: CallRecord) -> None:
        """Count, time and price the call."""
        model = model_label(record.model, self._models)
        if record.seconds is not None:  # not the result of a batch, which no call waited for
            self._active.dec()
            self._time(model, record, record.seconds)
        self._series(self._calls, model, record.outcome, record.feature).inc()
        if record.outcome == "spend_cap":
            self._spend_cap.inc()
        self._price(model, record)

    def _time(self, model: str, record: CallRecord, seconds: float) -> None:
        trace = {"trace_id": record.trace_id} if record.trace_id else None
        self._series(self._seconds, model).observe(seconds, trace)
        if record.first_chunk_seconds is not None:
            self._series(self._first_chunk, model).observe(record.first_chunk_seconds, trace)

    def _price(self, model: str, record: CallRecord) -> None:
        for kind in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"):
            count = getattr(record.tokens, kind)
            if count:
                self._series(self._tokens, model, kind).inc(count)
        if record.cost_usd is None:
            self._series(self._unpriced, model).inc()
        elif record.cost_usd:
            self._series(self._cost, model, record.feature).inc(float(record.cost_usd))
