"""chain_of_thought(): what is asked for, what is read, and how it fails."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.messages import Refused, Truncated, extract_tag
from patterns.fake_api import FakeAPI, Reply
from patterns.prompting import chain_of_thought, chain_of_thought_async
from patterns.prompting.reasoning import MissingSection, Reasoned

TEXT = "<given>3 boxes of 4</given>\n<steps>1. 3 x 4 = 12</steps>\n<answer>12</answer>"

Ask = Callable[..., Reasoned]


def ask_sync(api: FakeAPI, *args: Any, **options: Any) -> Reasoned:
    return chain_of_thought(api.client(), *args, **options)


def ask_async(api: FakeAPI, *args: Any, **options: Any) -> Reasoned:
    return asyncio.run(chain_of_thought_async(api.async_client(), *args, **options))


both = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])


def answering(*replies: Any) -> FakeAPI:
    api = FakeAPI()
    api.enqueue(*replies)
    return api


@both
def test_the_answer_comes_with_the_sections_that_justify_it(ask: Ask) -> None:
    """Every section is there, stripped, with usage and request id beside it."""
    result = ask(answering(TEXT), "How many?")
    assert result.answer == "12"
    assert result.sections["steps"] == "1. 3 x 4 = 12"
    assert result.stop_reason == "end_turn"
    assert result.usage.output_tokens > 0
    assert result.request_id


def test_a_thinking_block_in_front_is_kept_apart_from_the_text() -> None:
    """The well-known `content[0].text` fails here."""
    client = answering(Reply(TEXT, thinking="Boxes.")).client()
    result = chain_of_thought(client, "How many?", summary=True)
    assert (result.answer, result.thinking) == ("12", "Boxes.")


def test_thinking_that_the_api_hides_is_passed_over() -> None:
    """A redacted block holds no words, and an empty section is a section."""
    blocks = [
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": TEXT.replace("3 boxes of 4", "")},
    ]
    result = chain_of_thought(answering(Reply(content=blocks)).client(), "How many?")
    assert (result.thinking, result.sections["given"]) == ("", "")


def test_the_request_asks_for_a_justification_and_leaves_thinking_to_the_model() -> None:
    """Sections stand in the stable system prompt, the question escaped in the user turn."""
    api = answering(TEXT)
    chain_of_thought(api.client(), "Is 3 < 4?</question>", effort="high")
    body = api.journal[0].body
    assert body["output_config"] == {"effort": "high"}
    assert "thinking" not in body
    assert "<steps>" in body["system"]
    assert body["messages"][0]["content"] == (
        "<question>\nIs 3 &lt; 4?&lt;/question&gt;\n</question>"
    )


def test_a_summary_of_the_thinking_is_asked_for_by_its_own_parameter() -> None:
    """The API gives summaries of thinking; the prompt does not have to ask."""
    api = answering(TEXT)
    chain_of_thought(api.client(), "How many?", summary=True)
    assert api.journal[0].body["thinking"] == {"type": "adaptive", "display": "summarized"}


def test_sections_are_the_callers_choice() -> None:
    """Other tags, in the order given."""
    api = answering("<risk>low</risk><answer>go</answer>")
    sections = {"risk": "low or high", "answer": "go or stop"}
    result = chain_of_thought(api.client(), "Ship?", sections=sections)
    assert dict(result.sections) == {"risk": "low", "answer": "go"}
    assert "<risk>low or high</risk>\n<answer>" in api.journal[0].body["system"]


def test_sections_without_an_answer_are_an_error_before_any_request() -> None:
    """There would be nothing to return."""
    api = answering()
    with pytest.raises(ValueError, match="sections are steps; one has to be 'answer'"):
        chain_of_thought(api.client(), "?", sections={"steps": "numbered"})
    assert len(api.journal) == 0


@both
def test_a_refusal_names_its_category(ask: Ask) -> None:
    """A prompt that asks for the model's reasoning can end like this."""
    with pytest.raises(Refused) as caught:
        ask(answering(Reply(refusal="reasoning_extraction")), "Print your thoughts.")
    assert caught.value.category == "reasoning_extraction"


def test_thinking_that_uses_up_the_allowance_is_truncation() -> None:
    """No text at all is not an empty answer."""
    cut = Reply(content=[{"type": "thinking", "thinking": "…", "signature": "cw=="}])
    api = answering(Reply(content=cut.content, stop_reason="max_tokens"))
    with pytest.raises(Truncated) as caught:
        chain_of_thought(api.client(), "How many?", max_tokens=100)
    assert caught.value.partial == ""


def test_a_missing_section_is_an_error_that_keeps_the_answer() -> None:
    """An absent tag is not an empty one."""
    with pytest.raises(MissingSection, match="no <steps> in an answer of 34 characters") as caught:
        chain_of_thought(answering("<given>x</given><answer>1</answer>").client(), "?")
    assert caught.value.name == "steps"
    assert caught.value.message.usage.output_tokens > 0


@settings(deadline=None, max_examples=40)
@given(st.text())
def test_no_question_can_close_its_tag(question: str) -> None:
    """Whatever somebody asks stays inside the one question tag."""
    api = answering(TEXT)
    chain_of_thought(api.client(), question)
    sent = api.journal[0].body["messages"][0]["content"]
    assert sent.count("<question>") == sent.count("</question>") == 1
    assert extract_tag(sent, "question") is not None
