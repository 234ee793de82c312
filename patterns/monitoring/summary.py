"""What happened in a period of traffic: sums, percentiles, a timeline. From the event log.

Not for alerting: Prometheus does that while it happens. Chapter 4 teaches it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from sqlite3 import Row
from typing import Final

from patterns.core.errors import Portable
from patterns.core.usage import Tokens
from patterns.monitoring.event_log import PICO, EventLog
from patterns.monitoring.outcomes import Outcome
from patterns.monitoring.record import in_utc

PERIOD: Final = "at >= ? AND at < ?"
"""The condition whose two parameters `period_of` gives."""


def period_of(since: datetime | None, until: datetime | None) -> tuple[float, float]:
    """A period in seconds since 1970, open where it is not given."""
    start = in_utc(since).timestamp() if since is not None else float("-inf")
    return start, in_utc(until).timestamp() if until is not None else float("inf")


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Latency in seconds: the smallest value that the given share of the calls stayed at or under.

    These are nearest-rank quantiles: values that occurred, the one at rank ⌈q · n⌉ of n.
    """

    calls: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: array[float]) -> Quantiles | None:
        """Nearest-rank quantiles; None without values. Sorts nothing in place."""
        if not values:
            return None
        ranked, n = sorted(values), len(values)
        # In whole percents, since 0.99 * 100 is a little over 99 for a float.
        p50, p95, p99 = (ranked[-(-percent * n // 100) - 1] for percent in (50, 95, 99))
        return cls(n, p50, p95, p99)


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of the traffic: everything, a model, a feature.

    Attributes:
        calls: how many.
        outcomes: calls by how they ended.
        tokens: by price.
        cost_usd: of the priced calls.
        unpriced: calls that no published price covers.
    """

    calls: int = 0
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    @property
    def cache_hit_ratio(self) -> float | None:
        """Of the prompt tokens, the share read from the cache; None without prompts."""
        return self.tokens.cache_read / self.tokens.prompt if self.tokens.prompt else None


@dataclass(frozen=True, slots=True)
class Summary:
    """What happened in a period.

    Attributes:
        total: all calls.
        by_model: each model.
        by_feature: each feature.
        latency: of all calls that were not batch requests.
        first_chunk: of the streamed ones.
    """

    total: Slice
    by_model: Mapping[str, Slice]
    by_feature: Mapping[str, Slice]
    latency: Quantiles | None
    first_chunk: Quantiles | None


def summarize(
    log: EventLog, *, since: datetime | None = None, until: datetime | None = None
) -> Summary:
    """Sums, counts and percentiles of a period; everything that is logged by default."""
    period = period_of(since, until)
    total, by_model, by_feature = _Sum(), dict[str, _Sum](), dict[str, _Sum]()
    for row in _sums(log, period):
        for part in (
            total,
            by_model.setdefault(row["model"], _Sum()),
            by_feature.setdefault(row["feature"], _Sum()),
        ):
            part.add(row)
    return Summary(
        total=total.slice(),
        by_model={name: part.slice() for name, part in sorted(by_model.items())},
        by_feature={name: part.slice() for name, part in sorted(by_feature.items())},
        latency=Quantiles.of(_values(log, "seconds", period)),
        first_chunk=Quantiles.of(_values(log, "first_chunk_seconds", period)),
    )


class InvalidStep(Portable, ValueError):
    """A length of time by which no time can be divided.

    Attributes:
        step: what was given.
    """

    def __init__(self, step: object) -> None:
        self.step = step
        super().__init__(f"the step is {step!r:.80}; pass a timedelta above zero.")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a timeline.

    Attributes:
        at: its beginning.
        outcomes: calls by how they ended.
        latency: of its calls.
        cost_usd: of the priced calls.
    """

    at: datetime
    outcomes: Mapping[Outcome, int]
    latency: Quantiles | None
    cost_usd: Decimal

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self.outcomes.values())


def timeline(log: EventLog, *, step: timedelta = timedelta(hours=1)) -> list[Step]:
    """The traffic in equal steps, oldest first; steps without a call are left out.

    Days are those of UTC and weeks begin on Monday. For the days of another zone, `summarize` with
    their two ends: some are an hour longer or shorter.

    Raises:
        InvalidStep: the step is no timedelta, or not above zero.
    """
    if not isinstance(step, timedelta) or step <= timedelta(0):
        raise InvalidStep(step)
    width = step.total_seconds()
    sums: dict[int, dict[Outcome, int]] = {}
    cost: dict[int, int] = {}
    seconds: dict[int, array[float]] = {}
    for row in log.query(_STEPS, (_A_MONDAY, width)):
        number = row["step"]
        sums.setdefault(number, {})[row["outcome"]] = row["calls"]
        cost[number] = cost.get(number, 0) + row["cost"]
    for number, value in log.query(_STEP_SECONDS, (_A_MONDAY, width)):
        seconds.setdefault(number, array("d")).append(value)
    return [
        Step(
            at=datetime.fromtimestamp(_A_MONDAY + number * width, UTC),
            outcomes=outcomes,
            latency=Quantiles.of(seconds.get(number, array("d"))),
            cost_usd=cost[number] / PICO,
        )
        for number, outcomes in sorted(sums.items())
    ]


class _Sum:
    """Adds up rows of `_SUMS`."""

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = {}
        self.kinds = [0] * 5
        self.cost = self.unpriced = 0

    def add(self, row: Row) -> None:
        outcome: Outcome = row["outcome"]
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + row["calls"]
        for index, kind in enumerate(KINDS):
            self.kinds[index] += row[kind]
        self.cost += row["cost"] or 0
        self.unpriced += row["unpriced"]

    def slice(self) -> Slice:
        return Slice(
            calls=sum(self.outcomes.values()),
            outcomes=self.outcomes,
            tokens=Tokens(*self.kinds),
            cost_usd=self.cost / PICO,
            unpriced=self.unpriced,
        )


KINDS: Final = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
_SUMS: Final = f"""
SELECT model, feature, outcome, count(*) AS calls,
       {", ".join(f"sum({kind}) AS {kind}" for kind in KINDS)},
       sum(cost_pico) AS cost, count(*) - count(cost_pico) AS unpriced
FROM calls WHERE rowid > ? AND rowid <= ? AND {PERIOD} GROUP BY model, feature, outcome
"""
AT_A_TIME: Final = 10_000
"""Rows that are grouped together: a sort that fits SQLite's page cache takes half the time."""

_A_MONDAY: Final = 4 * 86_400
"""5 January 1970, in seconds since its first day."""
_STEPS: Final = """
SELECT CAST((at - ?) / ? AS INTEGER) AS step, outcome, count(*) AS calls,
       coalesce(sum(cost_pico), 0) AS cost
FROM calls GROUP BY step, outcome
"""
_STEP_SECONDS: Final = """
SELECT CAST((at - ?) / ? AS INTEGER), seconds FROM calls WHERE seconds IS NOT NULL
"""


def _sums(log: EventLog, period: tuple[float, float]) -> Iterator[Row]:
    ((last,),) = log.query("SELECT coalesce(max(rowid), 0) FROM calls")
    for start in range(0, last, AT_A_TIME):
        yield from log.query(_SUMS, (start, start + AT_A_TIME, *period))


def _values(log: EventLog, column: str, period: tuple[float, float]) -> array[float]:
    return log.numbers(
        f"SELECT {column} FROM calls WHERE {PERIOD} AND {column} IS NOT NULL", period
    )
