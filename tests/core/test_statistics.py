"""patterns.core.statistics: the Wilson interval, held to its definition."""

from math import sqrt
from typing import Any

import hostile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.statistics import NotAShare, wilson


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
    [
        (4, 3, 0.95, "4 successes in 3"),
        (-1, 3, 0.95, "-1"),
        (1, 3, 1.0, "confidence is 1.0"),
        (1, 3, 0, "confidence is 0"),
        ("1", 3, 0.95, "'1' successes"),
        (1, 3, "a", "confidence is 'a'"),
        (1, float("inf"), 0.95, "inf trials"),
    ],
)
def test_what_is_no_share_is_an_error(
    successes: Any, trials: Any, confidence: Any, words: str
) -> None:
    """With the value."""
    with pytest.raises(NotAShare, match=words):
        wilson(successes, trials, confidence=confidence)


@given(hostile.values(), hostile.values(), hostile.values())
@settings(max_examples=200)
def test_any_value_is_a_share_or_refused(successes: Any, trials: Any, confidence: Any) -> None:
    """No number of any kind gets an interval outside of 0 to 1, nor one upside down."""
    for call in (
        lambda: wilson(successes, trials),
        lambda: wilson(successes, 10),
        lambda: wilson(1, trials),
        lambda: wilson(1, 10, confidence=confidence),
    ):
        settled = hostile.settle(call)
        if settled.error is None:
            low, high = settled.value
            assert 0 <= low <= high <= 1
        else:
            assert isinstance(settled.error, NotAShare)
