"""Chapter 06: thirty-six labelled questions, a brief for a panel, and four exercises.

The questions have one whole number as their answer, and many invite a typical slip: a fence post
too few, a doubling counted twice. The wording is the course's own, and
`tests/quality/test_questions.py` computes every label again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Any, Final

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet, pair
from patterns.quality import Vote, vote
from patterns.quality.calls import Lost
from patterns.quality.odds import plurality_accuracy


@dataclass(frozen=True)
class Question:
    """A question and its correct answer."""

    id: str
    text: str
    answer: int


QUESTIONS: Final = (
    Question(
        "fence",
        "A straight fence is 30 metres long. It has a post every 3 metres, at both ends as well. "
        "How many posts does it have?",
        11,
    ),
    Question(
        "pages",
        "You read from the top of page 37 to the bottom of page 54. How many pages do you read?",
        18,
    ),
    Question(
        "snail",
        "A snail at the bottom of a 10 metre well climbs 3 metres every day and slips back 2 "
        "metres every night. On which day does it get out?",
        8,
    ),
    Question(
        "lilies",
        "A patch of lilies doubles every day and covers the lake on day 48. On which day did it "
        "cover a quarter of the lake?",
        46,
    ),
    Question(
        "ball",
        "A bat and a ball cost 110 cents together. The bat costs 100 cents more than the ball. How "
        "many cents does the ball cost?",
        5,
    ),
    Question(
        "machines",
        "5 machines make 5 parts in 5 minutes. How many minutes do 100 machines need for 100 "
        "parts?",
        5,
    ),
    Question(
        "letters",
        "How often does the letter r occur in the two words strawberry raspberry?",
        6,
    ),
    Question(
        "bells",
        "A clock strikes evenly, and from its first to its last stroke six o'clock takes 10 "
        "seconds. How many seconds does twelve o'clock take?",
        22,
    ),
    Question(
        "handshakes",
        "12 people each shake hands with each other once. How many handshakes are there?",
        66,
    ),
    Question(
        "leap-years",
        "How many leap years are there from 1896 to 1912, both included?",
        4,
    ),
    Question(
        "mondays",
        "How many Mondays can a month of 31 days have at most?",
        5,
    ),
    Question(
        "socks",
        "A drawer holds 10 black, 10 blue and 10 white socks. How many do you have to take in the "
        "dark to be sure of two of one colour?",
        4,
    ),
    Question(
        "sevens",
        "How often do you write the digit 7 when you number pages from 1 to 100?",
        20,
    ),
    Question(
        "speed",
        "You drive 60 km at 30 km/h and the same 60 km back at 60 km/h. What is your average speed "
        "in km/h?",
        40,
    ),
    Question(
        "price",
        "A price of 200 euros rises by 20 % and then falls by 20 %. How many euros is it now?",
        192,
    ),
    Question(
        "cube",
        "A wooden cube is painted on the outside and cut into 27 equal small cubes. How many of "
        "them have paint on exactly two faces?",
        12,
    ),
    Question(
        "diagonals",
        "How many diagonals does an octagon have?",
        20,
    ),
    Question(
        "zeros",
        "How many zeros does 100! end with?",
        24,
    ),
    Question(
        "months",
        "How many months of a leap year have at least 29 days?",
        12,
    ),
    Question(
        "knockout",
        "37 players play a knockout tournament: who loses is out. How many matches are played "
        "until one is left?",
        36,
    ),
    Question(
        "coins",
        "In how many ways can you pay 25 cents with coins of 5, 10 and 20 cents?",
        4,
    ),
    Question(
        "rope",
        "A rope of 20 metres is cut into pieces of 2 metres, one cut at a time. How many cuts are "
        "needed?",
        9,
    ),
    Question(
        "stairs",
        "From floor 1 to floor 3 you climb for 30 seconds. How many seconds do you climb from "
        "floor 1 to floor 6 at the same speed?",
        75,
    ),
    Question(
        "bird",
        "Two trains 150 km apart run towards each other at 40 and 60 km/h. A bird flies to and fro "
        "between them at 80 km/h until they meet. How many km does it fly?",
        120,
    ),
    Question(
        "candles",
        "From the stubs of 4 candles you make one new candle. You have 16 candles. How many can "
        "you burn in all?",
        21,
    ),
    Question(
        "sisters",
        "Anna has 3 brothers and 2 sisters. How many sisters does each of her brothers have?",
        3,
    ),
    Question(
        "hands",
        "How often do the hands of a clock meet between noon and midnight, if you count midnight "
        "but not noon?",
        11,
    ),
    Question(
        "squares",
        "How many squares of any size are there on a board of 4 by 4 fields?",
        30,
    ),
    Question(
        "remainder",
        "What is the remainder when 7 to the power of 100 is divided by 5?",
        1,
    ),
    Question(
        "angle",
        "How many degrees is the smaller angle between the hands of a clock at half past three?",
        75,
    ),
    Question(
        "ages",
        "A mother is 4 times as old as her daughter. In 20 years she will be twice as old. How old "
        "is the mother now?",
        40,
    ),
    Question(
        "painters",
        "3 painters need 8 hours for a wall. How many hours do 4 painters need, at the same pace?",
        6,
    ),
    Question(
        "odds",
        "What is the sum of the odd numbers from 1 to 39?",
        400,
    ),
    Question(
        "triangles",
        "How many different triangles have whole-number sides and a perimeter of 9?",
        3,
    ),
    Question(
        "bits",
        "How many ones are there in 239 written in binary?",
        7,
    ),
    Question(
        "days",
        "How many days after 27 February 2024 is 3 March 2024?",
        5,
    ),
)
"""Questions with whole numbers as answers."""

RUBRIC: Final = (
    "Every step follows from the question or from the step before.",
    "Every calculation is right.",
    "The last line is a whole number and nothing else, and answers what was asked.",
)
"""What a worked answer to one of the questions has to satisfy."""

BRIEF: Final = """\
Passkeys for sign-in: where we stand

