"""Exactly one right record for every way in which a call can go."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from decimal import Decimal
from threading import Barrier
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types.messages import MessageBatchIndividualResponse
from datadog.dogstatsd.base import DogStatsd
from monitoring_support import ASK, NOW, OVERLOADED, Broken, Kept, ask, watched
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from pydantic import BaseModel

from patterns.core.models import OPUS, SONNET
from patterns.core.pricing import cost_usd
from patterns.core.pseudonym import pseudonym
from patterns.fake_api import Error, FakeAPI, Fault, Reply
from patterns.monitoring import spans
from patterns.monitoring.call_span import CALL_SPAN, OpenCall
from patterns.monitoring.calls import CallMonitor, call_context
from patterns.monitoring.dogstatsd import DogStatsDSink
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.json_log import JsonLog
from patterns.monitoring.prometheus import PrometheusSink

FREE = Decimal(0)
KEY = b"a key as long as the hash it makes"


class Watch:
    """A fake API, a monitor that keeps, and a client between them."""

    def __init__(self, *, user_key: bytes | None = None, **options: Any) -> None:
        self.api = FakeAPI()
        self.kept = Kept()
        self.monitor = CallMonitor(self.kept, features={"chat"}, user_key=user_key)
        self.client = watched(self.api, self.monitor, **options)

    def asynchronous(self, **options: Any) -> AsyncAnthropic:
        return self.api.async_client(**self.monitor.client_options(), **options)


def test_sync_call_is_one_record() -> None:
    """Model, outcome, tokens, cost and identity, from the answer itself."""
    watch = Watch()
    message = ask(watch.client)
    record = watch.kept.only()
    assert (record.model, record.outcome, record.stop_reason) == (SONNET, "ok", "end_turn")
    assert record.tokens.input == message.usage.input_tokens
    assert record.cost_usd == cost_usd(SONNET, message.usage)
    assert (record.response_id, record.request_id) == (message.id, message._request_id)
    assert not record.cost_is_lower_bound
    assert watch.kept.attempts == ["200"]


def test_async_call_is_one_record() -> None:
    """The same through the async client."""
    watch = Watch()

    async def main() -> None:
        async with watch.asynchronous() as client:
            await client.messages.create(model=SONNET, max_tokens=64, messages=ASK)

    asyncio.run(main())
    record = watch.kept.only()
    assert (record.outcome, record.streamed, watch.kept.attempts) == ("ok", False, ["200"])
    assert record.cost_usd


def test_retried_call_is_one_success_with_three_attempts() -> None:
    """The seed's question: two errors, or one success? Both, each in its own metric."""
    watch = Watch()
    watch.api.enqueue(OVERLOADED, OVERLOADED, "4")
    ask(watch.client)
    record = watch.kept.only()
    assert (record.outcome, record.retries, record.error_type) == ("ok", 2, None)
    assert watch.kept.attempts == ["529", "529", "200"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Error(429), "rate_limited"),
        (Error(429, error_code="enforced_spend_limit_reached"), "spend_cap"),
        (Error(429, error_code="something_else"), "rate_limited"),
        (Error(529), "overloaded"),
        (Error(500), "api_error"),
        (Error(504), "timeout"),
        (Error(400), "invalid_request"),
        (Error(401), "invalid_request"),
        (Error(413), "invalid_request"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_failed_call_is_one_record_with_its_cause(error: Error, outcome: str, stream: bool) -> None:
    """An HTTP error costs nothing; a spend cap is told apart from a rate limit."""
    watch = Watch(max_retries=0)
    watch.api.enqueue(error)
    with pytest.raises(anthropic.APIStatusError):
        ask(watch.client, stream=stream)
    record = watch.kept.only()
    assert (record.outcome, record.cost_usd, record.model) == (outcome, FREE, SONNET)
    assert not record.cost_is_lower_bound
    assert watch.kept.attempts == [str(error.status)]


def test_async_rate_limit_is_told_apart_from_a_spend_cap() -> None:
    """The async middleware reads the same body."""
    watch = Watch()
    watch.api.enqueue(Error(429, error_code="enforced_spend_limit_reached"))

    async def main() -> None:
        client = watch.asynchronous(max_retries=0)
        await client.messages.create(model=SONNET, max_tokens=64, messages=ASK)

    with pytest.raises(anthropic.RateLimitError):
        asyncio.run(main())
    assert watch.kept.only().outcome == "spend_cap"


def transport_client(watch: Watch, handler: Any, **options: Any) -> Anthropic:
    http_client = httpx2.Client(transport=httpx2.MockTransport(handler))
    options |= watch.monitor.client_options()
    return Anthropic(api_key="k", http_client=http_client, **options)


@pytest.mark.parametrize(
    ("raised", "outcome", "attempt"),
    [
        (httpx2.ReadTimeout, "timeout", "timeout"),
        (httpx2.ConnectError, "connection", "connection"),
    ],
)
def test_call_without_an_answer_costs_at_least_nothing(
    raised: type[httpx2.TransportError], outcome: str, attempt: str
) -> None:
    """The answer may have been generated, and billed: the cost is a lower bound."""
    watch = Watch()

    def fail(request: httpx2.Request) -> httpx2.Response:
        raise raised("no answer", request=request)

    with pytest.raises(anthropic.APIConnectionError):
        ask(transport_client(watch, fail, max_retries=0))
    record = watch.kept.only()
    assert (record.outcome, record.cost_usd, record.cost_is_lower_bound) == (outcome, FREE, True)
    assert watch.kept.attempts == [attempt]


def test_async_timeout_is_one_record() -> None:
    """The async middleware sees the same."""
    watch = Watch()

    def fail(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("no answer", request=request)

    async def main() -> None:
        http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(fail))
        options = watch.monitor.client_options()
        client = AsyncAnthropic(api_key="k", http_client=http_client, max_retries=0, **options)
        await client.messages.create(model=SONNET, max_tokens=64, messages=ASK)

    with pytest.raises(anthropic.APITimeoutError):
        asyncio.run(main())
    assert watch.kept.only().outcome == "timeout"
    assert watch.kept.attempts == ["timeout"]


def read_events(client: Anthropic) -> None:
    """One of the two stream forms."""
    for _ in ask(client, stream=True):
        pass


def read_helper(client: Anthropic) -> None:
    """The other one."""
    with client.messages.stream(model=SONNET, max_tokens=64, messages=ASK) as stream:
        stream.get_final_message()


@pytest.mark.parametrize("read", [read_events, read_helper])
def test_both_stream_forms_are_one_record(read: Any) -> None:
    """Tokens and cost equal those of the same call without a stream."""
    watch, plain = Watch(), Watch()
    read(watch.client)
    ask(plain.client)
    record = watch.kept.only()
    assert (record.outcome, record.streamed, record.cost_is_lower_bound) == ("ok", True, False)
    assert record.first_chunk_seconds is not None
    assert (record.tokens, record.cost_usd) == (
        plain.kept.only().tokens,
        plain.kept.only().cost_usd,
    )


def test_async_stream_is_one_record() -> None:
    """Through the async tap."""
    watch = Watch()

    async def main() -> None:
        client = watch.asynchronous()
        async with client.messages.stream(model=SONNET, max_tokens=64, messages=ASK) as stream:
            await stream.get_final_message()

    asyncio.run(main())
    record = watch.kept.only()
    assert (record.outcome, record.streamed, record.cost_is_lower_bound) == ("ok", True, False)
    assert record.tokens.output > 0


def test_stream_that_the_server_cuts_short_fails() -> None:
    """The application may see no error at all; the record does."""
    watch = Watch()
    lines = b'event: message_start\ndata: {"type": "message_start", "message": %s}\n\n'
    body = lines % json.dumps(started()).encode()

    def cut(request: httpx2.Request) -> httpx2.Response:
        return event_stream(body)

    for _ in ask(transport_client(watch, cut), stream=True):
        pass
    record = watch.kept.only()
    assert (record.outcome, record.tokens.input) == ("cut_short", 40)
    assert record.cost_is_lower_bound
    assert record.cost_usd == Decimal(40 * 2) / 1_000_000


def event_stream(body: bytes, **headers: str) -> httpx2.Response:
    """A response whose body is still on the wire."""
    headers = {"content-type": "text/event-stream; charset=utf-8"} | headers
    return httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(body))


