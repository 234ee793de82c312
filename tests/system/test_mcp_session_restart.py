"""A server that is killed: during a call, between calls, while watched; over pipes and HTTP."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from mcp_session_support import (
    ERAS,
    QUICK,
    bare,
    bare_http,
    children,
    content_text,
    free_port,
    kill,
    open_files,
    text,
    until,
)

from patterns.mcp_session import (
    CallTimeout,
    ServerUnavailable,
    SessionClosed,
    ToolSession,
    http_server,
)
from patterns.mcp_session import connection as connection_module

by_era = pytest.mark.parametrize("mode", ERAS)


@by_era
def test_a_call_after_a_kill_between_calls_reaches_a_new_process(mode: str) -> None:
    """The death is noticed before the call, so even a tool that must not run twice is served."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode, retry=QUICK) as session:
            first = int(text(await session.call_tool("pid")))
            kill(first)
            connection = await session.connection()
            await until(lambda: connection.retired)
            second = int(text(await session.call_tool("pid")))
            assert second != first
            assert [(call.outcome, call.connection) for call in session.history] == [
                ("ok", 1),
                ("ok", 2),
            ]

    asyncio.run(run())


@by_era
def test_a_kill_during_a_call_is_a_typed_error_and_the_next_call_works(mode: str) -> None:
    """The caller learns that the tool may have run; nothing hangs and nobody is cancelled."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode, retry=QUICK) as session:
            with pytest.raises(ServerUnavailable, match="it may have run") as caught:
                await session.call_tool("leave")
            assert caught.value.maybe_done
            assert text(await session.call_tool("echo", {"text": "back"})) == "back"
            assert [call.outcome for call in session.history] == ["failed", "ok"]

    asyncio.run(run())


@by_era
def test_calls_in_flight_all_learn_of_the_kill(mode: str) -> None:
    """Twenty tasks wait on one server; each gets the error itself."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode) as session:
            pid = int(text(await session.call_tool("pid")))
            waiting = [asyncio.create_task(session.call_tool("hang")) for _ in range(20)]
            await asyncio.sleep(0)
            kill(pid)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {ServerUnavailable}

    asyncio.run(run())


@by_era
def test_a_kill_during_watch_is_survived_and_the_state_is_read_again(mode: str) -> None:
    """The new process has its own note; the watcher tells it without being asked."""
    seen: list[str] = []

    async def run() -> None:
        async with ToolSession(bare(), mode=mode, retry=QUICK) as session:
            watching = asyncio.create_task(
                session.watch(["note://board"], lambda _, now: seen.append(content_text(now)))
            )
            await until(lambda: seen == ["empty"])
            await session.call_tool("write", {"text": "hello"})
            await until(lambda: seen == ["empty", "hello"])
            kill(int(text(await session.call_tool("pid"))))
            await until(lambda: seen == ["empty", "hello", "empty"])
            watching.cancel()

    asyncio.run(run())


@by_era
def test_over_http_a_restart_on_the_same_port_goes_unnoticed_by_the_next_call(mode: str) -> None:
    """Refused while it is away, served again when it is back."""

    async def run() -> None:
        port = free_port()
        server = http_server(f"http://127.0.0.1:{port}/mcp")
        with bare_http(port):
            session = await ToolSession(server, mode=mode, retry=QUICK).open()
            assert text(await session.call_tool("count")) == "1"
        with pytest.raises(ServerUnavailable, match="cannot reach") as caught:
            await session.call_tool("count")
        assert not caught.value.maybe_done
        with bare_http(port):
            assert text(await session.call_tool("count")) == "1"
            await session.aclose()
        assert [call.outcome for call in session.history] == ["ok", "failed", "ok"]

    asyncio.run(run())


@by_era
def test_over_http_a_restart_between_two_calls_is_not_even_noticed(mode: str) -> None:
    """The new process does not know the old session; the call is sent again on a new one."""

    async def run() -> None:
        port = free_port()
        with bare_http(port):
            server = http_server(f"http://127.0.0.1:{port}/mcp")
            session = await ToolSession(server, mode=mode, retry=QUICK).open()
            await session.call_tool("count")
        with bare_http(port):
            assert text(await session.call_tool("count")) == "1"
            await session.aclose()
        assert [call.outcome for call in session.history] == ["ok", "ok"]

    asyncio.run(run())


@by_era
def test_over_http_a_kill_during_a_call_is_a_typed_error(mode: str) -> None:
    """The broken connection reaches the caller as an answer, not as a cancellation."""

    async def run() -> None:
        port = free_port()
        with bare_http(port) as child:
            session = await ToolSession(http_server(f"http://127.0.0.1:{port}/mcp")).open()
            hanging = asyncio.create_task(session.call_tool("hang"))
            await asyncio.sleep(0.2)
            child.kill()
            with pytest.raises(ServerUnavailable, match="it may have run"):
                await hanging
            await session.aclose()

    asyncio.run(run())


