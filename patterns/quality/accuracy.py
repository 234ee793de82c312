"""What voting can gain and what it costs: exact sums, no model asked.

For deciding on a number of samples before paying for them, and for reading a study afterwards:
from the nine answers to a question it follows exactly how three or five of them would have voted.

Take along: the folder patterns/quality. Taught in chapter 06.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, prod
from random import Random
from statistics import fmean
from typing import TypeVar

from patterns.quality.billing import InvalidInput
from patterns.quality.vote import still_needed

T = TypeVar("T")


@dataclass(frozen=True)
class Odds:
    """How likely a vote ends right, wrong, or as a tie; the three add up to 1."""

    right: float
    wrong: float
    tie: float


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


def majority_accuracy(p: float, n: int) -> float:
    """Chance that more than half of `n` independent samples are right, each with chance `p`.

    The exact binomial sum. It is the worst case for plurality, in which all wrong samples agree;
    where they scatter, a vote does better. Samples of one model on one question share its
    misunderstandings, so `p` belongs to a question, not to a model.

    Raises:
        InvalidInput: `p` is not a probability or `n` is below 1.
    """
    _check(p, n)
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))


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
    odds = {"right": 0, "wrong": 0, "tie": 0}
    for chosen in _choices([*counts.values()], n):
        ways = prod(comb(count, k) for count, k in zip(counts.values(), chosen, strict=True))
        leaders = [a for a, k in zip(counts, chosen, strict=True) if k == max(chosen)]
        kind = "tie" if len(leaders) > 1 else "right" if leaders == [right] else "wrong"
        odds[kind] += ways
    return Odds(**{kind: ways / comb(total, n) for kind, ways in odds.items()})


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
