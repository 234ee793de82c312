"""Following resources: a cue says that something changed, reading again says what.

A cue carries no value and none is repeated after a lost connection, so the watcher subscribes
first, then reads, and compares with what it saw last: nothing is missed and nothing told twice.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Protocol

from mcp import Client, MCPError
from mcp.client.caching import CacheMode
from mcp.client.subscriptions import Subscription, SubscriptionLost
from mcp.types import (
    METHOD_NOT_FOUND,
    EmptyResult,
    ReadResourceResult,
    SubscribeRequest,
    SubscribeRequestParams,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from patterns.mcp_session.connection import Connection
from patterns.mcp_session.errors import ServerUnavailable
from patterns.mcp_session.retry import RetryPolicy

OnChange = Callable[[str, ReadResourceResult], Awaitable[Any] | Any]
"""Called with a URI and what it holds now."""

NextCue = Callable[[], Awaitable[None]]


class Watched(Protocol):
    """What a watcher needs of a session."""

    name: str
    retry: RetryPolicy
    timeout: float

    async def connection(self) -> Connection: ...

    async def read_resource(self, uri: str, *, cache_mode: CacheMode) -> ReadResourceResult: ...

    async def request(self, send: Callable[[Client], Awaitable[None]], *, what: str) -> None: ...

    async def pause(self, failures: int, error: BaseException | None) -> None: ...


async def watch(
    session: Watched, uris: Sequence[str], on_change: OnChange, *, recheck: float
) -> None:
    """See `ToolSession.watch`."""
    seen: dict[str, ReadResourceResult] = {}
    failures = 0
    while True:
        try:
            async with _subscribed(session, uris) as next_cue:
                while True:
                    await _tell_changes(session, uris, seen, on_change)
                    failures = 0
                    await _wait(next_cue, recheck)
        except (ServerUnavailable, SubscriptionLost) as error:
            failures += 1
            if failures >= session.retry.attempts:
                raise _given_up(session, error) from error
            failure = error
        await session.pause(failures, failure)


def _given_up(session: Watched, error: Exception) -> ServerUnavailable:
    if isinstance(error, ServerUnavailable):
        return error
    return ServerUnavailable(session.name, str(error))


async def _tell_changes(
    session: Watched,
    uris: Sequence[str],
    seen: dict[str, ReadResourceResult],
    on_change: OnChange,
) -> None:
    for uri in uris:
        now = await session.read_resource(uri, cache_mode="refresh")
        if uri not in seen or seen[uri].contents != now.contents:
            seen[uri] = now
            told = on_change(uri, now)
            if inspect.isawaitable(told):
                await told


async def _wait(next_cue: NextCue, recheck: float) -> None:
    try:
        async with asyncio.timeout(recheck):
            await next_cue()
    except TimeoutError:
        return  # no cue: read again anyway


@asynccontextmanager
async def _subscribed(session: Watched, uris: Sequence[str]) -> AsyncIterator[NextCue]:
    """Subscribe on the current connection, in whichever way its protocol era has."""
    connection = await session.connection()
    modern = connection.client.protocol_version in MODERN_PROTOCOL_VERSIONS
    async with (_listening if modern else _cued)(session, connection, uris) as next_cue:
        yield next_cue


@asynccontextmanager
async def _listening(
    session: Watched, connection: Connection, uris: Sequence[str]
) -> AsyncIterator[NextCue]:
    """The 2026 way: a stream of events."""
    async with AsyncExitStack() as stack:
        listening = connection.client.listen(resource_subscriptions=uris)
        try:
            async with asyncio.timeout(session.timeout):
                events = await stack.enter_async_context(listening)
            next_cue: NextCue = partial(_next_event, events)
        except TimeoutError:
            raise SubscriptionLost("the server did not confirm the subscription") from None
        except MCPError as error:
            if error.code != METHOD_NOT_FOUND:
                raise SubscriptionLost(error.message) from error
            next_cue = await stack.enter_async_context(_cued(session, connection, ()))
        yield next_cue


async def _next_event(events: Subscription) -> None:
    async for _ in events:
        return
    raise SubscriptionLost("the server ended the subscription")


@asynccontextmanager
async def _cued(
    session: Watched, connection: Connection, uris: Sequence[str]
) -> AsyncIterator[NextCue]:
    """The 2025 way: one request per resource, then notifications, if the server sends any."""
    cue = asyncio.Event()
    connection.cues.add(cue)
    try:
        for uri in uris:
            await session.request(partial(_subscribe, uri), what=f"subscribe to {uri}")
        yield partial(_next_cue, connection, cue)
    finally:
        connection.cues.discard(cue)


async def _subscribe(uri: str, client: Client) -> None:
    request = SubscribeRequest(params=SubscribeRequestParams(uri=uri))
    try:
        await client.session.send_request(request, EmptyResult)
    except MCPError as error:
        if error.code != METHOD_NOT_FOUND:
            raise


async def _next_cue(connection: Connection, cue: asyncio.Event) -> None:
    await cue.wait()
    cue.clear()
    if connection.retired:
        raise SubscriptionLost("the connection was replaced")
