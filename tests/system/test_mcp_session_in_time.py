"""Limits hold, and whoever stops waiting leaves nothing behind: counted for every transport."""

import asyncio
import gc
import queue
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager
from mcp.client import ClientRequestContext
from mcp.client.sse import sse_client
from mcp.server import MCPServer
from mcp.types import ElicitRequestParams, ElicitResult
from mcp_session_support import (
    BARE,
    ERAS,
    QUICK,
    bare,
    children,
    left_behind,
    open_files,
    text,
    until,
)
from servers.loopback import serve_http
from servers.shop import build_shop

from patterns.mcp_session import (
    CallTimeout,
    Connect,
    ServerUnavailable,
    SessionClosed,
    ToolSession,
    connect,
    http_server,
    stdio_server,
)

pytestmark = pytest.mark.slow

by_era = pytest.mark.parametrize("mode", ERAS)
WAIT: Any = {"connect_timeout": 30}
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
TEMPORARY = Path("/tmp")


def stubborn() -> Connect:
    """A child that answers nothing, and ends neither at the end of its input nor when asked."""
    return stdio_server(sys.executable, "-S", "-E", "-c", STUBBORN, name="stubborn")


@asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """A socket that accepts and says nothing."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(-1)
        finally:
            writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


class _slow_start:  # noqa: N801 - used as a function that makes a context manager
    def __init__(self, server: MCPServer) -> None:
        self.server = server

    async def __aenter__(self) -> dict[str, Any]:
        await asyncio.sleep(600)
        raise AssertionError

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError


HUNG: dict[str, Callable[[str], Connect]] = {
    "memory": lambda url: MCPServer("slow", log_level="ERROR", lifespan=_slow_start),
    "stdio": lambda url: stubborn(),
    "http": http_server,
    "sse": lambda url: lambda: sse_client(url),
}
Leave = Callable[[ToolSession], Awaitable[None]]


async def by_its_own_limit(session: ToolSession) -> None:
    """`connect_timeout` is one limit for all tries together."""
    with pytest.raises(ServerUnavailable, match=r"no handshake within 0\.5 s"):
        await session.open()


async def by_the_callers_limit(session: ToolSession) -> None:
    """`asyncio.timeout` around the `async with`."""
    session.connect_timeout = 60
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), session:
            raise AssertionError


async def by_two_interrupts(session: ToolSession) -> None:
    """A second cancellation arrives while the first one is being cleaned up."""
    session.connect_timeout = 60
    opening = asyncio.create_task(session.open())
    await asyncio.sleep(0.5)
    opening.cancel()
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    await session.aclose()


@pytest.mark.parametrize("leave", [by_its_own_limit, by_the_callers_limit, by_two_interrupts])
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("transport", HUNG)
def test_a_hung_handshake_costs_its_limit_and_leaves_nothing(
    transport: str, mode: str, leave: Leave
) -> None:
    """Neither three times the timeout, nor a child, a task, a socket or a file."""

    async def run() -> float:
        async with black_hole() as url:
            before = left_behind()
            session = ToolSession(HUNG[transport](url), mode=mode, connect_timeout=0.5, retry=QUICK)
            started = time.perf_counter()
            await leave(session)
            seconds = time.perf_counter() - started
            await until(lambda: left_behind() == before, 30)
        return seconds

    known = set(TEMPORARY.iterdir())
    assert asyncio.run(run()) < 0.55 + 20.0  # a machine may have other things to do
    gc.collect()
    assert {path for path in set(TEMPORARY.iterdir()) - known if "mcp" in path.name} == set()


CALLED: dict[str, Callable[[], Connect]] = {
    "memory": build_shop,
    "stdio": bare,
    "http": lambda: serve_http(build_shop()),
    "sse": lambda: serve_http(build_shop(), sse=True),
}


@by_era
@pytest.mark.parametrize("transport", CALLED)
def test_a_hung_call_costs_its_limit_and_leaves_nothing(transport: str, mode: str) -> None:
    """By the session's limit, and by the caller's."""
    tool, arguments = ("hang", {}) if transport == "stdio" else ("nap", {"seconds": 600})

    async def run() -> float:
        before = left_behind()
        async with ToolSession(CALLED[transport](), mode=mode) as session:
            started = time.perf_counter()
            with pytest.raises(CallTimeout):
                await session.call_tool(tool, arguments, read_timeout_seconds=0.3)
            seconds = time.perf_counter() - started
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await session.call_tool(tool, arguments)
        await until(lambda: left_behind() == before, 5)
        return seconds

    assert asyncio.run(run()) < 0.33 + 20.0


@by_era
def test_a_limit_while_reconnecting_says_that_nothing_was_sent(mode: str) -> None:
    """The server has gone, and the one that takes its place is slow."""
    servers = [bare(), stubborn()]

    def connect() -> Any:
        return servers.pop(0)()  # type: ignore[operator]

    async def run() -> None:
        async with ToolSession(connect, mode=mode, connect_timeout=30) as session:
            (await session.connection()).retire()
            with pytest.raises(ServerUnavailable, match="no handshake within") as caught:
                await session.call_tool("echo", read_timeout_seconds=0.2)
            assert not caught.value.maybe_done

    before = children()
    asyncio.run(run())
    assert children() == before


def test_one_session_per_event_loop() -> None:
    """`asyncio.run(open)` and `asyncio.run(call)` share no loop; the error says so."""
    session = ToolSession(bare(), retry=QUICK)
    before = children()
    asyncio.run(_opened(session))
    assert children() == before  # a loop that ends takes its children along
    for use in (session.list_tools, session.connection):
        with pytest.raises(SessionClosed, match="opened in another event loop"):
            asyncio.run(_started(use))
    asyncio.run(_reopened(session))
    asyncio.run(_opened(session))
    asyncio.run(session.aclose())
    assert children() == before


async def _opened(session: ToolSession) -> None:
    await session.open()


async def _started(use: Callable[[], Awaitable[Any]]) -> Any:
    return await use()


async def _reopened(session: ToolSession) -> None:
    async with session:
        assert text(await session.call_tool("echo", {"text": "hi"})) == "hi"


def test_a_limit_holds_in_a_new_loop_too() -> None:
    """The timer of the loop before is gone with it, and must not be counted on."""
    session = ToolSession(build_shop(), timeout=1)

    async def late() -> None:
        async with session:
            with pytest.raises(CallTimeout):
                await session.call_tool(
                    "order_by_phone", {"tea": "assam", "grams": 1, "seconds": 100}
                )

    asyncio.run(_opened(session))
    asyncio.run(asyncio.wait_for(late(), 60))


def test_a_session_is_not_used_from_another_threads_loop() -> None:
    """Neither called, opened nor closed there: no timer of this loop would wake that one."""
    errors: queue.Queue[type] = queue.Queue()

    def elsewhere(session: ToolSession) -> None:
        for use in (session.list_tools, session.open, session.aclose):
            try:
                asyncio.run(_started(use))
            except SessionClosed as error:
                errors.put(type(error))

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            thread = threading.Thread(target=elsewhere, args=(session,))
            thread.start()
            await asyncio.to_thread(thread.join)
            assert await session.list_tools()

    asyncio.run(run())
    assert [errors.get_nowait() for _ in range(3)] == [SessionClosed] * 3


@by_era
def test_a_persons_answer_does_not_count(mode: str) -> None:
    """Half a second of thought within a limit of a fifth; the tool itself has its limit."""
    napping: list[asyncio.Task[Any]] = []

    async def think(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        await asyncio.sleep(0.5)
        return ElicitResult(action="accept", content={"text": "slept on it"})

    async def run() -> None:
        options: Any = {"elicitation_callback": think}
        async with ToolSession(build_shop(), mode=mode, timeout=0.25, **WAIT, **options) as session:
            napping.append(asyncio.create_task(session.call_tool("nap", {"seconds": 600})))
            gift = await session.call_tool("gift", {"tea": "assam"})
            assert "slept on it" in text(gift)
            with pytest.raises(CallTimeout):
                await napping[0]

    asyncio.run(run())


@by_era
def test_progress_may_extend_a_limit_up_to_a_last_one(mode: str) -> None:
    """An option: each report starts the limit anew, until `progress_limit`."""
    server = MCPServer("slow", log_level="ERROR")
    from mcp.server.mcpserver import Context

    @server.tool()
    async def work(steps: int, ctx: Context) -> str:
        for step in range(steps):
            await asyncio.sleep(0.1)
            await ctx.report_progress(step, steps)
        return "done"

    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async def run() -> None:
        async with ToolSession(server, mode=mode, timeout=1, progress_limit=2, **WAIT) as session:
            assert text(await session.call_tool("work", {"steps": 6})) == "done"
            await session.call_tool("work", {"steps": 6}, progress_callback=hear)
            assert len(heard) == 6
            started = time.perf_counter()
            with pytest.raises(CallTimeout):
                await session.call_tool("work", {"steps": 600})
            assert 1.9 < time.perf_counter() - started < 20
        async with ToolSession(server, mode=mode, timeout=0.5, **WAIT) as session:
            with pytest.raises(CallTimeout):
                await session.call_tool("work", {"steps": 60})

    asyncio.run(run())


@by_era
def test_a_reconnect_is_told_before_the_requests_that_wait_for_it_go_on(mode: str) -> None:
    """What the server knew is gone: the caller writes it again."""
    told: list[int] = []

    async def restore(number: int) -> None:
        told.append(number)
        await session.call_tool("write", {"text": "restored"})

    session = ToolSession(bare(), mode=mode, retry=QUICK, on_reconnect=restore)

    async def run() -> None:
        async with session:
            assert told == []
            (await session.connection()).retire()
            now = await session.read_resource("note://board")
            assert "restored" in str(now.contents)
        async with ToolSession(bare(), on_reconnect=told.append) as plain:
            (await plain.connection()).retire()
            await plain.list_tools()

    asyncio.run(run())
    assert told == [2, 2]


def test_what_a_child_writes_to_stderr_is_kept_in_bounded_memory_and_no_file() -> None:
    """Ten megabytes of complaints: the last words stay."""
    noisy = (
        "import sys; sys.stderr.write('x' * 10_000_000 + 'THE END'); sys.stderr.flush();"
        "sys.stdin.read()"
    )
    server = stdio_server(sys.executable, "-S", "-E", "-c", noisy)

    async def run() -> None:
        before = [file for file in open_files() if file.startswith("/")]
        opening = asyncio.create_task(ToolSession(server, connect_timeout=30).open())
        await until(lambda: server.stderr.endswith("THE END"))
        assert len(server.stderr) <= 2_000
        assert [file for file in open_files() if file.startswith("/")] == before
        opening.cancel()
        await asyncio.wait([opening])

    asyncio.run(run())


PARENT = """
import signal, subprocess, sys, time
def told(*_): sys.stderr.write(" asked"); sys.stderr.flush()
signal.signal(signal.SIGTERM, told)
below = subprocess.Popen([sys.executable, "-S", "-E", "-c", "import time; time.sleep(600)"])
sys.stderr.write(str(below.pid)); sys.stderr.flush()
sys.stdin.read()
told()
time.sleep(600)
"""


def test_an_interrupted_start_ends_the_child_and_its_children_at_once() -> None:
    """A polite end takes the library four seconds, in which the interrupted cell would hang."""
    server = stdio_server(sys.executable, "-S", "-E", "-c", PARENT)

    async def run() -> str:
        before = left_behind()
        opening = asyncio.create_task(ToolSession(server, connect_timeout=60).open())
        await until(lambda: server.stderr.isdecimal())
        opening.cancel()
        await asyncio.wait([opening])
        await until(lambda: left_behind() == before)
        await until(lambda: not alive(int(server.stderr)))
        return server.stderr

    assert asyncio.run(run()).isdecimal()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_child_that_closes_its_stderr_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a pipe is always readable: who keeps looking burns a processor."""
    looks: list[int] = []
    take = connect._Tail._take

    def counted(tail: Any, source: Any) -> None:
        looks.append(1)
        take(tail, source)

    monkeypatch.setattr(connect._Tail, "_take", counted)
    words = [sys.executable, "-S", "-E", BARE]
    quiet = stdio_server("sh", "-c", "exec 2>&-; exec " + " ".join(words))

    async def run() -> None:
        async with ToolSession(quiet, retry=QUICK) as session:
            for _ in range(20):
                await session.call_tool("echo", {"text": "hi"})

    asyncio.run(run())
    assert len(looks) == 2  # at the end of the pipe, and at the end of the session


