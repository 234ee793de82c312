"""Following resources, with servers that send cues, send none, or end the subscription."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import MCPError
from mcp.client import ClientRequestContext
from mcp.server import MCPServer, Server
from mcp.server.mcpserver import Context
from mcp.types import (
    METHOD_NOT_FOUND,
    ElicitRequestParams,
    ElicitResult,
    EmptyResult,
    ReadResourceResult,
    RequestParams,
    SubscriptionsListenResult,
    TextResourceContents,
    ToolAnnotations,
)
from mcp_session_support import ERAS, QUICK, content_text, until
from servers.loopback import serve_http
from servers.shop import Shop, build_shop

from patterns.fake_api import VirtualClock
from patterns.mcp_session import (
    CallTimeout,
    RetryPolicy,
    ServerUnavailable,
    ToolSession,
    declared_safe,
)
from patterns.mcp_session import connection as connection_module

URI = "stock://assam"


@pytest.mark.parametrize("mode", ERAS)
def test_every_change_is_told_once_with_its_new_value(mode: str) -> None:
    """With a cue in the modern era; by reading again in the other, where this server has none."""
    seen: list[int] = []

    async def note(uri: str, now: ReadResourceResult) -> None:
        seen.append(int(content_text(now).split('"grams": ')[1].split(",")[0]))

    async def run() -> None:
        recheck = 60 if mode == "auto" else 0.01
        async with ToolSession(build_shop(), mode=mode) as session:
            watching = asyncio.create_task(session.watch([URI], note, recheck=recheck))
            await until(lambda: seen == [500])
            await session.call_tool("order", {"tea": "assam", "grams": 100})
            await until(lambda: seen == [500, 400])
            await session.call_tool("order", {"tea": "sencha", "grams": 100})
            await asyncio.sleep(0.05)
            watching.cancel()
        assert seen == [500, 400]

    asyncio.run(run())


def test_a_modern_server_without_cues_is_read_again() -> None:
    """`subscriptions=False` switches them off; the recheck is the safety net."""
    seen: list[str] = []
    state = {"note": "one"}
    server = MCPServer("quiet", subscriptions=False, log_level="ERROR")

    @server.resource("note://board")
    def board() -> str:
        return state["note"]

    async def run() -> None:
        async with ToolSession(server) as session:
            watching = asyncio.create_task(
                session.watch(
                    ["note://board"], lambda _, now: seen.append(content_text(now)), recheck=0.01
                )
            )
            await until(lambda: seen == ["one"])
            state["note"] = "two"
            await until(lambda: seen == ["one", "two"])
            watching.cancel()

    asyncio.run(run())


def sell() -> str:
    """Sell."""
    return "sold"


def changing(mode: str) -> MCPServer:
    """A server whose tool `learn` declares `sell` idempotent, and says so in the way of its era."""
    server = MCPServer("changing", log_level="ERROR")
    server.add_tool(sell)

    @server.tool()
    async def learn(ctx: Context) -> str:
        declare(server)
        if mode == "auto":
            await ctx.notify_tools_changed()
        else:
            await ctx.session.send_tool_list_changed()
        return "learnt"

    return server


def declare(server: MCPServer) -> None:
    """Change a hint in silence."""
    server.remove_tool("sell")
    server.add_tool(sell, annotations=ToolAnnotations(idempotent_hint=True))


async def _followed(connect: Any, mode: str, change: Callable[[ToolSession], Any]) -> list[bool]:
    """Whether `sell` may run twice, as a watcher of the tools learns it."""
    seen: list[bool] = []
    may = lambda tools: seen.append(any(map(declared_safe, tools)))  # noqa: E731
    async with ToolSession(connect, mode=mode, retry=QUICK) as session:
        watching = asyncio.create_task(session.watch_tools(may, recheck=60))
        await until(lambda: seen)
        await change(session)
        await until(lambda: len(seen) > 1)
        watching.cancel()
    return seen


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("reach", [lambda server: server, serve_http], ids=["memory", "http"])
def test_a_change_of_the_tools_is_told_live(reach: Callable[[MCPServer], Any], mode: str) -> None:
    """By `list_changed`, in both eras: the new hints are read at once."""
    connect = reach(changing(mode))
    seen = asyncio.run(_followed(connect, mode, lambda session: session.call_tool("learn")))
    assert seen == [False, True]


@pytest.mark.parametrize("mode", ERAS)
def test_after_a_reconnect_the_hints_are_read_again(mode: str) -> None:
    """The server changed while nobody was connected: no cue came, and none is needed."""
    server = changing(mode)

    async def restart(session: ToolSession) -> None:
        declare(server)
        (await session.connection()).retire()

    assert asyncio.run(_followed(server, mode, restart)) == [False, True]


def test_tools_that_are_not_listed_end_the_watch_with_the_servers_words() -> None:
    """A server without tools has nothing to follow."""

    async def run() -> None:
        async with ToolSession(Server("empty")) as session:
            with pytest.raises(MCPError):
                await session.watch_tools(print)

    asyncio.run(run())


Listen = Callable[[Any, Any], Awaitable[SubscriptionsListenResult]]


def _server(listen: Listen, notes: list[str]) -> Server[Any]:
    async def read(context: Any, params: Any) -> ReadResourceResult:
        content = TextResourceContents(uri=params.uri, text=notes.pop(0))
        return ReadResourceResult(contents=[content], ttl_ms=len(notes), cache_scope="private")

    return Server("odd", on_subscriptions_listen=listen, on_read_resource=read)


async def ends_at_once(context: Any, params: Any) -> SubscriptionsListenResult:
    """A subscription that the server closes politely."""
    return SubscriptionsListenResult(_meta={"io.modelcontextprotocol/subscriptionId": "x"})


async def refuses(context: Any, params: Any) -> SubscriptionsListenResult:
    """A subscription that the server does not want."""
    raise MCPError(-32050, "too many watchers")


async def never_confirms(context: Any, params: Any) -> SubscriptionsListenResult:
    """A subscription that stays in the air."""
    await asyncio.Event().wait()
    raise AssertionError


def test_a_subscription_that_ends_is_opened_again() -> None:
    """And the state is read each time."""
    seen: list[str] = []

    async def run() -> None:
        server = _server(ends_at_once, ["one", "two", "three", "four", "five"])
        patience = RetryPolicy(attempts=2, delay=0.001)  # in a row: each reading starts anew
        async with ToolSession(server, retry=patience) as session:
            watching = asyncio.create_task(
                session.watch(["note://board"], lambda _, now: seen.append(content_text(now)))
            )
            await until(lambda: len(seen) >= 3)
            watching.cancel()

    asyncio.run(run())
    assert seen[:3] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("listen", "said"), [(refuses, "too many watchers"), (never_confirms, "did not confirm")]
)
def test_a_subscription_that_cannot_be_opened_is_a_typed_error(listen: Listen, said: str) -> None:
    """After as many tries as the retry policy allows."""
    tries: list[str] = []

    async def counted(context: Any, params: Any) -> SubscriptionsListenResult:
        tries.append(said)
        return await listen(context, params)

    async def run() -> None:
        async with ToolSession(_server(counted, []), retry=QUICK, timeout=0.5) as session:
            with pytest.raises(ServerUnavailable, match=said):
                await session.watch(["note://board"], print)

    asyncio.run(run())
    assert len(tries) == QUICK.attempts


def test_an_unknown_resource_ends_the_watch_with_the_servers_words() -> None:
    """No retry makes it exist."""

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            with pytest.raises(MCPError, match="No tea 'oolong'"):
                await session.watch(["stock://oolong"], print)

    asyncio.run(run())


def test_a_2025_server_that_refuses_a_subscription_ends_the_watch() -> None:
    """Its reason reaches the caller unchanged."""

    async def refuse(context: Any, params: Any) -> EmptyResult:
        raise MCPError(-32602, f"no cues for {params.uri}")

    async def run() -> None:
        server: Server[Any] = Server("strict", on_subscribe_resource=refuse)
        async with ToolSession(server, mode="legacy") as session:
            with pytest.raises(MCPError, match="no cues for note://board"):
                await session.watch(["note://board"], print)

    asyncio.run(run())


def test_closing_in_the_middle_of_a_call_is_a_typed_error() -> None:
    """Here the person at the client closes the session instead of answering."""

    async def run() -> None:
        async def leave(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
            await session.aclose()
            return ElicitResult(action="cancel")

        session = ToolSession(build_shop(Shop()), elicitation_callback=leave)
        await session.open()
        with pytest.raises(ServerUnavailable, match="closed") as caught:
            await session.call_tool("gift", {"tea": "assam"})
        assert caught.value.maybe_done

    asyncio.run(run())


def test_closing_while_a_silent_server_is_pinged_ends_the_ping_too() -> None:
    """It would wait ten more seconds for a sign of life of a server that nobody is connected to."""
    pinged = asyncio.Event()
    asked: list[str] = []

    async def silent(context: Any, params: Any) -> Any:
        asked.append(type(params).__name__)
        pinged.set()
        await asyncio.Event().wait()

    server: Server[Any] = Server("silent", on_call_tool=silent)
    server.add_request_handler("server/discover", RequestParams, silent)

    async def run() -> None:
        async with ToolSession(server, mode="2026-07-28", retry=QUICK) as session:
            with pytest.raises(CallTimeout):
                await session.call_tool("anything", read_timeout_seconds=0.01)
            pinged.clear()
            await pinged.wait()
            with pytest.raises(CallTimeout):  # one ping is enough
                await session.call_tool("anything", read_timeout_seconds=0.01)
            ping = (await session.connection())._ping
        assert ping is not None
        await asyncio.wait([ping], timeout=5)
        assert ping.cancelled()

    asyncio.run(run())
    assert asked == ["CallToolRequestParams", "RequestParams", "CallToolRequestParams"]


def test_what_is_read_again_without_a_change_is_not_told() -> None:
    """A server without cues, read five times; for how long it may be kept is no news."""
    seen: list[str] = []
    notes = ["same"] * 5

    async def run() -> None:
        async with ToolSession(_server(_no_cues, notes), retry=QUICK) as session:
            watching = asyncio.create_task(
                session.watch(
                    ["note://board"], lambda _, now: seen.append(content_text(now)), recheck=0.001
                )
            )
            await until(lambda: not notes)
            watching.cancel()

    asyncio.run(run())
    assert seen == ["same"]


async def _no_cues(context: Any, params: Any) -> SubscriptionsListenResult:
    raise MCPError(METHOD_NOT_FOUND, "no subscriptions here")


@pytest.mark.parametrize("mode", ERAS)
def test_a_hung_handshake_in_memory_costs_hardly_more_than_its_limit(mode: str) -> None:
    """The server library would take two seconds to let go: virtual time."""
    slow = MCPServer("slow", log_level="ERROR", lifespan=_hung)

    async def run() -> float:
        started = asyncio.get_running_loop().time()
        with pytest.raises(ServerUnavailable, match="no handshake within 5 s"):
            await ToolSession(slow, mode=mode, connect_timeout=5).open()
        assert len(asyncio.all_tasks()) == 1
        return asyncio.get_running_loop().time() - started

    assert 5 <= VirtualClock().run(run()) <= 5.2


def test_a_new_connection_has_a_limit_of_its_own() -> None:
    """`connect_timeout`, within a call that may take longer: virtual time."""
    servers: list[Any] = [Server("first"), MCPServer("slow", log_level="ERROR", lifespan=_hung)]
    options: Any = {"connect_timeout": 5, "timeout": 500, "retry": RetryPolicy(attempts=1)}

    async def run() -> float:
        async with ToolSession(lambda: servers.pop(0), **options) as session:
            (await session.connection()).retire()
            started = asyncio.get_running_loop().time()
            with pytest.raises(ServerUnavailable, match="no handshake within 5 s") as caught:
                await session.call_tool("anything")
            assert not caught.value.maybe_done
            return asyncio.get_running_loop().time() - started

    assert 5 <= VirtualClock().run(run()) <= 5.2


class _hung:  # noqa: N801 - used as a function that makes a context manager
    def __init__(self, server: MCPServer) -> None:
        self.server = server

    async def __aenter__(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError


def test_a_transport_that_does_not_let_go_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """`aclose` ends within its patience, whatever the other side does."""
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 0.05)
    stuck = MCPServer("stuck", log_level="ERROR", lifespan=_clinging)

    async def run() -> None:
        session = await ToolSession(stuck).open()
        await session.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


class _clinging:  # noqa: N801 - used as a function that makes a context manager
    def __init__(self, server: MCPServer) -> None:
        self.server = server

    async def __aenter__(self) -> dict[str, Any]:
        return {}

    async def __aexit__(self, *_: object) -> None:
        await asyncio.Event().wait()
