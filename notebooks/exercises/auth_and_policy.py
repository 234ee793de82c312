"""Exercises of chapter 01: the desk's rules, a detector for badges, a bucket that settles."""

import itertools
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet
from patterns.core.models import FABLE, HAIKU, OPUS, SONNET
from patterns.policy.authorization import Action, Rule, by_rules
from patterns.policy.identifiers import Match
from patterns.policy.identity import Principal

CREATE: Final = "messages.create"
BATCHES: Final = tuple(
    f"messages.batches.{name}"
    for name in ("create", "retrieve", "results", "list", "cancel", "delete")
)
OTHERS: Final = ("messages.count_tokens", "GET /v1/models", "POST /v1/agents")
MAY: Final = {
    "customer": ((CREATE,), (HAIKU, SONNET), 1024),
    "staff": ((CREATE, *BATCHES), (HAIKU, SONNET, OPUS), 8192),
}
"""By role: actions, models, most tokens. Nobody else may anything, and nobody may offer tools."""


def _against(role: str, action: Action) -> str:
    """What stands against an action by the text of the exercise; empty where it is allowed."""
    if role not in MAY:
        return "nobody but customers and staff may do anything: name the role"
    actions, models, most = MAY[role]
    if action.name not in actions:
        return f"{action.name} is not theirs: look at the pattern of the action"
    if other := [model for model in action.models if model not in models]:
        return f"{other[0]} is not theirs: look at the pattern of the model"
    if action.max_tokens is not None and action.max_tokens > most:
        return f"more than {most} tokens: set max_tokens"
    if action.tools:
        return "nobody may offer tools: leave tools out"
    return "fast costs more, and was not asked for" if action.settings else ""


def _actions() -> list[Action]:
    names = (CREATE, "messages.batches.create", "messages.count_tokens")
    models = ((HAIKU,), (SONNET,), (OPUS,), (FABLE,), (HAIKU, FABLE))
    sizes = (1, 1024, 1025, 8192, 8193)
    extras: tuple[dict[str, Any], ...] = (
        {},
        {"tools": ("search",)},
        {"settings": {"speed": "fast"}},
    )
    bodies = [
        Action(name, which, size, **extra)
        for extra, name, which, size in itertools.product(extras, names, models, sizes)
    ]
    return [*bodies, *(Action(name) for name in (*BATCHES[1:], *OTHERS[1:]))]


def _grade_rules(rules: Any) -> Grade:
    """For `rules()`: the desk's list of rules."""
    if not callable(rules):
        return not_yet("give a function: called without arguments, it returns the list of rules")
    given = list(rules())
    if not all(isinstance(each, Rule) for each in given):
        return not_yet(f"it returns {given[:1]!r} and so on; return a list of Rule(...)")
    decide = by_rules(*given)
    for role, action in itertools.product((*MAY, "guest"), _actions()):
        against = _against(role, action)
        decision = decide(Principal("p", frozenset({role})), action)
        if decision.allowed is not (against == ""):
            asked = f"{role}: {action.name} {', '.join(action.models)} {action.max_tokens or ''}"
            asked = " ".join((asked + " " + ", ".join(action.tools)).split())
            if against:
                return not_yet(f"[{asked}] got through; {against}")
            return not_yet(f"[{asked}] must be allowed, and is not: {decision.reason}")
    return SOLVED


