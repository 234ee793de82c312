"""Ways to reach a server: each function returns a `Connect`, called anew for every connection."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

import httpx2
from mcp import StdioServerParameters
from mcp.client import Transport
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer, Server

from patterns.mcp_session.http import CurrentToken, ExplainingClient, Token, direct
from patterns.mcp_session.naming import url_name

Target = MCPServer | Server[Any] | str | StdioServerParameters | Transport
"""What a bare `mcp.Client` accepts."""

Connect = Target | Callable[[], Target]
"""Anything `ToolSession` can connect to, again and again; a `Transport` only through a function."""

Streams = AsyncGenerator[Any, None]
STDERR_TAIL = 2_000
STDERR_CHUNK = 65_536
MAX_EVENT_BYTES = 16 * 1024 * 1024


def way_to(connect: Connect) -> Connect:
    """A URL or a command as what connects to it; everything else as it is."""
    if isinstance(connect, str):
        return http_server(connect)
    if isinstance(connect, StdioServerParameters):
        return StdioServer(connect, Path(connect.command).name)
    return connect


def target_of(connect: Connect) -> tuple[Any, Connect]:
    """What one more connection enters, and what knows its name, its URL and its last words."""
    if isinstance(connect, MCPServer | Server) or not callable(connect):
        return connect, connect
    target = connect()
    if isinstance(target, str | StdioServerParameters):
        return target_of(way_to(target))
    return target, connect


def url_of(connect: Connect) -> str | None:
    """The endpoint of an HTTP server, else None."""
    return getattr(connect, "url", None)


def name_of(connect: Connect) -> str:
    """How error messages call the server."""
    return repr(getattr(way_to(connect), "name", "the server"))


def stderr_of(connect: Connect) -> str:
    """The last lines that a `stdio_server` wrote to its stderr; empty for every other target."""
    return str(getattr(connect, "stderr", ""))


@dataclass
class StdioServer:
    """A child process; `stderr` is the end of what its current or last run wrote there."""

    parameters: StdioServerParameters = field(repr=False)
    name: str
    _log: "_Tail | None" = field(default=None, init=False, repr=False)

    @property
    def stderr(self) -> str:
        """The last lines it wrote, while it runs and after."""
        return self._log.text if self._log else ""

    @asynccontextmanager
    async def __call__(self) -> Streams:
        self._log = _Tail()
        with self._log.collecting() as errlog:
            transport = stdio_client(self.parameters, errlog=errlog)
            async with transport as streams:
                errlog.close()  # the child has its own end now
                try:
                    yield streams
                except BaseException:
                    _kill(transport)
                    raise


class _Tail:
    """The end of what a child writes to stderr, in bounded memory and no file."""

    def __init__(self) -> None:
        self._bytes = b""

    @property
    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace").strip()

    @contextmanager
    def collecting(self) -> Iterator[TextIO]:
        """Yields the writing end of a pipe that the event loop reads until the block is left."""
        if (
            sys.platform == "win32"
        ):  # pragma: no cover - its event loop cannot read a pipe: stderr is dropped
            with Path(os.devnull).open("w") as nothing:
                yield nothing
            return
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        os.set_blocking(read, False)
        with os.fdopen(read, "rb", buffering=0) as source, os.fdopen(write, "w") as errlog:
            loop.add_reader(read, self._take, source)
            try:
                yield errlog
            finally:
                self._take(source)
                loop.remove_reader(read)

    def _take(self, source: IO[bytes]) -> None:
        chunk = source.read(STDERR_CHUNK)
        if chunk == b"":  # every writer has gone
            asyncio.get_running_loop().remove_reader(source.fileno())
        self._bytes = (self._bytes + (chunk or b""))[-STDERR_TAIL:]


def _kill(transport: Any) -> None:
    """End the child of a session that was interrupted at once; a normal end lets it finish.

    `stdio_client` has no door to its process: without the local variable the child is asked
    politely, which takes up to four seconds.
    """
    process = transport.gen.ag_frame.f_locals.get("process") if transport.gen.ag_frame else None
    if process is not None and process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()


def stdio_server(
    command: str,
    *args: str,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    name: str | None = None,
) -> StdioServer:
    """Run `command` as a child process and talk over its pipes.

    Args:
        command: Program to start; it dies with the connection.
        args: Its arguments.
        env: Variables to add to the few that are inherited (PATH, HOME, ...; no keys).
        cwd: Its working directory.
        name: How errors call it; the program alone if None, because arguments may hold keys.
    """
    parameters = StdioServerParameters(
        command=command,
        args=list(args),
        env=dict(env) if env else None,
        cwd=cwd,
        encoding_error_handler="replace",  # "strict" would end the stream at the first bad byte
    )
    return StdioServer(parameters, name or Path(command).name)


@dataclass(frozen=True)
class HTTPServer:
    """A server at a URL, over Streamable HTTP; `http_server(url, ...)` makes one.

    Args:
        url: The endpoint, usually ending in `/mcp`.
        token: Bearer token to send, or a plain or async function that is asked for it before each
            request, so that it may rotate; never shown in an error or a repr.
        headers: Further headers for every request.
        auth: An OAuth flow instead of a token, such as `mcp.client.auth.OAuthClientProvider`.
        read_timeout: Seconds of silence after which an open stream counts as broken.
        max_event_bytes: Largest single answer; None for no limit.
    """

    url: str = field(repr=False)
    _: KW_ONLY
    token: Token | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: httpx2.Auth | None = field(default=None, repr=False)
    read_timeout: float = 300.0
    max_event_bytes: int | None = MAX_EVENT_BYTES

    @property
    def name(self) -> str:
        """How errors call it."""
        return url_name(self.url)

    @asynccontextmanager
    async def __call__(self) -> Streams:
        client = ExplainingClient(
            headers=dict(self.headers),
            auth=self.auth if self.token is None else CurrentToken(self.token),
            timeout=httpx2.Timeout(30.0, read=self.read_timeout),
            transport=direct(self.url),
        )
        async with (
            client as http,
            streamable_http_client(
                self.url, http_client=http, max_sse_event_size=self.max_event_bytes
            ) as streams,
        ):
            yield streams


http_server = HTTPServer
