"""From a reply to a message: blocks, cuts, stop reasons, counts."""

import json
from typing import Any, get_args

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent, StopReason
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from patterns.core.messages import Refused, text_of
from patterns.core.models import OPUS, SONNET
from patterns.fake_api import Error, FakeAPI, Fault, Reply, ToolUse, VirtualClock
from patterns.fake_api.tokens import (
    IMAGE,
    PDF,
    cut_to_tokens,
    document_tokens,
    input_tokens,
    text_tokens,
)
from patterns.fake_api.validation.examples import DEEPEST, example_of
from patterns.fake_api.wire.http import Request
from patterns.fake_api.wire.jsons import from_bytes, quick_bytes, to_bytes

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
}


def get(reply: Reply, **changes: Any) -> Message:
    """The message for a reply; its stream must add up to the same."""
    api = FakeAPI(clock=VirtualClock())
    api.enqueue(reply, reply)
    request = {**ASK, **changes}
    client = api.client()
    raw = client.messages.with_raw_response.create(**request)
    plain = TypeAdapter(Message).validate_json(raw.text(), strict=True)
    with client.messages.stream(**request) as stream:
        streamed = stream.get_final_message()
    kept = {"stop_reason", "stop_sequence", "stop_details", "usage"}
    assert streamed.model_dump(include=kept) == plain.model_dump(include=kept)
    assert [b.type for b in streamed.content] == [b.type for b in plain.content]
    return plain


@pytest.mark.parametrize("reason", get_args(StopReason))
def test_every_stop_reason_can_be_had(reason: str) -> None:
    """By name, in one piece and as a stream."""
    assert get(Reply("Text.", stop_reason=reason)).stop_reason == reason


@pytest.mark.parametrize("category", ["bio", "reasoning_extraction"])
def test_refusal_has_its_category(category: str) -> None:
    """With text before it or without."""
    for text in (None, "I would rather not."):
        with pytest.raises(Refused) as caught:
            text_of(get(Reply(text, refusal=category)))
        assert caught.value.category == category


def test_refusal_may_have_no_category() -> None:
    """As the API allows."""
    message = get(Reply(stop_reason="refusal"))
    assert message.stop_details is not None
    assert message.stop_details.category is None


def test_text_over_max_tokens_is_cut() -> None:
    """Four bytes are a token; the stop reason says so."""
    message = get(Reply("x" * 50), max_tokens=10)
    assert (message.content[0].model_dump()["text"], message.stop_reason) == (
        "x" * 40,
        "max_tokens",
    )
    assert message.usage.output_tokens == 10


def test_thinking_alone_can_use_up_max_tokens() -> None:
    """A cap that is too small ends with no text at all."""
    message = get(Reply("Paris.", thinking="y" * 500), max_tokens=100)
    assert [block.type for block in message.content] == ["thinking"]
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 100


def test_tool_call_that_does_not_fit_is_left_out() -> None:
    """A call is whole or not there."""
    call = ToolUse("add", {"text": "z" * 400})
    message = get(Reply("Now: ", tool_use=[call]), max_tokens=20)
    assert [block.type for block in message.content] == ["text"]
    assert message.stop_reason == "max_tokens"


def test_nothing_fits_when_thinking_ends_exactly_at_the_cap() -> None:
    """No empty block is left behind."""
    message = get(Reply("Paris.", thinking="y" * 40), max_tokens=10)
    assert [block.type for block in message.content] == ["thinking"]


def test_stop_sequence_ends_the_text() -> None:
    """The first one that occurs; the text ends before it."""
    message = get(Reply("one STOP two END"), stop_sequences=["END", "STOP"])
    assert text_of(message) == "one "
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")


def test_stop_sequence_is_looked_for_in_text_only() -> None:
    """Thinking may say it."""
    message = get(Reply("one STOP two", thinking="STOP?"), stop_sequences=["STOP"])
    assert [block.type for block in message.content] == ["thinking", "text"]


def test_stop_sequence_at_the_start_leaves_no_text() -> None:
    """An empty answer, which still counts a token."""
    message = get(Reply("STOP"), stop_sequences=["STOP"])
    assert (message.content, message.usage.output_tokens) == ([], 1)


def test_tool_calls_get_ids_from_the_request() -> None:
    """The same request gives the same ids, different for each call; given ids are kept."""
    calls: list[Any] = [{"name": "a", "input": {}}, ToolUse("b", {"x": [1]}), ToolUse("c", {}, "t")]
    ids = [[b.id for b in get(Reply(tool_use=calls)).content if b.type == "tool_use"] for _ in "ab"]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
    assert ids[0][2] == "t"


