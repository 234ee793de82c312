"""patterns.core.statistics: the Wilson interval, held to its definition."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.statistics import wilson


@given(st.data())
def test_the_ends_lie_as_far_from_the_rate_as_the_score_test_allows(data: st.DataObject) -> None:
    """By definition: at each end p, |rate - p| = z * sqrt(p (1 - p) / n)."""
    trials = data.draw(st.integers(1, 100_000))
    successes = data.draw(st.integers(0, trials))
    rate = successes / trials
    low, high = wilson(successes, trials)
    assert 0 <= low <= rate <= high <= 1
    for end in (low, high):
        allowed = 1.959963984540054 * sqrt(end * (1 - end) / trials)
        assert abs(rate - end) == pytest.approx(allowed, abs=1e-9) or end in (0.0, 1.0)


def test_published_values() -> None:
    """Newcombe (1998), Stat. Med. 17, table I: 81/263, 15/148, 0/20, 1/29."""
    expected = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, trials), ends in expected.items():
        assert wilson(successes, trials) == pytest.approx(ends, abs=5e-5)


def test_more_confidence_is_a_wider_interval() -> None:
    """And no trials say nothing."""
    low, high = wilson(3, 10, confidence=0.99)
    assert low < wilson(3, 10)[0]
    assert wilson(3, 10)[1] < high
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "words"),
    [(4, 3, 0.95, "4 successes in 3"), (-1, 3, 0.95, "-1"), (1, 3, 1.0, "confidence is 1.0")],
)
def test_what_is_no_share_is_an_error(
    successes: int, trials: int, confidence: float, words: str
) -> None:
    """With the value."""
    with pytest.raises(ValueError, match=words):
        wilson(successes, trials, confidence=confidence)
