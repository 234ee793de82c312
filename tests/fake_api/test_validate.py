"""What the API refuses: each bad request gets its status, its type and the field's path."""

from typing import Any

import anthropic
import pytest

from patterns.core.models import MODELS, OPUS, SONNET
from patterns.fake_api import FakeAPI, VirtualClock
from patterns.fake_api.validation import turns
from patterns.fake_api.wire.http import Request

USER = {"role": "user", "content": "hi"}
OLD = "claude-haiku-4-5"
TOOL = {"name": "add", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "4"}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def body(*messages: Any, **changes: Any) -> dict[str, Any]:
    """A good request with changes."""
    return {"model": SONNET, "max_tokens": 9, "messages": list(messages) or [USER], **changes}


def user(*blocks: Any) -> dict[str, Any]:
    """A user turn of blocks."""
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    """An assistant turn of blocks."""
    return {"role": "assistant", "content": list(blocks)}


def schema(**parts: Any) -> dict[str, Any]:
    """A request with an output schema."""
    base = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "schema": {**base, **parts}}
    return body(output_config={"format": form})


def without(key: str) -> dict[str, Any]:
    """A good request that lacks a field."""
    return {name: value for name, value in body().items() if name != key}


BAD: list[tuple[Any, str]] = [
    ([], "the body must be a JSON object, not an array"),
    ("x", "not a string"),
    (without("model"), "model: Field required"),
    (without("max_tokens"), "max_tokens: Field required"),
    (without("messages"), "messages: Field required"),
    (body(model=5), "model: Input should be a valid string, got an integer"),
    (body(max_tokens="9"), "max_tokens: Input should be a valid integer, got a string"),
    (body(max_tokens=True), "max_tokens: Input should be a valid integer, got a boolean"),
    (body(max_tokens=-1), "max_tokens: -1 is not between 0 and 128000"),
    (body(nonsense=1), "nonsense: Extra inputs are not permitted"),
    (body(messages={}), "messages: Input should be a valid array, got an object"),
    (body(messages=[]), "messages: at least one"),
    (body(7), "messages.0: Input should be a valid object"),
    (body({**USER, "name": "x"}), "messages.0.name: Extra inputs are not permitted"),
    (body({"role": "bot", "content": "x"}), "messages.0: Input tag 'bot' found using 'role'"),
    (
        body({"role": "user", "content": " "}),
        "messages.0: all messages must have non-empty content except",
    ),
    (
        body({"role": "user", "content": 1}),
        "messages.0.content: Input should be a valid string or array",
    ),
    (body({"role": "user", "content": []}), "messages.0: all messages must have non-empty content"),
    (body({"role": "assistant", "content": "x"}, USER), "messages.0.role: first message must use"),
    (body(user("x")), "messages.0.content.0: Input should be a valid object"),
    (body(user({"type": "text"})), "messages.0.content.0.text.text"),
    (
        body(user({"type": "text", "text": " "})),
        "messages.0.content.0: text content blocks must contain",
    ),
    (body(user({"type": "image"})), "messages.0.content.0.image.source"),
    (body(user(CALL)), "`tool_use` blocks can only be in `assistant` messages"),
    (body(USER, assistant(RESULT), USER), "`tool_result` blocks can only be in `user` messages"),
    (
        body(user({"type": "text", "text": "x", "citations": 1})),
        "text.citations: Input should be a valid array or null",
    ),
    (
        body(user({**RESULT, "content": 1})),
        "content.0.tool_result.content: Input should be a valid string or array",
    ),
    (
        body(user({**RESULT, "content": [1]})),
        "content.0.tool_result.content.0: Input should be a valid object",
    ),
    (
        body(
            user({"type": "document", "source": {"type": "content", "content": [{"type": "text"}]}})
        ),
        "content.0.document.source.content.content.0.text.text: Field required",
    ),
    (
        body(USER, assistant({**THINKING, "cache_control": {"type": "ephemeral"}}), USER),
        "thinking.cache_control: Extra inputs are not permitted",
    ),
    (body(user(RESULT)), "unexpected `tool_use_id` found in `tool_result` blocks: t1"),
    (body(USER, assistant(CALL), USER), "without `tool_result` blocks immediately after: t1"),
    (body(USER, assistant(CALL), user(RESULT, RESULT)), "each tool_use must have a single result"),
    (body(system=5), "system: Input should be a valid string or array, got an integer"),
    (body(system=[{"type": "image"}]), "system.0.type: Input should be 'text', got 'image'"),
    (
        body(system=[{"type": "text", "text": ""}]),
        "system.0.text: text content blocks must be non-empty",
    ),
    (body(tools={}), "tools: Input should be a valid array, got an object"),
    (body(tools=[1]), "tools.0: Input should be a valid object, got an integer"),
    (body(tools=[{"name": "a b", "input_schema": {}}]), "tools.0.name"),
    (body(tools=[{**TOOL, "description": 1}]), "tools.0.description"),
    (body(tools=[{"name": "a"}]), "tools.0.input_schema: Field required"),
    (body(tools=[{"name": "a", "input_schema": {}}]), "tools.0.input_schema.type"),
    (body(tools=[TOOL, TOOL]), "'add' comes twice"),
    (body(tools=[{"type": 5}]), "tools.0: Input tag 5 found using 'type'"),
    (
        body(tools=[{"type": "bash_20250124", "name": 5}]),
        "tools.0.bash_20250124.name: Input should be 'bash', got 5",
    ),
    (body(tool_choice="any", tools=[TOOL]), "tool_choice: Input should be a valid object"),
    (body(tool_choice={"type": "maybe"}, tools=[TOOL]), "tool_choice: Input tag 'maybe'"),
    (body(tool_choice={"type": "tool"}, tools=[TOOL]), "tool_choice.tool.name: Field required"),
    (body(tool_choice={"type": "auto"}), "tool_choice may only be specified while providing tools"),
    (body(thinking=True), "thinking: Input should be a valid object"),
    (body(thinking={"type": "much"}), "thinking: Input tag 'much'"),
    (
        body(thinking={"type": "enabled", "budget_tokens": 100}, model=OLD),
        "budget_tokens: must be at least 1024",
    ),
    (
        body(thinking={"type": "enabled", "budget_tokens": 2000}, model=OLD),
        "`max_tokens` must be greater than",
    ),
    (body(output_config=1), "output_config: Input should be a valid object"),
    (body(output_config={"effort": "huge"}), "output_config.effort"),
    (
        body(output_config={"format": {"type": "xml"}}),
        "output_config.format.type: Input should be 'json_schema'",
    ),
    (body(output_config={"format": {"type": "json_schema"}}), "output_config.format.schema"),
    (schema(additionalProperties=True), "additionalProperties"),
    (schema(properties=[1]), "properties is "),
    (schema(properties={"n": {"type": "integer", "minimum": 1}}), "'minimum' is not supported"),
    (schema(properties={"n": 5}), "properties.n is 5, not a schema"),
    (schema(properties={"n": {"$ref": "#/$defs/X"}}), "is not in the schema"),
    (schema(properties={"n": {"anyOf": []}}), "anyOf is "),
    (schema(properties={"n": {"anyOf": [{"maxLength": 3}]}}), "n.anyOf.0"),
    (schema(properties={"n": {"items": {"maxLength": 3}}}), "n.items"),
    (body(stop_sequences="x"), "stop_sequences: Input should be a valid array"),
    (body(stop_sequences=["x", " "]), "stop_sequences.1"),
    (body(metadata=[]), "metadata: Input should be a valid object"),
    (body(metadata={"audit_id": "1"}), "metadata.audit_id: Extra inputs"),
    (body(metadata={"user_id": "x" * 600}), "metadata.user_id"),
    (body(stream="yes"), "stream: Input should be a valid boolean"),
    (body(service_tier="gold"), "service_tier"),
    (body(speed="slow"), "speed"),
    (body(diagnostics=1), "diagnostics: Input should be a valid object or null"),
    (body(diagnostics={"previous_message_id": 1}), "diagnostics.previous_message_id"),
    (body(model=OLD, temperature="hot"), "temperature: Input should be a valid number"),
    (body(temperature=0.5), "temperature: `temperature` is not supported by anthropic-version"),
    (body(top_p=0.5), "top_p: `top_p` is not supported"),
    (body(top_k=5), "top_k: `top_k` is not supported"),
    (
        body(tool_choice={"type": "any"}, tools=[TOOL]),
        "tool_choice: type .tool. and .any. are not supported",
    ),
    (
        body(tool_choice={"type": "tool", "name": "add"}, tools=[TOOL]),
        "tool_choice: type .tool. and .any. are not supported",
    ),
    (
        body(thinking={"type": "enabled", "budget_tokens": 2000}),
        "thinking.type.enabled. is not supported",
    ),
    (body(thinking={"type": "disabled"}), "send .thinking.: ..type.: .between_tools"),
    (
        body(USER, {"role": "assistant", "content": "The answer is ("}),
        "does not support assistant message prefill",
    ),
    (
        body(USER, assistant({"type": "text", "text": "It is"})),
        "does not support assistant message prefill",
    ),
    (body(max_tokens=0, stream=True), "cannot be combined with stream"),
    (
        body(max_tokens=0, model=OLD, thinking={"type": "enabled", "budget_tokens": 2000}),
        "`max_tokens` must be greater than",
    ),
    ({**schema(), "max_tokens": 0}, "cannot be combined with output_config.format"),
    (
        body(max_tokens=0, model=OLD, tools=[TOOL], tool_choice={"type": "any"}),
        "cannot be combined with a tool_choice",
    ),
]


DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "Grass is green."},
}
FOUND = {"type": "search_result", "source": "s", "title": "t"}
PLACE = {
    "type": "char_location",
    "cited_text": "Grass",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 5,
}
CITED = {"type": "text", "text": "Green.", "citations": [PLACE]}


def send(request: Any) -> object:
    """A body as it is, past the SDK's own checks."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    return client.post("/v1/messages", body=request, cast_to=object)


@pytest.mark.parametrize(
    ("request_", "said"), BAD, ids=[f"{n}-{s}" for n, (_, s) in enumerate(BAD)]
)
def test_bad_request_gets_a_400_that_names_the_field(request_: Any, said: str) -> None:
    """Status, type and the path of what is wrong."""
    with pytest.raises(anthropic.BadRequestError, match=said) as caught:
        send(request_)
    assert caught.value.type == "invalid_request_error"


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of 100,000, made small here."""
    assert turns.MOST_MESSAGES == 100_000
    monkeypatch.setattr(turns, "MOST_MESSAGES", 3)
    with pytest.raises(anthropic.BadRequestError, match="messages: at most 3"):
        send(body(messages=[USER] * 4))


GOOD: list[tuple[str, Any]] = [
    ("system message in the conversation", body(USER, {"role": "system", "content": "x"})),
    (
        "system message after a tool's result",
        body(USER, assistant(CALL), user(RESULT), {"role": "system", "content": "x"}),
    ),
    ("consecutive turns of one role", body(USER, USER)),
    (
        "tools answered in two user messages",
        body(
            USER,
            assistant(CALL, {**CALL, "id": "t2"}),
            user(RESULT),
            user({**RESULT, "tool_use_id": "t2"}),
        ),
    ),
    (
        "paused turn sent back",
        body(
            USER,
            assistant(
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
            ),
            tools=[{"type": "web_search_20260318", "name": "web_search"}],
        ),
    ),
    ("server tool", body(tools=[{"type": "web_search_20260318", "name": "web_search"}])),
    ("tool choice none", body(tools=[TOOL], tool_choice={"type": "none"})),
    ("prefill on an older model", body(USER, {"role": "assistant", "content": "A"}, model=OLD)),
    (
        "budget on an older model",
        body(model=OLD, max_tokens=3000, thinking={"type": "enabled", "budget_tokens": 2000}),
    ),
    ("thinking between tools", body(thinking={"type": "between_tools"})),
    ("nulls where the types have them", body(container=None, inference_geo=None, speed=None)),
    (
        "schema with references",
        schema(properties={"n": {"$ref": "#/$defs/N"}}, **{"$defs": {"N": {"enum": [1]}}}),
    ),
    (
        "tool without content",
        body(USER, assistant(CALL), user({"type": "tool_result", "tool_use_id": "t1"})),
    ),
    ("service tier", body(service_tier="auto")),
    ("opaque user id", body(metadata={"user_id": "u-1"})),
]


