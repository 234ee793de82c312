"""Exercises of chapter 09: how a failure ends a ticket, steps made once, and the books of a day."""

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import anthropic
import httpx2

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet, pair
from patterns.core.messages import Refused
from patterns.policy.budgets import Throttled
from patterns.policy.flow import PolicyDenied
from patterns.policy.identity import NoPrincipal
from patterns.policy.rate_limit import StoreUnavailable
from patterns.policy.screening import ContentBlocked


def status(code: int, kind: str = "api_error", **details: str) -> anthropic.APIStatusError:
    """An error as the SDK raises it."""
    request = httpx2.Request("POST", "https://api.anthropic.com/v1/messages")
    body = {"type": "error", "error": {"type": kind, "message": "no", "details": details}}
    client = anthropic.Anthropic(api_key="none")
    return client._make_status_error(
        "no", body=body, response=httpx2.Response(code, request=request, json=body)
    )


def raised_from(cause: Exception) -> Exception:
    """An error that stands for another one."""
    try:
        raise LookupError("all votes were lost") from cause
    except LookupError as error:
        return error


def failures() -> Iterator[tuple[str, Exception, str]]:
    """What may end a step, and how that ends the ticket."""
    request = httpx2.Request("POST", "https://api.anthropic.com/v1/messages")
    yield "an attack that is screened", ContentBlocked("override"), "blocked"
    yield "nobody acting", NoPrincipal(), "blocked"
    yield "any other PolicyDenied", PolicyDenied("no"), "blocked"
    yield "a budget that is used up", Throttled("used up", 60.0), "tonight"
    yield "a limiter whose store is down", StoreUnavailable("ConnectionError"), "tonight"
    yield "529, overloaded", status(529, "overloaded_error"), "tonight"
    yield "429", status(429, "rate_limit_error"), "tonight"
    yield "500", status(500), "tonight"
    yield "a lost connection", anthropic.APIConnectionError(request=request), "tonight"
    yield "a timeout", TimeoutError(), "tonight"
    yield "an error raised from a 529", raised_from(status(529)), "tonight"
    spent = {"error_code": "enforced_spend_limit_reached"}
    yield "a 429 of a spend limit", status(429, "rate_limit_error", **spent), "held"
    yield "400, our own bug", status(400, "invalid_request_error"), "held"
    yield "an error raised from a 400", raised_from(status(400)), "held"
    yield "a refusal", Refused("bio"), "held"
    yield "a KeyError", KeyError("topic"), "held"


def grade_ends(answer: Any) -> Grade:
    """`answer(error)` is how the ticket ends."""
    for what, error, right in failures():
        said = answer(error)
        if said != right:
            return not_yet(f"{what} ({type(error).__name__}) ends {right!r}; you say {said!r}")
    return SOLVED


IMPORTS: Final = """\
from patterns.core.retrying import is_transient
from patterns.policy import PolicyDenied
from patterns.policy.budgets import Throttled
from patterns.policy.rate_limit import StoreUnavailable
"""

ENDS: Final = Exercise(
    name="ends",
    grade=grade_ends,
    starter=f"""\
{IMPORTS}

def answer(error):
    if isinstance(error, PolicyDenied | Throttled | StoreUnavailable):
        return "blocked"
    return "tonight" if is_transient(error) else "held"
""",
    solution=f"""\
{IMPORTS}

def answer(error):
    if isinstance(error, (Throttled, StoreUnavailable)):
        return "tonight"
    if isinstance(error, PolicyDenied):
        return "blocked"
    both = [error, error.__cause__]
    return "tonight" if any(each and is_transient(each) for each in both) else "held"
""",
    right=(
        f"""\
{IMPORTS}

def answer(e):
    match e:
        case Throttled() | StoreUnavailable():
            return "tonight"
        case PolicyDenied():
            return "blocked"
    if is_transient(e):
        return "tonight"
    if e.__cause__ is not None and is_transient(e.__cause__):
        return "tonight"
    return "held"
""",
        f"""\
{IMPORTS}

answer = lambda error: (
    "tonight" if isinstance(error, Throttled) or isinstance(error, StoreUnavailable)
    else "blocked" if isinstance(error, PolicyDenied)
    else "tonight" if is_transient(error.__cause__ or error) or is_transient(error)
    else "held"
)
""",
        f"""\
{IMPORTS}

def passes(error):
    if error is None:
        return False
    return is_transient(error) or passes(error.__cause__)


def answer(error):
    denied = isinstance(error, PolicyDenied)
    later = isinstance(error, Throttled) or isinstance(error, StoreUnavailable)
    if denied and not later:
        return "blocked"
    return "tonight" if denied or passes(error) else "held"
""",
        f"""\
{IMPORTS}

ENDS = {{Throttled: "tonight", StoreUnavailable: "tonight", PolicyDenied: "blocked"}}


def answer(error):
    for kind, end in ENDS.items():
        if isinstance(error, kind):
            return end
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    for each in chain:
        if is_transient(each):
            return "tonight"
    return "held"
""",
    ),
    wrong=(
        Wrong("def answer(error):\n    return 'held'\n", "screened"),
        Wrong("def answer(error):\n    return 'blocked'\n", "budget"),
        Wrong(
            f"""{IMPORTS}
def answer(error):
    if isinstance(error, PolicyDenied):
        return "blocked"
    return "tonight" if is_transient(error) else "held"
""",
            "budget that is used up",
        ),
        Wrong(
            f"""{IMPORTS}
def answer(error):
    if isinstance(error, Throttled):
        return "tonight"
    if isinstance(error, PolicyDenied):
        return "blocked"
    return "tonight" if is_transient(error) else "held"
""",
            "store is down",
        ),
        Wrong(
            f"""{IMPORTS}
def answer(error):
    if isinstance(error, (Throttled, StoreUnavailable)):
        return "tonight"
    if isinstance(error, PolicyDenied):
        return "blocked"
    return "tonight" if is_transient(error) else "held"
""",
            "raised from a 529",
        ),
        Wrong(
            f"""{IMPORTS}
def answer(error):
    if isinstance(error, (Throttled, StoreUnavailable)):
        return "tonight"
    if isinstance(error, PolicyDenied):
        return "blocked"
    return "held" if getattr(error, "status_code", 0) == 400 else "tonight"
""",
            "spend limit",
        ),
    ),
    part=True,
)


