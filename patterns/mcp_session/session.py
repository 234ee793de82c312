"""`ToolSession`: an MCP client that survives its server."""

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from anthropic.lib.tools import BetaAsyncFunctionTool
from mcp import Client, MCPError
from mcp.client.caching import CacheMode
from mcp.shared.dispatcher import ProgressFnT
from mcp.types import (
    REQUEST_TIMEOUT,
    CallToolResult,
    GetPromptResult,
    InputResponses,
    Prompt,
    ReadResourceResult,
    RequestParamsMeta,
    Resource,
    ResourceTemplate,
    Tool,
)
from pydantic import ValidationError

from patterns.mcp_session.claude import DEFAULT_RESULT_LIMIT, as_claude_tools
from patterns.mcp_session.connect import Connect, name_of
from patterns.mcp_session.connection import ClientOptions, Connection
from patterns.mcp_session.deadlines import Deadlines
from patterns.mcp_session.errors import (
    CallTimeout,
    ServerUnavailable,
    access_denied,
    invalid_result,
    sent_before_loss,
)
from patterns.mcp_session.history import CORRELATION_KEY, ToolCall, Trace
from patterns.mcp_session.reconnect import Reconnector
from patterns.mcp_session.retry import RetryPolicy, RetryTools, never_started
from patterns.mcp_session.watch import OnChange, watch

T = TypeVar("T")
PAGE_CAP = 1_000


