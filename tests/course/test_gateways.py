"""What gateways do to answers: recorded as the SDK saw them, charged, and replayed the same."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.models import SONNET
from patterns.course.bodies import BOM, is_whole, parse_body, render_body
from patterns.course.budget import Budget
from patterns.course.recorder import TapTransport
from patterns.course.recordings import Exchange, Recording, Source
from patterns.course.replay import ReplayTransport
from patterns.fake_api import FakeAPI, Reply, ToolUse

SOURCE = Source("live", "2026-11-26", "2.14.0", "gateway.example")
TOOL: Any = {"name": "add", "input_schema": {"type": "object"}}
ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 999,
    "tools": [TOOL],
    "messages": [{"role": "user", "content": "Hi"}],
}
REPLIES = {
    "plain": Reply("Grüße \u2028 und 🙂\r\nzwei Zeilen", thinking="so"),
    "tool": Reply("I add.", tool_use=[ToolUse("add", {"a": [1, {"b": "\n\ndata: x"}]})]),
    "refusal": Reply(refusal="bio"),
    "cut": Reply("word " * 9, stop_reason="max_tokens"),
}


def gzipped(headers: dict[str, str], body: bytes) -> bytes:
    headers["content-encoding"] = "gzip"
    return gzip.compress(body)


def unlabelled(headers: dict[str, str], body: bytes) -> bytes:
    del headers["content-type"]
    return body


Change = Callable[[dict[str, str], bytes], bytes]
CHANGES: dict[str, Change] = {
    "as sent": lambda headers, body: body,
    "gzip": gzipped,
    "no space": lambda headers, body: re.sub(rb"^(event|data): ", rb"\1:", body, flags=re.M),
    "CR": lambda headers, body: body.replace(b"\n", b"\r"),
    "CR LF": lambda headers, body: body.replace(b"\n", b"\r\n"),
    "BOM": lambda headers, body: BOM + body,
    "no content type": unlabelled,
    "comments": lambda headers, body: b": keep-alive\n\n" + body if body[:1] == b"e" else body,
}


class Gateway(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Passes answers on in pieces, after changing them; breaks off where it is told to."""

    def __init__(self, api: FakeAPI, change: Change, *, piece: int = 7, end: int | None = None):
        self.api, self.change, self.piece, self.end = api, change, piece, end

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self.api.transport.handle_request(request)
        headers = {"content-type": response.headers["content-type"]}
        body = self.change(headers, response.read())
        pieces = [body[at : at + self.piece] for at in range(0, len(body), self.piece)]
        stream = Pieces(pieces[: self.end], broken=self.end is not None)
        return httpx2.Response(response.status_code, headers=headers, stream=stream)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        return self.handle_request(request)


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, pieces: list[bytes], *, broken: bool) -> None:
        self.pieces, self.broken = pieces, broken

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.broken:
            raise httpx2.ReadError("gone")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def tapped(gateway: Gateway) -> tuple[TapTransport, list[Exchange], Budget]:
    kept: list[Exchange] = []
    budget = Budget(Decimal(100))

    def keep(slot: int, exchange: Exchange) -> None:
        kept.append(exchange)
        budget.charge(exchange)

    transport = TapTransport(
        gateway,
        on_request=lambda: 0,
        on_exchange=keep,
        on_error=lambda request, response: None,
        clock=lambda: 0.0,
    )
    return transport, kept, budget


def client_of(transport: httpx2.BaseTransport) -> Anthropic:
    return Anthropic(api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport))


def final(client: Anthropic, *, streamed: bool) -> Any:
    if not streamed:
        return client.messages.create(**ASK).to_dict()
    with client.messages.stream(**ASK) as stream:
        return stream.get_final_message().to_dict()


def replayed(kept: list[Exchange], folder: Path) -> Anthropic:
    """A client on what was kept, by way of the file."""
    Recording(folder / "x.json", SOURCE, tuple(kept)).save()
    return client_of(ReplayTransport(Recording.load(folder / "x.json")))


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_answer_is_read_charged_and_replayed_as_the_original(
    tmp_path: Path, change: str, reply: str, streamed: bool
) -> None:
    """Two dollars of usage stay two dollars."""
    expected, bills = [], []
    for name in ("as sent", change):
        api = FakeAPI()
        api.enqueue(REPLIES[reply])
        transport, kept, budget = tapped(Gateway(api, CHANGES[name]))
        expected.append(final(client_of(transport), streamed=streamed))
        bills.append(budget.spent)
    assert expected[1] == expected[0] == final(replayed(kept, tmp_path), streamed=streamed)
    assert bills[1] == bills[0] > 0
    assert "cut" not in kept[0].body


