"""The tool calls of one answer: safe ones at once and together, the others one after another."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from anthropic.lib.tools import ToolError
from anthropic.types import ToolUseBlock
from mcp.types import Tool

from patterns.mcp_session.boundary import OfferedTool
from patterns.mcp_session.claude import CallTool, run_tool
from patterns.mcp_session.events import (
    Approve,
    Event,
    OnEvent,
    Outcome,
    ToolEnded,
    ToolRequest,
    ToolRun,
    ToolStarted,
)

logger = logging.getLogger(__name__)
Blocks = Any


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

    def __init__(
        self,
        conversation_id: str,
        *,
        approve: Approve | None,
        most: int | None,
        parallel: Callable[[Tool], bool],
        limit: int,
        on_event: OnEvent | None,
    ) -> None:
        self.id = conversation_id
        self.runs: list[ToolRun] = []
        self.request_id: str | None = None
        self.request_ids: list[str | None] = []
        self.over_budget = False
        self._approve, self._most, self._parallel = approve, most, parallel
        self._limit, self._on_event = limit, on_event
        self._started = 0
        self._early: dict[str, asyncio.Task[Blocks]] = {}

    async def tell(self, event: Event) -> None:
        """Pass an event on, to a plain or an async function."""
        told = self._on_event(event) if self._on_event else None
        if inspect.isawaitable(told):
            await told

    def begin(self, block: ToolUseBlock, routes: Mapping[str, Route]) -> None:
        """Start a safe call while the rest of the answer is still coming in."""
        route = routes.get(block.name)
        if route is not None and self._parallel(route.offered.tool):
            work = self._run(block, route)
            self._early[block.id] = asyncio.create_task(work)

    async def finish(
        self, blocks: list[ToolUseBlock], routes: Mapping[str, Route]
    ) -> tuple[list[dict[str, Any]], BaseException | None]:
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

    def _result(self, block: ToolUseBlock, results: Mapping[str, Any]) -> dict[str, Any]:
        if block.id in results:
            return dict(results[block.id])
        begun = any(run.tool_use_id == block.id for run in self.runs)
        text = (
            "Interrupted; it may have run." if begun else "Not started: the turn was interrupted."
        )
        return _error(block, text)

    async def _run(self, block: ToolUseBlock, route: Route | None) -> dict[str, Any]:
        request = self._request(block, route)
        if route is None:
            return await self._refused(block, request, "unknown tool", "There is no such tool.")
        if self._most is not None and self._started >= self._most:
            self.over_budget = True
            text = f"Not run: the {self._most} tool calls of this turn are used up."
            return await self._refused(block, request, "over budget", text)
        self._started += 1
        allowed = True if self._approve is None else await self._approve(request)
        if allowed is not True:
            text = allowed or "The user declined this call."
            return await self._refused(block, request, "declined", str(text))
        await self.tell(ToolStarted(request))
        return await self._called(block, request, route)

    async def _called(
        self, block: ToolUseBlock, request: ToolRequest, route: Route
    ) -> dict[str, Any]:
        call: CallTool = partial(route.session.call_tool, correlation_id=request.call_id)
        outcome: Outcome = "interrupted"
        try:
            content = await run_tool(call, route.offered, dict(block.input), self._limit)
            outcome = "ok"
            return {"type": "tool_result", "tool_use_id": block.id, "content": content}
        except ToolError as error:
            outcome = "tool_error"
            return _error(block, error.content)
        finally:
            await self._ended(request, outcome)

    async def _refused(
        self, block: ToolUseBlock, request: ToolRequest, outcome: Outcome, text: str
    ) -> dict[str, Any]:
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
        ids = block.id, f"{self.id}/{block.id}", self.request_id
        if route is None:
            return ToolRequest(*ids, "", block.name, dict(block.input))
        arguments = route.offered.input.restore(block.input)
        return ToolRequest(*ids, route.server, route.offered.tool.name, arguments)


def _error(block: ToolUseBlock, content: Any) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_use_id": block.id,
        "content": content,
        "is_error": True,
    }
