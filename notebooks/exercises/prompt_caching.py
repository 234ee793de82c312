"""Exercises of chapter 07: rescue a prompt, choose a lifetime, the desk's cached request."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, Final

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet
from patterns.caching import CacheStats, break_even
from patterns.caching.limits import TTL_SECONDS
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
        if not isinstance(request, Mapping):
            return not_yet(f"it returns {type(request).__name__}: return the keyword arguments")
        for what, wanted in (("time", now), ("question", question), ("rules", RULES)):
            if wanted not in _texts(request):
                return not_yet(f"the model is no longer told the {what}")
        message = client.messages.create(**{"model": SONNET, "max_tokens": 50, **request})
        stats.append(CacheStats.from_usage(message.usage, message.model))
    return _read_again(stats, "rules")


def _read_again(stats: Sequence[CacheStats], what: str) -> Grade:
    """Whether every call after the first one reads all that was written, and writes nothing."""
    first, last = stats[0], stats[-1]
    if not first.tokens.written:
        return not_yet(f"nothing is written: put cache_control on the block of the {what}")
    if not last.tokens.read:
        return not_yet("it writes on every call: something in front of a breakpoint still varies")
    if last.tokens.written:
        return not_yet("the cache is read, but a breakpoint behind it writes on every call")
    return SOLVED


def _texts(value: Any) -> str:
    """Every string in a request, joined."""
    if isinstance(value, Mapping):
        return "\n".join(_texts(part) for part in value.values())
    if isinstance(value, list | tuple):
        return "\n".join(_texts(part) for part in value)
    return str(value)


RESCUE = Exercise(
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
    right=(
        """\
def answer(rules, now, question):
    mark = {"type": "ephemeral", "ttl": "1h"}
    system = [
        {"type": "text", "text": rules, "cache_control": mark},
        {"type": "text", "text": f"The time is {now}."},
    ]
    return dict(system=system, messages=[dict(role="user", content=question)])""",
        """\
def answer(rules, now, question):
    blocks = [
        {"type": "text", "text": rules, "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": question},
        {"type": "text", "text": "(asked at " + now + ")"},
    ]
    return {"messages": [{"role": "user", "content": blocks}]}""",
        """\
def answer(rules, now, question):
    request = {}
    request["system"] = []
    request["system"].append({"type": "text", "text": rules})
    request["system"][0]["cache_control"] = {"type": "ephemeral", "ttl": "5m"}
    request["messages"] = [{"role": "user", "content": []}]
    request["messages"][0]["content"].append({"type": "text", "text": f"now: {now}"})
    request["messages"][0]["content"].append({"type": "text", "text": question})
    return request""",
        """\
from patterns.caching.assistant import shared_prefix

answer = lambda rules, now, question: {
    "system": shared_prefix(rules, (), "5m"),
    "messages": [{"role": "user", "content": f"{question} It is {now}."}],
    "max_tokens": 200,
}""",
    ),
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
    return {
        "system": rules,
        "messages": [{"role": "user", "content": f"It is {now}. {question}"}],
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
            "a breakpoint behind it",
        ),
        Wrong(
            """\
