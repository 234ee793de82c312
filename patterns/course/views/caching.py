"""What chapter 07 reads and draws: a handbook, token tables, break-even points, the planner.

Costs here are arithmetic on prices; no model's answer is in them. Tables of a recording's tokens
carry the note of where those come from.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from anthropic.types import Message, Usage

from patterns.caching import CacheStats, Segment, break_even, first_difference, plan_breakpoints
from patterns.caching.limits import TTL, TTL_SECONDS
from patterns.caching.planner import CachePlan
from patterns.caching.traffic import Arrivals, Gaps, Poisson
from patterns.core.fan_out import Outcome
from patterns.core.models import FABLE, HAIKU, OPUS, SONNET
from patterns.course.views import INK, MUTED, PALETTE, SOFT, Table, figure, knobs, show

WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "short": {
        "wrong": {"hit": "It is marked, and marked twice the same; that is not enough."},
        "why": (
            "Four zeros, no error, no warning: the prompt is too short, and is processed uncached."
        ),
    },
    "second": {
        "wrong": {
            "handbook": "The handbook is what was kept.",
            "all": "The first call wrote, the second read.",
        },
        "why": ("input_tokens is only what stands behind the last breakpoint that was found."),
    },
    "automatic": {
        "wrong": {
            "less": (
                "The breakpoint stands behind the question, and that prefix never comes back."
            ),
            "the same": "Each call writes, and a write costs more than plain input.",
        },
        "why": "One explicit breakpoint in front of the question costs a twentieth.",
    },
    "together": {
        "wrong": {"cheaper": ("It would be, if the first had answered before the others start.")},
        "why": "All eight wrote: nobody could read yet.",
    },
    "failed": {
        "wrong": {
            3: "A question without an answer is not kept.",
            4: "The second one was never answered.",
        },
        "why": "One question and its answer.",
    },
    "gap": {
        "wrong": {
            "at 300 s": "Only if every gap were the same.",
            "above 300 s": (
                "The dearer write is paid once, and each long gap rewrites the whole prefix."
            ),
        },
        "why": "Most gaps are short, but one in thirty is longer than five minutes.",
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""

COLOURS: Final[Mapping[TTL, str]] = {"5m": PALETTE[0], "1h": PALETTE[1]}
DASHES: Final[Mapping[TTL, str]] = {"5m": "-", "1h": "--"}
MARKERS: Final[Mapping[TTL, str]] = {"5m": "o", "1h": "s"}

HANDBOOK: Final = """\
Handbook of the Kettenwerk bicycle workshop, for everyone who answers customers.

1. Opening hours. The workshop opens Tuesday to Friday from 9 to 18 and Saturday from 10 to 14. On
Sunday and Monday it is closed. Between 24 December and 2 January only emergencies are taken, and
an emergency is a bicycle that somebody needs in order to get to work.

2. Booking. A repair needs a booking, except for flat tyres, which are mended while the customer
waits if fewer than three people are in front. A booking takes a name, a telephone number, the
make of the bicycle and one sentence about what is wrong. Nobody is asked for an address. A
booking that is cancelled a day before costs nothing; a later one costs 15 euros, unless the
customer is ill.

3. Estimates. Every repair starts with an inspection, which costs 25 euros and is taken off the
bill when the repair is done here. The estimate that follows is binding for two weeks. If the
mechanic finds something that makes the repair more than 20 percent dearer, work stops and the
customer is called. Without an answer within two working days the bicycle is put back together as
it was.

4. Prices. A flat tyre costs 18 euros in front and 24 behind, tube included. Adjusting gears costs
22 euros, adjusting brakes 20, both together 36. A new chain is 39 euros with labour for up to ten
speeds and 52 for more. Truing a wheel costs 19 euros; a new spoke adds 4. A full service costs
119 euros and takes half a day. Work on electric drives is charged at 78 euros an hour and only
done on the two makes that we are trained for; other makes are referred to their dealers.

5. Warranty. Labour is guaranteed for six months, parts for two years. The guarantee ends when
somebody else has worked on the same assembly. Wear is not covered: chains, cassettes, brake pads
and tyres are meant to wear. A claim needs the bill, or the booking number, which is enough.

6. Storage. A finished bicycle is kept for ten working days without charge. After that storage
costs 2 euros a day, and after three months the bicycle may be sold, once two letters have been
sent and three weeks have passed since the second. The rest of the price, less costs, belongs to
the customer for three years.

