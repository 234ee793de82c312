"""Redact what streams: hold text back only as long as it may be the beginning of an identifier.

A number can be cut anywhere by the pieces of a stream, and what makes it a phone number may
follow it. So the newest text waits until its surroundings have arrived. Tool input waits until it
is complete, because half of a JSON string cannot be judged.

Taught in chapter 01.
"""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from patterns.policy.detectors import Match
from patterns.policy.redaction import Cleaner, cut, report
from patterns.policy.responses import How, Lines, event_of
from patterns.policy.wire import edited, notes

AROUND: Final = 80
"""Characters on either side of an identifier that decide whether it is one."""

LONGEST: Final = 9_000
"""Characters that are held at most: the longest identifier, a private key, and some."""

_MAY_BELONG = re.compile(
    r"\S*[0-9]\S*|\S{1,4}|extension|durchwahl|-----BEGIN|PRIVATE", re.IGNORECASE
)
_WORD = re.compile(r"\S+")


class HeldText:
    """Text that arrives in pieces and leaves redacted, as early as that is safe."""

    def __init__(self, cleaner: Cleaner, seen: Counter[str]) -> None:
        self._cleaner, self._seen = cleaner, seen
        self._text, self._sent = "", 0

    def feed(self, piece: str) -> str:
        """Add a piece; returns what can be shown now."""
        self._text += piece
        end = safe_end(self._text[self._sent :]) + self._sent
        return self._release(end) if end > self._sent else ""

    def flush(self) -> str:
        """Everything that was held: the text is complete."""
        return self._release(len(self._text))

    def _release(self, end: int) -> str:
        matches = [one for one in self._cleaner.find(self._text) if one.end > self._sent]
        for match in matches:
            if match.start < end < match.end:
                end = match.start  # a detector that looks further than ours
        ready = [
            Match(one.start - self._sent, one.end - self._sent, one.type)
            for one in matches
            if self._sent <= one.start < end
        ]
        self._cleaner.count(ready, self._seen)
        shown = cut([self._text[self._sent : end]], ready, self._cleaner.replace)[0]
        self._forget(end)
        return shown

    def _forget(self, end: int) -> None:
        """Keep what has been shown only as far as it is context, from the start of a word."""
        start = max(0, end - AROUND)
        while 0 < start < end and not self._text[start - 1].isspace():
            start += 1
        self._text, self._sent = self._text[start:], end - start


def safe_end(text: str) -> int:
    """How much of `text` can be shown, whatever may follow it.

    Never cuts between words that one identifier may hold: numbers, and short words between them.
    """
    limit = len(text) - AROUND
    if limit <= 0:
        return 0
    if len(text) > LONGEST:
        return len(text) - LONGEST
    opened = text.rfind("-----BEGIN")
    if opened >= 0 and "-----END" not in text[opened:]:
        limit = min(limit, opened)
    words = list(_WORD.finditer(text, 0, limit))
    while len(words) > 1 and _MAY_BELONG.fullmatch(words[-2][0]):
        words.pop()
    return words[-1].start() if words else limit


class CleanBody(ABC):
    """A body whose lines are cleaned one after the other."""

    def __init__(self, cleaner: Cleaner) -> None:
        self.cleaner, self.lines = cleaner, Lines()
        self.seen: Counter[str] = Counter()
        self._notes = notes()  # those of the call: the stream is read after it returned

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        return self._told(b"".join(map(self.line, self.lines.feed(chunk))))

    def end(self) -> bytes:
        """What remains after the last chunk."""
        rest = self.lines.rest()
        return self._told((self.line(rest) if rest else b"") + self.flush())

    def stop(self, how: How, error: BaseException | None = None) -> Any:
        """Reading is over; called once or more."""
        return None

    @abstractmethod
    def line(self, line: bytes) -> bytes:
        """What the caller sees of one line."""
        ...

    def flush(self) -> bytes:
        """What is left when the last line was read."""
        return b""

    def _told(self, out: bytes) -> bytes:
        report("output", self.seen, self._notes)
        return out


class CleanLines(CleanBody):
    """Batch results: one JSON object per line."""

    def line(self, line: bytes) -> bytes:
        try:
            item = json.loads(line)
            content = item["result"]["message"]["content"]
        except (ValueError, KeyError, TypeError):
            return line
        edits = self.cleaner.edits({"content": content}, self.seen)
        whole = {("result", "message", *path): text for path, text in edits.items()}
        return json.dumps(edited(item, whole)).encode() + b"\n" if edits else line


class CleanEvents(CleanBody):
    """An event stream of the Messages API."""

    def __init__(self, cleaner: Cleaner) -> None:
        super().__init__(cleaner)
        self._event: list[bytes] = []
        self._texts: dict[int, HeldText] = {}
        self._inputs: dict[int, list[str]] = {}

    def line(self, line: bytes) -> bytes:
        self._event.append(line)
        return self._whole() if line in (b"\n", b"\r\n") else b""

    def flush(self) -> bytes:
        return self._whole() if self._event else b""

    def _whole(self) -> bytes:
        lines, self._event = self._event, []
        for line in lines:
            event = event_of(line)
            if event is not None:
                events = list(self._cleaned(event))
                return b"".join(lines) if events == [event] else b"".join(map(_sse, events))
        return b"".join(lines)

    def _cleaned(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind = event.get("type")
        if kind == "content_block_delta":
            yield from self._delta(event)
        elif kind == "content_block_start":
            edits = self.cleaner.edits({"content": [event["content_block"]]}, self.seen)
            yield edited(event, {("content_block", *path[2:]): new for path, new in edits.items()})
        elif kind == "content_block_stop":
            yield from self._held(event["index"])
            yield event
        else:
            yield event

    def _delta(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        index, delta = event["index"], event["delta"]
        if delta["type"] == "text_delta":
            held = self._texts.setdefault(index, HeldText(self.cleaner, self.seen))
            if shown := held.feed(delta["text"]):
                yield edited(event, {("delta", "text"): shown})
        elif delta["type"] == "input_json_delta":
            self._inputs.setdefault(index, []).append(delta["partial_json"])
        elif delta["type"] in ("thinking_delta", "signature_delta"):
            yield event
        else:
            edits = self.cleaner.edits({"content": [delta]}, self.seen)
            yield edited(event, {("delta", *path[2:]): new for path, new in edits.items()})

    def _held(self, index: int) -> Iterator[dict[str, Any]]:
        if index in self._texts and (text := self._texts.pop(index).flush()):
            yield _delta_event(index, {"type": "text_delta", "text": text})
        if index in self._inputs:
            whole = self._input("".join(self._inputs.pop(index)))
            yield _delta_event(index, {"type": "input_json_delta", "partial_json": whole})

    def _input(self, text: str) -> str:
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        edits = self.cleaner.edits({"input": value}, self.seen)
        new = edited({"input": value}, edits)["input"]
        return text if not edits else new if isinstance(value, str) else json.dumps(new)


def _delta_event(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
