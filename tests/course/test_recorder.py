"""patterns.course.recorder: recordings are made by listening in, live calls stop at a budget."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic

from patterns.core.messages import iter_text, iter_text_async
from patterns.core.models import SONNET
from patterns.core.pricing import cost_usd
from patterns.course.budget import Budget, BudgetSpent, exchange_cost
from patterns.course.recorder import (
    LiveCallRefused,
    Recorder,
    RecordingsReadOnly,
    TapTransport,
    raise_if_refused,
)
from patterns.course.recordings import Exchange, Recording, Source
from patterns.course.replay import ReplayTransport
from patterns.fake_api import Error, FakeAPI, Fault

SOURCE = Source("authored", "2026-11-21", "2.12.0", "fake_api")
ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "Hi"}],
}


def nothing(request: httpx2.Request, response: httpx2.Response) -> None:
    """Let every error pass."""


def tap(
    upstream: Any, recorder: Recorder, on_error: Callable[..., None] = nothing, hasten: bool = True
) -> TapTransport:
    ticks = iter(range(10_000))
    return TapTransport(
        upstream,
        on_request=recorder.start,
        on_exchange=recorder.finish,
        on_error=on_error,
        clock=lambda: next(ticks) / 10,
        hasten=hasten,
    )


def recorder_in(folder: Path) -> Recorder:
    return Recorder(folder / "01_x.json", SOURCE)


def sync(transport: httpx2.BaseTransport) -> Anthropic:
    return Anthropic(api_key="k", http_client=httpx2.Client(transport=transport))


def test_what_was_recorded_replays_word_for_word(tmp_path: Path) -> None:
    """Plain, streamed and failed calls, in the order in which they began."""
    api = FakeAPI()
    api.enqueue("one", Error(529), "two", "three")
    recording_client = sync(tap(api.transport, recorder_in(tmp_path)))

    def session(client: Anthropic) -> list[str]:
        plain = [client.messages.create(**ASK).content[0] for _ in range(2)]
        streamed = "".join(iter_text(client.messages.create(**ASK, stream=True)))
        return [*(block.text for block in plain if block.type == "text"), streamed]

    said = session(recording_client)
    recording = Recording.load(tmp_path / "01_x.json")
    assert said == ["one", "two", "three"]
    assert [each.status for each in recording.exchanges] == [200, 529, 200, 200]
    assert session(sync(ReplayTransport(recording))) == said


def test_async_calls_are_recorded_too(tmp_path: Path) -> None:
    """Plain and streamed, through the async transport."""
    api = FakeAPI()
    api.enqueue("one", "two", Error(400))
    recorder = recorder_in(tmp_path)

    async def main() -> str:
        http = httpx2.AsyncClient(transport=tap(api.transport, recorder))
        async with AsyncAnthropic(api_key="k", http_client=http) as client:
            await client.messages.create(**ASK)
            stream = await client.messages.create(**ASK, stream=True)
            text = "".join([piece async for piece in iter_text_async(stream)])
            with pytest.raises(Exception, match="400"):
                await client.messages.create(**ASK)
        return text

    assert asyncio.run(main()) == "two"
    statuses = [each.status for each in Recording.load(recorder.path).exchanges]
    assert statuses == [200, 200, 400]


def test_a_recording_keeps_times_and_no_request_headers(tmp_path: Path) -> None:
    """Elapsed time, time to the first event for streams only, and no credential anywhere."""
    recorder = recorder_in(tmp_path)
    client = sync(tap(FakeAPI().transport, recorder))
    client.messages.create(**ASK)
    list(client.messages.create(**ASK, stream=True))
    plain, streamed = Recording.load(recorder.path).exchanges
    assert plain.first_event_ms is None
    assert 0 < (streamed.first_event_ms or 0) < streamed.elapsed_ms
    assert "authorization" not in recorder.path.read_text("utf-8").lower()


def test_a_reader_who_stops_early_waits_for_nothing_and_leaves_a_cut_recording(
    tmp_path: Path,
) -> None:
    """What was read is kept, and never replayed as the whole, sync and async."""
    api = FakeAPI()
    api.enqueue("word " * 50, "word " * 50)
    recorder = recorder_in(tmp_path)

    with sync(tap(api.transport, recorder)).messages.create(**ASK, stream=True) as stream:
        next(iter(stream))

    async def main() -> None:
        http = httpx2.AsyncClient(transport=tap(api.transport, recorder))
        async with AsyncAnthropic(api_key="k", http_client=http) as client:
            stream = await client.messages.create(**ASK, stream=True)
            await anext(aiter(stream))
            await stream.close()

    asyncio.run(main())
    exchanges = Recording.load(recorder.path).exchanges
    read = [[event["event"] for event in each.body["events"]] for each in exchanges]
    assert read == [["message_start"], ["message_start"]]
    assert [each.body["cut"] for each in exchanges] == [True, True]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, asyncio.CancelledError, MemoryError])
def test_an_interrupted_stream_is_cut_whatever_ended_it(
    tmp_path: Path, interrupt: type[BaseException]
) -> None:
    """Also by the reader's own hand."""
    api = FakeAPI()
    api.enqueue("word " * 50)
    recorder = recorder_in(tmp_path)
    stream = sync(tap(api.transport, recorder)).messages.create(**ASK, stream=True)
    with pytest.raises(interrupt), stream:
        for number, _ in enumerate(stream):
            if number == 3:
                raise interrupt
    (exchange,) = Recording.load(recorder.path).exchanges
    kept = [each["event"] for each in exchange.body["events"] if each["event"] != "ping"]
    assert (len(kept), exchange.body["cut"]) == (4, True)
    with pytest.raises(httpx2.RemoteProtocolError):
        list(
            sync(ReplayTransport(Recording.load(recorder.path))).messages.create(**ASK, stream=True)
        )


