"""Intervals against published figures and against coverage by simulation."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.monitoring.calibration import Agreement, Estimate, corrected_rate, judge_agreement


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(8, 10, 0.490, 0.943), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (81, 263, 0.255, 0.366)],
)
def test_wilson_interval_is_the_published_one(
    successes: int, trials: int, low: float, high: float
) -> None:
    """Newcombe 1998, table I, has 81 of 263; the others are in every textbook."""
    estimate = Estimate.of(successes, trials)
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (low, high)


def test_estimate_reads_as_a_sentence() -> None:
    """For a plot's title."""
    assert str(Estimate.of(8, 10)) == "80% (49% to 94%)"


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    """Instead of an interval of nothing."""
    with pytest.raises(ValueError, match="trial"):
        Estimate.of(successes, trials)


@given(st.integers(1, 2_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_its_estimate(counts: tuple[int, int]) -> None:
    """And stays between 0 and 1."""
    estimate = Estimate.of(*counts)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_kappa_is_cohen_s() -> None:
    """20 and 15 of 50 agree: 0.7 observed, 0.5 by chance, so 0.4."""
    agreement = Agreement(both_bad=20, missed=5, false_alarm=10, both_good=15)
    assert agreement.kappa == pytest.approx(0.4)
    assert agreement.items == 50


def test_kappa_of_one_class_is_perfect() -> None:
    """Nothing to disagree about."""
    assert Agreement(both_bad=5, missed=0, false_alarm=0, both_good=0).kappa == 1.0


def test_judge_is_counted_against_labels() -> None:
    """With sensitivity and specificity as intervals of their own."""
    pairs = [(True, True)] * 8 + [(True, False)] * 2 + [(False, True)] + [(False, False)] * 9
    agreement = judge_agreement(pairs)
    assert agreement == Agreement(8, 2, 1, 9)
    assert agreement.sensitivity == Estimate.of(8, 10)
    assert agreement.specificity == Estimate.of(9, 10)


@pytest.mark.parametrize("label", [True, False])
def test_labels_of_one_kind_calibrate_nothing(label: bool) -> None:
    """Half of the judge would be untested."""
    with pytest.raises(ValueError, match="some of each kind"):
        judge_agreement([(label, True), (label, False)])


@pytest.mark.parametrize("verdict", [None, "bad", float("nan")])
def test_verdict_that_is_none_is_not_left_out_in_silence(verdict: Any) -> None:
    """A judge's answer that was lost or cannot be read is neither good nor bad."""
    with pytest.raises(ValueError, match="1 of 3 pairs"):
        judge_agreement([(True, True), (False, False), (True, verdict)])


def test_perfect_judge_needs_no_correction() -> None:
    """Its verdicts are the rate."""
    perfect = Agreement(both_bad=500, missed=0, false_alarm=0, both_good=500)
    estimate = corrected_rate(30, 100, perfect)
    assert estimate is not None
    assert estimate.value == pytest.approx(0.3)


def test_false_alarms_are_taken_out_again() -> None:
    """A judge that flags 10 % of the good sees 10 % where there is nothing."""
    jumpy = Agreement(both_bad=100, missed=0, false_alarm=100, both_good=900)
    estimate = corrected_rate(100, 1_000, jumpy)
    assert estimate is not None
    assert estimate.value == pytest.approx(0)
    assert estimate.low == 0


def test_interval_is_that_of_lang_and_reiczigel() -> None:
    """Their formula for 300 of 600 flagged, 80 of 100 and 108 of 120 labels met, put in by hand."""
    judge = Agreement(both_bad=80, missed=20, false_alarm=12, both_good=108)
    estimate = corrected_rate(300, 600, judge)
    assert estimate is not None
    assert estimate.value == pytest.approx(4 / 7)
    assert (estimate.low, estimate.high) == pytest.approx((0.482959316, 0.670465308), abs=1e-8)


def test_judge_no_better_than_chance_says_nothing() -> None:
    """None, not a number."""
    coin = Agreement(both_bad=10, missed=10, false_alarm=10, both_good=10)
    assert corrected_rate(50, 100, coin) is None


def test_corrected_interval_covers_the_truth() -> None:
    """In at least 93 of 100 simulated studies, for a nominal 95."""
    rng, covered, studies = Random(1), 0, 1_000
    for _ in range(studies):
        seen = sum(rng.random() < 0.8 for _ in range(60))
        passed = sum(rng.random() < 0.9 for _ in range(60))
        agreement = Agreement(seen, 60 - seen, 60 - passed, passed)
        flagged = sum(rng.random() < 0.2 * 0.8 + 0.8 * 0.1 for _ in range(300))
        estimate = corrected_rate(flagged, 300, agreement)
        covered += estimate is not None and estimate.low <= 0.2 <= estimate.high
    assert covered / studies >= 0.93