def started(**usage: Any) -> dict[str, Any]:
    """The message of a `message_start` event."""
    counts = {"input_tokens": 40, "output_tokens": 3, "service_tier": "standard"} | usage
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": counts,
    }


def test_connection_lost_in_a_stream_is_one_record() -> None:
    """The input was paid for."""
    watch = Watch()
    watch.api.add_faults(Fault.disconnect(after=3))
    with pytest.raises((anthropic.APIConnectionError, httpx2.HTTPError)):
        read_events(watch.client)
    record = watch.kept.only()
    assert (record.outcome, record.cost_is_lower_bound) == ("connection", True)
    assert record.tokens.input > 0


def test_error_event_in_a_stream_is_one_record() -> None:
    """Its status was 200 when it began."""
    watch = Watch()
    watch.api.add_faults(Fault.stream_error(after=3, status=529))
    with pytest.raises(anthropic.APIStatusError):
        read_events(watch.client)
    assert watch.kept.only().outcome == "overloaded"


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_abandoned_stream_is_one_record_with_a_lower_bound(how: str) -> None:
    """Nobody knows how much output was generated before the connection closed."""
    watch = Watch()
    stream = ask(watch.client, stream=True)
    next(iter(stream))
    if how == "closed":
        stream.close()
    del stream
    gc.collect()
    record = watch.kept.only()
    assert (record.outcome, record.tokens.output) == ("abandoned", 0)
    assert record.cost_is_lower_bound
    assert record.cost_usd


