"""Exercises of chapter 08: join results, name requests, sort out retries, choose a lane."""

import builtins
import copy
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final

from anthropic.types.messages import MessageBatchIndividualResponse

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet, yes_or_no
from patterns.batching import RESUMABLE

OUTCOMES: Final = ("succeeded", "errored", "canceled", "expired")


def joins() -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """Ids and lines: shuffled, some twice, some missing, some of a stranger."""
    yield ["c", "a", "b"], [("b", "succeeded"), ("c", "errored"), ("a", "succeeded")]
    rng = random.Random(8)
    for n in (1, 2, 5, 40):
        ids = rng.sample([f"T-{k}" for k in range(100)], n)
        lines = [(each, rng.choice(OUTCOMES)) for each in ids if rng.random() < 0.7]
        lines += lines[:2]
        rng.shuffle(lines)
        yield ids, lines
        yield ids, [*lines, ("nobody-asked", "succeeded")]


def grade_join(answer: Any) -> Grade:
    """`answer(ids, lines)` gives each id its outcome, in the order in which they were asked."""
    for ids, lines in joins():
        joined = answer(list(ids), list(lines))
        said = f"for ids {ids[:5]} and lines {lines[:5]}: "
        if not isinstance(joined, Mapping):
            return not_yet(said + "return a dict from id to outcome")
        if lost := [each for each in ids if each not in joined]:
            return not_yet(said + f"{lost[0]} was asked and is not in the answer")
        if "nobody-asked" in joined:
            return not_yet("an id that nobody asked for is in the answer")
        found = dict(lines)
        for each in ids:
            right = found.get(each, "missing")
            if joined[each] != right:
                return not_yet(
                    said + f"{each} is {right!r} and you say {joined[each]!r}; "
                    "join on the id, not on the place"
                )
        if list(joined) != ids:
            return not_yet(said + "give them in the order in which they were asked")
    return SOLVED


JOIN: Final = Exercise(
    name="join",
    starter="""\
def answer(ids, lines):
    return {ids[n]: outcome for n, (_, outcome) in enumerate(lines)}
""",
    solution="""\
def answer(ids, lines):
    found = dict(lines)
    return {custom_id: found.get(custom_id, "missing") for custom_id in ids}
""",
    right=(
        """\
def answer(ids, lines):
    result = {}
    for i in ids:
        result[i] = "missing"
    for custom_id, outcome in lines:
        if custom_id in result:
            result[custom_id] = outcome
    return result
""",
        "def answer(ids, lines):\n"
        "    return {i: next((o for j, o in lines if i == j), 'missing') for i in ids}\n",
        "from collections import ChainMap\n"
        "def answer(ids, lines):\n"
        "    both = ChainMap(dict(lines), dict.fromkeys(ids, 'missing'))\n"
        "    return {i: both[i] for i in ids}\n",
        "answer = lambda ids, lines: dict((i, dict(lines).get(i) or 'missing') for i in ids)\n",
        "from collections import OrderedDict, defaultdict\n"
        "def answer(ids, lines):\n"
        "    found = defaultdict(lambda: 'missing', lines)\n"
        "    return OrderedDict((i, found[i]) for i in ids)\n",
    ),
    wrong=(
        Wrong("answer = lambda ids, lines: dict(lines)\n", "in the order in which"),
        Wrong("answer = lambda ids, lines: {i: dict(lines)[i] for i in ids}\n", "KeyError"),
        Wrong(
            "def answer(ids, lines):\n"
            "    return {**dict(lines), **{i: 'missing' for i in ids if i not in dict(lines)}}\n",
            "in the order in which they were asked",
        ),
        Wrong("answer = lambda ids, lines: [dict(lines).get(i) for i in ids]\n", "a dict"),
        Wrong("answer = lambda ids, lines: {i: dict(lines).get(i) for i in ids}\n", "'missing'"),
        Wrong(
            "answer = lambda ids, lines: {i: dict(lines).get(i, 'missing') for i in sorted(ids)}\n",
            "in the order in which they were asked",
        ),
        Wrong(
            "def answer(ids, lines):\n"
            "    return {**dict.fromkeys(ids, 'missing'), **dict(lines)}\n",
            "nobody asked for",
        ),
        Wrong(
            "answer = lambda ids, lines: dict(zip(ids, [o for _, o in lines]))\n",
            "not on the place",
        ),
    ),
    grade=grade_join,
)