def test_thinking_can_be_omitted_or_disabled() -> None:
    """Omitted leaves a signature, disabled leaves nothing."""
    reply = Reply("Paris.", thinking="France.")
    omitted = get(reply, thinking={"type": "adaptive", "display": "omitted"}).content[0]
    assert omitted.type == "thinking"
    assert (omitted.thinking, bool(omitted.signature)) == ("", True)
    off = get(reply, thinking={"type": "disabled"}, model="claude-opus-5")
    assert [block.type for block in off.content] == ["text"]


def test_changed_thinking_is_refused_when_it_comes_back() -> None:
    """Thinking blocks go back as they came."""
    shown = {"type": "adaptive", "display": "summarized"}
    block = get(Reply("Paris.", thinking="France."), thinking=shown).content[0].model_dump()
    client = FakeAPI().client()

    def send(thinking: dict[str, Any]) -> Message:
        turns = [*ASK["messages"], {"role": "assistant", "content": [thinking]}, *ASK["messages"]]
        message: Message = client.messages.create(**{**ASK, "messages": turns})
        return message

    assert send(block)
    with pytest.raises(anthropic.BadRequestError, match="exactly as it was received"):
        send({**block, "thinking": "Spain."})
    omitted = get(Reply("Paris.", thinking="France.")).content[0].model_dump()
    assert omitted["thinking"] == ""
    assert send({**omitted, "thinking": "What is put there is ignored."})


def test_raw_content_is_sent_as_it_is() -> None:
    """Blocks of other kinds come whole, in streams too."""
    blocks: list[dict[str, Any]] = [
        {"type": "redacted_thinking", "data": "abc"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}},
        {"type": "text", "text": "Found."},
    ]
    message = get(Reply(content=blocks, stop_reason="pause_turn"))
    assert [block.type for block in message.content] == [block["type"] for block in blocks]
    assert message.stop_reason == "pause_turn"


def test_output_tokens_can_be_set() -> None:
    """For bills and loads without long texts; never above max_tokens."""
    assert get(Reply("x", output_tokens=77)).usage.output_tokens == 77
    assert get(Reply("x", output_tokens=7_000)).usage.output_tokens == 100


def test_warming_answers_with_nothing() -> None:
    """`max_tokens` of 0: no content, no output tokens."""
    message: Message = FakeAPI().client().messages.create(**{**ASK, "max_tokens": 0})
    assert (message.content, message.usage.output_tokens) == ([], 0)


def test_speed_is_said_in_usage() -> None:
    """Fast mode is billed apart."""
    assert get(Reply("x"), model=OPUS, speed="fast").usage.speed == "fast"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reply("a", json={}),
        lambda: Reply("a", stop_reason="bored"),
        lambda: Reply(refusal="mood"),
        lambda: Reply(content=[{"text": "no type"}]),
        lambda: Error(200),
    ],
)
def test_impossible_replies_are_refused(make: Any) -> None:
    """At once, where they are written."""
    with pytest.raises(ValueError, match=r"Reply|stop_reason|refusal|status"):
        make()


