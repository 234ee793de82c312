"""What chapter 04 shows of its traffic: records, features, an incident, savings, a dashboard.

The week it draws is synthetic, and every table and figure of it says so.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import patterns.monitoring
from patterns.course.synthetic import MONDAY, feedback_on, week
from patterns.course.views import INK, MUTED, PALETTE, Shown, Table, figure, knobs, show
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.insights import Insight
from patterns.monitoring.record import CallRecord
from patterns.monitoring.slo import ErrorBudget, burn_rate
from patterns.monitoring.summary import Slice, Step, Summary, summarize, timeline

SYNTHETIC: Final = "synthetic traffic from a seeded generator, list prices"
OBJECTIVE: Final = 0.99
PAGE: Final = 14.4
_UNSTABLE: Final = {"at", "seconds", "first_chunk_seconds", "request_id", "response_id", "trace_id"}


WHY: Final[Mapping[str, Mapping[str, Any]]] = {
    "lines": {
        "wrong": {
            1: "Every user is a line of its own.",
            10: "Look at what a counter sends besides.",
        },
        "why": "Two lines for each user: the count, and when it began. One counter, one model.",
    },
    "tokens": {
        "wrong": {0: "Cached tokens are not in it.", 50: "It misses the call that writes, too."},
        "why": "input_tokens holds only what is neither written to the cache nor read from it.",
    },
    "spans": {
        "wrong": {3: "Three requests are three attempts of one call."},
        "why": "One call, three attempts. The span knows how often it was sent again.",
    },
    "feature": {
        "wrong": {"haiku": "Then whoever types a feature makes a time series."},
        "why": "The set stays closed whatever anybody types.",
    },
    "prices": {
        "wrong": {3: "Who would have published a price for 'next'?"},
        "why": "Inference in the US costs a tenth more; Sonnet has no fast mode, 'next' no price.",
    },
    "sink": {
        "wrong": {"an error": "Then the log of a call could lose the call."},
        "why": "A monitor must never break what it watches: what a sink raises is counted.",
    },
    "dearest": {
        "wrong": {
            "search": "It makes the most calls and costs next to nothing.",
            "report": "Close: a few hundred reports cost a quarter of the week.",
        },
        "why": "Calls do not tell what a feature costs; tokens and model do.",
    },
    "silent": {
        "wrong": {"the same": "The cache key is the prefix, and the prefix is new every minute."},
        "why": "From one line of text. Error rates will never show it; the cache-hit ratio does.",
    },
}
"""What a prediction is told, kept away from the cell that asks for it."""


def record_table(records: Iterable[CallRecord], *facts: str, note: str = "") -> Table:
    """Chosen facts of some records, one row each."""
    known = {field.name for field in fields(CallRecord)} - _UNSTABLE
    if not known.issuperset(facts):
        raise ValueError(f"{set(facts) - known} is not stable enough for a page; take {known}.")
    rows = [[_cell(getattr(record, fact)) for fact in facts] for record in records]
    return Table([fact.replace("_", " ") for fact in facts], rows, note=note)


def _cell(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"${value:.6f}"
    return "–" if value is None else str(value)


def synthetic_week() -> EventLog:
    """An event log in memory that holds the synthetic week and its feedback."""
    log, calls = EventLog(), week()
    log.extend(calls)
    for call, helpful in feedback_on(calls):
        log.feedback(str(call.response_id), helpful=helpful, at=call.at)
    return log


def totals(summary: Summary) -> Shown:
    """Calls, cost and p95 of everything together, in one line."""
    total, p95 = summary.total, summary.latency.p95 if summary.latency else 0.0
    return Shown(f"{total.calls:,} calls, ${total.cost_usd:.2f}, p95 {p95:.0f} s")


def feature_table(summary: Summary) -> Table:
    """Calls, failures, cost and cache hits of each feature, dearest first."""
    parts = sorted(summary.by_feature.items(), key=lambda item: -item[1].cost_usd)
    rows = [_feature_row(name, part, summary.total.cost_usd) for name, part in parts]
    return Table(["feature", "calls", "cost", "share", "cache hits"], rows, note=SYNTHETIC)


def _feature_row(name: str, part: Slice, total: Decimal) -> list[str]:
    hits = part.cache_hit_ratio
    share = part.cost_usd / total
    return [name, f"{part.calls:,}", f"${part.cost_usd:.2f}", f"{share:.0%}", f"{hits or 0:.0%}"]


def day_table(log: EventLog, feature: str) -> Table:
    """One feature, day by day: calls, cost per call, cache hits."""
    rows = []
    for day in range(7):
        start = MONDAY + timedelta(days=day)
        part = summarize(log, since=start, until=start + timedelta(days=1)).by_feature[feature]
        each = part.cost_usd / part.calls * 100
        rows.append([f"{start:%a}", part.calls, f"{each:.2f} ct", f"{part.cache_hit_ratio:.0%}"])
    return Table(["day", "calls", "a call", "cache hits"], rows, note=SYNTHETIC)


def insight_table(found: Sequence[Insight]) -> Table:
    """Savings a day with their finding; the query behind each is in the insight."""
    rows = [
        [f"${i.usd_per_day:.2f}", i.bound, i.name.replace("_", " "), i.feature, i.threshold]
        for i in found
    ]
    return Table(["a day", "bound", "what", "feature", "threshold"], rows, note=SYNTHETIC)


def incident_table(log: EventLog) -> Table:
    """The hours that would have paged somebody."""
    loud = [step for step in timeline(log) if _burn(step) > PAGE]
    rows = []
    for step in loud:
        p95 = step.latency.p95 if step.latency else 0.0
        bad = ErrorBudget.of(step.outcomes, objective=OBJECTIVE).bad
        rows.append([f"{step.at:%a %H:%M}", step.calls, bad, f"{_burn(step):.1f}", f"{p95:.0f} s"])
    return Table(["hour", "calls", "failed", "burn rate", "p95"], rows, note=SYNTHETIC)


def alert_table() -> Table:
    """The alerts that the shipped rules raise in the week, as promtool finds them (a test)."""
    ops = Path(patterns.monitoring.__file__).parent / "ops"
    found = json.loads((ops / "week_alerts.json").read_text(encoding="utf-8"))
    rows = []
    for one in found:
        start, end = (datetime.fromisoformat(one[name]) for name in ("from", "until"))
        rows.append([f"{start:%a %H:%M}", f"{end:%H:%M}", one["severity"], one["alert"]])
    return Table(["from", "until", "severity", "alert"], rows, note=SYNTHETIC)


def _burn(step: Step) -> float:
    return burn_rate(step.outcomes, objective=OBJECTIVE, minimum_calls=20) or 0.0


def plot_burn(log: EventLog) -> None:
    """The week's burn rate by hour: one claim, that two hours took most of the budget."""
    steps = timeline(log)
    hours = [(step.at - MONDAY) / timedelta(hours=1) for step in steps]
    rates = [_burn(step) for step in steps]
    bad = [ErrorBudget.of(step.outcomes, objective=OBJECTIVE).bad for step in steps]
    loud = [rate > PAGE for rate in rates]
    share = sum(b for b, is_loud in zip(bad, loud, strict=True) if is_loud) / sum(bad)
    title = f"{sum(loud)} of {len(steps)} hours with traffic caused {share:.0%} of all failures"
    fig, axis = figure(title)
    colours = [PALETTE[0] if is_loud else PALETTE[1] for is_loud in loud]
    axis.bar(hours, rates, width=1.0, color=colours)
    axis.axhline(PAGE, color=INK, linewidth=1)
    axis.annotate(f"a page: {PAGE}", (167, PAGE), ha="right", va="bottom", color=INK, fontsize=9)
    axis.set_xticks([24 * day + 12 for day in range(7)], _days())
    axis.tick_params(axis="x", length=0)
    for day in range(1, 7):
        axis.axvline(24 * day, color=MUTED, linewidth=0.5)
    axis.set_ylabel("burn rate in the hour")
    peak = max(rates)
    alt = (
        f"Bars of the burn rate in each hour of a week: {sum(loud)} on Wednesday afternoon stand "
        f"above the paging line of {PAGE}, the highest at {peak:.1f}; no other hour reaches it."
    )
    show(fig, alt, source=SYNTHETIC)


