"""Exercises of chapter 07: rescue a prompt, choose lifetimes, price a week."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.caching import CacheStats
from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, VirtualClock

RULES: Final = "Rule: answer in one sentence and never guess a price. " * 60
MORNING: Final = (("09:00", "Is it open?"), ("09:01", "What is a chain?"), ("09:02", "On Monday?"))


def grade_rescue(answer: Any) -> Grade:
    """`answer(rules, now, question)` gives `system` and `messages`; calls two and three read."""
    client = FakeAPI(clock=VirtualClock()).client()
    stats = []
    for now, question in MORNING:
        request = answer(RULES, now, question)
        for what, wanted in (("time", now), ("question", question), ("rules", RULES)):
            if wanted not in _texts(request):
                return not_yet(f"the model is no longer told the {what}")
        message = client.messages.create(model=SONNET, max_tokens=50, **request)
        stats.append(CacheStats.from_usage(message.usage, message.model))
    return _rescued(stats[0], stats[2])


def _rescued(first: CacheStats, last: CacheStats) -> Grade:
    if not first.tokens.written:
        return not_yet("nothing is written: put cache_control on the block of rules")
    if not last.tokens.read:
        return not_yet("it writes on every call: something in front of a breakpoint still varies")
    if last.tokens.written:
        return not_yet("the rules are read, but a breakpoint behind them writes on every call")
    return SOLVED


def _texts(value: Any) -> str:
    """Every string in a request, joined."""
    if isinstance(value, Mapping):
        return "\n".join(_texts(part) for part in value.values())
    if isinstance(value, list | tuple):
        return "\n".join(_texts(part) for part in value)
    return str(value)


STEADY: Final = "a call every 40 seconds, always the same rules"
REPORT: Final = "a report every 20 minutes"
NIGHT: Final = "one job each night"
CONTRACTS: Final = "two questions about each contract, 10 seconds apart"
RIGHT: Final = {STEADY: "5m", REPORT: "1h", NIGHT: None, CONTRACTS: "5m"}

REASONS: Final[Mapping[str, Mapping[Any, str]]] = {
    STEADY: {
        "1h": "every gap is under 5 minutes and each hit renews the entry: 5m hits as often",
        None: "from the second use within the lifetime caching is cheaper",
    },
    REPORT: {
        "5m": "20 minutes later a 5-minute entry is gone: every report would be a write",
        None: "an entry of an hour is found by every report after the first",
    },
    NIGHT: {
        "5m": "nothing is read the next night: a write costs 1.25 times plain input",
        "1h": "nothing is read the next night: a write costs twice plain input",
    },
    CONTRACTS: {
        "1h": "half the calls hit, and an hour needs 51.3 %",
        None: "half the calls hit, and five minutes need only 20.8 %",
    },
}
"""Why a lifetime is wrong for some traffic."""


def grade_lifetimes(answer: Any) -> Grade:
    """`answer` maps each kind of traffic to "5m", "1h" or None."""
    for traffic, wrong in REASONS.items():
        if traffic not in answer:
            return not_yet(f"there is no choice for {traffic!r}")
        if (choice := answer[traffic]) in wrong:
            return not_yet(f"{traffic}: {wrong[choice]}")
        if choice not in ("5m", "1h", None):
            return not_yet(f"{traffic}: {choice!r} is not offered; choose '5m', '1h' or None")
    return SOLVED


WRITES, READS, PLAIN, OUTPUT = (Decimal(x) for x in ("0.525", "20.979", "2.8", "17.5"))
"""Dollars in a week: 7 writes and 6,993 reads of 30,000 tokens, questions, answers."""

KNOWN_WEEKS: Final[Mapping[Decimal, str]] = {
    Decimal("44.8"): "a read on this model is not 90 % cheaper, and answers are paid for too",
    WRITES + 2 * READS + PLAIN + OUTPUT: "a read on this model is not 90 % cheaper: look it up",
    READS / 999 * 1_000 + PLAIN + OUTPUT: "the first call of each day writes; nothing is there yet",
    WRITES + READS + PLAIN: "the answers are paid for too",
    WRITES + READS + OUTPUT: "the questions are not cached and cost plain input",
    WRITES / 7 + READS / 6_993 * 6_999 + PLAIN + OUTPUT: "the night is longer than five minutes",
}


def grade_week(answer: Any) -> Grade:
    """`answer` is the week's cost in dollars, as an exact Decimal."""
    if not isinstance(answer, Decimal):
        return not_yet("count money in Decimal: floats lose fractions of a cent")
    if answer == WRITES + READS + PLAIN + OUTPUT:
        return SOLVED
    return not_yet(
        KNOWN_WEEKS.get(answer, f"${answer} is not it: writes, reads, questions, answers")
    )


