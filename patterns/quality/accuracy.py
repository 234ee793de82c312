"""What voting can gain and what it costs: exact sums, no model asked.

For deciding on a number of samples before paying for them, and for reading a study afterwards:
from the nine answers to a question it follows exactly how three or five of them would have voted.

Needs: pip install genai-prices. Taught in chapter 06.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from math import comb, prod
from random import Random
from statistics import fmean
from typing import TypeVar

from patterns.core.statistics import wilson
from patterns.quality.billing import InvalidInput
from patterns.quality.vote import Vote, still_needed

T = TypeVar("T")


@dataclass(frozen=True)
class Odds:
    """How likely a vote ends right, wrong, or as a tie; the three add up to 1."""

    right: float
    wrong: float
    tie: float
    samples: float
    """Expected samples when it stops early."""


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


def plurality_accuracy(p: float, n: int, wrong: int = 1) -> float:
    """Chance that the right answer gets more votes than any other of `n` independent samples.

    The exact multinomial sum; a tie counts as not right. Samples of one model on one question
    share its misunderstandings, so `p` belongs to a question, not to a model.

    Args:
        p: chance of one sample to be right.
        n: samples.
        wrong: how many wrong answers there are, each as likely as the others. With 1 all wrong
            samples agree, the worst case; where they scatter, a vote does better.

    Raises:
        InvalidInput: `p` is not a probability, or `n` or `wrong` is below 1.
    """
    _check(p, n)
    if wrong < 1:
        raise InvalidInput(f"wrong is {wrong}; there is at least 1 wrong answer.")
    each = (1 - p) / wrong
    return sum(
        comb(n, right) * p**right * _scattered(n - right, wrong, right - 1, each)
        for right in range(1, n + 1)
    )


@lru_cache(maxsize=4096)
def _scattered(votes: int, answers: int, most: int, chance: float) -> float:
    """Chance that so many votes fall on so many answers, none of which gets more than `most`."""
    if not answers:
        return float(votes == 0)
    return sum(
        comb(votes, k) * chance**k * _scattered(votes - k, answers - 1, most, chance)
        for k in range(min(most, votes) + 1)
    )


def majority_accuracy(p: float, n: int) -> float:
    """Chance that more than half of `n` independent samples are right: all wrong ones agree.

    The binomial case of `plurality_accuracy`.

    Raises:
        InvalidInput: `p` is not a probability or `n` is below 1.
    """
    return plurality_accuracy(p, n)


def early_stop_cost(p: float, n: int) -> tuple[float, float]:
    """Expected (samples, rounds) of a vote that stops early, between two answers.

    Exact; a round is a set of samples asked for at once, so rounds are what one waits for when
    concurrency is no limit.
    """
    _check(p, n)
    return _expected(p, n, 0, 0)


@lru_cache(maxsize=4096)
def _expected(p: float, n: int, first: int, second: int) -> tuple[float, float]:
    more = still_needed((first, second), n - first - second)
    if not more:
        return 0.0, 0.0
    samples, rounds = float(more), 1.0
    for k in range(more + 1):
        chance = comb(more, k) * p**k * (1 - p) ** (more - k)
        later = _expected(p, n, first + k, second + more - k)
        samples, rounds = samples + chance * later[0], rounds + chance * later[1]
    return samples, rounds


def subset_odds(counts: Mapping[T, int], right: T, n: int) -> Odds:
    """How `n` of the answers that were given would vote, averaged over every choice of `n`.

    So nine recorded answers say what three or five would have done, without another call and
    without the luck of which three came first.

    Args:
        counts: votes by answer, such as `dict(vote.counts)`.
        right: the correct answer; it may have no votes.
        n: size of the smaller vote; all answers are counted when there are no more.

    Raises:
        InvalidInput: `n` is below 1 or there are no answers.
    """
    total = sum(counts.values())
    if n < 1 or not total:
        raise InvalidInput(f"n is {n} with {total} answers; both must be 1 or more.")
    n = min(n, total)
    ways = {"right": 0, "wrong": 0, "tie": 0}
    for chosen in _choices([*counts.values()], n):
        leaders = [a for a, k in zip(counts, chosen, strict=True) if k == max(chosen)]
        kind = "tie" if len(leaders) > 1 else "right" if leaders == [right] else "wrong"
        ways[kind] += prod(comb(have, k) for have, k in zip(counts.values(), chosen, strict=True))
    odds = {kind: number / comb(total, n) for kind, number in ways.items()}
    return Odds(**odds, samples=_drawn(tuple(sorted(counts.values())), (0,) * len(counts), n))


def voting(votes: Sequence[Vote[T]], labels: Sequence[T], n: int) -> Strategy:
    """How votes of `n` do on labelled questions, from larger votes that asked for every sample.

    Each question scores its odds of a right vote, and costs what a vote that stops early asks
    for on average.

    Args:
        votes: one per question, from `self_consistent(stop_early=False)`.
        labels: the correct answers, in the same order.
        n: samples per question, at most.

    Raises:
        InvalidInput: there is not one label per vote, or a vote has no published price.
    """
    if not votes or len(votes) != len(labels):
        raise InvalidInput(f"{len(votes)} votes and {len(labels)} labels; give one for each.")
    scores, dollars = [], Decimal(0)
    for counted, label in zip(votes, labels, strict=True):
        odds = subset_odds(dict(counted.counts), label, n)
        if counted.cost is None:
            raise InvalidInput("a vote has no price; patterns.core.pricing knows no such model.")
        scores.append(odds.right)
        dollars += counted.cost / (counted.cast + len(counted.lost)) * Decimal(odds.samples)
    return Strategy("one call" if n == 1 else f"{n} votes", tuple(scores), dollars)


@lru_cache(maxsize=65_536)
def _drawn(counts: tuple[int, ...], drawn: tuple[int, ...], n: int) -> float:
    """Expected further draws, without putting back, until a vote of `n` is settled."""
    left = n - sum(drawn)
    if not still_needed(drawn, left):
        return 0.0
    further = 1.0
    for place, (have, taken) in enumerate(zip(counts, drawn, strict=True)):
        if have > taken:
            chance = (have - taken) / (sum(counts) - sum(drawn))
            after = (*drawn[:place], taken + 1, *drawn[place + 1 :])
            further += chance * _drawn(counts, after, n)
    return further


def _choices(counts: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    """Every way of taking `n` answers: how many of each."""
    if not counts:
        if n == 0:
            yield ()
        return
    for k in range(min(counts[0], n) + 1):
        for rest in _choices(counts[1:], n - k):
            yield (k, *rest)


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


def _check(p: float, n: int) -> None:
    if not 0 <= p <= 1:
        raise InvalidInput(f"p is {p}; a probability lies between 0 and 1.")
    if n < 1:
        raise InvalidInput(f"n is {n}; a vote needs at least 1 sample.")
