"""Recording live from a server that nobody here wrote: aimock, in Node."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import nbformat
import pytest
from anthropic import Anthropic

from patterns.core.messages import iter_text, text_of
from patterns.core.models import SONNET
from patterns.course import client as module
from patterns.course import runner
from patterns.course.budget import BudgetSpent
from patterns.course.client import Mode, connect, connection_of
from patterns.course.recordings import Recording

PACKAGE = "@copilotkit/aimock"
INSTALL = f"npm install -g {PACKAGE}@1.43.0"
USAGE = {"input_tokens": 100_000, "output_tokens": 100}  # 20 cents and a bit on Sonnet
ANSWERS: dict[str, Any] = {
    "hello": {"content": "Grüße von anderswo.", "usage": USAGE},
    "again": {"content": "Once more.", "usage": USAGE},
    "weather": {
        "toolCalls": [{"name": "get_weather", "arguments": {"city": "Oslo"}}],
        "usage": USAGE,
    },
    "long": {"content": "word " * 500, "usage": USAGE},
}
TOOL: Any = {"name": "get_weather", "input_schema": {"type": "object"}}


@cache
def entry() -> str | None:
    """The server's entry point: AIMOCK, or npm's global folder."""
    if named := os.environ.get("AIMOCK"):
        return named
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    asked = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
    found = Path(asked.stdout.strip()) / PACKAGE / "dist" / "cli.js"
    return str(found) if found.exists() else None


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's base URL."""
    script = entry()
    if script is None:
        pytest.skip(f"needs node and {PACKAGE}: {INSTALL}")
    folder = tmp_path_factory.mktemp("fixtures")
    fixtures = [{"match": {"userMessage": k}, "response": v} for k, v in ANSWERS.items()]
    (folder / "a.json").write_text(json.dumps({"fixtures": fixtures}), "utf-8")
    command = ["node", script, "--port", "0", "--strict", "--fixtures", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as p:
        assert p.stdout is not None
        listening = next(line for line in p.stdout if "listening on" in line)
        yield listening.split()[-1]
        p.terminate()


@pytest.fixture
def folder(tmp_path: Path, upstream: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty recordings folder; the settings of somebody with a key and a gateway."""
    monkeypatch.setattr(module, "_SHARED", {})
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", upstream)
    (tmp_path / "recordings" / "replies").mkdir(parents=True)
    return tmp_path / "recordings"


OPEN: list[Anthropic] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Sockets are given back."""
    yield
    while OPEN:
        OPEN.pop().close()


def connected(folder: Path, mode: Mode = "record-live") -> Anthropic:
    """A client that shares nothing with an earlier one."""
    module._SHARED.clear()
    OPEN.append(connect("01_x", mode=mode, recordings=folder, max_retries=0))
    return OPEN[-1]


def ask(text: str) -> dict[str, Any]:
    return {"model": SONNET, "max_tokens": 999, "messages": [{"role": "user", "content": text}]}


def session(client: Anthropic) -> list[Any]:
    """Plain, streamed and tool calls."""
    tool = client.messages.create(**ask("weather"), tools=[TOOL])
    with client.messages.stream(**ask("weather"), tools=[TOOL]) as stream:
        streamed_tool = stream.get_final_message()
    blocks = [*tool.content, *streamed_tool.content]
    return [
        text_of(client.messages.create(**ask("hello"))),
        "".join(iter_text(client.messages.create(**ask("hello"), stream=True))),
        *(block.input for block in blocks if block.type == "tool_use"),
    ]


def test_what_a_foreign_server_says_replays_word_for_word(folder: Path) -> None:
    """The file names the upstream, and what it holds is no measurement of a model."""
    said = session(connected(folder))
    assert said == [ANSWERS["hello"]["content"]] * 2 + [{"city": "Oslo"}] * 2
    assert session(connected(folder, "replay")) == said
    source = connection_of(connected(folder, "replay")).source
    assert (source.kind, source.upstream, source.measured) == ("live", "127.0.0.1", False)
    assert "sk-test" not in (folder / "01_x.json").read_text("utf-8")


def test_an_interrupted_answer_leaves_a_readable_file_and_is_never_whole(folder: Path) -> None:
    """Nothing is half-written, and replay breaks where the reader did."""
    client = connected(folder)
    client.messages.create(**ask("hello"))
    with pytest.raises(KeyboardInterrupt), client.messages.create(**ask("long"), stream=True) as s:
        next(iter_text(s))
        raise KeyboardInterrupt
    assert sorted(each.name for each in folder.iterdir()) == ["01_x.json", "replies"]
    replaying = connected(folder, "replay")
    assert text_of(replaying.messages.create(**ask("hello"))) == ANSWERS["hello"]["content"]
    with pytest.raises(httpx2.RemoteProtocolError):
        list(iter_text(replaying.messages.create(**ask("long"), stream=True)))


@contextmanager
def forward_proxy(upstream: str) -> Iterator[tuple[str, list[str]]]:
    """A proxy that takes every host to the upstream; the addresses that it was asked for."""
    asked: list[str] = []

    class Forward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            body = self.rfile.read(int(self.headers["content-length"]))
            keep = ("content-type", "authorization", "anthropic-version")
            headers = {name: self.headers[name] for name in keep}
            url = upstream + httpx2.URL(self.path).raw_path.decode()
            answer = httpx2.post(url, content=body, headers=headers, trust_env=False)
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers["content-type"])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_recording_through_a_proxy(
    folder: Path, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees every request; the file names who was asked, not who passed it on."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://api.example.test")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with forward_proxy(upstream) as (address, asked):
        monkeypatch.setenv("HTTP_PROXY", address)
        said = session(connected(folder))
    assert asked == ["http://api.example.test/v1/messages"] * 4
    assert session(connected(folder, "replay")) == said
    assert Recording.load(folder / "01_x.json").source.upstream == "api.example.test"


def test_a_budget_of_nothing_sends_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request says so."""
    monkeypatch.setenv("PATTERNS_BUDGET_USD", "0")
    with pytest.raises(BudgetSpent, match=r"\$0.0000 of a budget of \$0.00"):
        connected(folder).messages.create(**ask("hello"))
    assert not (folder / "01_x.json").exists()


CHAPTER = """\
from patterns.course.client import connect
client = connect("01_x")
for question in ("hello", "again", "hello"):
    answer = client.messages.create(model="claude-sonnet-5-5", max_tokens=999,
        messages=[{"role": "user", "content": question}])
    print(answer.content[0].text)"""


def test_a_chapter_whose_budget_ends_is_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is replaced, two paid answers stay, and the next run pays for the third alone."""
    book: Any = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    book.cells = [nbformat.v4.new_code_cell(CHAPTER)]  # type: ignore[no-untyped-call]
    (folder.parent / "01_x.ipynb").write_text(json.dumps(book), "utf-8")
    monkeypatch.setattr(runner, "NOTEBOOKS", folder.parent)
    monkeypatch.setenv("PATTERNS_BUDGET_USD", "0.25")
    assert runner.main(["record", "01_x", "--live"]) == 1
    out = capsys.readouterr().out
    assert "BudgetSpent: live calls have cost $0.4020 of a budget of $0.25" in out
    assert "2 answers are kept in draft/01_x.json" in out
    assert not (folder / "01_x.json").exists()
    assert runner.main(["record", "01_x", "--live"]) == 0
    assert "going on from 2 answers" in capsys.readouterr().out
    stored = nbformat.read(folder.parent / "01_x.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    said = [ANSWERS[each]["content"] for each in ("hello", "again", "hello")]
    assert stored.cells[0].outputs[0].text.splitlines() == said
    assert len(Recording.load(folder / "01_x.json").exchanges) == 3
