"""Other answers than the recorded ones: what a model might as well have said."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from patterns.fake_api import FakeAPI, Replies, Reply
from patterns.fake_api.scripting.scripts import Scripted

OTHER = {"not": "hardly", "the": "this", "and": "plus", "is": "seems", "to": "towards", "a": "one"}
Change = Callable[[Reply], Reply]


def _texts(value: Any, change: Callable[[str], str], count: Callable[[float], float]) -> Any:
    """The same structure with other sentences and numbers.

    Single words may be labels, and numbers in lists places: they stay.
    """
    if isinstance(value, dict):
        return {key: _texts(each, change, count) for key, each in value.items()}
    if isinstance(value, list):
        return [_texts(each, change, lambda place: place) for each in value]
    if isinstance(value, str):
        return change(value) if " " in value else value
    return count(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _said(change: Callable[[str], str], count: Callable[[float], float] = lambda n: n) -> Change:
    def changed(reply: Reply) -> Reply:
        text = None if reply.text is None else change(reply.text)
        return replace(reply, text=text, json=_texts(reply.json, change, count), output_tokens=None)

    return changed


def _reworded(text: str) -> str:
    other = re.sub(r"\b[a-z]+\b", lambda word: OTHER.get(word[0], word[0]), text)
    return re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), other)


def _shorter(text: str) -> str:
    """The first word; of an answer in tags, the first of each."""
    words = re.compile(r"(?<=>)[^<]+(?=<)|\A[^<]+\Z")
    return words.sub(lambda found: "".join(found[0].split()[:1]), text)


def _refused(reply: Reply) -> Reply:
    return Reply(refusal="bio")


def _cut(reply: Reply) -> Reply:
    text = reply.text if reply.json is None else json.dumps(reply.json)
    half = (text or "")[: len(text or "") // 2]
    return Reply(half, thinking=reply.thinking, stop_reason="max_tokens")


CHANGES: dict[str, Change] = {
    "reworded": _said(_reworded, lambda number: number + 1),
    "longer": _said(
        lambda text: f"Let me see. {text}\n\nTo say it again: {text} " + "So it is. " * 20
    ),
    "shorter": _said(_shorter),
    "refused": _refused,
    "cut": _cut,
}


def api_with(chapter: str, change: str, replies: Path) -> FakeAPI:
    """A fake API that answers a chapter's requests with other answers; `echo` knows none."""
    script = None if change == "echo" else Replies.load(replies / f"{chapter}.toml")
    entries = tuple(_entry(each, CHANGES[change]) for each in script.entries) if script else ()
    return FakeAPI(replies=Replies(entries), batch_seconds=0.5)


def _entry(entry: Scripted, change: Change) -> Scripted:
    answers = (change(each) if isinstance(each, Reply) else each for each in entry.answers)
    return replace(entry, answers=tuple(answers))
