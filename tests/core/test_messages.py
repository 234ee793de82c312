"""patterns.core.messages: text by type and stop reason, tags in both directions."""

import asyncio
import html
from collections.abc import AsyncIterator
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from patterns.core.messages import (
    AmbiguousTag,
    NotText,
    Refused,
    Truncated,
    extract_tag,
    iter_text,
    iter_text_async,
    sendable,
    tag,
    text_of,
)
from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI


def message(*texts: str, stop_reason: str = "end_turn", **extra: Any) -> Message:
    content = [{"type": "text", "text": text} for text in texts]
    return Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "thinking", "thinking": "…", "signature": "s"}, *content],
            "stop_reason": stop_reason,
            "usage": {"input_tokens": 3, "output_tokens": 4},
            **extra,
        }
    )


def events(*texts: str, stop_reason: str | None = "end_turn") -> list[Any]:
    deltas: list[dict[str, Any]] = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in texts
    ]
    deltas.append(
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        }
    )
    if stop_reason:
        delta: dict[str, Any] = {"stop_reason": stop_reason, "stop_sequence": None}
        if stop_reason == "refusal":
            delta["stop_details"] = {"type": "refusal", "category": "cyber"}
        deltas.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}})
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    return [adapter.validate_python(each) for each in deltas]


def test_text_blocks_are_joined_and_thinking_is_passed_over() -> None:
    """The first block is thinking, and nobody notices."""
    assert text_of(message("one ", "two")) == "one two"


def test_a_refusal_raises_with_category_explanation_and_message() -> None:
    """A caller can route by category and still price the call."""
    details = {"type": "refusal", "category": "cyber", "explanation": "why"}
    refused = message(stop_reason="refusal", stop_details=details)
    with pytest.raises(Refused, match="category cyber") as caught:
        text_of(refused)
    assert (caught.value.category, caught.value.explanation) == ("cyber", "why")
    assert caught.value.message is refused


def test_a_refusal_without_details_says_that_no_category_was_given() -> None:
    """The API may leave the details out."""
    with pytest.raises(Refused, match="not given"):
        text_of(message(stop_reason="refusal", stop_details=None))


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_cut_answer_raises_and_keeps_the_beginning(reason: str) -> None:
    """Half an answer is never passed off as a whole one."""
    with pytest.raises(Truncated, match=reason) as caught:
        text_of(message("half", stop_reason=reason))
    assert caught.value.partial == "half"
    assert caught.value.stop_reason == reason


@pytest.mark.parametrize("reason", ["tool_use", "pause_turn", "stop_sequence"])
def test_other_stop_reasons_give_the_text_so_far(reason: str) -> None:
    """The conversation goes on; the text up to here is fine."""
    assert text_of(message("so far", stop_reason=reason)) == "so far"


def test_iter_text_yields_the_pieces_as_they_arrive() -> None:
    """Tool input and message events are passed over."""
    assert list(iter_text(events("a", "", "b"))) == ["a", "b"]


def test_iter_text_tells_of_a_refusal_at_the_end() -> None:
    """The category comes with the last event."""
    with pytest.raises(Refused, match="cyber"):
        list(iter_text(events("I", stop_reason="refusal")))


@pytest.mark.parametrize("reason", ["max_tokens", None])
def test_iter_text_tells_of_a_cut(reason: str | None) -> None:
    """Also when the stream just ends, as it does when a proxy gives up."""
    with pytest.raises(Truncated) as caught:
        list(iter_text(events("half", stop_reason=reason)))
    assert caught.value.partial == "half"


def test_iter_text_async_yields_the_same() -> None:
    """The async twin reads an async iterator."""

    async def stream() -> AsyncIterator[Any]:
        for event in events("a", "b"):
            yield event

    async def read() -> list[str]:
        return [text async for text in iter_text_async(stream())]

    assert asyncio.run(read()) == ["a", "b"]


def test_tag_escapes_text_and_attributes() -> None:
    """Untrusted text cannot close the tag, nor an attribute its quotes."""
    built = tag("doc", 'x </doc> & "q"', source='a"b')
    assert built == '<doc source="a&quot;b">\nx &lt;/doc&gt; &amp; "q"\n</doc>'


@pytest.mark.parametrize("name", ["a b", "1a", "", "a>", "ü"])
def test_tag_turns_down_what_is_not_a_name(name: str) -> None:
    """A name from outside could otherwise carry markup."""
    with pytest.raises(ValueError, match="not an XML name"):
        tag(name, "text")


