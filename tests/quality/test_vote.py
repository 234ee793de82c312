"""Votes: winners, ties, agreement and its interval, and when enough is enough."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from patterns.core.fan_out import Outcome
from patterns.core.messages import Truncated
from patterns.quality import AllLost, InvalidInput, Vote, vote
from patterns.quality.asking import Reply
from patterns.quality.consistency import sampling
from patterns.quality.vote import counted, plain, still_needed

LOST = -1


def test_most_frequent_answer_wins() -> None:
    """The winner, its share, and every answer with its votes, most votes first."""
    result = vote([7, 8, 7, 7, 9])
    assert (result.answer, result.agreement, result.cast) == (7, 0.6, 5)
    assert result.counts == ((7, 3), (8, 1), (9, 1))
    assert result.tie == ()


def test_tie_is_shown_and_not_broken() -> None:
    """Two leaders: no answer, both named, whichever came first."""
    one, other = vote([8, 7, 7, 8, 1]), vote([7, 7, 8, 8, 1])
    assert one.answer is None
    assert one.tie == other.tie == (7, 8)
    assert one.agreement == 0.4


def test_no_answers_is_not_a_vote() -> None:
    """Nothing to count is an error, not an empty winner."""
    with pytest.raises(InvalidInput, match="no answers"):
        vote([])


@pytest.mark.parametrize("answers", ["yes", None, 7])
def test_answers_are_a_list(answers: Any) -> None:
    """The letters of one text are no answers."""
    with pytest.raises(InvalidInput, match="give a list of answers"):
        vote(answers)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris.", "paris"),
        ("“Paris”", "PARIS"),
        ("**Paris**", "paris"),
        ("Das ist so.", "das ist so"),
        ("Ｐａｒｉｓ", "Paris"),
        ("a  b\n", "A b"),
        ("\u22125", "-5"),
        ("well\u2011known", "well-known"),
        ("1914\u20131918", "1914-1918"),
        ("don\u2019t", "Don't"),
        ("\u2018Paris\u2019", "'Paris'"),
        ("'Paris'", "Paris"),
        ("a \u201cno\u201d", 'a "no"'),
        ("Paris\u200b", "\ufeffParis"),
    ],
)
def test_plain_ignores_what_does_not_change_the_answer(one: str, other: str) -> None:
    """Case, width, spacing and surrounding punctuation make no other answer."""
    assert plain(one) == plain(other)
    assert vote([one, other]).answer == one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-5", "5"),
        ("3.5", "35"),
        ("C++", "C"),
        ("50%", "50"),
        ("not Paris", "Paris"),
        ("!", "?"),
    ],
)
def test_plain_keeps_what_changes_the_answer(one: str, other: str) -> None:
    """Signs, decimals and words that carry meaning stay."""
    assert plain(one) != plain(other)


def test_objects_are_compared_by_their_fields_or_by_a_key() -> None:
    """Two objects are one answer when their fields agree, or what the key takes from them."""

    class Solved(BaseModel):
        steps: str
        total: int

    answers = [Solved(steps="a", total=5), Solved(steps="b", total=5), Solved(steps="a", total=5)]
    assert vote(answers).counts == ((answers[0], 2), (answers[1], 1))
    assert vote(answers, key=lambda solved: solved.total).counts == ((answers[0], 3),)


def test_lists_are_one_answer_when_their_elements_are() -> None:
    """A list cannot be hashed, and counts all the same."""
    assert vote([["a", "b"], ["b", "a"], ["a", "b"]]).answer == ["a", "b"]


def test_equal_numbers_are_one_answer() -> None:
    """Decimal('1.0') and Decimal('1') are the same number."""
    assert vote([Decimal("1.0"), Decimal("1")]).agreement == 1


def test_interval_of_a_vote_is_that_of_its_agreement() -> None:
    """Three of five votes say little: 23 % to 88 %."""
    assert vote([1, 1, 1, 2, 3]).interval == pytest.approx((0.2307, 0.8824), abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "left", "needed"),
    [
        ((), 5, 3),
        ((3,), 2, 0),
        ((2, 1), 2, 1),
        ((2, 2), 1, 1),
        ((2, 2), 0, 0),
        ((2,), 2, 1),
        ((), 1, 1),
        ((4, 4), 1, 1),
    ],
)
def test_fewest_further_votes_that_can_settle_it(
    counts: tuple[int, ...], left: int, needed: int
) -> None:
    """A lead of as many votes as are left could still be tied, so it is not settled."""
    assert still_needed(counts, left) == needed


def sequences(n: int, *, with_losses: bool) -> Iterator[tuple[int, ...]]:
    """Every sequence of n votes, up to renaming the answers; LOST stands for a lost sample."""

    def extend(head: tuple[int, ...], names: int) -> Iterator[tuple[int, ...]]:
        if len(head) == n:
            yield head
            return
        for nxt in range(LOST if with_losses else 0, names + 1):
            yield from extend((*head, nxt), max(names, nxt + 1))

    return extend((), 0)


@cache
def play(n: int, votes: tuple[int, ...]) -> Vote[Any]:
    """Run the sampling pattern on votes that are known beforehand, without a client.

    `votes` may be fewer than `n`: those that it has to do with. Asking for more is an error.
    """
    steps = sampling("q", n, int, True, lambda answer: answer, None, {})
    asks, told = next(steps), 0
    try:
        while True:
            batch = votes[told : told + len(asks)]
            assert len(batch) == len(asks), f"asks for more than {votes} of {n}"
            told += len(asks)
            asks = steps.send([outcome(each) for each in batch])
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


@cache
def outcome(each: int) -> Outcome[Any, Any]:
    """How the call ended that brought this vote."""
    if each == LOST:
        return Outcome(0, None, error=Truncated("max_tokens", ""))
    return Outcome(0, None, value=Reply(SimpleNamespace(answer=each), ()))


@cache
def of_all(votes: tuple[int, ...]) -> Vote[int]:
    """The vote of all that were not lost, whatever their order."""
    return vote(each for each in votes if each != LOST)


def settled_after(votes: tuple[int, ...]) -> int:
    """How many votes one by one until the leader cannot be caught: the plain definition."""
    counts = [0] * (len(votes) + 2)
    for seen, each in enumerate(votes, 1):
        counts[each] += each != LOST
        second, first = sorted(counts)[-2:]
        if first > second + len(votes) - seen:
            return seen
    return len(votes)


def check(votes: tuple[int, ...]) -> int:
    """Early and full vote agree, and early asks for not one sample too many."""
    if set(votes) == {LOST}:
        with pytest.raises(AllLost):
            play(len(votes), votes)
        return 0
    needed = settled_after(votes)  # sequences that begin alike share what is played
    early, full = play(len(votes), votes[:needed]), of_all(tuple(sorted(votes)))
    assert (early.answer, set(early.tie)) == (full.answer, set(full.tie))
    assert len(votes) - early.skipped == needed
    assert early.cast + len(early.lost) + early.skipped == len(votes)
    return early.skipped


def test_early_stop_never_changes_the_winner_in_any_sequence_up_to_eight() -> None:
    """All 5,295 sequences: same winner, same tie, and as few samples as one by one."""
    saved = [check(votes) for n in range(1, 9) for votes in sequences(n, with_losses=False)]
    assert len(saved) == 5_295
    assert sum(saved) > 0


def test_early_stop_never_changes_the_winner_when_samples_are_lost() -> None:
    """All 5,294 sequences up to seven with any samples lost."""
    saved = [check(votes) for n in range(1, 8) for votes in sequences(n, with_losses=True)]
    assert len(saved) == sum((2, 5, 15, 52, 203, 877, 4140))


@pytest.mark.soak
def test_early_stop_never_changes_the_winner_up_to_nine_with_losses() -> None:
    """The same for eight and nine samples with any of them lost."""
    saved = [check(votes) for n in (8, 9) for votes in sequences(n, with_losses=True)]
    assert len(saved) == 21_147 + 115_975


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10³", "103"),
        ("2⁵", "25"),
        (".5", "5"),
        ("5!", "5"),
        ("[0,1)", "(0,1]"),
        ("f'", "f"),
        ('6"', "6'"),
        ("-5", "5"),
        ("3.5", "35"),
        ("C++", "C"),
        ("50%", "50"),
        ("½", "1/2"),
        ("Masse", "Maße"),
        ("¬p", "p"),
        ("?", ""),
        ("(2)", "2"),
        ("x₁", "x1"),
        ("1.", "1.."),
    ],
)
def test_a_sign_that_carries_meaning_makes_another_answer(one: str, other: str) -> None:
    """Joining them would let a wrong answer win."""
    assert plain(one) != plain(other)


class Bill(BaseModel):
    """An answer with fields whose equality is not that of their text."""

    total: Decimal
    tags: set[str] = set()


@pytest.mark.parametrize(
    "answers",
    [
        [Bill(total=Decimal(text)) for text in ("42", "42.0", "42.00")],
        [
            Bill(total=Decimal(1), tags={"b", "a", "c"}),
            Bill(total=Decimal(1), tags={"c", "a", "b"}),
        ],
        [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
        [{"x", "y"}, {"y", "x"}],
        [
            datetime(2026, 1, 1, 12, tzinfo=UTC),
            datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        ],
        [1, 1.0, Decimal(1)],
    ],
)
def test_what_is_equal_is_one_answer(answers: list[Any]) -> None:
    """Python's own `==` of the validated value decides, hashable or not."""
    assert vote(answers).counts == ((answers[0], len(answers)),)


@given(
    st.lists(
        st.one_of(
            st.integers(0, 3),
            st.booleans(),
            st.sets(st.integers(0, 2)),
            st.decimals("0", "3", places=1),
            st.lists(st.integers(0, 1)),
        )
    )
)
def test_votes_are_the_classes_of_equality(answers: list[Any]) -> None:
    """Each answer against each other, the slow way."""
    classes: list[list[Any]] = []
    for each in answers:
        home = next((known for known in classes if known[0] == each), None)
        if home is None:
            classes.append(home := [])
        home.append(each)
    assert sorted(n for _, n in counted(answers)) == sorted(map(len, classes))


class Unit(StrEnum):
    """Two values that differ by case alone."""

    MILLI = "mW"
    MEGA = "MW"


def test_members_of_an_enum_are_what_they_are() -> None:
    """A closed set has no spellings: the wrong one would win."""
    assert vote([Unit.MEGA, Unit.MILLI, Unit.MEGA]).counts == ((Unit.MEGA, 2), (Unit.MILLI, 1))
