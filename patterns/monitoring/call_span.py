"""The span that the SDK opens around a call, kept as it is: a dict of attributes.

The SDK talks to any tracer of the OpenTelemetry API. This one makes spans that nobody exports and
nobody samples, for the price of a dict, and needs no OpenTelemetry SDK. Part of a `CallMonitor`.
Not for tracing: give your own provider to a client for that. Chapter 4 teaches it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from patterns.monitoring.record import CallContext

CALL_SPAN: Final = "anthropic.messages.create"
"""The SDK's name of the span around a call: beta, pinned by a test that runs the SDK."""


@dataclass(slots=True)
class OpenCall:
    """What is known of a call that has not ended, and that its span will not hold.

    Attributes:
        context: the application's labels when the call began.
        began: on a clock that never goes back, in seconds.
        usage: the usage of the answer as JSON, once it is there.
        error_code: the API's own name for the cause of a failure.
        broken: whether an answer came, with status 200, that is no JSON.
    """

    context: CallContext = field(default_factory=CallContext)
    began: float = 0.0
    usage: Mapping[str, Any] | None = None
    error_code: str | None = None
    broken: bool = False


class CallSpan(trace.Span):
    """The span of one call, while it runs and when it has ended."""

    def __init__(
        self, context: SpanContext, attributes: Mapping[str, Any], ended: Callable[[CallSpan], None]
    ) -> None:
        self.context = context
        self.attributes = dict(attributes)
        self.start_time = time.time_ns()
        self.status = Status(StatusCode.UNSET)
        self.call = OpenCall()
        self._ended: Callable[[CallSpan], None] | None = ended

    def get_span_context(self) -> SpanContext:
        """The ids of this span and of its trace."""
        return self.context

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self._ended is not None

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep a fact about the call."""
        self.attributes[key] = value

    def set_attributes(  # pragma: no cover  # of the interface; the SDK does not use it
        self, attributes: Mapping[str, Any]
    ) -> None:
        """Keep several."""
        self.attributes.update(attributes)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Keep how it went."""
        self.status = status if isinstance(status, Status) else Status(status)

    def end(self, end_time: int | None = None) -> None:
        """The call is over; only the first end counts."""
        ended, self._ended = self._ended, None
        if ended is not None:  # pragma: no branch  # the SDK ends a span once
            ended(self)

    def add_event(self, *_: Any, **__: Any) -> None:
        """Nothing: a record has no events."""

    def record_exception(self, *_: Any, **__: Any) -> None:
        """Nothing: the SDK sets the type of an error as an attribute."""

    def update_name(self, name: str) -> None:
        """Nothing: the name is not kept."""


class CallTracer(trace.TracerProvider, trace.Tracer):
    """A provider with one tracer, which spans calls and nothing else.

    Args:
        started: told of each call's span, in the context of the caller.
        ended: told when it has ended.
    """

    def __init__(
        self, started: Callable[[CallSpan], None], ended: Callable[[CallSpan], None]
    ) -> None:
        self._started = started
        self._ended = ended

    def get_tracer(self, *_: Any, **__: Any) -> CallTracer:
        """Itself, whoever asks."""
        return self

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        *_: Any,
        **__: Any,
    ) -> trace.Span:
        """A span for a call to the model; one that records nothing for everything else."""
        if name != CALL_SPAN or kind is not SpanKind.CLIENT:
            return trace.INVALID_SPAN
        outer = trace.get_current_span(context).get_span_context()
        trace_id = outer.trace_id if outer.is_valid else random.getrandbits(128) or 1
        flags = TraceFlags(TraceFlags.SAMPLED)
        identity = SpanContext(trace_id, random.getrandbits(64) or 1, False, flags)
        span = CallSpan(identity, attributes or {}, self._ended)
        self._started(span)
        return span

    @contextmanager
    def start_as_current_span(  # type: ignore[override]
        self, name: str, *_: Any, **__: Any
    ) -> Iterator[trace.Span]:
        """Nothing to record: the SDK opens the span of a call by `start_span`."""
        yield trace.INVALID_SPAN  # pragma: no cover  # of the interface; the SDK does not use it
