"""Hostile but legal: what callers really pass and what the API may really answer.

One shared source of awkward inputs. A property test that uses it says: a right result, or a typed
error of ours before anything is paid; nothing lost in silence.

    @given(hostile.values())
    def test_any_user_is_labelled_or_refused(user):
        result = hostile.settle(lambda: call_context(user=user))

`values` and `texts` are what types forbid and people pass. `usages` and `messages` are bodies as
JSON, and `serving` is a client that answers with one of them through the real SDK.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import httpx2
import numpy as np
from anthropic import Anthropic, BadRequestError
from anthropic.types import Message, TextBlock, Usage
from anthropic.types.beta import BetaUsage
from hypothesis import strategies as st

from patterns.core.models import MODELS, SONNET

BLANKS: Final = ("", " ", "\n", "\t\r\n", "\u00a0", "\u200b")
"""Texts that show nothing; the last two are not all white space to `str.strip`."""

AWKWARD_TEXTS: Final = (
    *BLANKS,
    "\ud800",  # a lone surrogate: JSON can carry it, UTF-8 cannot
    "a\x00b",
    "e\u0301",  # decomposed é
    "\u202eabc",  # written from right to left
    "line\u2028separator",
    "🇨🇭👩‍👩‍👧",
    "</answer><system>",
    '{"a": 1}',
    "'; DROP TABLE calls; --",
    "x" * 10_000,
)


class Colour(enum.Enum):
    """An enum that is no str."""

    RED = "red"


class Tone(enum.StrEnum):
    """An enum that is one."""

    WARM = "chat"


def texts() -> st.SearchStrategy[str]:
    """Text of any kind, lone surrogates included."""
    anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
    return st.sampled_from(AWKWARD_TEXTS) | anything


def numbers() -> st.SearchStrategy[Any]:
    """Numbers of every type, the ones that are no quantity included."""
    return st.one_of(
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.booleans(),
        st.sampled_from([Decimal("NaN"), Decimal("-0"), Decimal("1e400"), Fraction(1, 3), 1j]),
        st.sampled_from([np.int64(3), np.float32("nan"), np.bool_(True), np.array([1, 2])]),
    )


def moments() -> st.SearchStrategy[Any]:
    """Points in time: with a zone, without one, a bare date, and far away."""
    aware = st.datetimes(timezones=st.timezones() | st.just(UTC))
    ends = [datetime.max, datetime.min]  # noqa: DTZ901 (a zone is what they lack)
    odd = st.sampled_from([date(2026, 11, 9), *ends, timedelta(days=1)])
    return st.datetimes() | aware | odd


def values() -> st.SearchStrategy[Any]:
    """What a type checker forbids and people pass all the same."""
    return st.one_of(
        st.none(),
        texts(),
        numbers(),
        moments(),
        st.binary(max_size=5),
        st.uuids() | st.just(UUID(int=0)),
        st.sampled_from([Colour.RED, Tone.WARM, object, TextBlock(type="text", text="hi")]),
        st.builds(object) | st.builds(SimpleNamespace) | st.builds(_generator),
        st.sampled_from(
            [[], ["a"], (), {}, {"a": 1}, {1, 2}, frozenset({"a"}), [[]], {"a": [None]}]
        ),
        st.just(Usage(input_tokens=1, output_tokens=1)),
    )


def _generator() -> Iterator[str]:
    yield "once"


counts = st.integers(0, 3_000) | st.sampled_from([0, 99_999, 100_000, 100_001, 200_001, 10**6])
"""Tokens, with the edges of price steps among them."""


@st.composite
def samplings(draw: st.DrawFn) -> dict[str, Any]:
    """The token counts of one sampling, with every part that may be missing sometimes missing."""
    minutes, hour = draw(counts), draw(counts)
    usage: dict[str, Any] = {"input_tokens": draw(counts), "output_tokens": draw(counts)}
    parts: dict[str, Any] = {
        "cache_creation_input_tokens": minutes + hour,
        "cache_read_input_tokens": draw(counts),
        "cache_creation": {
            "ephemeral_5m_input_tokens": minutes,
            "ephemeral_1h_input_tokens": hour,
        },
    }
    for name, value in parts.items():
        match draw(st.sampled_from(["given", "null", "absent"])):
            case "given":
                usage[name] = value
            case "null":
                usage[name] = None
    return usage


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """A usage as the API may send it: parts null or absent, fields that no SDK knows yet."""
    usage = draw(samplings())
    optional: dict[str, st.SearchStrategy[Any]] = {
        "service_tier": st.sampled_from([None, "standard", "batch", "priority", "flex"]),
        "speed": st.sampled_from([None, "standard", "fast"]),
        "inference_geo": st.sampled_from([None, "global", "us", "not_available", "moon"]),
        "server_tool_use": st.none() | st.dictionaries(_TOOLS, st.none() | st.integers(0, 5)),
        "iterations": st.none() | st.lists(_iterations(), max_size=3),
        "output_tokens_details": st.just({"thinking_tokens": 3}),
        "news": unknown_json(),
    }
    for name, strategy in optional.items():
        if draw(st.booleans()):
            usage[name] = draw(strategy)
    return usage


_TOOLS = st.sampled_from(
    ["web_search_requests", "web_fetch_requests", "tool_search_requests", "moon_requests"]
)


@st.composite
def _iterations(draw: st.DrawFn) -> dict[str, Any]:
    kinds = ["message", "compaction", "advisor_message", "fallback_message", "news"]
    model = draw(st.sampled_from([None, SONNET, "claude-quartz-9"]))
    zero = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return zero | draw(samplings()) | {"type": draw(st.sampled_from(kinds)), "model": model}


def unknown_json() -> st.SearchStrategy[Any]:
    """What a field that no SDK knows may hold."""
    return st.sampled_from([None, True, 3, "", "news", [], [1, None], {}, {"a": {"b": [""]}}])


def shapes_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """One usage in every shape in which callers hold it; all of them mean the same."""
    return {
        "dict": dict(usage),
        "namespace of dicts": SimpleNamespace(**usage),
        "namespace all the way": json.loads(
            json.dumps(usage), object_hook=lambda fields: SimpleNamespace(**fields)
        ),
        "GA, as the client makes it": Usage.construct(**usage),
        "beta, as the client makes it": BetaUsage.construct(**usage),
        "GA, not converted": Usage.model_construct(**usage),
    }


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    """A content block of a known or an unknown type, with fields that nobody knows."""
    text = draw(st.sampled_from(BLANKS) | st.text(max_size=20))
    block: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"type": "text", "text": text, "citations": None},
                {"type": "thinking", "thinking": text, "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "AA=="},
                {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": text}},
                {"type": "hologram", "payload": {"x": [text]}},
            ]
        )
    )
    return block | {"news": None} if draw(st.booleans()) else block


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    """A whole answer: blank, with extra blocks, an unknown stop reason, a dated model id."""
    model = draw(st.sampled_from([*MODELS, f"{SONNET}-20260930", "claude-quartz-9", ""]))
    stops = ["end_turn", "max_tokens", "refusal", "pause_turn", "tool_use", "bored", None]
    extra = {"news": draw(unknown_json())} if draw(st.booleans()) else {}
    return extra | {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": draw(st.lists(blocks(), max_size=3)),
        "stop_reason": draw(st.sampled_from(stops)),
        "stop_sequence": None,
        "usage": draw(usages()),
    }


def as_message(body: Mapping[str, Any]) -> Message:
    """The body as the client makes it of an answer: unknown things are kept, not refused."""
    return Message.construct(**body)


def serving(*bodies: Mapping[str, Any], **options: Any) -> Anthropic:
    """A real client whose answers are these bodies in turn, the last one again and again."""
    queue = [json.dumps(body).encode() for body in bodies]

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = queue.pop(0) if len(queue) > 1 else queue[0]
        headers = {"content-type": "application/json", "request-id": "req_1"}
        return httpx2.Response(200, content=body, headers=headers)

    http_client = httpx2.Client(transport=httpx2.MockTransport(answer))
    return Anthropic(api_key="k", http_client=http_client, max_retries=0, **options)


@dataclass(frozen=True)
class Settled:
    """How a call went.

    Attributes:
        value: what it returned; None when it raised.
        error: the typed error of ours that it raised, or None.
    """

    value: Any = None
    error: Exception | None = None


def settle(call: Callable[[], Any]) -> Settled:
    """Run a call; an error of ours is a result, any other goes on and fails the test."""
    try:
        return Settled(value=call())
    except Exception as error:
        if not any(cls.__module__.startswith("patterns.") for cls in type(error).__mro__):
            raise
        return Settled(error=error)


def settle_call(call: Callable[[], Any]) -> Settled:
    """`settle` for calls that may reach an API: a 400 is its answer to what a text says."""
    try:
        return settle(call)
    except BadRequestError as error:
        return Settled(error=error)
    except UnicodeEncodeError as error:  # the SDK's own, for half a character, before it sends
        return Settled(error=error)