def test_what_a_callback_raises_costs_no_second_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer has been paid for: it reaches its reader, and the log says what went wrong."""
    api = FakeAPI()

    def fail(slot: int, exchange: Exchange) -> None:
        raise OSError("disk full")

    transport = TapTransport(
        api.transport, on_request=lambda: 0, on_exchange=fail, on_error=nothing, clock=lambda: 0.0
    )
    assert sync(transport).messages.create(**ASK).stop_reason == "end_turn"
    assert len(api.journal) == 1
    assert "disk full" in caplog.text


class Breaking(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body whose connection breaks after its first chunk."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"event: ping\ndata: {}\n\n"
        raise httpx2.ReadError("gone")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def test_a_broken_connection_is_recorded_as_cut(tmp_path: Path) -> None:
    """And still raised; also when only the close meets it."""
    headers = {"content-type": "text/event-stream"}

    def broken(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, stream=Breaking())

    recorder = recorder_in(tmp_path)
    transport = tap(httpx2.MockTransport(broken), recorder)
    with pytest.raises(httpx2.ReadError):
        httpx2.Client(transport=transport).get("https://x/v1/a")
    with httpx2.Client(transport=transport).stream("GET", "https://x/v1/b"):
        pass

    async def main() -> None:
        async with httpx2.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx2.ReadError):
                await client.get("https://x/v1/c")
            async with client.stream("GET", "https://x/v1/d"):
                pass

    asyncio.run(main())
    exchanges = Recording.load(recorder.path).exchanges
    assert [(each.path, each.body["cut"]) for each in exchanges] == [
        (f"/v1/{name}", True) for name in "abcd"
    ]


def test_a_request_that_never_got_an_answer_leaves_no_gap(tmp_path: Path) -> None:
    """The file holds what was answered."""
    api = FakeAPI(faults=[Fault.disconnect(times=1)])
    recorder = recorder_in(tmp_path)
    client = sync(tap(api.transport, recorder))
    with pytest.raises(Exception, match="Connection"):
        client.with_options(max_retries=0).messages.create(**ASK)
    client.messages.create(**ASK)
    assert len(Recording.load(recorder.path).exchanges) == 1


def test_closing_the_client_closes_the_upstream() -> None:
    """Sockets are given back."""
    closed: list[str] = []

    class Upstream(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
        def close(self) -> None:
            closed.append("sync")

        async def aclose(self) -> None:
            closed.append("async")

    def refuse() -> int:
        raise AssertionError

    transport = TapTransport(
        Upstream(), on_request=refuse, on_exchange=print, on_error=nothing, clock=float
    )
    transport.close()
    asyncio.run(transport.aclose())
    assert closed == ["sync", "async"]


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked, so that no paid answer is lost."""

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(RecordingsReadOnly, match=r"denied.*PATTERNS_RECORDINGS"):
        recorder_in(tmp_path)


