"""Find identifiers in text: e-mail, phone, card, IBAN, SSN, IP address and API keys.

What can be validated is validated (check digits, ranges, lengths); where that is not enough, the
words before it decide. Patterns find identifiers, not identities: names, street addresses and
organisations are not found at all. Every pattern is bounded, so time grows with the text and no
faster.

Taught in chapter 01.
"""

import ipaddress
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, get_args

from patterns.policy.folding import fold

PIIType = Literal["api_key", "email", "iban", "card", "ssn", "ip", "phone"]
Strictness = Literal["loose", "balanced", "strict"]
_STRICTNESS: Final = get_args(Strictness)
ALL_TYPES: Final[tuple[PIIType, ...]] = get_args(PIIType)

_AROUND: Final = 48
"""Characters before a candidate in which its context is looked for."""

_PLACEHOLDER: Final = re.compile(r"\[[A-Z_]{2,20}[]:]")
"""What a redaction leaves behind; it says nothing about the number that follows it."""

_SENTENCE_END: Final = re.compile(r"[.;!?\n]")
_TAKEN: Final = "\x00"
_NO_WORD_BEFORE: Final = r"(?<![0-9A-Za-z_])"
_NO_WORD_AFTER: Final = r"(?![0-9A-Za-z_])"


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """An identifier in a text: `text[start:end]`."""

    start: int
    end: int
    type: str


Spans = Iterator[tuple[int, int]]