We run a booking service with 240,000 accounts, 31,000 of them used weekly. People sign in with an
e-mail address and a password; 18 % have added a code from an authenticator app. Last quarter,
4,100 support tickets, a third of all, were about signing in, nearly all of them forgotten
passwords. 212 accounts were taken over, in 209 cases with a password that had leaked elsewhere.
None of them had the authenticator code.

A trial with 1,200 volunteers ran for six weeks. 71 % created a passkey when asked after signing
in, and 64 % used it for more than half of their sign-ins afterwards. Signing in took them 6
seconds at the median, against 24 with a password. 38 of them lost access when they changed their
phone; 30 got back in by a link sent to their e-mail address, 8 needed a person. Two groups stayed
away: people who share an account at a front desk, and people on computers that are locked down by
their employer, together about 9 % of weekly users.

What it takes: four weeks of work by two engineers, most of it on recovery and on the pages that
ask people to create a passkey. The library is maintained and free. Passwords could stay as a
fallback, be switched off for accounts that have a passkey, or go altogether. While they stay, an
account can still be taken over by its password; once they go, recovery by e-mail is the weakest
way in, and 8 of 1,200 people needing a person would be about 200 a quarter at our size.

What is open: how people who share an account sign in; whether staff accounts, 140 of them with
access to customers' data, go first; what support may do for somebody who has lost every device;
and who decides, and when, that the password goes. Legal has no objection as long as biometric
data stays on the device, which it does. Marketing asks that nobody is forced before the summer
season, in which 45 % of the year's bookings are made. The budget for this year has room for the
four weeks, and not for more. A competitor announced passkeys in spring, and then took back the
plan to drop passwords in autumn after complaints; what the complaints were about is not known.
"""
"""What every member of the panel reads. Company and figures are invented."""

BALLOTS: Final[tuple[tuple[list[int | None], str], ...]] = (
    ([5, None, 5, 10, None], "lost samples did not vote: divide by the votes cast"),
    ([5, 10, 10, 5], "a tie has no winner: first come is no reason, and neither is the larger"),
    ([7], "one sample is a vote as well"),
    ([0, 0, None, 3], "0 is an answer like any other: only None is lost"),
    ([1, 2, 3, 3, 3], "the winner need not be the first answer"),
    ([1, 1, 2, 3, 4], "most votes win, also with less than half of them"),
    ([1, 2, 3, 1, 2], "the first two answers share first place: a tie"),
)
"""Samples of a question, None for a lost one, and what is easily missed in each."""


def _grade_count(count: Any) -> Grade:
    """For `count(answers)`: (winner or None, share of the votes cast)."""
    random = Random(6)
    drawn = [[random.choice((0, 1, 2, None)) for _ in range(7)] + [1] for _ in range(200)]
    generated: list[tuple[list[int | None], str]] = [(each, "count each vote") for each in drawn]
    for answers, hint in (*BALLOTS, *generated):
        said = count(list(answers))
        given = pair(said)
        if given is None:
            return not_yet(f"it returns {said!r}; return a pair: the winner and its share")
        right = vote(each for each in answers if each is not None)
        if given[0] != right.answer or abs(float(given[1]) - right.agreement) > 1e-9:
            wanted = (right.answer, round(right.agreement, 3))
            return not_yet(f"{answers} gives {tuple(given)}, not {wanted}: {hint}")
    return SOLVED


COUNT = Exercise(
    name="count",
    starter="""\
