"""expert(): the role in the system prompt, candour always, complete answers only."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from patterns.core.messages import Refused, Truncated
from patterns.core.models import HAIKU
from patterns.fake_api import FakeAPI, Reply
from patterns.prompting import expert, expert_async
from patterns.prompting.roles import CANDOUR, Answer

Ask = Callable[..., Answer]


def ask_sync(api: FakeAPI, *args: Any, **options: Any) -> Answer:
    return expert(api.client(), *args, **options)


def ask_async(api: FakeAPI, *args: Any, **options: Any) -> Answer:
    return asyncio.run(expert_async(api.async_client(), *args, **options))


both = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])
ROLE = {"role": "database engineer", "audience": "a web developer who knows SQL"}


@both
def test_an_expert_answers_in_plain_text_with_its_usage(ask: Ask) -> None:
    """Thinking comes first and stays out of the text."""
    api = FakeAPI()
    api.enqueue(Reply("Add an index.", thinking="Slow scan."))
    answer = ask(api, "Why is it slow?", **ROLE)
    assert answer.text == "Add an index."
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0
    assert answer.request_id


def test_role_audience_and_rules_stand_in_the_system_prompt() -> None:
    """Candour closes it, and the question is the user turn as it is."""
    api = FakeAPI()
    api.enqueue("Add an index.")
    rules = ["Answer in two sentences."]
    expert(api.client(), "Is a < b slow?", **ROLE, rules=rules, model=HAIKU, max_tokens=500)
    body = api.journal[0].body
    assert body["system"] == (
        "You are a database engineer. You answer a web developer who knows SQL.\n"
        f"Answer in two sentences.\n{CANDOUR}"
    )
    assert body["messages"] == [{"role": "user", "content": "Is a < b slow?"}]
    assert (body["model"], body["max_tokens"]) == (HAIKU, 500)


@both
def test_a_refusal_and_a_cut_answer_are_errors(ask: Ask) -> None:
    """Half an expert opinion is not an answer."""
    api = FakeAPI()
    api.enqueue(Reply(refusal="bio"), Reply("Add an", stop_reason="max_tokens"))
    with pytest.raises(Refused):
        ask(api, "?", **ROLE)
    with pytest.raises(Truncated):
        ask(api, "?", **ROLE)
