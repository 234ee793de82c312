"""Chapter 06: thirty-six labelled questions, a brief for a panel, and three exercises.

The questions have one whole number as their answer, and many invite a typical slip: a fence post
too few, a doubling counted twice. The wording is the course's own, and
`tests/test_quality_questions.py` computes every label again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.quality.odds import majority_accuracy


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


def _grade_count(count: Any) -> Grade:
    """For `count(answers)`: (winner or None, agreement), with None for a lost sample."""
    if count([5, None, 5, 10, None]) == (5, 2 / 5):
        return not_yet("lost samples did not vote: divide by the votes cast, three here, not five")
    if count([5, None, 5, 10, None]) != (5, 2 / 3):
        return not_yet("[5, None, 5, 10, None] should give (5, 2/3): two of the three votes cast")
    if count([5, 10, 10, 5]) != (None, 1 / 2):
        return not_yet("[5, 10, 10, 5] is a tie: the winner is None, and first come is no reason")
    if count([7]) != (7, 1.0):
        return not_yet("[7] should give (7, 1.0)")
    return SOLVED


COUNT = Exercise(
    name="The winner and its share",
    starter='''from collections import Counter

def answer(answers):
    """The winner (None on a tie) and its share of the votes cast. A lost sample is None."""
    winner, votes = Counter(answers).most_common(1)[0]
    return winner, votes / len(answers)''',
    solution='''from collections import Counter

def answer(answers):
    """The winner (None on a tie) and its share of the votes cast. A lost sample is None."""
    cast = [each for each in answers if each is not None]
    ranked = Counter(cast).most_common(2)
    winner, votes = ranked[0]
    tied = len(ranked) > 1 and ranked[1][1] == votes
    return (None if tied else winner), votes / len(cast)''',
    grade=_grade_count,
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
            "is a tie",
        ),
        Wrong(
            """from collections import Counter
def answer(answers):
    cast = [a for a in answers if a is not None]
    ranked = Counter(cast).most_common(2)
    if len(cast) < 2:
        return None, 0.0
    tied = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    return (None if tied else ranked[0][0]), ranked[0][1] / len(cast)""",
            "[7] should give",
        ),
    ),
)

_SETTLED: Final = (
    (((3, 0), 2), True, "3 against 0 with 2 to come is settled: the other can reach 2 at most"),
    (((3, 1), 2), False, "3 against 1 with 2 to come can still become a tie, so it is not settled"),
    (((2, 1), 0), True, "2 against 1 with none to come is settled"),
    (((2, 2), 0), False, "2 against 2 with none to come is a tie: nobody has won"),
    (((4, 2), 1), True, "4 against 2 with 1 to come is settled; the lead of 2 is what counts"),
    (((3, 2), 2), False, "3 against 2 with 2 to come is open; 3 votes are not yet enough"),
)


def _grade_settled(settled: Callable[[tuple[int, int], int], object]) -> Grade:
    """For `settled((first, second), left)`: whether the leader can no longer be caught."""
    for (counts, left), expected, hint in _SETTLED:
        if bool(settled(counts, left)) != expected:
            return not_yet(hint)
    return SOLVED


SETTLED = Exercise(
    name="Settled, or still open",
    starter='''def answer(counts, left):
    """Whether the leader has won for certain: counts is (first, second), left are to come."""
    return counts[0] > left''',
    solution='''def answer(counts, left):
    """Whether the leader has won for certain: counts is (first, second), left are to come."""
    first, second = counts
    return first > second + left''',
    grade=_grade_settled,
    wrong=(
        Wrong(
            "def answer(counts, left):\n    return counts[0] - counts[1] >= left", "become a tie"
        ),
        Wrong("def answer(counts, left):\n    return counts[0] > counts[1]", "become a tie"),
        Wrong("def answer(counts, left):\n    return left == 0", "other can reach 2 at most"),
        Wrong("def answer(counts, left):\n    return counts[0] >= 3 or not left", "become a tie"),
    ),
)


def _grade_samples(n: Any) -> Grade:
    """The smallest number of votes that makes 65 % into 85 %."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        return not_yet("answer is a whole number of samples, from 1.")
    if n % 2 == 0:
        return not_yet(f"{n} is even: one vote fewer does better, because it cannot end in a tie.")
    if (reached := majority_accuracy(0.65, n)) < 0.85:
        return not_yet(f"{n} votes reach {reached:.1%}; majority_accuracy(0.65, n) tells.")
    if majority_accuracy(0.65, n - 2) >= 0.85:
        return not_yet(f"{n} are enough, and so are {n - 2}: find the fewest.")
    return SOLVED


SAMPLES = Exercise(
    name="How many votes are enough",
    starter="answer = 5",
    solution="""\
from patterns.quality.odds import majority_accuracy

answer = next(n for n in range(1, 99, 2) if majority_accuracy(0.65, n) >= 0.85)""",
    grade=_grade_samples,
    wrong=(
        Wrong("answer = 9", "82.8%"),
        Wrong("answer = 16", "is even"),
        Wrong("answer = 21", "find the fewest"),
        Wrong("answer = 11.0", "whole number"),
    ),
)

EXERCISES: Final = (COUNT, SETTLED, SAMPLES)
