"""Phrases of known jailbreaks: a tripwire for what is pasted from a forum, whatever the letters.

They miss what is short, indirect, or said in other words, and text that is spaced out, spelled in
leet or encoded. As a middleware: `screening`.

Taught in chapter 01.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from patterns.policy.confusables import fold, hidden_text


@dataclass(frozen=True)
class Hit:
    """A phrase of a known trick: `text[start:end]` of the text as it was given.

    Hidden text has no place that one can see; its span is the whole text.
    """

    trick: str
    weight: float
    start: int
    end: int


TABLES: Final = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))


def _pattern(text: str) -> re.Pattern[str]:
    for name, part in TABLES["parts"].items():
        text = text.replace(name, part)
    return re.compile(rf"(?<![a-z]){text}" if text[0] != "<" else text)


_PATTERNS: Final = [
    (one["trick"], one["weight"], _pattern(one["pattern"])) for one in TABLES["tricks"]
]


def hits(text: str) -> list[Hit]:
    """Every known phrase in `text`, also in look-alike letters, and in text that is invisible."""
    folded = fold(text)
    found = [
        Hit(trick, weight, *folded.span(start, end))
        for trick, weight, start, end in _phrases(folded.text.lower())
    ]
    hidden = hidden_text(text)
    if hidden:
        more = _phrases(hidden.lower())
        found += [Hit(trick, weight, 0, len(text)) for trick, weight, _, _ in more]
    return found


def _phrases(text: str) -> Iterator[tuple[str, float, int, int]]:
    for word in TABLES["needed"]:
        if word in text:
            break
    else:
        return
    for trick, weight, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield trick, weight, *match.span()


def injection_score(text: str) -> float:
    """How much of the known tricks is in `text`: 0 nothing, from 1 on it is blocked."""
    return score_of(hits(text))


def score_of(found: list[Hit]) -> float:
    """The score of what was found: each trick counts once."""
    best: dict[str, float] = {}
    for hit in found:
        best[hit.trick] = max(hit.weight, best.get(hit.trick, 0))
    return sum(best.values())
