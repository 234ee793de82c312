"""Prompt caching: place it, prove it, price it, and find out why it missed.

Use it when calls share a long beginning (tools, system, documents, a conversation). Leave it when
every prompt is new or shorter than the model's minimum: a write costs more than plain input, and
nothing gives it back. Chapter 7 teaches it.

- `economics`  lifetimes, minimums, break-even points
- `stats`      what the counters of `usage` cost and save
- `traffic`    what a prompt is made of and how far apart calls come
- `planner`    where to put up to four breakpoints, and with which lifetime
- `prefix`     read a request: its breakpoints, and whether its prefix is long enough
- `diagnosis`  why it missed, and the place where two prompts part
- `warming`    one call first, so that the parallel ones read
- `assistant`  conversations and document questions that do all of it

Needs: pip install genai-prices.
"""

from .assistant import AsyncCachedAssistant, CachedAssistant, DocumentQA, Reply, shared_prefix
from .diagnosis import Difference, Miss, explain_miss, first_difference
from .economics import (
    TTL,
    TTL_SECONDS,
    BreakEven,
    NoCachePrices,
    UnknownTTL,
    break_even,
    min_cacheable,
)
from .planner import Breakpoint, CachePlan, plan_breakpoints
from .prefix import (
    CacheForecast,
    TooManyBreakpoints,
    TTLConflict,
    TTLOrder,
    check_breakpoints,
    will_cache,
    will_cache_async,
)
from .stats import CacheStats, Savings, Split, savings
from .traffic import Arrivals, Gaps, Poisson, Segment
from .warming import CannotWarm, NotCached, warm, warm_async, warm_then_fan_out

__all__ = [
    "TTL",
    "TTL_SECONDS",
    "Arrivals",
    "AsyncCachedAssistant",
    "BreakEven",
    "Breakpoint",
    "CacheForecast",
    "CachePlan",
    "CacheStats",
    "CachedAssistant",
    "CannotWarm",
    "Difference",
    "DocumentQA",
    "Gaps",
    "Miss",
    "NoCachePrices",
    "NotCached",
    "Poisson",
    "Reply",
    "Savings",
    "Segment",
    "Split",
    "TTLConflict",
    "TTLOrder",
    "TooManyBreakpoints",
    "UnknownTTL",
    "break_even",
    "check_breakpoints",
    "explain_miss",
    "first_difference",
    "min_cacheable",
    "plan_breakpoints",
    "savings",
    "shared_prefix",
    "warm",
    "warm_async",
    "warm_then_fan_out",
    "will_cache",
    "will_cache_async",
]
