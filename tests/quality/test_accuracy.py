"""What voting gains and costs: exact sums against brute force."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import combinations, permutations, product
from math import prod
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.statistics import wilson
from patterns.fake_api import FakeAPI, Reply
from patterns.quality import InvalidInput, Vote, self_consistent, vote
from patterns.quality.calls import Call
from patterns.quality.odds import (
    early_stop_cost,
    majority_accuracy,
    plurality_accuracy,
    subset_odds,
)
from patterns.quality.prices import cost_of
from patterns.quality.study import Strategy, gain, voting
from patterns.quality.vote import still_needed


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_majority_accuracy_is_the_sum_over_all_outcomes(p: float, n: int) -> None:
    """The chance that more than half of n coins with chance p show right."""
    every = product((True, False), repeat=n)
    brute = sum(
        prod(p if right else 1 - p for right in outcome)
        for outcome in every
        if sum(outcome) > n / 2
    )
    assert majority_accuracy(p, n) == pytest.approx(brute)


def test_voting_helps_above_a_half_and_hurts_below() -> None:
    """Nine votes: 70 % becomes 90 %, 50 % stays, 30 % becomes 10 %."""
    assert majority_accuracy(0.7, 9) == pytest.approx(0.9012, abs=1e-4)
    assert majority_accuracy(0.5, 9) == pytest.approx(0.5)
    assert majority_accuracy(0.3, 9) == pytest.approx(0.0988, abs=1e-4)


@pytest.mark.parametrize("p", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_early_stop_cost_is_the_mean_over_all_sequences(p: float, n: int) -> None:
    """Samples and rounds, weighted by how likely each sequence of right and wrong is."""
    samples = rounds = 0.0
    for outcome in product((True, False), repeat=n):
        chance = prod(p if right else 1 - p for right in outcome)
        told = turns = 0
        while more := still_needed((sum(outcome[:told]), told - sum(outcome[:told])), n - told):
            told, turns = told + more, turns + 1
        samples, rounds = samples + chance * told, rounds + chance * turns
    assert early_stop_cost(p, n) == pytest.approx((samples, rounds))


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8).flatmap(
        lambda answers: st.tuples(st.just(answers), st.integers(1, len(answers)))
    )
)
def test_subset_odds_are_the_mean_over_every_choice(case: tuple[list[int], int]) -> None:
    """Counting how each choice of n answers would vote gives the same odds."""
    answers, n = case
    chosen = [vote(choice) for choice in combinations(answers, n)]
    odds = subset_odds(dict(vote(answers).counts), 0, n)
    assert odds.right == pytest.approx(sum(v.answer == 0 for v in chosen) / len(chosen))
    assert odds.tie == pytest.approx(sum(bool(v.tie) for v in chosen) / len(chosen))
    assert odds.right + odds.wrong + odds.tie == pytest.approx(1)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(1, 6))
def test_expected_samples_are_the_mean_over_every_order(answers: list[int], n: int) -> None:
    """Drawing the answers in every possible order and stopping early asks for as many."""
    n, drawn = min(n, len(answers)), []
    for order in permutations(answers, n):
        told = 0
        while more := still_needed(Counter(order[:told]).values(), n - told):
            told += more
        drawn.append(told)
    odds = subset_odds(dict(vote(answers).counts), 0, n)
    assert odds.samples == pytest.approx(fmean(drawn))


def test_a_strategy_knows_its_accuracy_interval_and_price() -> None:
    """Three of four right for 8 cents: 75 %, between 30 % and 95 %, 20 dollars a thousand."""
    strategy = Strategy("one call", (1, 1, 0, 1), Decimal("0.08"))
    assert strategy.accuracy == 0.75
    assert strategy.interval == wilson(3, 4)
    assert strategy.per_1000 == 20


def test_more_votes_than_answers_are_all_of_them() -> None:
    """A lost sample leaves eight of nine: the vote of nine is the vote of those eight."""
    assert subset_odds({5: 5, 10: 3}, 5, 9).right == 1


def test_gain_tells_a_real_difference_from_noise() -> None:
    """Better on every question is shown; better on one and worse on another is not."""
    clear = gain([1.0] * 30, [0.0] * 10 + [1.0] * 20)
    assert clear.difference == pytest.approx(1 / 3)
    assert clear.shown
    noise = gain([1.0, 0.0] * 15, [0.0, 1.0] * 15)
    assert noise.difference == 0
    assert not noise.shown
    assert gain([0.0] * 9, [1.0] * 9).shown
    assert noise == gain([1.0, 0.0] * 15, [0.0, 1.0] * 15)


def asked(*answers: int) -> Vote[int]:
    """A vote whose samples cost 10 dollars for a million tokens out."""
    api = FakeAPI()
    api.enqueue(*(Reply(json={"answer": each}, output_tokens=100) for each in answers))
    return self_consistent(api.client(), "?", n=len(answers), answer=int, stop_early=False)


def test_smaller_votes_are_read_from_larger_ones_with_their_price() -> None:
    """One call: the mean share of right samples at a sample's price. Three: two samples do."""
    votes = [asked(5, 5, 5), asked(5, 7, 7)]
    one, three = voting(votes, [5, 5], 1), voting(votes, [5, 5], 3)
    assert (one.name, three.name) == ("one call", "3 votes")
    assert [one.accuracy, three.accuracy] == pytest.approx([2 / 3, 0.5])
    assert cost_of(votes[0]) is not None
    assert float(one.dollars) == pytest.approx(float(cost_of(votes[0]) or 0) * 2 / 3)
    assert float(three.dollars) == pytest.approx(
        float(cost_of(votes[0]) or 0) / 3 * (2 + (2 + 3 + 3) / 3)
    )


