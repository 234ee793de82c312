"""Bad input, bad output, bad tokens: a clear error, and the session goes on."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import jwt
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.auth import OAuthFlowError
from mcp.server.auth.provider import AccessToken
from mcp.types import INTERNAL_ERROR, Tool, ToolAnnotations
from mcp_session_misbehaving import misbehaving
from mcp_session_support import ERAS, QUICK, bare, text
from servers.loopback import serve_http, serving
from servers.shop import ListedTokens, Shop, SignedTokens, build_shop

from patterns.mcp_session import (
    AccessDenied,
    CallTimeout,
    Connect,
    ResultValidationError,
    RetryPolicy,
    ServerUnavailable,
    ToolSession,
    declared_safe,
    http_server,
    stdio_server,
)
from patterns.policy.bearer import verify_token

TOKENS = {
    "good": AccessToken(token="good", client_id="me", scopes=["shop"]),
    "old": AccessToken(token="old", client_id="me", scopes=["shop"], expires_at=1),
    "small": AccessToken(token="small", client_id="me", scopes=["browse"]),
}
by_era = pytest.mark.parametrize("mode", ERAS)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    logging.getLogger("mcp.client.stdio").setLevel(logging.CRITICAL)


async def _still_usable(session: ToolSession) -> None:
    assert text(await session.call_tool("echo", {"text": "fine"})) == "fine"


# -- what a server gets wrong --------------------------------------------------------------------


@by_era
def test_a_result_that_breaks_its_schema_is_named(mode: str) -> None:
    """Instead of a bare RuntimeError."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode) as session:
            with pytest.raises(
                ResultValidationError, match="'liar' ran and returned an invalid"
            ) as caught:
                await session.call_tool("liar")
            assert caught.value.tool == "liar"
            assert "'not a number' is not of type 'integer'" in caught.value.detail
            await _still_usable(session)

    asyncio.run(run())


@by_era
def test_a_result_that_breaks_the_protocol_is_named(mode: str) -> None:
    """Instead of a screenful of pydantic."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode) as session:
            with pytest.raises(ResultValidationError, match="content: Input should be") as caught:
                await session.call_tool("misshapen")
            assert "\n" not in str(caught.value)
            await _still_usable(session)

    asyncio.run(run())


def test_garbage_on_stdout_is_skipped() -> None:
    """A print left in a server does not end the conversation."""

    async def run() -> None:
        async with ToolSession(bare()) as session:
            assert text(await session.call_tool("noise")) == "after the noise"

    asyncio.run(run())


@by_era
def test_no_answer_is_a_timeout_that_says_what_may_have_happened(mode: str) -> None:
    """The tool may have run: the message says so, and nothing is repeated."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode) as session:
            with pytest.raises(CallTimeout, match=r"'hang' had no answer.*within 0\.2 s") as caught:
                await session.call_tool("hang", read_timeout_seconds=0.2)
            assert caught.value.maybe_done
            assert caught.value.code == -32001
            assert session.history[-1].attempts == 1
            await _still_usable(session)

    asyncio.run(run())


def test_the_clients_own_read_timeout_is_a_timeout_too() -> None:
    """`read_timeout_seconds` is an option of the bare client and keeps working."""

    async def run() -> None:
        async with ToolSession(bare(), read_timeout_seconds=1) as session:
            with pytest.raises(CallTimeout):
                await session.call_tool("hang")
            await _still_usable(session)

    asyncio.run(run())


def test_a_timeout_inside_a_callers_function_stays_its_own() -> None:
    """Only the session's own limit becomes a CallTimeout."""

    async def fail(client: Client) -> None:
        raise TimeoutError("mine")

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            with pytest.raises(TimeoutError, match="mine"):
                await session.request(fail)

    asyncio.run(run())


def test_a_runtime_error_inside_a_callers_function_stays_its_own() -> None:
    """Only the two messages with which the client reports a result become ours."""

    async def fail(client: Client) -> None:
        raise RuntimeError("mine")

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            with pytest.raises(RuntimeError, match="mine"):
                await session.request(fail)

    asyncio.run(run())


def test_an_enormous_result_arrives_over_pipes_and_is_refused_over_a_limited_stream() -> None:
    """Ten megabytes; the limit is one argument of `http_server`."""

    async def run() -> None:
        async with ToolSession(bare()) as session:
            result = await session.call_tool("huge", {"bytes": 10_000_000})
            assert len(text(result)) == 10_000_000
        async with serving(build_shop()) as url:
            limited = http_server(url, max_event_bytes=100)
            async with ToolSession(limited, retry=QUICK) as session:
                with pytest.raises(ServerUnavailable, match="SSE stream failed") as caught:
                    await session.call_tool("brew", {"minutes": 1}, progress_callback=_ignore)
                assert "100" in caught.value.reason
                assert await session.request(lambda client: _ping(client))

    asyncio.run(run())


