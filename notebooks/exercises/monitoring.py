"""Exercises of chapter 04: add a sink, label the desk's calls, test an alert."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from anthropic import BadRequestError

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet
from patterns.core.models import SONNET
from patterns.fake_api import Error, FakeAPI, Reply
from patterns.monitoring.calls import CallMonitor, call_context
from patterns.monitoring.outcomes import Outcome
from patterns.monitoring.sink import Sink
from patterns.monitoring.slo import burn_rate

FEATURES: Final = ("answer", "triage", "hard", "backlog")
TALK: Final = (
    ("answer", Reply("Half an ans", stop_reason="max_tokens")),
    ("answer", Reply("All of it.")),
    ("triage", Reply("Half an ans", stop_reason="max_tokens")),
    ("triage", Reply(refusal="bio")),
    ("answer", Reply("Half an ans", stop_reason="max_tokens")),
    ("hard", Error(400)),
    ("holiday", Reply("Half an ans", stop_reason="max_tokens")),
)
"""Calls of a sink's trial: the feature that was said, and what the API does."""
CUT: Final = {"answer": 2, "triage": 1, "other": 1}
Counts = Mapping[Outcome, int]
Alert = Callable[[Counts, Counts], bool]


# ── 1  A sink ─────────────────────────────────────────────────────────────────────────────────


def grade_sink(answer: Any) -> Grade:
    """`answer` is a Sink class whose `cut` counts truncated answers by feature."""
    if not (isinstance(answer, type) and issubclass(answer, Sink)):
        return not_yet("answer is a class, and it inherits from Sink")
    sink, other = answer(), answer()
    monitor, api = CallMonitor(sink, other, features=set(FEATURES)), FakeAPI()
    client = api.client(**monitor.client_options(), max_retries=0)
    turns: Any = [{"role": "user", "content": "Hello"}]
    for feature, reply in TALK:
        api.enqueue(reply)
        with call_context(feature=feature), suppress(BadRequestError):
            client.messages.create(model=SONNET, max_tokens=50, messages=turns)
    if monitor.sink_errors:
        return not_yet("the sink raised: the call was unharmed, but nothing was counted")
    return _grade_of_cut(getattr(sink, "cut", None))


def _grade_of_cut(cut: Any) -> Grade:
    if not isinstance(cut, Mapping):
        return not_yet(f"cut is {cut!r}; it is a Counter or a dict, by feature")
    counted = {feature: number for feature, number in cut.items() if number}
    if counted == CUT:
        return SOLVED
    if sum(counted.values()) > sum(CUT.values()):
        return not_yet(f"cut is {counted}: it counts more than the cut answers, see record.outcome")
    return not_yet(f"cut is {counted}, and four answers of three features were cut")


# ── 2  Labels for the desk ────────────────────────────────────────────────────────────────────

TICKETS: Final = (
    {"id": "T-17", "customer": "c-204", "text": "Where is my oolong?"},
    {"id": "T-18", "customer": "c-9", "text": "answer"},
    {"id": "T-19", "customer": "c-31", "text": "My mail is ada@example.com."},
)
SAID: Final = (
    *FEATURES,
    "other",
    "holiday",
    "Answer",
    "",
    "answer ",
    "T-17",
    "back",
    "hard,triage",
)


def grade_labels(answer: Any) -> Grade:
    """`answer(ticket, feature)` gives labels that stay few and say nothing of the text."""
    for ticket in TICKETS:
        for feature in SAID:
            found = answer(given := dict(ticket), feature)
            if given != ticket:
                return not_yet("the ticket has changed; whoever comes next needs all of it")
            if lack := _lack_of_labels(found, ticket, feature):
                return not_yet(f"{lack} (for {feature!r})")
            with call_context(**found):
                pass
    return SOLVED


def _lack_of_labels(found: Any, ticket: Mapping[str, str], feature: str) -> str:
    if not isinstance(found, Mapping):
        return f"it gives {type(found).__name__}; give a dict for call_context(**…)"
    values = {str(each) for each in found.values()}
    if ticket["text"] in values - {found.get("feature")}:
        return "the text of the ticket is among the labels"
    if set(found) != {"feature", "user"}:
        return f"its keys are {sorted(found)}; call_context takes feature and user"
    if found["user"] != ticket["customer"]:
        return f"the user is {found['user']!r}, not the customer {ticket['customer']}"
    wanted = feature if feature in FEATURES else "other"
    if found["feature"] != wanted:
        return f"the feature is {found['feature']!r}, not {wanted!r}"
    return ""