def test_async_stream_left_early_is_one_record() -> None:
    """Leaving the block closes the body in the task that read it."""
    watch = Watch()

    async def main() -> None:
        stream = await watch.asynchronous().messages.create(
            model=SONNET, max_tokens=64, messages=ASK, stream=True
        )
        async with stream:
            async for _ in stream:
                break

    asyncio.run(main())
    assert watch.kept.only().outcome == "abandoned"


def test_stream_left_after_its_last_count_is_complete() -> None:
    """Once the stop reason is there, nothing more is to be billed."""
    watch = Watch()
    stream = ask(watch.client, stream=True)
    for event in stream:
        if event.type == "message_delta":
            stream.close()
            break
    record = watch.kept.only()
    assert (record.outcome, record.cost_is_lower_bound) == ("ok", False)


def test_cancelled_call_is_one_record() -> None:
    """Nothing came back, so nothing is known of its cost."""
    watch = Watch()
    sent = asyncio.Event()

    async def hang(request: httpx2.Request) -> httpx2.Response:
        sent.set()
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def main() -> None:
        http_client = httpx2.AsyncClient(transport=httpx2.MockTransport(hang))
        options = watch.monitor.client_options()
        client = AsyncAnthropic(api_key="k", http_client=http_client, **options)
        call = client.messages.create(model=SONNET, max_tokens=64, messages=ASK)
        task = asyncio.ensure_future(call)
        await sent.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    record = watch.kept.only()
    assert (record.outcome, record.cost_usd, record.cost_is_lower_bound) == (
        "cancelled",
        FREE,
        True,
    )


def test_tool_runner_is_one_record_per_call() -> None:
    """Two turns are two calls; the runner's own span and the tool's are none."""
    watch = Watch()
    use = {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 2, "b": 2}}
    turns: Iterator[dict[str, Any]] = iter(
        [{"content": [use], "stop_reason": "tool_use"}, {"stop_reason": "end_turn"}]
    )

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=started() | next(turns))

    @beta_tool
    def add(a: int, b: int) -> str:
        """Add two numbers."""
        return str(a + b)

    transport_client(watch, answer).beta.messages.tool_runner(
        model=SONNET, max_tokens=64, tools=[add], messages=[{"role": "user", "content": "2 + 2?"}]
    ).until_done()
    assert [record.stop_reason for record in watch.kept.records] == ["tool_use", "end_turn"]
    assert [record.outcome for record in watch.kept.records] == ["ok", "ok"]
    assert watch.kept.running == 0


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply("Half an ans", stop_reason="max_tokens"), "truncated"),
        (Reply(refusal="bio"), "refused"),
    ],
)
def test_answer_that_did_not_help_has_its_own_outcome(reply: Reply, outcome: str) -> None:
    """Answered and billed, and worth a metric."""
    watch = Watch()
    watch.api.enqueue(reply)
    ask(watch.client)
    assert watch.kept.only().outcome == outcome
    assert watch.kept.only().cost_usd


