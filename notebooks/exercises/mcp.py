"""Chapter 02: look at a shelf, what may be repeated, how long to insist, a till with a limit."""

import asyncio
import inspect
import warnings
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any, Final

from mcp.types import Tool, ToolAnnotations
from servers.shop import Shop, Stock, build_shop

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet
from patterns.mcp_session import RetryPolicy, SessionClosed, ToolSession
from patterns.mcp_session.events import ToolRequest


def run(work: Coroutine[Any, Any, str]) -> str:
    """Await in a thread of its own: a notebook's loop runs already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def begun(answer: Any, *arguments: Any) -> Awaitable[Any] | None:
    """What a call of the learner's function gives to await; None if there is nothing to await."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a coroutine that the learner's own code forgot
        try:
            work = answer(*arguments)
        except Exception:
            return None
    return work if inspect.isawaitable(work) else None


# ── 1  Look at a shelf ────────────────────────────────────────────────────────────────────────

SHELF: Final = {"assam": 500, "oolong": 0, "gyokuro": 7, "pu-erh 1998": 12_345}
"""Grams of each tea in the grader's shop."""


def grade_look(answer: Any) -> Grade:
    """Grams of each tea, None for others, and the session's own errors as they are."""
    hint = run(_looked(answer))
    return not_yet(hint) if hint else SOLVED


async def _looked(answer: Any) -> str:
    stocks = {tea: Stock(tea=tea, grams=grams, cents_per_100g=450) for tea, grams in SHELF.items()}
    session = ToolSession(build_shop(Shop(stocks)))
    async with session:
        for tea, grams in SHELF.items():
            work = begun(answer, session, tea)
            if work is None:
                return "a session is awaited: write `async def look(session, tea)`."
            before = len(session.history)
            found = await work
            if (asked := len(session.history) - before) != 1:
                return f"one call of `stock` is enough; yours makes {asked}."
            if found is None or isinstance(found, bool) or found != grams:
                return f"there are {grams} g of {tea} on the shelf, and it gives {found!r}."
        for tea in ("earl grey", "Assam"):
            try:
                found = await answer(session, tea)
            except Exception as error:
                return f"the shop has no {tea!r}: give None; it raises {type(error).__name__}."
            if found is not None:
                return f"the shop has no {tea!r}: give None, not {found!r}."
        if odd := sorted({call.name for call in session.history} - {"stock"}):
            return f"looking must not call {odd[0]!r}: `stock` is enough."
    try:
        found = await answer(session, "assam")
    except SessionClosed:
        return ""
    return f"the session was closed: nobody looked, and yet it gives {found!r}; let the error out."


LOOK: Final = """\
async def look(session, tea):
    result = await session.call_tool("stock", {"tea": tea})
    return result.structured_content["grams"]


answer = look
"""
LOOK_SOLUTION: Final = LOOK.replace(
    "    return", "    if result.is_error:\n        return None\n    return"
)
LOOK_RIGHT: Final = (
    """\
async def answer(session, tea):
    found = (await session.call_tool("stock", {"tea": tea})).structured_content or {}
    return found.get("grams")
""",
    """\
import json

async def grams_of(session, tea):
    result = await session.call_tool("stock", dict(tea=tea))
    return None if result.is_error else json.loads(result.content[0].text)["grams"]

answer = grams_of
""",
    """\
async def look(session, tea: str) -> int | None:
    result = await session.call_tool("stock", {"tea": tea})
    try:
        return int(result.structured_content["grams"])
    except TypeError:
        return None

answer = look
""",
    """\
from servers.shop import Stock

async def look(session, tea):
    reply = await session.call_tool("stock", {"tea": tea})
    match reply.is_error:
        case True:
            grams = None
        case _:
            grams = Stock.model_validate(reply.structured_content).grams
    return grams

answer = look
""",
)
LOOK_WRONG: Final = (
    Wrong(LOOK_SOLUTION.replace("async ", "").replace("await ", ""), "a session is awaited"),
    Wrong(LOOK_SOLUTION.replace("return None", "return 0"), "give None, not 0"),
    Wrong(
        LOOK_SOLUTION.replace('["grams"]', '["grams"] or None'), "0 g of oolong on the shelf, and"
    ),
    Wrong(
        "async def answer(session, tea):\n"
        "    try:\n"
        '        result = await session.call_tool("stock", {"tea": tea})\n'
        '        return result.structured_content["grams"]\n'
        "    except Exception:\n"
        "        return None\n",
        "nobody looked",
    ),
    Wrong(LOOK_SOLUTION.replace('["grams"]', ""), "500 g of assam"),
    Wrong(
        LOOK_SOLUTION.replace(
            "    if", '    result = await session.call_tool("stock", {"tea": tea})\n    if'
        ),
        "yours makes 2",
    ),
    Wrong(
        LOOK_SOLUTION.replace('"stock", {"tea": tea}', '"order", {"tea": tea, "grams": 1}'),
        "gives 1",
    ),
    Wrong(LOOK_SOLUTION.replace('{"tea": tea}', '{"tea": "assam"}'), "0 g of oolong"),
    Wrong(LOOK_SOLUTION.replace("is_error", "isError"), "no attribute"),
    Wrong(LOOK.replace("tea})", "tea.lower()})"), "earl grey"),
)