RULES: Final = Exercise(
    name="rules",
    starter="""\
from patterns.policy import Rule

def answer():
    return [Rule("customer"), Rule("staff")]""",
    solution="""\
from patterns.policy import Rule

def answer():
    rules = []
    for family in ("haiku", "sonnet", "opus"):
        model = f"claude-{family}-*"
        if family != "opus":
            rules.append(Rule("customer", model=model, max_tokens=1024))
        rules.append(Rule("staff", model=model, max_tokens=8192))
        rules.append(Rule("staff", "messages.batches.*", model, 8192))
    return rules""",
    grade=_grade_rules,
    part=True,
    right=(
        """\
from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.policy import Rule

def answer():
    customers = [Rule("customer", model=each, max_tokens=1024) for each in (HAIKU, SONNET)]
    staff = [
        Rule("staff", action=action, model=each, max_tokens=8192)
        for action in ("messages.create", "messages.batches.*")
        for each in (HAIKU, SONNET, OPUS)
    ]
    return customers + staff""",
        """\
from patterns.policy import Rule
answer = lambda: [
    Rule("customer", model="claude-[hs]*", max_tokens=1_024),
    Rule("staff", model="claude-[hso]*", max_tokens=8_192),
    Rule("staff", action="messages.batches.*", model="claude-[hso]*", max_tokens=8_192),
]""",
        """\
from itertools import product
from patterns.policy.authorization import Rule

KINDS = ["create"] + ["batches." + x for x in
         ("create", "retrieve", "results", "list", "cancel", "delete")]

def answer():
    for m in ("haiku", "sonnet"):
        yield Rule("customer", "messages.create", f"claude-{m}-*", 1024)
    yield from (
        Rule("staff", f"messages.{kind}", f"claude-{m}-*", 8192)
        for kind, m in product(KINDS, ("haiku", "sonnet", "opus"))
    )""",
        """\
from dataclasses import replace
from patterns.policy import Rule

class Desk:
    def __call__(self):
        base = Rule("customer", model="claude-haiku*", max_tokens=1024)
        plain = [base, replace(base, model="claude-sonnet*")]
        own = [replace(r, role="staff", max_tokens=8192) for r in plain]
        own.append(replace(own[0], model="claude-opus*"))
        return tuple(plain + own + [replace(r, action="messages.batches*") for r in own])

answer = Desk()""",
    ),
    wrong=(
        Wrong(
            """\
from patterns.policy import Rule
answer = [Rule("customer", model="claude-haiku-*", max_tokens=1024)]""",
            "give a function",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    return [Rule("customer", model="claude-*", max_tokens=1024),
            Rule("staff", model="claude-*", max_tokens=8192)]""",
            "is not theirs: look at the pattern of the model",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    cheap = [Rule("customer", model=m) for m in ("claude-haiku-*", "claude-sonnet-*")]
    return cheap + [Rule("staff", "messages.batches.*", "claude-opus-*", 8192)]""",
            "more than 1024 tokens",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    models = ("claude-haiku-*", "claude-sonnet-*")
    return [*(Rule("customer", model=m, max_tokens=1024) for m in models),
            Rule("staff", model="claude-opus-*", max_tokens=8192)]""",
            "claude-haiku-5-5 1] must be allowed",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    models = ("claude-haiku-*", "claude-sonnet-*", "claude-opus-*")
    return [*(Rule("customer", model=m, max_tokens=1024) for m in models[:2]),
            *(Rule("staff", "messages.*", m, 8192) for m in models)]""",
            "messages.count_tokens is not theirs",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    models = ("claude-haiku-*", "claude-sonnet-*", "claude-opus-*")
    return [*(Rule("customer", model=m, max_tokens=1024) for m in models[:2]),
            *(Rule("staff", model=m, max_tokens=8192) for m in models),
            *(Rule("staff", "messages.batches.create", m, 8192) for m in models)]""",
            "messages.batches.retrieve] must be allowed",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    models = ("claude-haiku-*", "claude-sonnet-*", "claude-opus-*")
    return [*(Rule("customer", model=m, max_tokens=1024, tools="*") for m in models[:2]),
            *(Rule("staff", model=m, max_tokens=8192) for m in models),
            *(Rule("staff", "messages.batches.*", m, 8192) for m in models)]""",
            "nobody may offer tools",
        ),
        Wrong(
            """\
from patterns.policy import Rule
def answer():
    models = ("claude-haiku-*", "claude-sonnet-*", "claude-opus-*")
    return [*(Rule("*", model=m, max_tokens=1024) for m in models[:2])]""",
            "no rule allows",
        ),
        Wrong(
            """\
def answer():
    return [("customer", "claude-haiku-*", 1024)]""",
            "return a list of Rule",
        ),
    ),
)

