"""The tool calls of one answer: safe ones at once and together, the others one after another."""

import asyncio
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from anthropic.lib.tools import ToolError
from anthropic.types import ToolUseBlock
from mcp.types import Tool

from patterns.mcp_session.boundary import OfferedTool
from patterns.mcp_session.claude import CallTool, run_tool
from patterns.mcp_session.events import (
    Event,
    OnEvent,
    Outcome,
    ToolEnded,
    ToolRequest,
    ToolRun,
    ToolStarted,
)

if TYPE_CHECKING:
    from patterns.mcp_session.conversation import Conversation

logger = logging.getLogger(__name__)
Block = dict[str, Any]


@dataclass(frozen=True)
class Route:
    """Where a tool that Claude names is to be found."""

    server: str
    session: Any
    offered: OfferedTool


def read_only(tool: Tool) -> bool:
    """The server declares that the tool changes nothing, so that several may run at once."""
    hints = tool.annotations
    return bool(hints and hints.read_only_hint and not hints.destructive_hint)


class ToolCalls:
    """Runs what Claude asks for in one turn, and keeps a result for every call."""

    def __init__(self, conversation: "Conversation", on_event: OnEvent | None) -> None:
        self.runs: list[ToolRun] = []
        self.request_ids: list[str | None] = []
        self.over_budget = False
        self._conversation, self._on_event = conversation, on_event
        self._started = 0
        self._early: dict[str, asyncio.Task[Block]] = {}

    async def tell(self, event: Event) -> None:
        """Pass an event on, to a plain or an async function."""
        told = self._on_event(event) if self._on_event else None
        if inspect.isawaitable(told):
            await told

    def begin(self, block: ToolUseBlock, routes: Mapping[str, Route]) -> None:
        """Start a safe call while the rest of the answer is still coming in."""
        route = routes.get(block.name)
        if route is not None and self._conversation.parallel(route.offered.tool):
            self._early[block.id] = asyncio.create_task(self._run(block, route))

    async def finish(
        self, blocks: list[ToolUseBlock], routes: Mapping[str, Route]
    ) -> tuple[list[Block], BaseException | None]:
        """A result for each block, and what interrupted them, if something did."""
        results: dict[str, Any] = {}
        failure: BaseException | None = None
        try:
            for block in blocks:
                if block.id in self._early:
                    results[block.id] = await self._early[block.id]
            for block in blocks:
                if block.id not in results:
                    results[block.id] = await self._run(block, routes.get(block.name))
        except BaseException as error:
            failure = error
            ended = [(name, task) for name, task in self._early.items() if task.done()]
            results |= {n: t.result() for n, t in ended if not (t.cancelled() or t.exception())}
            await self.cancel()
        self._early.clear()
        return [self._result(block, results) for block in blocks], failure

    async def cancel(self) -> None:
        """End what was started early and is of no use any more."""
        for task in self._early.values():
            task.cancel()
        if self._early:
            await asyncio.wait(self._early.values())
        self._early.clear()

    def _result(self, block: ToolUseBlock, results: Mapping[str, Any]) -> Block:
        if block.id in results:
            return dict(results[block.id])
        begun = any(run.tool_use_id == block.id for run in self.runs)
        done = "Interrupted; it may have run."
        return _error(block, done if begun else "Not started: the turn was interrupted.")

    async def _run(self, block: ToolUseBlock, route: Route | None) -> Block:
        request = self._request(block, route)
        if route is None:
            return await self._refused(block, request, "unknown tool", "There is no such tool.")
        most, approve = self._conversation.budget.calls, self._conversation.approve
        if most is not None and self._started >= most:
            self.over_budget = True
            text = f"Not run: the {most} tool calls of this turn are used up."
            return await self._refused(block, request, "over budget", text)
        self._started += 1
        allowed = True if approve is None else await approve(request)
        if allowed is not True:
            text = allowed or "The user declined this call."
            return await self._refused(block, request, "declined", str(text))
        await self.tell(ToolStarted(request))
        return await self._called(block, request, route)

    async def _called(self, block: ToolUseBlock, request: ToolRequest, route: Route) -> Block:
        call: CallTool = partial(route.session.call_tool, correlation_id=request.call_id)
        outcome: Outcome = "interrupted"
        try:
            limit = self._conversation.max_result_chars
            content = await run_tool(call, route.offered, dict(block.input), limit=limit)
            outcome = "ok"
            return {"type": "tool_result", "tool_use_id": block.id, "content": content}
        except ToolError as error:
            outcome = "tool_error"
            return _error(block, error.content)
        finally:
            await self._ended(request, outcome)

    async def _refused(
        self, block: ToolUseBlock, request: ToolRequest, outcome: Outcome, text: str
    ) -> Block:
        await self._ended(request, outcome)
        return _error(block, text)

    async def _ended(self, request: ToolRequest, outcome: Outcome) -> None:
        run = ToolRun(**vars(request), outcome=outcome)
        self.runs.append(run)
        logger.info(
            "tool_use %s call %s request %s: %s of %s: %s",
            *(run.tool_use_id, run.call_id, run.request_id, run.tool, run.server, outcome),
        )
        await self.tell(ToolEnded(run))

    def _request(self, block: ToolUseBlock, route: Route | None) -> ToolRequest:
        ids = block.id, f"{self._conversation.id}/{block.id}", self.request_ids[-1]
        if route is None:
            return ToolRequest(*ids, "", block.name, dict(block.input))
        arguments = route.offered.input.restore(block.input)
        return ToolRequest(*ids, route.server, route.offered.tool.name, arguments)


def _error(block: ToolUseBlock, content: Any) -> Block:
    return {"type": "tool_result", "tool_use_id": block.id, "content": content, "is_error": True}
