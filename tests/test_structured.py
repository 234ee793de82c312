"""structured(): what is asked, what is read, and how each kind of bad answer ends."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from patterns.messages import Refused, Truncated
from patterns.models import HAIKU, SONNET
from patterns.structured import (
    InvalidOutput,
    SchemaRefused,
    Structured,
    output_format,
    structured,
    structured_async,
)

THINKING = {"type": "thinking", "thinking": "Weigh it.", "signature": "c2lnbmF0dXJl"}
GOOD = '{"summary": "Screen cracked", "severity": 4, "team": "returns"}'
TOO_HIGH = '{"summary": "Screen cracked", "severity": 9, "team": "returns"}'


class Ticket(BaseModel):
    """A complaint, sorted."""

    summary: str
    severity: int = Field(ge=1, le=5)
    team: Literal["returns", "billing"]


class Server:
    """Answers with the given bodies in order and keeps what was sent."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(json.loads(request.content))
        answer = self.answers[len(self.sent) - 1]
        headers = {"request-id": f"req_{len(self.sent)}"}
        status = 400 if answer["type"] == "error" else 200
        return httpx2.Response(status, json=answer, headers=headers)

    def client(self) -> Anthropic:
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return Anthropic(api_key="test", http_client=http, max_retries=0)

    def async_client(self) -> AsyncAnthropic:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self))
        return AsyncAnthropic(api_key="test", http_client=http, max_retries=0)


def reply(text: str, *, before: tuple[Any, ...] = (), stop: str = "end_turn") -> dict[str, Any]:
    """A Messages API answer with one text block, or with none when the text is empty."""
    blocks = [*before, {"type": "text", "text": text}] if text else [*before]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 20},
    }


def problem(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}


Ask = Callable[..., Structured[Any]]


def ask_sync(server: Server, *args: Any, **options: Any) -> Structured[Any]:
    return structured(server.client(), *args, **options)


def ask_async(server: Server, *args: Any, **options: Any) -> Structured[Any]:
    return asyncio.run(structured_async(server.async_client(), *args, **options))


both = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])


@both
def test_a_valid_answer_comes_back_typed_with_its_usage_and_request_id(ask: Ask) -> None:
    """One call, and nothing of it is lost."""
    result = ask(Server(reply(GOOD)), "Sort this.", Ticket)
    assert result.value == Ticket(summary="Screen cracked", severity=4, team="returns")
    assert [usage.output_tokens for usage in result.usage] == [20]
    assert result.request_ids == ("req_1",)
    assert result.stop_reason == "end_turn"
    assert not result.repaired


def test_the_request_carries_the_schema_that_the_sdk_would_send() -> None:
    """The schema equals that of `messages.parse`, and nothing else is added."""
    server, parsed = Server(reply(GOOD)), Server(reply(GOOD))
    structured(server.client(), "Sort this.", Ticket, max_tokens=500)
    parsed.client().messages.parse(
        model=SONNET,
        max_tokens=500,
        messages=[{"role": "user", "content": "Sort this."}],
        output_format=Ticket,
    )
    assert server.sent == parsed.sent


