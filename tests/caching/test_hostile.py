"""Hostile but legal: any value that a caller passes, any answer that the API may give."""

import asyncio
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hostile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.caching import (
    CachedAssistant,
    CacheStats,
    DocumentQA,
    Segment,
    explain_miss,
    first_difference,
    plan_breakpoints,
    savings,
    will_cache,
)
from patterns.caching.blocks import InvalidContent
from patterns.caching.limits import UnknownTTL
from patterns.caching.prefix import check_breakpoints
from patterns.caching.stats import Savings
from patterns.caching.traffic import Gaps, InvalidTraffic, Poisson
from patterns.core.fan_out import Outcome
from patterns.core.messages import NotText
from patterns.core.models import SONNET
from patterns.core.usage import tokens_of
from patterns.fake_api import FakeAPI


def is_whole(body: dict[str, Any]) -> bool:
    """Whether one answer is one turn: a paused one is sent back."""
    return body.get("stop_reason") != "pause_turn"


@given(st.lists(hostile.messages().filter(is_whole), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None)
def test_conversation_goes_on_after_any_answer(bodies: list[dict[str, Any]]) -> None:
    """What was billed is counted, whatever was answered, and nothing is sent that is refused."""
    assistant = CachedAssistant(hostile.serving(*bodies), "Be brief.")
    for turn, body in enumerate(bodies, 1):
        settled = hostile.settle(lambda: assistant.ask("Go on."))
        assert settled.value is None or settled.value.text is not None
        assert assistant.stats.calls == turn
        used = sum(tokens_of(each["usage"]).output for each in bodies[:turn])
        assert assistant.stats.tokens.output == used, body
    for message in assistant.turns:
        blocks = [] if isinstance(message["content"], str) else message["content"]
        assert all(block["type"] != "text" or block["text"].strip() for block in blocks)


@given(hostile.messages())
@settings(max_examples=100)
def test_any_answer_is_counted_and_explained(body: dict[str, Any]) -> None:
    """Tokens once each; a call without a price is counted as one."""
    message = hostile.as_message(body)
    stats = CacheStats.from_usage(message.usage, message.model)
    tokens = tokens_of(body["usage"])
    assert (stats.tokens.prompt, stats.tokens.output) == (tokens.prompt, tokens.output)
    assert explain_miss(message) is None


def asked(content: Any) -> dict[str, Any]:
    """A request with this content."""
    return {"model": SONNET, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}


USES: dict[str, Callable[[Any, Any], Any]] = {
    "check_breakpoints": lambda _, value: check_breakpoints(asked(value)),
    "will_cache": lambda client, value: will_cache(client, asked(value)),
    "first_difference": lambda _, value: first_difference(asked(value), asked("Hi")),
    "ask": lambda client, value: CachedAssistant(client, "Be brief.").ask(value),
    "system": lambda client, value: CachedAssistant(client, value).ask("Hi"),
    "document": lambda client, value: CachedAssistant(client, "Hi", documents=[value]).ask("Hi"),
}


@pytest.mark.parametrize("name", USES)
@given(value=hostile.values())
@settings(max_examples=40, deadline=None)
def test_content_of_any_kind_is_read_or_refused_before_a_call(name: str, value: Any) -> None:
    """Text and lists of blocks are content; a generator, which can be read once only, is not."""
    api = FakeAPI()
    refused = hostile.settle_call(lambda: USES[name](api.client(), value)).error
    if not isinstance(value, str | list | tuple) and value is not None:
        assert refused is not None
        assert len(api.journal) == 0


@given(hostile.values())
@settings(max_examples=60)
def test_only_a_lifetime_is_one(ttl: Any) -> None:
    """In a breakpoint, and of an assistant."""
    marked = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    assert isinstance(hostile.settle(lambda: check_breakpoints(asked(marked))).error, UnknownTTL)
    if ttl is not None:
        client = FakeAPI().client()
        refused = hostile.settle(lambda: CachedAssistant(client, "Hi", prefix_ttl=ttl)).error
        assert isinstance(refused, UnknownTTL)


CALM = Gaps((10.0,))
TRAFFIC: dict[str, Callable[[Any], Any]] = {
    "segments": lambda value: plan_breakpoints(value, SONNET, CALM),
    "segment": lambda value: plan_breakpoints([value], SONNET, CALM),
    "name": lambda value: plan_breakpoints([Segment(value, 9_000)], SONNET, CALM),
    "tokens": lambda value: plan_breakpoints([Segment("a", value)], SONNET, CALM),
    "changes": lambda value: plan_breakpoints([Segment("a", 9_000, value)], SONNET, CALM),
    "grows": lambda value: plan_breakpoints([Segment("a", 9_000, grows=value)], SONNET, CALM),
    "its arrivals": lambda value: Segment("a", 9_000, arrivals=value),
    "arrivals": lambda value: plan_breakpoints([Segment("a", 9_000)], SONNET, value),
    "gap": lambda value: plan_breakpoints([Segment("a", 9_000)], SONNET, [value]),
    "mean": lambda value: plan_breakpoints([Segment("a", 9_000)], SONNET, Poisson(value)),
    "model": lambda value: plan_breakpoints([Segment("a", 9_000)], value, CALM),
}


@pytest.mark.parametrize("name", TRAFFIC)
@given(value=hostile.values())
@settings(max_examples=60, deadline=None)
def test_traffic_of_any_kind_is_planned_for_or_refused(name: str, value: Any) -> None:
    """A plan has a price, and never one above doing nothing."""
    settled = hostile.settle(lambda: TRAFFIC[name](value))
    if settled.error is None and name != "its arrivals":
        assert 0 <= settled.value.usd <= settled.value.usd_uncached < math.inf
    elif settled.error is not None:
        assert isinstance(settled.error, InvalidTraffic) or name == "model"


@given(usages=hostile.values() | st.lists(hostile.values() | hostile.usages(), max_size=3))
@settings(max_examples=100)
def test_savings_count_every_usage_or_refuse_them(usages: Any) -> None:
    """What is no usage is an error, not a call that used nothing."""
    settled = hostile.settle(lambda: savings(usages, SONNET))
    if settled.error is None:
        assert isinstance(settled.value, Savings)
        calls = usages if isinstance(usages, list) else []
        assert settled.value.stats.calls == len(calls)


def documents_asked(api: FakeAPI, documents: Any, questions: Any) -> list[Outcome[str, Any]]:
    """Each of the questions about each of the documents."""
    return asyncio.run(DocumentQA(api.async_client(), documents).ask(questions))


@given(value=hostile.values())
@settings(max_examples=60, deadline=None)
def test_questions_of_any_kind_are_asked_or_refused_before_a_call(value: Any) -> None:
    """A text is one question, not one for each letter; what is no text is not warmed up for."""
    long = "Tea. " * 2_000
    for questions in (value, [value, "How?"]):
        api = FakeAPI()
        settled = hostile.settle_call(lambda: documents_asked(api, [long], questions))  # noqa: B023
        if settled.error is None and isinstance(questions, str | list | tuple):
            asked = [questions] if isinstance(questions, str) else list(questions)
            assert [outcome.item for outcome in settled.value] == asked
        if isinstance(settled.error, NotText):
            assert len(api.journal) == 0


@given(value=hostile.values())
@settings(max_examples=60, deadline=None)
def test_documents_of_any_kind_are_sent_or_refused_before_a_call(value: Any) -> None:
    """Texts, by title or alone."""
    for documents in (value, [value], {"a": value}):
        api = FakeAPI()
        settled = hostile.settle_call(lambda: documents_asked(api, documents, ["?"]))  # noqa: B023
        if isinstance(settled.error, NotText):
            assert len(api.journal) == 0


@pytest.mark.parametrize("value", [None, 7])
def test_what_is_no_list_of_texts_is_named(value: Any) -> None:
    """Documents, and questions about them."""
    api = FakeAPI()
    with pytest.raises(NotText, match="documents is"):
        documents_asked(api, value, ["?"])
    with pytest.raises(NotText, match="questions is"):
        documents_asked(api, ["Tea."], value)
    assert len(api.journal) == 0


def test_one_question_is_asked_once() -> None:
    """It need not stand in a list."""
    (outcome,) = documents_asked(FakeAPI(), ["Tea."], "How?")
    assert outcome.item == "How?"


def test_one_usage_need_not_stand_in_a_list() -> None:
    """Unless it is an object of the SDK, which goes for a list of its fields."""
    usage = SimpleNamespace(input_tokens=1_000, output_tokens=1)
    assert savings(usage, SONNET).stats == savings([usage], SONNET).stats


def test_one_text_is_one_document() -> None:
    """Not a document for each of its letters."""
    request = CachedAssistant(FakeAPI().client(), "Hi", documents="Tea.").request("?")
    assert [block["text"] for block in request["system"]] == [
        "Hi",
        '<document title="1">\nTea.\n</document>',
    ]


def test_content_that_can_be_read_only_once_is_refused() -> None:
    """The check would use it up, and nothing would be sent."""
    with pytest.raises(InvalidContent, match="pass a str, or a list of blocks"):
        check_breakpoints(asked(block for block in [{"type": "text", "text": "Hi"}]))


def test_blank_instructions_are_left_out() -> None:
    """The API refuses a block that says nothing, and a breakpoint on it."""
    api = FakeAPI()
    assistant = CachedAssistant(api.client(), " ")
    assistant.ask("Hi")
    assert "system" not in api.journal[0].body
    (block,) = CachedAssistant(api.client(), "", documents=["Tea."]).request("?")["system"]
    assert "cache_control" in block
