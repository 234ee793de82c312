"""One connection, entered and left by a task of its own.

An `mcp.Client` has to be closed by the task that opened it, and a refused HTTP request cancels that
task. So nobody's cell or request handler may be that task: an owner is started for each connection,
and everyone else only talks to its client.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Self

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client import CacheConfig, Transport
from mcp.client.session import IncomingMessage
from mcp.server import MCPServer, Server
from mcp.types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    EmptyResult,
    JSONRPCResponse,
    PingRequest,
    ResourceUpdatedNotification,
    ToolListChangedNotification,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from patterns.mcp_session.connect import Connect, name_of, stderr_of, target_of, url_of
from patterns.mcp_session.errors import (
    NoAnswer,
    ServerUnavailable,
    access_denied,
    leaves,
    no_answer,
)
from patterns.mcp_session.listings import mend_listing

CLOSE_TIMEOUT = 10.0
PING_TIMEOUT = 10.0
"""Seconds for a sign of life after a call that had no answer; a busy server may need some."""
NETWORK = (OSError, httpx2.HTTPError, anyio.BrokenResourceError, anyio.ClosedResourceError)
NO_HANDSHAKE = (MCPError, RuntimeError, ValidationError)
"""What mcp raises where an answer to the handshake is none."""
UNREACHABLE = frozenset({CONNECTION_CLOSED, INTERNAL_ERROR, REQUEST_TIMEOUT})


class Connection:
    """A client and the task that owns it. `calls` counts the requests in flight."""

    def __init__(self, number: int, connect: Connect, options: Mapping[str, Any]) -> None:
        self.number = number
        self.calls = 0
        self.retired = False
        self.cues: set[asyncio.Event] = set()
        self._user_handler = options.get("message_handler")
        self._failure: BaseException | None = None
        self._opened = asyncio.Event()
        self._leave = asyncio.Event()
        self._ping: asyncio.Task[None] | None = None
        target, self._connect = target_of(connect)
        self._in_process = isinstance(target, MCPServer | Server)
        if not isinstance(target, MCPServer | Server):
            target = _observed(target, self._receive, self.retire)
        cache = _with_target(options.get("cache", CacheConfig()), self._connect)
        ours = {"message_handler": self._on_message, "cache": cache}
        self.client = Client(target, **{**options, **ours})
        self.owner = asyncio.create_task(self._own(), name=f"mcp owner {number}")

    async def _own(self) -> None:
        try:
            async with self.client:
                self._opened.set()
                await self._leave.wait()
        except (Exception, asyncio.CancelledError, BaseExceptionGroup) as error:
            self._failure = error
        finally:
            self.retire()
            self._opened.set()
            if self._ping is not None:
                self._ping.cancel()

    def suspect(self, seconds: float) -> None:
        """Retire this connection unless the server still answers a ping.

        A slow tool is no reason to end a healthy server; silence to a ping is.
        """
        if self._ping is None and not self.retired:
            self._ping = asyncio.create_task(self._prove_life(max(seconds, PING_TIMEOUT)))

    async def forgotten(self) -> bool:
        """Whether the server says to a ping too that it does not know the session any more.

        Then it has restarted, and the request before was not executed. A proxy that answers 404
        after delivery does not know the ping to be part of the same lie.
        """
        known = await _ping(self.client)
        return known is not None and known.forgotten

    async def _prove_life(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                alive = await _ping(self.client) is None
        except TimeoutError:
            alive = False
        finally:
            self._ping = None
        if not alive:
            self.retire()

    def _receive(self, message: Any) -> None:
        """Look at what arrives, before the client refuses a listing for one bad tool in it."""
        answer = getattr(message, "message", None)
        if isinstance(answer, JSONRPCResponse) and "tools" in answer.result:
            mend_listing(answer.result, self.client.protocol_version)

    async def _on_message(self, message: IncomingMessage) -> None:
        """Wake the watchers of a 2025-era connection, then the caller's own handler."""
        if isinstance(message, ResourceUpdatedNotification | ToolListChangedNotification):
            for cue in self.cues:
                cue.set()
        if self._user_handler is not None:
            await self._user_handler(message)

    async def opened(self, seconds: float) -> None:
        """Wait until the server has answered the handshake, or raise why it did not."""
        try:
            async with asyncio.timeout(seconds):
                await self._opened.wait()
        except BaseException as error:
            # Timed out or cancelled: nobody waits for this handshake any more.
            unavailable = self._unavailable(f"no handshake within {seconds:g} s")
            await self.close()
            if isinstance(error, TimeoutError):
                raise unavailable from None
            raise  # pragma: no cover  # the loop ends during a handshake: a race
        if self.owner.done():
            raise self._why() from self._failure

    def _why(self) -> Exception:
        """The failure of the owner as one typed error."""
        causes = [e for e in leaves(self._failure) if isinstance(e, Exception)]
        cause = causes[0] if causes else ConnectionError("the session was closed")
        if denied := access_denied(name_of(self._connect), cause):
            return denied
        passing = isinstance(cause, NETWORK) or getattr(cause, "code", None) in UNREACHABLE
        if not passing and not isinstance(cause, NO_HANDSHAKE):
            return cause
        known = no_answer(cause)
        return self._unavailable(
            (str(cause).splitlines() or [type(cause).__name__])[0],
            retry_after=known.retry_after if known else getattr(cause, "retry_after", None),
            code=CONNECTION_CLOSED if passing else getattr(cause, "code", INTERNAL_ERROR),
        )

    def _unavailable(self, reason: str, **facts: Any) -> ServerUnavailable:
        server, words = name_of(self._connect), stderr_of(self._connect)
        return ServerUnavailable(server, reason, stderr=words, **facts)

    def retire(self) -> None:
        """Take no more requests, and leave when the last one in flight is done."""
        self.retired = True
        for cue in self.cues:
            cue.set()
        if not self.calls:
            self._leave.set()

    def release(self) -> None:
        """One request less in flight."""
        self.calls -= 1
        if self.retired and not self.calls:
            self._leave.set()

    async def close(self) -> None:
        """Leave now; a handshake, or what holds on after `CLOSE_TIMEOUT` seconds, is cancelled."""
        self._leave.set()
        if self._opened.is_set():
            await asyncio.wait([self.owner], timeout=CLOSE_TIMEOUT)
        # A server of this process gets two seconds of mcp to end: a second cancellation is enough.
        for patience in (0.1, CLOSE_TIMEOUT) if self._in_process else (CLOSE_TIMEOUT,):
            if not self.owner.done():
                self.owner.cancel()
                await asyncio.wait([self.owner], timeout=patience)


