"""Undo what is done to text so that a filter does not recognise it, and remember where it was.

Full width, accents, look-alike letters of other scripts, invisible characters: all of them leave a
text readable for people and models, and unknown to a pattern. Folded text is for looking, never
for sending: a match is cut from the original by `Folded.span`.

Taught in chapter 01.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

LONGEST: Final = 4
"""Characters that one may unfold into; some ligatures would give 18."""


_PAIRS: Final = Path(__file__).with_name("confusables.txt").read_text("utf-8").split()
LOOK_ALIKE: Final[Mapping[str, str]] = {pair[0]: pair[1:] for pair in _PAIRS}
"""Letters that UTS 39 (Unicode security) lists as confusable with one ASCII letter."""

_SPACES: Final = "\t\n\r\v\f\x85\u2028\u2029"
_CONTROLS: Final = {code: None for code in (*range(32), 127) if chr(code) not in _SPACES}
_INVISIBLE: Final = ("Cf", "Mn", "Me", "Cc", "Cn", "Co", "Cs")
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that are drawn as nothing."""


@dataclass(frozen=True)
class Folded:
    """Text as a pattern can read it.

    Attributes:
        text: the folded text.
        original: what it was folded from.
    """

    text: str
    original: str

    @cached_property
    def _starts(self) -> list[int]:
        """For each folded character, the original character that it came from; then the end."""
        starts: list[int] = []
        for index, piece in enumerate(map(fold_character, self.original)):
            starts.extend([index] * len(piece))
        starts.append(len(self.original))
        return starts

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where `text[start:end]` stands in the original, with what is invisible inside it."""
        if self.text is self.original:
            return start, end
        if start >= end:
            return self._starts[start], self._starts[start]
        return self._starts[start], self._starts[end - 1] + 1


@lru_cache(maxsize=65_536)
def fold_character(character: str) -> str:
    """What one character looks like in ASCII; itself if like nothing, "" if invisible."""
    if character.isascii():
        return character.translate(_CONTROLS)
    if character in LOOK_ALIKE:
        return LOOK_ALIKE[character]
    if character in _BLANK or unicodedata.category(character) in _INVISIBLE:
        return "\n" if character in _SPACES else ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if character.isspace():
        return " "
    plain = "".join(map(_plain, unicodedata.normalize("NFKD", character)))
    return plain[:LONGEST] or character


def _plain(character: str) -> str:
    """One part of a decomposed character: accents go, look-alikes become what they look like."""
    if unicodedata.combining(character):
        return ""
    return LOOK_ALIKE.get(character, character)


def fold(text: str) -> Folded:
    """`text` with look-alikes as ASCII and nothing invisible; its case stays."""
    ascii_only = text.isascii()
    folded = text.translate(_CONTROLS) if ascii_only else "".join(map(fold_character, text))
    return Folded(text if folded == text else folded, text)


def hidden_text(text: str) -> str:
    """What is written in Unicode tag characters: invisible to people, plain to a model."""
    if text.isascii():
        return ""
    return "".join(chr(ord(one) - 0xE0000) for one in text if "\U000e0020" <= one <= "\U000e007e")
