"""`Session`: an MCP client that survives its server. `claude.ToolSession` is one for Claude."""

import asyncio
import random
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar

from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.caching import CacheMode
from mcp.client.session import ElicitationFnT
from mcp.shared.dispatcher import ProgressFnT
from mcp.types import (
    REQUEST_TIMEOUT,
    CallToolResult,
    ElicitRequestParams,
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

from patterns.mcp_session.connect import Connect, name_of, stderr_of, way_to
from patterns.mcp_session.connection import Connection
from patterns.mcp_session.errors import (
    LOST_CONNECTION,
    CallTimeout,
    ServerUnavailable,
    SessionClosed,
    access_denied,
    invalid_result,
    leaves,
    no_answer,
)
from patterns.mcp_session.history import CORRELATION_KEY, Outcome, ToolCall
from patterns.mcp_session.limits import Limit, Limits
from patterns.mcp_session.listings import all_pages
from patterns.mcp_session.reconnect import OnReconnect, Reconnector
from patterns.mcp_session.retry import RetryPolicy, RetryTools, never_started
from patterns.mcp_session.watch import OnChange, watch

T = TypeVar("T")
Send = Callable[[Client], Awaitable[T]]
Repeat = bool | Callable[[], Awaitable[bool]]
"""Whether a request may be sent again; a function is asked once it has failed."""


@dataclass(slots=True)
class Trace:
    """What happened to one request so far.

    `waiting_on` is the connection that carries an attempt right now; `maybe_done` says that an
    earlier attempt may have run.
    """

    attempts: int = 0
    connection: int = 0
    waiting_on: Connection | None = None
    maybe_done: bool = False
    limit: Limit | None = None


class Session:
    """A connection to one MCP server that reconnects, retries where that is safe, and remembers.

    It may be opened in one notebook cell and closed in another, and used from any task of one
    event loop. Whoever stops waiting, by a limit, a cancellation or an interrupt, leaves nothing
    behind.

    Args:
        connect: What to connect to: `stdio_server(...)`, `http_server(...)`, an
            `MCPServer` of this process, a URL, or a function that returns a transport.
        retry: How often and after how long a request is tried again.
        timeout: Seconds for one request in all: its attempts, the waits between them, a new
            connection if it needs one. A person's answer to an elicitation does not count.
        connect_timeout: Seconds for `open()` in all, and for a handshake later; `timeout` if None.
        progress_limit: Seconds that a request may take in all if each of its progress reports
            starts `timeout` anew; None: progress changes nothing.
        retry_tools: Tools that may run twice: names, or a rule such as `declared_safe`, which is
            asked about the tool as the server lists it at that moment. Every other tool is sent
            once, whatever happens.
        on_reconnect: Called with the number of each connection that replaces a lost one, before
            the requests that wait for it go on: what the server knew of this client is gone.
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
        progress_limit: float | None = None,
        retry_tools: RetryTools = (),
        on_reconnect: OnReconnect | None = None,
        session_id: str | None = None,
        remember: int = 1_000,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        clock: Callable[[], float] = time.perf_counter,
        rng: Callable[[], float] = random.random,
        **client_options: Any,
    ) -> None:
        self.name = name_of(connect)
        self.session_id = session_id or uuid.uuid4().hex
        self.retry, self.timeout, self.progress_limit = retry, timeout, progress_limit
        self.connect_timeout = timeout if connect_timeout is None else connect_timeout
        if ask := client_options.get("elicitation_callback"):
            client_options["elicitation_callback"] = self._off_the_clock(ask)
        self._connect, self._retry_tools = way_to(connect), retry_tools
        self._connections = Reconnector(
            self._connect, client_options, self.connect_timeout, on_reconnect
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limits = Limits()
        self._sleep, self._clock, self._rng = sleep, clock, rng
        self._history: deque[ToolCall] = deque(maxlen=remember)
        self._numbers = count(1)

    # -- lifetime ------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect; raises `ServerUnavailable` or `AccessDenied` if that fails."""
        if self._loop is None or self._loop.is_closed():
            self._connections.forget()
            self._loop, self._limits = asyncio.get_running_loop(), Limits()
        self._in_this_loop()
        self._connections.open()
        try:
            await self._run(_nothing, "connect", self.connect_timeout, True, Trace())
        except BaseException:
            # In a task of its own: a second interrupt must not stop the cleaning up.
            await asyncio.shield(asyncio.create_task(self.aclose()))
            raise
        return self

    async def aclose(self) -> None:
        """Disconnect and end the server if it is a child; the session can be opened again."""
        if self._loop is not None and self._loop.is_closed():
            self._connections.forget()
        elif self._loop is not None:
            self._in_this_loop()
            self._limits.silence()
            await self._connections.close()

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
        if self._connections.latest is None:
            raise SessionClosed(self.name)
        return self._connections.latest.client

    @property
    def history(self) -> tuple[ToolCall, ...]:
        """The latest tool calls, oldest first."""
        return tuple(self._history)

    async def connection(self) -> Connection:
        """The connection in use, or a new one if it was lost."""
        self._in_this_loop()
        return await self._connections.connection()

    def _in_this_loop(self) -> None:
        if self._loop is None:
            raise SessionClosed(self.name)
        if self._loop is not asyncio.get_running_loop():
            raise SessionClosed(self.name, elsewhere=True)

    def _off_the_clock(self, ask: ElicitationFnT) -> ElicitationFnT:
        """A person may think for as long as they like."""

        async def asked(context: ClientRequestContext, params: ElicitRequestParams) -> Any:
            with self._limits.held():
                return await ask(context, params)

        return asked

    # -- requests ------------------------------------------------------------------------------

    async def request(
        self,
        send: Send[T],
        *,
        what: str = "request",
        seconds: float | None = None,
        repeat: bool = False,
    ) -> T:
        """Run any request of `mcp.Client` with this session's timeout, reconnection and retries.

        Args:
            send: Makes the request on the client it is given.
            what: How errors call it.
            seconds: Limit in all; the session's `timeout` if None.
            repeat: Whether the request may be sent again when it is unknown if it ran.
        """
        return await self._run(send, what, seconds, repeat, Trace())

    async def pause(self, failures: int, error: BaseException | None = None) -> None:
        """Wait as long as the retry policy and the server want after so many failures in a row."""
        asked = getattr(error, "retry_after", None)
        await self._sleep(self.retry.delay_after(failures, self._rng, asked))

    async def _run(
        self, send: Send[T], what: str, seconds: float | None, repeat: Repeat, trace: Trace
    ) -> T:
        """All attempts of a request, under one limit."""
        self._in_this_loop()
        seconds = self.timeout if seconds is None else seconds
        trace.limit = limit = self._limits.start(seconds)
        try:
            while True:
                trace.attempts += 1
                try:
                    return await self._attempt(send, what, trace)
                except MCPError as error:
                    if not await self._may_repeat(error, repeat, trace):
                        raise self._as_done_as(trace, error) from error.__cause__
                    failure = error
                await self.pause(trace.attempts, failure)
        except asyncio.CancelledError:
            if not limit.expired:
                raise
            raise self._late(what, seconds, trace) from None
        finally:
            self._limits.stop(limit)

    def _late(self, what: str, seconds: float, trace: Trace) -> ServerUnavailable:
        """The error of a limit: a call that got no answer, or one that was never sent."""
        if trace.waiting_on is not None:
            trace.waiting_on.suspect(seconds)
        elif not trace.maybe_done:
            reason = f"no handshake within {seconds:g} s"
            return ServerUnavailable(self.name, reason, stderr=stderr_of(self._connect))
        return CallTimeout(self.name, what, seconds)

    async def _may_repeat(self, error: MCPError, repeat: Repeat, trace: Trace) -> bool:
        if trace.attempts >= self.retry.attempts or not self.retry.heals(error):
            return False
        if never_started(error, self.retry):
            return True
        return await repeat() if callable(repeat) else repeat

    def _as_done_as(self, trace: Trace, error: MCPError) -> MCPError:
        """The last error, which must not hide that an earlier attempt may have run."""
        if trace.maybe_done and isinstance(error, ServerUnavailable) and not error.maybe_done:
            return ServerUnavailable(self.name, error.reason, maybe_done=True)
        return error

    async def _attempt(self, send: Send[T], what: str, trace: Trace) -> T:
        connection = self._connections.ready or await self._connections.connection()
        trace.connection, trace.waiting_on = connection.number, connection
        connection.calls += 1
        try:
            return await send(connection.client)
        except MCPError as error:
            failure = await self._translated(error, what, connection, trace)
            trace.waiting_on = None
            trace.maybe_done = trace.maybe_done or not never_started(failure, self.retry)
            raise failure from error
        except (RuntimeError, ValidationError) as error:
            if connection.owner.done():
                raise ServerUnavailable(self.name, "closed", maybe_done=True) from error
            if invalid := invalid_result(what, error):
                raise invalid from error
            raise
        except ExceptionGroup as group:
            # The client runs callbacks in a task group: the caller wants the error, not the group.
            raise leaves(group)[0] from group
        finally:
            connection.release()

    async def _translated(
        self, error: MCPError, what: str, connection: Connection, trace: Trace
    ) -> MCPError:
        """The typed error for what a client raised; other protocol errors stay as they are."""
        known = no_answer(error)
        if known is not None and known.forgotten and await connection.forgotten():
            known = replace(known, sent=False)
        if known is not None and known.lost:
            connection.retire()
        if denied := access_denied(self.name, error):
            return denied
        if error.code == REQUEST_TIMEOUT:
            return self._late(what, connection.client.read_timeout_seconds or self.timeout, trace)
        if known is None and not connection.retired:
            return error
        known = known or LOST_CONNECTION
        return ServerUnavailable(
            self.name,
            error.message,
            maybe_done=known.sent,
            status=known.status,
            retry_after=known.retry_after,
            code=error.code,
        )

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
        correlation_id: str | None = None,
    ) -> CallToolResult:
        """Call a tool; same parameters and result as `mcp.Client.call_tool`.

        `correlation_id` names the call in `history` and to the server; numbered if None.

        Raises:
            ServerUnavailable: Lost or unreachable; `maybe_done` says whether the tool may have run.
            CallTimeout: No answer in time.
            AccessDenied: HTTP 401 or 403.
            ResultValidationError: The tool ran, and its result breaks its output schema.
            MCPError: Any other error the server answered with.
        """
        call_id = correlation_id or f"{self.session_id}-{next(self._numbers)}"
        stamped: Any = {**(meta or {}), CORRELATION_KEY: call_id}
        rule = self._retry_tools
        repeat = partial(self._rule_allows, rule, name) if callable(rule) else name in rule
        seconds = self.timeout if read_timeout_seconds is None else read_timeout_seconds
        trace, why, tell = Trace(), "", progress_callback
        if self.progress_limit:
            tell = self._live(trace, tell, seconds, self.progress_limit)

        def send(client: Client) -> Awaitable[CallToolResult]:
            return client.call_tool(
                name,
                arguments,
                None,
                tell,
                input_responses=input_responses,
                request_state=request_state,
                meta=stamped,
            )

        outcome: Outcome = "failed"
        started = self._clock()
        try:
            result = await self._run(send, name, seconds, repeat, trace)
            outcome = "tool_error" if result.is_error else "ok"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            why = str(error)
            raise
        finally:
            tried = trace.attempts, trace.connection, self._clock() - started
            self._history.append(ToolCall(call_id, name, arguments or {}, outcome, why, *tried))
        return result

    def _live(
        self, trace: Trace, tell: ProgressFnT | None, seconds: float, longest: float
    ) -> ProgressFnT:
        """Each report lets the limit end in so many seconds, `longest` from now at most."""
        last = asyncio.get_running_loop().time() + longest

        async def report(progress: float, total: float | None, message: str | None) -> None:
            self._limits.extend(trace.limit, seconds, last)
            if tell is not None:
                await tell(progress, total, message)

        return report

    async def _rule_allows(self, rule: Callable[[Tool], bool], name: str) -> bool:
        """Ask about the tool as it is listed now: after a reconnect it may be another one."""
        tools: list[Tool] = []
        with suppress(MCPError):
            tools = await self.list_tools(cache_mode="refresh")
        return any(rule(tool) for tool in tools if tool.name == name)

    # -- listings, resources and prompts -------------------------------------------------------

    async def list_tools(self, *, cache_mode: CacheMode = "use") -> list[Tool]:
        """All tools, page after page; `cache_mode` as in `mcp.Client.list_tools`."""
        return await self._all("tools", partial(Client.list_tools, cache_mode=cache_mode))

    async def list_resources(self) -> list[Resource]:
        """All resources, page after page."""
        return await self._all("resources", Client.list_resources)

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """All resource templates, page after page."""
        return await self._all("resource_templates", Client.list_resource_templates)

    async def list_prompts(self) -> list[Prompt]:
        """All prompts, page after page."""
        return await self._all("prompts", Client.list_prompts)

    async def _all(self, field: str, fetch: Callable[..., Awaitable[Any]]) -> list[Any]:
        """A whole listing under one limit, on one connection: a cursor is good for no other."""
        return await self.request(partial(all_pages, fetch, field), what=field, repeat=True)

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
        reads = {uri: partial(self.read_resource, uri, cache_mode="refresh") for uri in uris}
        await watch(self, reads, on_change, {"resource_subscriptions": uris}, recheck)

    async def watch_tools(
        self, on_change: Callable[[list[Tool]], Awaitable[Any] | Any], *, recheck: float = 10.0
    ) -> None:
        """Call `on_change(tools)` now and whenever the server's tools or their hints have changed.

        Follows `list_changed`, and lists again after every reconnect; otherwise as `watch`.
        """
        reads = {"tools": partial(self.list_tools, cache_mode="refresh")}
        wanted = {"tools_list_changed": True}
        await watch(self, reads, lambda _, tools: on_change(tools), wanted, recheck)


async def _nothing(client: Client) -> None:
    """A request that only needs the connection."""