class Work:
    """A step that counts how often it is made."""

    def __init__(self, result: Any, error: Exception | None = None) -> None:
        self.result, self.error, self.made = result, error, 0

    def __call__(self) -> Any:
        self.made += 1
        if self.error is not None:
            raise self.error
        return self.result


def grade_once(answer: Any) -> Grade:
    """`answer(kept, name, work)` makes a step once for each store."""
    results: tuple[Any, ...] = ("draft", {"value": 1}, None, 0, "", [])
    for result in results:
        kept: dict[str, Any] = {}
        work = Work(result)
        said = [answer(kept, "draft", work) for _ in range(3)]
        if said != [result] * 3:
            return not_yet(f"a step that returns {result!r} must give that each time, not {said}")
        if work.made != 1:
            return not_yet(f"a step that returns {result!r} was made {work.made} times, not once")
        other = Work("other")
        if answer(kept, "vote", other) != "other" or other.made != 1:
            return not_yet("a step of another name is another step")
        if answer({}, "draft", other) != "other":
            return not_yet("what was made is in `kept` and nowhere else: another ticket is new")
    kept, failing = {}, Work(None, TimeoutError())
    try:
        answer(kept, "draft", failing)
    except TimeoutError:
        pass
    else:
        return not_yet("a step that raises is not made: let the error through")
    if answer(kept, "draft", Work("second try")) != "second try":
        return not_yet("a step that raised has no result, so it is made again")
    return SOLVED


ONCE: Final = Exercise(
    name="once",
    grade=grade_once,
    starter="""\
def answer(kept, name, work):
    kept[name] = work()
    return kept[name]
""",
    solution="""\
def answer(kept, name, work):
    if name not in kept:
        kept[name] = work()
    return kept[name]
""",
    right=(
        """\
def answer(kept, name, work):
    try:
        return kept[name]
    except KeyError:
        pass
    result = work()
    kept[name] = result
    return result
""",
        """\
MISSING = object()


def answer(kept, name, work):
    found = kept.get(name, MISSING)
    if found is MISSING:
        found = kept[name] = work()
    return found
""",
        "answer = lambda kept, name, work: kept[name] if name in kept "
        "else kept.setdefault(name, work())\n",
        """\
def answer(kept, name, work):
    if name in kept.keys():
        return kept[name]
    else:
        made = work()
        kept.update({name: made})
        return made
""",
    ),
    wrong=(
        Wrong(
            "def answer(kept, name, work):\n    return kept.get(name) or work()\n", "made 3 times"
        ),
        Wrong(
            "def answer(kept, name, work):\n    return kept.setdefault(name, work())\n",
            "made 3 times",
        ),
        Wrong(
            """\
def answer(kept, name, work):
    if not kept.get(name):
        kept[name] = work()
    return kept[name]
""",
            "returns None was made",
        ),
        Wrong(
            """\
def answer(kept, name, work):
    if not kept:
        kept[name] = work()
    return next(iter(kept.values()))
""",
            "another name",
        ),
        Wrong(
            """\
from functools import lru_cache

seen = {}


def answer(kept, name, work):
    if name not in seen:
        seen[name] = work()
    return seen[name]
""",
            "another",
        ),
        Wrong(
            """\
def answer(kept, name, work):
    if name not in kept:
        try:
            kept[name] = work()
        except Exception:
            kept[name] = None
    return kept[name]
""",
            "raises",
        ),
    ),
)

