"""The traffic of a period in parts that pay one price each, few enough to price again and again.

A price is linear in the tokens as long as model, day, price list (batch, fast mode, geography) and
price step are the same. So a million calls become some thousand parts, and any plan can be priced
for them exactly. Used by `insights`. Chapter 4 teaches it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from sqlite3 import Row
from typing import Final

from patterns.core.pricing import Rates, price_steps, rates
from patterns.core.usage import Tokens
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.summary import AT_A_TIME, KINDS, PERIOD

Period = tuple[float, float]
"""From and until, in seconds since 1970."""
Edges = Sequence[int]
"""Rising prompt lengths in tokens; from above one of them up to the next, one price holds."""


@dataclass(frozen=True, slots=True)
class Part:
    """Priced calls, or one sampling of a call, that pay the same price per token.

    Attributes:
        feature: of all of them.
        model: of all of them.
        day: in UTC.
        prompt: a prompt length within their price step.
        calls: how many; 0 for a sampling after the first, whose call is counted there.
        prompts: how many samplings.
        tokens: together.
        cost_pico: of whole calls, fees included.
        offline: nobody waited.
        batch: sent through the Batches API.
        fast: in fast mode.
        geo: where inference ran.
        truncated: cut off.
        warms: they only warm the cache.
        is_lower_bound: they may have cost more.
    """

    feature: str
    model: str
    day: date
    prompt: int
    calls: int
    prompts: int
    tokens: Tokens
    cost_pico: int
    offline: bool
    batch: bool
    fast: bool
    geo: str | None
    truncated: bool
    warms: bool
    is_lower_bound: bool

    def rates(
        self, prompt: int | None = None, *, batch: bool | None = None, fast: bool | None = None
    ) -> Rates | None:
        """What these calls pay per token, or would pay under another plan."""
        return rates(
            self.model,
            at=self.day,
            batch=self.batch if batch is None else batch,
            fast=self.fast if fast is None else fast,
            geo=self.geo,
            prompt_tokens=self.prompt if prompt is None else prompt,
        )

    @property
    def just_over(self) -> int:
        """The price step that their prompts exceed by a quarter at most; 0 when there is none."""
        steps = price_steps(self.model, at=self.day)
        return next((step for step in steps if step < self.prompt <= far_over(step)), 0)

    def uncached(self) -> Tokens:
        """Their tokens without caching: calls that only warm the cache would not be made."""
        if self.warms:
            return Tokens()
        return Tokens(input=self.tokens.prompt, output=self.tokens.output)


def priced_parts(log: EventLog, period: Period, edges: Edges) -> tuple[list[Part], str]:
    """The priced calls of a period in parts, and the query that gives them."""
    query = _QUERY.format(band=" + ".join(f"({_PROMPT} > {edge})" for edge in edges) or "0")
    some = query.replace("WHERE", "WHERE rowid > ? AND rowid <= ? AND")
    ((last,),) = log.query("SELECT coalesce(max(rowid), 0) FROM calls")
    parts = [
        part
        for start in range(0, last, AT_A_TIME)
        for row in log.query(some, (start, start + AT_A_TIME, *period))
        for part in _parts_in(row, edges)
    ]
    return parts, query


def price_edges(spans: Iterable[Row]) -> Edges:
    """Prompt lengths at which any model paid another price, or is no longer just over one.

    Args:
        spans: each model with the moments of its first and last call.
    """
    days = {
        (model, day)
        for model, first, last in spans
        for day in range(int(first // 86_400), int(last // 86_400) + 1)
    }
    steps = {step for model, day in days for step in price_steps(model, at=_day(day))}
    return sorted(steps | {far_over(step) for step in steps})


def within(edges: Edges, band: int) -> int:
    """A prompt length that pays the same price as all between the same two edges."""
    return edges[band - 1] + 1 if band else 0


def far_over(step: int) -> int:
    """The length up to which a prompt is just over a price step."""
    return step * 5 // 4


def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)


def _parts_in(row: Row, edges: Edges) -> Iterator[Part]:
    """The part that a row is; of calls with several samplings, one for each sampling."""
    whole = Part(
        feature=row["feature"],
        model=row["model"],
        day=_day(row["day"]),
        prompt=within(edges, row["band"]),
        calls=row["calls"],
        prompts=row["calls"],
        tokens=Tokens(*(row[kind] for kind in KINDS)),
        cost_pico=row["cost"],
        offline=bool(row["offline"]),
        batch=bool(row["batch"]),
        fast=bool(row["fast"]),
        geo=row["geo"],
        truncated=bool(row["truncated"]),
        warms=bool(row["warms"]),
        is_lower_bound=bool(row["lower"]),
    )
    if row["samplings"] is None:
        yield whole
        return
    for number, counts in enumerate(json.loads(row["samplings"])):
        first = number == 0  # calls and their cost are counted once
        yield replace(
            whole,
            prompt=Tokens(*counts).prompt,
            calls=whole.calls if first else 0,
            tokens=Tokens(*(whole.calls * count for count in counts)),
            cost_pico=whole.cost_pico if first else 0,
        )


_PROMPT: Final = "(input + cache_write_5m + cache_write_1h + cache_read)"
_WARMS: Final = (
    f"(output = 0 AND stop_reason IS 'max_tokens' AND {_PROMPT} > input)"  # max_tokens=0
)
# One number for all that is no text: sorting by twelve columns takes twice as long. Within a group
# the columns outside of aggregates are the same in every row.
_QUERY: Final = f"""
SELECT feature, model, CAST(at / 86400 AS INTEGER) AS day, offline, batch, fast, geo, samplings,
       outcome = 'truncated' AS truncated, {_WARMS} AS warms, cost_is_lower_bound AS lower,
       {{band}} AS band, count(*) AS calls,
       {", ".join(f"sum({kind}) AS {kind}" for kind in KINDS)}, sum(cost_pico) AS cost
FROM calls WHERE {PERIOD} AND cost_pico IS NOT NULL
GROUP BY feature, model, geo, samplings,
         ((CAST(at / 86400 AS INTEGER) * 64 + offline * 32 + batch * 16 + fast * 8
          + (outcome = 'truncated') * 4 + {_WARMS} * 2 + cost_is_lower_bound) * 64 + {{band}})
"""