@pytest.mark.parametrize("request_", [r for _, r in GOOD], ids=[name for name, _ in GOOD])
def test_good_request_is_answered(request_: Any) -> None:
    """What the API takes is taken."""
    assert send(request_)


def test_beta_fields_pass_when_a_beta_is_asked_for() -> None:
    """`client.beta.messages` works with fields that this file does not know."""
    client = FakeAPI().client()
    message = client.beta.messages.create(
        **body(), context_management={"edits": []}, betas=["context-management-2025-06-27"]
    )
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize("model", ["claude-3-opus-20240229", "claude-sonnet-4-20250514", "gpt-9"])
def test_retired_and_unknown_models_get_a_404(model: str) -> None:
    """The message is the model's id."""
    with pytest.raises(anthropic.NotFoundError, match=model):
        send(body(model=model))


def test_model_is_gone_after_its_end_of_life() -> None:
    """The fake's own clock decides."""
    model = "claude-sonnet-4-5-20250929"
    clock = VirtualClock()
    client = FakeAPI(clock=clock).client()
    post: Any = {"body": body(model=model), "cast_to": object}
    assert client.post("/v1/messages", **post)
    lifecycles = [m.lifecycle for m in client.models.list(limit=1000)]
    assert "deprecated" in lifecycles
    clock.advance(60 * 86_400)
    with pytest.raises(anthropic.NotFoundError):
        client.post("/v1/messages", **post)
    assert client.models.retrieve(model).lifecycle == "retired"
    assert model not in [m.id for m in client.models.list(limit=1000)]
    assert model in [m.id for m in client.models.list(lifecycle=["retired"])]