# ── 2  What may run twice ─────────────────────────────────────────────────────────────────────

NAMES: Final = ("stock", "order", "get_price", "delete_order", "send_receipt")


def _tools() -> Iterator[tuple[Tool, bool, str]]:
    """Tools with every combination of hints; whether they may repeat; what is declared."""
    about: dict[str, Any] = {
        "input_schema": {},
        "description": "Read-only, idempotent, and safe to call twice.",
    }
    for at, hints in enumerate(product((None, False, True), repeat=3)):
        reads, repeats, destroys = hints
        declared = ToolAnnotations(
            read_only_hint=reads, idempotent_hint=repeats, destructive_hint=destroys
        )
        tool = Tool(name=NAMES[at % len(NAMES)], annotations=declared, **about)
        expected = bool(reads or repeats) and not (reads and destroys)
        yield tool, expected, f"read-only {reads}, idempotent {repeats}, destructive {destroys}"
    for name in NAMES:
        yield Tool(name=name, **about), False, "no annotations at all"


def grade_may_repeat(answer: Any) -> Grade:
    """True where the server declares it, False for the rest and for a contradiction."""
    if not callable(answer):
        return not_yet("give a function of one tool.")
    for tool, expected, declared in _tools():
        try:
            said = answer(tool)
        except Exception as error:
            return not_yet(
                f"a tool {tool.name!r} declares {declared}: it raises "
                f"{type(error).__name__}: {' '.join(str(error).split())}"
            )
        if bool(said) is not expected:
            may = "may" if expected else "must not"
            return not_yet(f"a tool {tool.name!r} declares {declared}: it {may} be repeated.")
    return SOLVED


REPEAT: Final = """\
def may_repeat(tool):
    return tool.name in {"stock", "brew"}


answer = may_repeat
"""
REPEAT_SOLUTION: Final = """\
def may_repeat(tool):
    hints = tool.annotations
    if hints is None or (hints.read_only_hint and hints.destructive_hint):
        return False
    return bool(hints.read_only_hint or hints.idempotent_hint)


answer = may_repeat
"""
REPEAT_RIGHT: Final = (
    """\
def answer(tool):
    a = tool.annotations
    return bool(a and (a.idempotent_hint or a.read_only_hint)
                and not (a.read_only_hint and a.destructive_hint))
""",
    """\
def may_repeat(tool) -> bool:
    read_only = getattr(tool.annotations, "read_only_hint", None) is True
    idempotent = getattr(tool.annotations, "idempotent_hint", None) is True
    destructive = getattr(tool.annotations, "destructive_hint", None) is True
    if read_only:
        return not destructive
    return idempotent

answer = may_repeat
""",
    """\
from mcp.types import Tool, ToolAnnotations

def may_repeat(tool: Tool) -> bool:
    match tool.annotations:
        case ToolAnnotations(read_only_hint=True, destructive_hint=True):
            return False
        case ToolAnnotations(read_only_hint=True) | ToolAnnotations(idempotent_hint=True):
            return True
    return False

answer = may_repeat
""",
    """\
def may_repeat(tool):
    declared = tool.annotations.model_dump() if tool.annotations else {}
    if declared.get("read_only_hint") and declared.get("destructive_hint"):
        return False
    return any(declared.get(key) for key in ("read_only_hint", "idempotent_hint"))

answer = may_repeat
""",
    "from patterns.mcp_session import declared_safe\n\nanswer = declared_safe\n",
)
REPEAT_WRONG: Final = (
    Wrong(REPEAT_SOLUTION.replace("hints is None or ", ""), "no annotations at all"),
    Wrong(REPEAT_SOLUTION.replace(" or hints.idempotent_hint", ""), "it may be repeated"),
    Wrong(REPEAT_SOLUTION.replace("hint or hints.id", "hint and hints.id"), "it may be repeated"),
    Wrong(
        REPEAT_SOLUTION.replace("(hints.read_only_hint and hints.destructive_hint)", "False"),
        "destructive True: it must not",
    ),
    Wrong(
        REPEAT_SOLUTION.replace("(hints.read_only_hint and hints.dest", "(hints.dest"),
        "idempotent True, destructive True: it may",
    ),
    Wrong(
        "def answer(tool):\n    return not (tool.annotations and tool.annotations."
        "destructive_hint)\n",
        "must not be repeated",
    ),
    Wrong('def answer(tool):\n    return tool.name.startswith("get_")\n', "be repeated"),
    Wrong('def answer(tool):\n    return "idempotent" in tool.description\n', "must not"),
    Wrong('def answer(tool):\n    return tool.annotations["readOnlyHint"]\n', "raises TypeError"),
    Wrong("def answer(tool):\n    return tool.annotations.readOnlyHint\n", "AttributeError"),
    Wrong('answer = {"stock"}\n', "a function of one tool"),
)

