"""Read a study of several ways of asking: how right each was, what it cost, what is shown.

Taught in chapter 06.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from statistics import fmean
from typing import Any, TypeVar

from patterns.core.statistics import wilson
from patterns.quality.calls import InvalidInput
from patterns.quality.odds import subset_odds
from patterns.quality.prices import cost_of
from patterns.quality.vote import Vote, same

T = TypeVar("T")


@dataclass(frozen=True)
class Strategy:
    """How one way of asking did on a set of labelled questions, and what that cost."""

    name: str
    scores: tuple[float, ...]
    """One per question: 1 for right, 0 for wrong, or the odds of being right."""
    dollars: Decimal
    """For all questions together."""

    @property
    def accuracy(self) -> float:
        """Mean score."""
        return fmean(self.scores)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy on questions like these (Wilson)."""
        return wilson(sum(self.scores), len(self.scores))

    @property
    def per_1000(self) -> Decimal:
        """US dollars for 1,000 questions like these."""
        return self.dollars / len(self.scores) * 1000


@dataclass(frozen=True)
class Gain:
    """How much better one strategy did than another on the same questions."""

    difference: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether the 95 % interval leaves out zero: the questions tell the two apart."""
        return self.low > 0 or self.high < 0


def voting(
    votes: Sequence[Vote[T]],
    labels: Sequence[T],
    n: int,
    *,
    key: Callable[[Any], Any] = same,
) -> Strategy:
    """How votes of `n` do on labelled questions, from larger votes that asked for every sample.

    Each question scores its odds of a right vote, and costs what a vote that stops early asks
    for on average.

    Args:
        votes: one per question, from `self_consistent(stop_early=False)`.
        labels: the correct answers, in the same order.
        n: samples per question, at most.
        key: what makes an answer and a label the same: that of the votes.

    Raises:
        InvalidInput: there is not one label per vote, or a vote has no published price.
    """
    if not votes or len(votes) != len(labels):
        raise InvalidInput(f"{len(votes)} votes and {len(labels)} labels; give one for each.")
    scores, dollars = [], Decimal(0)
    for counted, label in zip(votes, labels, strict=True):
        # By place, since answers need not be hashable; at -1 is a label that nobody voted for.
        right = [key(answer) == key(label) for answer, _ in counted.counts]
        given = {place: count for place, (_, count) in enumerate(counted.counts)}
        odds = subset_odds(given, right.index(True) if any(right) else -1, n)
        if (cost := cost_of(counted)) is None:
            raise InvalidInput("a vote has no price; patterns.core.pricing knows no such model.")
        scores.append(odds.right)
        dollars += cost / (counted.cast + len(counted.lost)) * Decimal(odds.samples)
    return Strategy("one call" if n == 1 else f"{n} votes", tuple(scores), dollars)


def gain(
    better: Sequence[float], worse: Sequence[float], *, seed: int = 0, resamples: int = 2_000
) -> Gain:
    """The mean difference of two strategies over the same questions, with a 95 % interval.

    A paired bootstrap over the questions. Comparing question by question tells far more than
    comparing two means with an interval each, because hard questions are hard for both.

    Args:
        better: score of one strategy per question, 0 to 1.
        worse: the other's, in the same order.
        seed: the same seed draws the same resamples.
        resamples: how many.

    Raises:
        InvalidInput: there are no questions, or not the same number of them.
    """
    if not better or len(better) != len(worse):
        raise InvalidInput(f"{len(better)} scores against {len(worse)}; give one per question.")
    each = [a - b for a, b in zip(better, worse, strict=True)]
    random = Random(seed)
    means = sorted(fmean(random.choices(each, k=len(each))) for _ in range(resamples))
    tail = round(resamples * 0.025)
    return Gain(fmean(each), means[tail], means[-tail - 1])
