"""Servers for the session tests: the shop, and bare children that can be killed."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mcp.types import CallToolResult, ReadResourceResult, TextContent, TextResourceContents

from patterns.mcp_session import RetryPolicy, stdio_server
from patterns.mcp_session.connect import StdioServer

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BARE = str(NOTEBOOKS / "servers" / "bare.py")
QUICK = RetryPolicy(delay=0.01, jitter=0.0)
ERAS = ("auto", "legacy")


def bare(*args: str) -> StdioServer:
    """The bare server as a child over stdio; -S -E make it start in about 30 ms."""
    return stdio_server(sys.executable, "-S", "-E", BARE, *args)


def shop_child() -> StdioServer:
    """The tea shop as a child over stdio."""
    return stdio_server(sys.executable, "-m", "servers.shop", cwd=NOTEBOOKS)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def bare_http(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The bare server as a child over HTTP, killed at the end of the block."""
    child = subprocess.Popen([sys.executable, "-S", "-E", BARE, "--http", str(port)])
    try:
        wait_for_port(port)
        yield child
    finally:
        child.kill()
        child.wait()


def wait_for_port(port: int, seconds: float = 20) -> None:
    """Wait until a child listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port}")


def content_text(now: ReadResourceResult) -> str:
    """The text of a resource with one text content."""
    (content,) = now.contents
    assert isinstance(content, TextResourceContents)
    return content.text


def kill(pid: int) -> None:
    """End a child as rudely as an operating system can."""
    os.kill(pid, signal.SIGKILL)


def text(result: CallToolResult) -> str:
    """The text of a tool result."""
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


def open_files() -> list[str]:
    """What this process has open: sockets and pipes too."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return found


def children(of: int | None = None) -> set[int]:
    """The children of a process, this one if None."""
    parent = of or os.getpid()
    return {
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if _parent_of(stat) == parent
    }


def _parent_of(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def left_behind() -> tuple[set[int], int, int]:
    """Children, tasks of the running loop, and open files.

    The server library keeps one watcher a loop, for servers that this process plays itself.
    """
    gc.collect()
    tasks = [task for task in asyncio.all_tasks() if "_shutdown_watcher" not in repr(task)]
    return children(), len(tasks), len(open_files())


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something that another process or task brings about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process brings it about
            await asyncio.sleep(0.005)