def answer(answers):
    winner = max(answers, key=answers.count)
    return winner, answers.count(winner) / len(answers)""",
    solution="""\
from collections import Counter

def answer(answers):
    cast = [each for each in answers if each is not None]
    ranked = Counter(cast).most_common(2)
    winner, votes = ranked[0]
    tied = len(ranked) > 1 and ranked[1][1] == votes
    return (None if tied else winner), votes / len(cast)""",
    grade=_grade_count,
    right=(
        """\
from statistics import multimode

def answer(answers):
    cast = [a for a in answers if a is not None]
    modes = multimode(cast)
    return (modes[0] if len(modes) == 1 else None, cast.count(modes[0]) / len(cast))""",
        """\
from patterns.quality import vote

def answer(answers):
    counted = vote(a for a in answers if a is not None)
    return counted.answer, counted.agreement""",
        """\
def answer(answers):
    counts = {}
    for each in answers:
        if each is None:
            continue
        counts[each] = counts.get(each, 0) + 1
    best = max(counts.values())
    leaders = []
    for each, number in counts.items():
        if number == best:
            leaders.append(each)
    winner = leaders[0] if len(leaders) == 1 else None
    return [winner, best / sum(counts.values())]""",
        """\
from fractions import Fraction

def answer(answers):
    cast = sorted(a for a in answers if a is not None)
    ranked = sorted(set(cast), key=cast.count)
    top = cast.count(ranked[-1])
    tie = len(ranked) > 1 and cast.count(ranked[-2]) == top
    return None if tie else ranked[-1], Fraction(top, len(cast))""",
    ),
    wrong=(
        Wrong(
            """from collections import Counter
def answer(answers):
    winner, votes = Counter(a for a in answers if a is not None).most_common(1)[0]
    return winner, votes / len(answers)""",
            "divide by the votes cast",
        ),
        Wrong(
            """from collections import Counter
def answer(answers):
    cast = [a for a in answers if a is not None]
    winner, votes = Counter(cast).most_common(1)[0]
    return winner, votes / len(cast)""",
            "a tie has no winner",
        ),
        Wrong(
            """def answer(answers):
    cast = [a for a in answers if a]
    top = max(cast.count(a) for a in cast)
    best = [a for a in set(cast) if cast.count(a) == top]
    return (best[0] if len(best) == 1 else None), top / len(cast)""",
            "0 is an answer",
        ),
        Wrong(
            """def answer(answers):
    cast = [a for a in answers if a is not None]
    for a in cast:
        if cast.count(a) > len(cast) / 2:
            return a, cast.count(a) / len(cast)
    return None, max(map(cast.count, cast)) / len(cast)""",
            "less than half",
        ),
        Wrong(
            """from collections import Counter
def answer(answers):
    (a, m), (b, n) = Counter(x for x in answers if x is not None).most_common(2)
    return (None if m == n else a), m / sum(x is not None for x in answers)""",
            "ValueError",
        ),
        Wrong(
            """from collections import Counter
