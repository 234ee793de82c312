"""Exercises of chapter 00: note an answer, know how it ended, ask again or not, add up a bill."""

import random
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import product
from typing import Any, Final

import httpx2
from anthropic import Anthropic, APIError
from anthropic.types import Message, Usage

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet, pair, yes_or_no
from patterns.core.messages import Refused, Truncated
from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.core.pricing import cost_usd

THINKING: Final = {"type": "thinking", "thinking": "private", "signature": "s"}
TOOL: Final = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}


def _message(*content: Any, stop_reason: str = "end_turn", **usage: int | None) -> Message:
    blocks = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    return Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": SONNET,
            "content": blocks,
            "stop_reason": stop_reason,
            "usage": {"input_tokens": 20, "output_tokens": 49, **usage},
        }
    )


# ── 1. What the desk notes of an answer ───────────────────────────────────────────────────────

KEYS: Final = ("types", "ended", "tokens_in", "tokens_out")


def _noted() -> Iterator[Message]:
    yield _message("hello")
    yield _message(THINKING, "hello")
    yield _message("so far", TOOL, stop_reason="tool_use")
    yield _message(stop_reason="refusal")
    draws = random.Random(7)
    for _ in range(20):
        yield _message(
            *draws.choices(("one", "two", THINKING), k=draws.randint(0, 4)),
            stop_reason=draws.choice(("end_turn", "max_tokens")),
            input_tokens=draws.randint(1, 999),
            output_tokens=draws.randint(0, 999),
            cache_read_input_tokens=draws.choice((None, 0, 5_000)),
            cache_creation_input_tokens=draws.choice((None, 0, 3_000)),
        )


def grade_log_line(answer: Any) -> Grade:
    """`answer(message)` notes types, ending and tokens, cached ones included, and no text."""
    for message in _noted():
        usage, got = message.usage, answer(message)
        if not isinstance(got, Mapping):
            return not_yet(f"return a dict; yours is a {type(got).__name__}")
        if missing := [key for key in KEYS if key not in got]:
            return not_yet(f"the dict lacks {', '.join(missing)}")
        if extra := sorted(map(str, set(got) - {*KEYS})):
            return not_yet(f"nothing else goes into the log, but there is {', '.join(extra)}")
        read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        wanted = (
            [block.type for block in message.content],
            message.stop_reason,
            usage.input_tokens + (read or 0) + (written or 0),
            usage.output_tokens,
        )
        for key, expected in zip(KEYS, wanted, strict=True):
            found = list(got[key]) if isinstance(got[key], tuple) else got[key]
            if found != expected:
                cached = f"; the cache read {read} and wrote {written}" if key == KEYS[2] else ""
                return not_yet(f"{key} is {found!r}, expected {expected!r}{cached}")
    return SOLVED


