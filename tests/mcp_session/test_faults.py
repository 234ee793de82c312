"""Fault × transport × era: executions of the tool, seconds, what is left, what Claude reads.

FAULTS.md beside this file shows the table, and each test here holds one of its cells to what it
says. `PYTHONPATH=.:notebooks:tests/support python tests/mcp_session/test_faults.py` prints it anew.
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_session_misbehaving as faults
import pytest
from anthropic.lib.tools import ToolError
from mcp import MCPError
from mcp.client.sse import sse_client
from mcp.server import Server
from mcp.types import CallToolResult, ListToolsResult, TextContent, Tool
from mcp_session_misbehaving import misbehaving
from mcp_session_support import ERAS, QUICK, left_behind, until

from patterns.mcp_session import Connect, ToolSession, stdio_server

pytestmark = pytest.mark.slow

TABLE = Path(__file__).with_name("FAULTS.md")
SERVER = str(Path(faults.__file__))
WAITS = ("hang", "the caller gives up")
LIMIT = 0.5
MARGIN = 4.0
"""Seconds that a machine with other things to do may add."""

SPEECH = {
    "it may have run": ("may have run", "gave no usable answer"),
    "it has run": ("has run",),
    "denied": ("was denied",),
    "the server's words": ("till is stuck",),
    "the result": ("sold",),
}
Left = tuple[Any, int, int]


@dataclass(frozen=True)
class Cell:
    """One place of the table."""

    fault: str
    transport: str
    era: str

    def __str__(self) -> str:
        return f"{self.fault}, {self.transport}, {self.era}"


FAULTS = {
    "in memory": ("-32000", "-32001", "-32603", "breaks its schema", *WAITS),
    "stdio": (*faults.PIPE_FAULTS, "the caller gives up"),
    "Streamable HTTP": (*faults.HTTP_FAULTS, "the caller gives up"),
    "HTTP+SSE": (*faults.SSE_FAULTS, "the caller gives up"),
}
CELLS = [Cell(fault, way, era) for way, found in FAULTS.items() for fault in found for era in ERAS]


# -- the servers ---------------------------------------------------------------------------------

Place = tuple[Callable[[], Connect], Callable[[], int]]
"""How to connect, and how often the tool was executed so far."""


@contextmanager
def place(cell: Cell) -> Iterator[Place]:
    """A server that does its work and then fails in this way."""
    fault = "hang" if cell.fault in WAITS else cell.fault
    match cell.transport:
        case "in memory":
            executed: list[str] = []
            server = till(executed, fault)
            yield lambda: server, lambda: len(executed)
        case "stdio":
            with tempfile.TemporaryDirectory() as folder:
                count = Path(folder) / "count"
                count.write_text("")
                child = stdio_server(sys.executable, "-S", "-E", SERVER, fault, str(count))
                yield lambda: child, lambda: int(count.read_text() or 0)
        case "Streamable HTTP":
            with misbehaving(fault) as state:
                yield lambda: state.url, lambda: state.executed
        case _:
            with misbehaving(fault, sse=True) as state:
                yield lambda: lambda: sse_client(state.url), lambda: state.executed


def till(executed: list[str], fault: str) -> Server[Any]:
    """A server of this process."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    async def tools(context: Any, params: Any) -> ListToolsResult:
        tool = Tool(name="sell", input_schema={"type": "object"}, output_schema=schema)
        return ListToolsResult(tools=[tool])

    async def call(context: Any, params: Any) -> CallToolResult:
        executed.append(params.name)
        if fault == "hang":
            await asyncio.Event().wait()
        if fault.startswith("-32"):
            raise MCPError(int(fault), "sold, but the till is stuck")
        sold = TextContent(type="text", text="sold")
        return CallToolResult(content=[sold], structured_content={"n": "not a number"})

    return Server("till", on_list_tools=tools, on_call_tool=call)


# -- one cell ------------------------------------------------------------------------------------


async def sold(session: ToolSession, cell: Cell) -> str:
    """What Claude reads about the one call that it makes."""
    (sell,) = await session.anthropic_tools()
    try:
        async with asyncio.timeout(LIMIT if cell.fault == "the caller gives up" else None):
            said = str(await sell.call({}))
    except ToolError as error:
        said = str(error)
    except TimeoutError:
        return "nothing: the caller left"
    return next(name for name, words in SPEECH.items() if any(word in said for word in words))


async def observed(cell: Cell, connect: Connect, executed: Callable[[], int]) -> str:
    """The text of a cell."""
    loop = asyncio.get_running_loop()
    before = left_behind()
    silent = cell.fault == "hang" or (cell.fault, cell.transport) == ("status 503", "HTTP+SSE")
    timeout = LIMIT if silent else 20  # mcp's SSE transport keeps a refused POST to itself
    options: Any = {"mode": cell.era, "retry": QUICK, "connect_timeout": 30}
    async with ToolSession(connect, timeout=timeout, **options) as session:
        started = loop.time()
        said = await sold(session, cell)
        seconds = loop.time() - started
    limit = LIMIT if cell.fault == "the caller gives up" else timeout
    in_time = seconds <= 1.1 * limit + MARGIN
    left = await remaining(before)
    return f"{executed()} · {'≤ 1.1' if in_time else f'{seconds / limit:.1f}'} × · {left} · {said}"


async def remaining(before: Left) -> int:
    """Processes, tasks, sockets and files that stay, once the system has closed what it closes."""
    try:
        await until(lambda: left_behind() == before, 10)
    except TimeoutError:
        now = left_behind()
        return len(now[0] - before[0]) + abs(now[1] - before[1]) + abs(now[2] - before[2])
    return 0


def run(cell: Cell) -> str:
    """Play one cell."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    with place(cell) as (connect, executed):
        return asyncio.run(observed(cell, connect(), executed))


# -- the table -----------------------------------------------------------------------------------

HEAD = """# What a call costs when its server fails after the work

The tool `sell` is executed and counted, and then the fault comes. Each cell says how often it was
executed, how long the caller waited as a share of the limit, how many processes, tasks, sockets and
files are left, and what Claude reads. Read by `test_faults.py`, cell by cell.

| fault | transport | modern era | legacy era |
|---|---|---|---|
"""


def table(cells: dict[Cell, str]) -> str:
    """The page."""
    rows = []
    for way, found in FAULTS.items():
        for fault in found:
            eras = " | ".join(cells[Cell(fault, way, era)] for era in ERAS)
            rows.append(f"| {fault} | {way} | {eras} |\n")
    return HEAD + "".join(rows)


def shown() -> dict[Cell, str]:
    """The cells of the page."""
    found: dict[Cell, str] = {}
    for line in TABLE.read_text("utf-8").removeprefix(HEAD).splitlines():
        fault, way, *eras = (part.strip() for part in line.strip("|").split("|"))
        found |= {Cell(fault, way, era): text for era, text in zip(ERAS, eras, strict=True)}
    return found


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_call_runs_once_in_time_and_leaves_nothing_whatever_fails_after_it(cell: Cell) -> None:
    """One execution, at most the limit, nothing left, and Claude is not told that nothing ran."""
    seen = run(cell)
    assert seen.startswith("1 · ≤ 1.1 × · 0 · ")
    assert seen == shown()[cell]


def test_the_table_has_every_cell_and_no_other() -> None:
    """It is the page that a reader sees."""
    assert TABLE.read_text("utf-8") == table({cell: shown()[cell] for cell in CELLS})


if __name__ == "__main__":
    sys.stdout.write(table({cell: run(cell) for cell in CELLS}))
