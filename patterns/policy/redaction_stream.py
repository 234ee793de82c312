"""Clean what streams: hold text back only as long as it may be the beginning of an identifier.

A number can be cut anywhere by the pieces of a stream, and what makes it a phone number may
follow it, in the next block too. So the newest text waits until its surroundings have arrived.
Tool input waits until it is complete, because half of a JSON string cannot be judged.

Taught in chapter 01.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from patterns.policy.cleaning import Cleaner, report, seam_matches
from patterns.policy.detectors import Match
from patterns.policy.flow import notes
from patterns.policy.redaction import cut
from patterns.policy.responses import Body, Lines, event_of
from patterns.policy.texts import NotReadable, Path, edited, read_json, texts_of
from patterns.policy.vault import Conversation, RestoredText

Event = dict[str, Any]
AROUND: Final = 80
"""Characters on either side of an identifier that decide whether it is one."""

LONGEST: Final = 9_000
"""Characters that are held at most: the longest identifier, a private key, and some."""

_MAY_BELONG = re.compile(
    r"\S*[0-9]\S*|\S{1,4}|extension|durchwahl|-----BEGIN|PRIVATE", re.IGNORECASE
)
_WORD = re.compile(r"\S+")
_ORIGIN: Final = "assistant"


class HeldText:
    """Text blocks that arrive in pieces and leave redacted, as early as that is safe.

    What stands between two blocks is kept in its place, so that a number that is cut by it is
    seen as one.
    """

    def __init__(self, cleaner: Cleaner, seen: Counter[str]) -> None:
        self._cleaner, self._seen = cleaner, seen
        self._text, self._sent = "", 0
        self._marks: list[tuple[int, Event]] = []

    def feed(self, piece: str) -> list[str | Event]:
        """Add a piece; returns what can be shown now."""
        self._text += piece
        end = safe_end(self._text[self._sent :]) + self._sent
        return self._release(end) if end > self._sent else []

    def mark(self, event: Event) -> list[str | Event]:
        """An event that stands between two blocks of text."""
        self._marks.append((len(self._text), event))
        return self.feed("")

    def flush(self) -> list[str | Event]:
        """Everything that was held: the text is complete."""
        return self._release(len(self._text))

    def _release(self, end: int) -> list[str | Event]:
        seams = sorted({at for at, _ in self._marks} - {0})
        found = seam_matches(self._text, seams, self._cleaner.find)
        matches = [one for one in found if one.end > self._sent]
        # A detector may look further than ours.
        end = min([end, *(one.start for one in matches if one.end > end)])
        origins = {one: _ORIGIN for one in matches if self._sent <= one.start < end}
        chosen = self._cleaner.chosen(self._text, origins, self._seen)
        sent = self._sent
        ready = {Match(m.start - sent, m.end - sent, m.type): one for m, one in chosen.items()}
        due = [mark for mark in self._marks if mark[0] <= end]
        cuts = [self._sent, *(at for at, _ in due), end]
        texts = [self._text[a:b] for a, b in itertools.pairwise(cuts)]
        if not self._cleaner.observes:
            texts = cut(texts, list(ready), self._cleaner.replacing(ready, None))
        self._marks = self._marks[len(due) :]
        self._forget(end)
        shown: list[str | Event] = []
        for index, text in enumerate(texts):
            shown += [text] if text else []
            shown += [due[index][1]] if index < len(due) else []
        return shown

    def _forget(self, end: int) -> None:
        """Keep what has been shown only as far as it is context, from the start of a word."""
        start = max(0, end - AROUND)
        while 0 < start < end and not self._text[start - 1].isspace():
            start += 1
        self._text, self._sent = self._text[start:], end - start
        self._marks = [(at - start, event) for at, event in self._marks]


def safe_end(text: str) -> int:
    """How much of `text` can be shown, whatever may follow it.

    Never cuts between words that one identifier may hold: numbers, and short words between them.
    """
    limit = max(0, len(text) - AROUND)
    before, begun, rest = text.rpartition("-----BEGIN")
    if begun and "-----END" not in rest:
        limit = min(limit, len(before))
    words = list(_WORD.finditer(text[:limit]))
    while words[:-1] and _MAY_BELONG.fullmatch(words[-2][0]):
        words.pop()
    return max(len(text) - LONGEST, words[-1].start() if words else limit)


class CleanBody(Body):
    """A body whose lines are cleaned one after the other: batch results, or events alone."""

    def __init__(self, outgoing: "Redacting | Restoring") -> None:
        self._outgoing, self._lines = outgoing, Lines()

    def feed(self, chunk: bytes) -> bytes:
        out = b"".join(map(self.line, self._lines.feed(chunk)))
        self._outgoing.told()
        return out

    def end(self) -> bytes:
        rest = self._lines.rest()
        out = (self.line(rest) if rest else b"") + self.flush()
        self._outgoing.told()
        return out

    def line(self, line: bytes) -> bytes:
        """What the caller sees of one line."""
        data = line[5:] if line.startswith(b"data:") else line
        try:
            value = read_json(data)
        except ValueError:  # no JSON, but text all the same
            text = line.decode("utf-8", "surrogateescape")
            return str(self._outgoing.value(text)).encode("utf-8", "surrogateescape")
        cleaned = self._outgoing.value(value)
        start = b"data: " if data is not line else b""
        return line if cleaned is value else start + json.dumps(cleaned).encode() + b"\n"

    def flush(self) -> bytes:
        """What is left when the last line was read."""
        return b""


class CleanEvents(CleanBody):
    """An event stream of the Messages API."""

    def __init__(self, outgoing: "Redacting | Restoring") -> None:
        super().__init__(outgoing)
        self._texts = outgoing.texts()
        self._event: list[bytes] = []
        self._inputs: dict[int, list[str]] = {}
        self._shown = 0

    def line(self, line: bytes) -> bytes:
        self._event.append(line)
        return self._whole() if line in (b"\n", b"\r\n") else b""

    def flush(self) -> bytes:
        last = self._whole() if self._event else b""
        return last + b"".join(map(_sse, self._written(self._texts.flush())))

    def _whole(self) -> bytes:
        lines, self._event = self._event, []
        for line in lines:
            event = event_of(line)
            if event is not None:
                try:
                    events = list(self._cleaned(event))
                except (AttributeError, KeyError, TypeError):
                    raise NotReadable("an event of the stream is malformed; ask again.") from None
                return b"".join(lines) if events == [event] else b"".join(map(_sse, events))
        return b"".join(map(super().line, lines))

    def _cleaned(self, event: Event) -> Iterator[Event]:
        kind = event.get("type")
        if kind == "content_block_start":
            yield from self._start(event)
        elif kind == "content_block_delta":
            yield from self._delta(event)
        elif kind == "content_block_stop":
            yield from self._stop(event)
        elif kind == "ping":
            yield event
        else:
            yield from self._written(self._texts.flush())
            yield event if kind == "error" else self._outgoing.value([event])[0]

    def _start(self, event: Event) -> Iterator[Event]:
        block = event["content_block"]
        is_text = block.get("type") == "text"
        bare = {**block, "text": ""} if is_text else block
        clean = {**event, "content_block": self._outgoing.value([bare])[0]}
        if is_text:
            yield from self._written(self._texts.mark(clean))
            yield from self._written(self._texts.feed(block["text"]))
        else:
            yield from self._written([*self._texts.flush(), clean])

    def _delta(self, event: Event) -> Iterator[Event]:
        delta = event["delta"]
        if delta["type"] == "text_delta":
            yield from self._written(self._texts.feed(delta["text"]))
        elif delta["type"] == "input_json_delta":
            self._inputs.setdefault(event["index"], []).append(delta["partial_json"])
        else:
            yield {**event, "delta": self._outgoing.value([delta])[0]}

    def _stop(self, event: Event) -> Iterator[Event]:
        index = event["index"]
        if index in self._inputs:
            whole = self._input("".join(self._inputs.pop(index)))
            yield _delta_event(index, {"type": "input_json_delta", "partial_json": whole})
            yield event
        else:
            yield from self._written(self._texts.mark(event))

    def _written(self, pieces: list[str | Event]) -> Iterator[Event]:
        for piece in pieces:
            if isinstance(piece, str):
                yield _delta_event(self._shown, {"type": "text_delta", "text": piece})
            else:
                if piece["type"] == "content_block_start":
                    self._shown = piece["index"]
                yield piece

    def _input(self, text: str) -> str:
        try:
            value = read_json(text)
        except ValueError:
            value = text
        new = self._outgoing.value([{"input": value}])[0]["input"]
        return text if new == value else new if isinstance(new, str) else json.dumps(new)


def _delta_event(index: int, delta: dict[str, Any]) -> Event:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def _sse(event: Event) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class Redacting:
    """Answers without identifiers."""

    def __init__(self, cleaner: Cleaner) -> None:
        self._cleaner, self._notes = cleaner, notes()
        self.seen: Counter[str] = Counter()

    def texts(self) -> HeldText:
        """For the text blocks of one stream."""
        return HeldText(self._cleaner, self.seen)

    def value(self, value: Any, usage: Any = None) -> Any:
        """A complete JSON value: tool input, a block, a whole answer."""
        body = {"content": value}
        edits = self._cleaner.edits(texts_of(body), self.seen, usage)
        return edited(body, edits)["content"] if edits else value

    def told(self) -> None:
        """Tell the audit row what was found so far; the call that it belongs to may be over."""
        report("output", self.seen, self._notes, observe=self._cleaner.observes)


class Restoring:
    """Answers with the values of a vault in their places."""

    def __init__(self, conversation: Conversation, *, escaped: bool) -> None:
        self._conversation, self._escaped = conversation, escaped

    def texts(self) -> RestoredText:
        """For the text blocks of one stream."""
        return RestoredText(self._conversation, escaped=self._escaped)

    def value(self, value: Any, usage: Any = None) -> Any:
        """A complete JSON value: tool input, a block, a whole answer."""
        body, edits = {"content": value}, dict[Path, Any]()
        for slot in itertools.chain.from_iterable(texts_of(body)):
            block = slot.path[2:] == ("text",)  # what stands deeper is no JSON in JSON
            text = self._conversation.restore(slot.text, escaped=self._escaped and block)
            if text != slot.text:
                edits[slot.path] = int(text) if slot.kind == "number" else text
        return edited(body, edits)["content"] if edits else value

    def told(self) -> None:
        """Nothing was found that the request has not told."""