@pytest.mark.parametrize("change", CHANGES)
def test_batch_results_are_charged_line_by_line(tmp_path: Path, change: str) -> None:
    """One line or many, whatever the gateway says of them."""
    line = {
        "custom_id": "a",
        "result": {
            "type": "succeeded",
            "message": {
                "model": SONNET,
                "usage": {"input_tokens": 1_000_000, "output_tokens": 0, "service_tier": "batch"},
            },
        },
    }
    for count in (1, 3):
        headers = {"content-type": "application/x-jsonl"}
        body = CHANGES[change](headers, (json.dumps(line) + "\n").encode() * count)
        content = gzip.decompress(body) if "content-encoding" in headers else body
        parsed = parse_body(headers.get("content-type", ""), content)
        budget = Budget(Decimal(9))
        budget.charge(Exchange("GET", "/v1/messages/batches/x/results", None, 200, {}, parsed, 1))
        assert budget.spent == count


@given(st.data())
def test_an_interrupted_stream_is_cut_wherever_it_ends(data: st.DataObject) -> None:
    """Replay gives what the reader had, then breaks; what had been reported is charged."""
    change = CHANGES[data.draw(st.sampled_from(sorted(CHANGES)))]
    api = FakeAPI()
    reply = REPLIES[data.draw(st.sampled_from(sorted(REPLIES)))]
    api.enqueue(reply, reply)
    whole = client_of(api.transport).messages.with_raw_response.create(**ASK, stream=True)
    size = len(b"".join(whole.http_response.iter_bytes()))
    piece = data.draw(st.integers(1, size))
    gateway = Gateway(api, change, piece=piece, end=data.draw(st.integers(0, size // piece)))
    transport, kept, budget = tapped(gateway)
    seen: list[list[Any]] = [[], []]

    def read(client: Anthropic, into: list[Any]) -> None:
        for event in client.messages.create(**ASK, stream=True):
            into.append(event.to_dict())  # what came before the break is the point

    with pytest.raises(httpx2.TransportError):
        read(client_of(transport), seen[0])
    stopped = seen[0] and seen[0][-1]["type"] == "message_stop"
    assert kept[0].body.get("cut", False) is not stopped
    recording = Recording(Path("x.json"), SOURCE, (Exchange.from_json(kept[0].to_json()),))
    replay = client_of(ReplayTransport(recording))
    if stopped:
        read(replay, seen[1])
    else:
        with pytest.raises(httpx2.RemoteProtocolError):
            read(replay, seen[1])
    # Between the CR and the LF of a last line the reader still waits; the file has that event.
    assert seen[1] in (seen[0], seen[0] + seen[1][-1:])
    assert budget.spent > 0


def test_async_readers_are_served_the_same(tmp_path: Path) -> None:
    """Decoded, and cut when the task is cancelled."""
    api = FakeAPI()

    async def main() -> None:
        http = httpx2.AsyncClient(transport=transport)
        async with AsyncAnthropic(api_key="k", http_client=http) as client:
            async with client.messages.stream(**ASK) as stream:
                await stream.get_final_message()
            stream = await client.messages.create(**ASK, stream=True)
            await anext(aiter(stream))
            await stream.close()

    transport, kept, _ = tapped(Gateway(api, gzipped))
    asyncio.run(main())
    assert [each.body.get("cut") for each in kept] == [None, True]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
)


@given(JSON, st.sampled_from(["application/json", "", "text/plain"]))
def test_any_json_comes_back_as_it_was(value: Any, content_type: str) -> None:
    """Half surrogate pairs included."""
    content = json.dumps(value).encode()
    assert json.loads(b"".join(render_body(parse_body(content_type, content)))) == value


TEXT = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(st.sampled_from(["ping", "x"]), JSON | TEXT), min_size=1))
def test_any_stream_comes_back_event_by_event(events: list[tuple[str, Any]]) -> None:
    """Data of several lines and data that is no JSON included."""
    body = {"events": [{"event": name, "data": data} for name, data in events]}
    parsed = parse_body("text/event-stream", b"".join(render_body(body)))
    assert len(parsed["events"]) == len(events)
    assert parse_body("", b"".join(render_body(parsed))) == parsed
    assert not is_whole(parsed, ended=True)


@pytest.mark.parametrize(
    ("content_type", "content", "body"),
    [
        ("text/event-stream", b"", {"events": []}),
        ("text/event-stream", b'event: message_start\ndata: {"a', {"events": []}),
        ("text/event-stream", b"\xff", {"events": []}),
        ("text/event-stream", b'{"error": 1}', {"json": {"error": 1}}),
        ("text/plain", b"data: none of it", {"text": "data: none of it"}),
        ("text/plain", b'"quoted"', {"text": '"quoted"'}),
        ("text/html", b"<p>502</p>\n<p>gone</p>", {"text": "<p>502</p>\n<p>gone</p>"}),
        ("application/json", b"[" * 100_000, {"text": "[" * 100_000}),
        (
            "",
            b"id: 1\n\nevent: x\ndata: y\nretry: 3\n\n",
            {"events": [{"event": "x", "data": "y"}]},
        ),
    ],
)
def test_what_is_odd_is_kept_as_it_came(
    content_type: str, content: bytes, body: dict[str, Any]
) -> None:
    """Unfinished events apart: no reader saw them."""
    assert parse_body(content_type, content) == body