LOG_LINE: Final = Exercise(
    name="log_line",
    starter="""\
def log_line(message):
    return {"types": [message.content[0].type], "tokens_in": message.usage.input_tokens}


answer = log_line""",
    solution="""\
def log_line(message):
    usage = message.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return {
        "types": [block.type for block in message.content],
        "ended": message.stop_reason,
        "tokens_in": usage.input_tokens + cached,
        "tokens_out": usage.output_tokens,
    }


answer = log_line""",
    grade=grade_log_line,
    right=(
        "answer = lambda m: dict(types=[b.type for b in m.content], ended=m.stop_reason,"
        " tokens_in=sum(filter(None, (m.usage.input_tokens, m.usage.cache_read_input_tokens,"
        " m.usage.cache_creation_input_tokens))), tokens_out=m.usage.output_tokens)",
        """\
def answer(message):
    types = []
    for block in message.content:
        types.append(block.type)
    total = message.usage.input_tokens
    if message.usage.cache_read_input_tokens is not None:
        total += message.usage.cache_read_input_tokens
    if message.usage.cache_creation_input_tokens is not None:
        total += message.usage.cache_creation_input_tokens
    return {"tokens_out": message.usage.output_tokens, "tokens_in": total,
            "ended": message.stop_reason, "types": types}""",
        """\
def answer(message):
    data = message.to_dict()
    usage = data["usage"]
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return {"types": tuple(b["type"] for b in data["content"]), "ended": data["stop_reason"],
            "tokens_in": sum(usage.get(name) or 0 for name in names),
            "tokens_out": usage["output_tokens"]}""",
        """\
from operator import attrgetter

def answer(message):
    usage = message.usage.model_dump()
    prompt = sum(usage[k] or 0 for k in usage if k.endswith("input_tokens"))
    return {"types": list(map(attrgetter("type"), message.content)), "tokens_in": prompt,
            "ended": message.stop_reason, "tokens_out": usage["output_tokens"]}""",
    ),
    wrong=(
        Wrong("answer = lambda message: str(message)", "return a dict"),
        Wrong("answer = lambda message: message.to_dict()", "lacks types, ended"),
        Wrong(
            "answer = lambda m: {'types': [b.type for b in m.content], 'ended': m.stop_reason,"
            " 'tokens_in': m.usage.input_tokens, 'tokens_out': m.usage.output_tokens}",
            "the cache read",
        ),
        Wrong(
            "answer = lambda m: {'types': [b.type for b in m.content], 'ended': m.stop_reason,"
            " 'tokens_in': m.usage.input_tokens + m.usage.cache_read_input_tokens,"
            " 'tokens_out': m.usage.output_tokens}",
            "TypeError",
        ),
        Wrong(
            "answer = lambda m: {'types': [m.content[0].type], 'ended': m.stop_reason,"
            " 'tokens_in': 0, 'tokens_out': m.usage.output_tokens}",
            "tokens_in is 0",
        ),
        Wrong(
            "answer = lambda m: {'types': sorted({b.type for b in m.content}), 'ended':"
            " m.stop_reason, 'tokens_in': m.usage.input_tokens + (m.usage.cache_read_input_tokens"
            " or 0) + (m.usage.cache_creation_input_tokens or 0),"
            " 'tokens_out': m.usage.output_tokens}",
            "types is",
        ),
        Wrong(
            "answer = lambda m: {'types': [b.type for b in m.content], 'ended': m.stop_reason,"
            " 'tokens_in': m.usage.input_tokens, 'tokens_out': m.usage.output_tokens,"
            " 'text': [b.text for b in m.content if b.type == 'text']}",
            "there is text",
        ),
    ),
)

# ── 2. The desk's reply ───────────────────────────────────────────────────────────────────────

ENDINGS: Final = {
    "end_turn": ("whole", "an answer that ended by itself is whole"),
    "max_tokens": ("cut", "max_tokens means that the text stops in the middle"),
    "refusal": ("refused", "a refusal can carry text too: look at stop_reason, not at the length"),
    "model_context_window_exceeded": ("cut", "there is a second way to be cut off"),
    "stop_sequence": ("whole", "a stop sequence is an end that you asked for"),
}
CONTENTS: Final = (
    (("hello",), "hello", "it does not read a plain answer"),
    ((THINKING, "hello"), "hello", "a thinking block may come first, and is no text"),
    (("one ", "two"), "one two", "there may be several text blocks; join them with nothing"),
    (("one", THINKING, " two\n"), "one two\n", "something may stand between two texts"),
    ((THINKING,), "", "a message may have no text at all"),
    ((), "", "a message may have no content at all"),
)


def grade_reply(answer: Any) -> Grade:
    """`answer(message)` gives `whole`, `cut` or `refused`, and all of the text."""
    for (content, text, said), (stop_reason, (status, why)) in product(CONTENTS, ENDINGS.items()):
        given = answer(_message(*content, stop_reason=stop_reason))
        got = pair(given)
        if got is None:
            return not_yet(f"return two values, status and text; yours gives {given!r}")
        if got[0] != status:
            return not_yet(f"{why} ({stop_reason}: expected {status!r}, got {got[0]!r})")
        expected = "" if status == "refused" else text
        if got[1] != expected:
            if not got[1] and status == "cut":
                said = "of a cut answer the text so far is kept"
            said = "of a refused answer nothing is passed on" if status == "refused" else said
            return not_yet(f"{said}: expected {expected!r}, got {got[1]!r} ({stop_reason})")
    return SOLVED


JOINED: Final = "''.join(b.text for b in m.content if b.type == 'text')"

