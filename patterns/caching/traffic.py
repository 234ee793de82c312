"""Describe traffic to the planner: what a prompt is made of and how far apart calls come.

Taught in chapter 07.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol, runtime_checkable


class InvalidTraffic(ValueError):
    """Traffic that cannot be: a part of no length, a chance above 1, calls before each other."""


@runtime_checkable
class Arrivals(Protocol):
    """How far apart the calls come."""

    def within(self, seconds: float) -> float:
        """Share of the calls that come less than `seconds` after the one before."""


@dataclass(frozen=True)
class Gaps:
    """Calls whose gaps are like the ones seen, in seconds. One number is a steady beat."""

    seconds: Sequence[float]

    def __post_init__(self) -> None:
        given = self.seconds if isinstance(self.seconds, Sequence) else ()
        if not given or not all(isinstance(gap, Real) and gap >= 0 for gap in given):
            raise InvalidTraffic(
                f"gaps are {self.seconds!r:.80}; give at least one, in seconds from 0 up."
            )

    def within(self, seconds: float) -> float:
        """Share of the gaps that are shorter than `seconds`: at its lifetime an entry is gone."""
        return sum(gap < seconds for gap in self.seconds) / len(self.seconds)


@dataclass(frozen=True)
class Poisson:
    """Calls that come at random, `mean` seconds apart on average: independent users."""

    mean: float

    def __post_init__(self) -> None:
        if not isinstance(self.mean, Real) or not self.mean > 0:
            raise InvalidTraffic(f"mean gap is {self.mean!r:.80}; give seconds above 0.")

    def within(self, seconds: float) -> float:
        """Probability that the next call comes within `seconds`."""
        return -math.expm1(-seconds / self.mean)


@dataclass(frozen=True)
class Segment:
    """A stretch of the prompt that changes as one."""

    name: str
    tokens: int
    """Its length; for a segment that grows, its average length including what is new."""
    changes: float = 0.0
    """Probability that it differs from the call before; 1 for a question or a timestamp."""
    grows: int = 0
    """Tokens that each call appends to it: a conversation."""
    arrivals: Arrivals | None = None
    """Gaps between calls with this very content, where they are longer than for the prompt as a
    whole: one user's conversation behind instructions that all users share."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InvalidTraffic(f"a segment is named {self.name!r:.80}; give a text.")
        if not isinstance(self.changes, Real) or not 0 <= self.changes <= 1:
            raise InvalidTraffic(
                f"{self.name}: changes is {self.changes!r:.80}; a probability is 0 to 1."
            )
        counts = (self.grows, self.tokens)
        if not all(isinstance(n, Integral) for n in counts) or not 0 <= self.grows <= self.tokens:
            raise InvalidTraffic(
                f"{self.name}: grows by {self.grows!r:.80} of {self.tokens!r:.80} tokens; "
                "both are whole numbers, and tokens counts the new ones too."
            )
        if not isinstance(self.arrivals, Arrivals | None):
            raise InvalidTraffic(f"{self.name}: arrivals is {self.arrivals!r:.80}; give Gaps(...).")