TEXTS: Final = (
    ("Badge KW-12340 was lost.", "1+2+3+4 is 10 and ends in 0: that is a badge"),
    ("KW-12340 and KW-98760, KW-00000", "there may be more than one"),
    ("Part KW-12345 is in stock.", "the check digit is wrong: compute it"),
    ("KW-91230", "9+1+2+3 is 15: the last digit would have to be 5"),
    (
        "XKW-12340 KW-123400 KW-12340b",
        "a badge inside a longer code is none: look at its neighbours",
    ),
    ("工牌KW-12340请", "a badge between Chinese letters: for a \\b or a \\w these are letters too"),
    ("_KW-12340_ (KW-98760)", "an underscore is neither a letter nor a digit"),
    ("kw-12340 Kw-12340", "K and W are capitals"),
    (
        "KW-\u0661\u0662\u0663\u0664\u0660",
        "only 0 to 9: a \\d also finds the digits of other scripts",
    ),
)


def _badges(text: str) -> list[tuple[int, int]]:
    """Where the badges are, letter by letter."""
    found = []
    for at in range(len(text) - 7):
        digits = [ord(each) - 48 for each in text[at + 3 : at + 8]]
        beside = text[max(0, at - 1) : at] + text[at + 8 : at + 9]
        whole = text[at : at + 3] == "KW-" and all(0 <= each <= 9 for each in digits)
        alone = not any(each.isascii() and each.isalnum() for each in beside)
        if whole and alone and sum(digits[:4]) % 10 == digits[4]:
            found.append((at, at + 8))
    return found


def _generated(random: Random) -> str:
    """A text that is full of badges and of what looks like one."""
    pieces = []
    for _ in range(random.randint(1, 4)):
        digits = [random.randint(0, 9) for _ in range(4)]
        last = sum(digits) % 10 if random.random() < 0.7 else random.randint(0, 9)
        pieces += ["KW-", *map(str, digits), str(last), random.choice(" ,;.7xK工_-")]
    return "".join(pieces)


def _grade_badges(badges: Any) -> Grade:
    """For `badges(text)`: the badges as a list of `Match`."""
    random = Random(1)
    cases = [*TEXTS, *((_generated(random), "compare each by hand") for _ in range(300))]
    for text, hint in cases:
        found = list(badges(text))
        if not all(isinstance(one, Match) for one in found):
            return not_yet(f"it returns {found[:1]!r}; return a list of Match(start, end, type)")
        spans = sorted((one.start, one.end) for one in found)
        if spans != (right := _badges(text)):
            seen, wanted = ([text[a:b] for a, b in each] for each in (spans, right))
            return not_yet(f"in {text!r} it finds {seen}, not {wanted}: {hint}")
    return SOLVED