def answer(rules, now, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": f"It is {now}."}, {"type": "text", "text": rules, **mark}]
    return {"system": system, "messages": [{"role": "user", "content": question}]}""",
            "still varies",
        ),
        Wrong(
            """\
def answer(rules, now, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    return [{"type": "text", "text": rules, **mark}, now, question]""",
            "return the keyword arguments",
        ),
    ),
)

GAPS: Final[tuple[tuple[list[int], str], ...]] = (
    ([40] * 20, "every gap is under 5 minutes, and each hit renews the entry: 5m hits as often"),
    ([1_200] * 8, "20 minutes later a 5-minute entry is gone, and one of an hour is not"),
    ([86_400] * 6, "nothing is left the next day: every call would be a write"),
    ([], "a single call writes and nobody reads"),
    ([10], "the second use within the lifetime is cheaper than plain input"),
    ([1_200], "two uses do not pay for a write of an hour, three do"),
    ([1_200] * 2, "two uses do not pay for a write of an hour, three do"),
    ([10, 7_200, 10, 7_200, 10], "half of the calls hit: that pays for 5m, not for 1h"),
    ([300] * 9, "after exactly 5 minutes a 5-minute entry is gone"),
    ([3_600] * 9, "after exactly an hour nothing is left: every call would be a write"),
    ([30] * 30 + [1_000], "one rewrite at 5m is dearer than what an hour's write costs more"),
)
"""Seconds between calls, and what decides."""


def grade_lifetime(lifetime: Any) -> Grade:
    """`lifetime(gaps)`: "5m", "1h" or None, whatever costs least for the marked prefix."""
    for gaps, hint in (*GAPS, *_drawn()):
        costs = _costs(gaps)
        best, second = sorted(costs, key=lambda ttl: costs[ttl])[:2]
        if costs[second] - costs[best] < 0.02:
            continue  # as good as equal
        if (given := lifetime(list(gaps))) != best:
            shown = f"{gaps[:6]}{' and so on' if len(gaps) > 6 else ''}"
            cost = ", ".join(f"{ttl}: {costs[ttl]:.2f}" for ttl in costs)
            return not_yet(f"gaps {shown}: not {given!r}. In prompts uncached, {cost}; {hint}")
    return SOLVED


def _drawn() -> Iterator[tuple[list[int], str]]:
    random = Random(7)
    for _ in range(200):
        kinds = random.choices((20, 200, 400, 1_500, 3_000, 5_000, 90_000), k=2)
        yield [random.choice(kinds) for _ in range(random.randint(1, 12))], "add up the calls"


def _costs(gaps: Sequence[float]) -> dict[str | None, float]:
    """What all calls cost, a plain prompt being 1: without a breakpoint, and with each lifetime."""
    costs: dict[str | None, float] = {None: 1.0 + len(gaps)}
    for ttl, seconds in TTL_SECONDS.items():
        price = break_even(SONNET, ttl)
        hits = sum(gap < seconds for gap in gaps)
        costs[ttl] = float(price.read * hits + price.write * (1 + len(gaps) - hits))
    return costs


LIFETIME = Exercise(
    name="lifetime",
    starter="""\
def answer(gaps):
    return "5m" if all(gap < 300 for gap in gaps) else "1h\"""",
    solution="""\
from patterns.caching import break_even
from patterns.core.models import SONNET

def answer(gaps):
    costs = {None: 1 + len(gaps)}
    for ttl, seconds in (("5m", 300), ("1h", 3_600)):
        price = break_even(SONNET, ttl)
        hits = sum(gap < seconds for gap in gaps)
        costs[ttl] = price.read * hits + price.write * (1 + len(gaps) - hits)
    return min(costs, key=costs.get)""",
    grade=grade_lifetime,
    right=(
        """\
def answer(gaps):
    def cost(limit, write):
        total = write
        for gap in gaps:
            total += 0.05 if gap < limit else write
        return total
    options = [(len(gaps) + 1, None), (cost(300, 1.25), "5m"), (cost(3600, 2), "1h")]
    return min(options, key=lambda option: option[0])[1]""",
        """\
from patterns.core.models import SONNET
from patterns.core.pricing import rates

def answer(gaps):
    price = rates(SONNET)
    five = hour = 0
    for gap in [float("inf"), *gaps]:
        five += price.cache_read if gap < 300 else price.cache_write_5m
        hour += price.cache_read if gap < 3600 else price.cache_write_1h
    plain = price.input * (len(gaps) + 1)
    if plain <= five and plain <= hour:
        return None
    return "5m" if five <= hour else "1h\"""",
        """\
from patterns.caching import Segment, plan_breakpoints
from patterns.core.models import SONNET

def answer(gaps):
    best, least = None, len(gaps) + 1
    for name, alive, write in [("5m", 300, 1.25), ("1h", 3600, 2.0)]:
        misses = 1 + len([gap for gap in gaps if gap >= alive])
        cost = misses * write + (len(gaps) + 1 - misses) * 0.05
        if cost < least:
            best, least = name, cost
    return best""",
        """\
answer = lambda gaps: min(
    (None, "5m", "1h"),
    key=lambda ttl: len(gaps) + 1 if ttl is None else sum(
        {"5m": 1.25, "1h": 2}[ttl] if gap >= {"5m": 300, "1h": 3600}[ttl] else 0.05
        for gap in [10**9] + gaps
    ),
)""",
    ),
    wrong=(
        Wrong(
            """answer = lambda gaps: min(
    (None, "5m", "1h"),
    key=lambda ttl: len(gaps) + 1 if ttl is None else sum(
        {"5m": 1.25, "1h": 2}[ttl] if gap > {"5m": 300, "1h": 3600}[ttl] else 0.05
        for gap in [10**9] + gaps
    ),
)""",
            "after exactly",
        ),
        Wrong("def answer(gaps):\n    return '1h'", "5m hits as often"),
        Wrong("def answer(gaps):\n    return '5m'", "20 minutes later"),
        Wrong(
            """def answer(gaps):
    if not gaps or min(gaps) > 3600:
        return None
    return "5m" if max(gaps) < 300 else "1h\"""",
            "two uses do not pay",
        ),
        Wrong(
            """def answer(gaps):
    if not gaps:
        return None
    mean = sum(gaps) / len(gaps)
    return "5m" if mean < 300 else "1h" if mean < 3600 else None""",
            "two uses do not pay",
        ),
        Wrong(
            """def answer(gaps):
    def cost(limit, write):
        return sum(0.1 if gap < limit else write for gap in gaps)
    options = {None: len(gaps), "5m": cost(300, 1.25), "1h": cost(3600, 2)}
    return min(options, key=options.get)""",
            "two uses do not pay",
        ),
        Wrong(
            """def answer(gaps):
    def cost(limit, write):
        return write + sum(0 if gap < limit else write for gap in gaps)
    return min(("5m", "1h"), key=lambda t: cost(*((300, 1.25) if t == "5m" else (3600, 2))))""",
            "nothing is left the next day",
        ),
        Wrong("def answer(gaps):\n    return None", "5m hits as often"),
    ),
)

HANDBOOKS: Final = (
    "Green tea is steeped at 70 degrees for two minutes. " * 60,
    "Returns are taken within 30 days, unopened, with the bill. " * 60,
)
QUESTIONS: Final = (
    "How hot for green tea?",
    "May I return an open tin?",
    "Wie heiß, bitte?\nDanke",
)


def grade_request(answer: Any) -> Grade:
    """`answer(handbook, question)`: arguments whose cached prefix is the handbook alone."""
    for handbook in HANDBOOKS:
        client, stats = FakeAPI(clock=VirtualClock()).client(), []
        for question in QUESTIONS:
            request = answer(handbook, question)
            if not isinstance(request, Mapping):
                return not_yet(f"it returns {type(request).__name__}: return the keyword arguments")
            if handbook.strip() not in _texts(request):
                return not_yet("the handbook that was given is not in the request")
            if question not in _texts((request.get("messages") or [""])[-1]):
                return not_yet("the question is not in the last message")
            message = client.messages.create(**request)
            stats.append(CacheStats.from_usage(message.usage, message.model))
        grade = _read_again(stats, "handbook")
        if not grade.passed:
            return grade
    return SOLVED


REQUEST = Exercise(
    name="request",
    part=True,
    starter="""\
from patterns.core.models import SONNET

def answer(handbook, question):
    turn = {"role": "user", "content": f"{handbook}\\n\\n{question}"}
    return {"model": SONNET, "max_tokens": 1024, "messages": [turn]}""",
    solution="""\
from patterns.core.models import SONNET

def answer(handbook, question):
    mark = {"type": "ephemeral", "ttl": "5m"}
    system = [{"type": "text", "text": handbook, "cache_control": mark}]
    turn = {"role": "user", "content": question}
    return {"model": SONNET, "max_tokens": 1024, "system": system, "messages": [turn]}""",
    grade=grade_request,
    right=(
        """\
from patterns.core.models import HAIKU

def answer(handbook, question):
    return dict(
        model=HAIKU,
        max_tokens=500,
        system=[
            dict(type="text", text="Answer from the handbook."),
            dict(type="text", text=handbook, cache_control=dict(type="ephemeral", ttl="1h")),
        ],
        messages=[dict(role="user", content=[dict(type="text", text=question)])],
    )""",
        """\
from patterns.core.models import SONNET

def answer(handbook, question):
    blocks = [{"type": "text", "text": handbook, "cache_control": {"type": "ephemeral"}}]
    blocks.append({"type": "text", "text": question})
    request = {"model": SONNET, "max_tokens": 300}
    request["messages"] = [{"role": "user", "content": blocks}]
    return request""",
        """\
from patterns.caching.assistant import shared_prefix
from patterns.core.models import SONNET

def answer(handbook, question):
    system = shared_prefix("You answer for a tea shop.", {"Handbook": handbook}, "5m")
    messages = [{"role": "user", "content": question}]
    return {"model": SONNET, "max_tokens": 1024, "system": system, "messages": messages}""",
        """\
from patterns.core.models import OPUS

answer = lambda handbook, question: {
    "messages": [{"role": "user", "content": question}],
    "system": [{"cache_control": {"type": "ephemeral"}, "text": handbook, "type": "text"}],
    "max_tokens": 2048,
    "model": OPUS,
}""",
    ),
    wrong=(
        Wrong(
            """\
def answer(handbook, question):
    turn = {"role": "user", "content": question}
    known = {"model": "claude-sonnet-5-5", "max_tokens": 99}
    return {**known, "system": handbook, "messages": [turn]}""",
            "nothing is written",
        ),
        Wrong(
            """\
def answer(handbook, question):
    turn = {"role": "user", "content": question}
    auto = {"cache_control": {"type": "ephemeral"}}
    known = {"model": "claude-sonnet-5-5", "max_tokens": 99, "system": handbook, **auto}
    return {**known, "messages": [turn]}""",
            "still varies",
        ),
        Wrong(
            """\
def answer(handbook, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    block = {"type": "text", "text": handbook + question, **mark}
    turn = {"role": "user", "content": [block]}
    return {"model": "claude-sonnet-5-5", "max_tokens": 99, "messages": [turn]}""",
            "still varies",
        ),
        Wrong(
            """\
def answer(handbook, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    text = f"{handbook}\\nThe question is: {question}"
    system = [{"type": "text", "text": text, **mark}]
    turn = {"role": "user", "content": "Please answer."}
    known = {"model": "claude-sonnet-5-5", "max_tokens": 99}
    return {**known, "system": system, "messages": [turn]}""",
            "not in the last message",
        ),
        Wrong(
            """\
def answer(handbook, question):
    system = [{"type": "text", "text": handbook, "cache_control": {"type": "ephemeral"}}]
    turn = {"role": "user", "content": question}
    return {"model": "claude-sonnet-5-5", "system": system, "messages": [turn]}""",
            "TypeError",
        ),
        Wrong(
            """\
def answer(handbook, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": handbook[:800], **mark}]
    turn = {"role": "user", "content": question}
    known = {"model": "claude-sonnet-5-5", "max_tokens": 99}
    return {**known, "system": system, "messages": [turn]}""",
            "handbook that was given is not",
        ),
        Wrong(
            """\
def answer(handbook, question):
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": handbook, **mark}]
    turn = {"role": "user", "content": [{"type": "text", "text": question, **mark}]}
    known = {"model": "claude-sonnet-5-5", "max_tokens": 99}
    return {**known, "system": system, "messages": [turn]}""",
            "a breakpoint behind it",
        ),
    ),
)

EXERCISES: Final = (RESCUE, LIFETIME, REQUEST)
check = Checker(EXERCISES)
