"""From what the SDK recorded of a call to a `CallRecord`: plain functions, no state.

Used by `CallMonitor`, and on its own to turn spans that you collected elsewhere into records. Not
for content: nothing here reads a message. Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Protocol

from anthropic.types.messages import (
    MessageBatchErroredResult,
    MessageBatchExpiredResult,
    MessageBatchIndividualResponse,
    MessageBatchSucceededResult,
)
from opentelemetry.trace import SpanContext, Status, StatusCode

from patterns.core.pricing import price
from patterns.core.usage import InvalidUsage, Tokens, billable
from patterns.monitoring.call_span import OpenCall
from patterns.monitoring.outcomes import Outcome, outcome_of
from patterns.monitoring.record import CallContext, CallRecord

# The SDK's attribute names are beta: copied here, pinned by a test that runs the SDK.
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
STREAMED: Final = "gen_ai.request.stream"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT: Final = "gen_ai.usage.input_tokens"  # the whole prompt
OUTPUT: Final = "gen_ai.usage.output_tokens"
CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
WRITE_5M: Final = "anthropic.usage.cache_creation.ephemeral_5m_input_tokens"
WRITE_1H: Final = "anthropic.usage.cache_creation.ephemeral_1h_input_tokens"
SERVICE_TIER: Final = "anthropic.response.service_tier"
STOP_REASON: Final = "anthropic.message.stop_reason"
REQUEST_ID: Final = "anthropic.request.id"
RESENT: Final = "http.request.resend_count"
STATUS: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"

# More tokens than any context window: a usage beyond it is noise, not a bill.
_ABSURD_TOKENS: Final = 1_000_000_000


class EndedSpan(Protocol):
    """What is read of a span: ours, or a `ReadableSpan` of the OpenTelemetry SDK."""

    @property
    def attributes(self) -> Mapping[str, Any] | None: ...
    @property
    def start_time(self) -> int | None: ...
    @property
    def status(self) -> Status: ...
    def get_span_context(self) -> SpanContext | None: ...


def record_of_span(span: EndedSpan, call: OpenCall, *, now: float) -> CallRecord:
    """The record of a call whose span has ended.

    Args:
        span: as the SDK left it.
        call: what was noted while it was open.
        now: on the clock of `call.began`; a clock gone back counts as no time at all.
    """
    a: Mapping[str, Any] = span.attributes or {}
    at = datetime.fromtimestamp((span.start_time or 0) / 1e9, UTC)
    model = _text(a.get(RESPONSE_MODEL) or a.get(REQUEST_MODEL)) or "unknown"
    streamed = bool(a.get(STREAMED))
    # From attributes alone neither geography nor speed is known, and either may cost more.
    complete = call.usage is not None and (OUTPUT in a or not streamed)
    usage = _usage_on_span(a) if call.usage is None else call.usage
    outcome = _outcome(span.status.status_code, a, call.error_code)
    if usage is None:
        outcome = "cut_short" if call.broken and ERROR_TYPE in a else outcome
        bill = _without_usage(outcome, a.get(ERROR_TYPE))
    else:
        bill = _bill(model, usage, at)
        bill["cost_is_lower_bound"] = bill["cost_usd"] is not None and not complete
        outcome = _after_warming(outcome, bill)
    first_chunk = a.get(FIRST_CHUNK)
    identity = span.get_span_context()
    return CallRecord(
        at=at,
        model=model,
        feature=call.context.feature or "none",
        outcome=outcome,
        seconds=max(0.0, now - call.began),
        first_chunk_seconds=None if first_chunk is None else max(0.0, first_chunk),
        retries=a.get(RESENT, 0),
        stop_reason=_text(a.get(STOP_REASON)),
        error_type=_text(a.get(ERROR_TYPE)),
        user=_text(call.context.user),
        offline=call.context.offline,
        streamed=streamed,
        request_id=_text(a.get(REQUEST_ID)),
        response_id=_text(a.get(RESPONSE_ID)),
        trace_id=f"{identity.trace_id:032x}" if identity else None,
        **bill,
    )


def record_of_result(
    result: MessageBatchIndividualResponse, context: CallContext, *, at: datetime, model: str
) -> CallRecord:
    """The record of one result of a batch, at the batch price whatever its usage says.

    Args:
        result: one of four kinds: succeeded, errored, canceled, expired.
        context: the application's labels.
        at: when the batch was created.
        model: the one asked for, for results without an answer.
    """
    record = CallRecord(
        at=at,
        model=model,
        feature=context.feature or "none",
        outcome="cancelled",
        user=_text(context.user),
        offline=True,
        batch=True,
    )
    match result.result:
        case MessageBatchSucceededResult(message=message):
            bill = _bill(message.model, message.usage, at, batch=True)
            outcome = outcome_of(stop_reason=message.stop_reason, error_type=None, status=200)
            return replace(
                record,
                model=_text(message.model) or "unknown",
                outcome=_after_warming(outcome, bill),
                stop_reason=_text(message.stop_reason),
                response_id=_text(message.id),
                **bill,
            )
        case MessageBatchErroredResult(error=error):
            kind = error.error.type
            failed = outcome_of(stop_reason=None, error_type=kind, status=None)
            return replace(record, outcome=failed, error_type=kind)
        case MessageBatchExpiredResult():
            return replace(record, outcome="expired")
    return record


def _outcome(status: StatusCode, a: Mapping[str, Any], error_code: str | None) -> Outcome:
    # When we walk away from a call, the SDK leaves its status unset.
    if status is StatusCode.UNSET and STOP_REASON not in a:
        return "abandoned" if STATUS in a else "cancelled"
    return outcome_of(
        stop_reason=a.get(STOP_REASON),
        error_type=a.get(ERROR_TYPE),
        status=a.get(STATUS),
        error_code=error_code,
    )


def _usage_on_span(a: Mapping[str, Any]) -> dict[str, Any] | None:
    """A usage from the attributes alone, for calls whose middleware is not ours."""
    if INPUT not in a:
        return None
    read, written = a.get(CACHE_READ, 0), a.get(CACHE_WRITE, 0)
    return {
        "input_tokens": a[INPUT] - read - written,
        "output_tokens": a.get(OUTPUT, 0),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {
            "ephemeral_5m_input_tokens": a.get(WRITE_5M),
            "ephemeral_1h_input_tokens": a.get(WRITE_1H),
        },
        "service_tier": a.get(SERVICE_TIER),
    }


_UNPRICED: Final[Mapping[str, Any]] = MappingProxyType({"cost_usd": None})


def _bill(model: str, usage: Any, at: datetime, *, batch: bool = False) -> dict[str, Any]:
    """What a call used and cost, as fields of its record; unpriced when that makes no sense."""
    try:
        used = billable(usage)
    except InvalidUsage:
        return dict(_UNPRICED)
    tokens = used.tokens
    if tokens.prompt + tokens.output > _ABSURD_TOKENS:
        return dict(_UNPRICED)
    used = used.in_batch() if batch else used
    cost = price(model, used, at=at)
    return {
        "tokens": tokens,
        "cost_usd": None if cost is None else cost.total,
        "fees_usd": Decimal(0) if cost is None else cost.fees,
        "batch": used.batch,
        "fast": used.fast,
        "geo": _text(used.geo),
        "samplings": used.samplings if len(used.samplings) > 1 else (),
    }


def _without_usage(outcome: Outcome, error_type: str | None) -> dict[str, Any]:
    """An HTTP error is free; an answer that nobody saw may have been generated, and billed."""
    silent = error_type in ("client_timeout_error", "connection_error")
    unseen = silent or outcome in ("abandoned", "cancelled", "cut_short")
    if unseen or error_type is not None:
        return {"cost_usd": Decimal(0), "cost_is_lower_bound": unseen}
    return dict(_UNPRICED)


def _after_warming(outcome: Outcome, bill: Mapping[str, Any]) -> Outcome:
    """A call with `max_tokens=0` stops at its limit too, and did all that it was made for."""
    tokens: Tokens = bill.get("tokens", Tokens())
    warmed = outcome == "truncated" and tokens.prompt and not tokens.output
    return "ok" if warmed else outcome


def _text(value: object) -> str | None:
    """A text that every sink can keep: what the API sends need not be one."""
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
