"""Faults: each kind, on the requests that it names, sync and async."""

import asyncio
import contextlib
import json
from typing import Any

import anthropic
import httpx2
import pytest

from patterns.core.messages import text_of
from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Fault, Reply, VirtualClock

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "hi"}],
}


def statuses(api: FakeAPI, calls: int) -> list[int]:
    """How so many calls are answered."""
    client = api.client(max_retries=0)
    for _ in range(calls):
        try:
            client.messages.create(**ASK)
        except anthropic.APIError:
            continue
    return [entry.status for entry in api.journal]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.status(529, times=2), [529, 529, 200, 200]),
        (Fault.status(500, requests=3), [200, 200, 500, 200]),
        (Fault.status(503, requests={1, 4}), [503, 200, 200, 503]),
        (Fault.status(429, requests=lambda body: "stream" in body, times=1), [200] * 4),
        (Fault.status(429, requests=lambda body: "model" in body, times=1), [429, 200, 200, 200]),
        (Fault.status(500, path="/v1/models"), [200] * 4),
        (Fault.disconnect(requests=2), [200, 0, 200, 200]),
    ],
)  # fmt: skip
def test_fault_applies_to_the_requests_it_names(fault: Fault, expected: list[int]) -> None:
    """By number, by set, by predicate, by path, by how often."""
    assert statuses(FakeAPI(faults=[fault]), 4) == expected