def test_answer_that_does_not_parse_is_billed() -> None:
    """`messages.parse` loses the usage of a truncated answer; the bill does not."""

    class Sum(BaseModel):
        total: int

    watch = Watch()
    watch.api.enqueue(Reply('{"tot', stop_reason="max_tokens"))
    with pytest.raises(ValueError, match="JSON"):
        watch.client.messages.parse(model=SONNET, max_tokens=64, messages=ASK, output_format=Sum)
    record = watch.kept.only()
    assert (record.outcome, record.cost_is_lower_bound) == ("client_error", False)
    assert record.cost_usd


@pytest.mark.parametrize("body", [b'{"id": "msg_1", "usage": {"inp', b"<html></html>", b""])
def test_answer_that_is_no_json_was_cut_short_by_the_service(body: bytes) -> None:
    """Not our own doing: it burns the error budget, and the API may have billed it."""
    kept = Kept()
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(200, headers={"content-type": "application/json"}, content=body)
    )
    options = CallMonitor(kept).client_options()
    with httpx2.Client(transport=transport) as http, suppress(Exception):
        ask(Anthropic(http_client=http, api_key="any", **options))
    record = kept.only()
    assert record.outcome == "cut_short"
    assert record.cost_usd == 0
    assert record.cost_is_lower_bound


def test_other_calls_are_not_counted() -> None:
    """Counting tokens and listing models sample nothing."""
    watch = Watch()
    watch.client.messages.count_tokens(model=SONNET, messages=ASK)
    watch.client.models.list()
    assert watch.kept.records == []
    assert watch.kept.attempts == ["200", "200"]


def test_every_result_of_a_batch_is_one_record() -> None:
    """Four outcomes, at half price, with no latency and no running call."""
    watch = Watch()
    records = watch.monitor.record_batch_results(
        batch_results(), at=NOW, model=SONNET, feature="chat"
    )
    assert records == watch.kept.records
    assert [r.outcome for r in records] == ["ok", "invalid_request", "cancelled", "expired"]
    assert [r.cost_usd for r in records] == [Decimal("0.000090"), FREE, FREE, FREE]
    assert all(r.batch and r.offline and r.seconds is None for r in records)
    assert {r.feature for r in records} == {"chat"}
    assert records[1].error_type == "invalid_request_error"


def test_batch_results_take_their_labels_from_the_context() -> None:
    """Unless the call names a feature."""
    watch = Watch(user_key=KEY)
    with call_context(feature="chat", user="ada"):
        records = watch.monitor.record_batch_results(batch_results()[:1], at=NOW, model=SONNET)
    assert (records[0].feature, records[0].user) == ("chat", pseudonym("ada", KEY))


def batch_results() -> list[Any]:
    """Succeeded, errored, cancelled, expired, as the SDK parses them."""
    usage = {"input_tokens": 40, "output_tokens": 10}
    message = started() | {"stop_reason": "end_turn", "usage": usage}
    error = {"type": "invalid_request_error", "message": "no"}
    envelope = {"type": "error", "error": error, "request_id": None}
    results: list[dict[str, Any]] = [
        {"type": "succeeded", "message": message},
        {"type": "errored", "error": envelope},
        {"type": "canceled"},
        {"type": "expired"},
    ]
    named = ({"custom_id": "a", "result": result} for result in results)
    return [MessageBatchIndividualResponse.model_validate(result) for result in named]


def test_threads_are_counted_exactly() -> None:
    """32 threads, 10 calls each; the gauge is back at zero."""
    assert_counted(threads=32, calls=10)


@pytest.mark.soak
def test_many_calls_of_threads_are_counted_exactly() -> None:
    """32 threads, 50 calls each."""
    assert_counted(threads=32, calls=50)


