"""Find e-mail addresses and phone numbers.

Phones are the trade-off: a pattern finds most and much else, a numbering plan misses local forms.
`strictness` is the knob, and the words around a number decide.

Taught in chapter 01.
"""

import re
from collections.abc import Callable
from contextlib import suppress

from patterns.policy.identifiers import NUMBER_WORDS, WORDS, Context, Spans, Strictness

# e-mail -----------------------------------------------------------------------------------------

_LOCAL = r"[0-9A-Za-z_.%+\-'\u0400-\u04ff]"
_LABEL = r"(?:[0-9A-Za-z\-\u0080-\uffff]{1,63})"
_AT = r"(?:@|%40|&#0{0,3}64;|&#x0{0,3}40;|&commat;| ?[\[({] ?at ?[\])}] ?)"
_DOT = r"(?:\.|%2[eE]|&#46;| ?[\[({] ?dot ?[\])}] ?)"
_EMAIL = re.compile(
    # The look-behind lets each run of local characters be tried once, from its start.
    rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}?{_AT}(?:{_LABEL}{_DOT}){{1,6}}"
    rf"(?:xn--[0-9a-z-]{{2,59}}|[A-Za-z\u0400-\u04ff]{{2,24}}|[\u3040-\u9fff\uac00-\ud7af]{{2,8}})"
    rf"(?![0-9A-Za-z_])",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(r"@\d+x\.(?:png|jpe?g|gif|webp|svg|avif)\Z", re.IGNORECASE)


def emails(text: str, context: Context, strictness: Strictness) -> Spans:
    """E-mail addresses, also escaped for URLs and HTML, and spelled with (at) and (dot)."""
    for match in _EMAIL.finditer(text):
        address = match[0].lstrip(".-+%'")
        remote = address.startswith("git@") and text[match.end() : match.end() + 1] == ":"
        if address[:1] not in ("", "@") and not remote and not _FILE_NAME.search(address):
            yield match.end() - len(address), match.end()


# phone ------------------------------------------------------------------------------------------

_SHAPE = (
    r"[+(]{0,2}\d(?:[ ()./-]{0,2}\d){5,16}"
    r"(?: {0,2}(?:x|ext\.?|extension|app\.|durchwahl) {0,2}\d{1,6})?(?![0-9A-Za-z_%])(?![.:]\d)"
)
_PHONE = re.compile(
    rf"(?:(?<![0-9A-Za-z_@#=$€£%])(?<!\d[.,:/-])(?<![a-z]-)(?<![a-z]/(?=\d{{6}}))|(?<==)(?=\+)){_SHAPE}",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    rf"(?:phone|mobile|tel|fax|cell|msisdn|phone_?number)=[\"']?({_SHAPE})", re.IGNORECASE
)
_PHONE_WORDS = WORDS["phone"]
_NAMED_PHONE = WORDS["named_phone"]
_EXTENSION = re.compile(r"[a-z]", re.IGNORECASE)
_PHONE_KIND = re.compile(r"[ (,-]{1,2}(?:office|home|work|direct)\b", re.IGNORECASE)
_PHONE_SCRIPT = re.compile("电话|電話|手机|手機|전화|тел")
_NORTH_AMERICAN = re.compile(
    r"(?:\+?1[ .-]?)?(?:\([2-9]?\d{2,3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}", re.ASCII
)
_LOGGED = re.compile(r"\d:\d\d(?:[.,]\d{1,9})? {1,4}\Z")  # a time, and then numbers of processes
_YEAR = "(?:19|20)\\d\\d"
_DAY = "(?:0?[1-9]|[12]\\d|3[01])"
_DATE_LIKE = re.compile(
    rf"{_YEAR}[-./ ]\d{{1,2}}[-./ ]\d{{1,2}}(?:[ T]\d{{1,4}})?|{_YEAR}(?:0[1-9]|1[0-2]){_DAY}"
    rf"|{_DAY} ?[-./ ] ?{_DAY} ?[-./ ] ?(?:{_YEAR}|\d\d)|{_YEAR} ?[-/] ?{_YEAR}"
    r"|(?:0|[1-9]\d*)\.\d+|\d{5}-\d{4}|\d{3}-\d{2}-\d{4}"  # a fraction, ZIP, SSN
)


def phones(text: str, context: Context, strictness: Strictness) -> Spans:
    """Phone numbers: international, as only phones are written, or named by what is around."""
    valid = _validator() if strictness == "strict" else None
    end = -1
    for start, shown in _candidates(text):
        if start < end:
            continue
        main = _EXTENSION.split(shown)[0]
        groups = re.findall(r"\d+", main)
        if (
            _like_a_phone(main.strip(), groups)
            and _is_phone(shown, "".join(groups), context, (start, start + len(shown)), strictness)
            and (valid is None or valid(shown))
        ):
            end = start + len(shown)
            yield start, end


def _candidates(text: str) -> list[tuple[int, str]]:
    found = []
    for match in _PHONE.finditer(text):
        shown, start = match[0], match.start()
        while shown.count("(") > shown.count(")") and not shown[0].isdigit():
            shown, start = shown[1:], start + 1
        found.append((start, shown))
    if "=" in text:
        found += [(match.start(1), match[1]) for match in _ASSIGNED.finditer(text)]
    return sorted(found)


def _like_a_phone(shown: str, groups: list[str]) -> bool:
    digits = "".join(groups)
    counted = shown[0] != "+" and len(groups) > 3 and min(map(len, groups[1:])) < 2
    long = 6 <= len(digits) <= 15 and len(groups) < 8
    filled = len(set(digits)) == 1 or (digits == shown and shown.startswith("0000"))
    return long and not filled and not counted and not _DATE_LIKE.fullmatch(shown)


def _is_phone(
    shown: str, digits: str, context: Context, span: tuple[int, int], strictness: Strictness
) -> bool:
    if shown[0] == "+" or strictness == "loose":
        return len(digits) >= 8 or strictness == "loose"
    if _LOGGED.search(context.text, max(0, span[0] - 16), span[0]):
        return _written_as_phone(shown, digits)
    others = context.before(span[0], NUMBER_WORDS, 24)
    if len(digits) == 6:
        named = context.before(span[0], _NAMED_PHONE, 20)
        return named > others
    near = context.before(span[0], _PHONE_WORDS)
    if others:
        return near > others
    return (
        bool(near)
        or _written_as_phone(shown, digits)
        or context.near(*span, _PHONE_WORDS)
        or _PHONE_KIND.match(context.text, span[1]) is not None
        or _PHONE_SCRIPT.search(context.text, max(0, span[0] - 12), span[0]) is not None
    )


def _written_as_phone(shown: str, digits: str) -> bool:
    """Whether it is written as only phone numbers are: area in brackets, extension, 0 or 00."""
    if _NORTH_AMERICAN.fullmatch(shown) or shown[0] == "(" or _EXTENSION.search(shown):
        return True
    separated = re.search(r"[ ()./-]", shown) is not None
    if shown.startswith("00"):
        return len(digits) >= 10
    return shown[0] == "0" and separated and 9 <= len(digits) <= 12


def _validator() -> Callable[[str], bool]:
    """Checks numbers against the numbering plans; after many in one text it trusts their shape."""
    import phonenumbers  # type: ignore[import-not-found, unused-ignore]  # optional

    left = 500

    def valid(shown: str) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return True
        for region in ("US", "GB", "DE", "FR"):  # none of them counts where a + begins it
            with suppress(phonenumbers.NumberParseException):
                if phonenumbers.is_valid_number(phonenumbers.parse(shown, region)):
                    return True
        return False

    return valid
