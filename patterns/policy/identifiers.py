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
from typing import Final, Literal, get_args

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
_HEADING: Final = re.compile(r"[\"' ]{0,4}[a-z][a-z_ .#-]{0,40}[\"' ]{0,4}\r?\Z")


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """An identifier in a text: `text[start:end]`."""

    start: int
    end: int
    type: str


TABLES: Final = tomllib.loads(Path(__file__).with_name("identifiers.toml").read_text("utf-8"))


def words(kind: str) -> Words:
    """A pattern of the words that say that a number is of a kind."""
    return re.compile("|".join(TABLES["words"][kind]))


NUMBER_WORDS: Final = words("number")


class Context:
    """Folded text in which words are looked up by where they stand, each set only once."""

    def __init__(self, text: str) -> None:
        self.text, self._lower = text, text.lower()
        self._found: dict[Words, tuple[list[int], list[int]]] = {}
        self._heads: dict[int, tuple[str, list[str]]] = {}

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
        """Where the nearest of the words before `start` ends; -1 if there is none in reach.

        A word in the head of the column counts as the nearest of all.
        """
        if self._tables and wanted.search(self.label(start)):
            return start
        starts, ends = self._spans(wanted)
        index = bisect_right(ends, start) - 1
        return ends[index] if index >= 0 and starts[index] >= start - reach else -1

    def near(self, start: int, end: int, wanted: Words) -> bool:
        """Whether one of the words stands before the span, or after it in the same sentence."""
        if self.before(start, wanted) >= 0:
            return True
        starts, _ = self._spans(wanted)
        index = bisect_left(starts, end)
        if index == len(starts) or starts[index] > end + AROUND:
            return False
        return _SENTENCE_END.search(self.text, end, starts[index]) is None

    @cached_property
    def _tables(self) -> bool:
        return "\n" in self.text or "values" in self._lower

    @cached_property
    def _lines(self) -> tuple[list[int], list[int]]:
        """Where each line starts, and in which line the table of each begins."""
        starts, heads, at = list[int](), list[int](), 0
        for index, line in enumerate(self._lower.split("\n")):
            blank = index == 0 or starts[-1] + 1 >= at  # the line before is empty
            heads.append(index if blank else heads[-1])
            starts.append(at)
            at += len(line) + 1
        return starts, heads

    @cached_property
    def _columns(self) -> list[tuple[int, list[str]]]:
        """Where each row of an `INSERT` begins, and the columns that it or `CREATE` names."""
        if "values" not in self._lower:
            return []
        created = {one[1]: one[2].split(",") for one in _CREATE.finditer(self._lower)}
        rows: list[tuple[int, list[str]]] = []
        columns: list[str] = []
        for row in _ROW.finditer(self._lower):
            if row[3] is None:
                columns = row[2].split(",") if row[2] else created.get(row[1] or "", [])
            rows.append((row.end(), columns))
        return rows

    def label(self, start: int) -> str:
        """The head of the column in which `start` stands; empty outside of tables."""
        at = bisect_right(self._columns, start, key=lambda one: one[0]) - 1
        if at >= 0 and start - self._columns[at][0] <= _LONGEST_LINE:
            begin, columns = self._columns[at]
            cell = _cells(self._lower[begin:start], ",", "'")
            return columns[cell] if cell < len(columns) else ""
        return self._heading(start) if "\n" in self.text else ""

    def cells(self, wanted: Words) -> Iterator[tuple[int, int]]:
        """The cells of the columns whose head holds one of the words, without their quotes."""
        if not self._tables or not wanted.search(self._lower):
            return
        for begin, columns in self._columns:
            if any(map(wanted.search, columns)):
                row = self.text[begin : begin + _LONGEST_LINE]
                yield from _under(_split(row, ",", "'"), columns, wanted, begin)
        starts, heads = self._lines if "\n" in self.text else ([], [])
        for index, start in enumerate(starts):
            by, names = self._head(heads[index])
            if heads[index] != index and any(map(wanted.search, names)):
                row = self.text[start : start + len(self._line(index))]
                yield from _under(_split(row, by, '"'), names, wanted, start)

    def _heading(self, start: int) -> str:
        starts, heads = self._lines
        index = bisect_right(starts, start) - 1
        if heads[index] == index or start - starts[index] > _LONGEST_LINE:
            return ""
        by, names = self._head(heads[index])
        cell = _cells(self._lower[starts[index] : start], by, '"') if names else 0
        return names[cell] if cell < len(names) else ""

    def _head(self, index: int) -> tuple[str, list[str]]:
        """What separates the cells of the table that begins in this line, and their heads."""
        if index not in self._heads:
            first = self._line(index)
            by = max(",;\t|", key=first.count)
            names = first.split(by)
            fits = len(names) > 1 and all(map(_HEADING.match, names))
            self._heads[index] = by, names if fits else []
        return self._heads[index]

    def _line(self, index: int) -> str:
        starts, _ = self._lines
        end = starts[index + 1] - 1 if index + 1 < len(starts) else len(self._lower)
        return self._lower[starts[index] : end] if end - starts[index] <= _LONGEST_LINE else ""


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


def _under(
    cells: Iterator[tuple[int, int]], heads: list[str], wanted: Words, offset: int
) -> Iterator[tuple[int, int]]:
    for (begin, end), head in zip(cells, heads, strict=False):
        if wanted.search(head):
            yield offset + begin, offset + end
