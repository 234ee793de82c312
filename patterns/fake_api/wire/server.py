"""The fake API on a loopback socket, for clients in any language.

    with serve(api) as url:
        Anthropic(base_url=url, api_key="any")

It listens on 127.0.0.1 only; there is no way to say otherwise. Needs the extra `fake-api`
(starlette and uvicorn).
"""

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from patterns.fake_api.wire.http import Answer, Cut, Request, pieces, query_of
from patterns.fake_api.wire.routes import most_bytes
from patterns.fake_api.wire.transport import Handler

HOST: Final = "127.0.0.1"
CLOSE: Final = "fake_api_close"
"""Where the server leaves, in the scope's state, the function that closes the connection."""


def app_of(api: Handler) -> Starlette:
    """The fake API as an ASGI application."""
    app = Starlette()
    app.router.default = _Endpoint(api)
    return app


class _Endpoint:
    """Answers every request, whatever its path."""

    def __init__(self, api: Handler) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HTTPRequest(scope, receive)
        try:
            body = await _read(request)
        except ClientDisconnect:
            return
        answer = self._api.handle(_incoming(request, body))
        await self._api.clock.asleep(answer.wait)
        if answer.cut is Cut.HANG:
            await _until_gone(receive)
        elif answer.cut is Cut.CLOSE:
            scope["state"][CLOSE]()
        else:
            await self._play(answer, receive, send)

    async def _play(self, answer: Answer, receive: Receive, send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        if isinstance(answer.body, bytes):
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if isinstance(answer.body, bytes):
            await send({"type": "http.response.body", "body": answer.body})
            return
        async with aclosing(self._data(answer, receive)) as pieces:
            async for data in pieces:
                if data is None:
                    return  # without its end the server closes the connection
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _data(self, answer: Answer, receive: Receive) -> AsyncGenerator[bytes | None, None]:
        """The pieces of a stream in time; None where the connection is to be closed."""
        for step in pieces(answer.body, answer.piece):
            if isinstance(step, bytes):
                yield step
            elif step is Cut.CLOSE:
                yield None
            elif step is Cut.HANG:
                await _until_gone(receive)
                yield None
            else:
                await self._api.clock.asleep(float(step))


async def _read(request: HTTPRequest) -> bytes:
    """The body; of one that is too large as much as it takes to know so."""
    most, size, parts = most_bytes(request.url.path), 0, []
    async for part in request.stream():
        if size <= most:
            parts.append(part)
        size += len(part)
    return b"".join(parts)


def _incoming(request: HTTPRequest, body: bytes) -> Request:
    headers = {name.lower(): value for name, value in request.headers.items()}
    host = headers.get("host", HOST)
    return Request(
        request.method,
        request.scope["path"],
        query_of(request.query_params.multi_items()),
        headers,
        body,
        f"http://{host}",
    )


async def _until_gone(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    await receive()  # the body has been read: what comes next is the end of the connection


class _Protocol(H11Protocol):
    """Lets the application close the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, CLOSE: transport.close}


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def listen(port: int = 0) -> socket.socket:
    """A socket on the loopback interface; 0 takes any free port.

    Raises:
        OSError: the port is taken.
        OverflowError: there is no such port.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL for clients."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


def server_of(api: Handler) -> _Server:
    """A server, not yet running."""
    options: dict[str, Any] = {"lifespan": "off", "ws": "none", "http": _Protocol}
    quiet: dict[str, Any] = {"log_level": "critical", "access_log": False, "server_header": False}
    return _Server(uvicorn.Config(app_of(api), **options, **quiet, timeout_graceful_shutdown=1))


@contextmanager
def serve(api: Handler, *, port: int = 0) -> Iterator[str]:
    """Run the server in a thread of its own; gives the base URL, and stops at the end."""
    listener = listen(port)
    server = server_of(api)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        server.ready.wait()
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
