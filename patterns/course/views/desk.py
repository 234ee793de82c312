"""What chapter 09 shows of its day: the ends of the tickets, the objective, the money.

The day is synthetic, its answers are authored, and every table and figure says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from patterns.course.views import INK, MUTED, PALETTE, SOFT, Table, figure, show

MADE_UP: Final = "synthetic tickets, authored answers, list prices"
PAGE: Final = 14.4
LOOKS: Final = {
    "sent": (PALETTE[1], ""),
    "tonight": (PALETTE[2], "//"),
    "held": (PALETTE[3], ".."),
    "blocked": (PALETTE[0], "xx"),
}

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "loop": {
        "wrong": {0: "Two retries end long before 40 minutes do."},
        "why": "The SDK tried each of them three times within the overload.",
    },
    "calls": {
        "wrong": {3: "A vote is not one call.", 4: "Looking up calls the shop, and not Claude."},
        "why": "Triage and draft are a call each, the vote is three.",
    },
    "again": {
        "wrong": {0: "Nobody had written down what was made.", 25: "What was written down stays."},
        "why": "One for each killed worker. The refund was asked for twice, and paid once.",
    },
    "attack": {
        "wrong": {5: "That is how many tickets there were."},
        "why": "The screen stands before the wire; what it refuses is in the audit log.",
    },
    "page": {
        "wrong": {
            "none": "The tickets were saved, the calls were not.",
            "11 and 15": "Two calls burned there.",
        },
        "why": "Tickets survive an overload; somebody should still look.",
    },
    "cost": {
        "wrong": {"batch": "Half price, on a fourth of the tickets.", "triage": "Short calls."},
        "why": "Votes cost; they buy safety.",
    },
}
"""What the chapter says to the reader's predictions."""


def steps(made: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """The steps of a ticket and what each of them made, shortened."""
    rows = [(name, _short(each.get("value", each))) for name, each in made]
    return Table(("step", "what it made"), rows)


def _short(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= 76 else text[:75] + "…"


def costs(rows: Sequence[tuple[str, Decimal, Decimal]]) -> Table:
    """By pattern: the day without it, the day, and the difference in per cent."""
    told = [
        (name, f"${before:.3f}", f"${after:.3f}", f"{float(after / before - 1):+.0%}")
        for name, before, after in rows
    ]
    return Table(("pattern", "without", "with", "change"), told, note=f"({MADE_UP})")


def page(
    hours: Mapping[int, Counter[str]],
    burns: Mapping[int, float],
    rows: Sequence[tuple[str, Decimal, Decimal]],
) -> None:
    """One page: where the tickets of each hour ended, how fast the budget burned, the money."""
    fig, (ends, rate, money) = figure(
        f"{sum(sum(each.values()) for each in hours.values())} tickets, one end each; "
        f"{rows[3][0]} saves most",
        size=(7.2, 8.4),
        panels=3,
    )
    grid = fig.add_gridspec(3, 1)
    for at, axis in enumerate((ends, rate, money)):
        axis.set_subplotspec(grid[at])
        axis.tick_params(labelsize=9)
    bottom = dict.fromkeys(hours, 0)
    for state, (color, hatch) in LOOKS.items():
        counts = [hours[hour][state] for hour in hours]
        look: Any = {"color": color, "hatch": hatch, "edgecolor": "white", "label": state}
        ends.bar([*hours], counts, bottom=[*bottom.values()], **look)
        bottom = {hour: bottom[hour] + hours[hour][state] for hour in hours}
    ends.legend(fontsize=9, ncols=4, loc="upper left")
    ends.set(ylabel="tickets", ylim=(0, 1.35 * max(bottom.values())))
    rate.bar([*burns], [*burns.values()], color=PALETTE[1])
    rate.axhline(PAGE, color=PALETTE[0], linestyle="--")
    rate.text(max(burns), PAGE, f"page above {PAGE}", ha="right", va="bottom", fontsize=9)
    rate.set(ylabel="burn rate", xlabel="hour of the day", xlim=ends.get_xlim())
    names = [name for name, _, _ in rows]
    money.barh(names, [float(before) for _, before, _ in rows], color=MUTED, hatch="//")
    money.axvline(float(rows[0][2]), color=INK)
    money.text(float(rows[0][2]), 2, " as it was", fontsize=9, color=SOFT, va="center")
    money.set(xlabel="dollars for the day without it")
    worst = max(burns, key=lambda hour: burns[hour])
    total = sum((each for each in hours.values()), Counter[str]())
    alt = (
        f"First ends by hour: {', '.join(f'{total[state]} {state}' for state in LOOKS)}. "
        f"Burn rate {burns[worst]:.0f} at {worst}:00. The day cost ${rows[0][2]:.3f}; "
        f"without a cache ${rows[3][1]:.3f}."
    )
    show(fig, alt, source=MADE_UP)
