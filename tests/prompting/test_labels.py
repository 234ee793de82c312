"""few_shot_classify(): the labels on offer, the cached prefix, and text that fights back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.messages import NotText, Refused
from patterns.fake_api import FakeAPI, Reply
from patterns.prompting import Example, few_shot_classify, few_shot_classify_async
from patterns.prompting.labels import Classified, UnknownLabel, classifier_prompt, label_model
from patterns.prompting.structured import InvalidOutput

LABELS = {"refund": "wants money back", "praise": "is happy"}
EXAMPLES = (Example("I want my 20 € back", "refund"), Example("Lovely!", "praise"))

Sort = Callable[..., Classified]


def sort_sync(api: FakeAPI, *args: Any) -> Classified:
    return few_shot_classify(api.client(), *args)


def sort_async(api: FakeAPI, *args: Any) -> Classified:
    return asyncio.run(few_shot_classify_async(api.async_client(), *args))


both = pytest.mark.parametrize("sort", [sort_sync, sort_async], ids=["sync", "async"])


def answering(*labels: str) -> FakeAPI:
    api = FakeAPI()
    api.enqueue(*(Reply(json={"label": label}) for label in labels))
    return api


@both
def test_a_label_on_offer_comes_back_with_its_usage(sort: Sort) -> None:
    """One call, one label."""
    result = sort(answering("refund"), "Money back, please.", LABELS, EXAMPLES)
    assert result.label == "refund"
    assert (len(result.usage), len(result.request_ids)) == (1, 1)
    assert result.stop_reason == "end_turn"


@both
def test_an_invented_label_is_asked_again(sort: Sort) -> None:
    """The schema allows four labels and the second answer is one of them."""
    result = sort(answering("shipping", "other"), "Where is it?", LABELS)
    assert result.label == "other"
    assert len(result.usage) == 2


def test_a_label_invented_twice_never_gets_out() -> None:
    """Nothing downstream has to expect it."""
    with pytest.raises(InvalidOutput, match="label: Input should be 'refund', 'praise' or 'other'"):
        few_shot_classify(answering("shipping", "delivery").client(), "Where is it?", LABELS)


def test_everything_stable_is_one_cached_block_and_the_text_is_not_in_it() -> None:
    """Two different texts share their whole prefix."""
    api = answering("refund", "praise")
    for text in ("Money back!", "Lovely people."):
        few_shot_classify(api.client(), text, LABELS, EXAMPLES)
    first, second = (entry.body for entry in api.journal)
    assert first["system"] == second["system"] == classifier_prompt(LABELS, EXAMPLES)
    assert first["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert first["output_config"] == second["output_config"]
    assert first["messages"] != second["messages"]


def test_a_long_enough_prefix_is_written_once_and_then_read() -> None:
    """With the fake API's cache accounting, which follows the documentation."""
    api = answering("refund", "praise")
    client = api.client()
    examples = [
        Example(f"Message {n}, long enough to count for something", "praise") for n in range(60)
    ]
    first, second = (
        few_shot_classify(client, text, LABELS, examples).usage[0] for text in ("One", "Two")
    )
    assert first.cache_creation_input_tokens
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens


def test_other_is_on_offer_unless_you_define_it_yourself() -> None:
    """A text that fits nowhere needs somewhere to go."""
    assert 'name="other">\nnone of the labels above fits' in classifier_prompt(LABELS)[0]["text"]
    own = classifier_prompt({**LABELS, "other": "spam, mostly"})[0]["text"]
    assert own.count('name="other"') == 1
    assert "spam, mostly" in own


def test_an_example_with_a_label_that_is_not_on_offer_is_an_error() -> None:
    """It would teach the model to invent."""
    with pytest.raises(
        UnknownLabel, match="'shipping' is not on offer: refund, praise, other"
    ) as e:
        classifier_prompt(LABELS, [Example("Where is it?", "shipping")])
    assert (e.value.label, e.value.labels) == ("shipping", ("refund", "praise", "other"))


def test_a_refusal_is_raised_and_not_turned_into_a_label() -> None:
    """`other` means that no label fits, not that there was no answer."""
    api = FakeAPI()
    api.enqueue(Reply(refusal="cyber"))
    with pytest.raises(Refused):
        few_shot_classify(api.client(), "…", LABELS)


def test_equal_labels_share_one_output_model() -> None:
    """So the schema is built once, however many texts there are."""
    assert label_model(("a", "b")) is label_model(("a", "b"))


@settings(deadline=None, max_examples=40)
@given(st.text(), st.text())
def test_neither_text_nor_example_can_open_or_close_a_tag(text: str, shown: str) -> None:
    """Escaping holds for whatever customers write."""
    api = answering("other")
    few_shot_classify(api.client(), text, LABELS, [Example(shown, "praise")])
    body = api.journal[0].body
    assert body["messages"][0]["content"].count("<") == 2
    assert body["system"][0]["text"].count("<example") == 1
    assert body["system"][0]["text"].count("</example>") == 1


@pytest.mark.parametrize("label", ["\ud800", 7, None])
def test_label_that_no_answer_can_hold_is_refused(label: Any) -> None:
    """Before a call: half a character, a number, nothing."""
    api = FakeAPI()
    with pytest.raises(NotText, match="label is"):
        few_shot_classify(api.client(), "Hi", {label: "use"})
    assert len(api.journal) == 0