def assert_counted(*, threads: int, calls: int) -> None:
    """No sink misses one or sees one twice."""
    watch, sink, log = Watch(), PrometheusSink(), EventLog()
    monitor = CallMonitor(watch.kept, sink, log)
    client, together, total = watched(watch.api, monitor), Barrier(threads), threads * calls

    def work(_: int) -> None:
        together.wait()
        for _ in range(calls):
            ask(client)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    labels = {"model": SONNET, "outcome": "ok", "feature": "none"}
    assert len({record.response_id for record in watch.kept.records}) == total
    assert sink.registry.get_sample_value("claude_calls_total", labels) == total
    assert sink.registry.get_sample_value("claude_active_calls") == 0
    assert log.query("SELECT count(*) FROM calls")[0][0] == total
    assert (monitor.active, monitor.sink_errors) == (0, {})


def test_answer_whose_body_is_left_unread_is_unpriced() -> None:
    """A raw response that nobody reads shows no usage to anybody."""
    watch = Watch()

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "application/json"}
        body = httpx2.ByteStream(json.dumps(started()).encode())
        return httpx2.Response(200, headers=headers, stream=body)

    raw = transport_client(watch, answer).messages.with_streaming_response
    with raw.create(model=SONNET, max_tokens=64, messages=ASK) as response:
        assert response.status_code == 200
    assert watch.kept.only().tokens.prompt == 0


def test_geography_and_fast_mode_are_priced() -> None:
    """Neither is on a span; the middleware reads them off the answer."""
    watch = Watch()
    usage = {"input_tokens": 1_000, "output_tokens": 100, "inference_geo": "us", "speed": "fast"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        message = started() | {"model": OPUS, "stop_reason": "end_turn", "usage": usage}
        return httpx2.Response(200, json=message)

    ask(transport_client(watch, answer), model=OPUS)
    by_hand = (1_000 * Decimal(8) + 100 * Decimal(40)) * Decimal("1.1") / 1_000_000
    assert watch.kept.only().cost_usd == by_hand


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_geography_and_fast_mode_of_a_stream_are_priced(coding: str) -> None:
    """The tap reads them off the first event, compressed or not."""
    watch = Watch()
    body = events(started(inference_geo="us", speed="fast") | {"model": OPUS}, output=100)
    packed = gzip.compress(body) if coding == "gzip" else body

    def answer(request: httpx2.Request) -> httpx2.Response:
        return event_stream(packed, **{"content-encoding": coding})

    for _ in ask(transport_client(watch, answer), stream=True, model=OPUS):
        pass
    by_hand = (40 * Decimal(8) + 100 * Decimal(40)) * Decimal("1.1") / 1_000_000
    assert watch.kept.only().cost_usd == by_hand


def events(message: dict[str, Any], *, output: int) -> bytes:
    """The three events that carry a usage, and the end."""
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"output_tokens": output, "server_tool_use": None}
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "ping", "about": '"usage"'},
        {"type": "message_delta", "delta": delta, "usage": usage},
        {"type": "message_stop"},
    ]
    lines = (f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts)
    return "".join(lines).encode()


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"input_tokens": -5, "output_tokens": 1},
        {"input_tokens": 10**15, "output_tokens": 1},
        {"input_tokens": "many", "output_tokens": 1},
        {},
    ],
)
def test_senseless_usage_is_unpriced_and_the_call_untouched(usage: Any) -> None:
    """No tokens are made up, and the answer arrives."""
    watch = Watch()
    message = started() | {"stop_reason": "end_turn", "usage": usage}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=message)

    assert ask(transport_client(watch, answer)).stop_reason == "end_turn"
    record = watch.kept.only()
    assert (record.cost_usd, record.tokens.prompt) == (None, 0)


def test_unknown_model_is_unpriced() -> None:
    """The record has its tokens and no cost."""
    watch = Watch()
    message = started() | {"model": "claude-quartz-9", "stop_reason": "end_turn"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=message)

    ask(transport_client(watch, answer))
    record = watch.kept.only()
    assert (record.model, record.cost_usd, record.tokens.input) == ("claude-quartz-9", None, 40)


def test_body_that_is_no_json_is_the_sdk_s_to_report() -> None:
    """The monitor looks, understands nothing and keeps out of the way."""
    watch = Watch()

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"<html>", headers={"content-type": "text/html"})

    ask(transport_client(watch, answer))
    assert watch.kept.only().cost_usd is None