NOTEBOOK = """
import sys
sys.path.insert(0, {tests!r})
from mcp_session_support import left_behind, children
from patterns.mcp_session import ToolSession, stdio_server
session = ToolSession(stdio_server(sys.executable, "-S", "-E", "-c", {stubborn!r}))
before = left_behind()
"""


def test_an_interrupt_in_a_notebook_during_open_leaves_nothing() -> None:
    """The stop button of a kernel, pressed while the server does not answer."""
    manager = KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        tests = str(Path(__file__).parents[1] / "support")
        _execute(client, NOTEBOOK.format(tests=tests, stubborn=STUBBORN))
        opening = "print('opening', flush=True)\nawait session.open()"
        asked = client.execute(opening, stop_on_error=False)  # or the next cell may be refused
        while client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
            pass
        wait_for_child(manager.provisioner.pid)  # type: ignore[union-attr]
        manager.interrupt_kernel()
        while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != asked:
            pass
        assert reply["content"]["status"] == "error"
        assert _execute(client, value="left_behind() == before") == "True"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def wait_for_child(pid: int) -> None:
    """Until a process has started another one."""
    deadline = time.monotonic() + 30
    while not children(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _execute(client: Any, code: str = "", value: str = "") -> str:
    """Run a cell, and return the repr of an expression after it."""
    wanted = {"value": value} if value else {}
    reply = client.execute_interactive(
        code, user_expressions=wanted, timeout=60, output_hook=lambda message: None
    )["content"]
    assert reply["status"] == "ok", reply
    return str(reply["user_expressions"]["value"]["data"]["text/plain"]) if value else ""