def find_pii(
    text: str,
    *,
    types: Collection[PIIType] = ALL_TYPES,
    strictness: Strictness = "balanced",
) -> list[Match]:
    """The identifiers in `text`, in order, without overlaps; positions are those of `text`.

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
    if strictness not in _STRICTNESS:
        raise ValueError(f"unknown strictness {strictness!r}; choose from {_STRICTNESS}.")
    folded = fold(text)
    if _ANY.search(folded.text) is None:
        return []
    context, rest, found = _Text(folded.text), folded.text, list[Match]()
    for kind in ALL_TYPES:
        if kind in types and _HINTS[kind].search(rest):
            spans = list(_FINDERS[kind](rest, context, strictness))
            found += [Match(*folded.span(*span), kind) for span in spans]
            rest = _without(rest, spans)
    return sorted(found)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """`text` with the spans blanked out, so that what is found once is not found as less."""
    if not spans:
        return text
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], _TAKEN * (end - start)]
        last = end
    return "".join([*pieces, text[last:]])


Words = re.Pattern[str]


class _Text:
    """Folded text in which words are looked up by where they stand, each set only once."""

    def __init__(self, text: str) -> None:
        self.text, self._lower = text, text.lower()
        self._found: dict[Words, tuple[list[int], list[int]]] = {}

    def _spans(self, words: Words) -> tuple[list[int], list[int]]:
        if words not in self._found:
            spans = [
                one.span()
                for one in words.finditer(self._lower)
                if not self._lower[one.start() - 1 : one.start()].isalpha()
                and not _PLACEHOLDER.match(self.text, max(0, one.start() - 1))
            ]
            self._found[words] = [span[0] for span in spans], [span[1] for span in spans]
        return self._found[words]

    def before(self, start: int, words: Words, reach: int = _AROUND) -> int:
        """Where the nearest of the words before `start` ends; -1 if there is none in reach."""
        starts, ends = self._spans(words)
        index = bisect_right(ends, start) - 1
        return ends[index] if index >= 0 and starts[index] >= start - reach else -1

    def near(self, start: int, end: int, words: Words) -> bool:
        """Whether one of the words stands before the span, or after it in the same sentence."""
        if self.before(start, words) >= 0:
            return True
        starts, _ = self._spans(words)
        index = bisect_left(starts, end)
        if index == len(starts) or starts[index] > end + _AROUND:
            return False
        return _SENTENCE_END.search(self.text, end, starts[index]) is None


def _words(*words: str) -> Words:
    return re.compile("|".join(words))


# e-mail -----------------------------------------------------------------------------------------

_LOCAL = r"[0-9A-Za-z_.%+\-\u0400-\u04ff]"
_LABEL = r"[0-9A-Za-z\-\u0400-\u04ff]{1,63}"
_EMAIL = re.compile(
    # The look-behind lets each run of local characters be tried once, from its start.
    rf"(?<!{_LOCAL}){_LOCAL}{{1,64}}@(?:{_LABEL}\.){{1,6}}[A-Za-z\u0400-\u04ff]{{2,24}}"
    rf"(?![0-9A-Za-z_])"
)
_FILE_NAME = re.compile(r"@\d+x\.(?:png|jpe?g|gif|webp|svg|avif)\Z", re.IGNORECASE)


def _emails(text: str, context: _Text, strictness: Strictness) -> Spans:
    for match in _EMAIL.finditer(text):
        address = match[0].lstrip(".-+%")
        remote = address.startswith("git@") and text[match.end() : match.end() + 1] == ":"
        if address[0] != "@" and not remote and not _FILE_NAME.search(address):
            yield match.end() - len(address), match.end()


# card -------------------------------------------------------------------------------------------

_CARD = re.compile(
    r"(?<![0-9A-Za-z_])(?<!\d[.,])(?:\d{12,19}|\d{4}([ .-])\d{2,7}(?:\1\d{1,7}){1,4})"
    r"(?![0-9A-Za-z_])(?![.,]\d)"
)
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720|220[0-4])\d{12}"  # MC, Mir
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-5]|09|[689]\d)\d{11}(?:\d{2})?"  # Diners
    r"|(?:35(?:2[89]|[3-8]\d)\d{12}|(?:2131|1800)\d{11})"  # JCB
    r"|(?:6011|64[4-9]\d|65\d\d|62\d\d|60\d\d|8[12]\d\d)\d{12}(?:\d{1,3})?"  # Discover, UnionPay
    r"|(?:50|5[6-8]|63|67|6[089])\d{10,17}"  # Maestro and kin
)
_CARD_WORDS = _words(
    "card", "visa", "master", "amex", "american express", "credit", "debit", "diners", "discover",
    "maestro", "jcb", "cc\\b", "kredit", "karte", "carte", "tarjeta", "carta", "cartão", "kaart",
    "cvv", "paid with", "payment",
)  # fmt: skip
_NUMBER_WORDS = _words(
    "order", "invoice", "tracking", "isbn", "issn", "imei", "serial", "ref\\b", "reference",
    "ticket", "case\\b", "ean", "upc", "gtin", "sku", "barcode", "parcel", "shipment", "version",
    "timestamp", "bestell", "rechnung", "commande", "facture", "pedido", "factura", "ordine",
    "fattura", "id\\b", "account", "acct", "konto", "compte", "cuenta", "routing", "policy",
    "passport", "licen[cs]e", "vin\\b", "zip", "pin\\b", "code", "bitcoin", "swift", "item",
    "part\\b", "model\\b", "batch", "lot\\b", "transaction", "population", "doi", "number of",
    "total", "sum\\b",
)  # fmt: skip


def _cards(text: str, context: _Text, strictness: Strictness) -> Spans:
    match, last, misses = _CARD.search(text), -1, 0
    while match is not None:
        start, first = match.start(), match.end()
        if match[1] is None:
            size = len(match[0]) if _is_card(match[0], context, start, strictness) else 0
        else:
            groups = match[0].split(match[1])
            size, first = _grouped(groups, context, start, strictness), start + len(groups[0])
        if size:
            yield start, start + size
        misses = 0 if size or start != last + 1 else misses + 1
        last = first if misses < _COLUMN else match.end()
        match = _CARD.search(text, start + size if size else last)


_COLUMN: Final = 50
"""Groups in a row without a card, after which a table of numbers is searched in larger steps."""


def _grouped(groups: list[str], context: _Text, start: int, strictness: Strictness) -> int:
    """How long the card number is that begins with these groups of digits; 0 if none does."""
    digits, sizes = "".join(groups), list(accumulate(map(len, groups)))
    fitting = [size for size in sizes[2:] if 12 <= size <= 19]
    if 16 in fitting[1:]:
        fitting.insert(0, 16)
    for size in fitting:
        if _is_card(digits[:size], context, start, strictness, grouped=True):
            return size + sizes.index(size)
    return 0


def _is_card(
    digits: str, context: _Text, start: int, strictness: Strictness, *, grouped: bool = False
) -> bool:
    if digits == digits[0] * len(digits):
        return False
    valid = _luhn(digits)
    if valid and _ISSUERS.fullmatch(digits):
        near = context.before(start, _CARD_WORDS)
        return grouped or near >= context.before(start, _NUMBER_WORDS, 24)
    if valid and grouped and len(digits) == 16:
        return strictness != "strict"
    if strictness == "strict" or not (12 if valid else 13) <= len(digits) <= 19:
        return False
    words = context.before(start, _CARD_WORDS)
    named = words >= 0 and words > context.before(start, _NUMBER_WORDS)
    return strictness == "loose" or named


_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


def _luhn(digits: str) -> bool:
    single, double = digits[-1::-2].encode(), digits[-2::-2].encode()
    return (sum(single) - 48 * len(single) + sum(double.translate(_DOUBLED))) % 10 == 0


# IBAN -------------------------------------------------------------------------------------------

_IBAN_LENGTH: Final = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK", 21: "CH CR HR LI LV", 22: "BG BH DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST",
        26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""ISO 13616 registry, release of 2025: country and length."""