async def _ignore(progress: float, total: float | None, message: str | None) -> None:
    """Progress is asked for, so that the answer is a stream."""


async def _ping(client: Client) -> bool:
    return bool(client.protocol_version)


DIES = StdioServerParameters(
    command=sys.executable, args=["-S", "-c", "import sys; sys.exit('no licence')"]
)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    "connect",
    [bare("--die", "no licence"), DIES, lambda: DIES],
    ids=["stdio_server", "parameters", "function"],
)
def test_a_server_that_dies_at_its_start_is_quoted(connect: Connect, mode: str) -> None:
    """The end of its stderr is in the error, not in the notebook, however it was given."""

    async def run() -> None:
        session = ToolSession(connect, retry=QUICK, mode=mode)
        with pytest.raises(ServerUnavailable, match="its stderr ends with: no licence") as caught:
            await session.open()
        assert (caught.value.stderr, caught.value.maybe_done) == ("no licence", False)

    asyncio.run(run())


def test_the_end_of_a_long_stderr_is_quoted() -> None:
    """The last two thousand bytes of a bare command's."""
    words = "import sys; sys.stderr.write('x' * 100_000 + ' no licence'); sys.exit(3)"

    async def run() -> None:
        dies = StdioServerParameters(command=sys.executable, args=["-S", "-c", words])
        with pytest.raises(ServerUnavailable, match=r"x no licence$") as caught:
            await ToolSession(dies, retry=QUICK).open()
        assert len(caught.value.stderr) == 2_000

    asyncio.run(run())


FUTURE = {"protocolVersion": "2099-01-01", "supportedVersions": ["2099-01-01"]}


@by_era
@pytest.mark.parametrize(
    "answer",
    [
        {"result": None},
        {"result": "hello"},
        {"result": {"protocolVersion": "2025-11-25", "capabilities": None, "serverInfo": None}},
        {"result": {**FUTURE, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}},
        {"error": "no"},
        {"error": {"code": -32602, "message": "no"}},
        {"nothing": 1},
    ],
    ids=str,
)
def test_a_handshake_that_is_none_is_a_server_that_cannot_be_reached(
    answer: Any, mode: str
) -> None:
    """With the reason in one line, and no second try: the same answer would come again."""

    async def run() -> None:
        with pytest.raises(ServerUnavailable, match=r"^cannot reach ") as caught:
            await ToolSession(state.url, mode=mode, retry=QUICK).open()
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is not None

    with misbehaving("none", handshake=answer) as state:
        asyncio.run(run())
    assert state.handshakes == len({mode, "legacy"})


def test_a_command_that_does_not_exist_is_a_server_that_cannot_be_reached() -> None:
    """With the operating system's own words."""

    async def run() -> None:
        session = ToolSession(stdio_server("no-such-command"), retry=QUICK)
        with pytest.raises(ServerUnavailable, match="No such file"):
            await session.open()
        await session.aclose()

    asyncio.run(run())


# -- retries -------------------------------------------------------------------------------------


