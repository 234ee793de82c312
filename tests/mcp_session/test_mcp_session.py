"""A session, over every transport and in both eras, against the tea shop."""

import asyncio
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.caching import CacheConfig, InMemoryResponseCacheStore
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp.server.lowlevel import Server
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from mcp_session_support import (
    ERAS,
    QUICK,
    bare,
    content_text,
    kill,
    shop_child,
    text,
    until,
)
from servers import bare as bare_server
from servers.loopback import serve_http, serving
from servers.shop import RestockParams, RestockRequest, RestockResult, Shop, build_shop
from servers.shop import main as shop_main

from patterns.mcp_session import (
    CORRELATION_KEY,
    Connect,
    ResultValidationError,
    SessionClosed,
    ToolSession,
    http_server,
)
from patterns.mcp_session import listings as pages_module
from patterns.mcp_session.http import direct

TRANSPORTS: dict[str, Callable[[], Connect]] = {
    "memory": build_shop,
    "stdio": shop_child,
    "http": lambda: serve_http(build_shop()),
    "sse": lambda: serve_http(build_shop(), sse=True),
}
VERSIONS = {"auto": "2026-07-28", "legacy": "2025-11-25"}


async def accept(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """The person at the client."""
    return ElicitResult(action="accept", content={"text": "for you"})


async def answer(context: ClientRequestContext, params: CreateMessageRequestParams) -> Any:
    """The model at the client."""
    return CreateMessageResult(
        role="assistant", content=TextContent(type="text", text="Malty."), model="stand-in"
    )


def open_shop(connect: Connect, **options: Any) -> ToolSession:
    """A session that can answer every question the shop asks."""
    callbacks: Any = {"elicitation_callback": accept, "sampling_callback": answer}
    return ToolSession(connect, retry=QUICK, **callbacks, **options)


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_server_of_this_machine_is_asked_without_a_proxy(
    transport: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at the one that the environment names."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("ALL_PROXY", proxy)

    async def run() -> None:
        async with open_shop(TRANSPORTS[transport]()) as session:
            sold = await session.call_tool("order", {"tea": "assam", "grams": 100})
            assert sold.structured_content["cents"] == 450

    asyncio.run(run())


def test_a_server_elsewhere_is_asked_as_the_environment_says() -> None:
    """Names of this machine are few; anything else may need the proxy."""
    assert direct("https://mcp.example.test/mcp") is None
    assert direct("http://127.0.0.2:8080/mcp") is not None


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_server_answers_alike_over_every_transport_in_both_eras(
    transport: str, mode: str
) -> None:
    """Tools, errors, questions both ways, progress, resources, prompts, a custom method."""
    steps: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(message)

    async def run() -> None:
        async with open_shop(TRANSPORTS[transport](), mode=mode) as session:
            assert session.client.protocol_version == VERSIONS[mode]
            assert {"stock", "gift"} <= {tool.name for tool in await session.list_tools()}
            sold = await session.call_tool("order", {"tea": "assam", "grams": 100})
            assert sold.structured_content["cents"] == 450
            refused = await session.call_tool("order", {"tea": "oolong", "grams": 1})
            assert refused.is_error
            assert "Teas: assam, darjeeling, sencha" in text(refused)
            gift = await session.call_tool("gift", {"tea": "assam"})
            assert text(gift) == "assam, wrapped, with a card: for you"
            assert text(await session.call_tool("slogan", {"tea": "assam"})) == "assam: Malty."
            await session.call_tool("brew", {"minutes": 3}, progress_callback=note)
            await until(lambda: steps == ["minute 1", "minute 2", "minute 3"])
            assert [str(item.uri) for item in await session.list_resources()] == ["shop://hours"]
            templates = await session.list_resource_templates()
            assert [item.uri_template for item in templates] == ["stock://{tea}"]
            shelf = await session.read_resource("stock://assam")
            assert '"grams": 400' in content_text(shelf)
            assert [prompt.name for prompt in await session.list_prompts()] == ["recommend"]
            prompt = await session.get_prompt("recommend", {"guest": "a sleepy guest"})
            assert "a sleepy guest" in str(prompt.messages[0].content)
            restock = RestockRequest(params=RestockParams(tea="assam", grams=50))
            restocked = await session.request(
                lambda client: client.session.send_request(restock, RestockResult)
            )
            assert restocked.grams == 450

    asyncio.run(run())


def test_a_session_is_opened_in_one_task_used_in_another_and_closed_in_a_third() -> None:
    """What a notebook does; a bare client raises about cancel scopes."""

    async def run() -> None:
        session = ToolSession(build_shop())
        await asyncio.create_task(session.open())
        result = await asyncio.create_task(session.call_tool("stock", {"tea": "assam"}))
        assert result.structured_content["grams"] == 500
        await asyncio.create_task(session.aclose())
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_session_that_is_not_open_says_so() -> None:
    """Before `open` and after `aclose`, and it can be opened again."""

    async def run() -> None:
        session = ToolSession(build_shop())
        with pytest.raises(SessionClosed, match="call open"):
            await session.call_tool("stock", {"tea": "assam"})
        with pytest.raises(SessionClosed):
            _ = session.client
        async with session:
            await session.list_tools()
        with pytest.raises(SessionClosed):
            await session.list_tools()
        async with session:
            assert await session.list_tools()
        await session.aclose()

    asyncio.run(run())


def test_many_tasks_share_one_connection() -> None:
    """After a kill a hundred callers come at once, and wait for the same handshake."""

    async def run() -> None:
        async with ToolSession(bare()) as session:
            kill(int(text(await session.call_tool("pid"))))
            await until(partial(getattr, await session.connection(), "retired"))
            calls = [session.call_tool("echo", {"text": str(n)}) for n in range(100)]
            results = await asyncio.gather(*calls)
            assert [text(result) for result in results] == [str(n) for n in range(100)]
            assert [call.connection for call in session.history] == [1] + [2] * 100

    asyncio.run(run())


def test_history_says_what_was_called_and_how_it_went() -> None:
    """One record per call, with its correlation id, whatever happened to it."""
    ticks = iter(range(100))

    async def run() -> None:
        async with ToolSession(
            build_shop(), session_id="visit", clock=lambda: float(next(ticks)), remember=3
        ) as session:
            await session.call_tool("brew", {"minutes": 1})
            await session.call_tool("order", {"tea": "assam", "grams": 100})
            await session.call_tool("order", {"tea": "assam", "grams": 900})
            napping = asyncio.create_task(session.call_tool("nap", {"seconds": 60}))
            await asyncio.sleep(0.01)
            napping.cancel()
            await asyncio.wait([napping])
            assert [(call.id, call.name, call.outcome) for call in session.history] == [
                ("visit-2", "order", "ok"),
                ("visit-3", "order", "tool_error"),
                ("visit-4", "nap", "cancelled"),
            ]
            assert session.history[0].arguments == {"tea": "assam", "grams": 100}
            assert [call.seconds for call in session.history] == [1.0, 1.0, 1.0]

    asyncio.run(run())


def test_the_server_sees_the_correlation_id_beside_the_callers_own_meta() -> None:
    """Two logs, one id."""
    shop = Shop()

    async def run() -> None:
        async with ToolSession(build_shop(shop), session_id="visit") as session:
            meta: Any = {"com.example/reason": "gift"}
            await session.call_tool("order", {"tea": "assam", "grams": 10}, meta=meta)

    asyncio.run(run())
    assert shop.correlation_ids == ["visit-1"]
    assert CORRELATION_KEY.endswith("/correlationId")


def test_lists_follow_cursors_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven tools on three pages; a cursor that does not move is an error, not an empty list."""

    monkeypatch.setattr(pages_module, "PAGE_CAP", 20)

    async def pages(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        start = int((params and params.cursor) or 0)
        tools = [
            Tool(name=f"tool-{n}", input_schema={"type": "object"})
            for n in range(start, min(start + 3, 7))
        ]
        return ListToolsResult(tools=tools, next_cursor=str(start + 3) if start < 6 else None)

    async def endless(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[], next_cursor="again")

    async def growing(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[], next_cursor=f"{params and params.cursor}+")

    async def run() -> None:
        async with ToolSession(Server("growing", on_list_tools=growing)) as session:
            with pytest.raises(ResultValidationError, match="more than 20 pages"):
                await session.list_tools()
        async with ToolSession(Server("paged", on_list_tools=pages)) as session:
            assert len(await session.list_tools()) == 7
        async with ToolSession(Server("endless", on_list_tools=endless)) as session:
            with pytest.raises(ResultValidationError, match="cursor 'again' came twice"):
                await session.list_tools()

    asyncio.run(run())


def test_a_function_that_returns_a_transport_a_url_or_parameters_will_do() -> None:
    """Everything a bare client accepts, for one connection after the other."""

    async def run() -> None:
        async with serving(build_shop()) as url:
            for connect in (url, lambda: url, lambda: streamable_http_client(url)):
                async with ToolSession(connect) as session:
                    result = await session.call_tool("stock", {"tea": "sencha"})
                    assert result.structured_content["grams"] == 200
        parameters = bare().parameters
        async with ToolSession(parameters) as session:
            assert session.name == repr(Path(sys.executable).name)
            assert text(await session.call_tool("echo", {"text": "hi"})) == "hi"

    asyncio.run(run())


def test_a_shared_response_cache_knows_a_server_by_its_url() -> None:
    """As with a bare client, no target_id is needed for a URL."""
    store = InMemoryResponseCacheStore()

    async def run() -> None:
        async with serving(build_shop()) as url:
            for connect in (url, http_server(url)):
                cache = CacheConfig(store=store, partition="me", default_ttl_ms=60_000)
                async with ToolSession(connect, cache=cache) as session:
                    assert await session.list_tools()
        with pytest.raises(ValueError, match="target_id"):
            await ToolSession(build_shop(), cache=cache).open()

    asyncio.run(run())


def test_a_wrong_mode_is_a_plain_value_error() -> None:
    """A mistake in the program is not dressed up as a network problem."""

    async def run() -> None:
        with pytest.raises(ValueError, match="mode must be"):
            await ToolSession(build_shop(), mode="2024").open()

    asyncio.run(run())


def test_progress_and_messages_reach_the_callers_own_handlers() -> None:
    """The session listens too, and passes everything on."""
    seen: list[str] = []

    async def note(message: Any) -> None:
        seen.append(type(message).__name__)

    async def run() -> None:
        async with ToolSession(bare(), mode="legacy", message_handler=note) as session:
            await session.request(_subscribe)
            await session.call_tool("write", {"text": "x"})
            await until(lambda: seen == ["ResourceUpdatedNotification"])

    async def _subscribe(client: Client) -> None:
        with pytest.warns(UserWarning, match="resources/subscribe"):
            await client.subscribe_resource("note://board")

    asyncio.run(run())


def test_a_server_error_that_is_not_about_the_connection_passes_unchanged() -> None:
    """Codes and data stay what the server sent."""

    async def run() -> None:
        async with ToolSession(bare()) as session:
            with pytest.raises(MCPError, match="unknown: nonsense") as caught:
                await session.call_tool("nonsense")
            assert caught.value.code == -32601
            assert session.history[-1].outcome == "failed"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("arguments", "started"),
    [
        ([], ("stdio", {})),
        (["--http", "8"], ("streamable-http", {"port": 8})),
        (["--sse", "9"], ("sse", {"port": 9})),
    ],
)
def test_the_shop_starts_on_the_transport_it_is_told(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], started: tuple[str, dict[str, int]]
) -> None:
    """What `python -m servers.shop` does with its options."""
    runs: list[tuple[str, dict[str, int]]] = []
    monkeypatch.setattr(MCPServer, "run", lambda self, via, **options: runs.append((via, options)))
    shop_main(arguments)
    assert runs == [started]


def test_the_bare_server_leaves_with_its_last_words() -> None:
    """`--die` is how the tests see a server that cannot start."""
    with pytest.raises(SystemExit, match="no licence"):
        bare_server.main(["--die", "no licence"])


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """The servers' own logging is not under test."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
