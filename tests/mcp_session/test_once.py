"""Sent once means executed once: what may be sent again, when, and what is said about it.

`test_faults.py` has the table of all faults, transports and eras.
"""

import asyncio
import logging
from typing import Any

import mcp_session_misbehaving as faults
import pytest
from anthropic.lib.tools import ToolError
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.server import Server
from mcp.types import CONNECTION_CLOSED, CallToolResult, ListToolsResult, Tool, ToolAnnotations
from mcp_session_misbehaving import misbehaving
from mcp_session_support import ERAS, QUICK

from patterns.mcp_session import (
    AccessDenied,
    CallTimeout,
    ResultValidationError,
    RetryPolicy,
    ServerUnavailable,
    ToolSession,
    declared_safe,
    http_server,
)
from patterns.mcp_session.claude import told_to_claude

by_era = pytest.mark.parametrize("mode", ERAS)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("mcp").setLevel(logging.CRITICAL)


async def _sold(session: ToolSession) -> str:
    """What Claude reads about one call that it makes."""
    (sell,) = await session.anthropic_tools()
    try:
        return str(await sell.call({}))
    except ToolError as error:
        return str(error)


def _told_honestly(text: str, fault: str) -> bool:
    """Claude must not read that nothing happened."""
    honest = ("may have run", "has run", "ran and", "till is stuck", "denied")
    return fault in ("garbage", "none") or any(word in text for word in honest)


@pytest.mark.parametrize("fault", faults.SSE_FAULTS)
def test_over_sse_a_call_is_executed_once_whatever_the_answer(fault: str) -> None:
    """The superseded transport loses its writer with the first refusal, and gets a new one."""

    async def run() -> None:
        connect = lambda: sse_client(state.url)  # noqa: E731
        async with ToolSession(connect, mode="legacy", retry=QUICK) as session:
            with pytest.raises((MCPError, ResultValidationError)) as caught:
                await session.call_tool("sell", read_timeout_seconds=0.5)
            error: Any = caught.value
            assert _told_honestly(told_to_claude("sell", error), fault)
            assert state.executed == 1
            state.fault = "none"
            while "sold" not in await _sold(session):
                assert state.executed == 1

    with misbehaving(fault, sse=True) as state:
        asyncio.run(run())
    assert state.executed == 2


def _till(executed: list[str], code: int) -> Server[Any]:
    async def call(context: Any, params: Any) -> CallToolResult:
        executed.append(params.name)
        raise MCPError(code, "sold, but the till is stuck")

    return Server("till", on_call_tool=call)


@by_era
@pytest.mark.parametrize("status", [429, 503])
def test_the_owner_of_a_server_may_say_that_a_status_means_not_executed(
    status: int, mode: str
) -> None:
    """Then even a tool that must not repeat is sent again; this gateway refuses at its door."""
    policy = RetryPolicy(delay=0.01, never_ran=frozenset({status}))

    async def run() -> int:
        async with ToolSession(state.url, mode=mode, retry=policy) as session:
            await session.call_tool("sell")
            return session.history[-1].attempts

    with misbehaving(f"status {status}", heal_after=2) as state:
        assert asyncio.run(run()) == 3


@by_era
def test_an_endpoint_that_has_moved_is_learnt_before_the_first_call(mode: str) -> None:
    """As when a web framework adds a slash: each call is sent once, to where it is executed."""

    async def run() -> None:
        async with ToolSession(state.url, mode=mode) as session:
            for _ in range(2):
                await session.call_tool("sell")

    with misbehaving("none", moved=True) as state:
        asyncio.run(run())
    assert (state.executed, state.handshakes) == (2, 1)


@by_era
def test_a_refusal_behind_a_redirect_is_a_refusal(mode: str) -> None:
    """With its own status."""

    async def run() -> None:
        with pytest.raises(AccessDenied) as caught:
            await ToolSession(state.url, mode=mode, retry=QUICK).open()
        assert caught.value.status == 403

    with misbehaving("none", moved=True, refuses=403) as state:
        asyncio.run(run())


@by_era
def test_what_only_reads_follows_an_endpoint_that_moves_in_mid_session(mode: str) -> None:
    """By a new handshake."""

    async def run() -> None:
        async with ToolSession(state.url, mode=mode, retry=QUICK) as session:
            state.moved = True
            assert [tool.name for tool in await session.list_tools()] == ["sell"]

    with misbehaving("none") as state:
        asyncio.run(run())
    assert state.handshakes == 2


