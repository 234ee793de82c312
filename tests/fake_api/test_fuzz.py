"""Whatever a client sends, the fake answers: a message or an error in the API's shape."""

import copy
import json
from typing import Any

import pytest
from anthropic.types import ErrorResponse, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from patterns.core.models import MODELS, SONNET
from patterns.fake_api import FakeAPI
from patterns.fake_api.wire.http import Request
from patterns.fake_api.wire.signatures import sign

HEADERS = {"authorization": "Bearer any", "anthropic-version": "2026-10-21"}
RICH: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "tools": [
        {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}},
        {"type": "web_search_20260318", "name": "web_search"},
    ],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive"},
    "output_config": {
        "effort": "low",
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"n": {"$ref": "#/$defs/N"}, "l": {"type": "array", "items": {}}},
                "$defs": {"N": {"enum": [1, 2]}},
                "additionalProperties": False,
            },
        },
    },
    "metadata": {"user_id": "u1"},
    "stop_sequences": ["END"],
    "diagnostics": {"previous_message_id": None},
    "cache_control": {"type": "ephemeral", "ttl": "5m"},
    "messages": [
        {"role": "user", "content": "Add 2 and 2."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": sign("Hm.")},
                {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 2}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "4"}],
                },
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "x"}]},
                    "citations": {"enabled": False},
                },
                {"type": "image", "source": {"type": "url", "url": "https://example.org/i.png"}},
            ],
        },
    ],
}

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["text", "tool_use", "tool_result", "user", "assistant", "any", *MODELS])
)
KEYS = st.text(max_size=5) | st.sampled_from(["type", "text", "role", "content", "cache_control"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    found = [path]
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for n, part in enumerate(value):
            found += places(part, (*path, n))
    return found


PLACES = places(RICH)[1:]


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    """Replace one place, if the path still leads somewhere."""
    for key in path[:-1]:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(value, dict) or (isinstance(value, list) and path[-1] in range(len(value))):
        value[path[-1]] = new


def answer(body: bytes, path: str = "/v1/messages", **headers: str) -> tuple[int, bytes]:
    """Status and body, the stream joined."""
    got = FakeAPI().handle(Request("POST", path, {}, {**HEADERS, **headers}, body))
    if isinstance(got.body, bytes):
        return got.status, got.body
    return got.status, b"".join(step for step in got.body if isinstance(step, bytes))


def check(status: int, body: bytes) -> None:
    """A message or an error, to the letter of the SDK's types."""
    if status == 200:
        TypeAdapter(Message).validate_json(body, strict=True)
    else:
        assert status in (400, 404)
        TypeAdapter(ErrorResponse).validate_json(body, strict=True)


def test_the_rich_request_is_good() -> None:
    """What the mutations start from is accepted."""
    status, body = answer(json.dumps(RICH).encode())
    assert status == 200, body
    check(status, body)


CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3)


@settings(max_examples=100, deadline=None)
@given(CHANGES, st.booleans())
def test_mutated_requests_get_an_answer(
    changes: list[tuple[tuple[Any, ...], Any]], beta: bool
) -> None:
    """A good request with anything anywhere in it is answered or refused, never dropped."""
    mutate_and_check(changes, beta)


@pytest.mark.soak
@settings(max_examples=5_000, deadline=None)
@given(CHANGES, st.booleans())
def test_five_thousand_mutated_requests_get_an_answer(
    changes: list[tuple[tuple[Any, ...], Any]], beta: bool
) -> None:
    """The same, for longer."""
    mutate_and_check(changes, beta)


def mutate_and_check(changes: list[tuple[tuple[Any, ...], Any]], beta: bool) -> None:
    """Change the rich request and look at the answer."""
    request = copy.deepcopy(RICH)
    for path, new in changes:
        put(request, path, new)
    request.pop("stream", None)
    headers = {"anthropic-beta": "some-2026-01-01"} if beta else {}
    check(*answer(json.dumps(request).encode(), **headers))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    """Bytes that are no request are refused in shape, on each path that takes some."""
    for path in ("/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"):
        status, error = answer(body, path)
        assert status in (400, 404)
        TypeAdapter(ErrorResponse).validate_json(error, strict=True)


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_any_batch_gets_an_answer(params: Any) -> None:
    """What stands in a batch's request surfaces in its results, not as a crash."""
    body = json.dumps({"requests": [{"custom_id": "a", "params": params}]}).encode()
    status, _ = answer(body, "/v1/messages/batches")
    assert status == (200 if isinstance(params, dict) else 400)


def test_deep_nesting_is_refused() -> None:
    """Too deep to parse, and deep enough to parse but not to walk."""
    for depth in (50, 300, 600, 5_000, 100_000):
        for inner in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            tool = b'{"name":"a","description":"b","input_schema":{"type":"object","x":' + inner
            body = b'{"model":"%s","max_tokens":9,' % SONNET.encode()
            body += b'"messages":[{"role":"user","content":"hi"}],"tools":[' + tool + b"}}]}"
            status, got = answer(body)
            assert status in (200, 400), (depth, got)