@pytest.mark.parametrize(
    ("answers", "label"),
    [
        (["paris.", "Paris", "Rome"], "PARIS"),
        ([{1, 2}, {2, 1}, {3}], {1, 2}),
        ([[1], [1], [2]], [1]),
    ],
)
def test_a_label_is_the_answer_that_a_vote_would_take_for_it(answers: Any, label: Any) -> None:
    """As it is spelled, hashable or not: else right votes are scored as wrong."""
    counted = replace(vote(answers), calls=asked(5).calls)
    assert voting([counted], [label], 1).accuracy == pytest.approx(2 / 3)
    assert voting([counted], ["nobody said it"], 1).scores == (0.0,)
    by_type = voting([counted], [label], 1, key=type)
    assert by_type.accuracy == pytest.approx(2 / 3)


def test_votes_without_labels_or_without_a_price_are_errors() -> None:
    """One label per question, and a cost that is known."""
    with pytest.raises(InvalidInput, match="1 votes and 2 labels"):
        voting([asked(5)], [5, 5], 1)
    unpriced = replace(asked(5), calls=(Call("in-house", asked(5).usage[0], None),))
    with pytest.raises(InvalidInput, match="no price"):
        voting([unpriced], [5], 1)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: majority_accuracy(1.2, 3),
        lambda: majority_accuracy(0.5, 0),
        lambda: early_stop_cost(-0.1, 3),
        lambda: subset_odds({5: 1}, 5, 0),
        lambda: subset_odds({}, 5, 1),
        lambda: gain([], []),
        lambda: gain([1.0], [1.0, 0.0]),
    ],
)
def test_impossible_arguments_are_errors(wrong: object) -> None:
    """A probability above 1, no samples, no answers, no questions."""
    with pytest.raises(InvalidInput):
        wrong()  # type: ignore[operator]  # each is a call waiting to be made


@pytest.mark.parametrize("wrong", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_plurality_is_the_sum_over_every_outcome(n: int, wrong: int) -> None:
    """Each sequence of answers, one by one, in exact fractions."""
    p = Fraction(3, 10)
    chances = [p, *[(1 - p) / wrong] * wrong]
    total = Fraction(0)
    for outcome in product(range(wrong + 1), repeat=n):
        counts = [outcome.count(answer) for answer in range(wrong + 1)]
        if counts[0] > max(counts[1:]):
            total += prod(chances[answer] for answer in outcome)
    assert plurality_accuracy(0.3, n, wrong) == pytest.approx(float(total))


def test_scattered_wrong_answers_change_what_voting_does() -> None:
    """At 30 % right, nine votes give 10 % if the wrong ones agree and 40 % if there are five."""
    assert plurality_accuracy(0.3, 9, 1) == pytest.approx(0.0988, abs=1e-4)
    assert plurality_accuracy(0.3, 9, 5) == pytest.approx(0.40, abs=0.01)
    assert plurality_accuracy(0.3, 9, 1) == pytest.approx(majority_accuracy(0.3, 9))


def test_the_number_of_wrong_answers_is_checked() -> None:
    """No wrong answer at all is not a vote to compute."""
    with pytest.raises(InvalidInput, match="wrong is 0"):
        plurality_accuracy(0.5, 3, 0)