REMOVED: list[Any] = [
    body(model=OLD, temperature=1),
    body(model=OLD, top_p=0.5),
    body(model=OLD, top_k=3),
    body(USER, assistant(DOCUMENT), USER, model=OLD),
    body({"role": "user", "content": [CITED]}, model=OLD),
    body({"role": "user", "content": [{**FOUND, "content": [CITED]}]}, model=OLD),
]


@pytest.mark.parametrize("request_", REMOVED)
def test_what_the_newest_version_removed_is_taken_under_the_old_one(request_: Any) -> None:
    """The SDK names the newest; a request may name another."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    old: Any = {"headers": {"anthropic-version": "2023-06-01"}}
    assert client.post("/v1/messages", body=request_, cast_to=object, options=old)
    with pytest.raises(anthropic.BadRequestError, match=r"not supported by|cannot"):
        client.post("/v1/messages", body=request_, cast_to=object)


def test_an_alias_stands_for_its_dated_model() -> None:
    """The list holds models only; a look-up and an answer name the dated one."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    dated = "claude-haiku-4-5-20251001"
    assert client.models.retrieve("claude-haiku-4-5").id == dated
    listed = [model.id for model in client.models.list(limit=1000)]
    assert dated in listed
    assert "claude-haiku-4-5" not in listed
    ask: Any = {"max_tokens": 9, "messages": [USER]}
    answer = client.messages.create(model="claude-haiku-4-5", **ask)
    assert answer.model == dated


def test_unknown_model_cannot_be_retrieved() -> None:
    """404, as for messages."""
    with pytest.raises(anthropic.NotFoundError, match="gpt-9"):
        FakeAPI().client().models.retrieve("gpt-9")


def test_every_model_of_the_table_answers() -> None:
    """The table is the fake's catalogue."""
    for model in MODELS:
        assert send(body(model=model))


def test_count_tokens_needs_no_max_tokens_and_takes_no_stream() -> None:
    """It has a shape of its own."""
    client = FakeAPI().client()
    counting = {**without("max_tokens"), "stream": True}
    with pytest.raises(anthropic.BadRequestError, match="stream"):
        client.post("/v1/messages/count_tokens", body=counting, cast_to=object)
    counted = client.messages.count_tokens(model=OPUS, messages=[{"role": "user", "content": "hi"}])
    assert counted.input_tokens == 4


HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
DOORS: list[tuple[dict[str, str], int, str]] = [
    ({}, 401, "a credential is required"),
    ({"authorization": "Basic abc", "anthropic-version": "2023-06-01"}, 401, "required"),
    ({"authorization": "Bearer ", "anthropic-version": "2023-06-01"}, 401, "required"),
    ({"x-api-key": "other", "anthropic-version": "2023-06-01"}, 401, "invalid"),
    ({"x-api-key": "k"}, 400, "anthropic-version: header is required"),
    ({"x-api-key": "k", "anthropic-version": "latest"}, 400, "not a valid version"),
    ({"authorization": "bearer k", "anthropic-version": "2026-10-21"}, 200, "data"),
    (HEADERS, 200, "data"),
]


@pytest.mark.parametrize(("headers", "status", "said"), DOORS)
def test_credentials_and_version(headers: dict[str, str], status: int, said: str) -> None:
    """Both forms of a credential are taken; the version header is required."""
    answer = FakeAPI(keys={"k"}).handle(Request("GET", "/v1/models", {}, headers, b""))
    assert answer.status == status
    assert said.encode() in bytes(answer.body)  # type: ignore[arg-type]
    assert answer.headers["request-id"].startswith("req_")
    assert answer.headers["anthropic-organization-id"]


def test_wrong_method_names_the_right_ones() -> None:
    """405 with `allow`."""
    answer = FakeAPI().handle(Request("PUT", "/v1/messages/batches", {}, HEADERS, b""))
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
