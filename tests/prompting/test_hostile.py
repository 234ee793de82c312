"""Hostile but legal: any value that a caller passes, any answer that the API may give."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import hostile
import pytest
from hypothesis import given, settings
from pydantic import BaseModel

from patterns.fake_api import FakeAPI
from patterns.prompting import (
    Example,
    UserContext,
    build_system_prompt,
    chain_of_thought,
    expert,
    few_shot_classify,
    structured,
)


class Bill(BaseModel):
    """What is asked for."""

    total: int


READERS: dict[str, Callable[[Any], Any]] = {
    "structured": lambda client: structured(client, "Hi", Bill),
    "chain_of_thought": lambda client: chain_of_thought(client, "Hi"),
    "few_shot_classify": lambda client: few_shot_classify(client, "Hi", {"a": "b"}),
    "expert": lambda client: expert(client, "Hi", role="cook", audience="guests"),
}


@pytest.mark.parametrize("name", READERS)
@given(body=hostile.messages())
@settings(max_examples=40, deadline=None)
def test_any_answer_is_a_result_or_a_typed_error(name: str, body: dict[str, Any]) -> None:
    """Blank, cut, refused, with unknown blocks and reasons."""
    hostile.settle(lambda: READERS[name](hostile.serving(body)))


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "prompt": lambda client, value: structured(client, value, Bill),
    "output": lambda client, value: structured(client, "Hi", value),
    "question": chain_of_thought,
    "text": lambda client, value: few_shot_classify(client, value, {"a": "b"}),
    "label": lambda client, value: few_shot_classify(client, "Hi", {_hashable(value): "b"}),
    "use": lambda client, value: few_shot_classify(client, "Hi", {"a": value}),
    "example": lambda client, value: few_shot_classify(
        client, "Hi", {"a": "b"}, [Example(value, "a")]
    ),
}


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return object()
    return value


@pytest.mark.parametrize("name", CALLS)
@given(value=hostile.values())
@settings(max_examples=40, deadline=None)
def test_any_value_is_sent_as_text_or_refused_before_a_call(name: str, value: Any) -> None:
    """What is refused cost nothing; what is sent, the API took or refused for its text alone."""
    api = FakeAPI()
    settled = hostile.settle_call(lambda: CALLS[name](api.client(), value))
    if not isinstance(value, str | list | tuple):
        assert settled.error is not None
        assert len(api.journal) == 0


@given(hostile.values(), hostile.values())
@settings(max_examples=100)
def test_system_prompt_takes_text_and_a_moment_with_a_zone(text: Any, now: Any) -> None:
    """Nothing else."""

    def build() -> Any:
        return build_system_prompt(text, UserContext(), clock=lambda: now, zone=UTC)

    fits = isinstance(text, str) and isinstance(now, datetime) and now.tzinfo is not None
    try:
        assert (hostile.settle(build).error is None) == fits
    except OverflowError:  # a day before the first or after the last, in another zone
        assert fits