@by_era
def test_an_endpoint_that_moves_in_mid_session_costs_one_call_and_a_new_handshake(
    mode: str,
) -> None:
    """The call that was redirected may have run; the next one goes to the new place."""

    async def run() -> None:
        async with ToolSession(state.url, mode=mode, retry=QUICK) as session:
            await session.call_tool("sell")
            state.moved = True
            with pytest.raises(ServerUnavailable) as caught:
                await session.call_tool("sell")
            assert (caught.value.maybe_done, caught.value.status) == (True, 307)
            await session.call_tool("sell")

    with misbehaving("none") as state:
        asyncio.run(run())
    assert (state.executed, state.handshakes) == (2, 2)


def test_a_call_after_which_a_ping_is_answered_with_nonsense_may_have_run() -> None:
    """A server that answers at all may have executed what it then says it has forgotten."""

    async def run() -> None:
        async with ToolSession(state.url, mode="legacy", retry=QUICK) as session:
            with pytest.raises(ServerUnavailable) as caught:
                await session.call_tool("sell")
            assert caught.value.maybe_done

    with misbehaving("status 404", ping={"_meta": 5}) as state:
        asyncio.run(run())
    assert state.executed == 1


@by_era
def test_a_busy_server_is_asked_again_after_the_time_it_names_on_the_same_connection(
    mode: str,
) -> None:
    """`Retry-After` is obeyed, with a little more so that not all come at once; no handshake."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> None:
        policy = RetryPolicy(delay=0.01, jitter=0.5)
        async with ToolSession(
            state.url,
            mode=mode,
            retry=policy,
            retry_tools=["sell"],
            sleep=sleep,
            rng=lambda: 0.5,
        ) as session:
            before = state.handshakes
            await session.call_tool("sell")
            assert state.handshakes == before
            assert [call.connection for call in session.history] == [1]

    with misbehaving("status 429", heal_after=2, retry_after="4") as state:
        asyncio.run(run())
    assert waits == [5.0, 5.0]
    assert state.executed == 3


def test_a_server_that_asks_for_more_patience_than_we_have_ends_the_tries() -> None:
    """The wait that it asked for is in the error."""

    async def run() -> None:
        async with ToolSession(state.url, retry=QUICK, retry_tools=["sell"]) as session:
            with pytest.raises(ServerUnavailable, match="HTTP 503") as caught:
                await session.call_tool("sell")
            assert (caught.value.status, caught.value.retry_after) == (503, 600.0)

    with misbehaving("status 503", retry_after="600") as state:
        asyncio.run(run())
    assert state.executed == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_probed_once_per_try_and_not_taken_for_an_old_one(status: int) -> None:
    """A refusal of the handshake is no verdict on the protocol, and its wait is obeyed."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        state.refuses = 0

    async def run() -> None:
        policy = RetryPolicy(jitter=0)
        async with ToolSession(state.url, retry=policy, sleep=sleep) as session:
            assert session.client.protocol_version == "2026-07-28"

    with misbehaving("none", refuses=status, retry_after="3") as state:
        asyncio.run(run())
    assert waits == [3.0]
    assert len(state.tokens) == 2


@by_era
def test_a_result_that_breaks_its_schema_says_that_the_tool_has_run(mode: str) -> None:
    """To the caller and to Claude."""

    async def run() -> str:
        async with ToolSession(state.url, mode=mode, retry=QUICK) as session:
            with pytest.raises(ResultValidationError, match="'sell' ran and returned an invalid"):
                await session.call_tool("sell")
            return await _sold(session)

    with misbehaving("breaks its schema") as state:
        assert "sell has run, and returned an invalid" in asyncio.run(run())


@by_era
def test_hints_are_read_again_when_a_call_has_failed(mode: str) -> None:
    """Between two calls the server declares its tool destructive: no second execution."""

    async def run() -> None:
        async with ToolSession(
            state.url, mode=mode, retry=QUICK, retry_tools=declared_safe
        ) as session:
            with pytest.raises(ServerUnavailable):
                await session.call_tool("sell")
            assert (state.executed, state.listings) == (3, 2)
            state.hints = {"idempotentHint": False, "destructiveHint": True}
            with pytest.raises(ServerUnavailable):
                await session.call_tool("sell")

    with misbehaving("status 503", hints={"idempotentHint": True}) as state:
        asyncio.run(run())
    assert state.executed == 4


