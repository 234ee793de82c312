"""Read and build messages: text by block type and stop reason, XML tags in both directions.

A response is a list of typed blocks and a reason why it ended. Indexing `content[0].text` breaks
as soon as a thinking block comes first, and it returns half an answer without a word. Use these
instead. Not for JSON: let `output_config` or `patterns.prompting.structured` produce that.

Taught in chapters 00 and 05.
"""

import html
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from anthropic.types import Message
from anthropic.types.beta import BetaMessage

from patterns.core.errors import Portable

TRUNCATING: Final = frozenset(("max_tokens", "model_context_window_exceeded"))
"""Stop reasons after which the text is only the beginning of an answer."""

_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")


class NotText(Portable, TypeError):
    """Something else where text belongs, found before anything is sent.

    Attributes:
        name: what it was given as.
        value: what it is.
    """

    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value
        super().__init__(f"{name} is {repr(value)[:80]}; pass text (str) that says it.")


def checked_text(name: str, value: object) -> str:
    """The text; a number or None would be sent as its name.

    Raises:
        NotText: it is none.
    """
    if not isinstance(value, str):
        raise NotText(name, value)
    return value


class Refused(Portable, Exception):
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


class Truncated(Portable, Exception):
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
        NotText: the text is none.
    """
    checked_text("text", text)
    for each in (name, *attributes):
        if not _NAME.match(checked_text("name", each)):
            raise ValueError(f"{each!r} is not an XML name; use letters, digits, '_', '-' and '.'.")
    opened = "".join(f' {key}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f"<{name}{opened}>\n{html.escape(text, quote=False)}\n</{name}>"


class AmbiguousTag(Portable, ValueError):
    """A text with several different contents for one tag: nobody can say which one is meant.

    Attributes:
        name: of the tag.
        found: the contents, in order.
    """

    def __init__(self, name: str, found: Sequence[str]) -> None:
        self.name, self.found = name, tuple(found)
        shown = ", ".join(repr(each[:40]) for each in found)
        super().__init__(
            f"<{name}> stands there {len(found)} times with different contents ({shown}); "
            "ask for it once, or for structured output."
        )


def extract_tag(answer: str | Message, name: str) -> str | None:
    """The one content of `<name>…</name>`, stripped; None if there is no such pair.

    The tag counts where it is used, not where it is spoken of: what is in a comment, in quotes or
    left open does not count, and what is empty or in code only where there is nothing else. Of a
    message, the stop sequence that ended it is put back first.

    Raises:
        AmbiguousTag: there are several, with different contents.
        Refused, Truncated: the message is no complete answer.
        NotText: the answer is neither text nor a message.
    """
    if isinstance(answer, Message):
        text = text_of(answer) + (answer.stop_sequence or "")
    else:
        text = checked_text("answer", answer)
    pairs = list(_pairs(text, checked_text("name", name)))
    quoted = [match.span() for match in _CODE.finditer(text)] if len(pairs) > 1 else []
    outside = [each for at, each in pairs if not any(start < at < end for start, end in quoted)]
    found = outside or [each for _, each in pairs]
    says = [each for each in found if any(sign.isalnum() for sign in each)]  # not "…"
    meant = list(dict.fromkeys(says or found))
    if len(meant) > 1:
        raise AmbiguousTag(name, meant)
    return meant[0] if meant else None


_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_ATTRIBUTES = r"""(?:\s(?:[^<>"']|"[^"]*"|'[^']*')*)?"""


_ASIDES = {"<!--": "-->", "<![CDATA[": "]]>"}


def _pairs(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Where each innermost pair begins, and its content."""
    one = re.escape(name)
    aside = "|".join(map(re.escape, (*_ASIDES, *_ASIDES.values())))
    token = re.compile(rf"{aside}|<{one}{_ATTRIBUTES}/?>|</{one}\s*>", re.DOTALL)
    last = {ends: text.rfind(ends) for ends in _ASIDES.values()}
    opened: re.Match[str] | None = None
    inside: str | None = None  # what ends the comment or the CDATA section
    for match in token.finditer(text):
        if inside:
            inside = None if match[0] == inside else inside
        elif ends := _ASIDES.get(match[0]):
            inside = ends if match.start() < last[ends] else None
        elif match[0] in last or _is_quoted(text, *match.span()):
            continue
        elif match[0].startswith("</"):
            if opened:
                yield opened.start(), _plain_content(text[opened.end() : match.start()].strip())
            opened = None
        else:
            opened = None if match[0].endswith("/>") else match


def _plain_content(content: str) -> str:
    """What a CDATA section says, where the content is one; else the content."""
    inner = content.removeprefix("<![CDATA[").removesuffix("]]>")
    return inner.strip() if len(content) - len(inner) == 12 and "]]>" not in inner else content


def _is_quoted(text: str, start: int, end: int) -> bool:
    """Whether the same mark of quotation stands on both sides."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return before != "" and (before + after) in ("``", '""', "''", "“”", "‘’", "«»", "„“")


def sendable(message: Message | BetaMessage) -> list[dict[str, Any]]:
    """An answer's content as it can be sent back, thinking included; empty if that is impossible.

    The API answers with blank text blocks now and then and refuses to take them back, and a turn
    of thinking alone says nothing: leave such a turn out, consecutive user turns are fine.
    """
    blocks = [block.to_dict() for block in message.content]
    kept = [each for each in blocks if each["type"] != "text" or str(each["text"]).strip()]
    says = any(each["type"] not in ("thinking", "redacted_thinking") for each in kept)
    return kept if says else []