IDS: Final = (
    *("T-17", "t-17", "T-71", "T 17", "T/17", "T_17", "T-17 ", "17", "017", "T.17"),
    *(
        "Tee-Ä",
        "Tee-A",
        "茶-1",
        "茶-2",
        "T-17茶",
        "T-17茶茶",
        "Café",
        "Cafe\u0301",
        "'",
        '"',
        "=",
        "==",
        "\n",
        "c-204@example.com",
    ),
    *("x" * 64, "x" * 65, "x" * 99 + "a", "x" * 99 + "b", "ü" * 100),
    *("plumless", "buckeroo"),  # equal by CRC-32
    *("T-22308", "T-71269", "T-100281", "T-130577", "T-37000", "T-113502"),  # by 32 bits of a hash
)
"""Ticket ids that a job id must tell apart."""
LEGAL: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def grade_job_id(answer: Any) -> Grade:
    """`answer(ticket)` is a legal custom_id, always the same for a ticket, one to one."""
    later = fresh(answer)
    ids = [*IDS, *(f"T-{n:05}" for n in range(20_000))]
    owner: dict[str, str] = {}
    for ticket_id in ids:
        made = answer(ticket(ticket_id))
        if not isinstance(made, str) or not LEGAL.match(made):
            return not_yet(
                f"for ticket {ticket_id[:70]!r} you give {made!r}: an id has 1 to 64 of a-z, A-Z, "
                "0-9, _ and -"
            )
        if owner.setdefault(made, ticket_id) != ticket_id:
            return not_yet(f"tickets {owner[made]!r} and {ticket_id!r} both become {made!r}")
    made_of = {ticket_id: made for made, ticket_id in owner.items()}
    with another_process():
        for ticket_id in reversed(IDS):
            again, other = later(ticket(ticket_id)), later(ticket(ticket_id, "Never mind."))
            if again != made_of[ticket_id]:
                return not_yet(f"another process gives {ticket_id!r} another id than yours")
            if other != again:
                return not_yet("the id changes with the text; it may depend on ticket['id'] alone")
    return SOLVED


def ticket(ticket_id: str, text: str = "Where is my tea?") -> dict[str, str]:
    """A ticket of the desk."""
    return {"id": ticket_id, "customer": "c-204", "text": text}


@contextmanager
def another_process() -> Iterator[None]:
    """Hashes of text as they are elsewhere: Python salts them anew in each process."""
    real = builtins.hash
    builtins.hash = lambda value: real(("salt", value))
    try:
        yield
    finally:
        builtins.hash = real


def fresh(answer: Any) -> Callable[[Any], Any]:
    """The function with the state from before its first call."""
    if not isinstance(answer, FunctionType):
        return answer  # type: ignore[no-any-return]
    state = {
        name: copy.deepcopy(value)
        for name, value in answer.__globals__.items()
        if name in answer.__code__.co_names
        and isinstance(value, dict | list | set | itertools.count)
    }
    names = {**answer.__globals__, **state}
    defaults = copy.deepcopy(answer.__defaults__)
    again = FunctionType(answer.__code__, names, answer.__name__, defaults, answer.__closure__)
    again.__kwdefaults__ = copy.deepcopy(answer.__kwdefaults__)
    return again