7. Lending. Ten bicycles can be borrowed while a repair takes longer than a day. A lent bicycle
costs 8 euros a day, nothing if the repair is late through our fault. The borrower leaves a copy
of nothing: a signature and a telephone number are enough. A stolen lent bicycle costs the
borrower 150 euros if it was locked and its value if it was not.

8. Complaints. Listen first, then look at the bicycle together. Whoever takes the complaint may
grant up to 50 euros without asking. Above that the head of the workshop decides on the same day.
Write down what was said and what was promised, and put it with the booking.

9. Tone. Be brief and friendly, say what happens next and when, and never promise a time that the
board does not show. Do not guess at prices that are not in this handbook: offer an inspection.
"""


def dollars(amount: Decimal | float) -> str:
    """Dollars with five decimals: fractions of a cent are what caching is about."""
    return f"${amount:,.5f}"


def token_table(calls: Mapping[str, CacheStats], *, note: str = "") -> Table:
    """Tokens by kind of each call, with what its prompt cost and would have cost uncached."""
    rows = [
        (
            name,
            f"{stats.tokens.uncached:,}",
            f"{stats.tokens.read:,}",
            f"{stats.tokens.written:,}",
            dollars(stats.usd.prompt),
            dollars(stats.usd_without - stats.usd.output),
        )
        for name, stats in calls.items()
    ]
    columns = ("call", "uncached", "read", "written", "prompt", "uncached it would be")
    return Table(columns, rows, note=note)


def difference_table(base: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Table:
    """Where each of some requests stops being the same prompt as `base`."""
    found = {name: first_difference(base, other) for name, other in others.items()}
    rows = [(name, each.path if each else "nowhere") for name, each in found.items()]
    return Table(("what is different", "the prompts part at"), rows)


async def usages_of(outcomes: AsyncIterator[Outcome[Any, Message]]) -> list[Usage]:
    """What each call of a fan-out was billed for."""
    return [outcome.unwrap().usage async for outcome in outcomes]


def break_even_table(models: Sequence[str] = (SONNET, OPUS, HAIKU, FABLE)) -> Table:
    """From which use, and above which hit rate, caching pays on some models."""
    rows = []
    for model in models:
        five, hour = break_even(model, "5m"), break_even(model, "1h")
        uses = f"{five.uses} / {hour.uses}"
        rates = f"{five.hit_rate:.1%} / {hour.hit_rate:.1%}"
        rows.append((model, f"{five.read}", f"{five.write} / {hour.write}", uses, rates))
    return Table(("model", "read ×", "write × 5m / 1h", "pays from use", "needs hit rate"), rows)


def plot_break_even(model: str = SONNET) -> None:
    """Cost of the cached part over the hit rate, with the two points where it begins to pay."""
    points = {ttl: break_even(model, ttl) for ttl in TTL_SECONDS}
    needed = {ttl: point.hit_rate for ttl, point in points.items()}
    title = f"Caching loses money below {needed['5m']:.0%} hits, with a 1-hour lifetime below "
    fig, ax = figure(f"{title}{needed['1h']:.0%}")
    ax.axhspan(1, 2.1, color=MUTED, alpha=0.12, linewidth=0)
    ax.axhline(1, color=INK, linewidth=1)
    for ttl, point in points.items():
        ends = [float(point.relative_cost(h)) for h in (0, 1)]
        ax.plot([0, 100], ends, DASHES[ttl], color=COLOURS[ttl], linewidth=2.2)
        ax.annotate(f" {ttl}", (1, ends[0]), color=COLOURS[ttl], va="bottom")
        at = float(needed[ttl]) * 100
        ax.plot([at], [1], "o", color=COLOURS[ttl], markersize=7)
        ax.annotate(f"{at:.1f} %", (at + 1, 1.04), color=COLOURS[ttl])
    ax.annotate("dearer than no caching", (99, 1.95), ha="right", va="top", color=SOFT)
    ax.annotate("cheaper", (99, 0.93), ha="right", va="top", color=SOFT)
    ax.set(xlim=(0, 100), ylim=(0, 2.1))
    ax.set_xlabel("share of marked tokens read from the cache, %")
    ax.set_ylabel("cost, uncached = 1")
    alt = f"Two lines fall from {points['5m'].write} and {points['1h'].write} times the uncached "
    alt += f"cost at 0 % hits to {points['5m'].read} at 100 %; they cross 1 at "
    show(fig, f"{alt}{needed['5m']:.1%} (5m) and {needed['1h']:.1%} (1h).")


def relative_cost(model: str, ttl: TTL, arrivals: Arrivals, changes: float) -> float:
    """Cost of a prefix per call, uncached = 1, when it changes with that probability."""
    hits = (1 - changes) * arrivals.within(TTL_SECONDS[ttl])
    return float(break_even(model, ttl).relative_cost(hits))


def crossing(model: str, changes: float) -> float:
    """Mean gap in seconds from which an hour is cheaper than five minutes, at random arrivals."""
    low, high = 1.0, 3_600.0
    for _ in range(60):
        middle = (low + high) / 2
        five, hour = (relative_cost(model, ttl, Poisson(middle), changes) for ttl in TTL_SECONDS)
        low, high = (middle, high) if five < hour else (low, middle)
    return high


def plot_lifetimes(model: str = SONNET, changes: float = 0.05) -> None:
    """Cost of a prefix over the mean gap between calls, by lifetime, for random arrivals."""
    at = crossing(model, changes)
    fig, ax = figure(f"At random gaps the hour pays from {at:.0f} s on average, not from 300 s")
    gaps = np.geomspace(10, 20_000, 200)
    for ttl in TTL_SECONDS:
        random = [relative_cost(model, ttl, Poisson(gap), changes) for gap in gaps]
        steady = [relative_cost(model, ttl, Gaps((gap,)), changes) for gap in gaps]
        look: dict[str, Any] = {"color": COLOURS[ttl], "marker": MARKERS[ttl], "markevery": 20}
        ax.plot(gaps, random, **look, linewidth=2.2, label=f"{ttl}, random gaps")
        ax.plot(gaps, steady, "--", **look, linewidth=1, label=f"{ttl}, steady beat")
    ax.axhline(1, color=INK, linewidth=1)
    ax.plot([at], [relative_cost(model, "5m", Poisson(at), changes)], "o", color=INK, zorder=5)
    ticks = {10: "10 s", 60: "1 min", 300: "5 min", 3_600: "1 h", 18_000: "5 h"}
    ax.set_xscale("log")
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()
    ax.set(xlim=(10, 20_000), ylim=(0, 2.1))
    ax.set_xlabel(f"mean gap between calls; the prefix changes every {1 / changes:.0f} calls")
    ax.set_ylabel("cost, uncached = 1")
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    alt = "Cost per call over the mean gap: on a steady beat the 5-minute line jumps at 5 minutes "
    show(fig, f"{alt}and the 1-hour line at an hour; at random gaps they cross at {at:.0f} s.")


def plan_table(plan: CachePlan) -> Table:
    """A plan's breakpoints, and what it costs beside the two obvious choices."""
    marks = ", ".join(f"{p.after} ({p.ttl}, {p.hit_rate:.0%} hits)" for p in plan.breakpoints)
    rows = [
        ("no caching", "nowhere", dollars(plan.usd_uncached), "100%"),
        ("automatic", "at the very end (5m)", dollars(plan.usd_automatic), _share(plan, "auto")),
        ("planned", marks or "nowhere", dollars(plan.usd), _share(plan, "plan")),
    ]
    return Table(("caching", "breakpoints after", "a call", "of uncached"), rows)