BADGES: Final = Exercise(
    name="badges",
    starter="""\
import re

from patterns.policy.identifiers import Match

def answer(text):
    return [Match(*found.span(), "badge") for found in re.finditer(r"KW-\\d{5}", text)]""",
    solution="""\
import re

from patterns.policy.identifiers import Match

BADGE = re.compile(r"(?<![0-9A-Za-z])KW-([0-9]{4})([0-9])(?![0-9A-Za-z])")

def answer(text):
    badges = (one for one in BADGE.finditer(text) if sum(map(int, one[1])) % 10 == int(one[2]))
    return [Match(*one.span(), "badge") for one in badges]""",
    grade=_grade_badges,
    right=(
        """\
import re
from patterns.policy.identifiers import Match

def answer(text):
    out = []
    plain = text.replace("_", " ")  # an underscore is a letter to \\b
    for m in re.finditer(r"\\bKW-\\d{5}\\b", plain, re.ASCII):
        digits = [int(c) for c in m.group()[3:]]
        if sum(digits[:-1]) % 10 == digits[-1]:
            out.append(Match(start=m.start(), end=m.end(), type="badge"))
    return out""",
        """\
from patterns.policy.identifiers import Match
from string import ascii_letters, digits as D

def answer(text):
    result = []
    position = text.find("KW-")
    while position != -1:
        number = text[position + 3 : position + 8]
        before = text[position - 1] if position else " "
        after = (text + " ")[position + 8 : position + 9]
        if len(number) == 5 and all(c in D for c in number):
            a, b, c, d, e = map(int, number)
            alone = not {before, after} & set(ascii_letters + D)
            if (a + b + c + d) % 10 == e and alone:
                result.append(Match(position, position + 8, "badge"))
        position = text.find("KW-", position + 1)
    return result""",
        """\
import re
from patterns.policy.identifiers import Match
valid = lambda n: str(sum(map(int, n[:4])))[-1] == n[4]
answer = lambda text: (
    Match(m.start(1), m.end(1), "employee")
    for m in re.finditer(r"(?:^|(?<=[^a-zA-Z0-9]))(KW-([0-9]{5}))(?=[^a-zA-Z0-9]|$)", text)
    if valid(m[2])
)""",
        """\
import re
from patterns.policy.identifiers import Match

def answer(text):
    matches = []
    offset = 0
    for token in re.split(r"([^A-Za-z0-9-])", text):
        for m in re.finditer("KW-[0-9]{5}", token):
            s, e = m.span()
            left, right = token[:s][-1:], token[e:][:1]
            digits = list(map(int, token[s + 3 : e]))
            ok = digits.pop() == sum(digits[:4]) % 10
            if ok and left in ("", "-") and right in ("", "-"):
                matches.append(Match(offset + s, offset + e, "badge"))
        offset += len(token)
    return matches[::-1]""",
    ),
    wrong=(
        Wrong("def answer(text):\n    return [text]", "return a list of Match"),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(r"\\bKW-[0-9]{5}\\b", text)]""",
            "check digit is wrong",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(r"KW-([0-9]{4})([0-9])", text)
            if sum(map(int, m[1])) % 10 == int(m[2])]""",
            "longer code",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(r"\\bKW-([0-9]{4})([0-9])\\b", text)
            if sum(map(int, m[1])) % 10 == int(m[2])]""",
            "Chinese",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(r"\\bKW-(\\d{4})(\\d)\\b", text, re.A)
            if sum(map(int, m[1])) % 10 == int(m[2])]""",
            "underscore",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
RULE = r"(?<![0-9A-Za-z])KW-(\\d{4})(\\d)(?![0-9A-Za-z])"
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(RULE, text)
            if sum(map(int, m[1])) % 10 == int(m[2])]""",
            "other scripts",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
RULE = r"(?<![0-9A-Za-z])KW-([0-9]{4})([0-9])(?![0-9A-Za-z])"
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(RULE, text, re.I)
            if sum(map(int, m[1])) % 10 == int(m[2])]""",
            "capitals",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
def answer(text):
    m = re.search(r"(?<![0-9A-Za-z])KW-([0-9]{4})([0-9])(?![0-9A-Za-z])", text)
    return [Match(*m.span(), "badge")] if m and sum(map(int, m[1])) % 10 == int(m[2]) else []""",
            "more than one",
        ),
        Wrong(
            """\
