"""Where to put up to four cache breakpoints, and which lifetime each gets: the cheapest plan.

Use it for traffic that repeats: one prompt layout, many calls. Not for a single burst (put one
breakpoint at the end of what the calls share and warm it: `patterns.caching.warm`).

The cost model. A prompt is a row of segments in the order tools, system, messages. Between two
calls segment `i` is replaced with probability `changes`, independently, by content not seen
before; a `grows` segment keeps what it had and gets that many tokens appended, so nothing after
it is ever found again. Calls follow one another at the gaps that `arrivals` describes. A
breakpoint after segment `i` with lifetime `t` then hits with probability

    p(i, t) = product of (1 - changes) up to i, times the share of gaps within t,

because the call before either wrote that entry or refreshed it (a hit refreshes every breakpoint
that it covers). The deepest hit decides: up to there tokens are read, from there to the last
breakpoint they are written at the price of their own breakpoint, and the rest is plain input.
Lifetimes may only get shorter towards the end, as the API demands; so a hit implies one at every
breakpoint before it, the expected cost is a sum over the stretches between breakpoints, and
dynamic programming over (last breakpoint, its lifetime, how many) finds the optimum exactly.
Left out: the very first call, calls that overlap (see `warming`), content that comes back after
a change, more than 20 blocks appended at once, and output.

Taught in chapter 07.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from patterns.core.pricing import Rates

from .economics import cache_rates, write_rate
from .limits import MAX_BREAKPOINTS, TTL, TTL_SECONDS, min_cacheable
from .traffic import Arrivals, Gaps, InvalidTraffic, Segment

_MILLION: Final = 1_000_000


@dataclass(frozen=True)
class Breakpoint:
    """One `cache_control` of a plan."""

    after: str
    """Name of the segment whose last block carries it."""
    index: int
    ttl: TTL
    hit_rate: float
    """Expected share of calls that find this prefix in the cache."""


@dataclass(frozen=True)
class CachePlan:
    """The cheapest placement, and what the two obvious alternatives cost.

    All money is expected US dollars per call for the prompt, output not included.
    """

    model: str
    breakpoints: tuple[Breakpoint, ...]
    usd: float
    usd_uncached: float
    usd_automatic: float
    """One 5-minute breakpoint at the very end: top-level `cache_control` and nothing else."""

    def mark(self, name: str) -> dict[str, Any]:
        """What to spread into the last block of a segment: its `cache_control`, or nothing."""
        ttls = {point.after: point.ttl for point in self.breakpoints}
        if name not in ttls:
            return {}
        return {"cache_control": {"type": "ephemeral", "ttl": ttls[name]}}


@dataclass(frozen=True)
class _Path:
    """The cheapest way to price the prompt up to its last breakpoint."""

    usd: float
    points: tuple[Breakpoint, ...]


def plan_breakpoints(
    segments: Sequence[Segment],
    model: str,
    arrivals: Arrivals | Sequence[float],
    *,
    at: date | None = None,
    batch: bool = False,
) -> CachePlan:
    """The placement of up to four breakpoints with the lowest expected cost, exactly.

    Never dearer than automatic caching or none at all: both are among the plans compared. Of two
    plans that cost the same, the one with fewer breakpoints is taken.

    Args:
        segments: the prompt from its first token to its last.
        model: an id from `patterns.core.models`.
        arrivals: gaps between calls in seconds as seen, or `Gaps(...)`, or `Poisson(mean)`.
        at: day whose prices hold; None means the newest installed.
        batch: priced as a batch.

    Raises:
        UnknownModel, NoCachePrices: nothing is known about caching on the model.
        InvalidTraffic: no segments, or two with one name.
    """
    _check_names(segments)
    calls = arrivals if isinstance(arrivals, Arrivals) else Gaps(arrivals)
    prompt = sum(segment.tokens for segment in segments)
    prices = cache_rates(model, at=at, batch=batch, prompt_tokens=prompt)
    costs = _Costs(segments, prices, calls, min_cacheable(model))
    best = min(
        (_Path(0.0, ()), *_paths(costs)), key=lambda path: costs.with_rest(path.usd, path.points)
    )
    return CachePlan(
        model,
        best.points,
        costs.with_rest(best.usd, best.points),
        usd_uncached=costs.with_rest(0.0, ()),
        usd_automatic=costs.automatic(),
    )


def _check_names(segments: Sequence[Segment]) -> None:
    given = segments if isinstance(segments, Sequence) else ()
    names = {segment.name for segment in given if isinstance(segment, Segment)}
    if not names or len(names) < len(given):
        raise InvalidTraffic(
            f"segments are {segments!r:.80}; give at least one `Segment`, each its own name."
        )


class _Costs:
    """Expected cost of each stretch of one prompt."""

    def __init__(
        self, segments: Sequence[Segment], prices: Rates, arrivals: Arrivals, minimum: int
    ) -> None:
        self.segments = segments
        self.input = float(prices.input) / _MILLION
        self.read = float(prices.cache_read) / _MILLION
        self.write: Mapping[TTL, float] = {
            ttl: float(write_rate(prices, ttl)) / _MILLION for ttl in TTL_SECONDS
        }
        self.minimum = minimum
        self.ends = [0]
        for segment in segments:
            self.ends.append(self.ends[-1] + segment.tokens)
        self.points = [list(_points(segments, arrivals, ttl)) for ttl in TTL_SECONDS]

    def candidates(self) -> Iterator[Breakpoint]:
        """Breakpoints that the cache would take and that can ever hit, from left to right."""
        for pair in zip(*self.points, strict=True):
            for point in pair:
                if point.hit_rate > 0 and self.ends[point.index + 1] >= self.minimum:
                    yield point

    def stretch(self, start: int, point: Breakpoint) -> float:
        """Expected cost of the tokens from position `start` up to a breakpoint."""
        length = self.ends[point.index + 1] - start
        new = self.segments[point.index].grows
        write = self.write[point.ttl]
        hit = (length - new) * self.read + new * write
        return point.hit_rate * hit + (1 - point.hit_rate) * length * write

    def with_rest(self, usd: float, points: Sequence[Breakpoint]) -> float:
        """`usd` up to the last breakpoint plus plain input after it."""
        start = self.ends[points[-1].index + 1] if points else 0
        return usd + (self.ends[-1] - start) * self.input

    def automatic(self) -> float:
        """Cost with one 5-minute breakpoint at the end of the prompt."""
        if self.ends[-1] < self.minimum:
            return self.with_rest(0.0, ())
        return self.stretch(0, self.points[0][-1])


def _points(segments: Sequence[Segment], arrivals: Arrivals, ttl: TTL) -> Iterator[Breakpoint]:
    """A breakpoint after each segment, with its hit rate for one lifetime."""
    same, alive = 1.0, arrivals.within(TTL_SECONDS[ttl])
    for index, segment in enumerate(segments):
        same *= 1 - segment.changes
        if segment.arrivals is not None:
            alive = min(alive, segment.arrivals.within(TTL_SECONDS[ttl]))
        yield Breakpoint(segment.name, index, ttl, same * alive)
        same = 0.0 if segment.grows else same


def _paths(costs: _Costs) -> Iterator[_Path]:
    """The cheapest path to each breakpoint with one, two, three and four of them.

    Fewer come first, so that `min` prefers them among equals.
    """
    candidates = list(costs.candidates())
    layer: dict[int, _Path] = {
        i: _Path(costs.stretch(0, point), (point,)) for i, point in enumerate(candidates)
    }
    for _ in range(MAX_BREAKPOINTS):
        yield from layer.values()
        longer: dict[int, _Path] = {}
        for i, point in enumerate(candidates):
            for path in layer.values():
                if not _may_follow(path.points[-1], point):
                    continue
                start = costs.ends[path.points[-1].index + 1]
                usd = path.usd + costs.stretch(start, point)
                if i not in longer or usd < longer[i].usd:
                    longer[i] = _Path(usd, (*path.points, point))
        layer = longer


def _may_follow(earlier: Breakpoint, later: Breakpoint) -> bool:
    """A later breakpoint, with a lifetime that is not longer: the API refuses 1h after 5m."""
    return later.index > earlier.index and not (earlier.ttl == "5m" and later.ttl == "1h")