_IBAN = re.compile(rf"{_NO_WORD_BEFORE}([A-Za-z]{{2}})\d{{2}}(?:[ .-]?[0-9A-Za-z]){{11,30}}")
_WORD = re.compile(r"[0-9A-Za-z_]")
_IBAN_WORDS = _words("iban", "bank", "konto", "account", "compte", "cuenta", "conto", "rekening")


def _ibans(text: str, context: _Text, strictness: Strictness) -> Spans:
    match = _IBAN.search(text)
    while match is not None:
        end = _iban_end(match, context, strictness)
        if end:
            yield match.start(), match.start() + end
        match = _IBAN.search(text, match.start() + (end or 4))


def _iban_end(match: re.Match[str], context: _Text, strictness: Strictness) -> int:
    """How long the IBAN is as it is written; 0 if it is none."""
    length = _IBAN_LENGTH.get(match[1].upper())
    end = _end_of(match[0], length) if length else 0
    if not end or _WORD.match(match.string, match.start() + end):
        return 0
    compact = re.sub(r"[ .-]", "", match[0][:end]).upper()
    named = strictness != "strict" and context.before(match.start(), _IBAN_WORDS) >= 0
    return end if _mod_97(compact) or (named and sum(map(str.isdigit, compact)) >= 10) else 0


def _end_of(shown: str, length: int) -> int:
    """Where the `length`-th letter or digit of `shown` ends; 0 if there are fewer."""
    seen = 0
    for index, character in enumerate(shown):
        seen += character.isalnum()
        if seen == length:
            return index + 1
    return 0


def _mod_97(iban: str) -> bool:
    return int("".join(str(int(one, 36)) for one in iban[4:] + iban[:4])) % 97 == 1


# SSN --------------------------------------------------------------------------------------------

_SSN = re.compile(
    r"(?<![0-9A-Za-z_])(?<!\d[-.])"
    r"(?:(\d{3})([- .])(\d{2})\2(\d{4})|(\d{3})(\d{2})(\d{4})|756([. ])\d{4}\8\d{4}\8\d{2})"
    r"(?![0-9A-Za-z_])(?![-.]\d)"
)
_SSN_WORDS = _words(
    "ssn", "s\\.s\\.n", "social", "soc\\.? sec", "itin", "tax", "tin\\b", "ss#", "ss number",
)  # fmt: skip


def _ssns(text: str, context: _Text, strictness: Strictness) -> Spans:
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


# IP address -------------------------------------------------------------------------------------

_IP4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_IP = re.compile(
    rf"(?<![0-9A-Za-z_.:])(?:{_IP4}(?![0-9A-Za-z_]|\.\d)"
    rf"|(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:{_IP4}|[0-9A-Fa-f]{{0,4}})(?![0-9A-Za-z_:]|\.\d))"
)
_VERSION_WORDS = _words(
    "version", "ver\\b", "rev\\b", "v\\.", "release", "build", "firmware", "driver", "section",
    "sec\\.", "chapter", "clause", "article", "figure", "table", "step", "kapitel", "abschnitt",
    "oid", "[a-z]{2,20}/",
)  # fmt: skip
_PINNED = re.compile(r"[\w\]][=<>~]=\Z")  # name>=1.2.0.4
_IP_WORDS = _words("ip\\b", "ipv4", "ipv6", "address", "addr", "host", "server", "dns", "gateway")


def _ips(text: str, context: _Text, strictness: Strictness) -> Spans:
    for match in _IP.finditer(text):
        shown, start = match[0], match.start()
        valid = _is_ip6(shown, text, start) if ":" in shown else _is_ip4(shown, context, start)
        if valid or (strictness == "loose" and ":" not in shown):
            yield match.span()