JOB_ID: Final = Exercise(
    name="job_id",
    part=True,
    starter="""\
def answer(ticket):
    return ticket["id"].replace(" ", "-")
""",
    solution="""\
from hashlib import sha256


def answer(ticket):
    return sha256(ticket["id"].encode()).hexdigest()
""",
    right=(
        "import uuid\n"
        "answer = lambda t: str(uuid.uuid5(uuid.NAMESPACE_URL, 'ticket:' + t['id']))\n",
        "import base64, hashlib\n"
        "def answer(ticket):\n"
        "    digest = hashlib.blake2b(ticket['id'].encode('utf-8'), digest_size=32).digest()\n"
        "    return base64.urlsafe_b64encode(digest).decode().rstrip('=')\n",
        "from hashlib import sha512\n"
        "answer = lambda ticket: 'job-' + sha512(ticket['id'].encode()).hexdigest()[:40]\n",
        "import hashlib\n"
        "cache = {}\n"
        "def answer(ticket):\n"
        "    key = ticket['id']\n"
        "    if key not in cache:\n"
        "        cache[key] = 'T_' + hashlib.md5(key.encode()).hexdigest().upper()\n"
        "    return cache[key]\n",
        "import re, hashlib\n"
        "def answer(ticket):\n"
        "    readable = re.sub('[^a-zA-Z0-9]', '-', ticket['id'])[:20]\n"
        "    return readable + '-' + hashlib.sha1(ticket['id'].encode()).hexdigest()\n",
    ),
    wrong=(
        Wrong(
            "from hashlib import sha256\n"
            "answer = lambda t: sha256(t['id'].encode('ascii', 'ignore')).hexdigest()\n",
            "both become",
        ),
        Wrong(
            "from hashlib import sha256\n"
            "from unicodedata import normalize\n"
            "answer = lambda t: sha256(normalize('NFC', t['id']).encode()).hexdigest()\n",
            "both become",
        ),
        Wrong("answer = lambda ticket: ticket['id']\n", "1 to 64 of a-z"),
        Wrong(
            "import re\nanswer = lambda t: re.sub('[^a-zA-Z0-9_-]', '_', t['id'])[:64]\n",
            "both become",
        ),
        Wrong("answer = lambda ticket: f\"job-{hash(ticket['id'])}\"\n", "another process"),
        Wrong("import uuid\nanswer = lambda ticket: str(uuid.uuid4())\n", "another process"),
        Wrong(
            "seen = {}\n"
            "def answer(ticket):\n"
            "    return f\"job-{seen.setdefault(ticket['id'], len(seen))}\"\n",
            "another process",
        ),
        Wrong(
            "import hashlib\n"
            "def answer(ticket):\n"
            "    return hashlib.sha256(ticket['id'].encode()).hexdigest()[:8]\n",
            "both become",
        ),
        Wrong(
            "import zlib\nanswer = lambda ticket: str(zlib.crc32(ticket['id'].encode()))\n",
            "'plumless' and 'buckeroo'",
        ),
        Wrong(
            "import hashlib, json\n"
            "def answer(ticket):\n"
            "    return hashlib.sha256(json.dumps(ticket).encode()).hexdigest()\n",
            "changes with the text",
        ),
        Wrong(
            "from base64 import urlsafe_b64encode\n"
            "answer = lambda ticket: urlsafe_b64encode(ticket['id'].encode()).decode()\n",
            "1 to 64 of a-z",
        ),
        Wrong(
            "from hashlib import sha256\n"
            "def answer(ticket):\n"
            "    return sha256(ticket['id'].lower().encode()).hexdigest()\n",
            "'T-17' and 't-17'",
        ),
    ),
    grade=grade_job_id,
)

FINAL_ERRORS: Final = (
    *("invalid_request_error", "authentication_error", "permission_error"),
    "not_found_error",
)


def line(outcome: str, error: str = "") -> MessageBatchIndividualResponse:
    """A result as the SDK gives it."""
    result: dict[str, Any] = {"type": outcome}
    if error:
        told = {"type": error, "message": f"authored: {error}"}
        result["error"] = {"type": "error", "error": told, "request_id": None}
    if outcome == "succeeded":
        usage = {"input_tokens": 9, "output_tokens": 9}
        text = {"type": "text", "text": "expired: overloaded_error", "citations": None}
        result["message"] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
        result["message"] |= {"content": [text], "stop_reason": "max_tokens", "usage": usage}
    return MessageBatchIndividualResponse.model_validate({"custom_id": "row-1", "result": result})