import re
from patterns.policy.identifiers import Match
RULE = r"(?<![0-9A-Za-z])KW-([0-9]{4})([0-9])(?![0-9A-Za-z])"
def answer(text):
    return [Match(*m.span(), "badge") for m in re.finditer(RULE, text)
            if sum(map(int, m[1])) == int(m[2])]""",
            "ends in 0",
        ),
    ),
)

Calls = Sequence[tuple[int, int, int, int]]
TRAFFIC: Final[tuple[tuple[Calls, int, int, str], ...]] = (
    ([(0, 4, 4, 1)], 4, 1, "a call may take the last token"),
    ([(0, 4, 4, 1), (4, 4, 4, 1)], 4, 1, "the bucket refills between calls"),
    ([(50, 4, 4, 1), (50, 1, 1, 1)], 4, 1, "the refill stops at the capacity"),
    (
        [(0, 8, 2, 2), (2, 8, 2, 2)],
        8,
        1,
        "what a call did not use comes back at its end, and first",
    ),
    ([(0, 8, 2, 5), (2, 5, 5, 1)], 8, 1, "nothing comes back before the call ends"),
    ([(0, 8, 6, 1), (1, 8, 8, 1)], 8, 1, "what was used does not come back"),
    ([(0, 6, 6, 9), (0, 6, 6, 9), (1, 3, 3, 9)], 8, 1, "a call that is turned away takes nothing"),
    ([(0, 6, 6, 1), (0, 6, 0, 1), (1, 4, 4, 9)], 8, 1, "what was turned away gives nothing back"),
    (
        [(0, 4, 0, 9), (9, 8, 8, 9), (9, 1, 1, 9)],
        8,
        1,
        "what comes back also stops at the capacity",
    ),
)
"""Calls, capacity, refill a second, and what is easily missed."""


def _admitted(calls: Calls, capacity: int, per_second: int) -> list[bool]:
    """Second by second."""
    level, ends, admitted = capacity, dict[int, int](), []
    waiting = list(calls)
    for second in range(max(call[0] for call in calls) + 1):
        level = min(capacity, level + (per_second if second else 0) + ends.pop(second, 0))
        while waiting and waiting[0][0] == second:
            _, reserved, used, takes = waiting.pop(0)
            admitted.append(level >= reserved)
            if admitted[-1]:
                level -= reserved
                ends[second + takes] = ends.get(second + takes, 0) + reserved - used
    return admitted


def _traffic(random: Random) -> tuple[Calls, int, int, str]:
    seconds = sorted(random.randint(0, 30) for _ in range(random.randint(1, 15)))
    calls = []
    for second in seconds:
        reserved = random.randint(1, 12)
        calls.append((second, reserved, random.randint(0, reserved), random.randint(1, 8)))
    return calls, random.randint(6, 20), random.randint(1, 3), "follow the level by hand"


def _grade_bucket(bucket: Any) -> Grade:
    """For `bucket(calls, capacity, per_second)`: which calls are admitted."""
    random = Random(1)
    for calls, capacity, each, hint in (*TRAFFIC, *(_traffic(random) for _ in range(300))):
        given = bucket(list(calls), capacity, each)
        if given is None:
            return not_yet("it returns None; return a list with True or False for each call")
        given, right = [bool(one) for one in given], _admitted(calls, capacity, each)
        if given != right:
            asked = f"calls={calls}, capacity={capacity}, per_second={each}"
            return not_yet(f"{asked} gives {given}, not {right}: {hint}")
    return SOLVED


BUCKET: Final = Exercise(
    name="bucket",
    starter="""\
def answer(calls, capacity, per_second):
    level, admitted = capacity, []
    for call in calls:
        reserved = call[1]
        admitted.append(level >= reserved)
        level -= reserved
    return admitted""",
    solution="""\
def answer(calls, capacity, per_second):
    level, clock, back, admitted = capacity, 0, [], []
    for second, reserved, used, takes in calls:
        due = sorted(each for each in back if each[0] <= second)
        back = [each for each in back if each[0] > second]
        for at, tokens in [*due, (second, 0)]:
            level = min(capacity, level + (at - clock) * per_second + tokens)
            clock = at
        admitted.append(level >= reserved)
        if admitted[-1]:
            level -= reserved
            back.append((second + takes, reserved - used))
    return admitted""",
    grade=_grade_bucket,
    right=(
        """\
import heapq

def answer(calls, capacity, per_second):
    events = [(t, 1, i) for i, (t, *_) in enumerate(calls)]
    heapq.heapify(events)
    level, last, result = capacity, 0, [False] * len(calls)
    while events:
        t, kind, i = heapq.heappop(events)
        level = min(level + per_second * (t - last), capacity)
        last = t
        _, reserved, used, takes = calls[i]
        if kind == 0:
            level = min(level + reserved - used, capacity)
        elif level >= reserved:
            level -= reserved
            result[i] = True
            heapq.heappush(events, (t + takes, 0, i))
    return result""",
        """\
class Bucket:
    def __init__(self, size, rate):
        self.size, self.rate, self.level, self.time = size, rate, float(size), 0

    def to(self, time):
        self.level = min(self.size, self.level + self.rate * (time - self.time))
        self.time = time

    def put(self, amount):
        self.level = min(self.size, self.level + amount)