def test_429_without_a_readable_body_is_a_rate_limit() -> None:
    """A proxy's error page has no error code."""
    watch = Watch()

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(429, content=b"slow down")

    with pytest.raises(anthropic.RateLimitError):
        ask(transport_client(watch, answer, max_retries=0))
    assert watch.kept.only().outcome == "rate_limited"


def test_clock_that_goes_back_makes_no_negative_time() -> None:
    """It counts as no time."""
    times = iter([10.0, 4.0])
    kept = Kept()
    monitor = CallMonitor(kept, clock=lambda: next(times))
    ask(watched(FakeAPI(), monitor))
    assert kept.only().seconds == 0.0


def test_labels_come_from_the_context() -> None:
    """An inner block changes only what it names."""
    watch = Watch(user_key=KEY)
    with call_context(feature="chat", user="ada"), call_context(offline=True):
        ask(watch.client)
    record = watch.kept.only()
    assert (record.feature, record.offline) == ("chat", True)
    assert record.user == pseudonym("ada", KEY)
    assert record.user.startswith("user_")


def test_labels_end_with_their_block() -> None:
    """The next call has none."""
    watch = Watch()
    with call_context(feature="chat"):
        pass
    ask(watch.client)
    assert watch.kept.only().feature == "none"


def test_labels_may_be_held_by_a_generator_that_is_read_in_other_contexts() -> None:
    """A web framework runs each step of a streamed answer in a context of its own."""
    watch = Watch()

    def pieces() -> Iterator[str]:
        with call_context(feature="chat"):
            for event in watch.client.messages.create(
                model=SONNET, max_tokens=9, messages=ASK, stream=True
            ):
                yield event.type

    steps, read = pieces(), list[str]()
    while (piece := copy_context().run(next, steps, None)) is not None:
        read.append(piece)
    assert read
    assert watch.kept.only().feature == "chat"
    ask(watch.client)
    assert watch.kept.records[-1].feature == "none"


def test_unknown_feature_becomes_other_and_a_user_without_a_key_nobody() -> None:
    """Closed sets stay closed, and no name leaves by accident."""
    watch = Watch()
    with call_context(feature="surprise", user="ada"):
        ask(watch.client)
    assert (watch.kept.only().feature, watch.kept.only().user) == ("other", None)


def test_sink_that_raises_never_breaks_a_call_and_is_counted() -> None:
    """The sinks beside it get everything."""
    api, kept = FakeAPI(), Kept()
    monitor = CallMonitor(Broken(), kept)
    ask(watched(api, monitor))
    assert kept.only().outcome == "ok"
    assert kept.failures == ["Broken"] * 3
    assert monitor.sink_errors["Broken"] == 6  # and it fails to hear of it each time


def test_nobody_else_s_sampling_drops_a_call() -> None:
    """A trace that the application does not sample still has its calls counted."""
    watch = Watch()
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("request"):
        ask(watch.client)
    assert watch.kept.only().outcome == "ok"


def test_record_carries_the_trace_of_the_application() -> None:
    """The link from a number to the request behind it."""
    watch = Watch()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")
    with tracer.start_as_current_span("request") as span:
        ask(watch.client)
    trace_id = span.get_span_context().trace_id
    assert watch.kept.only().trace_id == f"{trace_id:032x}"


def test_middleware_that_hides_the_span_costs_only_detail() -> None:
    """With a span of its own in between, tokens come from the attributes, and say so."""
    watch = Watch()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("app")

    def hide(request: Any, call_next: Any) -> Any:
        with tracer.start_as_current_span("mine"):
            return call_next(request)

    options = watch.monitor.client_options()
    options["middleware"].insert(0, hide)
    message = ask(watch.api.client(**options))
    record = watch.kept.only()
    assert record.cost_usd == cost_usd(SONNET, message.usage)
    assert record.tokens.output == message.usage.output_tokens
    assert record.cost_is_lower_bound  # geography and speed are not on the span


