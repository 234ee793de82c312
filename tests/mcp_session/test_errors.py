"""What goes wrong, in words and facts: exact, because people and programs act on both."""

import asyncio
from itertools import count
from typing import Any

import pytest
from mcp import MCPError
from mcp.server import Server
from mcp.types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    CallToolResult,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    ReadResourceResult,
    Tool,
    ToolAnnotations,
)
from mcp_session_misbehaving import misbehaving
from mcp_session_support import ERAS, QUICK, bare

from patterns.mcp_session import (
    AccessDenied,
    CallTimeout,
    ResultValidationError,
    RetryPolicy,
    ServerUnavailable,
    ToolSession,
    declared_safe,
)
from patterns.mcp_session.claude import LONGEST_ERROR, told_to_claude
from patterns.mcp_session.http import direct
from patterns.mcp_session.retry import never_started

by_era = pytest.mark.parametrize("mode", ERAS)
LOST = "no answer from 's' to a request (gone); it may have run: check, then ask again"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            AccessDenied("'s'", 403, ""),
            INTERNAL_ERROR,
            "'s' answered HTTP 403; pass a token with the scope it names",
        ),
        (
            AccessDenied("'s'", 401, "Bearer x"),
            INTERNAL_ERROR,
            "'s' answered HTTP 401 and said 'Bearer x'; pass a valid token",
        ),
        (
            ServerUnavailable("'s'", "see http://u:secret@h/x?key=1"),
            CONNECTION_CLOSED,
            "cannot reach 's': see http://h/…; start it, then call again",
        ),
        (
            ServerUnavailable("'s'", "gone", stderr="no licence"),
            CONNECTION_CLOSED,
            "cannot reach 's': gone; start it, then call again\nits stderr ends with: no licence",
        ),
        (ServerUnavailable("'s'", "gone", maybe_done=True), CONNECTION_CLOSED, LOST),
        (
            CallTimeout("'s'", "sell", 2.5),
            REQUEST_TIMEOUT,
            "'sell' had no answer from 's' within 2.5 s; it may have run: allow more time or check",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_says_what_happened_and_what_to_do(error: MCPError, code: int, said: str) -> None:
    """With the value, in one sentence."""
    assert (str(error), error.code) == (said, code)


def test_a_timeout_knows_what_a_program_asks_it() -> None:
    """The request, the seconds, and that the tool may have run."""
    late = CallTimeout("'s'", "sell", 2.5)
    facts = late.request, late.seconds, late.maybe_done, late.reason
    assert facts == ("sell", 2.5, True, "no answer within 2.5 s")


@pytest.mark.parametrize(("size", "cut"), [(LONGEST_ERROR, False), (LONGEST_ERROR + 1, True)])
def test_a_long_error_is_cut_for_claude(size: int, cut: bool) -> None:
    """A tool's name too."""
    told = told_to_claude("t", MCPError(-1, "x" * size))
    assert told == "x" * LONGEST_ERROR + " [cut]" * cut
    late = CallTimeout("'s'", "sell", 1)
    assert told_to_claude("n" * 101, late) == "n" * 100 + (
        " gave no answer within 1 s; it may have run."
    )


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:1/mcp", True),
        ("http://127.0.0.5/mcp", True),
        ("http://[::1]:8/mcp", True),
        ("http://192.168.0.1/mcp", False),
        ("https://shop.example/mcp", False),
    ],
)
def test_only_servers_of_this_machine_are_asked_without_a_proxy(url: str, here: bool) -> None:
    """A proxy that the environment names cannot reach them."""
    assert (direct(url) is not None) is here


@pytest.mark.parametrize(
    ("hints", "safe"),
    [
        (ToolAnnotations(read_only_hint=True, destructive_hint=True), False),
        (ToolAnnotations(read_only_hint=True, destructive_hint=False), True),
        (ToolAnnotations(idempotent_hint=True, destructive_hint=True), True),
        (ToolAnnotations(idempotent_hint=True, read_only_hint=True, destructive_hint=True), False),
        (ToolAnnotations(idempotent_hint=True, read_only_hint=False), True),
    ],
)
def test_a_tool_that_contradicts_itself_is_not_believed(hints: Any, safe: bool) -> None:
    """To delete twice is no worse than once, but nobody deletes by reading."""
    assert declared_safe(Tool(name="t", input_schema={}, annotations=hints)) is safe


@pytest.mark.parametrize(
    ("error", "heals", "unstarted"),
    [
        (ServerUnavailable("s", "r"), True, True),
        (ServerUnavailable("s", "r", maybe_done=True, status=503), True, True),
        (ServerUnavailable("s", "r", maybe_done=True, status=502), True, False),
        (ServerUnavailable("s", "r", retry_after=60.0), True, True),
        (ServerUnavailable("s", "r", retry_after=61.0), False, True),
        (ServerUnavailable("s", "r", code=INTERNAL_ERROR), False, True),
        (MCPError(CONNECTION_CLOSED, "busy"), True, False),
        (MCPError(-32602, "no"), False, False),
    ],
)
def test_what_may_pass_and_what_has_not_begun(error: Any, heals: bool, unstarted: bool) -> None:
    """The code, the wait that was asked for, and what the owner says about statuses."""
    policy = RetryPolicy(never_ran=frozenset({503}), max_retry_after=60.0)
    assert (policy.heals(error), never_started(error, policy)) == (heals, unstarted)


