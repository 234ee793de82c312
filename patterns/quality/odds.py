"""What voting can gain and what it costs in samples: exact sums, no model asked.

For deciding on a number of samples before paying for them, and for reading votes afterwards: from
nine answers to a question it follows exactly how three or five of them would have voted.

Taught in chapter 06.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, prod
from numbers import Real
from typing import TypeVar

from patterns.quality.calls import InvalidInput, check_whole
from patterns.quality.vote import still_needed

T = TypeVar("T")


@dataclass(frozen=True)
class Odds:
    """How likely a vote ends right, wrong, or as a tie; the three add up to 1."""

    right: float
    wrong: float
    tie: float
    samples: float
    """Expected samples when it stops early."""


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
    check_whole("wrong", wrong)
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


def _choices(counts: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    """Every way of taking `n` answers: how many of each."""
    if not counts:
        if n == 0:
            yield ()
        return
    for k in range(min(counts[0], n) + 1):
        for rest in _choices(counts[1:], n - k):
            yield (k, *rest)


def _check(p: float, n: int) -> None:
    if not isinstance(p, Real) or not 0 <= p <= 1:
        raise InvalidInput(f"p is {p!r:.80}; a probability lies between 0 and 1.")
    check_whole("n", n)


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
