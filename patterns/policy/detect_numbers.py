"""Find cards, IBANs and social security numbers: what has check digits, ranges and lengths.

Taught in chapter 01.
"""

import re
from itertools import accumulate, pairwise
from typing import Final

from patterns.policy.identifiers import NUMBER_WORDS, TABLES, WORDS, Context, Spans, Strictness

# card -------------------------------------------------------------------------------------------

_GAP = r"[ .\-/_\n\t\r]{1,3}"
_CARD = re.compile(
    rf"(?<![0-9A-Za-z_])(?<!_-)(?:\d{{12,19}}|\d{{4}}{_GAP}\d{{2,7}}(?:{_GAP}\d{{1,7}}){{1,4}})"
    r"(?![0-9A-Za-z_])"
)
_ISSUERS = re.compile("|".join(TABLES["cards"]["issuers"]))
_USUAL_GROUPS: Final = frozenset(((4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)))
CARD_WORDS = WORDS["card"]
_EXPIRY = re.compile(r"[\"']?[ ,;|\t]{1,3}[\"']?(?:0[1-9]|1[0-2])[/-](?:20)?[23]\d\b")
_FRACTION = re.compile(r"\d\.\Z")


def cards(text: str, context: Context, strictness: Strictness) -> Spans:
    """Payment cards: length, issuer and Luhn; what is said around them decides the rest."""
    match, last, misses = _CARD.search(text), -1, 0
    while match is not None:
        start, first = match.start(), match.end()
        groups = [one.span() for one in re.finditer(r"\d+", match[0])]
        if len(groups) == 1:
            size = len(match[0]) if _is_card(match[0], context, start, strictness) else 0
        else:
            size, first = (
                _grouped(match[0], groups, context, start, strictness),
                start + groups[0][1],
            )
        if size:
            yield start, start + size
        misses = 0 if size or start != last + 1 else misses + 1
        last = first if misses < _COLUMN else match.end()
        match = _CARD.search(text, start + size if size else last)


_COLUMN: Final = 50
"""Groups in a row without a card, after which a table of numbers is searched in larger steps."""


def _grouped(
    shown: str, groups: list[tuple[int, int]], context: Context, start: int, strictness: Strictness
) -> int:
    """How long the card number is that begins with these groups of digits; 0 if none does."""
    parts = [shown[a:b] for a, b in groups]
    gaps = {shown[a[1] : b[0]] for a, b in pairwise(groups)}
    digits, sizes = "".join(parts), list(accumulate(map(len, parts)))
    plain = len(gaps) == 1 and len(min(gaps)) == 1 and min(gaps) in " .-"
    fitting = [size for size in sizes[2:] if 12 <= size <= 19]
    if 16 in fitting[1:]:
        fitting.insert(0, 16)
    for size in fitting:
        count = sizes.index(size) + 1
        usual = tuple(map(len, parts[:count])) in _USUAL_GROUPS
        if not (usual or (plain and (size == 16 or context.before(start, CARD_WORDS)))):
            continue
        if _is_card(digits[:size], context, start, strictness, grouped=True, strange=not plain):
            return groups[count - 1][1]
    return 0


def _is_card(
    digits: str,
    context: Context,
    start: int,
    strictness: Strictness,
    *,
    grouped: bool = False,
    strange: bool = False,
) -> bool:
    valid = _luhn(digits)
    known = valid and _ISSUERS.fullmatch(digits) is not None
    if len(set(digits)) == 1 or (strange and not known):
        return False
    named = context.before(start, CARD_WORDS)
    if valid and not grouped and _EXPIRY.match(context.text, start + len(digits)):
        return True
    if known:
        return grouped or _not_an_article(digits, named, context, start)
    if valid and grouped and len(digits) == 16:
        return strictness != "strict"
    likely = named > context.before(start, NUMBER_WORDS) and not _is_fraction(context, start)
    long = valid or len(digits) > 12
    return strictness != "strict" and long and (strictness == "loose" or likely)


def _not_an_article(digits: str, named: int, context: Context, start: int) -> bool:
    """Whether an unbroken number that passes every check is more than one by chance."""
    others = context.before(start, NUMBER_WORDS, 32)
    if named and named >= others:
        return True
    return len(digits) > 13 and not others and not _is_fraction(context, start)


def _is_fraction(context: Context, start: int) -> bool:
    return _FRACTION.search(context.text, max(0, start - 2), start) is not None


_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def _luhn(digits: str) -> bool:
    single, double = digits[-1::-2].encode(), digits[-2::-2].encode()
    return (sum(single) - 48 * len(single) + sum(double.translate(_DOUBLED))) % 10 == 0


# IBAN -------------------------------------------------------------------------------------------

_IBAN_LENGTH: Final = {
    country: int(length)
    for length, countries in TABLES["iban_countries"].items()
    for country in countries.split()
}

_IBAN = re.compile(r"(?<![0-9A-Za-z_])([A-Za-z]{2})\d{2}(?:[ .\-]?[0-9A-Za-z]){11,30}")
_IBAN_WORDS = WORDS["iban"]


def ibans(text: str, context: Context, strictness: Strictness) -> Spans:
    """International bank account numbers: country, length, and the remainder modulo 97."""
    match = _IBAN.search(text)
    while match is not None:
        end = _iban_end(match, context, strictness)
        if end:
            yield match.start(), match.start() + end
        match = _IBAN.search(text, match.start() + (end or 4))


def _iban_end(match: re.Match[str], context: Context, strictness: Strictness) -> int:
    """How long the IBAN is as it is written; 0 if it is none."""
    length = _IBAN_LENGTH.get(match[1].upper(), 0)
    written = re.compile(rf"(?:[ .-]?[0-9A-Za-z]){{{length}}}(?![0-9A-Za-z_])")
    shown = written.match(match.string, match.start())
    if not length or shown is None:
        return 0
    compact = re.sub(r"[ .-]", "", shown[0]).upper()
    named = strictness != "strict" and context.before(match.start(), _IBAN_WORDS) > 0
    valid = _mod_97(compact) or (named and sum(map(str.isdigit, compact)) >= 10)
    return len(shown[0]) * valid


def _mod_97(iban: str) -> bool:
    return int("".join(str(int(one, 36)) for one in iban[4:] + iban[:4])) % 97 == 1


# SSN --------------------------------------------------------------------------------------------

_SSN = re.compile(
    r"(?<![0-9A-Za-z_])(?<!\d[-.])"
    r"(?:(\d{3})([- .])(\d{2})\2(\d{4})|(\d{3})(\d{2})(\d{4})|756([. ])\d{4}\8\d{4}\8\d{2})"
    r"(?![0-9A-Za-z_])(?![-.]\d)"
)
_SSN_WORDS = WORDS["ssn"]


def ssns(text: str, context: Context, strictness: Strictness) -> Spans:
    """United States social security numbers, taxpayer numbers, and Swiss AHV numbers."""
    for match in _SSN.finditer(text):
        area, group, serial = match[1] or match[5], match[3] or match[6], match[4] or match[7]
        if area is None:
            yield match.span()  # Swiss AHV number: nothing else is written like that
            continue
        named = context.near(*match.span(), _SSN_WORDS)
        assigned = area not in ("000", "666") and group != "00" and serial != "0000"
        if area >= "900":  # a taxpayer number, which the same words announce
            assigned = named and strictness != "strict"
        written = match[2] == "-" or (match[2] == " " and strictness != "strict")
        if assigned and (written or named):
            yield match.span()