# ── 3  How long to insist ─────────────────────────────────────────────────────────────────────


def _fewest(outage: float) -> int:
    waited, attempts = 0.0, 1
    while waited < outage:
        waited += RetryPolicy().delay_after(attempts, lambda: 1.0)
        attempts += 1
    return attempts


def grade_insist(answer: Any) -> Grade:
    """The fewest tries that outlast each outage, whatever the jitter takes off."""
    draw = Random(2)
    for outage in (5.0, 0.0, 0.1, 60.0, *(round(draw.uniform(0, 60), 2) for _ in range(40))):
        policy = answer(outage)
        if not isinstance(policy, RetryPolicy):
            return not_yet(f"insist({outage:g}) gives {policy!r}: give a RetryPolicy(...).")
        fewest = _fewest(outage)
        if policy.attempts != fewest:
            why = "too few" if policy.attempts < fewest else "more than it takes"
            tries = "try" if policy.attempts == 1 else "tries"
            return not_yet(f"insist({outage:g}) has {policy.attempts} {tries}: {why}.")
        if replace(policy, attempts=RetryPolicy().attempts) != RetryPolicy():
            return not_yet("only the attempts differ: leave delay, factor and jitter as they are.")
    return SOLVED


INSIST: Final = """\
from patterns.mcp_session import RetryPolicy


def insist(outage):
    return RetryPolicy(attempts=3)


answer = insist
"""
INSIST_SOLUTION: Final = """\
from patterns.mcp_session import RetryPolicy


def insist(outage):
    attempts, waited = 1, 0.0
    while waited < outage:
        waited += RetryPolicy().delay_after(attempts, lambda: 1.0)
        attempts += 1
    return RetryPolicy(attempts=attempts)


answer = insist
"""
INSIST_RIGHT: Final = (
    """\
from itertools import accumulate, count
from patterns.mcp_session import RetryPolicy

def answer(outage):
    waits = (RetryPolicy().delay_after(n, lambda: 1) for n in count(1))
    starts = accumulate(waits, initial=0)
    return RetryPolicy(attempts=next(n for n, start in enumerate(starts, 1) if start >= outage))
""",
    """\
from patterns.mcp_session import RetryPolicy

def insist(outage: float) -> RetryPolicy:
    for attempts in range(1, 1000):
        policy = RetryPolicy(attempts=attempts)
        last = sum(policy.delay_after(n, lambda: 1.0) for n in range(1, attempts))
        if last >= outage:
            return policy

answer = insist
""",
    """\
from patterns.mcp_session import RetryPolicy

def insist(outage):
    tries, start, wait = 1, 0.0, 0.25
    while start < outage:
        tries, start, wait = tries + 1, start + 0.8 * wait, min(2 * wait, 8.0)
    return RetryPolicy(tries)

answer = insist
""",
    """\
from dataclasses import replace
from patterns.mcp_session import RetryPolicy

def insist(outage, policy=RetryPolicy(attempts=1)):
    if outage <= 0:
        return policy
    shortest = policy.delay_after(policy.attempts, rng=lambda: 1.0)
    return insist(outage - shortest, replace(policy, attempts=policy.attempts + 1))

answer = insist
""",
)
INSIST_WRONG: Final = (
    Wrong(INSIST_SOLUTION.replace("1.0)", "0.0)"), "too few"),
    Wrong(INSIST_SOLUTION.replace("attempts, waited = 1", "attempts, waited = 0"), "too few"),
    Wrong(INSIST_SOLUTION.replace("attempts=attempts)", "attempts=attempts + 1)"), "than it takes"),
    Wrong(INSIST.replace("attempts=3", "attempts=20"), "20 tries: more than it takes"),
    Wrong(INSIST.replace("RetryPolicy(attempts=3)", "6"), "give a RetryPolicy"),
    Wrong(
        INSIST_SOLUTION.replace("attempts=attempts)", "attempts=attempts, jitter=0.0)"),
        "leave delay, factor and jitter",
    ),
    Wrong(
        "import math\nfrom patterns.mcp_session import RetryPolicy\n\n"
        "def answer(outage):\n"
        "    doubled = math.ceil(math.log2(outage / 0.2 + 1))\n"
        "    return RetryPolicy(attempts=1 + doubled)\n",
        "too few",
    ),
    Wrong(INSIST_SOLUTION.replace("return RetryPolicy", "RetryPolicy"), "gives None"),
)