# ── 3  Tests for an alert ─────────────────────────────────────────────────────────────────────


def pages(long: Counts, short: Counts, *, rate: float = 14.4, calls: int = 20) -> bool:
    """The alert under test: both windows burn faster than 14.4, and there were 20 calls."""
    slow = burn_rate(long, objective=0.99, minimum_calls=calls)
    now = burn_rate(short, objective=0.99)
    return slow is not None and now is not None and slow > rate and now > rate


def _naive(long: Counts, short: Counts) -> bool:
    """Counts everything that is not ok as a failure."""
    bad = {"ok": "ok"}
    renamed = [sum(n for o, n in counts.items() if o not in bad) for counts in (long, short)]
    return (
        all(
            n / max(1, sum(counts.values())) > 0.144
            for n, counts in zip(renamed, (long, short), strict=True)
        )
        and sum(long.values()) >= 20
    )


MUTANTS: Final[Mapping[str, Alert]] = {
    "an alert that pages at a burn rate of 6": lambda a, b: pages(a, b, rate=6),
    "an alert that never pages": lambda a, b: False,
    "an alert that ignores the short window": lambda a, b: pages(a, a),
    "an alert that pages for one failure at night": lambda a, b: pages(a, b, calls=1),
    "an alert that takes our own abandoned calls for failures": _naive,
}


def grade_cases(answer: Any) -> Grade:
    """`answer` is a list of (long, short, pages) that holds for the alert and for no mutant."""
    cases: Sequence[tuple[Counts, Counts, bool]] = list(answer)
    for long, short, expected in cases:
        if pages(long, short) != expected:
            said = "pages" if not expected else "does not page"
            return not_yet(f"for {dict(long)} and {dict(short)} the alert {said}, and is right")
    for name, mutant in MUTANTS.items():
        if all(mutant(long, short) == expected for long, short, expected in cases):
            return not_yet(f"{name} passes all of your cases")
    return SOLVED


SINK: Final = """\
from collections import Counter

from patterns.monitoring.sink import Sink


class CutAnswers(Sink):
    def __init__(self):
        self.cut = Counter()
"""
BAD: Final = 'bad_hour = {"ok": 80, "overloaded": 20}\n'


def _sink(method: str, more: str = "") -> str:
    return f"{SINK}\n{method}\n{more}\nanswer = CutAnswers"


def _labels(body: str) -> str:
    return f"def labels(ticket, feature):\n    {body}\nanswer = labels"


