"""One record per call to Claude, made from the SDK's own spans and handed to sinks.

    monitor = CallMonitor(PrometheusSink(), EventLog("calls.db"), features={"search", "chat"})
    client = Anthropic(**monitor.client_options())

The SDK spans a call: every retry, and the reading of the stream, inside one span. A middleware sees
attempts. So calls, tokens, cost and latency come from a tracer of the monitor's own, where nobody's
sampling drops them, and attempts by status from a middleware. Every call that the SDK starts is a
record or a counted loss: what fails inside, a sink or the monitor itself, is counted and never felt
by the call. Not for tracing: spans are turned into records and dropped.

Chapter 4 teaches it.
"""

from __future__ import annotations

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

from patterns.core.pseudonym import pseudonym, strong_key
from patterns.monitoring.attempts import AttemptMiddleware
from patterns.monitoring.call_span import CallSpan, CallTracer, OpenCall
from patterns.monitoring.forking import renew_in_children
from patterns.monitoring.record import (
    CallContext,
    CallRecord,
    InvalidLabel,
    call_context,
    current_context,
    label,
)
from patterns.monitoring.sink import Sink
from patterns.monitoring.spans import record_of_result, record_of_span

__all__ = ["CallMonitor", "call_context"]


class ClientOptions(TypedDict):
    """What to give to `Anthropic` or `AsyncAnthropic`."""

    open_telemetry: OpenTelemetryOptions
    middleware: list[MiddlewareInput]


class CallMonitor:
    """Turns the SDK's call spans into `CallRecord`s and gives each to every sink.

    Args:
        sinks: where the records go.
        features: the closed set of features; any other is recorded as "other", none as "none".
        user_key: the secret of at least 32 bytes behind user pseudonyms, which are those of
            `patterns.core.pseudonym`; without it users are not recorded at all.
        clock: seconds that never go back, for durations.

    Raises:
        InvalidLabel: `features` is no set of names, or holds what cannot be a label.
        WeakKey: `user_key` is too short.
    """

    def __init__(
        self,
        *sinks: Sink,
        features: Iterable[str] = (),
        user_key: bytes | str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if isinstance(features, str) or not isinstance(features, Iterable):
            raise InvalidLabel("features", features, "a set of names")
        self.sinks = sinks
        self.features = frozenset(label("features", feature) for feature in features)
        self.sink_errors: Counter[str] = Counter()
        """Losses by class name: what a sink did not keep; "CallMonitor": calls without a record."""
        self.attempts = AttemptMiddleware(partial(self._tell, "attempted"), self._current_call)
        """The middleware that counts attempts; last in the list, next to the wire."""
        self.provider = CallTracer(self._started, self._ended)
        """The tracer provider of the client's call spans."""
        self._user_key = None if user_key is None else strong_key(user_key)
        self._clock = clock
        self.renew()
        renew_in_children(self)

    def client_options(self) -> ClientOptions:
        """The keyword arguments for a client. With middleware of your own, put ours last."""
        return {
            "open_telemetry": {
                "tracer_provider": self.provider,
                "propagation": False,  # nobody exports these spans, so their ids would lead nowhere
            },
            "middleware": [self.attempts],
        }

    @property
    def active(self) -> int:
        """Calls that have started and not ended, in this process."""
        return len(self._open)

    def _started(self, span: CallSpan) -> None:
        """Note who asks, while the caller's context is still the current one."""
        try:
            span.call = OpenCall(self.labels_of(current_context()), self._clock())
        except Exception:
            self._lost("CallMonitor")
            return
        self._open.add(span)
        self._tell("started")

    def _ended(self, span: CallSpan) -> None:
        """Make the record and hand it to every sink."""
        if span not in self._open:  # it was lost at its start, or belongs to the process before
            return
        self._open.discard(span)
        try:
            record = record_of_span(span, span.call, now=self._clock())
        except Exception:
            self._tell("dropped")
            self._lost("CallMonitor")
            return
        self._tell("finished", record)

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

        Raises:
            InvalidLabel: the feature cannot be a label.
        """
        here = current_context()
        labels = self.labels_of(here if feature is None else replace(here, feature=feature))
        records = []
        for result in results:
            try:
                record = record_of_result(result, labels, at=at, model=model)
            except Exception:
                self._lost("CallMonitor")
                continue
            records.append(record)
            self._tell("finished", record)
        return records

    def _current_call(self) -> OpenCall:
        """The call that is being sent; nobody's when another span hides it."""
        span = trace.get_current_span()
        return span.call if isinstance(span, CallSpan) else OpenCall()

    def labels_of(self, context: CallContext) -> CallContext:
        """The labels as they may leave: features from the closed set, users as pseudonyms."""
        feature, user = context.feature or "none", context.user
        if feature not in self.features and feature != "none":
            feature = "other"
        if user is not None:
            user = pseudonym(str(user), self._user_key) if self._user_key else None
        return CallContext(feature=feature, user=user, offline=context.offline)

    def _tell(self, event: str, *facts: Any) -> None:
        for sink in self.sinks:
            try:
                getattr(sink, event)(*facts)
            except Exception:
                self._lost(type(sink).__name__, event)

    def _lost(self, name: str, event: str = "") -> None:
        with self._lock:
            self.sink_errors[name] += 1
        if event != "failed":  # a sink that cannot even count failures must not go round in circles
            self._tell("failed", name)

    def renew(self) -> None:
        """Forget the calls of the parent process, and a lock that one of its threads may hold."""
        self._open: set[CallSpan] = set()
        self._lock = Lock()
