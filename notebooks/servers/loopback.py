"""A server of this process behind a real loopback port, as long as somebody is connected.

For lessons and tests, which reach their own servers over real HTTP.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx2
import uvicorn
from mcp.client.sse import sse_client
from mcp.server import MCPServer

from patterns.mcp_session.connect import Streams, http_server
from patterns.mcp_session.http import Token


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: interrupting a notebook cell stays the kernel's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(server: MCPServer, *, sse: bool = False) -> AsyncIterator[str]:
    """Serve on a free loopback port for the length of the block; yields the URL."""
    # IPPROTO_TCP by name: asyncio turns Nagle's delay off only where it sees it.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        app = server.sse_app() if sse else server.streamable_http_app()
        config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
        process = QuietServer(config)
        task = asyncio.create_task(process.serve(sockets=[listener]))
        try:
            port = listener.getsockname()[1]
            yield f"http://127.0.0.1:{port}{'/sse' if sse else '/mcp'}"
        finally:
            process.should_exit = True
            await task


@dataclass(frozen=True)
class LoopbackServer:
    """A server of this process, reached through a real loopback port while it is connected."""

    server: MCPServer
    token: Token | None = field(default=None, repr=False)
    sse: bool = False

    @property
    def name(self) -> str:
        """How errors call it."""
        return self.server.name

    @asynccontextmanager
    async def __call__(self) -> Streams:
        async with serving(self.server, sse=self.sse) as url:
            if self.sse:
                reach = sse_client(url, httpx_client_factory=direct_client)
            else:
                reach = http_server(url, token=self.token)()
            async with reach as streams:
                yield streams


def direct_client(
    headers: dict[str, str] | None = None,
    timeout: httpx2.Timeout | None = None,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    """What the older transport asks a server of this process with: no proxy is in between."""
    transport = httpx2.AsyncHTTPTransport()
    return httpx2.AsyncClient(transport=transport, headers=headers, timeout=timeout, auth=auth)


def serve_http(
    server: MCPServer, *, token: Token | None = None, sse: bool = False
) -> LoopbackServer:
    """Serve `server` over HTTP on a free loopback port for as long as a session is connected.

    Args:
        server: Your own server; its state outlives the connection.
        token: Bearer token to send.
        sse: Use the superseded HTTP+SSE transport, for clients and servers from 2024.
    """
    return LoopbackServer(server, token, sse)
