"""An MCP server written out by hand: the protocol is JSON lines, or JSON over POST.

It needs the standard library only, starts in a blink, speaks both protocol eras, and misbehaves on
request. That makes it the server to kill, and the one to see what a session has to put up with.

    python servers/bare.py                      talk over stdin and stdout
    python servers/bare.py --http 8765          Streamable HTTP on http://127.0.0.1:8765/mcp
    python servers/bare.py --silent             never answer
    python servers/bare.py --die "no licence"   write to stderr and leave
"""

import argparse
import json
import os
import queue
import sys
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]
Send = Callable[[Json], None]

INFO = {"name": "bare", "version": "1"}
URI = "note://board"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CAPABILITIES = {"tools": {}, "resources": {"subscribe": True}}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS: dict[str, Json | None] = {
    "echo": None,
    "count": None,
    "write": None,
    "pid": None,
    "leave": None,
    "hang": None,
    "noise": None,
    "liar": NUMBER,
    "misshapen": None,
    "huge": None,
}


class Board:
    """The state of the server: a note that changes, and those who want to know."""

    def __init__(self) -> None:
        self.note = "empty"
        self.counted = 0
        self.session = os.urandom(8).hex()
        self.subscribers: dict[Any, Send] = {}

    def write(self, note: str) -> None:
        self.note = note
        for subscription, send in list(self.subscribers.items()):
            meta = {SUBSCRIPTION: subscription}
            params: Json = {"uri": URI} if subscription is None else {"uri": URI, "_meta": meta}
            send(_notification("notifications/resources/updated", params))

    def answer(self, message: Json, send: Send) -> Json | None:
        """The response to a request; None for notifications and for streams that stay open."""
        if "id" not in message or "method" not in message:
            return None
        params = message.get("params") or {}
        try:
            result = self._result(message["method"], params, message["id"], send)
        except LookupError as missing:
            error = {"code": -32601, "message": f"unknown: {missing}"}
            return {"jsonrpc": "2.0", "id": message["id"], "error": error}
        if result is None:
            return None
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    def _result(self, method: str, params: Json, request_id: Any, send: Send) -> Json | None:
        whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        match method:
            case "initialize":
                version = "2025-11-25"
                return {
                    "protocolVersion": version,
                    "capabilities": CAPABILITIES,
                    "serverInfo": INFO,
                }
            case "server/discover":
                return {**whole, "supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES}
            case "ping":
                return {}
            case "tools/list":
                return {**whole, "tools": [_tool(name) for name in TOOLS]}
            case "tools/call":
                return self._called(params["name"], params.get("arguments") or {})
            case "resources/read":
                return {**whole, "contents": [{"uri": URI, "text": self.note}]}
            case "resources/subscribe":
                self.subscribers[None] = send
                return {}
            case "subscriptions/listen":
                self.subscribers[request_id] = send
                meta = {SUBSCRIPTION: request_id}
                honoured = {"notifications": params["notifications"], "_meta": meta}
                send(_notification("notifications/subscriptions/acknowledged", honoured))
                return None
        raise LookupError(method)

    def _called(self, name: str, arguments: Json) -> Json | None:
        match name:
            case "echo":
                return _text(str(arguments.get("text", "")))
            case "count":
                self.counted += 1
                return _text(str(self.counted))
            case "write":
                self.write(str(arguments["text"]))
                return _text("written")
            case "pid":
                return _text(str(os.getpid()))
            case "leave":
                os._exit(1)
            case "hang":
                return None
            case "noise":
                sys.stdout.write("this is not JSON\n")
                return _text("after the noise")
            case "liar":
                return {**_text("n"), "structuredContent": {"n": "not a number"}}
            case "misshapen":
                return {"content": "not a list", "resultType": "complete"}
            case "huge":
                return _text("x" * int(arguments["bytes"]))
        raise LookupError(name)


def _notification(method: str, params: Json) -> Json:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def _text(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}], "resultType": "complete"}


def _tool(name: str) -> Json:
    tool: Json = {"name": name, "inputSchema": {"type": "object"}}
    schema = TOOLS[name]
    return tool if schema is None else {**tool, "outputSchema": schema}


def talk(board: Board) -> None:
    """Serve one client over stdin and stdout."""

    def send(message: Json) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    for line in sys.stdin:
        answer = board.answer(json.loads(line), send)
        if answer is not None:
            send(answer)


def handler_for(board: Board) -> type[BaseHTTPRequestHandler]:
    """The HTTP door: one JSON answer per POST, or a stream for `subscriptions/listen`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("mcp-session-id", board.session) != board.session:
                return self._reply(404, b"")
            message = json.loads(body)
            if message.get("method") == "subscriptions/listen":
                return self._stream(message)
            answer = board.answer(message, lambda _: None)
            if answer is not None:
                return self._reply(200, json.dumps(answer).encode())
            if "id" in message:
                return time.sleep(60)  # the tool that hangs
            return self._reply(202, b"")

        def do_GET(self) -> None:
            self._reply(405, b"")

        do_DELETE = do_GET  # noqa: N815

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if not self.headers.get("mcp-method"):
                self.send_header("mcp-session-id", board.session)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, message: Json) -> None:
            outbox: queue.Queue[Json] = queue.Queue()
            board.answer(message, outbox.put)
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            while True:
                data = json.dumps(outbox.get())
                self.wfile.write(f"event: message\ndata: {data}\n\n".encode())
                self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    return Handler


def main(argv: Sequence[str] | None = None) -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(prog="servers/bare.py")
    parser.add_argument("--http", type=int, metavar="PORT")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--die", metavar="TEXT")
    options = parser.parse_args(argv)
    if options.die:
        sys.exit(options.die)
    if options.silent:
        sys.stdin.read()
        return None
    if options.http is None:
        return talk(Board())
    with ThreadingHTTPServer(("127.0.0.1", options.http), handler_for(Board())) as server:
        server.daemon_threads = True
        return server.serve_forever()


if __name__ == "__main__":
    main()
