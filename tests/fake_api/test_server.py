"""The fake API over a real loopback socket: the SDK, the standard library, a raw socket."""

import asyncio
import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx2
import pytest

from patterns.core.messages import text_of
from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Fault, Latency, Reply, VirtualClock
from patterns.fake_api.__main__ import api_of, main, parser
from patterns.fake_api.wire.http import Cut, Step, pieces
from patterns.fake_api.wire.server import HOST, listen, serve

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}


@pytest.fixture
def api() -> FakeAPI:
    """A fake on a clock that nobody waits for."""
    return FakeAPI(clock=VirtualClock(), batch_seconds=60)


@pytest.fixture
def url(api: FakeAPI) -> Iterator[str]:
    """Its address."""
    with serve(api) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[anthropic.Anthropic]:
    """The SDK on that address, by TCP."""
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as sdk:
        yield sdk


def raw(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    """Status and JSON of a request by the standard library."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request(method, path, body, {**HEADERS, **headers})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, json.loads(data)


def test_sdk_gets_the_same_bytes_by_socket_as_in_process(client: anthropic.Anthropic) -> None:
    """Both doors lead to the same answer."""
    by_socket = client.messages.create(**ASK)
    in_process = FakeAPI().client().messages.create(**ASK)
    assert by_socket == in_process


def test_stream_by_socket(api: FakeAPI, client: anthropic.Anthropic) -> None:
    """A stream arrives whole, thinking first."""
    api.enqueue(Reply("Paris. " * 50, thinking="France."))
    with client.messages.stream(**ASK) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert text_of(message) == "Paris. " * 50


def test_many_calls_share_a_connection(url: str) -> None:
    """Keep-alive: three requests over one connection."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    ports = set()
    for _ in range(3):
        connection.request("POST", "/v1/messages", json.dumps(ASK), HEADERS)
        assert connection.getresponse().read()
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


def test_batch_by_socket(api: FakeAPI, client: anthropic.Anthropic) -> None:
    """The results URL leads back to the same server."""
    batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}])  # type: ignore[typeddict-item]
    api.clock.sleep(60)
    results = list(client.messages.batches.results(batch.id))
    assert [line.custom_id for line in results] == ["a"]


def test_async_client_by_socket(url: str) -> None:
    """The async SDK works as well."""

    async def ask() -> str:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="any") as sdk:
            return text_of(await sdk.messages.create(**ASK))

    assert "capital of France" in asyncio.run(ask())


def test_latency_passes_on_the_clock() -> None:
    """A virtual clock makes the wait free and still moves."""
    api = FakeAPI(clock=VirtualClock(), latency=Latency(first_token=3600, jitter=0))
    with serve(api) as url, anthropic.Anthropic(base_url=url, api_key="any") as sdk:
        sdk.messages.create(**ASK)
        with sdk.messages.stream(**ASK) as stream:
            stream.until_done()
    assert api.clock.now() - api.journal[0].at > 7200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"nul", b'{"model": NaN}'])
def test_bodies_that_are_no_request_get_the_apis_error(url: str, body: bytes) -> None:
    """Whatever comes, the answer has the API's error shape."""
    status, error = raw(url, "POST", "/v1/messages", body)
    assert (status, error["type"], error["error"]["type"]) == (
        400,
        "error",
        "invalid_request_error",
    )


def test_unknown_path_and_wrong_method(url: str) -> None:
    """404 and 405, in shape."""
    assert raw(url, "GET", "/v2/nothing")[0] == 404
    assert raw(url, "PUT", "/v1/messages")[0] == 405
    assert raw(url, "GET", "/")[1]["error"]["type"] == "not_found_error"


def test_too_large_a_body_gets_413(url: str) -> None:
    """More than 32 MB is read to its end, not kept, and refused."""
    status, error = raw(url, "POST", "/v1/messages", b"x" * (33 * 2**20))
    assert (status, error["error"]["type"]) == (413, "request_too_large")


def test_disconnect_before_the_answer(api: FakeAPI, client: anthropic.Anthropic) -> None:
    """The connection closes without a byte."""
    api.add_faults(Fault.disconnect(times=1))
    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**ASK)
    assert client.messages.create(**ASK).stop_reason == "end_turn"


def test_disconnect_in_mid_stream(api: FakeAPI, client: anthropic.Anthropic) -> None:
    """Events up to the cut arrive, then the connection is gone."""
    api.add_faults(Fault.disconnect(after=3))
    events: list[str] = []
    with pytest.raises(httpx2.RemoteProtocolError):
        events.extend(event.type for event in client.messages.create(stream=True, **ASK))
    assert events == ["message_start", "content_block_start"]  # the third is a ping


