"""Exercises of chapter 08: join results, sort out retries, choose for three jobs."""

from collections.abc import Mapping
from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.batching import choose
from patterns.core.models import SONNET
from patterns.core.pricing import Tokens

LINES: Final = (
    ("c", "succeeded"),
    ("a", "errored"),
    ("b", "succeeded"),
    ("c", "succeeded"),
)
ASKED: Final = ("a", "b", "c", "d")
JOINED: Final = {"a": "errored", "b": "succeeded", "c": "succeeded", "d": "missing"}


def grade_join(answer: Any) -> Grade:
    """`answer(ids, lines)` gives each id its outcome, in the order in which they were asked."""
    joined = answer(ASKED, LINES)
    if not isinstance(joined, Mapping):
        return not_yet("return a dict from id to outcome")
    if "d" not in joined:
        return not_yet("d was asked and has no result: that is an outcome too, call it missing")
    if dict(joined) != JOINED:
        return not_yet("results come in any order: join them on the id, not on the place")
    if list(joined) != list(ASKED):
        return not_yet("give the results in the order in which they were asked")
    return SOLVED


JOIN: Final = Exercise(
    name="join",
    starter="""\
def answer(ids, lines):
    return {custom_id: lines[n][1] for n, custom_id in enumerate(ids)}
""",
    solution="""\
def answer(ids, lines):
    found = dict(lines)
    return {custom_id: found.get(custom_id, "missing") for custom_id in ids}
""",
    wrong=(
        Wrong("def answer(ids, lines):\n    return dict(lines)\n", "has no result"),
        Wrong(
            "def answer(ids, lines):\n"
            "    return {**dict(lines), **{i: 'missing' for i in ids if i not in dict(lines)}}\n",
            "in the order in which they were asked",
        ),
        Wrong("def answer(ids, lines):\n    return [dict(lines)[i] for i in 'abc']\n", "a dict"),
    ),
    grade=grade_join,
)

AGAIN: Final[Mapping[str, bool]] = {
    "expired": True,
    "errored: overloaded_error": True,
    "errored: invalid_request_error": False,
    "succeeded, but the answer is wrong": False,
    "the create timed out": False,
}
WHY: Final[Mapping[str, str]] = {
    "expired": "expired: nobody worked on it and nobody billed it, 24 hours were too short",
    "errored: overloaded_error": "overloaded_error: it passes by itself",
    "errored: invalid_request_error": "invalid_request_error: the same request fails again",
    "succeeded, but the answer is wrong": "a wrong answer was paid for; change the prompt first",
    "the create timed out": "the create may have worked: look at the list of batches first",
}


def grade_retries(answer: Any) -> Grade:
    """`answer` says of each case whether to send it again as it is, at once."""
    for case, right in AGAIN.items():
        if case not in answer:
            return not_yet(f"there is no choice for {case!r}")
        if bool(answer[case]) != right:
            return not_yet(WHY[case])
    return SOLVED


_CASES: Final = "".join(f'    "{case}": True,\n' for case in AGAIN)

RETRIES: Final = Exercise(
    name="retries",
    starter=f"answer = {{\n{_CASES}}}\n",
    solution="answer = {\n"
    + "".join(f'    "{case}": {right},\n' for case, right in AGAIN.items())
    + "}\n",
    wrong=(
        Wrong(f"answer = dict.fromkeys({list(AGAIN)!r}, False)\n", "expired"),
        Wrong(
            f"answer = dict.fromkeys({list(AGAIN)!r}, True)\n"
            "answer['errored: invalid_request_error'] = False\n"
            "answer['succeeded, but the answer is wrong'] = False\n",
            "list of batches",
        ),
    ),
    grade=grade_retries,
)

TOKENS: Final = Tokens(input=2_000, output=300)
JOBS: Final[Mapping[str, tuple[int, float]]] = {
    "12 contracts, while a colleague waits": (12, 120),
    "30,000 tickets until lunch, in 4 hours": (30_000, 4 * 3_600),
    "2 million reviews by Monday, in 3 days": (2_000_000, 3 * 86_400),
}
REASONS: Final[Mapping[tuple[str, str], str]] = {
    ("one by one", "batch"): "a batch usually takes an hour, and 12 calls are done in 96 seconds",
    ("one by one", "fan-out"): "12 calls in a row fit into two minutes: nothing to coordinate",
    ("fan-out", "batch"): "a batch is only sure to have ended after 24 hours, and lunch is fixed",
    ("fan-out", "one by one"): "30,000 calls of 8 seconds in a row take almost three days",
    ("batch", "fan-out"): "three days are enough for a batch, which costs half",
    ("batch", "one by one"): "two million calls in a row take half a year",
}


def right_way(job: str) -> str:
    """What `choose` says."""
    n, deadline = JOBS[job]
    return choose(n, deadline, TOKENS, model=SONNET).best.way


def grade_choice(answer: Any) -> Grade:
    """`answer` names a way for each job: batch, fan-out or one by one."""
    for job in JOBS:
        given, right = answer.get(job), right_way(job)
        if given != right:
            reason = REASONS.get((right, str(given)))
            return not_yet(f"{job}: {reason or 'choose batch, fan-out or one by one'}")
    return SOLVED


_JOBS: Final = "".join(f'    "{job}": "batch",\n' for job in JOBS)

CHOICE: Final = Exercise(
    name="choice",
    starter=f"answer = {{\n{_JOBS}}}\n",
    solution="answer = {\n"
    + "".join(f'    "{job}": "{right_way(job)}",\n' for job in JOBS)
    + "}\n",
    wrong=(
        Wrong(f"answer = dict.fromkeys({list(JOBS)!r}, 'fan-out')\n", "nothing to coordinate"),
        Wrong(
            f"answer = dict(zip({list(JOBS)!r}, ['one by one', 'batch', 'batch']))\n",
            "only sure to have ended after 24 hours",
        ),
        Wrong(
            f"answer = dict(zip({list(JOBS)!r}, ['one by one', 'fan-out', 'fan-out']))\n",
            "costs half",
        ),
        Wrong("answer = {}\n", "choose batch, fan-out or one by one"),
    ),
    grade=grade_choice,
)

EXERCISES: Final = (JOIN, RETRIES, CHOICE)
