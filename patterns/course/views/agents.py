"""What chapter 03 draws: Gantt charts with the bound, tables of runs, and a widget of failures."""

import asyncio
import random
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from anthropic import APIRequest, AsyncAPIResponse, AsyncCallNext, Middleware

from patterns.agents.balancer import Balancer, Ticket
from patterns.agents.plan import Agent, Plan, Task, graph, lower_bound
from patterns.agents.report import Context, RunReport
from patterns.agents.scheduler import Call, run_plan
from patterns.course.views import INK, MUTED, PALETTE, Shown, Table, figure, knobs, show
from patterns.fake_api.clock import VirtualClock

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "eager": {
        "wrong": {2: "That is only claims.", 5: "The forecast starts at 5 s, not at 14 s."},
    },
    "cost": {
        "wrong": {"scout": "One call, on the smallest model.", "analyst": "Look at the models."},
        "why": (
            "Calls times tokens times the price of the model: the lawyer runs on the largest one."
        ),
    },
    "blocked": {
        "wrong": {14: "That is what round robin gets.", 7: "Half as many would still be too many."},
    },
    "refused": {
        "wrong": {
            "the lawyer again": "A refusal comes again.",
            "nobody": "Another model may do it.",
        },
        "why": (
            "One that all refuse is quarantined; what waits for it is skipped, and nothing else."
        ),
    },
    "resumed": {
        "wrong": {
            4: "Four may run at once; three of them had ended.",
            8: "Recorded results are kept.",
        },
        "why": "Only what was under way runs again.",
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""


HATCHES: Final = ("", "///", "...", "xxx")
"""One for each agent of a chart, beside its colour."""


def taking(seconds: Mapping[str, float]) -> Call:
    """A call that waits as long as `seconds` says and answers with the task's name."""

    async def call(agent: Agent, task: Task, context: Context) -> str:
        await asyncio.sleep(seconds[task.id])
        return task.id

    return call


def in_virtual_time(plan: Plan, agents: Sequence[Agent], call: Call, **options: Any) -> RunReport:
    """`run_plan` on a clock that jumps: minutes of a plan in a moment of yours."""
    return VirtualClock().run(run_plan(plan, agents, call, **options))


class Notes(Middleware):
    """Keeps what is sent; chapter 01 builds middleware that does something with it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        """Note the body and pass the request on."""
        self.sent.append(request.json)
        return await call_next(request)


# ── The usual ways, to compare ─────────────────────────────────────────────────────────────────


def levels(plan: Plan) -> list[list[str]]:
    """Task ids by depth: level 0 waits for nothing, level n for something on level n - 1."""
    depth: dict[str, int] = {}
    dependencies = graph(plan)
    for task_id in TopologicalSorter(dependencies).static_order():
        depth[task_id] = 1 + max((depth[d] for d in dependencies[task_id]), default=-1)
    grouped: list[list[str]] = [[] for _ in range(1 + max(depth.values()))]
    for task in plan.tasks:
        grouped[depth[task.id]].append(task.id)
    return grouped


def as_waves(plan: Plan) -> Plan:
    """The same tasks, each waiting for the whole level before it: scheduling by levels, to compare.

    Promise.allSettled over "everything that is ready" behaves like this, and so do supersteps.
    """
    by_level = levels(plan)
    waits = {
        task_id: tuple(before) for before, level in pairwise([[], *by_level]) for task_id in level
    }
    return Plan(tuple(replace(task, depends_on=waits[task.id]) for task in plan.tasks))


class RoundRobin(Balancer):
    """Each agent in turn, whatever the limits say: what a load balancer for servers does."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: dict[str, int] = {}

    def choose(self, task: Task, agents: Sequence[Agent], now: float) -> Agent | None:
        """The agent whose last turn is longest ago, unless all have their hands full."""
        free = [agent for agent in agents if self.busy(agent) < agent.max_concurrency]
        return min(free, key=lambda agent: self.turns.get(agent.name, 0)) if free else None

    def started(self, task: Task, agent: Agent, now: float) -> Ticket:
        """Note the turn."""
        self.turns[agent.name] = 1 + max(self.turns.values(), default=0)
        return super().started(task, agent, now)


# ── Tables ────────────────────────────────────────────────────────────────────────────────────


def plan_table(plan: Plan) -> Table:
    """A plan, one task a row."""
    rows = [
        (
            task.id,
            ", ".join(sorted(task.needs)),
            ", ".join(task.depends_on) or "–",
            textwrap.shorten(task.prompt, 48, placeholder=" …"),
        )
        for task in plan
    ]
    return Table(("task", "needs", "waits for", "prompt begins"), rows)


def results_table(report: RunReport, *, source: str = "") -> Table:
    """How each task ended, by whom, and why not."""
    rows = [
        (
            result.id,
            result.status + (", quarantined" if result.quarantined else ""),
            " → ".join(attempt.agent for attempt in result.attempts) or "–",
            _shorten(result.cause) or "–",
        )
        for result in report.results.values()
    ]
    return Table(("task", "status", "asked", "cause"), rows, note=source)


def agents_table(report: RunReport, *, source: str) -> Table:
    """Calls, tokens and dollars of each agent."""
    rows = [
        (name, each.calls, each.input_tokens, each.output_tokens, f"${each.cost_usd:.5f}")
        for name, each in report.by_agent().items()
    ]
    return Table(("agent", "calls", "tokens in", "tokens out", "cost"), rows, note=source)


def caps_table(plan: Plan, agents: Sequence[Agent], seconds: Mapping[str, float]) -> Table:
    """Makespan beside the bound for each width."""
    rows = []
    for cap in (1, 2, 3, 4, 8):
        report = in_virtual_time(plan, agents, taking(seconds), max_concurrency=cap)
        bound = lower_bound(plan, cap, seconds)
        rows.append(
            (cap, f"{bound:g} s", f"{report.makespan:g} s", f"{report.makespan / bound:.2f}")
        )
    return Table(("calls at once", "bound", "makespan", "ratio"), rows)


def _shorten(text: str, most: int = 44) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


# ── Pictures ──────────────────────────────────────────────────────────────────────────────────


def gantt(runs: Mapping[str, RunReport], bound: float, *, title: str, alt: str) -> None:
    """One panel a run, one bar a call, agents by colour and hatch; the bound is a line."""
    fig, axes = figure(title, size=(7.2, 3.6), panels=len(runs), sharex=True, sharey=True)
    names = sorted({attempt.agent for run in runs.values() for attempt in run.attempts})
    looks = dict(zip(names, zip(PALETTE, HATCHES, strict=True), strict=False))
    for axis, (name, run) in zip(axes, runs.items(), strict=True):
        _bars(axis, run, looks)
        axis.axvline(bound, color=INK, linewidth=1.4, linestyle="--")
        axis.set_title(f"{name}: {run.makespan:g} s", loc="left", fontsize=10, color=INK)
        axis.set_xlabel("seconds", fontsize=9, color=INK)
    axes[0].text(bound + 0.3, -0.6, f"bound {bound:g} s", fontsize=9, color=INK)
    handles = [_swatch(*looks[name]) for name in names]
    axes[-1].legend(handles, names, loc="upper right", fontsize=9, frameon=False)
    show(fig, alt)


def _bars(axis: "Axes", run: RunReport, looks: Mapping[str, tuple[str, str]]) -> None:
    for row, result in enumerate(run.results.values()):
        for attempt in result.attempts:
            colour, hatch = looks[attempt.agent]
            axis.barh(
                row,
                attempt.ended - attempt.started,
                left=attempt.started,
                facecolor=MUTED if attempt.error else colour,
                edgecolor="white",
                hatch=hatch,
                height=0.62,
            )
    axis.set_yticks(range(len(run.results)), [*run.results])
    axis.set_ylim(len(run.results) - 0.4, -1.0)
    axis.grid(visible=False, axis="y")


def _swatch(colour: str, hatch: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, edgecolor="white", hatch=hatch)


# ── The widget ────────────────────────────────────────────────────────────────────────────────


def failing(seconds: Mapping[str, float], rate: float, seed: int = 0) -> Call:
    """A call that loses its connection now and then, after half of its time."""
    draws = random.Random(seed)

    async def call(agent: Agent, task: Task, context: Context) -> str:
        lost = draws.random() < rate
        await asyncio.sleep(seconds[task.id] / (2 if lost else 1))
        if lost:
            raise ConnectionError("lost")
        return task.id

    return call


def draws(
    plan: Plan, agents: Sequence[Agent], seconds: Mapping[str, float], cap: int, rate: float
) -> list[RunReport]:
    """Forty runs of a plan with this width and failure rate."""
    patient = Plan(tuple(replace(task, max_attempts=4) for task in plan))
    return [
        in_virtual_time(patient, agents, failing(seconds, rate, seed), max_concurrency=cap)
        for seed in range(40)
    ]


def knob_line(runs: Sequence[RunReport], cap: int, rate: float) -> str:
    """What a width and a failure rate made of a plan; seconds are those of complete runs."""
    whole = [run.makespan for run in runs if run.ok]
    mean = f"{sum(whole) / len(whole):.1f} s on average" if whole else "never done"
    calls = sum(len(run.attempts) for run in runs) / len(runs)
    return (
        f"{cap} at once, {rate:.0%} of calls lost: {mean}, "
        f"{calls:.1f} calls, {len(whole)} of {len(runs)} runs complete"
    )


def knob_lines(plan: Plan, agents: Sequence[Agent], seconds: Mapping[str, float]) -> Shown:
    """The widget's line at a few settings."""
    settings = ((1, 0.0), (4, 0.0), (4, 0.2), (4, 0.5))
    lines = [knob_line(draws(plan, agents, seconds, *each), *each) for each in settings]
    return Shown("\n".join(lines))


def widget(plan: Plan, agents: Sequence[Agent], seconds: Mapping[str, float]) -> Any:
    """Sliders for width and failure rate; below them how long the forty runs take."""
    import ipywidgets as widgets

    def draw(cap: int, rate: float) -> None:
        runs = draws(plan, agents, seconds, cap, rate)
        _spread(runs, lower_bound(plan, cap, seconds), knob_line(runs, cap, rate))

    return knobs(
        draw,
        cap=widgets.IntSlider(value=4, min=1, max=8, description="at once"),
        rate=widgets.FloatSlider(value=0.2, min=0.0, max=0.8, step=0.1, description="lost"),
    )


def _spread(runs: Sequence[RunReport], bound: float, line: str) -> None:
    """How often a complete run took how long, with the bound and the mean as lines."""
    spans = [run.makespan for run in runs if run.ok] or [bound]
    mean = sum(spans) / len(spans)
    fig, axis = figure(f"{mean / bound:.2f} times the bound on average", size=(7.2, 2.8))
    axis.hist(spans, bins=range(0, int(max(spans)) + 3, 2), color=PALETTE[0], alpha=0.85)
    for at, colour, label in ((bound, INK, f"bound {bound:g} s"), (mean, PALETTE[1], "mean")):
        axis.axvline(at, color=colour, linestyle="--", label=label)
    axis.set_xlim(left=0)
    axis.set_xlabel("seconds until the plan is done")
    axis.set_ylabel("complete runs")
    axis.legend(frameon=False, fontsize=9)
    show(fig, line)