def test_system_effort_and_options_go_out_as_given() -> None:
    """What the caller sets is on the wire."""
    server = Server(reply(GOOD))
    structured(
        server.client(),
        [{"role": "user", "content": "Sort this."}],
        Ticket,
        model=HAIKU,
        system=[{"type": "text", "text": "Sort.", "cache_control": {"type": "ephemeral"}}],
        effort="low",
        metadata={"user_id": "7f3a"},
    )
    sent = server.sent[0]
    assert sent["model"] == HAIKU
    assert sent["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert sent["output_config"]["effort"] == "low"
    assert sent["metadata"] == {"user_id": "7f3a"}


@both
def test_a_broken_bound_is_asked_again_once_with_the_error(ask: Ask) -> None:
    """The API does not enforce `le=5`; the second turn says what was wrong."""
    server = Server(reply(TOO_HIGH), reply(GOOD))
    result = ask(server, "Sort this.", Ticket)
    assert (result.value.severity, result.repaired) == (4, True)
    assert [usage.input_tokens for usage in result.usage] == [10, 10]
    assert result.request_ids == ("req_1", "req_2")
    assert (
        "- severity: Input should be less than or equal to 5"
        in (server.sent[1]["messages"][-1]["content"])
    )


def test_the_invalid_answer_is_replayed_unchanged_thinking_included() -> None:
    """A thinking block is signed, so it goes back exactly as it came."""
    server = Server(reply(TOO_HIGH, before=(THINKING,)), reply(GOOD))
    structured(server.client(), "Sort this.", Ticket)
    first, second = server.sent
    assert second["messages"][1] == {
        "role": "assistant",
        "content": [THINKING, {"type": "text", "text": TOO_HIGH}],
    }
    assert second["messages"][:1] == first["messages"]
    assert {**second, "messages": []} == {**first, "messages": []}


def test_an_answer_without_content_is_asked_again_without_an_empty_turn() -> None:
    """The API refuses empty assistant turns, so none is sent."""
    server = Server(reply(""), reply(GOOD))
    assert structured(server.client(), "Sort this.", Ticket).repaired
    assert [turn["role"] for turn in server.sent[1]["messages"]] == ["user", "user"]


@both
def test_a_second_invalid_answer_ends_it_with_every_call_accounted_for(ask: Ask) -> None:
    """There is one re-ask and no more."""
    server = Server(reply(TOO_HIGH), reply('{"summary": "x"'))
    with pytest.raises(InvalidOutput, match=r"answer 2 does not fit Ticket") as caught:
        ask(server, "Sort this.", Ticket)
    assert caught.value.text == '{"summary": "x"'
    assert caught.value.errors[0].startswith("answer: Invalid JSON")
    assert len(caught.value.usage) == len(server.sent) == 2
    assert caught.value.request_ids == ("req_1", "req_2")
    assert isinstance(caught.value.__cause__, ValidationError)


@both
def test_no_repair_means_one_call(ask: Ask) -> None:
    """`repairs=0` raises on the first invalid answer."""
    server = Server(reply(TOO_HIGH))
    with pytest.raises(InvalidOutput, match="severity: Input should be less than or equal to 5"):
        ask(server, "Sort this.", Ticket, repairs=0)
    assert len(server.sent) == 1


@both
def test_a_refusal_is_a_refusal_even_when_its_text_is_valid_json(ask: Ask) -> None:
    """The stop reason is read before the text."""
    refused = reply(GOOD, stop="refusal")
    refused["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": None}
    server = Server(refused)
    with pytest.raises(Refused) as caught:
        ask(server, "Sort this.", Ticket)
    assert caught.value.category == "cyber"
    assert len(server.sent) == 1


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_a_cut_answer_is_truncated_and_not_asked_again(stop: str) -> None:
    """More of the same would be cut again, so the caller decides."""
    server = Server(reply('{"summary": "Scr', stop=stop))
    with pytest.raises(Truncated) as caught:
        structured(server.client(), "Sort this.", Ticket)
    assert (caught.value.stop_reason, caught.value.partial) == (stop, '{"summary": "Scr')
    assert len(server.sent) == 1


@pytest.mark.parametrize(
    "message",
    [
        "output_config.format.schema: For 'object' type, property 'x' is not supported",
        "The compiled grammar is too large. Simplify your tool schemas.",
    ],
)
@both
def test_a_schema_that_the_api_refuses_names_the_model(ask: Ask, message: str) -> None:
    """The 400 becomes an error that says which output model to change, and why."""
    with pytest.raises(SchemaRefused, match="the schema of Ticket cannot be used") as caught:
        ask(Server(problem(message)), "Sort this.", Ticket)
    assert caught.value.reason == message
    assert caught.value.output is Ticket
    assert isinstance(caught.value.__cause__, anthropic.BadRequestError)


def test_any_other_400_stays_the_sdks_error() -> None:
    """A prompt that is too long has nothing to do with the schema."""
    server = Server(problem("prompt is too long: 1200000 tokens > 1000000 maximum"))
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        structured(server.client(), "Sort this.", Ticket)


class Scores(BaseModel):
    """Free keys, one level down and in a list."""

    rounds: list[dict[str, int]]


class Anything(BaseModel):
    """A field without a type."""

    value: Any


class Empty(BaseModel):
    """No fields at all is odd, but it can be expressed."""


@pytest.mark.parametrize(
    ("output", "why"),
    [(Scores, "Scores.rounds.items has free keys"), (Anything, "must have a 'type'")],
)
def test_a_model_that_no_schema_can_express_fails_before_any_request(
    output: type[BaseModel], why: str
) -> None:
    """The SDK would close a `dict` to `{}` silently; here it is an error."""
    server = Server()
    with pytest.raises(SchemaRefused, match=why):
        structured(server.client(), "Sort this.", output)
    assert server.sent == []


def test_nested_models_and_closed_objects_are_fine() -> None:
    """Only free keys are refused."""

    class Report(BaseModel):
        tickets: list[Ticket]
        extra: Empty | None = None

    schema = output_format(Report)["schema"]
    assert set(schema["$defs"]) == {"Ticket", "Empty"}  # type: ignore[call-overload]
    assert output_format(Report) is output_format(Report)


@pytest.mark.parametrize("repairs", [-1, 2])
def test_more_than_one_repair_is_not_on_offer(repairs: int) -> None:
    """A model that fails twice with the errors in front of it needs a better prompt."""
    with pytest.raises(ValueError, match=f"repairs is {repairs}"):
        structured(Server().client(), "Sort this.", Ticket, repairs=repairs)


@given(summary=st.text(), severity=st.integers(), team=st.text())
def test_what_comes_out_always_satisfies_the_model(summary: str, severity: int, team: str) -> None:
    """Whatever the reply holds, a value is valid or there is none."""
    text = json.dumps({"summary": summary, "severity": severity, "team": team})
    try:
        value = structured(Server(reply(text)).client(), "?", Ticket, repairs=0).value
    except InvalidOutput:
        assert not (1 <= severity <= 5 and team in ("returns", "billing"))
    else:
        assert value.model_dump() == {"summary": summary, "severity": severity, "team": team}