def _is_ip4(shown: str, context: _Text, start: int) -> bool:
    if any(int(part) > 255 or (part[0] == "0" and len(part) == 2) for part in shown.split(".")):
        return False
    if _PINNED.search(context.text, max(0, start - 3), start):
        return context.before(start, _IP_WORDS) >= 0
    version = context.before(start, _VERSION_WORDS, 16)
    return version < 0 or context.before(start, _IP_WORDS) > version


def _is_ip6(shown: str, text: str, start: int) -> bool:
    try:
        ipaddress.IPv6Address(shown)
    except ValueError:
        return False
    digits = sum(one != ":" for one in shown)
    if "::" not in shown or shown == "::1":
        return not re.search(r"[\w)\]]\[\Z", text[max(0, start - 2) : start])
    return digits >= 4 and any(map(str.isdigit, shown))


# API keys ---------------------------------------------------------------------------------------

_KEY = re.compile(
    r"(?<![0-9A-Za-z_-])(?:"
    r"sk-[0-9A-Za-z_-]{20,200}"  # Anthropic, OpenAI and others
    r"|(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}"  # AWS
    r"|gh[opsur]_[0-9A-Za-z]{30,255}|github_pat_[0-9A-Za-z_]{30,255}|glpat-[0-9A-Za-z_-]{20,64}"
    r"|xox[abeoprs]-[0-9A-Za-z-]{10,250}|xapp-[0-9A-Za-z-]{10,250}"  # Slack
    r"|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,250}"  # Google
    r"|(?:sk|rk|pk)_(?:live|test)_[0-9A-Za-z]{16,250}|whsec_[0-9A-Za-z]{24,64}"  # Stripe
    r"|(?:npm|hf|gsk|pypi|dop_v1|dckr_pat|lin_api|nvapi)[_-][0-9A-Za-z_-]{20,250}"
    r"|SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{16,64}|(?:AC|SK)[0-9a-f]{32}|key-[0-9a-f]{32}"
    r"|eyJ[0-9A-Za-z_-]{8,2000}\.eyJ[0-9A-Za-z_-]{8,4000}\.[0-9A-Za-z_-]{8,2000}"  # JWT
    r")(?![0-9A-Za-z_])"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,8000}(?:-----END [A-Z ]{0,30}KEY-----)?"
)
_NAMED_KEY = re.compile(
    r"(?:api[ _-]?keys?|secret(?:[ _-]?(?:access[ _-]?)?key)?|(?:access|auth|api|bearer)[ _-]?token"
    r"|access[ _-]?key|client[ _-]?secret|authorization|bearer|token)[\"'`]?"
    r"(?: {0,3}(?:[:=]{1,2}>?|is|to|=) {0,3}| )(?:bearer )?[\"'`]?"
    r"([0-9A-Za-z_+/.=~-]{16,200})",
    re.IGNORECASE,
)


def _keys(text: str, context: _Text, strictness: Strictness) -> Spans:
    spans = [
        match.span()
        for match in _KEY.finditer(text)
        if "PRIVATE" in match[0] or any(map(str.isdigit, match[0]))
    ]
    if strictness != "strict":
        for match in _NAMED_KEY.finditer(text):
            if _looks_random(match[1].rstrip(".")):
                spans.append((match.start(1), match.start(1) + len(match[1].rstrip("."))))
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            yield start, stop
            end = stop


def _looks_random(value: str) -> bool:
    digits = sum(map(str.isdigit, value))
    letters = sum(map(str.isalpha, value))
    return digits >= 2 and letters >= 2 and len(set(value)) >= 8 and "://" not in value


# phone ------------------------------------------------------------------------------------------