def test_what_only_reads_is_asked_again() -> None:
    """Every listing, a resource and a prompt: this server fails each of them once."""
    failed: set[str] = set()

    def once(kind: str, result: Any) -> Any:
        async def handle(context: Any, params: Any) -> Any:
            if kind not in failed:
                failed.add(kind)
                raise MCPError(CONNECTION_CLOSED, "busy")
            return result

        return handle

    server: Server[Any] = Server(
        "busy",
        on_list_tools=once("tools", ListToolsResult(tools=[])),
        on_list_prompts=once("prompts", ListPromptsResult(prompts=[])),
        on_list_resources=once("resources", ListResourcesResult(resources=[])),
        on_list_resource_templates=once(
            "templates", ListResourceTemplatesResult(resource_templates=[])
        ),
        on_read_resource=once("read", ReadResourceResult(contents=[])),
        on_get_prompt=once("prompt", GetPromptResult(messages=[])),
    )

    async def run() -> None:
        async with ToolSession(server, retry=QUICK) as session:
            assert await session.list_tools() == []
            assert await session.list_prompts() == []
            assert await session.list_resources() == []
            assert await session.list_resource_templates() == []
            assert (await session.read_resource("x://y")).contents == []
            assert (await session.get_prompt("p")).messages == []

    asyncio.run(run())
    assert failed == {"tools", "prompts", "resources", "templates", "read", "prompt"}


def test_a_call_is_remembered_with_its_seconds_and_without_an_error() -> None:
    """By the session's clock."""
    now = count(10, 3)

    async def fine(context: Any, params: Any) -> CallToolResult:
        return CallToolResult(content=[])

    async def none(context: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[])

    async def run() -> None:
        server: Server[Any] = Server("s", on_call_tool=fine, on_list_tools=none)
        options: Any = {"clock": lambda: float(next(now)), "session_id": "s"}
        async with ToolSession(server, **options) as session:
            await session.call_tool("t")
            assert session.history == (("s-1", "t", {}, "ok", "", 1, 1, 3.0),)

    asyncio.run(run())


def test_the_clients_own_read_timeout_is_told_with_its_seconds() -> None:
    """And a server that does not answer the ping after it either is replaced."""

    async def run() -> None:
        async with ToolSession(bare(), read_timeout_seconds=0.5) as session:
            with pytest.raises(CallTimeout) as caught:
                await session.call_tool("hang")
            assert caught.value.seconds == 0.5

    asyncio.run(run())


def test_nothing_of_a_closed_session_stays_in_its_loop() -> None:
    """Neither a task nor a timer."""

    async def run() -> None:
        async with ToolSession(Server("s")) as session:
            with pytest.raises(MCPError):
                await session.call_tool("t")
        loop: Any = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_session_that_is_opened_in_a_new_loop_has_lost_nothing() -> None:
    """The old loop took its connection along, and nobody waits for what the server knew of it."""
    told: list[int] = []
    session = ToolSession(Server("s"), on_reconnect=told.append)

    async def opened() -> None:
        await session.open()

    async def used() -> None:
        async with session:
            with pytest.raises(MCPError, match="Method not found"):
                await session.call_tool("t")

    asyncio.run(opened())
    asyncio.run(used())
    assert told == []


@by_era
def test_a_status_500_may_pass(mode: str) -> None:
    """A tool that may repeat is sent again, over the same connection."""

    async def run() -> None:
        async with ToolSession(state.url, mode=mode, retry=QUICK, retry_tools=["sell"]) as session:
            await session.call_tool("sell")
            assert [(c.attempts, c.connection) for c in session.history] == [(2, 1)]

    with misbehaving("status 500", heal_after=1) as state:
        asyncio.run(run())


@by_era
@pytest.mark.parametrize("fault", ["html", "half a JSON", "202", "status 400"])
def test_an_answer_that_nobody_can_read_costs_no_connection(fault: str, mode: str) -> None:
    """The next call goes the same way."""

    async def run() -> None:
        async with ToolSession(state.url, mode=mode, retry=QUICK) as session:
            with pytest.raises((MCPError, ResultValidationError)):
                await session.call_tool("sell")
            await session.call_tool("sell")
            assert [call.connection for call in session.history] == [1, 1]

    with misbehaving(fault, heal_after=1) as state:
        asyncio.run(run())


@by_era
def test_a_server_that_hung_up_is_connected_to_anew(mode: str) -> None:
    """It may have restarted, and what it knew be gone: `on_reconnect` is told."""
    told: list[int] = []

    async def run() -> None:
        options: Any = {"retry": QUICK, "on_reconnect": told.append}
        async with ToolSession(state.url, mode=mode, **options) as session:
            with pytest.raises(ServerUnavailable):
                await session.call_tool("sell")
            await session.call_tool("sell")
            assert [call.connection for call in session.history] == [1, 2]

    with misbehaving("disconnect", heal_after=1) as state:
        asyncio.run(run())
    assert told == [2]


@by_era
def test_a_refusal_without_a_challenge_has_none(mode: str) -> None:
    """A 403 that names no scope."""

    async def run() -> None:
        async with ToolSession(state.url, mode=mode, retry=QUICK) as session:
            with pytest.raises(AccessDenied) as caught:
                await session.call_tool("sell")
            assert (caught.value.status, caught.value.challenge) == (403, "")

    with misbehaving("status 403") as state:
        asyncio.run(run())


def test_a_server_that_nobody_started_has_no_last_words() -> None:
    """Nothing listens on the port."""

    async def run() -> None:
        with pytest.raises(ServerUnavailable) as caught:
            await ToolSession("http://127.0.0.1:9/mcp", retry=QUICK).open()
        facts = caught.value.stderr, caught.value.status, caught.value.maybe_done
        assert facts == ("", None, False)

    asyncio.run(run())