REPLY: Final = Exercise(
    name="reply",
    part=True,
    starter="""\
def reply(message):
    return "whole" if message.content else "refused", message.content[0].text


answer = reply""",
    solution="""\
from patterns.core.messages import Refused, Truncated, text_of


def reply(message):
    try:
        return "whole", text_of(message)
    except Truncated as error:
        return "cut", error.partial
    except Refused:
        return "refused", ""


answer = reply""",
    grade=grade_reply,
    right=(
        f"""\
CUT = ("max_tokens", "model_context_window_exceeded")

def answer(m):
    if m.stop_reason == "refusal":
        return ("refused", "")
    return ("cut" if m.stop_reason in CUT else "whole", {JOINED})""",
        """\
def answer(message):
    text = ""
    for block in message.content:
        if block.type == "text":
            text += block.text
    match message.stop_reason:
        case "refusal":
            return "refused", ""
        case "max_tokens" | "model_context_window_exceeded":
            return "cut", text
        case _:
            return "whole", text""",
        """\
from anthropic.types import TextBlock
from patterns.core.messages import TRUNCATING

def answer(message):
    parts = [b.text for b in message.content if isinstance(b, TextBlock)]
    if message.stop_reason == "refusal":
        parts.clear()
        return "refused", "".join(parts)
    return ["cut" if message.stop_reason in TRUNCATING else "whole", "".join(parts)]""",
        """\
how = {"max_tokens": "cut", "model_context_window_exceeded": "cut", "refusal": "refused"}
read = lambda m: "".join(getattr(b, "text", "") for b in m.content)
status = lambda m: how.get(m.stop_reason, "whole")
answer = lambda m: (status(m), "" if status(m) == "refused" else read(m))""",
    ),
    wrong=(
        Wrong("from patterns.core.messages import text_of\nanswer = text_of", "two values"),
        Wrong(f"answer = lambda m: ('whole', {JOINED})", "stops in the middle"),
        Wrong(
            "answer = lambda m: ({'end_turn': 'whole', 'refusal': 'refused'}"
            f".get(m.stop_reason, 'cut'), '' if m.stop_reason == 'refusal' else {JOINED})",
            "you asked for",
        ),
        Wrong(
            "answer = lambda m: ({'max_tokens': 'cut', 'refusal': 'refused'}"
            f".get(m.stop_reason, 'whole'), '' if m.stop_reason == 'refusal' else {JOINED})",
            "second way",
        ),
        Wrong(
            "from patterns.core.messages import *\n"
            "def answer(m):\n"
            "    try:\n        return 'whole', text_of(m)\n"
            "    except Truncated:\n        return 'cut', ''\n"
            "    except Refused:\n        return 'refused', ''",
            "the text so far is kept",
        ),
        Wrong(
            "how = {'max_tokens': 'cut', 'model_context_window_exceeded': 'cut',"
            " 'refusal': 'refused'}\n"
            f"answer = lambda m: (how.get(m.stop_reason, 'whole'), {JOINED})",
            "nothing is passed on",
        ),
        Wrong(
            "how = {'max_tokens': 'cut', 'model_context_window_exceeded': 'cut',"
            " 'refusal': 'refused'}\n"
            "answer = lambda m: (how.get(m.stop_reason, 'whole'), '' if m.stop_reason == 'refusal'"
            " else '\\n'.join(b.text for b in m.content if b.type == 'text'))",
            "join them with nothing",
        ),
    ),
)

# ── 3. Ask again? ─────────────────────────────────────────────────────────────────────────────


def _raised(respond: Callable[[httpx2.Request], httpx2.Response]) -> Exception:
    """What the real SDK raises after such a response, or such a failure of the network."""
    transport = httpx2.MockTransport(respond)
    with Anthropic(
        api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport)
    ) as client:
        try:
            client.models.retrieve(SONNET)
        except APIError as error:
            return error
    raise AssertionError("a failure was expected")


def _status(code: int) -> Exception:
    return _raised(lambda _: httpx2.Response(code, json={"error": {"message": "no"}}))


def _lost(error: Exception) -> Exception:
    def respond(_: httpx2.Request) -> httpx2.Response:
        raise error

    return _raised(respond)


def _failures() -> Iterator[tuple[Exception, bool, str]]:
    yield _status(429), True, "a rate limit passes"
    yield _status(529), True, "an overload passes"
    yield _status(400), False, "the same bad request is bad again"
    yield _lost(httpx2.ConnectError("no route")), True, "no answer, no status_code"
    yield _lost(httpx2.ReadTimeout("slow")), True, "a timeout is a connection error too"
    for code in (500, 502, 503, 504, 520, 599):
        yield _status(code), True, "every 5xx is the server's trouble"
    for code in (408, 409):
        yield _status(code), True, "two of the 4xx pass with time as well"
    for code in (401, 403, 404, 413, 422):
        yield _status(code), False, "the request itself is at fault, or who sends it"
    yield Refused("cyber"), False, "a refusal is an answer; asked again, it comes again"
    yield Truncated("max_tokens", "so"), False, "a cut answer is cut again at the same place"


