"""patterns.course.serve: a recording on a port, for clients in any language."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, NotFoundError

from patterns.core.messages import iter_text, text_of
from patterns.core.models import SONNET
from patterns.course import runner
from patterns.course.bodies import Json
from patterns.course.recordings import Exchange, Recording, Source
from patterns.course.serve import RecordedAPI, together
from patterns.fake_api import FakeAPI
from patterns.fake_api.wire.server import listen, serve

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}
SOURCE = Source("authored", "2026-11-26", "2.14.0", "fake_api")


def exchange(body: Json, path: str = "/v1/messages", request: Any = ASK) -> Exchange:
    method = "GET" if request is None else "POST"
    return Exchange(method, path, request, 200, {"content-type": "application/json"}, body, 1)


def message(text: str) -> Json:
    api = FakeAPI()
    api.enqueue(text)
    return {"json": api.client().messages.create(**ASK).to_dict()}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Anthropic]:
    """The real SDK, on a socket, on two files."""
    streamed = [
        {"event": "message_start", "data": {"type": "message_start", **message("")}},
        {
            "event": "content_block_delta",
            "data": {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "half"},
            },
        },
    ]
    first = (
        exchange(message("one")),
        exchange({"events": streamed, "cut": True}, request={**ASK, "stream": True}),
        exchange({"json": {"results_url": "https://api.anthropic.com/v1/x"}}, "/v1/b?n=1", None),
    )
    Recording(tmp_path / "01_x.json", SOURCE, first).save()
    Recording(tmp_path / "02_y.json", SOURCE, (exchange(message("two")),)).save()
    both = together([tmp_path / "01_x.json", tmp_path / "02_y.json"])
    with (
        serve(RecordedAPI(both)) as url,
        Anthropic(api_key="any", base_url=url, max_retries=0) as it,
    ):
        yield it


def test_answers_come_in_turn_over_the_socket(client: Anthropic) -> None:
    """From all files; a question that nobody recorded is a 404 that says what differs."""
    assert [text_of(client.messages.create(**ASK)) for _ in range(3)] == ["one", "two", "one"]
    with pytest.raises(NotFoundError, match="max_tokens was 9, this request has 8"):
        client.messages.create(**{**ASK, "max_tokens": 8})


def test_a_cut_stream_is_cut_again(client: Anthropic) -> None:
    """The connection closes where it did."""
    seen = []
    with pytest.raises(httpx2.RemoteProtocolError):
        for piece in iter_text(client.messages.create(**ASK, stream=True)):
            seen.append(piece)  # what came before the break is the point
    assert seen == ["half"]


def test_links_into_the_api_lead_here(client: Anthropic) -> None:
    """Such as the one to a batch's results, which other SDKs follow."""
    found = httpx2.get(f"{str(client.base_url).rstrip('/')}/v1/b?n=1").json()
    assert found["results_url"] == f"{str(client.base_url).rstrip('/')}/v1/x"


def test_the_command_prints_its_url_and_stops_when_interrupted() -> None:
    """Chapter 00, for a client that is none of ours."""
    command = [sys.executable, "-m", "patterns.course.replay", "00_start_here", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        answer = httpx2.post(f"{url}/v1/messages", json=ASK)
        server.send_signal(signal.SIGINT)
    assert (answer.status_code, server.returncode) == (404, 0)


def test_a_taken_port_is_said_in_a_sentence() -> None:
    """With all chapters served, for once."""
    with listen() as taken:
        taken.listen()
        with pytest.raises(SystemExit, match=r"port \d+ cannot be used"):
            runner.main(["serve", "--port", str(taken.getsockname()[1])])


def test_the_command_serves_in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until it is interrupted."""

    class Interrupted:
        def run(self, sockets: list[Any]) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("patterns.fake_api.wire.server.server_of", lambda api: Interrupted())
    assert runner.main(["serve", "00"]) == 0
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
