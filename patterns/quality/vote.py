"""Count answers: who won, how clearly, whether it is a tie, and when more answers cannot matter.

No model is asked here. For answers that code can compare: numbers, dates, labels, objects, short
strings. Free text needs `cluster_answers` first: string similarity puts "approve" beside
"disapprove". Agreement says how steadily a model gives an answer, not how likely it is right.

Needs: pip install genai-prices. Taught in chapter 06.
"""

import unicodedata
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from patterns.quality.billing import Billed, InvalidInput, Lost

T = TypeVar("T")

Z_95: Final = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""

_EDGES: Final = " \t\r\n.,;:!?\"'`()[]{}«»“”‘’…"


@dataclass(frozen=True)
class Vote(Billed, Generic[T]):
    """How a set of answers voted."""

    answer: T | None
    """The answer given most often; None on a tie, which only the caller can break."""
    counts: tuple[tuple[T, int], ...]
    """Each distinct answer with its votes, most votes first."""
    tie: tuple[T, ...] = ()
    """The answers that share first place; empty when there is a winner."""
    lost: tuple[Lost, ...] = ()
    """Samples that brought no vote; they count neither for nor against an answer."""
    skipped: int = 0
    """Samples that were not asked for because they could not have changed the winner."""

    @property
    def cast(self) -> int:
        """Votes that were counted."""
        return sum(count for _, count in self.counts)

    @property
    def agreement(self) -> float:
        """Share of the votes cast that went to the first answer.

        A vote that stopped early ends on a good moment of its leader, so this is too high then:
        ask with `stop_early=False` where the agreement itself is what you want to know.
        """
        return self.counts[0][1] / self.cast

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the agreement (Wilson): what so few votes can and cannot tell."""
        return wilson(self.counts[0][1], self.cast)


def vote(answers: Iterable[T], *, key: Callable[[T], Hashable] | None = None) -> Vote[T]:
    """Count answers; those with equal keys are one answer, shown as it was first given.

    Args:
        answers: at least one.
        key: what makes two answers the same; `same` when left out.

    Raises:
        InvalidInput: there is no answer to count.
    """
    counts: dict[Hashable, int] = {}
    first: dict[Hashable, T] = {}
    for each in answers:
        identity = (key or same)(each)
        counts[identity] = counts.get(identity, 0) + 1
        first.setdefault(identity, each)
    if not counts:
        raise InvalidInput("no answers to count; a vote needs at least one.")
    order = sorted(counts, key=lambda identity: (-counts[identity], repr(identity)))
    ranked = tuple((first[identity], counts[identity]) for identity in order)
    leaders = tuple(answer for answer, count in ranked if count == ranked[0][1])
    if len(leaders) > 1:
        return Vote(answer=None, counts=ranked, tie=leaders)
    return Vote(answer=leaders[0], counts=ranked)


def same(answer: Any) -> Hashable:
    """The default key: text by its `plain` form, objects and lists as JSON, the rest as it is."""
    if isinstance(answer, str):
        return plain(answer)
    if isinstance(answer, BaseModel | list | dict):
        return to_json(answer)
    return answer  # type: ignore[no-any-return]  # anything else has to be hashable


def plain(text: str) -> str:
    """Text without differences of case, width, spacing or surrounding punctuation.

    Signs that carry meaning stay: `-5`, `3.5`, `C++` and `50%` are not 5, 35, C and 50.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.strip(_EDGES).split()) or text


def still_needed(counts: Iterable[int], left: int) -> int:
    """The fewest further answers that can settle a vote; 0 once nothing can overtake the lead.

    Ask for that many at once and not one is wasted: whatever they say, the vote could not have
    been settled with fewer.

    Args:
        counts: votes of each answer so far.
        left: how many answers may still come.
    """
    first, second = sorted([0, 0, *counts])[:-3:-1]
    if left == 0 or first > second + left:
        return 0
    return (second + left - first) // 2 + 1


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """The 95 % Wilson interval of a share; it stays inside 0 to 1 and is honest for few trials."""
    if trials <= 0:
        return 0.0, 1.0
    share, width = successes / trials, Z_95**2 / trials
    middle = (share + width / 2) / (1 + width)
    half = sqrt(share * (1 - share) * width + width**2 / 4) / (1 + width)
    return max(0.0, middle - half), min(1.0, middle + half)
