"""One record per call to Claude, made from the SDK's own spans and handed to sinks.

    monitor = CallMonitor(PrometheusSink(), EventLog("calls.db"), features={"search", "chat"})
    client = Anthropic(**monitor.client_options())

The SDK spans a call: every retry, and the reading of the stream, inside one span. A middleware sees
attempts. So calls, tokens, cost and latency come from a span processor on a provider of its own,
where nobody's sampling drops them, and attempts by status from a middleware. A sink that fails is
counted and never felt by the call. Not for tracing: spans are turned into records and dropped.

Chapter 4 teaches it. Needs: pip install opentelemetry-sdk.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any, TypedDict

from anthropic import MiddlewareInput, OpenTelemetryOptions
from anthropic.types.messages import MessageBatchIndividualResponse
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind

from patterns.monitoring.attempts import AttemptMiddleware
from patterns.monitoring.record import CallContext, CallRecord, call_context, current_context
from patterns.monitoring.sink import Sink
from patterns.monitoring.spans import CALL_SPAN, OpenCall, record_of_result, record_of_span

__all__ = [
    "AttemptMiddleware",
    "CallMonitor",
    "CallRecord",
    "ClientOptions",
    "MonitoringDisabled",
    "Sink",
    "call_context",
    "pseudonym",
]


class MonitoringDisabled(RuntimeError):
    """`OTEL_SDK_DISABLED` is set, so there would be no spans and nothing would be counted."""

    def __init__(self) -> None:
        super().__init__(
            "OTEL_SDK_DISABLED is set: spans are off and no call would be counted. "
            "Unset it in this process."
        )


class ClientOptions(TypedDict):
    """What to give to `Anthropic` or `AsyncAnthropic`."""

    open_telemetry: OpenTelemetryOptions
    middleware: list[MiddlewareInput]


class CallMonitor(SpanProcessor):
    """Turns the SDK's call spans into `CallRecord`s and gives each to every sink.

    Args:
        sinks: where the records go.
        features: the closed set of features; any other is recorded as "other", none as "none".
        user_key: the secret behind user pseudonyms; without it users are not recorded at all.
        clock: seconds that never go back, for durations.
    """

    def __init__(
        self,
        *sinks: Sink,
        features: Iterable[str] = (),
        user_key: bytes | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.sinks = sinks
        self.features = frozenset(features)
        self.sink_errors: Counter[str] = Counter()
        """How often each sink, by class name, raised."""
        self.attempts = AttemptMiddleware(partial(self._tell, "attempted"), self._current_call)
        """The middleware that counts attempts; last in the list, next to the wire."""
        self.provider = TracerProvider(
            sampler=ALWAYS_ON,
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attributes=128),
        )
        self.provider.add_span_processor(self)
        if not isinstance(self.provider.get_tracer("probe").start_span("probe"), Span):
            raise MonitoringDisabled
        self._user_key = user_key
        self._clock = clock
        self._open: dict[int, OpenCall] = {}
        self._lock = Lock()

    def client_options(self) -> ClientOptions:
        """The keyword arguments for a client. With middleware of your own, put ours last."""
        return {
            "open_telemetry": {
                "tracer_provider": self.provider,
                "traces": {"content_mode": "metadata_only"},
                "propagation": False,  # nobody exports these spans, so their ids would lead nowhere
            },
            "middleware": [self.attempts],
        }

    @property
    def active(self) -> int:
        """Calls that have started and not ended."""
        return len(self._open)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note who asks, while the caller's context is still the current one."""
        if span.name == CALL_SPAN and span.kind is SpanKind.CLIENT:
            call = OpenCall(self.labels_of(current_context()), self._clock())
            self._open[span.context.span_id] = call
            self._tell("started")

    def on_end(self, span: ReadableSpan) -> None:
        """Record the call."""
        identity = span.get_span_context()
        call = self._open.pop(identity.span_id, None) if identity else None
        if call is not None:
            self._tell("finished", record_of_span(span, call, now=self._clock()))

    def record_batch_results(
        self,
        results: Iterable[MessageBatchIndividualResponse],
        *,
        at: datetime,
        model: str,
        feature: str | None = None,
    ) -> list[CallRecord]:
        """Record every result of a batch: no span carries their usage.

        Args:
            results: each only once, or its cost counts twice.
            at: when the batch was created, `batch.created_at`: its day decides the price.
            model: of the requests, for results that name none because they failed.
            feature: as in `call_context`, whose value is the default.
        """
        here = current_context()
        labels = self.labels_of(here if feature is None else replace(here, feature=feature))
        records = [record_of_result(result, labels, at=at, model=model) for result in results]
        for record in records:
            self._tell("finished", record)
        return records

    def _current_call(self) -> OpenCall:
        """The call that is being sent; nobody's when another span hides it."""
        span_id = trace.get_current_span().get_span_context().span_id
        return self._open.get(span_id) or OpenCall(CallContext())

    def labels_of(self, context: CallContext) -> CallContext:
        """The labels as they may leave: features from the closed set, users as pseudonyms."""
        feature, user = context.feature or "none", context.user
        if feature not in self.features and feature != "none":
            feature = "other"
        if user is not None:
            user = pseudonym(user, self._user_key) if self._user_key else None
        return CallContext(feature=feature, user=user, offline=context.offline)

    def _tell(self, event: str, *facts: Any) -> None:
        for sink in self.sinks:
            try:
                getattr(sink, event)(*facts)
            except Exception:
                self._sink_failed(type(sink).__name__, event)

    def _sink_failed(self, name: str, event: str) -> None:
        with self._lock:
            self.sink_errors[name] += 1
        if event != "failed":  # a sink that cannot even count failures must not go round in circles
            self._tell("failed", name)


def pseudonym(user: str, key: bytes) -> str:
    """A stable name for a user that only the holder of the key can link back."""
    return hmac.new(key, user.encode(), hashlib.sha256).hexdigest()[:16]