_PHONE = re.compile(
    r"(?<![0-9A-Za-z_@#=$€£%])(?<!\d[.,:/-])"
    r"[+(]{0,2}\d(?:[ ()./-]{0,2}\d){6,16}"
    r"(?: {0,2}(?:x|ext\.?|extension|app\.|durchwahl) {0,2}\d{1,6})?(?![0-9A-Za-z_%])(?![.,:]\d)",
    re.IGNORECASE,
)
_PHONE_WORDS = _words(
    "phone", "call", "tel\\b", "tel\\.", "telef", "telep", "mobile", "mobil", "cell", "fax",
    "contact", "whatsapp", "sms", "dial", "ring", "reach", "hotline", "handy", "anruf",
    "rufnummer", "tel\\b", "tel[ée]", "appel", "portable", "movil", "llam", "chiam",
    "bel\\b", "gsm", "landline", "wahl", "number is", "my number", "new number", "text me",
    "text us", "voicemail", "ph\\b", "ph[.:]", "erreich", "joindre", "kontakt",
)  # fmt: skip
_EXTENSION = re.compile(r"[a-z]", re.IGNORECASE)
_PHONE_KIND = re.compile(r"[ (,-]{1,2}(?:office|home|work|direct)\b", re.IGNORECASE)
_PHONE_SCRIPT = re.compile("电话|電話|手机|手機|전화|тел")
_NORTH_AMERICAN = re.compile(
    r"(?:\+?1[ .-]?)?(?:\([2-9]?\d{2,3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}", re.ASCII
)
_YEAR = "(?:19|20)\\d\\d"
_DATE_LIKE = re.compile(
    rf"{_YEAR}[-./ ]\d{{1,2}}[-./ ]\d{{1,2}}(?:[ T]\d{{1,4}})?|{_YEAR}\d{{4}}|(?:0|[1-9]\d*)\.\d+"
    rf"|\d{{1,2}}[-./ ]\d{{1,2}}[-./ ](?:{_YEAR}|\d\d)|{_YEAR} ?[-/] ?{_YEAR}"
    rf"|\d+ ?[-/] ?\d+ ?[-/] ?{_YEAR}|\d{{5}}-\d{{4}}|\d{{3}}-\d{{2}}-\d{{4}}"  # ZIP, SSN
)


def _phones(text: str, context: _Text, strictness: Strictness) -> Spans:
    valid = _validator() if strictness == "strict" else None
    for match in _PHONE.finditer(text):
        shown, start = match[0], match.start()
        while shown.count("(") > shown.count(")") and shown[0] in "(+":
            shown, start = shown[1:], start + 1
        main = _EXTENSION.split(shown)[0]
        groups = re.findall(r"\d+", main)
        if (
            _like_a_phone(main.strip(), groups)
            and _is_phone(shown, "".join(groups), context, (start, match.end()), strictness)
            and (valid is None or valid(shown))
        ):
            yield start, match.end()


def _like_a_phone(shown: str, groups: list[str]) -> bool:
    digits = "".join(groups)
    if not 7 <= len(digits) <= 15 or len(set(digits)) == 1 or len(groups) > 7:
        return False
    counted = shown[0] != "+" and len(groups) > 3 and min(map(len, groups[1:])) < 2
    return not counted and _DATE_LIKE.fullmatch(shown) is None


def _is_phone(
    shown: str, digits: str, context: _Text, span: tuple[int, int], strictness: Strictness
) -> bool:
    if shown[0] == "+" or strictness == "loose":
        return len(digits) >= 8 or strictness == "loose"
    others = context.before(span[0], _NUMBER_WORDS, 24)
    words = context.before(span[0], _PHONE_WORDS)
    if others >= 0:
        return words > others
    return (
        words >= 0
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
    import phonenumbers

    left = 500

    def valid(shown: str) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            return True
        for region in (None,) if shown[0] == "+" else ("US", "GB", "DE", "FR"):
            with suppress(phonenumbers.NumberParseException):
                if phonenumbers.is_valid_number(phonenumbers.parse(shown, region)):
                    return True
        return False

    return valid


# ------------------------------------------------------------------------------------------------

_HINTS: Final[dict[PIIType, re.Pattern[str]]] = {
    "api_key": re.compile(r"[0-9A-Za-z_+/.=~-]{16}|-----BEGIN"),
    "email": re.compile("@"),
    "iban": re.compile(r"[A-Za-z]{2}\d\d"),
    "card": re.compile(r"\d{4}"),
    "ssn": re.compile(r"\d{3}"),
    "ip": re.compile(r"\d\.\d|:[0-9A-Fa-f]{0,4}:"),
    "phone": re.compile(r"\d{2}"),
}
_ANY: Final = re.compile(r"[0-9@]|-----BEGIN")
_FINDERS: Final[dict[PIIType, Callable[[str, _Text, Strictness], Spans]]] = {
    "api_key": _keys,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ssn": _ssns,
    "ip": _ips,
    "phone": _phones,
}
