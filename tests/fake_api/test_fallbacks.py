"""Server-side fallback: who answers in the end, and what the message says of those who declined."""

from typing import Any

import pytest

from patterns.fake_api import Error, FakeAPI, Reply, VirtualClock

FABLE, OPUS, NEXT = "claude-fable-5", "claude-opus-5", "claude-opus-4-8"
BETA = "server-side-fallback-2026-07-01"


def ask(fallbacks: Any, *replies: Any, model: str = OPUS, **options: Any) -> Any:
    """One request whose first answers are these."""
    api = FakeAPI(clock=VirtualClock())
    api.enqueue(*replies)
    return api.client(max_retries=0).beta.messages.create(
        model=model,
        max_tokens=50,
        messages=[{"role": "user", "content": "hi"}],
        fallbacks=fallbacks,
        betas=[BETA],
        **options,
    )


@pytest.mark.parametrize("fallbacks", ["default", [{"model": NEXT}]])
@pytest.mark.parametrize("model", [OPUS, FABLE])
def test_the_fallback_answers_what_was_declined(model: str, fallbacks: Any) -> None:
    """Its name, a block that marks the handover, and an entry of usage for each attempt."""
    message = ask(fallbacks, Reply(refusal="cyber"), Reply("Hello!"), model=model)
    assert (message.model, message.stop_reason, message.stop_details) == (NEXT, "end_turn", None)
    block, text = message.content
    assert (block.type, block.from_.model, block.to.model) == ("fallback", model, NEXT)
    assert (block.trigger.category, text.text) == ("cyber", "Hello!")
    tries = [(each.type, each.model) for each in message.usage.iterations]
    assert tries == [("message", model), ("fallback_message", NEXT)]


def test_text_before_the_refusal_stays() -> None:
    """The handover stands where one model's output ends."""
    message = ask([{"model": NEXT}], Reply("I start", refusal="bio"), Reply("and go on."))
    assert [block.type for block in message.content] == ["text", "fallback", "text"]
    assert message.usage.iterations[0].output_tokens == 2


def test_the_last_refusal_is_returned_where_all_decline() -> None:
    """With a block for each model that gave way."""
    others = [{"model": NEXT}, {"model": "claude-opus-4-7"}]
    refusals = [Reply(refusal="bio")] * 3
    message = ask(others, *refusals, model=FABLE)
    assert (message.stop_reason, message.model) == ("refusal", "claude-opus-4-7")
    hops = [(block.from_.model, block.to.model) for block in message.content]
    assert hops == [(FABLE, NEXT), (NEXT, "claude-opus-4-7")]


def test_a_fallback_that_is_overloaded_leaves_the_refusal() -> None:
    """The attempt is not made."""
    message = ask("default", Reply(refusal="bio"), Error(529))
    assert (message.stop_reason, message.model, message.content) == ("refusal", OPUS, [])


def test_a_model_without_fallbacks_stays_with_its_refusal() -> None:
    """The default routing has nowhere to go."""
    message = ask("default", Reply(refusal="bio"), model="claude-sonnet-5")
    assert (message.stop_reason, message.model) == ("refusal", "claude-sonnet-5")


def test_a_stream_shows_the_handover() -> None:
    """As a block that comes whole."""
    events = list(ask("default", Reply(refusal="bio"), Reply("Hello!"), stream=True))
    starts = [event.content_block.type for event in events if event.type == "content_block_start"]
    assert starts == ["fallback", "text"]