def test_a_tool_that_may_repeat_is_tried_again_with_growing_waits() -> None:
    """The supplier's line is busy twice."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def run() -> None:
        policy = RetryPolicy(attempts=3, delay=1.0, jitter=0.5)
        async with ToolSession(
            build_shop(),
            retry=policy,
            retry_tools=["supplier_price"],
            sleep=sleep,
            rng=lambda: 0.5,
        ) as session:
            assert text(await session.call_tool("supplier_price", {"tea": "assam"})) == "225"
            assert session.history[-1].attempts == 3

    asyncio.run(run())
    assert waits == [0.75, 1.5]


def test_a_tool_that_must_not_repeat_is_tried_once() -> None:
    """The same busy line, and no permission to call it again."""
    shop = Shop()

    async def run() -> None:
        async with ToolSession(build_shop(shop), retry=QUICK) as session:
            with pytest.raises(MCPError, match="busy"):
                await session.call_tool("supplier_price", {"tea": "assam"})

    asyncio.run(run())
    assert shop.supplier_calls == 1


def test_retries_end() -> None:
    """With the last error."""
    shop = Shop()

    async def run() -> None:
        policy = RetryPolicy(attempts=2, delay=0)
        rule = {"supplier_price"}
        async with ToolSession(build_shop(shop), retry=policy, retry_tools=rule) as session:
            with pytest.raises(MCPError, match="busy"):
                await session.call_tool("supplier_price", {"tea": "assam"})

    asyncio.run(run())
    assert shop.supplier_calls == 2


def test_a_rule_reads_the_servers_own_hints() -> None:
    """`declared_safe` is for servers one trusts; unknown tools are never repeated."""

    async def run() -> None:
        async with ToolSession(build_shop(), retry=QUICK, retry_tools=declared_safe) as session:
            assert text(await session.call_tool("supplier_price", {"tea": "assam"})) == "225"
            assert (await session.call_tool("brew", {"minutes": 1})).content
            assert (await session.call_tool("unknown")).is_error

    asyncio.run(run())


@pytest.mark.parametrize(
    ("hints", "safe"),
    [
        (None, False),
        (ToolAnnotations(), False),
        (ToolAnnotations(read_only_hint=True), True),
        (ToolAnnotations(idempotent_hint=True), True),
        (ToolAnnotations(destructive_hint=True), False),
    ],
)
def test_only_declared_tools_count_as_safe(hints: ToolAnnotations | None, safe: bool) -> None:
    """No hint is no promise."""
    tool = Tool(name="t", input_schema={}, annotations=hints)
    assert declared_safe(tool) is safe


def test_delays_grow_to_their_limit() -> None:
    """Doubling, capped, with the jitter taken off."""
    policy = RetryPolicy(delay=1, factor=2, max_delay=5, jitter=0.5)
    assert [policy.delay_after(n, lambda: 0.0) for n in (1, 2, 3, 4)] == [1, 2, 4, 5]
    assert policy.delay_after(1, lambda: 1.0) == 0.5


# -- HTTP ----------------------------------------------------------------------------------------


@by_era
@pytest.mark.parametrize(
    ("token", "status", "said"),
    [(None, 401, "pass a valid"), ("old", 401, "invalid_token"), ("small", 403, "scope")],
)
def test_a_bad_token_is_access_denied_with_the_servers_challenge(
    token: str | None, status: int, said: str, mode: str
) -> None:
    """A bare client shows -32603 for all three; none of them is tried again."""

    async def run() -> None:
        guarded = build_shop(verifier=ListedTokens(TOKENS))
        session = ToolSession(serve_http(guarded, token=token), mode=mode)
        with pytest.raises(AccessDenied, match=said) as caught:
            await session.open()
        assert caught.value.status == status
        await session.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"roles": ["shop"]}, 200),
        ({"roles": ["browse"]}, 403),
        ({"roles": ["shop"], "exp": 1}, 401),
    ],
)
def test_the_signed_tokens_of_chapter_01_open_the_door(claims: Any, status: int) -> None:
    """Its `verify_token` is the server's token verifier; roles are scopes."""
    key = "k" * 32
    far = 4_000_000_000
    token = jwt.encode({"sub": "me", "aud": "tea-shop", "exp": far, **claims}, key)
    verifier = SignedTokens(partial(verify_token, key=key, audience="tea-shop"))

    async def run() -> int:
        session = ToolSession(serve_http(build_shop(verifier=verifier), token=token))
        try:
            async with session:
                return 200 if await session.list_tools() else 204
        except AccessDenied as denied:
            return denied.status

    assert asyncio.run(run()) == status


@by_era
def test_a_token_that_expires_in_mid_session_is_denied_and_nothing_else_breaks(mode: str) -> None:
    """The session stays open; a valid token would be served at once."""
    tokens = {"good": TOKENS["good"]}

    async def run() -> None:
        guarded = build_shop(verifier=ListedTokens(tokens))
        async with ToolSession(serve_http(guarded, token="good"), mode=mode) as session:
            await session.call_tool("stock", {"tea": "assam"})
            tokens["good"] = TOKENS["old"]
            with pytest.raises(AccessDenied) as caught:
                await session.call_tool("stock", {"tea": "assam"})
            assert caught.value.status == 401
            tokens["good"] = TOKENS["good"]
            await session.call_tool("stock", {"tea": "assam"})
            assert [call.outcome for call in session.history] == ["ok", "failed", "ok"]

    asyncio.run(run())


