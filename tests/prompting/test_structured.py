"""structured(): what is asked, what is read, and how each kind of bad answer ends."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, field_validator

from patterns.core.messages import NotText, Refused, Truncated
from patterns.core.models import HAIKU, SONNET
from patterns.fake_api import Error, FakeAPI, Reply
from patterns.prompting.structured import (
    BrokenValidator,
    InvalidOutput,
    SchemaRefused,
    Structured,
    output_format,
    structured,
    structured_async,
)

GOOD = '{"summary": "Screen cracked", "severity": 4, "team": "returns"}'
TOO_HIGH = '{"summary": "Screen cracked", "severity": 9, "team": "returns"}'


class Ticket(BaseModel):
    """A complaint, sorted."""

    summary: str
    severity: int = Field(ge=1, le=5)
    team: Literal["returns", "billing"]


def answering(*replies: Any) -> FakeAPI:
    api = FakeAPI()
    api.enqueue(*replies)
    return api


def sent(api: FakeAPI) -> list[dict[str, Any]]:
    return [entry.body for entry in api.journal]


Ask = Callable[..., Structured[Any]]


def ask_sync(api: FakeAPI, *args: Any, **options: Any) -> Structured[Any]:
    return structured(api.client(), *args, **options)


def ask_async(api: FakeAPI, *args: Any, **options: Any) -> Structured[Any]:
    return asyncio.run(structured_async(api.async_client(), *args, **options))


both = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])


@both
def test_a_valid_answer_comes_back_typed_with_its_usage_and_request_id(ask: Ask) -> None:
    """One call, and nothing of it is lost."""
    api = answering(Reply(GOOD, thinking="Weigh it."))
    result = ask(api, "Sort this.", Ticket)
    assert result.value == Ticket(summary="Screen cracked", severity=4, team="returns")
    assert len(result.usage) == 1
    assert result.request_ids == (api.journal[0].request_id,)
    assert result.stop_reason == "end_turn"
    assert not result.repaired


def test_the_request_is_the_one_that_messages_parse_sends() -> None:
    """Same schema, same everything; the difference is in the reading."""
    api = answering(GOOD, GOOD)
    client = api.client()
    structured(client, "Sort this.", Ticket, max_tokens=500)
    client.messages.parse(
        model=SONNET,
        max_tokens=500,
        messages=[{"role": "user", "content": "Sort this."}],
        output_format=Ticket,
    )
    ours, theirs = sent(api)
    assert ours == theirs


def test_system_effort_and_options_go_out_as_given() -> None:
    """What the caller sets is on the wire."""
    api = answering(GOOD)
    structured(
        api.client(),
        [{"role": "user", "content": "Sort this."}],
        Ticket,
        model=HAIKU,
        system=[{"type": "text", "text": "Sort.", "cache_control": {"type": "ephemeral"}}],
        effort="low",
        metadata={"user_id": "7f3a"},
    )
    body = sent(api)[0]
    assert body["model"] == HAIKU
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert body["output_config"]["effort"] == "low"
    assert body["metadata"] == {"user_id": "7f3a"}


@both
def test_a_broken_bound_is_asked_again_once_with_the_error(ask: Ask) -> None:
    """The API does not enforce `le=5`; the second turn says what was wrong."""
    api = answering(TOO_HIGH, GOOD)
    result = ask(api, "Sort this.", Ticket)
    assert (result.value.severity, result.repaired) == (4, True)
    assert result.request_ids == tuple(entry.request_id for entry in api.journal)
    assert len(result.usage) == 2
    correction = sent(api)[1]["messages"][-1]["content"]
    assert "- severity: Input should be less than or equal to 5" in correction


def test_the_invalid_answer_is_replayed_unchanged_thinking_included() -> None:
    """A thinking block is signed, so it goes back exactly as it came; else the fake refuses it."""
    thinking = {"type": "thinking", "thinking": "Weigh it."}
    text = {"type": "text", "text": TOO_HIGH}
    api = answering(Reply(content=[thinking, text]), GOOD)
    structured(api.client(), "Sort this.", Ticket)
    first, second = sent(api)
    *before, answer, _ = second["messages"]
    signature = answer["content"][0]["signature"]
    assert before == first["messages"]
    assert answer == {"role": "assistant", "content": [{**thinking, "signature": signature}, text]}
    assert {**second, "messages": []} == {**first, "messages": []}


def test_an_answer_without_content_is_asked_again_without_an_empty_turn() -> None:
    """The API refuses empty assistant turns, so none is sent."""
    api = answering(Reply(content=[]), GOOD)
    assert structured(api.client(), "Sort this.", Ticket).repaired
    assert [turn["role"] for turn in sent(api)[1]["messages"]] == ["user", "user"]


@both
def test_a_second_invalid_answer_ends_it_with_every_call_accounted_for(ask: Ask) -> None:
    """There is one re-ask and no more."""
    api = answering(TOO_HIGH, '{"summary": "x"')
    with pytest.raises(InvalidOutput, match=r"answer 2 does not fit Ticket") as caught:
        ask(api, "Sort this.", Ticket)
    assert caught.value.text == '{"summary": "x"'
    assert caught.value.errors[0].startswith("answer: Invalid JSON")
    assert len(caught.value.usage) == len(api.journal) == 2
    assert caught.value.request_ids == tuple(entry.request_id for entry in api.journal)
    assert isinstance(caught.value.__cause__, ValidationError)


@both
@pytest.mark.parametrize("ending", [Reply(refusal="bio"), Error(400)], ids=["refused", "400"])
def test_a_re_ask_that_fails_keeps_the_first_answer_for_the_bill(ask: Ask, ending: Any) -> None:
    """It was paid for, so it must not be lost with the exception."""
    api = answering(TOO_HIGH, ending)
    with pytest.raises((Refused, anthropic.BadRequestError)) as caught:
        ask(api, "Sort this.", Ticket)
    (first,) = caught.value.earlier  # type: ignore[attr-defined]  # set on the SDK's error as well
    assert first._request_id == api.journal[0].request_id


@both
def test_no_repair_means_one_call(ask: Ask) -> None:
    """`repairs=0` raises on the first invalid answer."""
    api = answering(TOO_HIGH)
    with pytest.raises(InvalidOutput, match="severity: Input should be less than or equal to 5"):
        ask(api, "Sort this.", Ticket, repairs=0)
    assert len(api.journal) == 1


@both
def test_a_refusal_is_a_refusal_even_when_its_text_is_valid_json(ask: Ask) -> None:
    """The stop reason is read before the text."""
    api = answering(Reply(GOOD, refusal="cyber"))
    with pytest.raises(Refused) as caught:
        ask(api, "Sort this.", Ticket)
    assert caught.value.category == "cyber"
    assert len(api.journal) == 1


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_a_cut_answer_is_truncated_and_not_asked_again(stop: str) -> None:
    """More of the same would be cut again, so the caller decides."""
    api = answering(Reply('{"summary": "Scr', stop_reason=stop))
    with pytest.raises(Truncated) as caught:
        structured(api.client(), "Sort this.", Ticket)
    assert (caught.value.stop_reason, caught.value.partial) == (stop, '{"summary": "Scr')
    assert len(api.journal) == 1


@pytest.mark.parametrize(
    "message",
    [
        "output_config.format: For 'object' type, property 'x' is not supported",
        "Schema is too complex.",
        "The compiled grammar is too large. Simplify it.",
    ],
)
@both
def test_a_schema_that_the_api_refuses_names_the_model(ask: Ask, message: str) -> None:
    """The 400 becomes an error that says which output model to change, and why."""
    with pytest.raises(SchemaRefused, match="the schema of Ticket cannot be used") as caught:
        ask(answering(Error(400, message=message)), "Sort this.", Ticket)
    assert caught.value.reason == message
    assert caught.value.output is Ticket
    assert isinstance(caught.value.__cause__, anthropic.BadRequestError)


def test_any_other_400_stays_the_sdks_error() -> None:
    """A prompt that is too long has nothing to do with the schema."""
    api = answering(Error(400, message="prompt is too long: 1200000 tokens > 1000000 maximum"))
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        structured(api.client(), "Sort this.", Ticket)


class Scores(BaseModel):
    """Free keys, in a list."""

    rounds: list[dict[str, int]]


class Anything(BaseModel):
    """A field without a type."""

    value: Any


class Empty(BaseModel):
    """No fields at all is odd, but it can be expressed."""


@pytest.mark.parametrize(
    ("output", "why"),
    [(Scores, "Scores.rounds has free keys"), (Anything, "must have a 'type'")],
)
def test_a_model_that_no_schema_can_express_fails_before_any_request(
    output: type[BaseModel], why: str
) -> None:
    """The SDK would close a `dict` to `{}` silently; here it is an error."""
    api = answering()
    with pytest.raises(SchemaRefused, match=why):
        structured(api.client(), "Sort this.", output)
    assert api.journal == []


def test_nested_models_and_closed_objects_are_fine() -> None:
    """Only free keys are refused, and a schema is built once."""

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
        structured(answering().client(), "Sort this.", Ticket, repairs=repairs)


@settings(deadline=None)
@given(summary=st.text(), severity=st.integers(), team=st.text())
def test_what_comes_out_always_satisfies_the_model(summary: str, severity: int, team: str) -> None:
    """Whatever the reply holds, a value is valid or there is none."""
    text = json.dumps({"summary": summary, "severity": severity, "team": team})
    try:
        value = structured(answering(text).client(), "?", Ticket, repairs=0).value
    except InvalidOutput:
        assert not (1 <= severity <= 5 and team in ("returns", "billing"))
    else:
        assert value.model_dump() == {"summary": summary, "severity": severity, "team": team}


class Looked(BaseModel):
    """A model whose validator has a mistake of its own."""

    word: str

    @field_validator("word")
    @classmethod
    def look_up(cls, value: str) -> str:
        """Fails for every word but one."""
        return {"known": "yes"}[value]


@pytest.mark.parametrize("first", ['{"word": "other"}', "no JSON"])
def test_a_validator_that_fails_keeps_every_call_that_was_paid(first: str) -> None:
    """A KeyError of the caller's is no reason to ask again, and loses no usage."""
    api = FakeAPI()
    api.enqueue(first, '{"word": "other"}')
    with pytest.raises(BrokenValidator, match=r"a validator raised KeyError: 'other'") as caught:
        structured(api.client(), "?", Looked)
    assert len(caught.value.usage) == len(api.journal) == (1 if first.startswith("{") else 2)


@pytest.mark.parametrize("blank", [Reply(content=[]), "", "\n"])
def test_a_blank_first_answer_is_asked_again_without_it(blank: Any) -> None:
    """The API refuses to take a blank turn back."""
    api = FakeAPI()
    api.enqueue(blank, '{"word": "known"}')
    assert structured(api.client(), "?", Looked).value.word == "yes"
    assert [turn["role"] for turn in api.journal[1].body["messages"]] == ["user", "user"]


@pytest.mark.parametrize("prompt", [7, None, ["Hi"], {"role": "user"}])
def test_prompt_is_text_or_turns(prompt: Any) -> None:
    """What else it is, is said before anything is sent."""
    api = FakeAPI()
    with pytest.raises(NotText, match=r"^prompt is ") as refused:
        structured(api.client(), prompt, Ticket)
    assert (refused.value.name, refused.value.value, len(api.journal)) == ("prompt", prompt, 0)