def _days() -> list[str]:
    return [f"{MONDAY + timedelta(days=day):%a}" for day in range(7)]


def state_at(log: EventLog, hour: int) -> Table:
    """What a dashboard says so many hours into the week, of the hour just ended."""
    end = MONDAY + timedelta(hours=hour)
    seen = summarize(log, since=end - timedelta(hours=1), until=end)
    burn = burn_rate(seen.total.outcomes, objective=OBJECTIVE, minimum_calls=20)
    hits = seen.total.cache_hit_ratio
    rows = [
        ["calls", f"{seen.total.calls}"],
        ["burn rate", "too few calls" if burn is None else f"{burn:.1f}"],
        ["pages somebody", "yes" if burn is not None and burn > PAGE else "no"],
        ["p95", f"{seen.latency.p95:.1f} s" if seen.latency else "–"],
        ["dollars a day", f"${seen.total.cost_usd * 24:.2f}"],
        ["cache hits", "–" if hits is None else f"{hits:.0%}"],
    ]
    return Table([f"{end:%a %H:%M}", "last hour"], rows, note=SYNTHETIC)


def dashboard(log: EventLog) -> Any:
    """The week as a live dashboard: press play, or drag the hour."""
    import ipywidgets as widgets

    steps = timeline(log)

    def draw(hour: int) -> None:
        from IPython.display import display

        display(state_at(log, hour))  # type: ignore[no-untyped-call]
        _last_day(steps, hour)

    wide = widgets.Layout(width="98%")  # or each hour is less than a pixel
    hour = widgets.IntSlider(value=62, min=1, max=168, description="hour", layout=wide)
    play = widgets.Play(value=62, min=1, max=168, interval=600)
    widgets.jslink((play, "value"), (hour, "value"))
    return widgets.VBox([play, knobs(draw, hour=hour)])


def _last_day(steps: Sequence[Step], hour: int) -> None:
    end = MONDAY + timedelta(hours=hour)
    shown = [step for step in steps if end - timedelta(hours=24) <= step.at < end]
    fig, (left, right) = figure(f"24 hours to {end:%A %H:%M}", panels=2, size=(7.2, 2.8))
    hours = [(step.at - end) / timedelta(hours=1) for step in shown]
    bad = [ErrorBudget.of(step.outcomes, objective=OBJECTIVE).bad for step in shown]
    left.bar(hours, [step.calls for step in shown], color=PALETTE[1], width=0.9)
    left.bar(hours, bad, color=PALETTE[0], width=0.9)
    left.set_ylabel("calls, and failed ones")
    for axis in (left, right):
        axis.set_xlabel("hours before")
    right.bar(hours, [float(step.cost_usd) for step in shown], color=PALETTE[1], width=0.9)
    right.set_ylabel("US dollars an hour")
    show(fig, f"{sum(step.calls for step in shown)} calls, {sum(bad)} failed.", source=SYNTHETIC)
