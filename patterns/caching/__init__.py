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
- `assistant`  a conversation that does all of it
- `documents`  many questions about the same documents

Needs: pip install genai-prices.
"""

from patterns.caching.assistant import AsyncCachedAssistant, CachedAssistant
from patterns.caching.diagnosis import explain_miss, first_difference
from patterns.caching.documents import DocumentQA
from patterns.caching.economics import break_even
from patterns.caching.planner import plan_breakpoints
from patterns.caching.prefix import will_cache, will_cache_async
from patterns.caching.stats import CacheStats, savings
from patterns.caching.traffic import Segment
from patterns.caching.warming import warm_then_fan_out

__all__ = [
    "AsyncCachedAssistant",
    "CacheStats",
    "CachedAssistant",
    "DocumentQA",
    "Segment",
    "break_even",
    "explain_miss",
    "first_difference",
    "plan_breakpoints",
    "savings",
    "warm_then_fan_out",
    "will_cache",
    "will_cache_async",
]
