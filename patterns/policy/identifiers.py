"""What the detectors share: a match, and the words around a number that say what it is.

Context decides what a checksum cannot: one in ten random numbers passes Luhn. It is the words
before a value, and in tables the head of its column: the header of a CSV, the columns of an
`INSERT`.

Taught in chapter 01.
"""

import re
import tomllib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

PIIType = Literal["api_key", "email", "iban", "card", "ssn", "ip", "phone"]
Strictness = Literal["loose", "balanced", "strict"]
STRICTNESS: Final = get_args(Strictness)
ALL_TYPES: Final[tuple[PIIType, ...]] = get_args(PIIType)
Words = re.Pattern[str]
Spans = Iterator[tuple[int, int]]

AROUND: Final = 48
"""Characters before a candidate in which its context is looked for."""
FOUND: Final = "\x00"
"""Stands where something was found already; folded text holds no such character."""

_SENTENCE_END: Final = re.compile(r"[.;!?\n]")
_LONGEST_LINE: Final = 2_000
_NAME = r"[\"'`\[]?([a-z_][a-z0-9_.]{0,60})[\"'`\]]?"
_CREATE: Final = re.compile(rf"create table (?:if not exists )?{_NAME} ?\(([^()]{{1,2000}})\)")
_ROW: Final = re.compile(
    rf"(?:insert into {_NAME} ?(?:\(([^()]{{1,1000}})\))?\s{{0,20}}values|(\)),)\s{{0,20}}\("
)
_HEADING: Final = re.compile(r"\ufeff?[\"' ]{0,4}[^\W\d_][\w .#/-]{0,40}[\"' ]{0,4}\r?\Z")


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """An identifier in a text: `text[start:end]`."""

    start: int
    end: int
    type: str


TABLES: Final = tomllib.loads(Path(__file__).with_name("identifiers.toml").read_text("utf-8"))


WORDS: Final = {kind: re.compile("|".join(some)) for kind, some in TABLES["words"].items()}
"""Patterns of the words that say that a number is of a kind."""

NUMBER_WORDS: Final = WORDS["number"]


class _Row(NamedTuple):
    """A row of a table: its span, what separates and quotes its cells, and their heads."""

    begin: int
    end: int
    by: str
    quote: str
    heads: list[str]


class Context:
    """Folded text in which words are looked up by where they stand, each set only once."""

    def __init__(self, text: str) -> None:
        self.text, self._lower = text, text.lower()
        self._found: dict[Words, tuple[list[int], list[int]]] = {}

    def _spans(self, wanted: Words) -> tuple[list[int], list[int]]:
        if wanted not in self._found:
            spans = [
                one.span()
                for one in wanted.finditer(self._lower)
                if not self._lower[one.start() - 1 : one.start()].isalpha()
            ]
            self._found[wanted] = [span[0] for span in spans], [span[1] for span in spans]
        return self._found[wanted]

    def before(self, start: int, wanted: Words, reach: int = AROUND) -> int:
        """Where the nearest of the words before `start` ends; 0 if there is none in reach.

        A word in the head of the column counts as the nearest of all.
        """
        if self._rows and wanted.search(self.label(start)):
            return start
        starts, ends = self._spans(wanted)
        index = bisect_right(ends, start) - 1
        return ends[index] if index >= 0 and starts[index] >= start - reach else 0

    def near(self, start: int, end: int, wanted: Words) -> bool:
        """Whether one of the words stands before the span, or after it in the same sentence."""
        if self.before(start, wanted):
            return True
        starts, _ = self._spans(wanted)
        index = bisect_left(starts, end)
        near = index < len(starts) and starts[index] <= end + AROUND
        return near and _SENTENCE_END.search(self.text, end, starts[index]) is None

    @cached_property
    def _rows(self) -> list[_Row]:
        """The rows of all tables: lines below a heading, and the tuples of an `INSERT`."""
        lines = self._listed() if "\n" in self.text else ()
        return sorted([*lines, *self._inserted()])

    def _listed(self) -> Iterator[_Row]:
        at, before, by, heads = 0, "", ",", list[str]()
        for line in self._lower.split("\n"):
            if before:
                end = at + min(len(line), _LONGEST_LINE)
                yield from [_Row(at, end, by, '"', heads)] if heads else ()
            else:  # a table begins with the text or after an empty line
                by = max(",;\t|", key=line.count)
                heads = line.split(by) if len(line) <= _LONGEST_LINE else []
                heads = heads if len(heads) > 1 and all(map(_HEADING.match, heads)) else []
            at, before = at + len(line) + 1, line

    def _inserted(self) -> Iterator[_Row]:
        if "values" not in self._lower:
            return
        created = {one[1]: one[2].split(",") for one in _CREATE.finditer(self._lower)}
        columns: list[str] = []
        for row in _ROW.finditer(self._lower):
            if row[3] is None:
                columns = row[2].split(",") if row[2] else created.get(row[1], [])
            yield _Row(row.end(), row.end() + _LONGEST_LINE, ",", "'", columns)

    def label(self, start: int) -> str:
        """The head of the column in which `start` stands; empty outside of tables."""
        at = bisect_right(self._rows, start, key=lambda row: row.begin) - 1
        if at < 0 or start > self._rows[at].end:
            return ""
        begin, _, by, quote, heads = self._rows[at]
        cell = _cells(self._lower[begin:start], by, quote)
        return heads[cell] if cell < len(heads) else ""

    def cells(self, wanted: Words) -> Iterator[tuple[int, int]]:
        """The cells of the columns whose head holds one of the words, without their quotes."""
        for start, stop, by, quote, heads in self._rows:
            if any(map(wanted.search, heads)):
                found = _split(self.text[start:stop], by, quote)
                for (begin, end), head in zip(found, heads, strict=False):
                    if wanted.search(head):
                        yield start + begin, start + end


def _cells(text: str, by: str, quote: str) -> int:
    """How many cells are complete in the beginning of a row; quoted separators are none."""
    if quote not in text:
        return text.count(by)
    return sum(piece.count(by) for piece in text.split(quote)[::2])


def _split(row: str, by: str, quote: str) -> Iterator[tuple[int, int]]:
    """The cells of a row as spans."""
    begin, quoted = 0, False
    for at, one in enumerate(row):
        if one == quote:
            quoted = not quoted
        elif one == by and not quoted:
            yield begin, at
            begin = at + 1
        elif one == ")" and quote == "'" and not quoted:
            yield begin, at
            return
    yield begin, len(row)
