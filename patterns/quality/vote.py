"""Count answers: who won, how clearly, whether it is a tie, and when more answers cannot matter.

No model is asked here. For answers that code can compare: numbers, dates, labels, objects, short
strings. Free text needs `cluster_answers` first: string similarity puts "approve" beside
"disapprove". Agreement says how steadily a model gives an answer, not how likely it is right.

Taught in chapter 06.
"""

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from patterns.core.statistics import wilson
from patterns.quality.calls import Billed, InvalidInput, Lost

T = TypeVar("T")


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


def vote(answers: Iterable[T], *, key: Callable[[T], Any] | None = None) -> Vote[T]:
    """Count answers; those with equal keys are one answer, shown as it was first given.

    Args:
        answers: at least one.
        key: what makes two answers the same, compared with `==`; `same` when left out.

    Raises:
        InvalidInput: there is no answer to count, or two cannot be compared with `==`.
    """
    if isinstance(answers, str) or not isinstance(answers, Iterable):
        raise InvalidInput(f"answers is {answers!r:.80}; give a list of answers.")
    ranked = tuple(sorted(counted(answers, key), key=lambda each: (-each[1], repr(each[0]))))
    if not ranked:
        raise InvalidInput("no answers to count; a vote needs at least one.")
    leaders = tuple(answer for answer, count in ranked if count == ranked[0][1])
    if len(leaders) > 1:
        return Vote(answer=None, counts=ranked, tie=leaders)
    return Vote(answer=leaders[0], counts=ranked)


def counted(answers: Iterable[T], key: Callable[[T], Any] | None = None) -> list[tuple[T, int]]:
    """Each distinct answer as it was first given, with its votes, in the order of first votes."""
    groups: list[tuple[Any, T]] = []
    counts: list[int] = []
    for each in answers:
        identity = (key or same)(each)
        try:
            at = next((n for n, (known, _) in enumerate(groups) if known == identity), len(groups))
        except Exception as error:  # arrays, say, whose == is no answer
            kind = type(identity).__name__
            raise InvalidInput(f"{kind} has no == that says yes or no; give a key.") from error
        if at == len(groups):
            groups.append((identity, each))
            counts.append(0)
        counts[at] += 1
    return [(first, count) for (_, first), count in zip(groups, counts, strict=True)]


def same(answer: Any) -> Any:
    """The default key: text by its `plain` form, everything else as it is, so that `==` decides.

    Equal are 42 and 42.00, sets and dicts in any order, one instant in two time zones. A member of
    an enum is what it is, also where it is a text: mW is not MW.
    """
    return plain(answer) if type(answer) is str else answer


_WRAPS: Final = (("**", "**"), ('"', '"'), ("'", "'"), ("`", "`"), ("«", "»"))
_KEYBOARD: Final = str.maketrans("−‐‑–‘’“”", "----''\"\"")


def plain(text: str) -> str:
    """Text without differences of case, width, spacing, emphasis and the full stop of a sentence.

    Hyphens, minus signs and quotes are those of keyboards, and what shows nothing at the ends is no
    sign. Every sign that carries meaning stays: 10³, 5!, .5, f', 6", [0,1), C++ and 50% are not
    103, 5, 5, f, 6', (0,1], C and 50. Where case carries meaning too, vote with a key of your own.
    """
    narrow = "".join(_narrow(sign) for sign in unicodedata.normalize("NFC", text))
    bare = " ".join(narrow.lower().translate(_KEYBOARD).split()).strip("\u200b\ufeff")
    for opening, closing in _WRAPS:
        inner = bare.removeprefix(opening).removesuffix(closing)
        if len(bare) - len(inner) == len(opening) + len(closing) and closing not in inner:
            bare = inner.strip()
    if bare.endswith(".") and bare[-2:-1].isalnum() and "." not in bare[:-1]:
        bare = bare[:-1]
    return bare or text


def _narrow(sign: str) -> str:
    """A full-width or half-width letter or digit as the usual one; anything else unchanged."""
    is_variant = unicodedata.decomposition(sign).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", sign) if is_variant else sign


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
