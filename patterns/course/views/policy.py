"""What chapter 01 shows: audit rows, what a tripwire catches, and how bucket levels move.

Bucket levels are computed on a clock of their own; no model's answer is in them.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from anthropic import Anthropic, AsyncAnthropic

from patterns.course.views import INK, SOFT, STYLES, Table, figure, knobs, show
from patterns.course.views.lesson import diagram
from patterns.policy.budgets import Charge
from patterns.policy.guard import Guard
from patterns.policy.rate_limit import Cost, Limits, MemoryStore

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "objection": {
        "wrong": {
            "the user id": "That is wrong as well, but the API does not get so far.",
            "the audit id": "That is wrong as well, but the API does not get so far.",
        },
    },
    "hash": {
        "wrong": {"nobody": "A hash cannot be undone, but it can be tried."},
        "why": ("Whoever has the list can hash it. Without the key, nobody can make these names."),
    },
    "rules": {
        "wrong": {
            2: "A rule that is silent about tools allows none.",
            3: "Text is no number, whatever it says.",
        },
        "why": "What no rule names is denied, and so is what cannot be read.",
    },
    "redacted": {
        "wrong": {"the card": "Spaces do not hide it.", "the address": "An address has a shape."},
        "why": (
            "A name has none. With patterns alone the recall on names, streets "
            "and companies is zero."
        ),
    },
    "vault": {
        "wrong": {"[EMAIL_1]": ("That is what the model wrote. The middleware stands in between.")},
        "why": "What the model may do with the placeholder, it may do with the value.",
    },
    "phrases": {
        "wrong": {1: "Look for the phrase: it is in none of them."},
        "why": "The phrases are a tripwire for noise, and no wall against an attacker.",
    },
    "log": {
        "wrong": {
            "yes": ("What is left is a log that ends there, and each of its rows is genuine.")
        },
    },
    "charged": {
        "wrong": {2: "Two attempts, one call."},
        "why": (
            "Attempts of a call share its idempotency key: one charge, one row, each failure noted."
        ),
    },
    "settled": {
        "wrong": {1: "3,000 tokens a call were never used."},
        "why": "Not four: while it runs, each call still holds all that it reserved.",
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""


def chain_diagram(client: Anthropic | AsyncAnthropic) -> Any:
    """The chain around a guarded client, outermost first, as it is."""
    guard = next(one for one in client.middleware if isinstance(one, Guard))
    names = [repr(one).partition("(")[0] for one in guard.chain]
    boxes = {"your call": (0.0, 0.0)}
    for index, name in enumerate([*names, "the API"], start=1):
        boxes[name] = (float(index % 4), float(index // 4))
    order = list(boxes)
    arrows = list(itertools.pairwise(order))
    alt = "A call passes " + ", ".join(names) + " and reaches the API; the answer goes back."
    return diagram(boxes, arrows, alt, ours=names)


def audit_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Audit rows without what differs from run to run."""
    shown = []
    for row in rows:
        usage = row.get("usage", {}).get("output_tokens", "")
        notes = {**row.get("notes", {})}
        notes.pop("allowed", None)
        told = row.get("reason") or row.get("rule") or notes.get("pii", "")
        who = ((row.get("detail") or {}).get("user") or "")[:10]
        facts = (row["seq"], row["event"], who, row.get("model", ""), usage, told)
        shown.append(tuple(str(fact) for fact in facts))
    return Table(("seq", "event", "who", "model", "output", "why"), shown)


@dataclass(frozen=True)
class Traffic:
    """What a simulated minute or two did to a budget.

    Attributes:
        times: seconds, one per second.
        levels: output tokens left, in the one bucket or summed over all.
        admitted: output tokens admitted so far.
        refused: calls that were turned away.
    """

    times: Sequence[float]
    levels: Sequence[float]
    admitted: Sequence[float]
    refused: int


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulate(
    *,
    otpm: float = 60_000,
    calls_per_second: float = 2,
    reserve: float = 4_000,
    used: float = 1_000,
    takes: int = 10,
    processes: int = 1,
    settle: bool = True,
    seconds: int = 120,
) -> Traffic:
    """Calls that reserve `reserve` output tokens and settle to `used` after `takes` seconds.

    With several processes each call goes to the next one, which has a bucket of its own.
    """
    clock, limits = _Clock(), Limits(otpm=otpm)
    stores = [MemoryStore(clock=clock) for _ in range(processes)]
    ends: dict[int, list[MemoryStore]] = {}
    levels, admitted, total, refused, due, turn = [], [], 0.0, 0, 0.0, 0
    for second in range(seconds + 1):
        clock.now = float(second)
        for store in ends.pop(second, []):
            store.adjust([Charge("org", limits, Cost(output=reserve - used))])
        due += calls_per_second
        while due >= 1:
            due, store, turn = due - 1, stores[turn % processes], turn + 1
            if store.reserve([Charge("org", limits, Cost(output=reserve))], 0).granted:
                total += used
                if settle:
                    ends.setdefault(second + takes, []).append(store)
            else:
                refused += 1
        levels.append(sum(store.levels("org", limits)[2] or 0 for store in stores))
        admitted.append(total)
    return Traffic([float(one) for one in range(seconds + 1)], levels, admitted, refused)


