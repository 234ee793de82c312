"""Three servers that nobody here wrote, over Streamable HTTP: git, a browser, a gateway."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mcp_session_support import QUICK, free_port, left_behind, text, until, wait_for_port

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI
from patterns.mcp_session import ToolSession, offer

PACKAGES = {
    "@cyanheads/git-mcp-server": "2.15.3",
    "@playwright/mcp": "0.0.83",
    "supergateway": "4.0.0",
    "@modelcontextprotocol/server-memory": "2026.8.31",
}
INSTALL = "npm install -g " + " ".join(f"{name}@{version}" for name, version in PACKAGES.items())
OPTIONS: Any = {"retry": QUICK, "timeout": 60, "connect_timeout": 60}


@cache
def modules() -> Path:
    """npm's folder of packages: MCP_FOREIGN, or the global one."""
    if named := os.environ.get("MCP_FOREIGN"):
        return Path(named)
    npm = shutil.which("npm")
    asked = npm and subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
    return Path(asked.stdout.strip() if asked else "nowhere")


@dataclass(frozen=True)
class Foreign:
    """One server.

    Attributes:
        parts: Files below `modules()`: what node runs, and what is `{part}` in the options.
        options: Of its command line.
        environment: `{port}` and `{folder}` are filled in here too.
        call: A tool that needs nothing else on this machine, and its arguments.
        says: What the answer has in it.
        least: Tools that it has at the least.
    """

    parts: tuple[str, ...]
    options: tuple[str, ...]
    environment: dict[str, str]
    call: tuple[str, dict[str, Any]]
    says: str
    least: int

    @contextmanager
    def running(self, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
        """The server as a child, killed at the end of the block."""
        first, *others = (str(modules() / part) for part in self.parts)
        known = {"port": port, "folder": folder, "part": "".join(others)}
        command = ["node", first, *(word.format(**known) for word in self.options)]
        own = {name: value.format(**known) for name, value in self.environment.items()}
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(command, env={**os.environ, **own}, cwd=folder, **quiet)
        try:
            wait_for_port(port, 60)
            yield child
        finally:
            child.kill()
            child.wait()


SERVERS = {
    "git": Foreign(
        ("@cyanheads/git-mcp-server/dist/index.js",),
        (),
        {
            "MCP_TRANSPORT_TYPE": "http",
            "MCP_HTTP_HOST": "127.0.0.1",
            "MCP_HTTP_PORT": "{port}",
            "MCP_LOG_LEVEL": "error",
        },
        ("git_status", {"path": "{folder}"}),
        '"isClean": true',
        20,
    ),
    "browser": Foreign(
        ("@playwright/mcp/cli.js",),
        ("--port", "{port}", "--host", "127.0.0.1", "--allowed-hosts", "*", "--headless"),
        {},
        ("browser_navigate", {}),  # an error in any case: no address, and maybe no browser
        "Error",
        20,
    ),
    "gateway": Foreign(
        ("supergateway/dist/index.js", "@modelcontextprotocol/server-memory/dist/index.js"),
        ("--stdio", "node {part}", "--outputTransport", "streamableHttp", "--port", "{port}"),
        {"MEMORY_FILE_PATH": "{folder}/memory.json"},
        ("create_entities", {"entities": [{"name": "tea", "entityType": "", "observations": []}]}),
        "tea",
        9,
    ),
}


@pytest.fixture(params=SERVERS)
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Foreign:
    """One of them, with a clean repository in its folder."""
    server = SERVERS[request.param]
    if shutil.which("node") is None or not all(
        (modules() / part).exists() for part in server.parts
    ):
        pytest.skip(f"needs node and {INSTALL}")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return server


def test_its_tools_are_offered_to_claude_and_one_is_called(
    foreign: Foreign, tmp_path: Path
) -> None:
    """Every schema is one that the API takes, and nothing is left behind."""
    tool, given = foreign.call
    arguments = {
        key: str(tmp_path) if value == "{folder}" else value for key, value in given.items()
    }

    async def run(url: str) -> None:
        before = left_behind()
        async with ToolSession(url, **OPTIONS) as session:
            offered = offer(await session.list_tools())
            assert foreign.says in text(await session.call_tool(tool, arguments))
        await until(lambda: left_behind() == before)
        assert len(offered.tools) >= foreign.least
        assert offered.rejected == ()
        api = FakeAPI()
        api.enqueue("fine")
        words: Any = [{"role": "user", "content": "hi"}]
        api.client().messages.create(
            model=SONNET, max_tokens=99, tools=offered.params(), messages=words
        )

    port = free_port()
    with foreign.running(port, tmp_path):
        asyncio.run(run(f"http://127.0.0.1:{port}/mcp"))


def test_a_restart_of_it_is_survived(foreign: Foreign, tmp_path: Path) -> None:
    """Its answer to a session that it does not know any more leads to a new one."""
    port = free_port()

    async def run() -> None:
        with foreign.running(port, tmp_path):
            session = await ToolSession(f"http://127.0.0.1:{port}/mcp", **OPTIONS).open()
            assert await session.list_tools()
        with foreign.running(port, tmp_path):
            assert len(await session.list_tools()) >= foreign.least
            await session.aclose()

    asyncio.run(run())
