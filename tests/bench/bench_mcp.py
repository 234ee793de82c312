"""What a session costs on top of a bare client, beside fastmcp: tool calls in memory.

CPU time, so that a busy machine does not blur it. Each turn opens a client, calls a trivial tool
200 times and closes: a bare client cannot be opened in one task and closed in another.

    .venv-bench/bin/python tests/bench/bench_mcp.py
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import fastmcp
from harness import interleaved, write_results
from mcp import Client
from mcp.server import MCPServer

from patterns.mcp_session import ToolSession

CALLS = 200
ROUNDS = 30
ALLOWED = 0.10


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def turn(loop: asyncio.AbstractEventLoop, open_client: Callable[[], Any]) -> Callable[[], None]:
    """One measured turn of a candidate."""

    async def run() -> None:
        async with open_client() as client:
            for number in range(CALLS):
                result = await client.call_tool("add", {"a": number, "b": 1})
        data = result.structured_content
        assert data == {"result": CALLS}, data

    return lambda: loop.run_until_complete(run())


def main() -> None:
    """Measure and write the figures."""
    loop = asyncio.new_event_loop()
    server = MCPServer("bench", log_level="ERROR")
    server.add_tool(add)
    theirs: Any = fastmcp.FastMCP("bench")
    theirs.tool(add)
    candidates = {
        "mcp.Client": turn(loop, lambda: Client(server)),
        "ToolSession": turn(loop, lambda: ToolSession(server)),
        "fastmcp.Client": turn(loop, lambda: fastmcp.Client(theirs)),
    }
    seconds = interleaved(candidates, rounds=ROUNDS, timer=time.process_time)
    loop.close()
    overhead = seconds["ToolSession"] / seconds["mcp.Client"] - 1
    figures = {
        "calls_per_cpu_second": {n: round(CALLS / value) for n, value in seconds.items()},
        "session_overhead": round(overhead, 3),
        "fastmcp_times_bare": round(seconds["fastmcp.Client"] / seconds["mcp.Client"], 2),
    }
    write_results(
        "mcp",
        figures,
        packages=["mcp", "fastmcp"],
        targets={f"session overhead in memory at most {ALLOWED:.0%}": overhead <= ALLOWED},
    )


if __name__ == "__main__":
    main()
