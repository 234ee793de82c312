"""The fake API through the real SDK: messages, streams, errors, the journal, equal runs."""

import asyncio
import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from patterns.core.messages import text_of
from patterns.core.models import HAIKU, SONNET
from patterns.fake_api import Error, FakeAPI, Replies, Reply, ToolUse, VirtualClock

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


def test_unscripted_request_gets_an_echo_that_says_so() -> None:
    """Nobody can take the echo for an answer of a model."""
    message = FakeAPI().client().messages.create(**ASK)
    assert "echo of the fake API" in text_of(message)


def test_enqueued_replies_come_in_order_before_the_script() -> None:
    """The queue is first in, first out, and goes before a script that would fit."""
    script = Replies.of({"reply": [{"text": "scripted"}]})
    api = FakeAPI(replies=script)
    api.enqueue("one", Reply("two"))
    client = api.client()
    texts = [text_of(client.messages.create(**ASK)) for _ in range(3)]
    assert texts == ["one", "two", "scripted"]
    assert [entry.reply for entry in api.journal] == ["queue", "queue", "replies[1]"]


def test_enqueued_function_sees_the_request() -> None:
    """A reply can be worked out from the body."""
    api = FakeAPI()
    api.enqueue(lambda body: body["messages"][0]["content"].upper())
    message = api.client().messages.create(**ASK)
    assert text_of(message) == "WHAT IS THE CAPITAL OF FRANCE?"


FULL = Reply("It is Paris – très bien.", thinking="France: Paris.", tool_use=[ToolUse("map", {})])


def test_plain_and_streamed_answers_are_the_same() -> None:
    """A stream adds up to the message that the plain call gives."""
    api = FakeAPI()
    api.enqueue(FULL, FULL)
    client = api.client()
    plain = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        streamed = stream.get_final_message()
    different = {"id", "content"}
    assert streamed.model_dump(exclude=different) == plain.model_dump(exclude=different)
    assert [block.type for block in plain.content] == ["thinking", "text", "tool_use"]
    assert text_of(streamed) == text_of(plain) == FULL.text


def test_every_event_and_message_parses_strictly() -> None:
    """What the fake sends is what the SDK's types describe, nothing missing and nothing bent."""
    api = FakeAPI()
    api.enqueue(FULL, FULL)
    raw = api.client().messages.with_raw_response.create(**ASK)
    TypeAdapter(Message).validate_json(raw.text(), strict=True)
    stream = api.client().messages.with_raw_response.create(stream=True, **ASK)
    lines = stream.text().split("\n")
    data = [line[6:] for line in lines if line.startswith("data: ") and '"ping"' not in line]
    events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    kinds = [events.validate_json(each, strict=True).type for each in data]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]


def test_async_client_gets_the_same_answer() -> None:
    """One transport serves both clients."""
    api = FakeAPI()

    async def ask() -> Message:
        message: Message = await api.async_client().messages.create(**ASK)
        return message

    assert asyncio.run(ask()).content == FakeAPI().client().messages.create(**ASK).content


def test_two_runs_give_the_same_bytes() -> None:
    """Ids and contents depend on the requests alone."""

    def run() -> list[str]:
        client = FakeAPI().client()
        return [client.messages.with_raw_response.create(**ASK).text() for _ in range(3)]

    first = run()
    assert first == run()
    assert len(set(first)) == 3


def test_errors_come_as_the_sdk_knows_them() -> None:
    """An enqueued error becomes the SDK's typed error, with code and request id."""
    api = FakeAPI()
    api.enqueue(Error(429, retry_after=3, error_code="enforced_spend_limit_reached"))
    with pytest.raises(anthropic.RateLimitError) as caught:
        api.client(max_retries=0).messages.create(**ASK)
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert caught.value.response.headers["retry-after"] == "3"
    assert caught.value.request_id == api.journal[0].request_id


def test_journal_keeps_the_request_without_the_credential() -> None:
    """Headers and body can be asserted on; the key is nowhere."""
    api = FakeAPI()
    api.client(api_key="sk-secret").messages.create(**ASK)
    entry = api.journal[0]
    assert (entry.method, entry.path, entry.status) == ("POST", "/v1/messages", 200)
    assert entry.body == ASK
    assert "sk-secret" not in repr(entry)
    assert entry.usage is not None


def test_count_tokens_agrees_with_usage() -> None:
    """Counting and answering use one estimate."""
    client = FakeAPI().client()
    counted = client.messages.count_tokens(model=HAIKU, messages=ASK["messages"])
    assert counted.input_tokens == client.messages.create(**ASK).usage.input_tokens


def test_models_are_listed_in_pages() -> None:
    """The SDK walks over the pages by itself."""
    client = FakeAPI().client()
    ids = [model.id for model in client.models.list(limit=4)]
    assert SONNET in ids
    assert len(ids) == len(set(ids)) > 4
    assert client.models.retrieve(SONNET).display_name == "Claude Sonnet 5.5"


ASKED = {"model": SONNET, "messages": [{"role": "user", "content": "hi"}]}
COUNTED = json.dumps(ASKED).encode()
PLAIN = json.dumps({**ASKED, "max_tokens": 9}).encode()
STREAMED = json.dumps({**ASKED, "max_tokens": 9, "stream": True}).encode()
KINDS: list[tuple[str, str, bytes, str]] = [
    ("POST", "/v1/messages", PLAIN, "application/json"),
    ("POST", "/v1/messages", b"{", "application/json"),
    ("POST", "/v1/messages", STREAMED, "text/event-stream; charset=utf-8"),
    ("POST", "/v1/messages/count_tokens", COUNTED, "application/json"),
    ("GET", "/v1/models", b"", "application/json"),
    ("GET", "/v1/files", b"", "application/json"),
    ("GET", "/v1/messages/batches", b"", "application/json"),
    ("GET", "/v1/nothing", b"", "application/json"),
]


@pytest.mark.parametrize(("method", "path", "body", "kind"), KINDS)
def test_every_answer_says_what_it_is_and_whose(
    method: str, path: str, body: bytes, kind: str
) -> None:
    """Content type, request id and organization; a stream is not to be cached."""
    api = FakeAPI(clock=VirtualClock())
    client = httpx2.Client(transport=api.transport, base_url="https://api.anthropic.com")
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    response = client.request(method, path, content=body, headers=headers)
    assert response.headers["content-type"] == kind
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["anthropic-organization-id"]
    assert ("cache-control" in response.headers) == (kind != "application/json")