def answer(answers):
    return Counter(a for a in answers if a is not None).most_common(1)[0][0]""",
            "return a pair",
        ),
        Wrong(
            """def answer(answers):
    cast = [a for a in answers if a is not None]
    tied = cast.count(cast[0]) * 2 == len(cast)
    return (None if tied else cast[0]), cast.count(cast[0]) / len(cast)""",
            "need not be the first",
        ),
    ),
)

STANDINGS: Final = (
    ([3, 1], 2, "the second can draw level"),
    ([3, 0], 2, "the other can reach 2 at most"),
    ([2], 2, "another answer may still come, and draw level"),
    ([3], 2, "another answer may still come, and reaches 2 at most"),
    ([1, 4], 2, "the answers stand in no order: the second leads here"),
    ([2, 1], 0, "none is to come, and 2 beat 1"),
    ([2, 2], 0, "nobody leads"),
    ([3, 1, 1], 1, "the others can reach 2 each at most; more than half is not needed"),
    ([2, 2, 4], 1, "the others can reach 3 at most"),
)
"""Votes of each answer, how many are to come, and what decides it."""


def _grade_settled(settled: Any) -> Grade:
    """For `settled(counts, left)`: whether the leader can no longer be caught."""
    swept = product(product(range(1, 5), range(4), range(4)), range(5))
    cases = [([*counts], left, "try the worst that may come") for counts, left in swept]
    for counts, left, why in (*STANDINGS, *cases):
        expected = _certain(counts, left)
        if bool(settled(list(counts), left)) != expected:
            says = "settled" if expected else "open"
            return not_yet(f"{counts} with {left} to come is {says}: {why}")
    return SOLVED


def _certain(counts: Iterable[int], left: int) -> bool:
    """Whether one answer stays ahead, whichever other one gets all that is to come."""
    first, *others = sorted([*counts, 0], reverse=True)
    return all(other + left < first for other in others)


SETTLED = Exercise(
    name="settled",
    starter="""\
def answer(counts, left):
    return counts[0] > left""",
    solution="""\
def answer(counts, left):
    first, second = sorted([*counts, 0], reverse=True)[:2]
    return first > second + left""",
    grade=_grade_settled,
    right=(
        """\
from patterns.quality.vote import still_needed

def answer(counts, left):
    first, second = sorted([0, *counts])[-1:-3:-1]
    return still_needed(counts, left) == 0 and first > second""",
        """\
def answer(counts, left):
    rivals = list(counts)
    lead = max(rivals)
    rivals.remove(lead)
    return lead - max(rivals, default=0) > left""",
        """\
import heapq

def answer(counts, left):
    top = heapq.nlargest(2, counts)
    if len(top) == 1:
        return top[0] > left
    if top[0] - top[1] > left:
        return True
    return False""",
        """\
def answer(counts, left):
    counts.append(0)
    counts.sort()
    return counts[-1] >= counts[-2] + left + 1""",
    ),
    wrong=(
        Wrong(
            """def answer(counts, left):
    first, second = sorted([*counts, 0])[:-3:-1]
    return first - second >= left""",
            "draw level",
        ),
        Wrong("def answer(counts, left):\n    return left == 0", "reach 2 at most"),
        Wrong("def answer(counts, left):\n    return max(counts) > left", "draw level"),
        Wrong("def answer(counts, left):\n    return counts[0] > counts[1] + left", "IndexError"),
        Wrong(
            """def answer(counts, left):
    second = counts[1] if len(counts) > 1 else 0
    return counts[0] > second + left""",
            "in no order",
        ),
        Wrong(
            "def answer(counts, left):\n    return max(counts) > (sum(counts) + left) / 2",
            "more than half is not needed",
        ),
        Wrong(
            """def answer(counts, left):
    ranked = sorted(counts)
    return len(ranked) == 1 or ranked[-1] > ranked[-2] + left""",
            "another answer may still come",
        ),
    ),
)

WANTED: Final = (
    (0.65, 1, 0.85, "with one wrong answer, as in the binomial: find the fewest"),
    (0.3, 5, 0.4, "the wrong samples scatter over five answers"),
    (0.3, 1, 0.5, "with all wrong samples agreeing no number of votes gets there: None"),
    (0.6, 3, 0.9, "with more than one wrong answer an even number can be enough"),
    (0.55, 1, 0.65, "15 samples are allowed"),
    (0.7, 2, 0.5, "one sample is enough there"),
    (0.5, 1, 0.5, "at least the target: exactly as much is enough"),
    (0.5, 5, 0.8, "find the fewest"),
    (0.3, 5, 0.35, "three votes are worse than one here, and more are better again: go on"),
)
"""Chance of a sample, wrong answers, what is wanted, and what is easily missed."""


def _grade_votes_needed(needed: Any) -> Grade:
    """For `needed(p, wrong, target)`: the fewest samples from 1 to 15, or None."""
    random = Random(66)
    drawn = [
        (random.choice((0.3, 0.4, 0.5, 0.6, 0.8)), random.randint(1, 6), random.uniform(0.2, 0.99))
        for _ in range(60)
    ]
    for p, wrong, target, hint in (*WANTED, *((*each, "find the fewest") for each in drawn)):
        reach = (n for n in range(1, 16) if plurality_accuracy(p, n, wrong) >= target)
        if (given := needed(p, wrong, target)) != (right := next(reach, None)):
            asked = f"p={p}, wrong={wrong}, target={target:.3g}"
            return not_yet(f"{asked} gives {given!r}, not {right}: {hint}")
    return SOLVED


VOTES_NEEDED = Exercise(
    name="votes_needed",
    starter="""\
