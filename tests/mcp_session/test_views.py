"""What chapter 02 shows: tables as text, figures with their numbers in words."""

import asyncio
from typing import Any

import pytest
from mcp.types import Tool, ToolAnnotations
from servers.shop import build_shop
from servers.writer import build_writer

from patterns.core.models import SONNET
from patterns.course.views import mcp as views
from patterns.fake_api import FakeAPI
from patterns.mcp_session import RetryPolicy, ToolCall, ToolSession, declared_safe
from patterns.mcp_session.events import ToolRun


def test_a_failure_is_one_line_without_a_path() -> None:
    """Python's import errors name a file of this machine."""
    error = ImportError("cannot import name 'X' from 'y' (/lib/y.py)")
    assert repr(views.failure(error)) == "ImportError: cannot import name 'X' from 'y'"


def test_an_outcome_is_the_error_or_none() -> None:
    """Awaited here, shown there."""

    async def run() -> list[str]:
        async with ToolSession(build_shop()) as session:
            return [
                repr(await views.outcome(session.list_tools())),
                repr(await views.outcome(session.read_resource("stock://x"))),
            ]

    good, bad = asyncio.run(run())
    assert good == "no error"
    assert "No tea 'x'" in bad


def test_a_visit_is_one_row_per_way() -> None:
    """Protocol, tools, answer."""
    table = asyncio.run(views.visit({"in memory": (build_shop(), "legacy")}))
    assert table.rows == [("in memory", "2025-11-25", "9", "500")]


def test_histories_and_tools_become_tables() -> None:
    """Without durations, which differ from run to run."""
    call = ToolCall("v-1", "stock", {}, "ok", "", 2, 1, 0.5)
    assert views.history_table([call]).rows == [("v-1", "stock", "ok", "2", "1")]
    tools = [
        Tool(name="a", input_schema={}, annotations=ToolAnnotations(read_only_hint=True)),
        Tool(name="b", input_schema={}),
    ]
    assert views.tool_table(tools, declared_safe).rows == [("a", "yes"), ("b", "no")]


def test_the_calls_of_a_turn_become_a_table_that_does_not_depend_on_who_was_first() -> None:
    """By server and tool."""
    ids = ("toolu_1", "c/toolu_1", "req_1")
    runs = [ToolRun(*ids, server, "stock", {"tea": "assam"}, "ok") for server in ("shop", "depot")]
    assert [row[0] for row in views.run_table(runs).rows] == ["depot", "shop"]


def test_the_outage_table_says_which_try_gets_through() -> None:
    """Without jitter: 0, 0.25 and 0.75 seconds."""
    table = views.outage_table(RetryPolicy(attempts=3, delay=0.25), [0, 0.2, 0.75, 1])
    assert [row[1] for row in table.rows] == ["try 1", "try 2", "try 3", "given up"]
    assert table.note == "tries begin after 0, 0.25, 0.75 s"


def test_readings_are_plotted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers stand below the figure."""
    views.plot_readings([500, 450], what="assam")
    assert "500, 450 grams of assam" in capsys.readouterr().out


def test_the_widget_draws_the_same_table() -> None:
    """Two sliders and the table of outages."""
    box: Any = views.retry_widget()
    knobs = box.children[0].children
    assert [knob.description for knob in knobs] == ["attempts", "delay, s"]


def test_the_writer_passes_on_each_piece() -> None:
    """Claude's words arrive as progress while they are written."""
    api = FakeAPI()
    api.enqueue("Soft water lets a tea taste of itself.")
    pieces: list[str] = []

    async def run() -> str:
        async with ToolSession(build_writer(api.async_client(), model=SONNET)) as session:
            result = await session.call_tool(
                "write", {"topic": "water"}, progress_callback=views.hearing(pieces)
            )
            return str((result.structured_content or {})["result"])

    assert asyncio.run(run()) == "".join(pieces)
    assert len(pieces) > 1