def test_faults_combine() -> None:
    """A delay and an error: the error comes late; the first error wins."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, faults=[Fault.delay(5), Fault.status(500), Fault.status(529)])
    assert statuses(api, 1) == [500]
    assert clock.elapsed == 5


def test_predicate_sees_none_for_a_body_that_is_no_json() -> None:
    """Faults never break on what a client sends."""
    seen: list[object] = []

    def never(body: object) -> bool:
        seen.append(body)
        return False

    api = FakeAPI(faults=[Fault.status(500, requests=never)])
    with pytest.raises(anthropic.BadRequestError):
        api.client(max_retries=0).post("/v1/messages", content=b"{", cast_to=object)
    assert seen == [None]


def events(client: anthropic.Anthropic) -> list[str]:
    """The event types of a stream."""
    return [event.type for event in client.messages.create(stream=True, **ASK)]


def test_truncated_json_cannot_be_parsed() -> None:
    """Half of a body arrives."""
    client = FakeAPI(faults=[Fault.truncated_json(keep=0.5)]).client(max_retries=0)
    with pytest.raises((json.JSONDecodeError, anthropic.APIError)):
        client.messages.create(**ASK)
    assert events(client)[-1] == "message_stop"  # streams are left alone


def test_malformed_event_breaks_the_stream() -> None:
    """After two events one is not JSON."""
    client = FakeAPI(faults=[Fault.malformed(after=2)]).client(max_retries=0)
    with pytest.raises(json.JSONDecodeError):
        events(client)
    assert client.messages.create(**ASK).stop_reason == "end_turn"  # no stream, no damage


def test_error_event_in_mid_stream() -> None:
    """An overload may come after the stream has begun, with status 200."""
    api = FakeAPI(faults=[Fault.stream_error(after=3)])
    with pytest.raises(anthropic.APIStatusError) as caught:
        events(api.client(max_retries=0))
    assert caught.value.type == "overloaded_error"
    assert api.journal[0].status == 200


def test_error_event_may_come_first() -> None:
    """Before any other event."""
    client = FakeAPI(faults=[Fault.stream_error(after=0)]).client(max_retries=0)
    with pytest.raises(anthropic.APIStatusError):
        events(client)


@pytest.mark.parametrize("after", [0, 2, 400])
def test_disconnect_in_process(after: int) -> None:
    """The stream breaks after so many events, or at its very end."""
    client = FakeAPI(faults=[Fault.disconnect(after=after)]).client(max_retries=0)
    with pytest.raises(httpx2.RemoteProtocolError):
        events(client)


@pytest.mark.parametrize("after", [0, 1])
def test_disconnect_within_a_plain_body(after: int) -> None:
    """Part of a body, then nothing: a connection error."""
    client = FakeAPI(faults=[Fault.disconnect(after=after)]).client(max_retries=0)
    with pytest.raises((anthropic.APIConnectionError, httpx2.RemoteProtocolError)):
        client.messages.create(**ASK)


def test_disconnect_before_the_answer_in_process() -> None:
    """The SDK retries it as a connection error."""
    api = FakeAPI(faults=[Fault.disconnect(times=1)])
    with pytest.raises(anthropic.APIConnectionError):
        api.client(max_retries=0).messages.create(**ASK)


def test_async_streams_break_and_wait_alike() -> None:
    """The same faults on the async side of the transport."""
    clock = VirtualClock()
    faults = [
        Fault.delay(3),
        Fault.disconnect(after=3, requests=1),
        Fault.disconnect(requests=2),
        Fault.hang(requests=3),
        Fault.hang(after=2, requests=4),
    ]
    api = FakeAPI(clock=clock, faults=faults)
    client = api.async_client(max_retries=0, timeout=10.0)

    async def one() -> str:
        try:
            async for _ in await client.messages.create(stream=True, **ASK):
                pass
        except (anthropic.APIError, httpx2.TransportError) as error:
            return type(error).__name__
        return "whole"

    async def main() -> list[str]:
        return [await one() for _ in range(5)]

    assert clock.run(main()) == [
        "RemoteProtocolError",
        "APIConnectionError",
        "APITimeoutError",
        "ReadTimeout",
        "whole",
    ]
    assert clock.elapsed == pytest.approx(3 * 4 + 10 + 10)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_stream_in_pieces_cut_anywhere_reads_the_same(size: int) -> None:
    """Cuts within lines and characters change nothing; line separators in text are no lines."""
    text = "één \u2028 字字 🙂 \x85 end"
    api = FakeAPI(clock=VirtualClock(), faults=[Fault.chunked(size), Fault.delay(0.1)])
    api.enqueue(Reply(text, seconds=2.0))
    with api.client().messages.stream(**ASK) as stream:
        assert text_of(stream.get_final_message()) == text


@pytest.mark.parametrize(
    "fault",
    [
        Fault.duplicated(every=2),
        Fault.malformed(after=3),
        Fault.disconnect(after=5),
        Fault.stream_error(after=5),
    ],
)
def test_faults_count_events_and_not_the_waits_between_them(fault: Fault) -> None:
    """A slow stream breaks at the same place as a quick one, async and sync."""
    seen = []
    for seconds in (0.0, 9.0):
        clock = VirtualClock()
        api = FakeAPI(clock=clock, faults=[fault])
        api.enqueue(*[Reply("a long text of several pieces " * 5, seconds=seconds)] * 2)
        seen.append((drain(api), clock.run(adrain(api))))
    assert seen[0] == seen[1]
    assert seen[0][0] == seen[0][1]


def drain(api: FakeAPI) -> list[str]:
    """The events that arrive before a stream breaks."""
    arrived: list[str] = []
    with contextlib.suppress(json.JSONDecodeError, anthropic.APIError, httpx2.TransportError):
        stream = api.client(max_retries=0).messages.create(stream=True, **ASK)
        arrived.extend(event.type for event in stream)
    return arrived


async def adrain(api: FakeAPI) -> list[str]:
    """The same by the async client."""
    arrived: list[str] = []
    with contextlib.suppress(json.JSONDecodeError, anthropic.APIError, httpx2.TransportError):
        client = api.async_client(max_retries=0)
        async for event in await client.messages.create(stream=True, **ASK):
            arrived.append(event.type)
    return arrived


def test_duplicated_events_arrive_twice() -> None:
    """Every event doubled."""
    api = FakeAPI(faults=[Fault.duplicated()])
    answer = asyncio.run(_raw(api))
    assert answer.count("event: message_stop") == 2


def test_malformed_event_stands_between_good_ones() -> None:
    """The stream goes on after it."""
    api = FakeAPI(clock=VirtualClock(), faults=[Fault.malformed(after=3)])
    api.enqueue(Reply("several pieces of text, slowly", seconds=5))
    lines = asyncio.run(_raw(api)).split("\n")
    assert 'data: {"type": "content_block_delta", "index' in lines
    assert "event: message_stop" in lines


async def _raw(api: FakeAPI) -> str:
    """A stream's text."""
    response = await api.async_client().messages.with_raw_response.create(stream=True, **ASK)
    return str(await response.text())
