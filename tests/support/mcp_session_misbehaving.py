"""A server that does its work and then misbehaves, in both eras: over pipes, HTTP and HTTP+SSE.

    python mcp_session_misbehaving.py FAULT FILE     as a child; executions are counted in FILE

Standard library only. The tool `sell` is executed, counted, and then answered with the fault.
"""

import json
import os
import queue
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]
WHOLE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
STATUSES = (400, 401, 403, 404, 408, 409, 413, 425, 429, 500, 502, 503, 504)
HTTP_FAULTS = (
    *(f"status {status}" for status in STATUSES),
    "202",
    "html",
    "half a JSON",
    "redirect",
    "redirect to itself",
    "disconnect",
    "end of stream",
    "-32000",
    "-32001",
    "-32603",
    "breaks its schema",
    "hang",
)
PIPE_FAULTS = ("die", "-32000", "-32001", "-32603", "breaks its schema", "hang", "garbage")
SSE_FAULTS = ("status 503", "-32000", "breaks its schema", "hang")


def answer(message: Json, hints: Json, tools: list[Json] | None = None) -> Json:
    """The result of every request but a call."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = {"name": "sell", "inputSchema": {"type": "object"}, "outputSchema": schema}
    info = {"name": "misbehaving", "version": "1"}
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        case "server/discover":
            return {
                **WHOLE,
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "serverInfo": info,
            }
        case "tools/list":
            return {**WHOLE, "tools": tools or [{**tool, "annotations": hints}]}
    return {}


def spoilt(fault: str) -> Json:
    """The JSON-RPC part of an answer to the call."""
    if fault.startswith("-32"):
        return {"error": {"code": int(fault), "message": "sold, but the till is stuck"}}
    number: Any = "not a number" if fault == "breaks its schema" else 1
    content = [{"type": "text", "text": "sold"}]
    return {
        "result": {
            "content": content,
            "structuredContent": {"n": number},
            "resultType": "complete",
        }
    }


@dataclass
class Misbehaving:
    """What one HTTP server saw."""

    fault: str
    heal_after: int = 10**6
    retry_after: str = ""
    hints: Json = field(default_factory=dict)
    tools: list[Json] | None = None
    executed: int = 0
    called: list[Json] = field(default_factory=list)
    handshakes: int = 0
    listings: int = 0
    denied: bool = False
    refuses: int = 0
    redirects_to: str = "http://elsewhere.example/mcp?key=s3cret"
    moved: bool = False
    handshake: Json | None = None
    ping: Json = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    url: str = ""

    def call(self) -> str:
        """Execute, and say how to answer."""
        self.executed += 1
        return self.fault if self.executed <= self.heal_after else "none"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    state: Misbehaving
    streams: dict[str, "queue.Queue[Json]"]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def reply(self, status: int, body: bytes = b"", kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if status >= 400 and self.state.retry_after:
            self.send_header("retry-after", self.state.retry_after)
        if not self.headers.get("mcp-method") and status < 400:
            self.send_header("mcp-session-id", "s1")
        if status == 307:
            self.send_header("location", self.state.redirects_to)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path != "/sse":
            return self.reply(405)
        self.streams["sse"] = queue.Queue()
        outbox = self.streams["sse"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"event: endpoint\ndata: /messages?session_id=s1\n\n")
        while not select.select([self.connection], [], [], 0)[0]:  # the client is still there
            with suppress(queue.Empty):
                if not (message := outbox.get(timeout=0.02)):
                    break
                self.wfile.write(f"event: message\ndata: {json.dumps(message)}\n\n".encode())
        return None

    def do_DELETE(self) -> None:
        self.reply(200)

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.state.moved and not self.path.endswith("/"):
            self.state.redirects_to = f"{self.path}/"
            return self.reply(307)
        self.state.tokens.append(self.headers.get("authorization", ""))
        if self.state.denied or self.state.refuses:
            return self.reply(self.state.refuses or 401)
        if "id" not in message:
            return self.reply(202)
        self.state.handshakes += message["method"] in ("initialize", "server/discover")
        self.state.listings += message["method"] == "tools/list"
        fault = "none"
        if message["method"] == "tools/call":
            self.state.called.append(message["params"])
            fault = self.state.call()
        if self.path.startswith("/messages"):
            return self.over_sse(message, fault)
        method = message["method"]
        body = spoilt(fault) if method == "tools/call" else None
        if method in ("initialize", "server/discover"):
            body = self.state.handshake
        if method == "ping":
            body = {"result": self.state.ping}
        body = body or {"result": answer(message, self.state.hints, self.state.tools)}
        return self.over_http({"jsonrpc": "2.0", "id": message["id"], **body}, fault)

    def over_sse(self, message: Json, fault: str) -> None:
        if fault.startswith("status"):
            return self.reply(int(fault.split()[1]))
        self.reply(202)
        if fault != "hang":
            called = message["method"] == "tools/call"
            body = spoilt(fault) if called else {"result": answer(message, self.state.hints)}
            self.streams["sse"].put({"jsonrpc": "2.0", "id": message["id"], **body})
        return None

    def over_http(self, message: Json, fault: str) -> None:
        whole = json.dumps(message).encode()
        if fault.startswith("status"):
            return self.reply(int(fault.split()[1]), b"upstream connect error", "text/plain")
        match fault:
            case "202":
                self.reply(202)
            case "html":
                self.reply(200, b"<h1>Bad gateway</h1>", "text/html")
            case "half a JSON":
                self.reply(200, whole[:20])
            case "redirect":
                self.reply(307)
            case "redirect to itself":
                self.state.redirects_to = self.path
                self.reply(307)
            case "disconnect":
                self.close_connection = True
            case "end of stream":
                self.reply(200, b": nothing\n\n", "text/event-stream")
            case "hang":
                select.select([self.connection], [], [], 30)  # until the client leaves
            case _:
                self.reply(200, whole)
        return None


class Quiet(ThreadingHTTPServer):
    """Clients that leave in the middle are no news here."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@contextmanager
def misbehaving(fault: str, *, sse: bool = False, **options: Any) -> Iterator[Misbehaving]:
    """An HTTP server in a thread."""
    state = Misbehaving(fault, **options)
    streams: dict[str, queue.Queue[Json]] = {}
    handler = type("Bound", (Handler,), {"state": state, "streams": streams})
    with Quiet(("127.0.0.1", 0), handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/{'sse' if sse else 'mcp'}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            for stream in streams.values():
                stream.put({})
            server.shutdown()


def child(fault: str, file: Path, send: Callable[[str], Any]) -> None:
    """Serve one client over pipes."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        body: Json = {"result": answer(message, {})}
        if message["method"] == "tools/call":
            file.write_text(str(int(file.read_text() or 0) + 1))
            if fault == "die":
                os._exit(3)
            if fault == "hang":
                continue
            if fault == "garbage":
                send("sold! {\udcff")
            body = spoilt(fault)
        send(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}))


if __name__ == "__main__":
    child(
        sys.argv[1],
        Path(sys.argv[2]),
        lambda text: os.write(1, f"{text}\n".encode(errors="surrogateescape")),
    )
