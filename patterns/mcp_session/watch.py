"""Following resources and tools: a cue says that something changed, reading again says what.

A cue carries no value and none is repeated after a lost connection, so the watcher subscribes
first, then reads, and compares with what it saw last: nothing is missed and nothing told twice.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from mcp import Client, MCPError
from mcp.client.subscriptions import Subscription, SubscriptionLost
from mcp.types import METHOD_NOT_FOUND, EmptyResult, SubscribeRequest, SubscribeRequestParams
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from patterns.mcp_session.connection import Connection
from patterns.mcp_session.errors import ServerUnavailable

if TYPE_CHECKING:
    from patterns.mcp_session.session import Session

OnChange = Callable[[str, Any], Awaitable[Any] | Any]
"""Called with what is watched and what it is now."""

NextCue = Callable[[], Awaitable[None]]


async def watch(
    session: "Session",
    reads: Mapping[str, Callable[[], Awaitable[Any]]],
    on_change: OnChange,
    wanted: Mapping[str, Any],
    recheck: float,
) -> None:
    """Read everything now and after each cue, and tell what is new; see `Session.watch`.

    `wanted` is the filter of `mcp.Client.listen`.
    """
    seen: dict[str, Any] = {}
    failures = 0
    while True:
        try:
            async with _subscribed(session, wanted) as next_cue:
                while True:
                    await _tell_changes(reads, seen, on_change)
                    failures = 0
                    await _wait(next_cue, recheck)
        except (ServerUnavailable, SubscriptionLost) as error:
            failures += 1
            if failures < session.retry.attempts:
                failure = error
            elif isinstance(error, ServerUnavailable):
                raise
            else:
                raise ServerUnavailable(session.name, str(error)) from error
        await session.pause(failures, failure)


async def _tell_changes(
    reads: Mapping[str, Callable[[], Awaitable[Any]]], seen: dict[str, Any], on_change: OnChange
) -> None:
    for what, read in reads.items():
        now = await read()
        contents = getattr(now, "contents", now)  # of a resource; what else is told may vary
        if what not in seen or seen[what] != contents:
            seen[what] = contents
            told = on_change(what, now)
            if inspect.isawaitable(told):
                await told


async def _wait(next_cue: NextCue, recheck: float) -> None:
    try:
        async with asyncio.timeout(recheck):
            await next_cue()
    except TimeoutError:
        return  # no cue: read again anyway


@asynccontextmanager
async def _subscribed(session: "Session", wanted: Mapping[str, Any]) -> AsyncIterator[NextCue]:
    """Subscribe on the current connection, in whichever way its protocol era has."""
    connection = await session.connection()
    modern = connection.client.protocol_version in MODERN_PROTOCOL_VERSIONS
    async with AsyncExitStack() as stack:
        events = await _listening(session, connection, wanted, stack) if modern else None
        if events is not None:
            next_cue: NextCue = partial(_next_event, events)
        else:
            cue = asyncio.Event()
            connection.cues.add(cue)
            stack.callback(connection.cues.discard, cue)
            for uri in () if modern else wanted.get("resource_subscriptions", ()):
                await session.request(partial(_subscribe, uri), what=f"subscribe to {uri}")
            next_cue = partial(_next_cue, connection, cue)
        yield next_cue


async def _listening(
    session: "Session", connection: Connection, wanted: Mapping[str, Any], stack: AsyncExitStack
) -> Subscription | None:
    """The 2026 way, a stream of events; None if the server has none."""
    try:
        async with asyncio.timeout(session.timeout):
            return await stack.enter_async_context(connection.client.listen(**wanted))
    except TimeoutError:
        raise SubscriptionLost("the server did not confirm the subscription") from None
    except MCPError as error:
        if error.code == METHOD_NOT_FOUND:
            return None
        raise SubscriptionLost(error.message) from error


async def _next_event(events: Subscription) -> None:
    async for _ in events:
        return
    raise SubscriptionLost("the server ended the subscription")


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
