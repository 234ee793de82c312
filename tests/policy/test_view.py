"""Which call a request is, and every text it carries."""

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIRequest, APIResponse, CallNext, Middleware
from hypothesis import given
from hypothesis import strategies as st

from patterns.policy.flow import note, notes, noting
from patterns.policy.texts import Key, NotReadable, Remembered, Slot, edited, texts_of
from patterns.policy.view import call_id, endpoint_of, view_of


class Spy(Middleware):
    """Keeps each request that passes."""

    def __init__(self) -> None:
        self.requests: list[APIRequest] = []

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        self.requests.append(request)
        return call_next(request)


def spied(status: int = 200) -> tuple[Anthropic, Spy]:
    spy = Spy()
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, json={}))
    client = Anthropic(
        api_key="test",
        http_client=httpx2.Client(transport=transport),
        middleware=[spy],
        max_retries=1,
    )
    return client, spy


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("post", "/v1/messages", "messages.create"),
        ("post", "/v1/messages?beta=true", "messages.create"),
        ("post", "/v1/messages/count_tokens", "messages.count_tokens"),
        ("post", "/v1/messages/batches", "messages.batches.create"),
        ("get", "/v1/messages/batches/b_1/results", "messages.batches.results"),
        ("get", "/v1/messages/batches/b_1", "messages.batches.retrieve"),
        ("get", "/v1/models", "GET /v1/models"),
        ("get", "https://api.anthropic.com/v1/models", "GET /v1/models"),
    ],
)
def test_an_endpoint_has_one_name_and_an_unknown_one_keeps_its_path(
    method: str, path: str, expected: str
) -> None:
    """A path that only looks like a known one is not taken for it."""
    client, spy = spied()
    getattr(client, method)(path, cast_to=object)
    assert endpoint_of(spy.requests[0]) == expected


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"content": b"raw"},
        {"body": ["a", "list"]},
        {"files": [("file", b"bytes")]},
    ],
)
def test_a_body_that_no_policy_can_read_is_not_readable(arguments: dict[str, Any]) -> None:
    """Raw bytes would pass every scan unseen."""
    client, spy = spied()
    client.post("/v1/messages", cast_to=object, **arguments)
    with pytest.raises(NotReadable):
        view_of(spy.requests[0])


@pytest.mark.parametrize("requests", [None, [], ["x"], [{"custom_id": "a"}], [{"params": {}}]])
def test_a_batch_without_readable_items_is_not_readable(requests: Any) -> None:
    """Each item must show its parameters."""
    client, spy = spied()
    client.post("/v1/messages/batches", cast_to=object, body={"requests": requests})
    with pytest.raises(NotReadable, match="batch"):
        view_of(spy.requests[0])


def test_a_call_keeps_its_id_over_attempts() -> None:
    """An attempt that is repeated is the same call."""
    client, spy = spied()
    transport = httpx2.MockTransport(
        lambda _: httpx2.Response(529, headers={"retry-after-ms": "0.01"}, json={})
    )
    failing = client.with_options(http_client=httpx2.Client(transport=transport))
    with pytest.raises(Exception, match="529"):
        failing.post("/v1/messages", cast_to=object, body={})
    first, second = spy.requests
    assert call_id(first) == call_id(second)
    assert (first.retries_taken, second.retries_taken) == (0, 1)


def test_reading_calls_get_an_id_of_their_own() -> None:
    """The SDK gives a GET no idempotency key."""
    client, spy = spied()
    client.get("/v1/models", cast_to=object)
    assert call_id(spy.requests[0]).startswith("get-")
    assert view_of(spy.requests[0]).items == []


def test_no_output_at_all_may_be_asked_for() -> None:
    """Zero is a whole number from zero."""
    client, spy = spied()
    client.post("/v1/messages", cast_to=object, body={**EVERYWHERE, "max_tokens": 0})
    assert view_of(spy.requests[0]).actions[0].max_tokens == 0