from patterns.quality.odds import majority_accuracy

def answer(p, wrong, target):
    for n in range(1, 16, 2):
        if majority_accuracy(p, n) >= target:
            return n
    return None""",
    solution="""\
from patterns.quality.odds import plurality_accuracy

def answer(p, wrong, target):
    for n in range(1, 16):
        if plurality_accuracy(p, n, wrong) >= target:
            return n
    return None""",
    grade=_grade_votes_needed,
    right=(
        """\
from patterns.quality.odds import plurality_accuracy as right

def answer(p, wrong, target):
    return next((n for n in range(1, 16) if right(p, n, wrong) >= target), None)""",
        """\
from patterns.quality import odds

def answer(p, wrong, target):
    found = [n for n in range(1, 16) if odds.plurality_accuracy(p, n, wrong=wrong) >= target]
    return min(found) if found else None""",
        """\
from patterns.quality.odds import plurality_accuracy

def answer(p, wrong, target):
    n = 1
    while plurality_accuracy(p, n, wrong) < target:
        n += 1
        if n > 15:
            return None
    return n""",
        """\
from math import comb

def answer(p, wrong, target):
    each = (1 - p) / wrong
    def ways(votes, answers, most):
        if answers == 0:
            return 1.0 if votes == 0 else 0.0
        return sum(
            comb(votes, k) * each**k * ways(votes - k, answers - 1, most)
            for k in range(min(most, votes) + 1)
        )
    if p >= target:
        return 1
    for n in range(2, 16):
        reached = sum(
            comb(n, k) * p**k * ways(n - k, wrong, k - 1) for k in range(1, n + 1)
        )
        if reached >= target:
            return n""",
    ),
    wrong=(
        Wrong(
            """from patterns.quality.odds import plurality_accuracy

def answer(p, wrong, target):
    return next((n for n in range(1, 16) if plurality_accuracy(p, n, wrong) > target), None)""",
            "exactly as much is enough",
        ),
        Wrong("def answer(p, wrong, target):\n    return 9", "gives 9, not 11"),
        Wrong(
            """from patterns.quality.odds import plurality_accuracy
def answer(p, wrong, target):
    return next((n for n in range(1, 16, 2) if plurality_accuracy(p, n, wrong) >= target), None)""",
            "an even number can be enough",
        ),
        Wrong(
            """from patterns.quality.odds import plurality_accuracy
def answer(p, wrong, target):
    return next((n for n in range(1, 15) if plurality_accuracy(p, n, wrong) >= target), None)""",
            "15 samples are allowed",
        ),
        Wrong(
            """from patterns.quality.odds import plurality_accuracy
def answer(p, wrong, target):
    return next((n for n in range(1, 16) if plurality_accuracy(p, n, wrong) >= target), 15)""",
            "no number of votes gets there",
        ),
        Wrong(
            """from patterns.quality.odds import plurality_accuracy
def answer(p, wrong, target):
    return next((n for n in range(3, 16) if plurality_accuracy(p, n, wrong) >= target), None)""",
            "one sample is enough",
        ),
        Wrong(
            """from patterns.quality.odds import plurality_accuracy
def answer(p, wrong, target):
    if p < 0.5 and p < target:
        return None
    return next((n for n in range(1, 16) if plurality_accuracy(p, n, wrong) >= target), None)""",
            "scatter over five answers",
        ),
        Wrong(
            """from patterns.quality.odds import plurality_accuracy