# ── 4  A till with a limit ────────────────────────────────────────────────────────────────────


OTHERS: Final = ("gift", "order_by_phone", "stock_up", "brew", "cancel_order", "")
"""What a till of this kind leaves to a person."""


def _request(tool: str, **arguments: Any) -> ToolRequest:
    return ToolRequest("toolu_1", "till-1", "req_1", "shop", tool, arguments)


def grade_till(answer: Any) -> Grade:
    """Looks pass, orders pass up to the limit in all, and everything else gets a reason."""
    hint = run(_sold(answer))
    return not_yet(hint) if hint else SOLVED


async def _sold(answer: Any) -> str:
    draw = Random(7)
    for most in (200, 1, 1_000, *(draw.randint(1, 500) for _ in range(20))):
        approve = answer(most)
        if not callable(approve):
            if inspect.iscoroutine(approve):
                approve.close()
            return f"till({most}) must give the rule, a function of one request."
        answer(most)  # another till, which must not count with this one
        cases = [("stock", 0, True), *((tool, 1, False) for tool in OTHERS)]
        orders = [most + 1, max(1, most // 2), most, *(draw.randint(1, most) for _ in range(6))]
        cases += _expected(most, orders)
        for tool, grams, allowed in [*cases, *((tool, 1, False) for tool in OTHERS)]:
            work = begun(approve, _request(tool, tea="assam", grams=grams))
            if work is None:
                return "the rule is awaited, once for each call: make it an `async def`."
            if hint := _judged(await work, allowed, f"till({most}), {tool or 'no tool'} {grams} g"):
                return hint
    return ""


def _expected(most: int, orders: Sequence[int]) -> Iterator[tuple[str, int, bool]]:
    """Orders and whether each may run; at last exactly what is left, and one gram more."""
    left = most
    for grams in orders:
        yield "order", grams, grams <= left
        yield "stock", 0, True
        left -= grams if grams <= left else 0
    if left:
        yield "order", left, True
    yield "order", 1, False


def _judged(said: Any, allowed: bool, case: str) -> str:
    if allowed:
        return "" if said is True else f"{case}: give True, not {said!r}."
    if said is True:
        return f"{case}: this must not run, and it gives True."
    if not isinstance(said, str) or not said.strip():
        return f"{case}: give a reason, a text that Claude can read, not {said!r}."
    return ""


TILL: Final = """\
def till(most):
    async def approve(request):
        return request.tool in {"stock", "order"}

    return approve


answer = till
"""
TILL_SOLUTION: Final = """\
def till(most):
    left = most

    async def approve(request):
        nonlocal left
        if request.tool == "stock":
            return True
        if request.tool != "order":
            return "Here you may look and order; ask a person for everything else."
        if request.arguments["grams"] > left:
            return f"At most {left} g more; ask a person."
        left -= request.arguments["grams"]
        return True

    return approve


answer = till
"""
TILL_RIGHT: Final = (
    """\
def answer(most):
    sold = []

    async def rule(request):
        if request.tool == "stock":
            return True
        if request.tool == "order" and sum(sold) + request.arguments["grams"] <= most:
            sold.append(request.arguments["grams"])
            return True
        return "no"

    return rule
""",
    """\
class Till:
    def __init__(self, most):
        self.most = most
        self.sold = 0

    async def approve(self, request):
        match request.tool, dict(request.arguments):
            case "stock", _:
                return True
            case "order", {"grams": int(grams)} if self.sold + grams <= self.most:
                self.sold += grams
                return True
            case "order", _:
                return f"{self.sold} g of {self.most} g are sold."
            case tool, _:
                return f"{tool} is not for you."

answer = lambda most: Till(most).approve
""",
    """\
def till(most, allowed=frozenset({"stock", "order"})):
    state = {"grams": 0}
    async def approve(request):
        grams = request.arguments.get("grams", 0) if request.tool == "order" else 0
        ok = request.tool in allowed and state["grams"] + grams <= most
        if ok:
            state["grams"] += grams
        return ok or "Ask a person first, please."
    return approve

answer = till
""",
    """\
from itertools import count

async def _decide(request, state):
    if request.tool == "order":
        after = state.left - request.arguments["grams"]
        if after < 0:
            return "That is more than I may sell: " + str(state.left)
        state.left = after
    elif request.tool != "stock":
        return "This tool needs a person."
    return True

def till(most):
    from types import SimpleNamespace
    state = SimpleNamespace(left=most)
    async def approve(request):
        return await _decide(request, state)
    return approve

answer = till
""",
)
TILL_WRONG: Final = (
    Wrong(
        TILL_SOLUTION.replace('        left -= request.arguments["grams"]\n', ""), "must not run"
    ),
    Wrong(TILL_SOLUTION.replace("> left:", ">= left:"), "give True"),
    Wrong(TILL_SOLUTION.replace('f"At most {left} g more; ask a person."', "False"), "a reason"),
    Wrong(TILL_SOLUTION.replace("    async def", "    def"), "make it an `async def`"),
    Wrong(
        TILL_SOLUTION.replace('!= "order"', 'not in {"order", "gift"}'), "gift 1 g: this must not"
    ),
    Wrong(TILL_SOLUTION.replace('== "stock"', 'in {"stock", "brew"}'), "brew 1 g: this must not"),
    Wrong(
        TILL_SOLUTION.replace('request.tool != "order"', 'not request.tool.startswith("order")'),
        "order_by_phone 1 g: this must not",
    ),
    Wrong(
        "sold = 0\n\n"
        + TILL_SOLUTION.replace("    left = most\n\n", "")
        .replace("nonlocal left", "global sold")
        .replace("> left", "+ sold > most")
        .replace("{left}", "{most - sold}")
        .replace("left -=", "sold +="),
        "order 1 g: give True",
    ),
    Wrong(
        TILL_SOLUTION.replace(
            '        if request.arguments["grams"] > left:\n'
            '            return f"At most {left} g more; ask a person."\n'
            '        left -= request.arguments["grams"]\n',
            '        left -= request.arguments["grams"]\n'
            "        if left < 0:\n"
            '            return "Ask a person."\n',
        ),
        "give True",
    ),
    Wrong(TILL_SOLUTION.replace("return approve", "return approve(most)"), "must give the rule"),
    Wrong('async def answer(request):\n    return request.tool == "stock"\n', "must give the rule"),
)

EXERCISES: Final = (
    Exercise("look", LOOK, LOOK_SOLUTION, grade_look, LOOK_WRONG, LOOK_RIGHT),
    Exercise(
        "may_repeat",
        REPEAT,
        REPEAT_SOLUTION,
        grade_may_repeat,
        REPEAT_WRONG,
        REPEAT_RIGHT,
        part=True,
    ),
    Exercise("insist", INSIST, INSIST_SOLUTION, grade_insist, INSIST_WRONG, INSIST_RIGHT),
    Exercise("till", TILL, TILL_SOLUTION, grade_till, TILL_WRONG, TILL_RIGHT),
)
check: Final = Checker(EXERCISES)
