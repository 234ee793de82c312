"""Hostile but legal: any value that a caller passes, any answer that the API may give."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import hostile
import pytest
from hypothesis import given, settings

from patterns.fake_api import FakeAPI
from patterns.quality import (
    InvalidInput,
    Persona,
    cluster_answers,
    decompose_and_synthesize,
    multi_persona,
    refine,
    self_consistent,
    vote,
)
from patterns.quality.vote import Vote

PANEL = [Persona("a", "cook"), Persona("b", "guest")]
READERS: dict[str, Callable[[Any], Any]] = {
    "self_consistent": lambda client: self_consistent(
        client, "2 + 2?", n=2, answer=int, concurrency=1
    ),
    "refine": lambda client: refine(client, "Hi", rubric=["short"], max_rounds=2),
    "decompose": lambda client: decompose_and_synthesize(client, "Hi", concurrency=1),
    "multi_persona": lambda client: multi_persona(client, "Tea", PANEL, concurrency=1),
    "cluster_answers": lambda client: cluster_answers(client, ["a", "b"]),
}


@pytest.mark.parametrize("name", READERS)
@given(body=hostile.messages())
@settings(max_examples=30, deadline=None)
def test_any_answer_is_a_result_or_a_typed_error(name: str, body: dict[str, Any]) -> None:
    """Blank, cut, refused, with unknown blocks and reasons: never an error of Python's own."""
    hostile.settle(lambda: READERS[name](hostile.serving(body)))


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "question": lambda client, value: self_consistent(client, value, n=1, answer=int),
    "n": lambda client, value: self_consistent(client, "Hi", n=value, answer=int),
    "concurrency": lambda client, value: self_consistent(
        client, "Hi", n=1, answer=int, concurrency=value
    ),
    "answer": lambda client, value: self_consistent(client, "Hi", n=1, answer=value),
    "task": lambda client, value: decompose_and_synthesize(client, value),
    "subtasks": lambda client, value: decompose_and_synthesize(client, "Hi", max_subtasks=value),
    "topic": lambda client, value: multi_persona(client, value, PANEL),
    "persona": lambda client, value: multi_persona(client, "Tea", [Persona(value, "x"), PANEL[0]]),
    "draft": lambda client, value: refine(client, value, rubric=["short"]),
    "rubric": lambda client, value: refine(client, "Hi", rubric=[value]),
    "budget": lambda client, value: refine(client, "Hi", rubric=["short"], budget=value),
    "answers": lambda client, value: cluster_answers(client, [value, "b"]),
}
NUMBERS = {"n", "concurrency", "subtasks", "budget"}


@pytest.mark.parametrize("name", CALLS)
@given(value=hostile.values())
@settings(max_examples=25, deadline=None)
def test_any_value_is_asked_or_refused_before_anything_is_paid(name: str, value: Any) -> None:
    """Large counts are counts, and are not run."""
    is_count = isinstance(value, int) and not isinstance(value, bool)
    if (name in NUMBERS and is_count and value > 3) or (name == "budget" and value is None):
        return
    api = FakeAPI()
    refused = hostile.settle_call(lambda: CALLS[name](api.client(), value)).error
    if name in NUMBERS:
        fits = (isinstance(value, Decimal) and value.is_finite()) if name == "budget" else is_count
        assert fits or isinstance(refused, InvalidInput)
    elif name != "answer" and not isinstance(value, str):
        assert refused is not None
        assert len(api.journal) == 0


@given(hostile.values())
@settings(max_examples=100)
def test_any_value_can_be_voted_for_or_is_refused(value: Any) -> None:
    """Twice the same object is two votes for it, unless its `==` says neither yes nor no."""
    settled = hostile.settle(lambda: vote([value, value]))
    if isinstance(settled.value, Vote):
        alike = value == value  # NaN is not
        assert [n for _, n in settled.value.counts] == ([2] if alike else [1, 1])
    else:
        assert isinstance(settled.error, InvalidInput)