def grade_again(answer: Any) -> Grade:
    """`answer(error)` says whether the same request may succeed a little later."""
    for error, expected, why in _failures():
        said = answer(error)
        got = yes_or_no(said)
        if got is None:
            return not_yet(f"return True or False; yours gives {said!r}")
        if got != expected:
            code = getattr(error, "status_code", "")
            name = " ".join(filter(None, (type(error).__name__, str(code))))
            return not_yet(f"{name}: expected {expected}, got {got}; {why}")
    return SOLVED


AGAIN: Final = Exercise(
    name="again",
    starter="""\
def again(error):
    return error.status_code == 429


answer = again""",
    solution="""\
from anthropic import APIConnectionError, APIStatusError


def again(error):
    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, APIConnectionError)


answer = again""",
    grade=grade_again,
    right=(
        """\
import anthropic

def answer(error):
    if isinstance(error, anthropic.APIConnectionError):
        return True
    code = getattr(error, "status_code", None)
    return code is not None and (code in {408, 409, 429} or 500 <= code <= 599)""",
        """\
from anthropic import *

PASSING = (APIConnectionError, APITimeoutError, RateLimitError, ConflictError, InternalServerError)

def answer(error):
    return isinstance(error, PASSING) or getattr(error, "status_code", 0) in (408, 529)""",
        """\
import anthropic

def answer(error):
    match error:
        case anthropic.APIConnectionError():
            return True
        case anthropic.APIStatusError(status_code=408 | 409 | 429):
            return True
        case anthropic.APIStatusError(status_code=code):
            return code >= 500
        case _:
            return False""",
        """\
from anthropic import APIConnectionError as Lost
answer = lambda e: isinstance(e, Lost) or str(getattr(e, "status_code", ""))[:1] == "5" or (
    getattr(e, "status_code", 0) in [408, 409, 429])""",
        "from patterns.core.retrying import is_transient as answer",
    ),
    wrong=(
        Wrong("answer = lambda error: True", "bad request is bad again"),
        Wrong("answer = lambda error: error.status_code", "True or False"),
        Wrong("answer = lambda error: error.status_code in (429, 529)", "AttributeError"),
        Wrong(
            "answer = lambda error: getattr(error, 'status_code', 500) >= 500"
            " or error.status_code in (408, 409, 429)",
            "a refusal is an answer",
        ),
        Wrong(
            "import anthropic\nanswer = lambda e: isinstance(e, (anthropic.APIConnectionError,"
            " anthropic.RateLimitError)) or getattr(e, 'status_code', 0) in (500, 503, 529)",
            "every 5xx",
        ),
        Wrong(
            "import anthropic\nanswer = lambda e: isinstance(e, (anthropic.APIConnectionError,"
            " anthropic.RateLimitError)) or getattr(e, 'status_code', 0) >= 500",
            "two of the 4xx",
        ),
        Wrong(
            "import anthropic\nanswer = lambda e: isinstance(e, anthropic.APIError)"
            " and getattr(e, 'status_code', 0) != 400",
            "AuthenticationError 401",
        ),
    ),
)

# ── 4. What a day costs ───────────────────────────────────────────────────────────────────────

UNKNOWN: Final = "claude-of-next-year"


def _days() -> Iterator[list[tuple[str, Usage]]]:
    plain = Usage(input_tokens=1_000, output_tokens=500)
    cached = Usage(input_tokens=10, output_tokens=500, cache_read_input_tokens=50_000)
    yield [(SONNET, plain)]
    yield [(SONNET, plain), (OPUS, plain)]
    yield [(SONNET, plain), (UNKNOWN, plain), (HAIKU, cached)]
    yield [(UNKNOWN, plain), (UNKNOWN, cached)]
    yield []
    yield [(SONNET, Usage(input_tokens=0, output_tokens=0)), (SONNET, plain)]  # free, and priced
    draws = random.Random(3)
    for _ in range(20):
        usage = Usage(input_tokens=draws.randint(1, 150_000), output_tokens=draws.randint(1, 999))
        yield [(draws.choice((HAIKU, SONNET, UNKNOWN)), usage) for _ in range(draws.randint(0, 9))]