EXERCISES: Final = (
    Exercise(
        name="sink",
        starter=f"{SINK}\n\nanswer = CutAnswers",
        solution=f"""\
{SINK}
    def finished(self, record):
        self.cut[record.feature] += record.outcome == "truncated"


answer = CutAnswers""",
        grade=grade_sink,
        right=(
            _sink("""\
    def finished(self, record):
        if record.stop_reason == "max_tokens":
            self.cut.update([record.feature])"""),
            """\
from patterns.monitoring.sink import Sink
class answer(Sink):
    def __init__(self):
        self.cut = {}
    def finished(self, record):
        if record.outcome == "truncated":
            self.cut[record.feature] = self.cut.get(record.feature, 0) + 1""",
            """\
from collections import defaultdict
from patterns.monitoring.sink import Sink
class Cuts(Sink):
    def __init__(self, limit=None):
        self.cut = defaultdict(int)
    def finished(self, record):
        match record.outcome:
            case "truncated":
                self.cut[record.feature] += 1
answer = Cuts""",
            """\
from collections import Counter
from patterns.monitoring.sink import Memory
class Cuts(Memory):
    @property
    def cut(self):
        return Counter(r.feature for r in self.records if r.outcome == "truncated")
answer = Cuts""",
        ),
        wrong=(
            Wrong(
                _sink("    def finished(self, record):\n        self.cut[record.feature] += 1"),
                "record.outcome",
            ),
            Wrong(
                _sink(
                    "    def finished(self, record):\n"
                    "        self.cut[record.feature] += record.outcome != 'ok'"
                ),
                "more than the cut answers",
            ),
            Wrong(
                _sink("    def finished(self, record):\n        self.cut[record.name] += 1"),
                "the sink raised",
            ),
            Wrong(
                _sink(
                    "    def finished(self, record):\n"
                    "        self.cut['all'] += record.outcome == 'truncated'"
                ),
                "three features",
            ),
            Wrong(
                _sink(
                    "    def finished(self, record):\n"
                    "        self.cut = record.outcome == 'truncated'"
                ),
                "a Counter or a dict",
            ),
            Wrong(
                _sink("    def finish(self, record):\n        self.cut[record.feature] += 1"),
                "cut is {}",
            ),
            Wrong("answer = lambda record: record.outcome", "inherits from Sink"),
            Wrong(
                "from patterns.monitoring.sink import Sink\n"
                "class answer(Sink):\n"
                "    from collections import Counter\n"
                "    cut = Counter()\n"
                "    def finished(self, record):\n"
                "        self.cut[record.feature] += record.outcome == 'truncated'",
                "more than the cut answers",
            ),
        ),
    ),
    Exercise(
        name="labels",
        part=True,
        starter="""\
def labels(ticket, feature):
    return {"feature": feature, "user": ticket["customer"], "text": ticket["text"]}


answer = labels""",
        solution="""\
FEATURES = {"answer", "triage", "hard", "backlog"}


def labels(ticket, feature):
    return {"feature": feature if feature in FEATURES else "other", "user": ticket["customer"]}


answer = labels""",
        grade=grade_labels,
        right=(
            """\
from typing import Literal, get_args
Feature = Literal["answer", "triage", "hard", "backlog"]
def labels(ticket: dict[str, str], feature: str) -> dict[str, str]:
    if feature not in get_args(Feature):
        feature = "other"
    return dict(feature=feature, user=ticket["customer"])
answer = labels""",
            """\
KNOWN = {name: name for name in "answer triage hard backlog".split()}
answer = lambda ticket, feature: {
    "user": ticket.get("customer"), "feature": KNOWN.get(feature, "other")
}""",
            """\
def labels(ticket, feature):
    match feature:
        case "answer" | "triage" | "hard" | "backlog":
            return {"feature": feature, "user": ticket["customer"]}
        case _:
            return {"feature": "other", "user": ticket["customer"]}
answer = labels""",
            """\
from enum import StrEnum
class Feature(StrEnum):
    ANSWER = "answer"
    TRIAGE = "triage"
    HARD = "hard"
    BACKLOG = "backlog"
    OTHER = "other"
    @classmethod
    def _missing_(cls, value):
        return cls.OTHER
def labels(ticket, feature):
    return {"feature": str(Feature(feature)), "user": ticket["customer"]}
answer = labels""",
        ),
        wrong=(
            Wrong(
                _labels(
                    "ticket.pop('text')\n    known = {'answer', 'triage', 'hard', 'backlog'}\n"
                    "    return {'feature': feature if feature in known else 'other',"
                    " 'user': ticket['customer']}"
                ),
                "the ticket has changed",
            ),
            Wrong(
                _labels("return {'feature': feature, 'user': ticket['customer']}"), "not 'other'"
            ),
            Wrong(
                _labels("return {'feature': feature, 'user': ticket['text']}"),
                "the text of the ticket",
            ),
            Wrong(
                _labels("return {'feature': 'other', 'user': ticket['customer']}"), "not 'answer'"
            ),
            Wrong(_labels("return {'feature': feature, 'user': ticket['id']}"), "not the customer"),
            Wrong(_labels("return {'feature': feature}"), "call_context takes"),
            Wrong(_labels("return feature, ticket['customer']"), "give a dict"),
            Wrong(
                _labels(
                    "known = 'answer triage hard backlog'\n"
                    "    feature = feature if feature in known else 'other'\n"
                    "    return {'feature': feature, 'user': ticket['customer']}"
                ),
                "not 'other'",
            ),
            Wrong(
                _labels(
                    "feature = feature.strip().lower()\n"
                    "    known = {'answer', 'triage', 'hard', 'backlog'}\n"
                    "    feature = feature if feature in known else 'other'\n"
                    "    return {'feature': feature, 'user': ticket['customer']}"
                ),
                "not 'other'",
            ),
            Wrong(
                _labels("return {'feature': feature, 'user': hash(ticket['customer'])}"),
                "not the customer",
            ),
        ),
    ),
    Exercise(
        name="cases",
        starter="""\
bad_hour = {"ok": 80, "overloaded": 20}
answer = [(bad_hour, bad_hour, True), ({"ok": 100}, {"ok": 8}, False)]""",
        solution="""\
bad_hour = {"ok": 80, "overloaded": 20}
answer = [
    (bad_hour, bad_hour, True),
    ({"ok": 90, "timeout": 10}, {"ok": 9, "timeout": 1}, False),
    (bad_hour, {"ok": 8}, False),
    ({"ok": 2, "timeout": 2}, {"timeout": 1}, False),
    ({"ok": 80, "abandoned": 20}, {"ok": 8, "abandoned": 2}, False),
]""",
        grade=grade_cases,
        right=(
            """\
hour = lambda bad, n=100, kind="timeout": {"ok": n - bad, kind: bad}
answer = (
    (hour(30), hour(3, 10), True), (hour(12), hour(12), False), (hour(30), hour(0), False),
    (hour(5, 10), hour(5, 10), False), (hour(30, kind="abandoned"),) * 2 + (False,),
)""",
            """\
answer = []
for long, short, page in [
    ({"overloaded": 20}, {"overloaded": 1}, True),
    ({"overloaded": 19}, {"overloaded": 19}, False),
    ({"ok": 1000, "api_error": 100}, {"ok": 1000, "api_error": 100}, False),
    ({"ok": 10, "connection": 10}, {}, False),
    ({"ok": 10, "abandoned": 90}, {"ok": 1, "abandoned": 9}, False),
]:
    answer.append((long, short, page))""",
            """\
from collections import Counter
def window(**outcomes):
    return Counter(outcomes)
answer = [
    (window(ok=850, rate_limited=150), window(ok=85, rate_limited=15), True),
    (window(ok=860, rate_limited=140), window(ok=86, rate_limited=14), False),
    (window(ok=850, rate_limited=150), window(ok=99, rate_limited=1), False),
    (window(ok=9, rate_limited=10), window(ok=9, rate_limited=10), False),
    (window(ok=50, invalid_request=50), window(ok=50, invalid_request=50), False),
]""",
            """\
worst, fine = {"timeout": 40}, {"ok": 40}
answer = {
    "pages": (worst, worst, True),
    "over": (worst, fine, False),
    "few": ({"timeout": 3}, worst, False),
    "slow": ({"ok": 87, "timeout": 13}, worst, False),
    "ours": ({"abandoned": 30, "ok": 30}, worst, False),
}.values()""",
        ),
        wrong=(
            Wrong("answer = []", "a burn rate of 6"),
            Wrong("answer = [({'ok': 90, 'timeout': 10},) * 2 + (True,)]", "does not page"),
            Wrong(
                "answer = [({'ok': 80, 'timeout': 20},) * 2 + (True,),"
                " ({'ok': 90, 'timeout': 10},) * 2 + (False,)]",
                "ignores the short window",
            ),
            Wrong(BAD + "answer = [({'ok': 90, 'timeout': 10},) * 2 + (False,)]", "never pages"),
            Wrong(
                BAD + "slow = {'ok': 90, 'timeout': 10}\n"
                "answer = [(bad_hour, bad_hour, True), (slow, slow, False),"
                " (bad_hour, {'ok': 8}, False)]",
                "one failure at night",
            ),
            Wrong(
                BAD + "slow = {'ok': 90, 'timeout': 10}\n"
                "answer = [(bad_hour, bad_hour, True), (slow, slow, False),"
                " (bad_hour, {'ok': 8}, False), ({'ok': 2, 'timeout': 2}, {'timeout': 1}, False)]",
                "our own abandoned calls",
            ),
            Wrong("answer = [({'ok': 80, 'timeout': 20}, True)]", "raises ValueError"),
            Wrong(
                "answer = [({'ok': 5, 'timeout': 5}, {'timeout': 5}, True)]",
                "does not page, and is right",
            ),
        ),
    ),
)
check = Checker(EXERCISES)