def answer(p, wrong, target):
    enough = [n for n in range(1, 16) if plurality_accuracy(p, n, wrong) >= target]
    return enough[-1] if enough else None""",
            "not 11",
        ),
    ),
)

LEAVING: Final = (
    ([4, 4, 4, 2, 7], "3 of 5 agree: that leaves room for a true share of 23 %"),
    ([4, 4, 4], "three equal votes of three have a lower end of 0.44"),
    ([4, 4], "two votes are too few, even if they agree"),
    ([4, 4, 4, 4, 7], "4 of 5 has a lower end of 0.38"),
    ([4, 4, 4, 4, 4, 7], "5 of 6 has a lower end of 0.44"),
    ([0, 0, 0], "0 is an answer like any other; only None means that there is none"),
    ([4] * 60 + [7] * 60, "a tie has no answer to send, however many votes were cast"),
    ([4] * 9 + [7], "the lower end counts, not the upper one"),
)
"""Votes, and what is easily missed in each."""


def _grade_may_send(may_send: Any) -> Grade:
    """For `may_send(vote)`: a winner, and an interval that begins at 0.4 or above."""
    for counted, hint in _votes():
        expected = counted.answer is not None and counted.interval[0] >= 0.4
        if bool(may_send(counted)) != expected:
            verb = "may" if expected else "must not"
            shown = ", ".join(f"{answer}: {count}" for answer, count in counted.counts)
            lost = f" and {len(counted.lost)} lost" if counted.lost else ""
            return not_yet(f"votes {shown}{lost}: the answer {verb} leave; {hint}")
    return SOLVED


def _votes() -> Iterable[tuple[Vote[int], str]]:
    for answers, hint in LEAVING:
        yield vote(answers), hint
    lost = (
        Lost("sample 4", TimeoutError(), "timeout"),
        Lost("sample 5", TimeoutError(), "timeout"),
    )
    yield replace(vote([4, 4, 4]), lost=lost), "lost samples count neither for nor against"
    yield replace(vote([4]), lost=lost), "lost samples are no votes"
    for first, second, third in product(range(1, 13), range(6), range(3)):
        yield vote([1] * first + [2] * second + [3] * third), "look at the interval's lower end"


MAY_SEND = Exercise(
    name="may_send",
    part=True,
    starter="""\
def answer(vote):
    return vote.agreement >= 0.6""",
    solution="""\
def answer(vote):
    low, _ = vote.interval
    return vote.answer is not None and vote.cast >= 3 and low >= 0.4""",
    grade=_grade_may_send,
    right=(
        """\
def answer(vote):
    return not vote.tie and vote.interval[0] >= 0.4""",
        """\
def answer(vote):
    if vote.answer is None:
        return False
    if sum(count for _, count in vote.counts) < 3:
        return False
    low, high = vote.interval
    if low < 0.4:
        return False
    return True""",
        """\
from patterns.core.statistics import wilson

answer = lambda v: len(v.tie) == 0 and wilson(v.counts[0][1], v.cast)[0] >= 0.4""",
        """\
from math import sqrt

def answer(vote):
    z, n, share = 1.959964, vote.cast, vote.agreement
    middle = share + z * z / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return n >= 3 and vote.tie == () and (middle - half) / (1 + z * z / n) >= 0.4""",
    ),
    wrong=(
        Wrong("def answer(vote):\n    return vote.interval[0] >= 0.4", "a tie has no answer"),
        Wrong(
            "def answer(vote):\n    return bool(vote.answer) and vote.interval[0] >= 0.4",
            "0 is an answer",
        ),
        Wrong(
            "def answer(vote):\n    return vote.cast >= 3 and vote.agreement >= 0.4", "3 of 5 agree"
        ),
        Wrong(
            "def answer(vote):\n    return vote.cast >= 3 and vote.interval[1] >= 0.4",
            "3 of 5 agree",
        ),
        Wrong(
            "def answer(vote):\n    return vote.answer is not None and vote.interval[0] > 0.5",
            "three equal votes",
        ),
        Wrong(
            """def answer(vote):
    return vote.answer is not None and not vote.lost and vote.interval[0] >= 0.4""",
            "neither for nor against",
        ),
        Wrong("def answer(vote):\n    return len(vote.counts) == 1", "two votes are too few"),
        Wrong("def answer(vote):\n    return vote.agreement >= 0.8", "two votes are too few"),
    ),
)

EXERCISES: Final = (COUNT, SETTLED, VOTES_NEEDED, MAY_SEND)
check = Checker(EXERCISES)