def test_hanging_answers_end_with_the_clients_timeout(api: FakeAPI, url: str) -> None:
    """The server keeps silent until the client goes away."""
    api.add_faults(Fault.hang(requests=1), Fault.hang(after=2, requests=2))
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=0.2) as sdk:
        with pytest.raises(anthropic.APITimeoutError):
            sdk.messages.create(**ASK)
        with pytest.raises(httpx2.ReadTimeout):
            list(sdk.messages.create(stream=True, **ASK))


def test_client_that_goes_away_while_sending_is_forgotten(api: FakeAPI, url: str) -> None:
    """Half a request leaves the server working."""
    with socket.create_connection((HOST, urlsplit(url).port)) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
    assert raw(url, "POST", "/v1/messages", json.dumps(ASK).encode())[0] == 200
    assert len(api.journal) == 1


@pytest.mark.parametrize("junk", [b"\x00\xff\n\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_junk_on_the_socket_does_no_harm(url: str, junk: bytes) -> None:
    """What is no HTTP is turned away; the next client is served."""
    with socket.create_connection((HOST, urlsplit(url).port), timeout=20) as connection:
        connection.sendall(junk)
        connection.recv(1000)
    assert raw(url, "GET", "/v1/models")[0] == 200


def test_eight_threads_at_once(api: FakeAPI, client: anthropic.Anthropic) -> None:
    """The journal holds every request, each with an id of its own."""

    def ask() -> None:
        for _ in range(5):
            client.messages.create(**ASK)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({entry.request_id for entry in api.journal}) == 40


def test_server_listens_on_loopback_only(url: str) -> None:
    """There is no other address to reach it at."""
    assert urlsplit(url).hostname == "127.0.0.1"


def test_command_line_describes_an_api(tmp_path: Any) -> None:
    """Options become limits, latency, faults and replies."""
    script = tmp_path / "r.toml"
    script.write_text('[[reply]]\ntext = "hello"\n')
    words = f"--replies {script} --rpm 5 --first-token 0 --overload 1 --key k --seed 3".split()
    client = api_of(parser().parse_args(words)).client(api_key="k", max_retries=0)
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**ASK)
    raw_answer = client.messages.with_raw_response.create(**ASK)
    assert raw_answer.headers["anthropic-ratelimit-requests-limit"] == "5"
    assert text_of(raw_answer.parse()) == "hello"


def test_command_prints_its_url_and_serves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line is the base URL; an interrupt ends it quietly."""

    def run(self: object, sockets: list[socket.socket]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("patterns.fake_api.wire.server._Server.run", run)
    assert main(["--port", "0"]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replies", "none.toml"], "none.toml: cannot be read"),
        (["--rpm", "0"], "at least 1"),
        (["--port", "99999"], "0-65535"),
        (["--first-token", "-1"], "must not be negative"),
    ],
)
def test_command_refuses_what_makes_no_sense(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clear line on stderr and exit code 2."""
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_command_says_that_a_port_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Two servers cannot have one port."""
    with listen() as taken:
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_command_names_the_missing_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without uvicorn it says what to install."""

    monkeypatch.setitem(sys.modules, "patterns.fake_api.wire.server", None)
    assert main([]) == 2
    assert "fake-api" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        ([b"a", b"b", b"c"], [b"ab", b"c"]),
        ([b"abc", b"d"], [b"abc", b"d"]),
        ([b"a", 1.5, b"b"], [b"a", 1.5, b"b"]),
        ([b"ab", Cut.CLOSE], [b"ab", Cut.CLOSE]),
        ([], []),
    ],
)
def test_small_steps_are_sent_together_and_waits_keep_their_place(
    steps: list[Step], sent: list[Step]
) -> None:
    """In pieces of two bytes and more."""
    assert list(pieces(steps, 2)) == sent


@pytest.mark.parametrize("fault", [None, Fault.chunked(7)], ids=["together", "chunked"])
def test_results_by_socket_are_the_lines_of_the_transport(
    api: FakeAPI, client: anthropic.Anthropic, fault: Fault | None
) -> None:
    """Sent together, or in the pieces that a fault makes of them."""
    requests: Any = [{"custom_id": f"r{n}", "params": ASK} for n in range(20)]
    batch = client.messages.batches.create(requests=requests)
    api.clock.sleep(60)
    in_process = list(api.client(api_key="any").messages.batches.results(batch.id))
    api.add_faults(*[fault] if fault else [])
    assert list(client.messages.batches.results(batch.id)) == in_process
