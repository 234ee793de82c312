"""Exercises of chapter 04: add a sink, fix a label, test an alert."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Reply
from patterns.monitoring.calls import CallMonitor, call_context
from patterns.monitoring.record import CallRecord, Outcome
from patterns.monitoring.sink import Sink
from patterns.monitoring.slo import burn_rate

TALK: Final = (("chat", "end_turn"), ("chat", "max_tokens"), ("search", "max_tokens"))
Counts = Mapping[Outcome, int]
Alert = Callable[[Counts, Counts], bool]


def grade_sink(answer: Any) -> Grade:
    """`answer` is a Sink class whose `cut` counts truncated answers by feature."""
    if not (isinstance(answer, type) and issubclass(answer, Sink)):
        return not_yet("answer is a class, and it inherits from Sink")
    sink = answer()
    monitor, api = CallMonitor(sink, features={"chat", "search"}), FakeAPI()
    client = api.client(**monitor.client_options())
    for feature, stop in TALK:
        api.enqueue(Reply("Half an ans", stop_reason=stop))
        with call_context(feature=feature):
            client.messages.create(
                model=SONNET, max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
            )
    if monitor.sink_errors:
        return not_yet("the sink raised: the call was unharmed, but nothing was counted")
    cut = dict(getattr(sink, "cut", {}))
    if cut.get("chat") == 2:
        return not_yet("it counts every call: look at record.outcome")
    return SOLVED if cut == {"chat": 1, "search": 1} else not_yet(f"cut is {cut}, per feature")


def _record(number: int) -> CallRecord:
    return CallRecord(
        at=datetime(2026, 11, 21, tzinfo=UTC),
        model=SONNET,
        feature=("chat", "search")[number % 2],
        outcome=("ok", "timeout")[number % 2],
        user=f"{number:016x}",
        request_id=f"req_{number}",
        trace_id=f"{number:032x}",
        error_type="connection_error",
    )


def grade_labels(answer: Any) -> Grade:
    """`answer(record)` gives labels that stay few, and still tell feature and outcome."""
    labels = [answer(_record(number)) for number in range(1_000)]
    for name in sorted(labels[0]):
        if len({label[name] for label in labels}) > 20:
            return not_yet(f"{name!r} takes a new value with every call: that is a series each")
    told = {(label.get("feature"), label.get("outcome")) for label in labels}
    if len(told) < 2 or any(None in pair for pair in told):
        return not_yet("an alert still has to know the feature and the outcome")
    return SOLVED


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


EXERCISES: Final = (
    Exercise(
        name="sink",
        starter="""\
from collections import Counter

from patterns.monitoring.sink import Sink


class CutAnswers(Sink):
    def __init__(self):
        self.cut = Counter()


answer = CutAnswers""",
        solution="""\
from collections import Counter

from patterns.monitoring.sink import Sink


class CutAnswers(Sink):
    def __init__(self):
        self.cut = Counter()

    def finished(self, record):
        self.cut[record.feature] += record.outcome == "truncated"


answer = CutAnswers""",
        grade=grade_sink,
        wrong=(
            Wrong(
                """\
from collections import Counter
from patterns.monitoring.sink import Sink
class answer(Sink):
    def __init__(self):
        self.cut = Counter()
    def finished(self, record):
        self.cut[record.feature] += 1""",
                "record.outcome",
            ),
            Wrong(
                """\
from patterns.monitoring.sink import Sink
class answer(Sink):
    def finished(self, record):
        self.cut[record.feature] += 1""",
                "the sink raised",
            ),
            Wrong("answer = lambda record: record.outcome", "inherits from Sink"),
        ),
    ),
    Exercise(
        name="labels",
        starter="""\
def answer(record):
    return {"user": record.user, "feature": record.feature, "outcome": record.outcome}""",
        solution="""\
def answer(record):
    return {"model": record.model, "feature": record.feature, "outcome": record.outcome}""",
        grade=grade_labels,
        wrong=(
            Wrong(
                "def answer(record):\n    return {'request': record.request_id}",
                "'request' takes a new value",
            ),
            Wrong(
                "def answer(record):\n    return {'model': record.model}",
                "feature and the outcome",
            ),
        ),
    ),
    Exercise(
        name="cases",
        starter="""\
bad_hour = {"ok": 80, "overloaded": 20}
answer = [
    (bad_hour, bad_hour, True),
    ({"ok": 100}, {"ok": 8}, False),
]""",
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
        wrong=(
            Wrong("answer = []", "a burn rate of 6"),
            Wrong("answer = [({'ok': 90, 'timeout': 10},) * 2 + (True,)]", "does not page"),
            Wrong(
                "answer = [({'ok': 80, 'timeout': 20},) * 2 + (True,),"
                " ({'ok': 90, 'timeout': 10},) * 2 + (False,)]",
                "ignores the short window",
            ),
        ),
    ),
)