@by_era
def test_an_oauth_flow_that_fails_is_access_denied(mode: str) -> None:
    """While connecting and in mid-session alike; it is not tried again."""

    class Flow(httpx2.Auth):
        works = True

        async def async_auth_flow(
            self, request: httpx2.Request
        ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
            if not self.works:
                raise OAuthFlowError("the issuer is not the one announced")
            yield request

    async def run() -> None:
        flow = Flow()
        async with serving(build_shop()) as url:
            async with ToolSession(http_server(url, auth=flow), mode=mode) as session:
                flow.works = False
                with pytest.raises(AccessDenied, match="not the one announced"):
                    await session.call_tool("stock", {"tea": "assam"})
                flow.works = True
                await session.call_tool("stock", {"tea": "assam"})
                flow.works = False
            with pytest.raises(AccessDenied, match="not the one announced"):
                await session.open()

    asyncio.run(run())


def test_a_token_is_in_no_repr_and_no_error() -> None:
    """Secrets stay where they are sent."""
    server = http_server("http://127.0.0.1:9/mcp", token="s3cret", headers={"x-team": "tea"})
    assert "s3cret" not in repr(server)
    assert "s3cret" not in repr(serve_http(build_shop(), token="s3cret"))
    assert (server.headers, server.token) == ({"x-team": "tea"}, "s3cret")


def test_the_guarded_server_publishes_where_tokens_come_from() -> None:
    """Protected-resource metadata; a foreign Host or Origin is turned away."""

    async def run() -> None:
        guarded = build_shop(verifier=ListedTokens(TOKENS))
        async with serving(guarded) as url, httpx2.AsyncClient() as http:
            base = url.removesuffix("/mcp")
            found = await http.get(f"{base}/.well-known/oauth-protected-resource/mcp")
            assert found.json()["scopes_supported"] == ["shop"]
            good = {"authorization": "Bearer good", "accept": "application/json"}
            strange = [{"host": "evil.example"}, {"origin": "https://evil.example"}]
            statuses = [
                (await http.post(url, headers={**good, **header}, json={})).status_code
                for header in strange
            ]
            assert statuses == [421, 403]

    asyncio.run(run())


@asynccontextmanager
async def _answering(status: int, body: bytes = b"", **headers: str) -> AsyncIterator[str]:
    """An HTTP endpoint that says the same thing to everyone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", "connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


@pytest.mark.parametrize(
    ("status", "expected", "said"),
    [
        (429, ServerUnavailable, "HTTP 429"),
        (503, ServerUnavailable, "HTTP 503"),
        (502, ServerUnavailable, "HTTP 502"),
        (500, ServerUnavailable, "HTTP 500"),
    ],
)
def test_http_statuses_keep_their_number(status: int, expected: type[MCPError], said: str) -> None:
    """A status without a JSON-RPC body is not flattened into -32603."""

    async def run() -> None:
        async with _answering(status) as url:
            session = ToolSession(http_server(url), retry=RetryPolicy(attempts=1))
            with pytest.raises(expected, match=said):
                await session.open()
            await session.aclose()

    asyncio.run(run())


def test_a_json_rpc_error_in_the_body_is_the_servers_own_word() -> None:
    """It passes through, whatever the HTTP status."""
    body = b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32050, "message": "closed today"}}'

    async def run() -> None:
        async with _answering(503, body, content_type="application/json") as url:
            session = ToolSession(http_server(url))
            with pytest.raises(MCPError, match="closed today") as caught:
                await session.open()
            assert caught.value.code == -32050
            await session.aclose()

    asyncio.run(run())


def test_errors_within_time_even_when_a_socket_accepts_and_says_nothing() -> None:
    """A black hole is found out by the clock."""

    async def run() -> None:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            session = ToolSession(
                http_server(f"http://127.0.0.1:{port}/mcp"),
                connect_timeout=0.2,
                retry=RetryPolicy(attempts=1),
            )
            with pytest.raises(ServerUnavailable, match="no handshake"):
                async with asyncio.timeout(60):
                    await session.open()
            await session.aclose()

    asyncio.run(run())


def test_an_error_that_says_internal_stays_what_it_is_during_a_call() -> None:
    """-32603 means unreachable only while connecting."""

    async def fail(client: Client) -> Any:
        raise MCPError(INTERNAL_ERROR, "upset")

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            with pytest.raises(MCPError, match="upset") as caught:
                await session.request(fail)
            assert type(caught.value) is MCPError

    asyncio.run(run())


def test_a_session_that_was_never_open_can_be_closed() -> None:
    """As often as somebody likes."""
    asyncio.run(ToolSession(bare()).aclose())


def test_the_error_of_a_callback_comes_without_the_group_around_it() -> None:
    """What the caller's own code raised is what the caller catches."""

    async def send(client: Client) -> None:
        raise ExceptionGroup("callbacks", [LookupError("mine")])

    async def run() -> None:
        async with ToolSession(bare()) as session:
            with pytest.raises(LookupError, match="mine"):
                await session.request(send)
            await _still_usable(session)

    asyncio.run(run())
