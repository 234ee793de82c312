"""Read messages: the text of an answer or of a stream, and the XML tags in it.

What reads a whole answer is in `patterns.core.answers`, what reads and writes tags in
`patterns.core.tags`: a pattern that needs no more imports only that. All are named here.

Taught in chapters 00 and 05.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from anthropic.types import Message

from patterns.core.answers import TRUNCATING, Refused, Truncated, sendable, text_of
from patterns.core.errors import NotText, checked_text
from patterns.core.tags import AmbiguousTag, read_tag, tag

__all__ = [
    "TRUNCATING",
    "AmbiguousTag",
    "NotText",
    "Refused",
    "Truncated",
    "checked_text",
    "extract_tag",
    "iter_text",
    "iter_text_async",
    "sendable",
    "tag",
    "text_of",
]


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


def extract_tag(answer: str | Message, name: str) -> str | None:
    """The one content of `<name>…</name>`, as `patterns.core.tags.read_tag` finds it.

    Of a message, the stop sequence that ended it is put back first.

    Raises:
        AmbiguousTag: there are several, with different contents.
        Refused, Truncated: the message is no complete answer.
        NotText: the answer is neither text nor a message.
    """
    if isinstance(answer, Message):
        answer = text_of(answer) + (answer.stop_sequence or "")
    return read_tag(answer, name)