def answer(calls, capacity, per_second):
    bucket = Bucket(capacity, per_second)
    pending = []
    out = []
    for start, reserve, used, duration in calls:
        pending.sort()
        while pending and pending[0][0] <= start:
            end, rest = pending.pop(0)
            bucket.to(end)
            bucket.put(rest)
        bucket.to(start)
        ok = bucket.level >= reserve
        if ok:
            bucket.level -= reserve
            pending.append((start + duration, reserve - used))
        out.append(ok)
    return tuple(out)""",
        """\
def answer(calls, capacity, per_second):
    level, when, ends, seen = capacity, 0, [], []
    for second, reserved, used, takes in calls:
        for end, spare in sorted(e for e in ends if e[0] <= second):
            level = min(capacity, level + (end - when) * per_second)
            level = min(capacity, level + spare)
            when = end
        ends = [e for e in ends if e[0] > second]
        level = min(capacity, level + (second - when) * per_second)
        when = second
        if reserved <= level:
            level -= reserved
            ends.append((second + takes, reserved - used))
            seen.append(True)
        else:
            seen.append(False)
    return seen""",
        """\
from collections import defaultdict

def answer(calls, capacity, per_second):
    by_second = defaultdict(list)
    for call in calls:
        by_second[call[0]].append(call[1:])
    refund = defaultdict(int)
    level = capacity
    for t in range(max(by_second) + 1):
        if t > 0:
            level += per_second
        level = min(capacity, level + refund[t])
        for reserved, used, takes in by_second[t]:
            if ok := reserved <= level:
                level -= reserved
                refund[t + takes] += reserved - used
            yield ok""",
    ),
    wrong=(
        Wrong("def answer(calls, capacity, per_second):\n    pass", "returns None"),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, out = capacity, []
    for second, reserved, used, takes in calls:
        ok = level > reserved
        level -= reserved if ok else 0
        out.append(ok)
    return out""",
            "last token",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, out = capacity, []
    for second, reserved, used, takes in calls:
        ok = level >= reserved
        level -= used if ok else 0
        out.append(ok)
    return out""",
            "refills",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    taken, out = 0, []
    for second, reserved, used, takes in calls:
        ok = capacity + second * per_second - taken >= reserved
        taken += reserved if ok else 0
        out.append(ok)
    return out""",
            "refill stops at the capacity",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, now, out = capacity, 0, []
    for second, reserved, used, takes in calls:
        level, now = min(capacity, level + (second - now) * per_second), second
        out.append(level >= reserved)
        level -= reserved if out[-1] else 0
    return out""",
            "comes back at its end",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, now, out = capacity, 0, []
    for second, reserved, used, takes in calls:
        level, now = min(capacity, level + (second - now) * per_second), second
        out.append(level >= reserved)
        level -= used if out[-1] else 0
    return out""",
            "before the call ends",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, now, back, out = capacity, 0, [], []
    for second, reserved, used, takes in calls:
        level += (second - now) * per_second + sum(n for t, n in back if t <= second)
        level, now = min(level, capacity), second
        back = [each for each in back if each[0] > second]
        out.append(level >= reserved)
        if out[-1]:
            level -= reserved
            back.append((second + takes, reserved))
    return out""",
            "what was used does not come back",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, now, back, out = capacity, 0, [], []
    for second, reserved, used, takes in calls:
        level += (second - now) * per_second + sum(n for t, n in back if t <= second)
        level, now = min(level, capacity), second
        back = [each for each in back if each[0] > second]
        out.append(level >= reserved)
        level -= reserved
        back.append((second + takes, reserved - used))
    return out""",
            "turned away takes nothing",
        ),
        Wrong(
            """\
def answer(calls, capacity, per_second):
    level, now, back, out = capacity, 0, [], []
    for second, reserved, used, takes in calls:
        level, now = min(level + (second - now) * per_second, capacity), second
        level += sum(n for t, n in back if t <= second)
        back = [each for each in back if each[0] > second]
        out.append(level >= reserved)
        if out[-1]:
            level -= reserved
            back.append((second + takes, reserved - used))
    return out""",
            "also stops at the capacity",
        ),
    ),
)

EXERCISES: Final = (RULES, BADGES, BUCKET)
check: Final = Checker(EXERCISES)