STATES: Final = ("sent", "held", "blocked")


def days() -> Iterator[tuple[list[str], list[tuple[str, str]], tuple[list[str], list[str]]]]:
    """What arrived, how it ended, and what of it was lost or ended twice."""
    yield ["a", "b"], [("a", "sent"), ("b", "tonight")], (["b"], [])
    yield ["a"], [("a", "tonight"), ("a", "sent")], ([], [])
    yield ["b", "a"], [("a", "sent"), ("a", "held"), ("b", "sent"), ("b", "sent")], ([], ["b", "a"])
    yield ["a"], [], (["a"], [])
    rng = random.Random(9)
    for _ in range(20):
        arrived = rng.sample([f"T-{n}" for n in range(60)], 30)
        counts = {each: rng.choice([0, 1, 1, 1, 2]) for each in arrived}
        ends = [(each, rng.choice(STATES)) for each, times in counts.items() for _ in range(times)]
        ends += [(each, "tonight") for each in rng.sample(arrived, 9)]
        rng.shuffle(ends)
        lost = [each for each in arrived if counts[each] == 0]
        yield arrived, ends, (lost, [each for each in arrived if counts[each] > 1])


def grade_books(answer: Callable[..., Any]) -> Grade:
    """`answer(arrived, ends)` names what was lost and what ended twice."""
    for arrived, ends, right in days():
        said = pair(answer(list(arrived), list(ends)))
        seen = f"for arrived {arrived[:4]} and ends {ends[:5]}: "
        if said is None:
            return not_yet(seen + "return two lists as a tuple: lost, twice")
        for name, mine, theirs in zip(("lost", "twice"), said, right, strict=True):
            if list(mine) != theirs:
                return not_yet(seen + f"{name} is {theirs[:5]}, you say {list(mine)[:5]}")
    return SOLVED


BOOKS: Final = Exercise(
    name="books",
    grade=grade_books,
    starter="""\
def answer(arrived, ends):
    ended = [ticket for ticket, state in ends]
    lost = [ticket for ticket in arrived if ticket not in ended]
    return lost, []
""",
    solution="""\
from collections import Counter


def answer(arrived, ends):
    times = Counter(ticket for ticket, state in ends if state != "tonight")
    lost = [ticket for ticket in arrived if times[ticket] == 0]
    return lost, [ticket for ticket in arrived if times[ticket] > 1]
""",
    right=(
        """\
def answer(arrived, ends):
    final = [t for t, s in ends if s in ("sent", "held", "blocked")]
    return [t for t in arrived if t not in final], [t for t in arrived if final.count(t) >= 2]
""",
        """\
def answer(arrived, ends):
    counts = {}
    for ticket, state in ends:
        if state == "tonight":
            continue
        counts[ticket] = counts.get(ticket, 0) + 1
    lost, twice = [], []
    for ticket in arrived:
        n = counts.get(ticket, 0)
        if n == 0:
            lost.append(ticket)
        elif n > 1:
            twice.append(ticket)
    return lost, twice
""",
        """\
from collections import defaultdict


def answer(arrived, ends):
    by = defaultdict(list)
    for ticket, state in ends:
        by[ticket] += [state] * (state != "tonight")
    return [t for t in arrived if not by[t]], [t for t in arrived if len(by[t]) > 1]
""",
        """\
answer = lambda arrived, ends: (
    list(filter(lambda t: sum(a == t and s != "tonight" for a, s in ends) == 0, arrived)),
    list(filter(lambda t: sum(a == t and s != "tonight" for a, s in ends) > 1, arrived)),
)
""",
    ),
    wrong=(
        Wrong("def answer(arrived, ends):\n    return []\n", "two lists"),
        Wrong("def answer(arrived, ends):\n    return [], []\n", "lost is"),
        Wrong(
            """\
def answer(arrived, ends):
    last = dict(ends)
    return [t for t in arrived if last.get(t, "tonight") == "tonight"], []
""",
            "twice is",
        ),
        Wrong(
            """\
from collections import Counter


def answer(arrived, ends):
    times = Counter(t for t, _ in ends)
    return [t for t in arrived if not times[t]], [t for t in arrived if times[t] > 1]
""",
            "lost is",
        ),
        Wrong(
            """\
def answer(arrived, ends):
    final = [t for t, s in ends if s != "tonight"]
    return sorted(set(arrived) - set(final)), sorted({t for t in final if final.count(t) > 1})
""",
            "is [",
        ),
        Wrong(
            """\
def answer(arrived, ends):
    final = [t for t, s in ends if s == "sent"]
    return [t for t in arrived if t not in final], [t for t in arrived if final.count(t) > 1]
""",
            "is [",
        ),
    ),
)

EXERCISES: Final = (ENDS, ONCE, BOOKS)
check: Final = Checker(EXERCISES)
