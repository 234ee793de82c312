"""Every answer has the shape that the SDK declares for it: all of its fields, and no others.

The SDK reads answers leniently, so a misspelt field or constant would pass unseen. Judge: pydantic
in strict mode over the SDK's own models.
"""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import MessageTokensCount, ModelInfo
from anthropic.types.beta import BetaMessage, BetaModelInfo
from anthropic.types.messages import DeletedMessageBatch, MessageBatch
from pydantic import BaseModel, TypeAdapter

from patterns.core.models import OPUS, SONNET
from patterns.fake_api import Error, FakeAPI, VirtualClock

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 2_000,
    "messages": [{"role": "user", "content": "hi"}],
}
TOOLS: Any = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


def strangers(read: Any, path: str = "") -> Iterator[str]:
    """Fields of an answer that its type does not declare."""
    if isinstance(read, list | tuple):
        for n, part in enumerate(read):
            yield from strangers(part, f"{path}.{n}")
    elif isinstance(read, BaseModel):
        yield from (f"{path}.{key}" for key in read.model_extra or ())
        for key in type(read).model_fields:
            yield from strangers(getattr(read, key), f"{path}.{key}")


def check(raw: Any, kind: Any) -> None:
    """Read an answer strictly."""
    read = TypeAdapter(kind).validate_json(raw.text(), strict=True)
    assert list(strangers(read)) == []


def batch_of(client: anthropic.Anthropic) -> str:
    """The id of a batch of one."""
    return client.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}]).id  # type: ignore[typeddict-item]


def ended(client: anthropic.Anthropic, clock: VirtualClock) -> str:
    """The id of a batch that has ended."""
    made = batch_of(client)
    clock.sleep(10_000)
    return made


Calls = dict[str, tuple[Callable[[anthropic.Anthropic, VirtualClock], Any], Any]]
CALLS: Calls = {
    "a text": (lambda c, _: c.messages.with_raw_response.create(**ASK), anthropic.types.Message),
    "thinking": (
        lambda c, _: c.messages.with_raw_response.create(**ASK, thinking={"type": "between_tools"}),
        anthropic.types.Message,
    ),
    "a tool": (
        lambda c, _: c.messages.with_raw_response.create(
            **ASK | {"model": "claude-opus-5"}, tools=TOOLS, tool_choice={"type": "any"}
        ),
        anthropic.types.Message,
    ),
    "beta": (lambda c, _: c.beta.messages.with_raw_response.create(**ASK), BetaMessage),
    "count": (
        lambda c, _: c.messages.with_raw_response.count_tokens(
            model=SONNET, messages=ASK["messages"]
        ),
        MessageTokensCount,
    ),
    "model": (lambda c, _: c.models.with_raw_response.retrieve(OPUS), ModelInfo),
    "beta model": (lambda c, _: c.beta.models.with_raw_response.retrieve(OPUS), BetaModelInfo),
    "batch": (
        lambda c, _: c.messages.batches.with_raw_response.retrieve(batch_of(c)),
        MessageBatch,
    ),
    "ended batch": (
        lambda c, clock: c.messages.batches.with_raw_response.retrieve(ended(c, clock)),
        MessageBatch,
    ),
    "cancelled batch": (
        lambda c, _: c.messages.batches.with_raw_response.cancel(batch_of(c)),
        MessageBatch,
    ),
    "deleted batch": (
        lambda c, clock: c.messages.batches.with_raw_response.delete(ended(c, clock)),
        DeletedMessageBatch,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_has_the_fields_of_its_type_and_no_others(name: str) -> None:
    """Read strictly: a constant that is misspelt, or a field too many or too few, is found."""
    clock = VirtualClock()
    call, kind = CALLS[name]
    check(call(FakeAPI(clock=clock).client(max_retries=0), clock), kind)


def test_pages_and_files_have_the_fields_of_their_types() -> None:
    """Lists keep what their page is made of, and uploads, looks and deletions what a file is."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    made = client.files.upload(file=("a.txt", io.BytesIO(b"x"), "text/plain"))
    batch_of(client)
    for page in (
        client.models.list(limit=2),
        client.messages.batches.list(),
        client.files.list(),
        client.files.list(ids=[made.id]),
    ):
        assert page.data
        assert type(page).model_validate(page.model_dump(), strict=True).data == page.data
        for item in page.data:
            strict = TypeAdapter(type(item)).validate_python(item.model_dump(), strict=True)
            assert list(strangers(strict)) == []
        assert {*(page.model_extra or ())} <= {"has_more", "first_id", "last_id"}
    gone = client.files.delete(made.id)
    assert TypeAdapter(type(gone)).validate_python(gone.model_dump(), strict=True) == gone
    assert gone.type == "file_deleted"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 429, 500, 504, 529])
def test_an_error_has_the_envelope_of_its_status(status: int) -> None:
    """The SDK declares one type of error for each of these."""
    api = FakeAPI()
    api.enqueue(Error(status))
    with pytest.raises(anthropic.APIStatusError) as caught:
        api.client(max_retries=0).messages.create(**ASK)
    read = TypeAdapter(anthropic.types.ErrorResponse).validate_json(
        json.dumps(caught.value.body), strict=True
    )
    assert read.request_id == caught.value.request_id
    assert isinstance(caught.value.response, httpx2.Response)
