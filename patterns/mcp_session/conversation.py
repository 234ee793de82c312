"""A conversation of a user, Claude and the tools of several servers.

For: assistants and services that keep a history per user, stream Claude's words onward while tools
run, ask before they act, and stop at a budget. Not for: one question with tools, where the SDK's
`tool_runner` with `ToolSession.anthropic_tools()` is enough.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from decimal import Decimal
from typing import Any

from anthropic import AsyncAnthropic
from anthropic.types import Message, ToolUseBlock
from mcp import MCPError
from mcp.types import Tool

from patterns.mcp_session.boundary import Offer, RejectedTool, offer
from patterns.mcp_session.errors import ResultValidationError
from patterns.mcp_session.events import (
    Approve,
    Budget,
    Event,
    OnEvent,
    TextDelta,
    Turn,
    TurnEnded,
)
from patterns.mcp_session.results import DEFAULT_RESULT_LIMIT
from patterns.mcp_session.session import Session
from patterns.mcp_session.tool_calls import Route, ToolCalls, read_only

Price = Callable[[str, Any], Decimal | None]


class Conversation:
    """A history with Claude in which the tools of open sessions may be used.

    One turn runs at a time. Whatever ends a turn, the history can be continued: a call that has
    begun keeps a result in it, a turn in which nothing was done leaves no trace.

    Args:
        client: Makes the requests; its middleware sees each of them.
        servers: Open sessions by name; with several, the name is the prefix of their tools.
        model: Which Claude.
        max_tokens: Most tokens of one answer.
        system: The system prompt.
        approve: Asked before every tool call, for a person or a rule.
        budget: What one turn may use up.
        price: Price of an answer from its model and usage, `patterns.core.pricing.cost_usd`.
        parallel: Which tools may run together, and before the answer is complete.
        max_result_chars: Longest text of one tool result.
        conversation_id: Prefix of the correlation ids; random if None.
        context: What your own code wants to remember with the conversation; never sent.
        options: Further parameters of `client.messages.stream`, server tools included.
    """

    def __init__(
        self,
        client: AsyncAnthropic,
        servers: Mapping[str, Session],
        *,
        model: str,
        max_tokens: int = 8_000,
        system: str = "",
        approve: Approve | None = None,
        budget: Budget = Budget(),  # noqa: B008 - frozen
        price: Price | None = None,
        parallel: Callable[[Tool], bool] = read_only,
        max_result_chars: int = DEFAULT_RESULT_LIMIT,
        conversation_id: str | None = None,
        context: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if budget.dollars is not None and price is None:
            raise ValueError("a budget in dollars needs price=, such as pricing.cost_usd")
        self.id = conversation_id or uuid.uuid4().hex
        self.context: dict[str, Any] = {} if context is None else context
        self.messages: list[dict[str, Any]] = []
        self._client, self._servers = client, dict(servers)
        system_prompt = {"system": system} if system else {}
        self._request = {"model": model, "max_tokens": max_tokens, **system_prompt, **options}
        self._own_tools = self._request.pop("tools", [])
        self.approve, self.budget, self.parallel = approve, budget, parallel
        self.max_result_chars, self._price = max_result_chars, price
        self._offers: dict[str, Offer] = {}
        self._lock = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether a turn is running."""
        return self._lock.locked()

    @property
    def rejected(self) -> dict[str, tuple[RejectedTool, ...]]:
        """The tools of each server that Claude does not get, with the reason."""
        return {name: found.rejected for name, found in self._offers.items()}

    async def send(self, content: str | list[Any], on_event: OnEvent | None = None) -> Turn:
        """Say something and let Claude finish; events go to `on_event`, plain or async.

        Raises what the API raises; the history then ends with the last complete exchange.
        """
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        async with self._lock:
            return await self._turn(blocks, on_event)

    async def resume(self, on_event: OnEvent | None = None) -> Turn:
        """Go on with a turn that failed or was stopped after its tools had run."""
        async with self._lock:
            if not self.messages or self.messages[-1]["role"] != "user":
                raise ValueError("nothing to resume: Claude has answered; call send() instead")
            return await self._turn([], on_event)

    async def stream(self, content: str | list[Any]) -> AsyncGenerator[Event, None]:
        """`send` as an iterator of events; leaving it early (`aclosing`) cancels the turn."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        turn = asyncio.create_task(self.send(content, events.put_nowait))
        turn.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield TurnEnded(await turn)
        finally:
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)

    # -- one turn ------------------------------------------------------------------------------

    async def _turn(self, blocks: list[Any], on_event: OnEvent | None) -> Turn:
        before = list(self.messages)
        self._say(blocks)
        said = len(self.messages)
        calls = ToolCalls(self, on_event)
        answers: list[Message] = []
        limit = asyncio.timeout(self.budget.seconds)
        try:
            async with limit:
                reason = await self._answered(calls, answers)
        except TimeoutError:
            if not limit.expired():
                raise
            reason = "budget"
        finally:
            await calls.cancel()
            if len(self.messages) == said:  # nothing came of it
                self.messages = before
        text = "".join(b.text for answer in answers for b in answer.content if b.type == "text")
        ids = tuple(calls.request_ids[: len(answers)])
        dollars = self._spent(answers) if self._price else None
        return Turn(text, reason, tuple(answers), ids, tuple(calls.runs), dollars)

    async def _answered(self, calls: ToolCalls, answers: list[Message]) -> str:
        """Ask until Claude is done or the budget is; returns the reason."""
        while True:
            routes = await self._routes()
            answer = await self._asked(calls, routes)
            answers.append(answer)
            if answer.stop_reason == "refusal":
                return "refusal"
            uses = [block for block in answer.content if isinstance(block, ToolUseBlock)]
            if answer.stop_reason == "tool_use" and uses:
                await self._tools_ran(calls, answer, uses, routes)
            else:
                self._keep(answer, without_calls=True)
                if answer.stop_reason != "pause_turn":
                    return str(answer.stop_reason)
            if calls.over_budget or self._too_dear(answers):
                return "budget"

    async def _asked(self, calls: ToolCalls, routes: Mapping[str, Route]) -> Message:
        request: Any = {**self._request, "messages": self.messages}
        if tools := [*self._own_tools, *(r.offered.param() for r in routes.values())]:
            request["tools"] = tools
        async with self._client.messages.stream(**request) as stream:
            calls.request_ids.append(stream.request_id)
            async for event in stream:
                if event.type == "text":
                    await calls.tell(TextDelta(event.text))
                elif event.type == "content_block_stop":
                    block = event.content_block
                    if isinstance(block, ToolUseBlock):
                        calls.begin(block, routes)
            answer = await stream.get_final_message()
        if answer.stop_reason != "tool_use":
            await calls.cancel()
        return answer

    async def _tools_ran(
        self,
        calls: ToolCalls,
        answer: Message,
        uses: list[ToolUseBlock],
        routes: Mapping[str, Route],
    ) -> None:
        """The answer and its results go into the history together, interrupted or not."""
        results, failure = await calls.finish(uses, routes)
        self._keep(answer)
        self.messages.append({"role": "user", "content": results})
        if failure is not None:
            raise failure

    # -- history -------------------------------------------------------------------------------

    def _say(self, blocks: list[Any]) -> None:
        """A user's message; after tool results that nobody answered, in the same message."""
        if blocks and self.messages and self.messages[-1]["role"] == "user":
            blocks = [*self.messages[-1]["content"], *blocks]
            self.messages = self.messages[:-1]
        if blocks:
            self.messages.append({"role": "user", "content": blocks})

    def _keep(self, answer: Message, *, without_calls: bool = False) -> None:
        """An answer as the API takes it back: no blank text, no call without its result."""
        blocks = [block.to_dict() for block in answer.content]
        if without_calls:
            blocks = [block for block in blocks if block["type"] != "tool_use"]
        blocks = [b for b in blocks if b["type"] != "text" or str(b["text"]).strip()]
        if any(block["type"] not in ("thinking", "redacted_thinking") for block in blocks):
            self.messages.append({"role": "assistant", "content": blocks})

    def _forget_thinking(self) -> None:
        """Thinking is bound to the tools it was thought with; with others the API refuses it."""
        for number, message in enumerate(self.messages):
            if message["role"] == "assistant":
                kept = [b for b in message["content"] if "thinking" not in b["type"]]
                self.messages[number] = {**message, "content": kept}

    # -- tools and budget ----------------------------------------------------------------------

    async def _routes(self) -> dict[str, Route]:
        """The tools as the servers list them now; one that is away keeps those it had."""
        routes: dict[str, Route] = {}
        several = len(self._servers) > 1
        listed = await asyncio.gather(*(self._listed(name) for name in self._servers))
        changed = False
        for (name, session), tools in zip(self._servers.items(), listed, strict=True):
            old = self._offers.get(name, Offer((), ()))
            if tools is not None:
                new = offer(tools, f"{name}_" if several else "", taken=set(routes))
                changed = changed or (name in self._offers and new != old)
                self._offers[name] = old = new
            routes |= {tool.name: Route(name, session, tool) for tool in old.tools}
        if changed:
            self._forget_thinking()
        return routes

    async def _listed(self, name: str) -> list[Tool] | None:
        try:
            return await self._servers[name].list_tools(cache_mode="refresh")
        except (MCPError, ResultValidationError):
            return None

    def _spent(self, answers: list[Message]) -> Decimal:
        prices = [self._price(a.model, a.usage) for a in answers] if self._price else []
        return sum((price for price in prices if price is not None), Decimal(0))

    def _too_dear(self, answers: list[Message]) -> bool:
        most = self.budget.dollars
        return most is not None and self._spent(answers) >= Decimal(str(most))
