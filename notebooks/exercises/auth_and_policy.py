"""Exercises of chapter 01: a rule, a detector, a limiter setting."""

from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.core.models import HAIKU, OPUS
from patterns.policy.authorization import Action, by_rules
from patterns.policy.detectors import Match
from patterns.policy.identity import Principal
from patterns.policy.rate_limit import Limits

SUPPORT: Final = Principal("sam", frozenset({"support"}))
CREATE: Final = "messages.create"

CASES: Final = (
    (SUPPORT, Action(CREATE, (HAIKU,), 500, ("search_orders",)), True,
     "support must be able to search orders with 500 tokens of Haiku"),
    (SUPPORT, Action(CREATE, (HAIKU,), 500), True, "a call without tools is fine as well"),
    (SUPPORT, Action(CREATE, (OPUS,), 500), False, "Opus is not theirs: give a model pattern"),
    (SUPPORT, Action(CREATE, (HAIKU, OPUS), 500), False, "a fallback to Opus got through"),
    (SUPPORT, Action(CREATE, (HAIKU,), 501), False, "501 tokens got through: set max_tokens"),
    (SUPPORT, Action(CREATE, (HAIKU,), 500, ("refund_order",)), False,
     "refund_order got through: the tools pattern is too wide"),
    (SUPPORT, Action("messages.batches.create", (HAIKU,), 500), False, "nobody asked for batches"),
    (Principal("eve", frozenset({"guest"})), Action(CREATE, (HAIKU,), 5), False,
     "a guest got through: name the role"),
)  # fmt: skip


def grade_rules(answer: Any) -> Grade:
    """`answer` is a list of rules for the support desk."""
    decide = by_rules(*answer)
    for principal, action, allowed, hint in CASES:
        if decide(principal, action).allowed is not allowed:
            return not_yet(hint)
    return SOLVED


TEXTS: Final[tuple[tuple[str, list[str], str], ...]] = (
    ("Badge KW-12340 was lost.", ["KW-12340"], "KW-12340 is a badge: 1+2+3+4 ends in 0"),
    ("工牌KW-00000请", ["KW-00000"], "a badge between CJK letters: \\b does not see its edges"),
    ("KW-12340 and KW-98760", ["KW-12340", "KW-98760"], "there may be more than one"),
    ("Part KW-12345 is in stock.", [], "KW-12345 has the wrong check digit: validate it"),
    ("XKW-12340 KW-123400", [], "a badge inside a longer code is none: look at its neighbours"),
)


def grade_detector(answer: Any) -> Grade:
    """`answer(text)` gives the badges in a text as a list of `Match`."""
    for text, expected, hint in TEXTS:
        found = list(answer(text))
        if not all(isinstance(one, Match) for one in found):
            return not_yet("give a list of Match(start, end, type)")
        if [text[one.start : one.end] for one in sorted(found)] != expected:
            return not_yet(hint)
    return SOLVED


WHOLE: Final = Limits(rpm=90, itpm=300_000, otpm=60_000)


def grade_limits(answer: Any) -> Grade:
    """`answer` is the `Limits` of one of three processes that share no store."""
    for name in ("rpm", "itpm", "otpm"):
        value, whole = getattr(answer, name), getattr(WHOLE, name)
        if value is None:
            return not_yet(f"{name} is not limited: the three together may exceed any {name}")
        if value * 3 > whole:
            return not_yet(f"three times {name}={value:g} is more than the organisation has")
        if value * 3 < 0.9 * whole:
            return not_yet(f"{name}={value:g} leaves more than a tenth of the budget unused")
    return SOLVED


EXERCISES: Final = (
    Exercise(
        "a rule",
        """from patterns.policy.authorization import Rule

answer = [Rule("support")]""",
        """from patterns.policy.authorization import Rule

answer = [Rule("support", model="claude-haiku-*", max_tokens=500, tools="search_*")]""",
        grade_rules,
        (
            Wrong(
                """from patterns.policy.authorization import Rule

answer = [Rule("support", "*", "claude-haiku-*", max_tokens=500, tools="search_*")]""",
                "batches",
            ),
            Wrong(
                """from patterns.policy.authorization import Rule

answer = [Rule("support", model="claude-haiku-*", max_tokens=500, tools="*")]""",
                "refund_order",
            ),
            Wrong(
                """from patterns.policy.authorization import Rule

answer = [Rule("support", model="claude-haiku-*", tools="search_*")]""",
                "max_tokens",
            ),
        ),
    ),
    Exercise(
        "a detector",
        """import re

from patterns.policy.detectors import Match

def answer(text):
    return [Match(*found.span(), "badge") for found in re.finditer(r"KW-\\d{5}", text)]""",
        """import re

from patterns.policy.detectors import Match

BADGE = re.compile(r"(?<![0-9A-Za-z])KW-(\\d{4})(\\d)(?![0-9A-Za-z])")

def answer(text):
    badges = (one for one in BADGE.finditer(text) if sum(map(int, one[1])) % 10 == int(one[2]))
    return [Match(*one.span(), "badge") for one in badges]""",
        grade_detector,
        (
            Wrong(
                """import re

from patterns.policy.detectors import Match

def answer(text):
    found = re.finditer(r"\\bKW-(\\d{4})(\\d)\\b", text)
    return [Match(*one.span(), "badge") for one in found
            if sum(map(int, one[1])) % 10 == int(one[2])]""",
                "CJK",
            ),
            Wrong("def answer(text):\n    return [text]", "Match"),
        ),
    ),
    Exercise(
        "a limiter setting",
        """from patterns.policy.rate_limit import Limits

answer = Limits(rpm=90, itpm=300_000, otpm=60_000)""",
        """from patterns.policy.rate_limit import Limits

answer = Limits(rpm=30, itpm=100_000, otpm=20_000)""",
        grade_limits,
        (
            Wrong(
                "from patterns.policy.rate_limit import Limits\n\nanswer = Limits(rpm=30)",
                "itpm is not limited",
            ),
            Wrong(
                "from patterns.policy.rate_limit import Limits\n\nanswer = Limits(9, 30_000, 60)",
                "unused",
            ),
        ),
    ),
)
