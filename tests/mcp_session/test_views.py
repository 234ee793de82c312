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


@pytest.mark.parametrize("path", ["/lib/y.py", "/lib/" + "long/" * 40 + "y.py", "/my lib" * 30])
def test_a_failure_is_one_line_without_a_path(path: str) -> None:
    """Python's import errors name a file of this machine, at its end or cut off there."""
    error = ImportError(f"cannot import name 'X' from 'y' ({path})")
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
    assert views.hint_table(tools).rows == [("a", "yes", "–"), ("b", "–", "–")]


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


@pytest.mark.parametrize(
    ("sold", "found"), [([50, 100], "no change is missed"), ([20, 130], "missed: 480 g")]
)
def test_the_title_of_the_readings_says_what_they_show(sold: list[int], found: str) -> None:
    """Also where a change was missed."""
    shown = views.plot_readings([500, 450, 350], sold, what="assam")
    assert shown.figure.get_suptitle() == f"2 sales, 3 readings: {found}"
    assert f"500, 450, 350 grams of assam; {found}" in shown.alt


def test_the_knobs_reach_what_the_text_names() -> None:
    """Which outage three, six and seven tries outlast, at a quarter of a second."""
    box: Any = views.retry_widget()
    attempts, delay = box.children[0].children
    assert [knob.description for knob in (attempts, delay)] == ["attempts", "delay, s"]
    last = {}
    for tries in (3, 6, 7):
        attempts.value, delay.value = tries, 0.25
        assert (attempts.value, delay.value) == (tries, 0.25)
        rows = views.outage_table(RetryPolicy(attempts=tries, delay=delay.value)).rows
        last[tries] = [away for away, served in rows if served != "given up"][-1]
    assert last == {3: "0.2 s", 6: "5 s", 7: "10 s"}


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