async def _ping(client: Client) -> NoAnswer | None:
    """The cheapest request of either protocol era; None if the server said anything to it."""
    try:
        if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            await client.session.send_discover(client.protocol_version)
        else:
            await client.session.send_request(PingRequest(), EmptyResult)
    except (MCPError, RuntimeError, ValidationError) as error:
        return no_answer(error)
    return None


def _with_target(cache: CacheConfig | None, connect: Connect) -> CacheConfig | None:
    """A shared response cache knows a server by its URL, as it does for a bare client."""
    if cache is None or cache.store is None or cache.target_id is not None:
        return cache
    return replace(cache, target_id=url_of(connect))


class _Observed:
    """A read stream that shows each message and its end: a dead server is known at once."""

    def __init__(
        self, stream: Any, on_message: Callable[[Any], None], on_end: Callable[[], None]
    ) -> None:
        self._stream, self._on_message, self._on_end = stream, on_message, on_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> Any:
        return await self._stream.__aexit__(*details)

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for message in self._stream:
                self._on_message(message)
                yield message
        finally:
            self._on_end()


@asynccontextmanager
async def _observed(
    transport: Transport, on_message: Callable[[Any], None], on_end: Callable[[], None]
) -> AsyncIterator[Any]:
    async with transport as (read, write):
        yield _Observed(read, on_message, on_end), write