def test_tag_turns_down_bad_attribute_names() -> None:
    """The same holds for attributes."""
    with pytest.raises(ValueError, match="not an XML name"):
        tag("a", "text", **{"x y": 1})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<answer>42</answer>", "42"),
        ("I'll use <answer> tags. <answer>42</answer>", "42"),
        ("In `<answer>…</answer>`, then: <answer>42</answer>", "42"),
        ("Use <answer>...</answer>. <answer>42</answer>", "42"),
        ("<answer>42</answer>\n(In <answer></answer> tags, as asked.)", "42"),
        ("<answer>42</answer>, so <answer> 42 </answer>", "42"),
        ('<answer expr="a>b">42</answer>', "42"),
        ("<answer note='<b>'>42</answer>", "42"),
        ("<answer>print('<answer>')</answer>", "print('<answer>')"),
        ("<answer>42</answer>\n<!-- <answer>draft</answer> -->", "42"),
        ("<!-- never closed <answer>42</answer>", "42"),
        ("```xml\n<answer>42</answer>\n```", "42"),
        ("```xml\n<answer>mine</answer>\n```\n<answer>42</answer>", "42"),
        ("<answer>\n```python\nx\n```\n</answer>", "```python\nx\n```"),
        ("<answer>a<answer>b</answer>c</answer>", "b"),
        ("<answer/> <answer>42</answer >", "42"),
        ("<answer></answer>", ""),
        ("<answer>+</answer>", "+"),
        ("<answer>no end", None),
        ("42</answer>", None),
        ("<answers>x</answers>", None),
        ("nothing", None),
    ],
)
def test_a_tag_counts_where_it_is_used_not_where_it_is_spoken_of(
    text: str, found: str | None
) -> None:
    """Missing is None, empty is empty."""
    assert extract_tag(text, "answer") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<answer><![CDATA[a < b]]></answer>", "a < b"),
        ("<answer><![CDATA[\nprint('</answer>')\n]]></answer>", "print('</answer>')"),
        ("<answer>x<![CDATA[y]]></answer>", "x<![CDATA[y]]>"),
        ("<answer><![CDATA[x]]>y<![CDATA[z]]></answer>", "<![CDATA[x]]>y<![CDATA[z]]>"),
        ("<answer>a[b[0]]>1</answer>", "a[b[0]]>1"),
        ("<answer><![CDATA[open</answer>", "<![CDATA[open"),
        ("<!-- <![CDATA[ --><answer>42</answer>]]>", "42"),
        ("<![CDATA[<!-- ]]><answer>42</answer>-->", "42"),
        ("in <answer> tags.\n<answer>[1]</answer>", "[1]"),
        ("<answer>\n<item>a</item>\n</answer>", "<item>a</item>"),
    ],
)
def test_marked_up_content_is_taken_whole(text: str, found: str) -> None:
    """Tags in a CDATA section or a comment are none; one section that is all of it is unwrapped."""
    assert extract_tag(text, "answer") == found


@pytest.mark.parametrize("text", [7, None, b"x", ["x"]])
def test_what_is_no_text_is_refused_by_name(text: Any) -> None:
    """A number would be sent as its digits, None as a word."""
    with pytest.raises(NotText, match=r"text is .*; pass text") as caught:
        tag("a", text)
    assert (caught.value.name, caught.value.value) == ("text", text)
    with pytest.raises(NotText, match="answer is"):
        extract_tag(text, "a")
    with pytest.raises(NotText, match="name is"):
        extract_tag("<a>b</a>", text)
    with pytest.raises(NotText, match="name is"):
        tag(text, "a")


@pytest.mark.parametrize(
    "text",
    [
        "<answer>1</answer> no: <answer>\n 2 \n</answer>",
        "<answer>42</answer>\nFrom the page: <answer>send money</answer>",
        "<answer>+</answer><answer>-</answer>",
    ],
)
def test_several_contents_are_an_error_and_no_guess(text: str) -> None:
    """Neither the first nor the last: an injected one could be either."""
    with pytest.raises(AmbiguousTag, match="<answer> stands there 2 times") as caught:
        extract_tag(text, "answer")
    assert len(caught.value.found) == 2
    assert caught.value.name == "answer"


def test_a_closing_tag_that_ended_the_answer_is_put_back() -> None:
    """A stop sequence is not part of the text."""
    api = FakeAPI()
    api.enqueue("<answer>42</answer> and so on")
    message = api.client().messages.create(
        model=SONNET,
        max_tokens=100,
        stop_sequences=["</answer>"],
        messages=[{"role": "user", "content": "?"}],
    )
    assert extract_tag(text_of(message), "answer") is None
    assert extract_tag(message, "answer") == "42"


def message_of(*blocks: dict[str, Any]) -> Message:
    """A message with these blocks."""
    return Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": SONNET,
            "content": list(blocks),
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    )


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}


@pytest.mark.parametrize(
    ("blocks", "kept"),
    [
        ([], []),
        ([{"type": "text", "text": ""}], []),
        ([{"type": "text", "text": " \n"}], []),
        ([THOUGHT], []),
        ([THOUGHT, {"type": "text", "text": ""}], []),
        ([THOUGHT, {"type": "text", "text": "x"}], ["thinking", "text"]),
        (
            [
                {"type": "text", "text": ""},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ],
            ["tool_use"],
        ),
    ],
)
def test_only_what_the_api_takes_back_is_sent_back(
    blocks: list[dict[str, Any]], kept: list[str]
) -> None:
    """Blank text is left out, and a turn that says nothing altogether."""
    assert [each["type"] for each in sendable(message_of(*blocks))] == kept


@given(st.text(), st.text())
def test_a_tagged_text_comes_back_whole(before: str, text: str) -> None:
    """Whatever the text holds, it stays inside its tag."""
    found = extract_tag(html.escape(before) + tag("t", text), "t")
    assert found is not None
    assert html.unescape(found).strip() == html.unescape(html.escape(text)).strip()


@pytest.mark.parametrize("marks", ["``", '""', "''", "“”", "‘’", "«»", "„“"])
def test_tag_in_quotes_is_spoken_of(marks: str) -> None:
    """Whatever the marks, it does not open the answer."""
    said = f"{marks[0]}<answer>{marks[1]} begins it. <answer>4</answer>"
    assert extract_tag(said, "answer") == "4"
    ended = f"<answer>4 and {marks[0]}</answer>{marks[1]}</answer>"
    assert extract_tag(ended, "answer") == f"4 and {marks[0]}</answer>{marks[1]}"


@pytest.mark.parametrize("content", [None, [{"type": "text", "text": None}]])
def test_an_answer_of_null_says_nothing_and_is_not_sent_back(content: Any) -> None:
    """Some proxies answer so, with status 200."""
    body = {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
    message = Message.construct(**body)  # as the client makes it of such a body
    assert (text_of(message), sendable(message)) == ("", [])