def _share(plan: CachePlan, which: str) -> str:
    return f"{(plan.usd if which == 'plan' else plan.usd_automatic) / plan.usd_uncached:.0%}"


def prompt(tools: int, document: int, changes: int, grows: int) -> list[Segment]:
    """A prompt as the widget has it: tools, a document, a conversation or single questions."""
    last = Segment("turns", 10 * grows, grows=grows) if grows else Segment("question", 100, 1.0)
    return [Segment("tools", tools), Segment("document", document, changes / 100), last]


def planner_widget() -> Any:
    """`plan_table` with prompt and traffic on sliders."""
    import ipywidgets as widgets
    from IPython.display import display

    def draw(tools: int, document: int, changes: int, grows: int, gap: int) -> None:
        plan = plan_breakpoints(prompt(tools, document, changes, grows), SONNET, Poisson(gap))
        display(plan_table(plan))  # type: ignore[no-untyped-call]

    return knobs(
        draw,
        tools=widgets.IntSlider(3_000, 0, 20_000, 500, description="tools"),
        document=widgets.IntSlider(20_000, 0, 90_000, 1_000, description="document"),
        changes=widgets.IntSlider(30, 0, 100, 5, description="changes, %"),
        grows=widgets.IntSlider(0, 0, 1_000, 50, description="turn grows"),
        gap=widgets.IntSlider(120, 5, 7_200, 5, description="mean gap, s"),
    )
