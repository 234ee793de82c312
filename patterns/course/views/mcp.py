"""What chapter 02 draws: failures in one line, histories, readings, and how long retries last."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from mcp.shared.dispatcher import ProgressFnT
from mcp.types import Tool, ToolAnnotations

from patterns.course.views import (
    INK,
    PALETTE,
    Picture,
    Shown,
    Table,
    figure,
    knobs,
    one_line,
    picture,
)
from patterns.mcp_session import Connect, RetryPolicy, ToolCall, ToolSession
from patterns.mcp_session.events import ToolRun

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "loop": {
        "wrong": {
            0: "A timeout ends your waiting, not the sale.",
            1: "For the shop each try is an order.",
        },
        "why": ("A timeout does not say that nothing happened. It says that you do not know."),
    },
    "ways": {
        "why": "Only the protocol differs. What you write on top of it is the same.",
    },
    "repeat": {
        "why": "The default is once. Permission is given by name, or by a rule.",
    },
    "session": {
        "wrong": {
            0: "The shop had booked before the time was up.",
            3: "The session asks once by default.",
        },
        "why": "The error says what is unknown.",
    },
    "death": {
        "wrong": {"an error": "The session starts a new process for the next call."},
    },
    "schema": {
        "why": "The other one is listed with its reason.",
    },
    "result": {
        "wrong": {
            1: "The file and the structure are kept.",
            2: "The file and the structure are both kept.",
        },
        "why": (
            "A file with text becomes a document, and a structure that no text "
            "repeats becomes a text."
        ),
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""

OUTAGES: Final = (0.2, 1.0, 5.0, 10.0)
"""Seconds for which a server is away in the table of retries."""


def failure(error: BaseException) -> Shown:
    """An error in one line, without the path that an import error carries."""
    if isinstance(error, ImportError):
        error = type(error)(re.sub(r" \([^()]*[/\\][^()]*\)", "", str(error)))
    return one_line(error)


async def outcome(call: Coroutine[Any, Any, Any]) -> Shown:
    """The error that an awaited call ends with, in one line; or that it ended well."""
    try:
        await call
    except Exception as error:
        return failure(error)
    return Shown("no error")


def hearing(words: list[str]) -> ProgressFnT:
    """A progress callback that collects the messages."""

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        words.append(message or "")

    return hear


async def visit(ways: Mapping[str, tuple[Connect, str]]) -> Table:
    """Ask the same question of the same server over each way at once, and show the answers."""
    rows = await asyncio.gather(*(_visited(name, *way) for name, way in ways.items()))
    return Table(("way", "protocol", "tools", "grams of assam"), rows)


async def _visited(name: str, connect: Connect, mode: str) -> tuple[Any, ...]:
    async with ToolSession(connect, mode=mode) as session:
        answer = await session.call_tool("stock", {"tea": "assam"})
        grams = (answer.structured_content or {}).get("grams")
        version = session.client.protocol_version
        return name, version, len(await session.list_tools()), grams


def history_table(calls: Sequence[ToolCall]) -> Table:
    """A session's history, without its durations."""
    rows = [(call.id, call.name, call.outcome, call.attempts, call.connection) for call in calls]
    return Table(("id", "tool", "outcome", "attempts", "connection"), rows)


def hint_table(tools: Sequence[Tool]) -> Table:
    """What each tool's server declares about it; a dash where it declares nothing."""
    said = {True: "yes", False: "no", None: "–"}
    hints = [tool.annotations or ToolAnnotations() for tool in tools]
    rows = [
        (tool.name, *(said[each] for each in (a.read_only_hint, a.idempotent_hint)))
        for tool, a in zip(tools, hints, strict=True)
    ]
    return Table(("tool", "read_only_hint", "idempotent_hint"), rows)


def tool_table(tools: Sequence[Tool], may_repeat: Callable[[Tool], bool]) -> Table:
    """Which tools a rule allows to run twice."""
    rows = [(tool.name, "yes" if may_repeat(tool) else "no") for tool in tools]
    return Table(("tool", "may be tried again"), rows)


def run_table(runs: Sequence[ToolRun]) -> Table:
    """The tool calls of a turn by server; those that run together end in any order."""
    rows = [(run.server, run.tool, dict(run.arguments), run.outcome) for run in runs]
    return Table(("server", "tool", "arguments", "outcome"), sorted(rows, key=str))


def plot_readings(readings: Sequence[int], sold: Sequence[int], *, what: str) -> Picture:
    """What a watcher read, in order, and which of the sales' changes it never saw."""
    held = [readings[0] - gone for gone in accumulate(sold)]
    missed = [grams for grams in held if grams not in readings]
    found = f"missed: {', '.join(map(str, missed))} g" if missed else "no change is missed"
    fig, axis = figure(f"{len(sold)} sales, {len(readings)} readings: {found}")
    axis.step(range(len(readings)), readings, where="post", color=PALETTE[1], linewidth=2)
    axis.plot(range(len(readings)), readings, "o", color=PALETTE[0])
    for at, grams in enumerate(readings):
        axis.annotate(f"{grams}", (at, grams), (5, 6), textcoords="offset points", color=INK)
    axis.set_xticks(range(len(readings)))
    axis.set_xlabel("reading")
    axis.set_ylabel(f"grams of {what}")
    axis.set_ylim(0, max(readings) * 1.15)
    listed = ", ".join(map(str, readings))
    return picture(fig, f"Steps, reading by reading: {listed} grams of {what}; {found}.")


def waits(policy: RetryPolicy) -> list[float]:
    """Seconds after the first try at which each try of a policy begins, without jitter."""
    times = [0.0]
    for attempt in range(1, policy.attempts):
        times.append(times[-1] + policy.delay_after(attempt, lambda: 0.0))
    return times


def outage_table(policy: RetryPolicy, outages: Sequence[float] = OUTAGES) -> Table:
    """Which try gets through when the server is away for so long; tries take no time here."""
    starts = waits(policy)
    rows = []
    for seconds in outages:
        through = next((n for n, start in enumerate(starts, 1) if start >= seconds), None)
        rows.append((f"{seconds:g} s", f"try {through}" if through else "given up"))
    last = f"tries begin after {', '.join(f'{start:g}' for start in starts)} s"
    return Table(("server away for", "served by"), rows, note=last)


def retry_widget() -> Any:
    """Attempts and first delay, and which outages the policy survives."""
    import ipywidgets as widgets
    from IPython.display import display

    def draw(attempts: int, delay: float) -> None:
        table = outage_table(RetryPolicy(attempts=attempts, delay=delay))
        display(table)  # type: ignore[no-untyped-call]

    return knobs(
        draw,
        attempts=widgets.IntSlider(value=3, min=1, max=8, description="attempts"),
        delay=widgets.FloatSlider(value=0.25, min=0.05, max=2.0, step=0.05, description="delay, s"),
    )
