"""A server that nobody here wrote: the protocol project's own "everything" server, in Node."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mcp.client import ClientRequestContext
from mcp.types import (
    CompleteResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    LoggingMessageNotificationParams,
    PromptReference,
    TextContent,
)
from mcp_session_support import QUICK, free_port, kill, text, until, wait_for_port

from patterns.mcp_session import (
    Connect,
    ServerUnavailable,
    ToolSession,
    as_claude_content,
    http_server,
    stdio_server,
)

VERSION = "2026.8.31"
PACKAGE = "@modelcontextprotocol/server-everything"
INSTALL = f"npm install -g {PACKAGE}@{VERSION}"
TICKING = "demo://resource/dynamic/text/1"


@cache
def everything() -> str | None:
    """The server's entry point: MCP_EVERYTHING, or npm's global folder."""
    if named := os.environ.get("MCP_EVERYTHING"):
        return named
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return None
    asked = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
    entry = Path(asked.stdout.strip()) / PACKAGE / "dist" / "index.js"
    return str(entry) if entry.exists() else None


@pytest.fixture(scope="module", params=["stdio", "http"])
def foreign(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """The server over one of its transports."""
    entry = everything()
    if entry is None:
        pytest.skip(f"needs node and {PACKAGE}: {INSTALL}")
    if request.param == "stdio":
        yield stdio_server("node", entry, "stdio")
        return
    port = free_port()
    child = subprocess.Popen(
        ["node", entry, "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield http_server(f"http://127.0.0.1:{port}/mcp")
    finally:
        child.kill()
        child.wait()


async def answer(context: ClientRequestContext, params: CreateMessageRequestParams) -> Any:
    """The model at the client."""
    return CreateMessageResult(
        role="assistant", content=TextContent(type="text", text="sampled!"), model="stand-in"
    )


async def decline(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """The person at the client."""
    return ElicitResult(action="decline")


def test_everything_it_offers_works_through_a_session(foreign: Connect) -> None:
    """Tools, structured output, links, images, resources, prompts, completion, in one visit."""

    async def run() -> None:
        async with ToolSession(foreign, retry=QUICK) as session:
            assert {"echo", "get-sum"} <= {tool.name for tool in await session.list_tools()}
            assert "42" in text(await session.call_tool("get-sum", {"a": 40, "b": 2}))
            weather = await session.call_tool("get-structured-content", {"location": "Chicago"})
            assert set(weather.structured_content or ()) == {
                "temperature",
                "conditions",
                "humidity",
            }
            links = as_claude_content(await session.call_tool("get-resource-links", {"count": 2}))
            assert [str(block).count("[resource ") for block in links] == [0, 1, 1]
            image = as_claude_content(await session.call_tool("get-tiny-image"))
            assert [block["type"] for block in image] == ["text", "image", "text"]
            first = (await session.list_resources())[0]
            assert (await session.read_resource(str(first.uri))).contents
            assert len(await session.list_resource_templates()) == 2
            assert "args-prompt" in {prompt.name for prompt in await session.list_prompts()}
            prompt = await session.get_prompt("args-prompt", {"city": "Kyoto"})
            assert "Kyoto" in str(prompt.messages[0].content)
            completed = await session.request(_complete_department)
            assert completed.completion.values == ["Engineering"]

    asyncio.run(run())


async def _complete_department(client: Any) -> CompleteResult:
    ref = PromptReference(type="ref/prompt", name="completable-prompt")
    result: CompleteResult = await client.complete(ref, {"name": "department", "value": "E"})
    return result


def test_it_asks_back_and_reports_progress(foreign: Connect) -> None:
    """Sampling, elicitation and progress: the three ways in which a server speaks up."""
    steps: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async def run() -> None:
        options: Any = {"sampling_callback": answer, "elicitation_callback": decline}
        async with ToolSession(foreign, retry=QUICK, **options) as session:
            sampled = await session.call_tool("trigger-sampling-request", {"prompt": "hi"})
            assert "sampled!" in text(sampled)
            assert "declined" in text(await session.call_tool("trigger-elicitation-request"))
            await session.call_tool(
                "trigger-long-running-operation",
                {"duration": 0.2, "steps": 4},
                progress_callback=note,
            )
            assert steps == [1, 2, 3, 4]

    asyncio.run(run())


def test_its_resource_updates_reach_a_watcher(foreign: Connect) -> None:
    """It speaks the 2025 era: subscribe, then a notification, then a new reading."""
    seen: list[str] = []

    async def run() -> None:
        async with ToolSession(foreign, retry=QUICK) as session:
            watching = asyncio.create_task(
                session.watch([TICKING], lambda _, now: seen.append(str(now)), recheck=60)
            )
            await until(lambda: seen)
            second = time.time() // 1
            await until(lambda: time.time() // 1 > second + 1)  # its clock shows whole seconds
            await session.call_tool("toggle-subscriber-updates")
            await until(lambda: len(seen) > 1)
            watching.cancel()

    asyncio.run(run())


def test_its_log_messages_reach_the_callback(foreign: Connect) -> None:
    """Logging is deprecated and still passed on."""
    seen: list[str] = []

    async def note(params: LoggingMessageNotificationParams) -> None:
        seen.append(params.level)

    async def run() -> None:
        async with ToolSession(foreign, retry=QUICK, logging_callback=note) as session:
            await session.call_tool("toggle-simulated-logging")
            await until(lambda: seen)

    asyncio.run(run())


def test_wrong_arguments_are_answered_and_the_session_goes_on(foreign: Connect) -> None:
    """Its validation error is a result for the model to read, not an exception."""

    async def run() -> None:
        async with ToolSession(foreign, retry=QUICK) as session:
            refused = await session.call_tool("get-sum", {"a": "forty"})
            assert refused.is_error
            assert "a" in text(refused)
            assert not (await session.call_tool("echo", {"message": "still here"})).is_error

    asyncio.run(run())


def test_killing_it_is_survived() -> None:
    """Its process is a child like any other."""
    entry = everything()
    if entry is None:
        pytest.skip(f"needs node and {PACKAGE}: {INSTALL}")
    script = f"echo $$ >&2; exec node {entry} stdio"
    server = stdio_server("sh", "-c", script)

    async def run() -> None:
        async with ToolSession(server, retry=QUICK) as session:
            hanging = asyncio.create_task(
                session.call_tool("trigger-long-running-operation", {"duration": 60})
            )
            await until(lambda: len(session.client.session._dispatcher._pending) > 0)  # type: ignore[attr-defined]
            kill(int(server.stderr.split()[0]))
            with pytest.raises(ServerUnavailable):
                await hanging
            assert "back" in text(await session.call_tool("echo", {"message": "back"}))

    asyncio.run(run())