EVERYWHERE: dict[str, Any] = {
    "model": "not-scanned",
    "max_tokens": 10,
    "metadata": {"user_id": "m0"},
    "system": [{"type": "text", "text": "s0", "cache_control": {"type": "ephemeral"}}],
    "tools": [{"name": "not-scanned", "description": "t0", "input_schema": {"title": "t1"}}],
    "messages": [
        {"role": "user", "content": "u0"},
        {"role": "user", "content": [{"type": "text", "text": "u1"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "sealed", "signature": "sealed"},
                {"type": "text", "text": "a0", "citations": [{"cited_text": "a1"}]},
                {"type": "text", "text": None},
                {
                    "type": "tool_use",
                    "id": "x",
                    "input": {"name": "a2", "n": 4111111111111111, "a@b.example": 1},
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "x", "content": "r0"},
                {"type": "tool_result", "content": [{"type": "text", "text": "r1"}]},
                {"type": "document", "source": {"type": "text", "data": "d0"}, "title": "d1"},
                {"type": "document", "source": {"type": "content", "content": "d2"}},
                {"type": "image", "source": {"type": "base64", "data": "sealed"}},
                "bare",
            ],
        },
    ],
}


def test_every_text_is_found_and_nothing_sealed() -> None:
    """Systems, all turns, results, documents, tools and tool input; not thinking, not base64."""
    found = {slot.text for run in texts_of(EVERYWHERE) for slot in run}
    marked = {"m0", "s0", "t0", "t1", "u0", "u1", "a0", "a1", "a2", "r0", "r1", "d0", "d1", "d2"}
    assert found == marked | {"4111111111111111", "bare", "a@b.example"} | {
        "not-scanned",
        "x",
        "user_id",
    }


def test_texts_that_the_model_reads_as_one_are_in_one_run() -> None:
    """Two turns of the same role follow each other without a seam."""
    runs = [[slot.text for slot in run] for run in texts_of(EVERYWHERE)]
    assert ["u0", "u1"] in runs


def test_an_edit_changes_its_place_and_shares_the_rest() -> None:
    """The caller's own object stays as it was."""
    paths = [slot.path for run in texts_of(EVERYWHERE) for slot in run]
    changed = edited(EVERYWHERE, dict.fromkeys(paths, "X"))
    assert {slot.text for run in texts_of(changed) for slot in run} == {"X"}
    first = Slot(("metadata", "user_id"), "m0", "system", "user_id")
    assert [first] in texts_of(EVERYWHERE)
    assert changed["messages"][2]["content"][0] is EVERYWHERE["messages"][2]["content"][0]
    assert "X" in changed["messages"][2]["content"][3]["input"]


def test_each_text_has_its_origin() -> None:
    """Ours, the user's, the model's, a tool's, a document's."""
    found = {slot.text: slot.origin for run in texts_of(EVERYWHERE) for slot in run}
    assert {found[name] for name in ("s0", "t0", "t1", "m0")} == {"system"}
    assert {found[name] for name in ("a0", "a1", "a2")} == {"assistant"}
    assert {found[name] for name in ("r0", "r1")} == {"tool"}
    assert {found[name] for name in ("d0", "d1", "d2")} == {"document"}
    assert {found[name] for name in ("u0", "u1", "bare")} == {"user"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(("system", "messages", "tools", "x")), json_values))
def test_any_json_body_can_be_walked(body: dict[str, Any]) -> None:
    """It is read, or it is not readable; no other error comes of it."""
    try:
        runs = texts_of(body)
    except NotReadable:
        return
    for run in runs:
        for slot in run:
            value: Any = body
            for step in slot.path:
                value = step.name if isinstance(step, Key) else value[step]
            assert str(value) == slot.text


def test_notes_belong_to_one_call() -> None:
    """Outside a call there is nobody to tell."""
    note("lost", 1)
    with noting() as kept:
        note("pii", {"email": 1})
        assert notes() is kept
    assert (kept, notes()) == ({"pii": {"email": 1}}, None)


def test_models_of_agents_are_found_however_deep() -> None:
    """An agent names its model in lists of objects, and by an object with an id."""
    client, spy = spied()
    agents = [{"model": "claude-a"}, {"model": {"id": "claude-b"}}]
    client.post("/v1/agents", cast_to=object, body={"team": agents})
    assert view_of(spy.requests[0]).actions[0].models == ("claude-a", "claude-b")


def test_what_was_found_in_a_text_is_found_once_as_long_as_there_is_room() -> None:
    """Equal texts share a result, others never do, and what is kept stays bounded."""
    looked: list[str] = []

    def find(text: str) -> list[str]:
        looked.append(text)
        return text.split()

    remembered = Remembered(find, most=7)
    texts = ["a b", "a b", "a  b", "a b", "\ud800", "c d e", "c d e", "a b"]
    assert [remembered(text) for text in texts] == [text.split() for text in texts]
    assert looked == ["a b", "a  b", "\ud800", "c d e", "a b"]