def plot_buckets(shared: Traffic, apart: Traffic, *, otpm: float, processes: int) -> None:
    """One bucket that everybody shares, against one in each process: tokens admitted."""
    title = f"{processes} buckets in {processes} processes let {excess(apart, otpm)} through"
    fig, axes = figure(title, size=(7.2, 3.6), panels=2)
    left, right = axes
    settled, unsettled = (simulate(calls_per_second=0.8, settle=how) for how in (True, False))
    _line(left, settled.times, settled.levels, "settled", 0)
    _line(left, unsettled.times, unsettled.levels, "never settled", 1)
    _finish(left, "level of one bucket, 48 calls a minute", "thousand output tokens")
    allowed = [otpm * (1 + one / 60) for one in shared.times]
    _line(right, apart.times, apart.admitted, "one each", 1)
    _line(right, shared.times, shared.admitted, "one shared", 0)
    _limit(right, shared.times, allowed)
    _finish(right, "admitted since the start", "")
    show(fig, _alt(shared, apart, allowed[-1] / 1_000, processes))


def excess(traffic: Traffic, otpm: float) -> str:
    """What was admitted, as a multiple of the limit: a full bucket and its refill."""
    return f"{traffic.admitted[-1] / (otpm * (1 + traffic.times[-1] / 60)):.1f} times the limit"


def _line(axis: Any, times: Sequence[float], tokens: Sequence[float], label: str, at: int) -> None:
    thousands = [one / 1_000 for one in tokens]
    axis.plot(times, thousands, label=label, markevery=15, markersize=5, **STYLES[at])


def _limit(axis: Any, times: Sequence[float], allowed: Sequence[float]) -> None:
    axis.plot(times, [one / 1_000 for one in allowed], color=SOFT, linestyle=":", label="the limit")


def _finish(axis: Any, title: str, unit: str) -> None:
    axis.set_title(title, fontsize=10, color=INK, loc="left")
    axis.set_ylabel(unit)
    axis.set_xlabel("seconds")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=9)


def _alt(shared: Traffic, apart: Traffic, allowed: float, processes: int) -> str:
    low = min(simulate(calls_per_second=0.8).levels) / 1_000
    one, each = shared.admitted[-1] / 1_000, apart.admitted[-1] / 1_000
    return (
        f"After {shared.times[-1]:.0f} s the limit allows {allowed:,.0f} thousand output tokens. "
        f"One shared bucket admitted {one:,.0f} thousand, {processes} separate ones {each:,.0f}: "
        f"{each / allowed:.1f} times the limit. "
        f"At 48 calls a minute a settled bucket never falls under {low:,.0f} thousand tokens; one "
        "that is never settled runs dry."
    )


def plot_traffic(traffic: Traffic, *, otpm: float = 60_000) -> None:
    """One simulation: the level over time, and what got in beside what may."""
    title = f"{excess(traffic, otpm)} was used, {traffic.refused} calls were turned away"
    fig, (left, right) = figure(title, size=(7.2, 3.2), panels=2)
    _line(left, traffic.times, traffic.levels, "level", 0)
    _finish(left, "level", "thousand output tokens")
    _line(right, traffic.times, traffic.admitted, "admitted", 1)
    _limit(right, traffic.times, [otpm * (1 + one / 60) for one in traffic.times])
    _finish(right, "admitted since the start", "")
    show(fig, f"{summary(traffic)}, {excess(traffic, otpm)}")


def summary(traffic: Traffic) -> str:
    """One line about a simulation, as text."""
    return (
        f"admitted {traffic.admitted[-1]:,.0f} output tokens, turned away {traffic.refused} calls, "
        f"lowest level {min(traffic.levels):,.0f}"
    )


def limit_knobs() -> Any:
    """The simulation with controls: calls per second, reservation, settling, processes."""
    import ipywidgets as widgets

    def draw(calls: int, reserve: int, settle: bool, processes: int) -> None:
        traffic = simulate(
            calls_per_second=calls, reserve=reserve, settle=settle, processes=processes
        )
        plot_traffic(traffic)

    return knobs(
        draw,
        calls=widgets.IntSlider(2, 1, 16, description="calls/s"),
        reserve=widgets.IntSlider(4_000, 1_000, 16_000, 1_000, description="reserve"),
        settle=widgets.Checkbox(True, description="settle"),
        processes=widgets.IntSlider(1, 1, 8, description="processes"),
    )
