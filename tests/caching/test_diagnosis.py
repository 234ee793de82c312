"""Why the cache missed: the API's reasons, and the place where two prompts part."""

from typing import Any

import pytest
from anthropic.types import Message

from patterns.caching import explain_miss, first_difference
from patterns.core.models import MODELS

REASONS = {
    "model_changed": "one model",
    "system_changed": "out of system",
    "tools_changed": "same order",
    "messages_changed": "Append",
}


def message(diagnostics: Any) -> Message:
    """A response with these diagnostics."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    fields = {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": []}
    return Message.model_validate({**fields, "usage": usage, "diagnostics": diagnostics})


def asked(system: Any = "Be brief.", *turns: str, **more: Any) -> dict[str, Any]:
    """A request whose turns alternate."""
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)
    ]
    return {"model": "x", "system": system, "messages": messages, **more}


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_each_divergence_comes_with_tokens_and_advice(reason: str) -> None:
    """What changed, what it cost and what to do."""
    found = {"type": reason, "cache_missed_input_tokens": 4_000}
    miss = explain_miss(message({"cache_miss_reason": found}))
    assert miss is not None
    assert (miss.reason, miss.tokens) == (reason, 4_000)
    assert REASONS[reason] in miss.advice


@pytest.mark.parametrize("reason", ["previous_message_not_found", "unavailable"])
def test_reasons_without_a_token_count_say_so(reason: str) -> None:
    """The API gives none for these two."""
    miss = explain_miss(message({"cache_miss_reason": {"type": reason}}))
    assert miss is not None
    assert (miss.reason, miss.tokens) == (reason, None)


def test_pending_comparison_is_not_a_clean_bill() -> None:
    """Diagnostics without a reason mean that the comparison was not finished."""
    miss = explain_miss(message({"cache_miss_reason": None}))
    assert miss is not None
    assert miss.reason == "pending"


def test_no_diagnostics_mean_no_divergence() -> None:
    """Null when nothing diverged, and when nobody asked."""
    assert explain_miss(message(None)) is None


def test_timestamp_in_the_system_prompt_is_found_to_the_character() -> None:
    """The API says "system_changed"; the text around the place says what."""
    before, after = (asked([{"type": "text", "text": f"It is 09:0{n}. Answer."}]) for n in (0, 1))
    found = first_difference(before, after)
    assert found is not None
    assert found.path == "system[0].text"
    assert (found.before, found.after) == ("It is 09:00. Answer.", "It is 09:01. Answer.")


def test_only_the_text_around_the_place_is_shown() -> None:
    """Two long prompts do not fill the screen."""
    found = first_difference(asked("a" * 900 + "1" + "b" * 900), asked("a" * 900 + "2" + "b" * 900))
    assert found is not None
    assert (len(found.before), found.after[24]) == (48, "2")


def test_grown_conversation_is_a_continuation() -> None:
    """New turns at the end, and markers that move, are no difference."""
    earlier = asked("s", "one")
    later = asked("s", "one", "two", "three")
    later["messages"][0]["content"] = [
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}
    ]
    assert first_difference(earlier, later) is None


@pytest.mark.parametrize(
    ("earlier", "later", "path"),
    [
        (asked(model="x"), asked(model="y"), "model"),
        (
            asked(tools=[{"name": "a"}, {"name": "b"}]),
            asked(tools=[{"name": "b"}]),
            "tools[0].name",
        ),
        (asked(tools=[{"name": "a"}]), asked(tools=[{"name": "a"}, {"name": "b"}]), "tools[1]"),
        (asked("s"), asked([]), "system[0]"),
        (asked("s", "one", "two"), asked("s", "one"), "messages[1]"),
        (asked("s", "one", "two"), asked("s", "one", "2"), "messages[1].content[0].text"),
        (asked(tools=[{"name": "a"}]), asked(tools=[{"name": "a", "x": 1}]), "tools[0].x"),
    ],
)
def test_first_place_that_breaks_the_prefix_is_named(
    earlier: dict[str, Any], later: dict[str, Any], path: str
) -> None:
    """In the cache's order: model, tools, system, messages."""
    found = first_difference(earlier, later)
    assert found is not None
    assert found.path == path


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_does_by_default_is_what_the_table_says(model: str) -> None:
    """Saying the default aloud is no difference; saying anything else is one."""
    facts = MODELS[model]
    silent = {**asked("Hi"), "model": model}
    for effort in ("low", "medium", "high"):
        said = {**silent, "output_config": {"effort": effort}}
        assert (first_difference(silent, said) is None) == (effort == facts.default_effort)
    for thinking in ("adaptive", "disabled"):
        said = {**silent, "thinking": {"type": thinking}}
        by_default = facts.thinks_by_default == (thinking == "adaptive")
        assert (first_difference(silent, said) is None) == by_default


def test_fast_mode_has_a_cache_of_its_own() -> None:
    """And standard speed said aloud is the same as left out."""
    slow = asked("Hi")
    difference = first_difference(slow, {**slow, "speed": "fast"})
    assert difference is not None
    assert (difference.path, difference.before, difference.after) == ("speed", "standard", "fast")
    assert first_difference(slow, {**slow, "speed": "standard"}) is None


def test_citations_in_one_block_are_a_setting_of_the_prompt() -> None:
    """Named as such, in front of the messages that hold the block."""
    source = {"type": "text", "media_type": "text/plain", "data": "Tea."}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    earlier = {**asked("Hi"), "messages": [{"role": "user", "content": [document]}]}
    plain = {**document, "citations": {"enabled": False}}
    later = {**asked("Hi"), "messages": [{"role": "user", "content": [plain]}]}
    difference = first_difference(earlier, later)
    assert difference is not None
    assert (difference.path, difference.before, difference.after) == ("citations", "true", "false")
