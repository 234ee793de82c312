"""How good a classifier is on labelled texts, and whether a new prompt is really better.

Plain functions over two lists, expected and predicted, for any classifier. Not for free text:
see chapter 06.

Taught in chapter 05.
"""

import math
from collections import Counter
from collections.abc import Sequence


def accuracy(expected: Sequence[str], predicted: Sequence[str | None]) -> float:
    """Share of predictions that are right; a lost one (`None`) counts as wrong, not as absent.

    Raises:
        ValueError: the lists differ in length, or are empty.
    """
    if not expected:
        raise ValueError("there is nothing to measure; give at least one labelled text.")
    pairs = zip(expected, predicted, strict=True)
    return sum(want == got for want, got in pairs) / len(expected)


def confusion(
    expected: Sequence[str], predicted: Sequence[str | None]
) -> Counter[tuple[str, str | None]]:
    """How often each expected label got each predicted one, as `{(expected, predicted): n}`."""
    return Counter(zip(expected, predicted, strict=True))


def by_chance(better: int, worse: int) -> float:
    """How likely a split at least this uneven is when neither of two prompts is better.

    The exact two-sided sign test over the texts on which two prompts disagree: `better` were
    right with the new prompt only, `worse` with the old one only.
    """
    changed = better + worse
    tail = sum(math.comb(changed, k) for k in range(max(better, worse), changed + 1))
    return min(1.0, 2 * tail / (1 << changed))
