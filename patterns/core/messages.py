"""Read and build messages: text by block type and stop reason, XML tags in both directions.

A response is a list of typed blocks and a reason why it ended. Indexing `content[0].text` breaks
as soon as a thinking block comes first, and it returns half an answer without a word. Use these
instead. Not for JSON: let `output_config` or `patterns.prompting.structured` produce that.

Taught in chapters 00 and 05.
"""

import html
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from anthropic.types import Message
from anthropic.types.beta import BetaMessage

TRUNCATING: Final = frozenset(("max_tokens", "model_context_window_exceeded"))
"""Stop reasons after which the text is only the beginning of an answer."""

_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


class Refused(Exception):
    """Claude declined to answer.

    Attributes:
        category: policy category of the refusal, or None when the API names none.
        explanation: the API's own words, not stable, or None.
        message: the whole response with usage and request id; None when it was streamed.
        earlier: responses that led up to this one and were billed too, as in a re-ask.
    """

    earlier: tuple[Message, ...] = ()

    def __init__(
        self,
        category: str | None,
        explanation: str | None = None,
        message: Message | BetaMessage | None = None,
    ) -> None:
        self.category, self.explanation, self.message = category, explanation, message
        super().__init__(
            f"Claude refused (category {category or 'not given'}); rephrase the task or route it "
            "elsewhere, a retry gives the same answer."
        )


class Truncated(Exception):
    """The answer stops before its end.

    Attributes:
        stop_reason: `max_tokens`, `model_context_window_exceeded`, or None for a stream that
            ended without saying why.
        partial: the text up to the cut; empty when thinking used up the whole allowance.
        message: the whole response with usage and request id; None when it was streamed.
        earlier: responses that led up to this one and were billed too, as in a re-ask.
    """

    earlier: tuple[Message, ...] = ()

    def __init__(
        self,
        stop_reason: str | None,
        partial: str,
        message: Message | BetaMessage | None = None,
    ) -> None:
        self.stop_reason, self.partial, self.message = stop_reason, partial, message
        advice = {
            "max_tokens": "raise max_tokens; thinking counts towards it",
            "model_context_window_exceeded": "shorten the conversation",
        }.get(stop_reason or "", "the stream broke off; ask again")
        super().__init__(
            f"answer cut after {len(partial)} characters of text "
            f"({stop_reason or 'no stop reason'}): {advice}."
        )


def text_of(message: Message | BetaMessage) -> str:
    """The text of a complete answer: every text block, joined, whatever comes between them.

    A `tool_use` or `pause_turn` answer gives the text so far, which may be empty.

    Raises:
        Refused: the stop reason is `refusal`.
        Truncated: the stop reason is `max_tokens` or `model_context_window_exceeded`.
    """
    text = "".join(block.text for block in message.content if block.type == "text")
    if message.stop_reason == "refusal":
        details = message.stop_details
        raise Refused(
            details.category if details else None,
            details.explanation if details else None,
            message,
        )
    if message.stop_reason in TRUNCATING:
        raise Truncated(message.stop_reason, text, message)
    return text


@dataclass
class _Deltas:
    """What a stream's events have said so far."""

    texts: list[str] = field(default_factory=list)
    stop_reason: str | None = None
    details: Any = None

    def text(self, event: Any) -> str:
        if event.type == "message_delta":
            self.stop_reason = event.delta.stop_reason
            self.details = getattr(event.delta, "stop_details", None)
        if event.type != "content_block_delta" or event.delta.type != "text_delta":
            return ""
        self.texts.append(event.delta.text)
        return str(event.delta.text)

    def finish(self) -> None:
        if self.stop_reason == "refusal":
            raise Refused(getattr(self.details, "category", None))
        if self.stop_reason is None or self.stop_reason in TRUNCATING:
            raise Truncated(self.stop_reason, "".join(self.texts))


def iter_text(stream: Iterable[Any]) -> Iterator[str]:
    """Yield the pieces of text of a stream as they arrive.

    Takes the events of `messages.create(stream=True)` or of `messages.stream()`.

    Raises:
        Refused, Truncated: after the last piece, as `text_of` does; also Truncated with stop
            reason None when the stream ends without a stop reason.
    """
    deltas = _Deltas()
    for event in stream:
        if text := deltas.text(event):
            yield text
    deltas.finish()


async def iter_text_async(stream: AsyncIterable[Any]) -> AsyncIterator[str]:
    """`iter_text` for the streams of an async client."""
    deltas = _Deltas()
    async for event in stream:
        if text := deltas.text(event):
            yield text
    deltas.finish()


def tag(name: str, text: str, /, **attributes: str | int | float) -> str:
    """`text` inside an XML tag, escaped so that it cannot close the tag or open another.

    Escaping keeps untrusted text in its place; it gives that text no less authority over the
    model. Attribute values are escaped too.

    Raises:
        ValueError: the name, or that of an attribute, is not a plain XML name.
    """
    for each in (name, *attributes):
        if not _NAME.match(each):
            raise ValueError(f"{each!r} is not an XML name; use letters, digits, '_', '-' and '.'.")
    opened = "".join(f' {key}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{opened}>\n{html.escape(text, quote=False)}\n</{name}>"


def raw_tag(name: str, text: str, /, *, suffix: str) -> str:
    """`text` unchanged inside a tag whose name nobody can guess, for code and other markup.

    Use it where `&lt;` in place of `<` would change the task. Take `suffix` from
    `secrets.token_hex(8)`, once per conversation if the prefix is to be cached.

    Raises:
        ValueError: the text holds the closing tag, or the name or suffix is not plain.
    """
    full = f"{name}-{suffix}"
    if not _NAME.match(full) or not suffix:
        raise ValueError(f"{full!r} is not an XML name; use letters, digits, '_', '-' and '.'.")
    if f"</{full}" in text:
        raise ValueError(f"the text holds </{full}>; take another suffix.")
    return f"<{full}>\n{text}\n</{full}>"


def extract_tag(text: str, name: str) -> str | None:
    """What stands in the last innermost `<name>…</name>`, stripped; None when there is none.

    The last one, because an answer may speak of its tags before it uses them. Attributes are
    allowed in the opening tag. An empty pair gives an empty string.
    """
    one = re.escape(name)
    pair = re.compile(
        rf"<{one}(?:\s[^<>]*)?>((?:(?!<{one}[\s>]|</{one}\s*>).)*)</{one}\s*>", re.DOTALL
    )
    found: str | None = None
    for match in pair.finditer(text):
        found = match[1]
    return None if found is None else found.strip()