def test_echo_fits_the_output_schema() -> None:
    """An unscripted request for structured output gets a value of that shape."""
    schema = {
        "type": "object",
        "additionalProperties": False,
        "$defs": {"Kind": {"enum": ["a", "b"]}},
        "properties": {
            "kind": {"$ref": "#/$defs/Kind"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "rate": {"type": "number"},
            "sure": {"type": "boolean"},
            "nothing": {"type": "null"},
            "fixed": {"const": 7},
        },
    }
    config: Any = {"format": {"type": "json_schema", "schema": schema}}
    assert json.loads(text_of(FakeAPI().client().messages.create(**ASK, output_config=config))) == {
        "kind": "a",
        "maybe": 0,
        "tags": ["echo"],
        "rate": 0.0,
        "sure": False,
        "nothing": None,
        "fixed": 7,
    }


def test_recursive_schema_ends() -> None:
    """A schema that holds itself gives a value of bounded depth."""
    schema = {
        "$ref": "#/$defs/T",
        "$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}},
    }
    assert json.dumps(example_of(schema, schema)).count("[") <= DEEPEST


def test_long_prompt_is_echoed_by_its_start() -> None:
    """The echo stays short."""
    turn = {"role": "user", "content": "q" * 5_000}
    message: Message = FakeAPI().client().messages.create(**{**ASK, "messages": [turn]})
    assert text_of(message).endswith("q…")
    assert len(text_of(message)) < 300


def test_estimate_by_hand() -> None:
    """The documented rule: a quarter of the bytes, 3 per message, 10 per tool, flat images."""
    tool = {"name": "add", "input_schema": {"type": "object"}}
    definition = json.dumps(tool, separators=(",", ":"))
    image = {"type": "image", "source": {"type": "url", "url": "u"}}
    pdf = {"type": "document", "source": {"type": "base64", "data": "eA=="}, "title": "four"}
    plain = {"type": "document", "source": {"type": "text", "data": "12345"}}
    parts = {"type": "document", "source": {"type": "content", "content": "12345678"}}
    body = {
        "system": "12345678",
        "tools": [tool],
        "messages": [{"role": "user", "content": [image, pdf, plain, parts]}],
    }
    by_hand = 2 + 10 + -(-len(definition) // 4) + 3 + IMAGE + (1 + PDF) + 2 + 2
    assert input_tokens(body) == by_hand
    assert document_tokens({"source": None}) == PDF
    assert text_tokens("字字") == 2  # six bytes


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.integers(0, 20))
def test_cut_text_is_a_beginning_that_fits(text: str, limit: int) -> None:
    """Never more than the limit, never half a character."""
    cut = cut_to_tokens(text, limit)
    assert text_tokens(cut) <= limit
    assert text.startswith(cut)


@settings(max_examples=40, deadline=None)
@given(
    st.text(max_size=90), st.text(max_size=90) | st.none(), st.integers(1, 40), st.integers(1, 9)
)
def test_stream_adds_up_to_the_plain_answer(
    text: str, thinking: str | None, limit: int, chunk: int
) -> None:
    """Whatever the text, the cap and the pieces that it arrives in."""
    reply = Reply(text, thinking=thinking)
    api = FakeAPI(faults=[Fault.chunked(chunk)])
    api.enqueue(reply, reply)
    client = api.client()
    plain = client.messages.create(**{**ASK, "max_tokens": limit})
    with client.messages.stream(**{**ASK, "max_tokens": limit}) as stream:
        streamed = stream.get_final_message()
    assert [b.model_dump(exclude={"parsed_output"}) for b in streamed.content] == [
        b.model_dump() for b in plain.content
    ]
    assert streamed.usage.output_tokens == plain.usage.output_tokens


def test_stream_events_parse_strictly_for_every_kind_of_block() -> None:
    """Each event is what the SDK's type describes."""
    api = FakeAPI()
    api.enqueue(Reply("Text.", thinking="Hm.", tool_use=[ToolUse("a", {"b": "c" * 50})]))
    stream = api.client().messages.with_raw_response.create(stream=True, **ASK)
    data = [line[6:] for line in stream.text().split("\n") if line.startswith("data: ")]
    events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    kinds = [events.validate_json(each, strict=True).type for each in data if "ping" not in each]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3


HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21"}


def test_journal_shows_bodies_that_are_no_json() -> None:
    """As text; and nothing where there was none; large ones as they came."""
    api = FakeAPI()
    large = json.dumps({**ASK, "messages": [{"role": "user", "content": "w" * 100_000}]}).encode()
    for method, body in (("POST", b"{"), ("GET", b""), ("POST", large)):
        api.handle(Request(method, "/v1/messages", {}, HEADERS, body))
    assert [entry.body for entry in api.journal[:2]] == ["{", None]
    assert api.journal[2].body["messages"][0]["content"] == "w" * 100_000


def test_body_too_deep_to_walk_is_refused() -> None:
    """What Python can parse and cannot walk over again."""

    def explode(body: Any) -> Any:
        raise RecursionError

    api = FakeAPI()
    api.enqueue(explode)
    answer = api.handle(Request("POST", "/v1/messages", {}, HEADERS, json.dumps(ASK).encode()))
    assert answer.status == 400
    assert b"nested too deeply" in bytes(answer.body)  # type: ignore[arg-type]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_quick_json_says_the_same(value: Any) -> None:
    """And what it says is read again as it was."""
    assert json.loads(quick_bytes(value)) == json.loads(to_bytes(value))
    assert from_bytes(quick_bytes(value)) == json.loads(to_bytes(value))


def test_json_that_only_the_standard_library_takes_is_taken() -> None:
    """Half characters in and out, and more depth than the quick parser's."""
    deep = b"[" * 250 + b"]" * 250
    assert to_bytes(from_bytes(deep)) == quick_bytes(from_bytes(deep)) == deep
    assert from_bytes(b'"\\ud800"') == "\ud800"
    assert quick_bytes("\ud800") == to_bytes("\ud800") == b'"?"'
