"""Find identifiers in text: e-mail, phone, card, IBAN, SSN, IP address, keys and passwords.

What can be validated is validated (check digits, ranges, lengths); where that is not enough, the
words around decide. Patterns find identifiers, not identities: names, street addresses and
organisations are not found at all. Every pattern is bounded, so time grows with the text and no
faster.

Taught in chapter 01.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from itertools import accumulate
from typing import Final

from patterns.policy.confusables import fold
from patterns.policy.detect_contacts import emails, phones
from patterns.policy.detect_numbers import cards, ibans, ssns
from patterns.policy.detect_secrets import ips, keys
from patterns.policy.identifiers import (
    ALL_TYPES,
    FOUND,
    STRICTNESS,
    Context,
    Match,
    PIIType,
    Spans,
    Strictness,
)

__all__ = ["ALL_TYPES", "Match", "PIIType", "Strictness", "find_pii"]

_REPLACED: Final = re.compile(r"\[[A-Z_]{2,20}(?:_\d{1,6}|:[0-9a-f]{4,32})?\]|\*{4,8}[^\s*]{1,4}")
"""What a redaction leaves behind: neither an identifier nor context of one."""


def find_pii(
    text: str,
    *,
    types: Collection[PIIType] = ALL_TYPES,
    strictness: Strictness = "balanced",
) -> list[Match]:
    """The identifiers in `text`, in order, without overlaps; positions are those of `text`.

    What is found says nothing about what stands beside it, so that text which was redacted once
    is not found to hold more.

    Args:
        text: any text; look-alike and invisible characters do not hide an identifier.
        types: what to look for.
        strictness: `strict` takes only what validates, `balanced` also what its context names,
            `loose` everything of the right shape. It matters most for phones.

    Raises:
        ValueError: an unknown type or strictness.
    """
    if types is not ALL_TYPES and (unknown := set(types) - set(ALL_TYPES)):
        raise ValueError(f"unknown types {sorted(unknown)}; choose from {', '.join(ALL_TYPES)}.")
    if strictness not in STRICTNESS:
        raise ValueError(f"unknown strictness {strictness!r}; choose from {STRICTNESS}.")
    folded = fold(text)
    if not _ANY.search(folded.text):
        return []
    gone = [one.span() for one in _REPLACED.finditer(folded.text)]
    found: list[tuple[int, int, str]] = []
    for _ in range(_ROUNDS):  # pragma: no branch  # no text is known that needs them all
        rest, origin = _without(folded.text, gone)
        more = _scan(rest, types, strictness) if _ANY.search(rest) else []
        if not more:
            break
        more = [(origin(a), origin(b - 1) + 1, kind) for a, b, kind in more]
        found += more
        gone = _merged([*gone, *((a, b) for a, b, _ in more)])
    return sorted(Match(*folded.span(start, end), kind) for start, end, kind in found)


_ROUNDS: Final = 4
"""What is found may bring words nearer to what follows; more rounds than this were never needed."""


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans in order, where a key block may enclose what was replaced before."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _marked(text: str, spans: Iterable[tuple[int, int]], width: int | None = None) -> str:
    """`text` with a mark in place of each span, as wide as the span or as told."""
    pieces, last = list[str](), 0
    for start, end in spans:
        pieces += [text[last:start], FOUND * (width or end - start)]
        last = end
    return "".join([*pieces, text[last:]])


def _without(text: str, gone: list[tuple[int, int]]) -> tuple[str, Callable[[int], int]]:
    """`text` with one mark in place of each span, and where its characters stood."""
    shifts = list(accumulate((end - start - 1 for start, end in gone), initial=0))
    after = [end - shift for (_, end), shift in zip(gone, shifts[1:], strict=True)]
    return _marked(text, gone, 1), lambda position: position + shifts[bisect_right(after, position)]


def _scan(
    text: str, types: Collection[PIIType], strictness: Strictness
) -> list[tuple[int, int, str]]:
    context, rest, found = Context(text), text, list[tuple[int, int, str]]()
    for kind in ALL_TYPES:
        if kind in types and _HINTS[kind].search(rest):
            spans = list(_FINDERS[kind](rest, context, strictness))
            found += [(start, end, kind) for start, end in spans]
            rest = _marked(rest, spans)  # what is found once is not found as less
    return found


_SAID: Final = r"pass|pwd|secret|kennw|contrase|mot de|senha|haslo|wachtw|密[码碼]|비밀번호"
_HINTS: Final[dict[PIIType, re.Pattern[str]]] = {
    "api_key": re.compile(
        rf"[0-9A-Za-z_+/.=~-]{{16}}|-----BEGIN|[:=]|curl|mysql|{_SAID}", re.IGNORECASE
    ),
    "email": re.compile(r"@|%40|&#|&commat;|[\[({] ?at ?[\])}]", re.IGNORECASE),
    "iban": re.compile(r"[A-Za-z]{2}\d\d"),
    "card": re.compile(r"\d{4}"),
    "ssn": re.compile(r"\d{3}"),
    "ip": re.compile(r"\d\.\d|:[0-9A-Fa-f]{0,4}:"),
    "phone": re.compile(r"\d{2}"),
}
_ANY: Final = re.compile(
    rf"[0-9@]|-----BEGIN|[\[({{] ?at ?[\])}}]|&commat;|hooks\.|[A-Za-z]{{16}}|{_SAID}",
    re.IGNORECASE,
)
_FINDERS: Final[dict[PIIType, Callable[[str, Context, Strictness], Spans]]] = {
    "api_key": keys,
    "email": emails,
    "iban": ibans,
    "card": cards,
    "ssn": ssns,
    "ip": ips,
    "phone": phones,
}
