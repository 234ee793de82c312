"""The labelled questions of chapter 06: every label is computed again."""

from collections.abc import Callable
from datetime import date
from fractions import Fraction
from itertools import combinations, product
from math import factorial

import pytest
from exercises.response_quality import BRIEF, QUESTIONS

from patterns.core.models import MODELS, SONNET


def snail() -> int:
    height, day = 0, 0
    while True:
        day, height = day + 1, height + 3
        if height >= 10:
            return day
        height -= 2


def candles() -> int:
    burnt = stubs = 16
    while stubs >= 4:
        new, rest = divmod(stubs, 4)
        burnt, stubs = burnt + new, rest + new
    return burnt


def painted_on_two_faces() -> int:
    return sum(sum(c in (0, 2) for c in cube) == 2 for cube in product(range(3), repeat=3))


def ways_to_pay() -> int:
    many = product(range(6), range(3), range(2))
    return sum(5 * fives + 10 * tens + 20 * twenties == 25 for fives, tens, twenties in many)


def squares() -> int:
    return sum((5 - size) ** 2 for size in range(1, 5))


def triangles() -> int:
    sides = ((a, b, 9 - a - b) for a in range(1, 8) for b in range(a, 8))
    return sum(b <= c < a + b for a, b, c in sides)


def trailing_zeros() -> int:
    digits = str(factorial(100))
    return len(digits) - len(digits.rstrip("0"))


def hands_meet() -> int:
    """The minute hand gains 11 rounds on the hour hand in 12 hours: one meeting a round."""
    meetings = [Fraction(12 * k, 11) for k in range(1, 13)]
    return sum(0 < hour <= 12 for hour in meetings)


def leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def mother() -> int:
    return next(4 * d for d in range(1, 99) if 4 * d + 20 == 2 * (d + 20))


def ball() -> int:
    return next(cents for cents in range(111) if cents + (cents + 100) == 110)


LABELS: dict[str, Callable[[], int | Fraction]] = {
    "fence": lambda: len(range(0, 31, 3)),
    "pages": lambda: len(range(37, 55)),
    "snail": snail,
    "lilies": lambda: next(day for day in range(48) if 4 * 2**day == 2**48),
    "ball": ball,
    "machines": lambda: Fraction(100, 100) / Fraction(5, 5 * 5),
    "letters": lambda: "strawberry raspberry".count("r"),
    "bells": lambda: Fraction(10, 6 - 1) * (12 - 1),
    "handshakes": lambda: len(list(combinations(range(12), 2))),
    "leap-years": lambda: sum(leap(year) for year in range(1896, 1913)),
    "mondays": lambda: max(sum((first + d) % 7 == 0 for d in range(31)) for first in range(7)),
    "socks": lambda: 3 + 1,
    "sevens": lambda: "".join(map(str, range(1, 101))).count("7"),
    "speed": lambda: Fraction(120) / (Fraction(60, 30) + Fraction(60, 60)),
    "price": lambda: Fraction(200) * Fraction(12, 10) * Fraction(8, 10),
    "cube": painted_on_two_faces,
    "diagonals": lambda: len(list(combinations(range(8), 2))) - 8,
    "zeros": trailing_zeros,
    "months": lambda: sum(
        (date(2024 + m // 12, m % 12 + 1, 1) - date(2024, m, 1)).days >= 29 for m in range(1, 13)
    ),
    "knockout": lambda: 37 - 1,
    "coins": ways_to_pay,
    "rope": lambda: 20 // 2 - 1,
    "stairs": lambda: Fraction(30, 3 - 1) * (6 - 1),
    "bird": lambda: Fraction(150, 40 + 60) * 80,
    "candles": candles,
    "sisters": lambda: 2 + 1,
    "hands": hands_meet,
    "squares": squares,
    "remainder": lambda: pow(7, 100, 5),
    "angle": lambda: abs(Fraction(7, 2) * 30 - 180),
    "ages": mother,
    "painters": lambda: Fraction(3 * 8, 4),
    "odds": lambda: sum(range(1, 40, 2)),
    "triangles": triangles,
    "bits": lambda: (239).bit_count(),
    "days": lambda: (date(2024, 3, 3) - date(2024, 2, 27)).days,
}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_label_is_right(question: object) -> None:
    """The label in the file is what a computation of the question gives."""
    one = next(each for each in QUESTIONS if each is question)
    assert LABELS[one.id]() == one.answer


def test_there_are_enough_questions_and_no_two_are_alike() -> None:
    """At least thirty, with different ids and texts."""
    assert len(QUESTIONS) >= 30
    assert len({each.id for each in QUESTIONS}) == len(QUESTIONS) == len(LABELS)
    assert len({each.text for each in QUESTIONS}) == len(QUESTIONS)


def test_the_brief_is_long_enough_to_be_cached() -> None:
    """Four characters a token: the panel's shared text is above the model's minimum."""
    assert len(BRIEF) > 4 * MODELS[SONNET].min_cacheable_tokens
