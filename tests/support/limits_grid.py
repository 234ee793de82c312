"""Fan-outs under limits of few and many requests a minute, with heavy-tailed answers.

For the tests of `AdaptiveLimit` and the benchmark; in virtual time.
"""

from typing import Any

from patterns.course.views.batching import HEAVY_TAIL, Load, measure
from patterns.fake_api import Latency, RateLimits

MEAN = sum(HEAVY_TAIL) / len(HEAVY_TAIL)


def lasting(seconds: float) -> Latency:
    """Answers that take so long on average, most of it writing: heavy-tailed as their lengths."""
    return Latency(seconds / 5, MEAN / (0.8 * seconds), jitter=0.3)


def at(rpm: int, seconds: float, tight: str, seed: int = 1, until: float = 0) -> Load:
    """So many requests a minute, or as many output tokens as those take."""
    limits = RateLimits(rpm=rpm, itpm=10**9, otpm=10**9)
    if tight == "output tokens":
        limits = RateLimits(rpm=10**6, itpm=10**9, otpm=int(rpm * MEAN))
    options: dict[str, Any] = {
        "seconds": until or (3_600 if rpm == 5 else 1_000),
        "warm_up": 400,
        "lengths": HEAVY_TAIL,
        "seed": seed,
    }
    return measure("adaptive", limits, lasting(seconds), **options)