def live_exchange(tokens: int, model: str = SONNET) -> Exchange:
    usage = {"input_tokens": tokens, "output_tokens": 0}
    body = {"json": {"model": model, "usage": usage}}
    return Exchange("POST", "/v1/messages", {}, 200, {}, body, 1)


def test_the_budget_stops_before_the_next_request() -> None:
    """A million input tokens on Sonnet are two dollars."""
    budget = Budget(Decimal(3))
    budget.charge(live_exchange(1_000_000))
    budget.check()
    budget.charge(live_exchange(1_000_000))
    with pytest.raises(BudgetSpent, match=r"\$4.0000 of a budget of \$3.00") as caught:
        budget.check()
    assert (caught.value.spent, caught.value.budget) == (Decimal(4), Decimal(3))


def test_an_unpriced_model_is_charged_as_the_dearest_known() -> None:
    """A budget that cannot see a price must not be a hole."""
    known = [exchange_cost(live_exchange(1_000, model)) for model in ("claude-mythos-5-2", SONNET)]
    assert exchange_cost(live_exchange(1_000, "claude-next")) >= max(known) > 0
    assert cost_usd("claude-next", _usage(1_000)) is None


def _usage(tokens: int) -> Any:
    from anthropic.types import Usage

    return Usage(input_tokens=tokens, output_tokens=0)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        [1],
        {},
        {"input_tokens": "9"},
        {"input_tokens": -1, "output_tokens": 2},
        {"x": 1},
    ],
)
def test_usage_that_cannot_be_read_is_charged_as_the_most_it_may_be(usage: Any) -> None:
    """Neither an error nor a hole in the budget; nothing for what asks no model."""
    asked = {"model": SONNET, "max_tokens": 1_000_000}
    body = {"json": {"model": SONNET, "usage": usage}}
    exchange = Exchange("POST", "/v1/messages", asked, 200, {}, body, 1)
    assert 10 < exchange_cost(exchange) < 11
    assert exchange_cost(replace(exchange, request=["?"], status=529)) < 1
    assert exchange_cost(replace(exchange, path="/v1/models", body={"json": [usage]})) == 0


def refusal(status: int, body: Any) -> httpx2.Response:
    content = body if isinstance(body, str) else json.dumps(body)
    return httpx2.Response(status, text=content)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_credential_names_the_setting(status: int) -> None:
    """Not a traceback from deep inside the SDK."""
    body = {"error": {"type": "x", "message": "credit is too low"}}
    with pytest.raises(LiveCallRefused, match=r"credit is too low.*ANTHROPIC_API_KEY") as caught:
        raise_if_refused(httpx2.Request("POST", "https://x"), refusal(status, body))
    assert caught.value.status == status


def test_a_spend_limit_is_told_from_a_rate_limit() -> None:
    """One never ends by waiting, the other does."""
    request = httpx2.Request("POST", "https://x")
    spent = {
        "error": {"message": "limit", "details": {"error_code": "enforced_spend_limit_reached"}}
    }
    with pytest.raises(LiveCallRefused, match="429"):
        raise_if_refused(request, refusal(429, spent))
    raise_if_refused(request, refusal(429, {"error": {"message": "slow down"}}))
    raise_if_refused(request, refusal(529, "overloaded"))
    with pytest.raises(LiveCallRefused, match="<html>"):
        raise_if_refused(request, refusal(403, "<html>"))
