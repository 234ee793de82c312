"""From what the SDK recorded of a call to a `CallRecord`: plain functions, no state.

Used by `CallMonitor`, and on its own to turn spans that you collected elsewhere into records. Not
for content: nothing here reads a message. Chapter 4 teaches it. Needs: pip install opentelemetry-
sdk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Final

from anthropic.types.messages import (
    MessageBatchErroredResult,
    MessageBatchExpiredResult,
    MessageBatchIndividualResponse,
    MessageBatchSucceededResult,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from patterns.core.pricing import InvalidUsage, Tokens, cost_usd, tokens_of
from patterns.monitoring.record import CallContext, CallRecord, Outcome, outcome_of

__all__ = ["CALL_SPAN", "OpenCall", "record_of_result", "record_of_span"]

# The SDK's span and attribute names are beta: copied here, pinned by a test that runs the SDK.
CALL_SPAN: Final = "anthropic.messages.create"
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


@dataclass(slots=True)
class OpenCall:
    """What is known of a call that has not ended, and that its span will not hold.

    Attributes:
        context: the application's labels when the call began.
        began: on a clock that never goes back, in seconds.
        usage: the whole usage, once the answer has it.
        error_code: the API's own name for the cause of a failure.
    """

    context: CallContext
    began: float = 0.0
    usage: Any = None
    error_code: str | None = None


def record_of_span(span: ReadableSpan, call: OpenCall, *, now: float) -> CallRecord:
    """The record of a call whose span has ended.

    Args:
        span: as the SDK left it.
        call: what was noted while it was open.
        now: on the clock of `call.began`; a clock gone back counts as no time at all.
    """
    a: Mapping[str, Any] = dict(span.attributes or {})
    at = datetime.fromtimestamp((span.start_time or 0) / 1e9, UTC)
    model = a.get(RESPONSE_MODEL) or a.get(REQUEST_MODEL) or "unknown"
    outcome = _outcome(span.status.status_code, a, call.error_code)
    streamed = bool(a.get(STREAMED))
    usage = call.usage or _usage_on_span(a)
    if usage is None:
        bill = _without_usage(outcome, a.get(ERROR_TYPE))
    else:
        # From attributes alone neither geography nor speed is known, and either may cost more.
        ended = OUTPUT in a or not streamed
        bill = _bill(model, usage, at, complete=ended and call.usage is not None)
    first_chunk = a.get(FIRST_CHUNK)
    identity = span.get_span_context()
    return CallRecord(
        at=at,
        model=model,
        feature=call.context.feature or "none",
        outcome=outcome,
        seconds=max(0.0, now - call.began),
        first_chunk_seconds=None if first_chunk is None else max(0.0, first_chunk),
        tokens=bill.tokens,
        cost_usd=bill.cost_usd,
        cost_is_lower_bound=bill.is_lower_bound,
        retries=a.get(RESENT, 0),
        stop_reason=a.get(STOP_REASON),
        error_type=a.get(ERROR_TYPE),
        user=call.context.user,
        offline=call.context.offline,
        batch=a.get(SERVICE_TIER) == "batch",
        streamed=streamed,
        request_id=a.get(REQUEST_ID),
        response_id=a.get(RESPONSE_ID),
        trace_id=f"{identity.trace_id:032x}" if identity else None,
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
        user=context.user,
        offline=True,
        batch=True,
    )
    match result.result:
        case MessageBatchSucceededResult(message=message):
            usage = message.usage.model_copy(update={"service_tier": "batch"})
            bill = _bill(message.model, usage, at, complete=True)
            return replace(
                record,
                model=message.model,
                outcome=outcome_of(stop_reason=message.stop_reason, error_type=None, status=200),
                tokens=bill.tokens,
                cost_usd=bill.cost_usd,
                stop_reason=message.stop_reason,
                response_id=message.id,
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


def _usage_on_span(a: Mapping[str, Any]) -> SimpleNamespace | None:
    """A usage from the attributes alone, for calls whose middleware is not ours."""
    if INPUT not in a:
        return None
    read, written = a.get(CACHE_READ, 0), a.get(CACHE_WRITE, 0)
    split = SimpleNamespace(
        ephemeral_5m_input_tokens=a.get(WRITE_5M, 0), ephemeral_1h_input_tokens=a.get(WRITE_1H, 0)
    )
    return SimpleNamespace(
        input_tokens=a[INPUT] - read - written,
        output_tokens=a.get(OUTPUT, 0),
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        cache_creation=split,
        service_tier=a.get(SERVICE_TIER),
    )


@dataclass(frozen=True, slots=True)
class _Bill:
    """What a call used and cost; cost None when it is not known, which sinks count."""

    tokens: Tokens = field(default_factory=Tokens)
    cost_usd: Decimal | None = None
    is_lower_bound: bool = False


def _bill(model: str, usage: Any, at: datetime, *, complete: bool) -> _Bill:
    try:
        tokens = tokens_of(usage)
        cost = cost_usd(model, usage, at=at)
    except InvalidUsage:
        return _Bill()
    if tokens.prompt + tokens.output > _ABSURD_TOKENS:
        return _Bill()
    return _Bill(tokens, cost, not complete)


def _without_usage(outcome: Outcome, error_type: str | None) -> _Bill:
    """An HTTP error is free; an answer that nobody saw may have been generated, and billed."""
    silent = error_type in ("client_timeout_error", "connection_error")
    unseen = silent or outcome in ("abandoned", "cancelled")
    if unseen or error_type is not None:
        return _Bill(cost_usd=Decimal(0), is_lower_bound=unseen)
    return _Bill()