def test_hints_after_a_restart_are_those_of_the_new_server() -> None:
    """The old one called its tool idempotent, and died of it."""
    executed: list[int] = []
    versions = iter([True, False])

    def connect() -> Server[Any]:
        idempotent = next(versions, False)

        async def tools(context: Any, params: Any) -> ListToolsResult:
            hints = ToolAnnotations(idempotent_hint=idempotent)
            return ListToolsResult(tools=[Tool(name="sell", input_schema={}, annotations=hints)])

        async def call(context: Any, params: Any) -> CallToolResult:
            executed.append(session.history.__len__())
            (await session.connection()).retire()
            raise MCPError(CONNECTION_CLOSED, "Connection closed")

        return Server("till", on_list_tools=tools, on_call_tool=call)

    session = ToolSession(connect, retry=QUICK, retry_tools=declared_safe)

    async def run() -> None:
        async with session:
            with pytest.raises(ServerUnavailable):
                await session.call_tool("sell")

    asyncio.run(run())
    assert len(executed) == 1


def test_a_rule_that_cannot_be_asked_allows_nothing() -> None:
    """A server that lists no tools any more has promised nothing."""
    executed: list[str] = []

    async def run() -> None:
        till = _till(executed, CONNECTION_CLOSED)
        async with ToolSession(till, retry=QUICK, retry_tools=declared_safe) as session:
            with pytest.raises(MCPError, match="till is stuck"):
                await session.call_tool("sell")

    asyncio.run(run())
    assert executed == ["sell"]


def test_an_earlier_attempt_that_may_have_run_is_not_hidden_by_a_later_one() -> None:
    """The last try finds nobody at home; the first one had been delivered."""

    async def run() -> None:
        async with ToolSession(state.url, retry=QUICK, retry_tools=["sell"]) as session:

            async def lose(client: Client) -> Any:
                if not session.history and state.executed == 0:
                    state.executed += 1
                    raise MCPError(CONNECTION_CLOSED, "Connection closed")
                return await client.call_tool("sell")

            gone = ServerUnavailable("x", "gone")

            async def nobody() -> Any:
                raise gone

            session._connections.connection = nobody  # type: ignore[method-assign]
            with pytest.raises(ServerUnavailable, match="it may have run"):
                await session.request(lose, repeat=True)

    with misbehaving("none") as state:
        asyncio.run(run())


@by_era
def test_a_rotated_token_is_used_at_once_and_a_denied_connection_replaced(mode: str) -> None:
    """A plain or an async function is asked before every request."""
    tokens = iter(f"t{n}" for n in range(100))

    async def token() -> str:
        return next(tokens)

    async def run() -> None:
        for give in (token, lambda: next(tokens)):
            async with ToolSession(http_server(state.url, token=give), mode=mode) as session:
                await session.call_tool("sell")
                state.denied = True
                with pytest.raises(AccessDenied):
                    await session.call_tool("sell")
                state.denied = False
                await session.call_tool("sell")
                assert [call.connection for call in session.history] == [1, 1, 2]

    with misbehaving("none") as state:
        asyncio.run(run())
    sent = [token for token in state.tokens if token]
    assert len(set(sent)) == len(sent) > 6


def test_no_secret_of_a_url_is_in_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in what the server redirects to, nor in httpx's line per request."""
    caplog.set_level(logging.INFO)
    errors: list[str] = []

    async def run() -> None:
        url = state.url.replace("//", "//user:s3cret@") + "?key=s3cret"
        async with ToolSession(url, retry=QUICK) as session:
            errors.append(session.name)
            with pytest.raises(ServerUnavailable) as caught:
                await session.call_tool("sell")
            errors.append(str(caught.value))
        with pytest.raises(ServerUnavailable) as caught:
            await ToolSession("http://user:s3cret@127.0.0.1:9/mcp?key=s3cret", retry=QUICK).open()
        errors.append(str(caught.value))

    with misbehaving("redirect") as state:
        asyncio.run(run())
    assert not any("s3cret" in text for text in errors), errors
    assert "s3cret" not in caplog.text
    assert "HTTP Request" in caplog.text


def test_a_limit_that_ends_between_two_attempts_says_that_the_call_may_have_run() -> None:
    """The server asked for more patience than the caller has."""

    async def forever(_: float) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        async with ToolSession(state.url, sleep=forever) as session:
            with pytest.raises(CallTimeout, match="may have run"):
                await session.request(
                    lambda client: client.call_tool("sell"), seconds=0.5, repeat=True
                )

    with misbehaving("status 503", retry_after="30") as state:
        asyncio.run(run())
    assert state.executed == 1
