"""Records made of spans and batch results without a client: every field, from facts written out."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from monitoring_support import NOW
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from patterns.core.models import SONNET
from patterns.core.usage import Tokens
from patterns.monitoring.call_span import CALL_SPAN, CallSpan, CallTracer, OpenCall
from patterns.monitoring.outcomes import Outcome, outcome_of
from patterns.monitoring.record import CallContext, CallRecord
from patterns.monitoring.spans import record_of_result, record_of_span

TOLD = {
    "gen_ai.request.model": "claude-asked",
    "gen_ai.response.model": SONNET,
    "gen_ai.response.id": "msg_1",
    "gen_ai.usage.input_tokens": 10_000,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cache_read.input_tokens": 6_000,
    "gen_ai.usage.cache_write.input_tokens": 3_000,
    "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 1_000,
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 2_000,
    "anthropic.response.service_tier": "standard",
    "anthropic.message.stop_reason": "end_turn",
    "anthropic.request.id": "req_1",
    "http.request.resend_count": 2,
    "http.response.status_code": 200,
}
FREE = Decimal(0)
USD = (1_000 * Decimal(2) + 50 * 10 + 6_000 * Decimal("0.1") + 1_000 * Decimal("2.5") + 8_000) / (
    10**6
)


def record(*left_out: str, **changes: Any) -> CallRecord:
    """The record of a span with these attributes, but for what was left out or is another."""
    told = {name: value for name, value in TOLD.items() if name not in left_out}
    span = SimpleNamespace(
        attributes=told | {name.replace("__", "."): value for name, value in changes.items()},
        start_time=int(NOW.timestamp()) * 10**9,
        status=Status(StatusCode.OK),
        get_span_context=lambda: SpanContext(17, 4, False),
    )
    context = CallContext(feature="chat", user="user_1", offline=True)
    return record_of_span(span, OpenCall(context, began=3.0), now=4.5)


def test_every_fact_on_a_span_is_in_the_record() -> None:
    """From attributes alone geography and speed are unknown, so the cost may have been more."""
    assert record() == CallRecord(
        at=NOW,
        model=SONNET,
        feature="chat",
        outcome="ok",
        seconds=1.5,
        tokens=Tokens(1_000, 50, 1_000, 2_000, 6_000),
        cost_usd=USD,
        cost_is_lower_bound=True,
        retries=2,
        stop_reason="end_turn",
        user="user_1",
        offline=True,
        request_id="req_1",
        response_id="msg_1",
        trace_id="00000000000000000000000000000011",
    )


def test_batch_tier_on_a_span_is_half_price() -> None:
    """The tier is an attribute too."""
    batched = record(anthropic__response__service_tier="batch")
    assert (batched.cost_usd, batched.batch) == (USD / 2, True)


def test_counts_that_a_span_lacks_are_zero() -> None:
    """As they are on calls that cache nothing."""
    cached = [name for name in TOLD if "cache" in name]
    bare = record(*cached, "gen_ai.usage.output_tokens", "http.request.resend_count")
    assert (bare.tokens, bare.retries) == (Tokens(10_000), 0)
    assert record("gen_ai.response.model").model == "claude-asked"
    assert record("gen_ai.response.model", "gen_ai.request.model").model == "unknown"


def test_unpriced_call_has_no_fees_either() -> None:
    """None is the cost that nobody knows; no part of it is known."""
    unlisted = record(gen_ai__response__model="claude-quartz-9")
    assert unlisted.cost_usd is None
    assert (unlisted.fees_usd, unlisted.cost_is_lower_bound) == (FREE, False)


def test_span_of_a_call_is_sampled_and_of_this_process() -> None:
    """What the application traces inside a call hangs on it; other spans are not kept."""
    started: list[CallSpan] = []
    tracer = CallTracer(started.append, lambda _: None)
    span = tracer.get_tracer("any").start_span(CALL_SPAN, kind=SpanKind.CLIENT)
    context = span.get_span_context()
    assert started == [span]
    assert (context.is_valid, context.is_remote, context.trace_flags.sampled) == (True, False, True)
    for name, kind in ((CALL_SPAN, SpanKind.INTERNAL), ("another", SpanKind.CLIENT)):
        assert not tracer.start_span(name, kind=kind).is_recording()
    assert started == [span]


def test_usage_beyond_any_context_window_is_no_bill() -> None:
    """A thousand million tokens are the most that are believed."""
    total = 10**9 - 50
    assert record(gen_ai__usage__input_tokens=total).cost_usd is not None
    assert record(gen_ai__usage__input_tokens=total + 1).cost_usd is None


@pytest.mark.parametrize(
    ("stop", "error", "status", "code", "outcome"),
    [
        ("end_turn", None, 200, None, "ok"),
        ("tool_use", None, 200, None, "ok"),
        ("max_tokens", None, 200, None, "truncated"),
        ("model_context_window_exceeded", None, 200, None, "truncated"),
        ("refusal", None, 200, None, "refused"),
        (None, "rate_limit_error", 429, None, "rate_limited"),
        (None, "429", 429, None, "rate_limited"),
        (None, "rate_limit_error", 429, "enforced_spend_limit_reached", "spend_cap"),
        (None, "overloaded_error", 529, None, "overloaded"),
        (None, "overloaded_error", 200, None, "overloaded"),
        (None, "529", 529, None, "overloaded"),
        (None, "500", 500, None, "api_error"),
        (None, "502", 502, None, "api_error"),
        (None, "504", 504, None, "timeout"),
        (None, "timeout_error", None, None, "timeout"),
        (None, "client_timeout_error", None, None, "timeout"),
        (None, "connection_error", None, None, "connection"),
        (None, "client_error", 200, None, "client_error"),
        (None, "api_error", 200, None, "cut_short"),
        (None, "api_error", None, None, "api_error"),
        (None, "invalid_request_error", 400, None, "invalid_request"),
        (None, "authentication_error", 401, None, "invalid_request"),
        (None, "499", 499, None, "invalid_request"),
    ],
)
def test_outcome_follows_the_stop_reason_or_the_failure(
    stop: str | None, error: str | None, status: int | None, code: str | None, outcome: Outcome
) -> None:
    """The status where the error's name says nothing, the API's own code before both."""
    found = outcome_of(stop_reason=stop, error_type=error, status=status, error_code=code)
    assert found == outcome


@pytest.mark.parametrize(
    ("started", "found", "outcome"),
    [
        ({}, StatusCode.UNSET, "cancelled"),
        ({"http.response.status_code": 200}, StatusCode.UNSET, "abandoned"),
        ({"anthropic.message.stop_reason": "end_turn"}, StatusCode.UNSET, "ok"),
        ({"error.type": "client_error"}, StatusCode.ERROR, "client_error"),
    ],
)
def test_call_that_was_left_is_told_apart(
    started: dict[str, Any], found: StatusCode, outcome: Outcome
) -> None:
    """Before its answer began, or while it came."""
    span = SimpleNamespace(
        attributes=started, start_time=None, status=Status(found), get_span_context=lambda: None
    )
    left = record_of_span(span, OpenCall(), now=1.0)
    assert (left.outcome, left.trace_id, left.feature) == (outcome, None, "none")
    assert left.cost_is_lower_bound == (outcome in ("cancelled", "abandoned"))
    assert left.cost_usd == (None if outcome == "ok" else 0)


def test_batch_answer_is_recorded_with_all_that_it_says() -> None:
    """An answer that names no model was given by an unknown one."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": [],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 1_000, "output_tokens": 50},
    }

    def made(**changes: Any) -> CallRecord:
        result = MessageBatchIndividualResponse.model_validate(
            {"custom_id": "a", "result": {"type": "succeeded", "message": body | changes}}
        )
        return record_of_result(result, CallContext(user="user_1"), at=NOW, model="claude-asked")

    assert made() == CallRecord(
        at=NOW,
        model=SONNET,
        feature="none",
        outcome="truncated",
        tokens=Tokens(1_000, 50),
        cost_usd=Decimal("0.00125"),
        stop_reason="max_tokens",
        user="user_1",
        offline=True,
        batch=True,
        response_id="msg_1",
    )
    assert made(model="").model == "unknown"
