"""Accuracy, confusion and the sign test, against arithmetic by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.prompting.measure import accuracy, by_chance, confusion


def test_a_lost_prediction_counts_as_wrong() -> None:
    """Leaving it out would flatter a classifier that fails often."""
    assert accuracy(["a", "b", "c", "d"], ["a", "b", "x", None]) == 0.5


def test_confusion_counts_pairs() -> None:
    """Rows are what it should have been."""
    counts = confusion(["a", "a", "b"], ["a", "b", None])
    assert counts == {("a", "a"): 1, ("a", "b"): 1, ("b", None): 1}
    assert counts["b", "a"] == 0


def test_lists_of_different_length_are_an_error() -> None:
    """A message that got no prediction must not shift the others."""
    with pytest.raises(ValueError, match="shorter"):
        accuracy(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="shorter"):
        confusion(["a", "b"], ["a"])


def test_nothing_to_measure_is_an_error() -> None:
    """No texts have no accuracy."""
    with pytest.raises(ValueError, match="nothing to measure"):
        accuracy([], [])


@pytest.mark.parametrize(
    ("better", "worse", "expected"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (7, 1, 0.0703125), (3, 3, 1.0)],
)
def test_the_sign_test_equals_the_binomial_by_hand(
    better: int, worse: int, expected: float
) -> None:
    """Five fixes and no new mistake can still be luck; six are the least that cannot."""
    assert by_chance(better, worse) == expected


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 600), st.integers(0, 600))
def test_the_sign_test_is_a_symmetric_probability(better: int, worse: int) -> None:
    """For any counts, also those whose powers of two no float can hold."""
    p = by_chance(better, worse)
    assert 0 <= p <= 1
    assert math.isclose(p, by_chance(worse, better))