def grade_again(answer: Any) -> Grade:
    """`answer(line)` says whether the same request is worth sending again."""
    cases = [(line("errored", each), False) for each in FINAL_ERRORS]
    cases += [(line(each), False) for each in ("succeeded", "canceled")]
    cases += [(line("errored", each), True) for each in sorted(RESUMABLE - {"expired"})]
    for each, right in [*cases, (line("expired"), True)]:
        error = getattr(each.result, "error", None)
        name = each.result.type + (f" by {error.error.type}" if error else "")
        said = answer(each)
        given = yes_or_no(said)
        if given is None:
            return not_yet(f"{name}: return True or False, not {said!r}")
        if given != right:
            return not_yet(f"{name}: {_why(each.result.type, right)}")
    return SOLVED


def _why(outcome: str, right: bool) -> str:
    if outcome == "expired":
        return "nobody worked on it and nobody billed it, so send it again"
    if outcome == "succeeded":
        return "you have an answer and paid for it; the same request would be paid twice"
    if outcome == "canceled":
        return "somebody did not want it any more"
    return "it passes, so send it again" if right else "the same request would fail again"


_PASSING: Final = '"api_error", "billing_error", "overloaded_error", "rate_limit_error"'

AGAIN: Final = Exercise(
    name="again",
    starter="""\
def answer(line):
    return line.result.type != "succeeded"
""",
    solution=f"""\
PASSING = {{{_PASSING}, "timeout_error"}}


def answer(line):
    if line.result.type == "errored":
        return line.result.error.error.type in PASSING
    return line.result.type == "expired"
""",
    right=(
        "from patterns.batching import RESUMABLE\n"
        "def answer(line):\n"
        "    result = line.result\n"
        "    kind = result.error.error.type if result.type == 'errored' else result.type\n"
        "    return kind in RESUMABLE\n",
        "def answer(line):\n"
        "    match line.result.type:\n"
        "        case 'expired':\n"
        "            return True\n"
        "        case 'errored':\n"
        "            kind = line.result.error.error.type.removesuffix('_error')\n"
        "            return kind in 'api billing overloaded rate_limit timeout'.split()\n"
        "        case _:\n"
        "            return False\n",
        "from anthropic.types.messages import MessageBatchErroredResult as E\n"
        "from anthropic.types.messages import MessageBatchExpiredResult as X\n"
        f"OK = ({_PASSING}, 'timeout_error')\n"
        "answer = lambda line: isinstance(line.result, X) or (\n"
        "    isinstance(line.result, E) and line.result.error.error.type in OK)\n",
        "def answer(line):\n"
        "    raw = line.to_dict()['result']\n"
        "    if raw['type'] == 'expired':\n"
        "        return True\n"
        "    error = raw.get('error', {}).get('error', {}).get('type', '')\n"
        f"    return error in [{_PASSING}, 'timeout_error']\n",
    ),
    wrong=(
        Wrong("answer = lambda line: line.result.type in ('errored', 'expired')\n", "fail again"),
        Wrong("answer = lambda line: line.result.type == 'expired'\n", "it passes"),
        Wrong("answer = lambda line: False\n", "it passes"),
        Wrong(
            "answer = lambda line: line.result.error.error.type == 'overloaded_error'\n",
            "'MessageBatchSucceededResult' object has no attribute 'error'",
        ),
        Wrong("answer = lambda line: 'overloaded' in str(line)\n", "paid twice"),
        Wrong(
            "def answer(line):\n"
            "    r = line.result\n"
            "    return r.type == 'canceled' or (\n"
            "        r.type == 'errored' and r.error.error.type.startswith('over'))\n",
            "did not want it",
        ),
        Wrong(
            "def answer(line):\n"
            f"    return line.result.type == 'errored' and line.result.error.error.type in "
            f"[{_PASSING}, 'timeout_error']\n",
            "nobody worked on it",
        ),
        Wrong("answer = lambda line: line.result.type\n", "True or False"),
        Wrong("answer = lambda line: line.result.error.type in ('error',)\n", "fail again"),
    ),
    grade=grade_again,
)

LANES: Final[tuple[tuple[float | None, str], ...]] = (
    *((wait, "now") for wait in (0, 1, 4, 12.5, 23, 23.6, 23.999, -3)),
    *((wait, "tonight") for wait in (24, 24.0, 24.5, 36, 48, 72, 1_000, math.inf)),
    (None, "now"),
)
TEXTS: Final = ("Where is my tea?", "Urgent!!! Now!", "No hurry, tonight is fine.", "")


