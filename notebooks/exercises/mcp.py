"""Chapter 02: what may be repeated, how long to insist, and who should make the call."""

from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.mcp_session import RetryPolicy

# ── 1  What may run twice ─────────────────────────────────────────────────────────────────────

REPEATABLE: Final = {
    "read_balance": "it only reads",
    "set_price": "setting a price to 9 twice leaves it at 9",
    "cancel_order": "an order that is cancelled stays cancelled",
}
"""Tools that may run twice, and why."""

ONCE: Final = {
    "add_points": "a second run adds the points again",
    "send_receipt": "the customer gets two letters",
    "draw_raffle": "each run draws another winner",
}
"""Tools that may not."""


def grade_repeatable(answer: Any) -> Grade:
    """A set with every tool whose second run changes nothing, and no other."""
    if not isinstance(answer, set | frozenset):
        return not_yet("give a set of tool names, such as {'read_balance'}.")
    for tool, reason in ONCE.items():
        if tool in answer:
            return not_yet(f"{tool} must not run twice: {reason}.")
    for tool, reason in REPEATABLE.items():
        if tool not in answer:
            return not_yet(f"{tool} may run twice: {reason}.")
    unknown = sorted(answer - set(REPEATABLE))
    return not_yet(f"there is no tool {unknown[0]!r}.") if unknown else SOLVED


# ── 2  How long to insist ─────────────────────────────────────────────────────────────────────

OUTAGE: Final = 5.0
MOST_ATTEMPTS: Final = 6
FIRST_AGAIN: Final = 0.5


def grade_policy(answer: Any) -> Grade:
    """Outlasts five seconds with at most six tries, and comes back soon at first."""
    if not isinstance(answer, RetryPolicy):
        return not_yet("give a RetryPolicy(...).")
    if answer.attempts > MOST_ATTEMPTS:
        return not_yet(f"{answer.attempts} tries; {MOST_ATTEMPTS} is the most.")
    # The worst case: jitter can take up to its share off each delay.
    delays = [answer.delay_after(n, lambda: 1.0) for n in range(1, answer.attempts)]
    if delays and answer.delay_after(1, lambda: 0.0) > FIRST_AGAIN:
        return not_yet(f"the second try begins after more than {FIRST_AGAIN} s: lower the delay.")
    if sum(delays) < OUTAGE:
        total = sum(delays)
        return not_yet(
            f"with all the jitter the last try begins after {total:.2f} s, not {OUTAGE:g}."
        )
    return SOLVED


# ── 3  Connector or client ────────────────────────────────────────────────────────────────────

CASES: Final = {
    "a public https server, tools only, nothing to log": "connector",
    "a server inside the company network": "client",
    "each call must be audited before it runs": "client",
    "a resource that changes has to be followed": "client",
}
"""Who should talk to the server: the API's connector, or your own client."""

WHY: Final = {
    "a public https server, tools only, nothing to log": "no client is needed: let the API call it",
    "a server inside the company network": "the API cannot reach it from outside",
    "each call must be audited before it runs": "no hook of yours runs inside the connector",
    "a resource that changes has to be followed": "the connector knows tools only",
}


def grade_cases(answer: Any) -> Grade:
    """Each case with its side."""
    if not isinstance(answer, dict) or set(answer) != set(CASES):
        return not_yet("keep the four cases as they are, and give each 'connector' or 'client'.")
    for case, side in CASES.items():
        if answer[case] != side:
            return not_yet(f"{case}: {WHY[case]}.")
    return SOLVED


CASES_STARTER: Final = "answer = {\n" + "".join(f'    "{c}": "connector",\n' for c in CASES) + "}\n"
CASES_SOLUTION: Final = (
    "answer = {\n" + "".join(f'    "{c}": "{side}",\n' for c, side in CASES.items()) + "}\n"
)

EXERCISES: Final = (
    Exercise(
        name="what may run twice",
        starter=('answer = {"read_balance", "set_price", "add_points", "send_receipt"}\n'),
        solution='answer = {"read_balance", "set_price", "cancel_order"}\n',
        grade=grade_repeatable,
        wrong=(
            Wrong('answer = {"read_balance"}\n', "leaves it at 9"),
            Wrong('answer = {"read_balance", "set_price"}\n', "stays cancelled"),
            Wrong(
                'answer = {"read_balance", "set_price", "cancel_order", "send_receipt"}\n',
                "two letters",
            ),
            Wrong('answer = ["read_balance"]\n', "give a set"),
            Wrong(
                'answer = {"read_balance", "set_price", "cancel_order", "refund"}\n',
                "no tool 'refund'",
            ),
        ),
    ),
    Exercise(
        name="how long to insist",
        starter=(
            "from patterns.mcp_session import RetryPolicy\n\n"
            "answer = RetryPolicy(attempts=3, delay=0.25)\n"
        ),
        solution=(
            "from patterns.mcp_session import RetryPolicy\n\n"
            "answer = RetryPolicy(attempts=6, delay=0.25)\n"
        ),
        grade=grade_policy,
        wrong=(
            Wrong("answer = 5\n", "give a RetryPolicy"),
            Wrong(
                "from patterns.mcp_session import RetryPolicy\n"
                "answer = RetryPolicy(attempts=20, delay=0.25)\n",
                "6 is the most",
            ),
            Wrong(
                "from patterns.mcp_session import RetryPolicy\n"
                "answer = RetryPolicy(attempts=3, delay=3.0)\n",
                "lower the delay",
            ),
            Wrong(
                "from patterns.mcp_session import RetryPolicy\n"
                "answer = RetryPolicy(attempts=6, delay=0.2)\n",
                "with all the jitter",
            ),
        ),
    ),
    Exercise(
        name="connector or client",
        starter=CASES_STARTER,
        solution=CASES_SOLUTION,
        grade=grade_cases,
        wrong=(
            Wrong(CASES_STARTER.replace('"connector"', '"client"'), "let the API call it"),
            Wrong("answer = {}\n", "keep the four cases"),
        ),
    ),
)