@by_era
def test_over_http_watch_gives_up_with_a_typed_error_when_the_server_stays_away(mode: str) -> None:
    """After `retry.attempts` tries, within the patience of the recheck."""
    seen: list[str] = []

    async def run() -> None:
        port = free_port()
        server = http_server(f"http://127.0.0.1:{port}/mcp")
        with bare_http(port) as child:

            def stop_server(uri: str, _: object) -> None:
                seen.append(uri)
                child.kill()
                child.wait()

            async with ToolSession(server, mode=mode, retry=QUICK) as session:
                with pytest.raises(ServerUnavailable):
                    await session.watch(["note://board"], stop_server, recheck=0.2)

    asyncio.run(run())
    assert seen == ["note://board"]


@by_era
def test_two_slow_tools_that_time_out_together_do_not_cost_the_server_its_life(mode: str) -> None:
    """It answers a ping, so it is healthy."""

    async def run() -> None:
        async with ToolSession(bare(), mode=mode) as session:
            pid = text(await session.call_tool("pid"))
            for _ in range(2):
                slow = [session.call_tool("hang", read_timeout_seconds=0.05) for _ in range(3)]
                ended = await asyncio.gather(*slow, return_exceptions=True)
                assert [type(error) for error in ended] == [CallTimeout] * 3
            assert text(await session.call_tool("pid")) == pid
            assert {call.connection for call in session.history} == {1}

    asyncio.run(run())


@by_era
def test_a_server_that_answers_no_ping_is_replaced(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a signal it neither answers nor dies."""
    monkeypatch.setattr(connection_module, "PING_TIMEOUT", 0.1)

    async def run() -> None:
        async with ToolSession(bare(), mode=mode) as session:
            pid = int(text(await session.call_tool("pid")))
            os.kill(pid, signal.SIGSTOP)
            with pytest.raises(CallTimeout):
                await session.call_tool("echo", read_timeout_seconds=0.05)
            await until(partial(getattr, await session.connection(), "retired"))
            assert int(text(await session.call_tool("pid"))) != pid

    asyncio.run(run())


async def _kill_often(times: int, mode: str) -> None:
    async with ToolSession(bare(), mode=mode, retry=QUICK) as session:
        for number in range(times):
            pid = int(text(await session.call_tool("pid")))
            if number % 2:
                with pytest.raises(ServerUnavailable):
                    await session.call_tool("leave")
            else:
                kill(pid)
                await until(partial(getattr, await session.connection(), "retired"))
        assert text(await session.call_tool("echo", {"text": "alive"})) == "alive"
        assert session.history[-1].connection == times + 1


async def _kill_often_over_http(times: int, mode: str) -> None:
    port = free_port()
    server = http_server(f"http://127.0.0.1:{port}/mcp")
    session = ToolSession(server, mode=mode, retry=QUICK)
    for number in range(times + 1):
        with bare_http(port) as child:
            await session.open()
            assert text(await session.call_tool("count")) == "1"
            if number % 2:
                hanging = asyncio.create_task(session.call_tool("hang"))
                await asyncio.sleep(0.01)
                child.kill()
                with pytest.raises(ServerUnavailable):
                    await hanging
    await session.aclose()


@pytest.mark.parametrize(
    "times", [2, pytest.param(100, marks=pytest.mark.soak)], ids=["small", "soak"]
)
@pytest.mark.parametrize("kill_often", [_kill_often, _kill_often_over_http])
@by_era
def test_kills_leave_no_process_task_socket_or_file_behind(
    mode: str, kill_often: Callable[[int, str], Awaitable[None]], times: int
) -> None:
    """Half of them during a call, half in between; sockets are among the open files."""
    before = children()

    async def run() -> None:
        await kill_often(1, mode)  # warm up whatever the first connection opens for good
        files, tasks = len(open_files()), len(asyncio.all_tasks())
        await kill_often(times, mode)
        gc.collect()
        await until(lambda: len(open_files()) <= files)
        assert len(asyncio.all_tasks()) == tasks

    asyncio.run(run())
    assert children() == before


def test_a_refused_connection_never_cancels_the_caller() -> None:
    """With a bare client an `except Exception` around the call would be dead code."""

    async def run() -> list[str]:
        session = ToolSession(http_server(f"http://127.0.0.1:{free_port()}/mcp"), retry=QUICK)
        try:
            await session.open()
        except ServerUnavailable as error:
            caught = [error.reason]
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await session.aclose()
        return caught

    assert asyncio.run(run()) == ["All connection attempts failed"]


def test_errors_come_within_the_timeout() -> None:
    """A server that never answers the handshake costs `timeout`, not the patience of a person."""

    async def run() -> None:
        started = time.perf_counter()
        session = ToolSession(bare("--silent"), timeout=0.3)
        with pytest.raises(ServerUnavailable, match=r"no handshake within 0\.3 s"):
            await session.open()
        assert time.perf_counter() - started < 20  # a machine may have other things to do
        await session.aclose()

    asyncio.run(run())


def test_closing_during_the_handshake_ends_it_at_once() -> None:
    """Nobody waits for a server that may never answer."""

    async def run() -> None:
        session = ToolSession(bare("--silent"), retry=QUICK)
        opening = asyncio.create_task(session.open())
        await asyncio.sleep(0.05)
        started = time.perf_counter()
        await session.aclose()
        with pytest.raises(SessionClosed):
            await opening
        assert time.perf_counter() - started < 20
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