def grade_lane(answer: Any) -> Grade:
    """`answer(ticket, waits_h)` is "tonight" for who can wait a day, and "now" for the others."""
    for (wait, right), text in itertools.product(LANES, TEXTS):
        asked = ticket("T-17", text)
        before = dict(asked)
        given = answer(asked, wait)
        if given not in ("now", "tonight"):
            return not_yet(f'for waits_h={wait} you give {given!r}; a lane is "now" or "tonight"')
        if given != right:
            return not_yet(f"for waits_h={wait} and the text {text!r}: {_because(wait)}")
        if asked != before:
            return not_yet("the ticket has changed; only say its lane")
    return SOLVED


def _because(wait: float | None) -> str:
    if wait is None:
        return "nobody knows how long this customer can wait, so now"
    if wait < 24:
        return "a batch is only sure to have ended after 24 hours, so now"
    return "24 hours are enough for a batch, and it costs half, so tonight"


LANE: Final = Exercise(
    name="lane",
    part=True,
    starter="""\
def answer(ticket, waits_h):
    return "tonight" if waits_h > 1 else "now"
""",
    solution="""\
def answer(ticket, waits_h):
    return "tonight" if waits_h is not None and waits_h >= 24 else "now"
""",
    right=(
        "def answer(ticket, waits_h):\n"
        "    if waits_h is None:\n"
        "        return 'now'\n"
        "    if waits_h < 24:\n"
        "        return 'now'\n"
        "    return 'tonight'\n",
        "answer = lambda ticket, waits_h: ('now', 'tonight')[(waits_h or 0) >= 24]\n",
        "from datetime import timedelta\n"
        "def answer(ticket, waits_h):\n"
        "    hours = min(waits_h or 0, 1e6)\n"
        "    return 'tonight' if timedelta(hours=hours) >= timedelta(days=1) else 'now'\n",
        "def answer(ticket, waits_h):\n"
        "    match waits_h:\n"
        "        case int() | float() if waits_h >= 24:\n"
        "            return 'tonight'\n"
        "    return 'now'\n",
        "import math\n"
        "def answer(ticket, waits_h):\n"
        "    try:\n"
        "        return ['now', 'tonight'][not waits_h < 24.0]\n"
        "    except TypeError:\n"
        "        return 'now'\n",
    ),
    wrong=(
        Wrong(
            "answer = lambda ticket, waits_h: 'tonight' if waits_h and waits_h > 24 else 'now'\n",
            "24 hours are enough",
        ),
        Wrong("answer = lambda ticket, waits_h: 'now' if waits_h < 24 else 'tonight'\n", "raises"),
        Wrong(
            "answer = lambda ticket, waits_h: 'now' if waits_h and waits_h < 24 else 'tonight'\n",
            "so now",
        ),
        Wrong(
            "answer = lambda ticket, waits_h: 'batch' if (waits_h or 0) >= 24 else 'now'\n",
            'a lane is "now" or "tonight"',
        ),
        Wrong(
            "answer = lambda ticket, waits_h: 'tonight' if (waits_h or 0) >= 1 else 'now'\n",
            "only sure to have ended after 24 hours",
        ),
        Wrong(
            "answer = lambda ticket, waits_h: 'tonight' if round(waits_h or 0) >= 24 else 'now'\n",
            "waits_h=23.6",
        ),
        Wrong(
            "def answer(ticket, waits_h):\n"
            "    if 'urgent' in ticket['text'].lower():\n"
            "        return 'now'\n"
            "    return 'tonight' if (waits_h or 0) >= 24 else 'now'\n",
            "the text 'Urgent!!! Now!'",
        ),
        Wrong(
            "def answer(ticket, waits_h):\n"
            "    ticket['lane'] = 'tonight' if (waits_h or 0) >= 24 else 'now'\n"
            "    return ticket['lane']\n",
            "the ticket has changed",
        ),
        Wrong("answer = lambda ticket, waits_h: (waits_h or 0) >= 24\n", "you give False"),
    ),
    grade=grade_lane,
)

EXERCISES: Final = (JOIN, JOB_ID, AGAIN, LANE)
check: Final = Checker(EXERCISES)