class ToolSession:
    """A connection to one MCP server that reconnects, retries where that is safe, and remembers.

    It may be opened in one notebook cell and closed in another, and used from any task.

    Args:
        connect: What to connect to: `stdio_server(...)`, `http_server(...)`, `serve_http(...)`,
            an `MCPServer` of this process, a URL, or a function that returns a transport.
        retry: How often and after how long a request is tried again.
        timeout: Seconds for one attempt of a request, client callbacks included.
        connect_timeout: Seconds for one handshake; `timeout` if None.
        retry_tools: Tools that may run twice: names, or a rule such as `declared_safe`.
            Every other tool is sent once, whatever happens.
        session_id: Prefix of the correlation ids; random if None.
        remember: How many calls `history` keeps.
        sleep: Waits between attempts.
        clock: Measures `ToolCall.seconds`.
        rng: Draws the jitter, 0 to 1.
        client_options: Every option of `mcp.Client`: `mode`, `sampling_callback`, ...
    """

    def __init__(
        self,
        connect: Connect,
        *,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float = 30.0,
        connect_timeout: float | None = None,
        retry_tools: RetryTools = (),
        session_id: str | None = None,
        remember: int = 1_000,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        clock: Callable[[], float] = time.perf_counter,
        rng: Callable[[], float] = random.random,
        **client_options: Unpack[ClientOptions],
    ) -> None:
        self.name = name_of(connect)
        self.session_id = session_id or uuid.uuid4().hex
        self.retry = retry
        self.timeout = timeout
        patience = timeout if connect_timeout is None else connect_timeout
        self._connections = Reconnector(connect, client_options, patience)
        self._deadlines = Deadlines()
        self._retry_tools = retry_tools
        self._sleep, self._clock, self._rng = sleep, clock, rng
        self._history: deque[Trace] = deque(maxlen=remember)
        self._numbers = count(1)
        self._tools: dict[str, Tool] = {}

    # -- lifetime ------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect; raises `ServerUnavailable` or `AccessDenied` if that fails."""
        self._connections.open()
        await self.request(_nothing, what="connect", repeat=True)
        return self

    async def aclose(self) -> None:
        """Disconnect and end the server if it is a child; the session can be opened again."""
        await self._connections.close()
        self._deadlines.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def client(self) -> Client:
        """The `mcp.Client` of the current connection, for what the session does not wrap."""
        return self._connections.current.client

    @property
    def history(self) -> tuple[ToolCall, ...]:
        """The latest tool calls, oldest first."""
        return tuple(trace.as_tool_call(self.session_id) for trace in self._history)

    async def connection(self) -> Connection:
        """The connection in use, or a new one if it was lost."""
        return await self._connections.connection()

    # -- requests ------------------------------------------------------------------------------

    async def request(
        self,
        send: Callable[[Client], Awaitable[T]],
        *,
        what: str = "request",
        seconds: float | None = None,
        repeat: bool = False,
    ) -> T:
        """Run any request of `mcp.Client` with this session's timeout, reconnection and retries.

        Args:
            send: Makes the request on the client it is given.
            what: How errors call it.
            seconds: Limit of one attempt; the session's `timeout` if None.
            repeat: Whether the request may be sent again when it is unknown if it ran.
        """
        return await self._run(send, what, seconds, repeat, Trace())

    async def pause(self, failures: int) -> None:
        """Wait as long as the retry policy wants after so many failures in a row."""
        await self._sleep(self.retry.delay_after(failures, self._rng))

    async def _run(
        self,
        send: Callable[[Client], Awaitable[T]],
        what: str,
        seconds: float | None,
        repeat: bool,
        trace: Trace,
    ) -> T:
        limit = self.timeout if seconds is None else seconds
        while True:
            trace.attempts += 1
            try:
                return await self._attempt(send, what, limit, trace)
            except MCPError as error:
                again = never_started(error) or (repeat and self.retry.heals(error.code))
                if not again or trace.attempts >= self.retry.attempts:
                    raise
            await self.pause(trace.attempts)

    async def _attempt(
        self,
        send: Callable[[Client], Awaitable[T]],
        what: str,
        seconds: float,
        trace: Trace,
    ) -> T:
        connection = self._connections.ready or await self.connection()
        trace.connection = connection.number
        connection.calls += 1
        limit = self._deadlines.limit(seconds)
        try:
            with limit:
                result = await send(connection.client)
        except TimeoutError:
            if not limit.expired:
                raise
            self._silent(connection)
            raise CallTimeout(self.name, what, seconds) from None
        except MCPError as error:
            raise self._translated(error, what, seconds, connection) from error
        except (RuntimeError, ValidationError) as error:
            if connection.owner.done():
                raise ServerUnavailable(self.name, "closed", maybe_done=True) from error
            if invalid := invalid_result(what, error):
                raise invalid from error
            raise
        finally:
            connection.release()
        connection.timeouts = 0
        return result

    def _silent(self, connection: Connection) -> None:
        """Replace a connection that twice in a row did not answer in time."""
        connection.timeouts += 1
        if connection.timeouts >= 2:
            connection.retire()

    def _translated(
        self, error: MCPError, what: str, seconds: float, connection: Connection
    ) -> MCPError:
        """The typed error for what a client raised; other protocol errors stay as they are."""
        if denied := access_denied(self.name, error):
            return denied
        if error.code == REQUEST_TIMEOUT:
            self._silent(connection)
            return CallTimeout(self.name, what, seconds)
        sent = sent_before_loss(error)
        if sent is None and not connection.retired:
            return error
        connection.retire()
        return ServerUnavailable(self.name, error.message, maybe_done=sent is not False)

    # -- tools ---------------------------------------------------------------------------------

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        read_timeout_seconds: float | None = None,
        progress_callback: ProgressFnT | None = None,
        *,
        input_responses: InputResponses | None = None,
        request_state: str | None = None,
        meta: RequestParamsMeta | None = None,
    ) -> CallToolResult:
        """Call a tool; same parameters and result as `mcp.Client.call_tool`.

        Raises:
            ServerUnavailable: Lost or unreachable; `maybe_done` says whether the tool may have run.
            CallTimeout: No answer in time.
            AccessDenied: HTTP 401 or 403.
            ResultValidationError: The result breaks the tool's output schema.
            MCPError: Any other error the server answered with.
        """
        trace = Trace(next(self._numbers), name, arguments or {})
        stamped: Any = {**(meta or {}), CORRELATION_KEY: f"{self.session_id}-{trace.number}"}

        def send(client: Client) -> Awaitable[CallToolResult]:
            return client.call_tool(
                name,
                arguments,
                None,
                progress_callback,
                input_responses=input_responses,
                request_state=request_state,
                meta=stamped,
            )

        rule = self._retry_tools
        started = self._clock()
        try:
            repeat = await self._rule_allows(rule, name) if callable(rule) else name in rule
            result = await self._run(send, name, read_timeout_seconds, repeat, trace)
            trace.outcome = "tool_error" if result.is_error else "ok"
        except asyncio.CancelledError:
            trace.outcome = "cancelled"
            raise
        except Exception as error:
            trace.error = str(error)
            raise
        finally:
            trace.seconds = self._clock() - started
            self._history.append(trace)
        return result

    async def _rule_allows(self, rule: Callable[[Tool], bool], name: str) -> bool:
        if name not in self._tools:
            await self.list_tools()
        return name in self._tools and rule(self._tools[name])

    async def list_tools(self) -> list[Tool]:
        """All tools, page after page."""
        tools = await self._pages(_tools_page, "tools/list")
        self._tools = {tool.name: tool for tool in tools}
        return tools

    async def anthropic_tools(
        self, prefix: str = "", *, max_result_chars: int = DEFAULT_RESULT_LIMIT
    ) -> list[BetaAsyncFunctionTool[Any]]:
        """The server's tools for `client.beta.messages.tool_runner(tools=...)`.

        Args:
            prefix: Put before every name, so that two servers may offer the same tool.
            max_result_chars: Longest text of one result; the rest is cut off and said to be.
        """
        return as_claude_tools(self, await self.list_tools(), prefix, max_result_chars)

    # -- resources and prompts -----------------------------------------------------------------

    async def list_resources(self) -> list[Resource]:
        """All resources, page after page."""
        return await self._pages(_resources_page, "resources/list")

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """All resource templates, page after page."""
        return await self._pages(_templates_page, "resources/templates/list")

    async def list_prompts(self) -> list[Prompt]:
        """All prompts, page after page."""
        return await self._pages(_prompts_page, "prompts/list")

    async def read_resource(self, uri: str, *, cache_mode: CacheMode = "use") -> ReadResourceResult:
        """Read a resource; `cache_mode` as in `mcp.Client.read_resource`."""
        return await self.request(
            lambda client: client.read_resource(uri, cache_mode=cache_mode), what=uri, repeat=True
        )

    async def get_prompt(
        self, name: str, arguments: dict[str, str] | None = None
    ) -> GetPromptResult:
        """Render a prompt."""
        return await self.request(
            lambda client: client.get_prompt(name, arguments), what=name, repeat=True
        )

    async def watch(self, uris: list[str], on_change: OnChange, *, recheck: float = 10.0) -> None:
        """Call `on_change(uri, result)` with each resource now and whenever it has changed.

        Runs until cancelled, across restarts of the server.

        Args:
            uris: Resources to follow.
            on_change: Plain or async function; gets the URI and a `ReadResourceResult`.
            recheck: Seconds after which everything is read again without a cue from the server.

        Raises:
            ServerUnavailable: `retry.attempts` tries in a row did not reach the server.
        """
        await watch(self, uris, on_change, recheck=recheck)

    async def _pages(
        self,
        fetch: Callable[[Client, str | None], Awaitable[tuple[list[T], str | None]]],
        what: str,
    ) -> list[T]:
        items: list[T] = []
        cursor: str | None = None
        for _ in range(PAGE_CAP):
            at = cursor
            page, cursor = await self.request(lambda c: fetch(c, at), what=what, repeat=True)  # noqa: B023
            items += page
            if cursor is None:
                break
        return items


async def _nothing(client: Client) -> None:
    """A request that only needs the connection."""


async def _tools_page(client: Client, cursor: str | None) -> tuple[list[Tool], str | None]:
    page = await client.list_tools(cursor=cursor)
    return page.tools, page.next_cursor


async def _resources_page(client: Client, cursor: str | None) -> tuple[list[Resource], str | None]:
    page = await client.list_resources(cursor=cursor)
    return page.resources, page.next_cursor


async def _templates_page(
    client: Client, cursor: str | None
) -> tuple[list[ResourceTemplate], str | None]:
    page = await client.list_resource_templates(cursor=cursor)
    return page.resource_templates, page.next_cursor


async def _prompts_page(client: Client, cursor: str | None) -> tuple[list[Prompt], str | None]:
    page = await client.list_prompts(cursor=cursor)
    return page.prompts, page.next_cursor