def grade_bill(answer: Any) -> Grade:
    """`answer(calls)` gives the exact total, and how many calls have no price."""
    for calls in _days():
        prices = [cost_usd(model, usage) for model, usage in calls]
        total = sum((price for price in prices if price is not None), Decimal(0))
        models = ", ".join(model for model, _ in calls) or "no calls"
        given = answer([*calls])
        got = pair(given)
        if got is None:
            return not_yet(f"return two values, total and unpriced; yours gives {given!r}")
        if isinstance(got[0], float):
            return not_yet("keep to Decimal: floats lose fractions of a cent")
        if got[0] != total:
            return not_yet(f"the total is {got[0]}, expected {total} ({models})")
        if got[1] != prices.count(None):
            return not_yet(f"{got[1]!r} without a price, expected {prices.count(None)} ({models})")
    return SOLVED


PRICED: Final = "from decimal import Decimal\nfrom patterns.core.pricing import cost_usd\n"

BILL: Final = Exercise(
    name="bill",
    starter="""\
from patterns.core.pricing import cost_usd


def bill(calls):
    return sum(cost_usd(model, usage) for model, usage in calls)


answer = bill""",
    solution="""\
from patterns.core.pricing import cost_usd


def bill(calls):
    prices = [cost_usd(model, usage) for model, usage in calls]
    return sum(price for price in prices if price is not None), prices.count(None)


answer = bill""",
    grade=grade_bill,
    right=(
        PRICED
        + """\
def answer(calls):
    total, unpriced = Decimal(0), 0
    for model, usage in calls:
        price = cost_usd(model, usage)
        if price is None:
            unpriced += 1
        else:
            total += price
    return total, unpriced""",
        PRICED
        + """\
def answer(calls):
    known = list(filter(lambda p: p is not None, (cost_usd(*call) for call in calls)))
    return sum(known, start=Decimal("0")), len(calls) - len(known)""",
        PRICED
        + """\
from collections import namedtuple
Bill = namedtuple("Bill", "total unpriced")
answer = lambda calls: Bill(sum(cost_usd(m, u) or 0 for m, u in calls),
                            sum(cost_usd(m, u) is None for m, u in calls))""",
        """\
from functools import reduce
from patterns.core.pricing import cost_usd

def add(so_far, call):
    price = cost_usd(call[0], call[1])
    return (so_far[0], so_far[1] + 1) if price is None else (so_far[0] + price, so_far[1])

answer = lambda calls: reduce(add, calls, (0, 0))""",
    ),
    wrong=(
        Wrong(PRICED + "answer = lambda calls: sum(cost_usd(*c) or 0 for c in calls)", "two val"),
        Wrong(PRICED + "answer = lambda calls: (sum(cost_usd(*c) or 0 for c in calls), 0)", "0 w"),
        Wrong(PRICED + "answer = lambda calls: (sum(cost_usd(*c) for c in calls), 0)", "TypeError"),
        Wrong(
            PRICED + "answer = lambda calls: (sum(float(cost_usd(*c) or 0) for c in calls),"
            " sum(cost_usd(*c) is None for c in calls))",
            "floats lose",
        ),
        Wrong(
            PRICED + "answer = lambda calls: (cost_usd(*calls[0]) or 0,"
            " sum(cost_usd(*c) is None for c in calls))",
            "the total is",
        ),
        Wrong(
            PRICED + "answer = lambda calls: (sum(cost_usd(*c) or 0 for c in calls),"
            " len({m for m, u in calls if cost_usd(m, u) is None}))",
            "1 without a price, expected 2",
        ),
        Wrong(
            PRICED + "answer = lambda calls: (sum(cost_usd(*c) or 0 for c in calls),"
            " sum(not cost_usd(*c) for c in calls))",
            "1 without a price, expected 0",
        ),
        Wrong(
            "from decimal import Decimal\nanswer = lambda calls: (sum("
            "Decimal(u.input_tokens * 2 + u.output_tokens * 10) / 1_000_000 for _, u in calls), 0)",
            "the total is",
        ),
    ),
)

EXERCISES: Final = (LOG_LINE, REPLY, AGAIN, BILL)
check: Final = Checker(EXERCISES)