EXERCISES: Final = (
    Exercise(
        name="rescue",
        starter="""\
def answer(rules, now, question):
    text = f"It is {now}. {rules}"
    system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    return {"system": system, "messages": [{"role": "user", "content": question}]}""",
        solution="""\
def answer(rules, now, question):
    system = [{"type": "text", "text": rules, "cache_control": {"type": "ephemeral"}}]
    turn = f"It is {now}. {question}"
    return {"system": system, "messages": [{"role": "user", "content": turn}]}""",
        grade=grade_rescue,
        wrong=(
            Wrong(
                """\
def answer(rules, now, question):
    system = [{"type": "text", "text": rules, "cache_control": {"type": "ephemeral"}}]
    return {"system": system, "messages": [{"role": "user", "content": question}]}""",
                "no longer told the time",
            ),
            Wrong(
                """\
def answer(rules, now, question):
    turn = f"It is {now}. {question}"
    return {"system": rules, "messages": [{"role": "user", "content": turn}]}""",
                "nothing is written",
            ),
            Wrong(
                """\
def answer(rules, now, question):
    turn = f"It is {now}. {question}"
    return {
        "system": rules,
        "messages": [{"role": "user", "content": turn}],
        "cache_control": {"type": "ephemeral"},
    }""",
                "still varies",
            ),
            Wrong(
                """\
def answer(rules, now, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": rules, **mark}]
    turn = [{"type": "text", "text": f"It is {now}. {question}", **mark}]
    return {"system": system, "messages": [{"role": "user", "content": turn}]}""",
                "a breakpoint behind them",
            ),
        ),
    ),
    Exercise(
        name="lifetimes",
        starter="""\
answer = {
    "a call every 40 seconds, always the same rules": "1h",
    "a report every 20 minutes": "1h",
    "one job each night": "1h",
    "two questions about each contract, 10 seconds apart": "1h",
}""",
        solution="""\
answer = {
    "a call every 40 seconds, always the same rules": "5m",
    "a report every 20 minutes": "1h",
    "one job each night": None,
    "two questions about each contract, 10 seconds apart": "5m",
}""",
        grade=grade_lifetimes,
        wrong=(
            Wrong(f"answer = dict.fromkeys({list(REASONS)!r}, '5m')", "every report"),
            Wrong(f"answer = dict.fromkeys({list(REASONS)!r})", "from the second use"),
            Wrong(
                f"answer = { ({**dict.fromkeys(REASONS, '5m'), NIGHT: '5m', REPORT: '1h'})!r}",
                "nothing is read the next night",
            ),
            Wrong(f"answer = { ({**RIGHT, CONTRACTS: '1h'})!r}", "an hour needs 51.3 %"),
            Wrong(f"answer = { ({**RIGHT, CONTRACTS: None})!r}", "need only 20.8 %"),
            Wrong(f"answer = { ({**RIGHT, NIGHT: '24h'})!r}", "'24h' is not offered"),
            Wrong("answer = {}", "there is no choice for"),
        ),
    ),
    Exercise(
        name="week",
        starter="""\
from decimal import Decimal

cached = 7 * 1_000 * 30_000 * Decimal("0.20")
questions = 7 * 1_000 * 200 * Decimal("2")
answer = (cached + questions) / 1_000_000""",
        solution="""\
from decimal import Decimal

from patterns.core.models import SONNET
from patterns.core.pricing import rates

price, calls = rates(SONNET), 7 * 1_000
cached = 7 * 30_000 * price.cache_write_5m + (calls - 7) * 30_000 * price.cache_read
answer = (cached + calls * (200 * price.input + 250 * price.output)) / 1_000_000""",
        grade=grade_week,
        wrong=(
            Wrong("answer = 41.804", "in Decimal"),
            Wrong("from decimal import Decimal\nanswer = Decimal('62.783')", "not 90 % cheaper"),
            Wrong(
                "from decimal import Decimal\nanswer = Decimal('41.3')", "first call of each day"
            ),
            Wrong("from decimal import Decimal\nanswer = Decimal('24.304')", "paid for too"),
            Wrong("from decimal import Decimal\nanswer = Decimal('39.004')", "plain input"),
            Wrong("from decimal import Decimal\nanswer = Decimal('41.372')", "the night"),
        ),
    ),
)