def test_own_middleware_that_refuses_is_a_client_error() -> None:
    """No attempt was made, nothing was spent."""
    watch = Watch()

    def refuse(request: Any, call_next: Any) -> Any:
        raise PermissionError("not this prompt")

    options = watch.monitor.client_options()
    options["middleware"].insert(0, refuse)
    with pytest.raises(PermissionError):
        ask(watch.api.client(**options))
    assert (watch.kept.only().outcome, watch.kept.attempts) == ("client_error", [])
    options["middleware"].append(refuse)
    options["middleware"].pop(0)
    with pytest.raises(PermissionError):
        ask(watch.api.client(**options))
    assert watch.kept.attempts == ["stopped"]


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", "ANTHROPIC_OPEN_TELEMETRY"])
def test_switched_off_tracing_does_not_switch_off_counting(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither OpenTelemetry's switch nor the SDK's own makes calls disappear."""
    monkeypatch.setenv(variable, "true" if variable.startswith("OTEL") else "false")
    watch = Watch()
    ask(watch.client)
    assert watch.kept.only().outcome == "ok"


def test_requests_carry_no_trace_headers() -> None:
    """The spans are private, so their ids would lead nowhere."""
    watch = Watch()
    ask(watch.client)
    assert "traceparent" not in watch.api.journal[0].headers


def test_content_reaches_no_sink(caplog: pytest.LogCaptureFixture) -> None:
    """A canary in prompt, answer, tool result and error is in no metric, row, line or datagram."""
    canary = "canary-7f3a"
    sink, log = PrometheusSink(), EventLog()
    agent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    agent.bind(("127.0.0.1", 0))
    statsd = DogStatsd(
        host="127.0.0.1",
        port=agent.getsockname()[1],
        disable_telemetry=True,
        disable_buffering=True,
    )
    lines = JsonLog(logging.getLogger("test.calls"))
    sinks = (sink, log, lines, DogStatsDSink(statsd))
    monitor = CallMonitor(*sinks, features={"chat"}, user_key=KEY)
    api = FakeAPI()
    api.enqueue(f"{canary} answer", Error(400, message=canary), f"{canary} again")
    client = watched(api, monitor)
    result = {"type": "tool_result", "tool_use_id": "t", "content": canary}
    use = {"type": "tool_use", "id": "t", "name": "look", "input": {"q": canary}}
    turns = [
        {"role": "user", "content": canary},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    tool = {"name": "look", "description": canary, "input_schema": {"type": "object"}}
    with caplog.at_level(logging.INFO, "test.calls"), call_context(feature=canary, user=canary):
        ask(client, messages=turns, tools=[tool], system=canary)
        with pytest.raises(anthropic.BadRequestError, match=canary):
            ask(client)
        read_events(client)
    everything = [tuple(row) for row in log.query("SELECT * FROM calls")]
    metrics = [sample for family in sink.registry.collect() for sample in family.samples]
    statsd.close_socket()
    agent.setblocking(False)  # loopback delivers before it returns
    datagrams: list[str] = []
    with agent, suppress(BlockingIOError):
        while True:
            datagrams.append(agent.recv(4096).decode())
    assert len(everything) == 3
    assert sum(one.startswith("claude.calls:") for one in datagrams) == 3
    assert canary not in repr(everything) + repr(metrics) + caplog.text + repr(datagrams)


def test_span_names_are_those_that_the_code_expects() -> None:
    """The SDK's names are beta: an upgrade that changes one fails here."""
    seen: dict[str, Any] = {}

    class Look(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.update(span.attributes or {}, name=span.name)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Look())
    api = FakeAPI()
    api.enqueue(OVERLOADED, "4")
    read_events(api.client(open_telemetry={"tracer_provider": provider}))
    names = {name: value for name, value in vars(spans).items() if name.isupper()}
    attributes = {value for value in names.values() if isinstance(value, str) and "." in value}
    assert seen["name"] == CALL_SPAN
    assert attributes - seen.keys() == {spans.ERROR_TYPE}


def test_span_of_the_opentelemetry_sdk_makes_the_same_record() -> None:
    """Records can be made of spans that were collected elsewhere."""
    ended: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    message = ask(FakeAPI().client(open_telemetry={"tracer_provider": provider}))
    record = spans.record_of_span(ended[0], OpenCall(), now=1.0)
    assert (record.outcome, record.response_id, record.feature) == ("ok", message.id, "none")
    assert record.cost_usd == cost_usd(SONNET, message.usage)
    assert record.cost_is_lower_bound  # geography and speed are on no span
