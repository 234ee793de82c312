"""Find IP addresses and secrets: keys, tokens, passwords, connection strings, webhook URLs.

Taught in chapter 01.
"""

import ipaddress
import re
from typing import Final

from patterns.policy.identifiers import FOUND, TABLES, WORDS, Context, Spans, Strictness

# IP address -------------------------------------------------------------------------------------

_IP4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_IP = re.compile(
    rf"(?<![0-9A-Za-z_.]){_IP4}(?![0-9A-Za-z_]|\.\d)"
    r"|(?<![0-9A-Za-z_.:])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?=:\d{1,5}(?![0-9A-Za-z_:.]))"
    rf"|(?<![0-9A-Za-z_.:])(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:{_IP4}|[0-9A-Fa-f]{{0,4}})"
    r"(?![0-9A-Za-z_:]|\.\d)"
)
_VERSION_WORDS = WORDS["version"]
_PINNED = re.compile(r"[\w\]][=<>~]=\Z")  # name>=1.2.0.4
_IP_WORDS = WORDS["ip"]


def ips(text: str, context: Context, strictness: Strictness) -> Spans:
    """IPv4 and IPv6 addresses; four numbers may also be a version, and words tell."""
    for match in _IP.finditer(text):
        shown, start = match[0], match.start()
        valid = _is_ip6(shown, text, start) if ":" in shown else _is_ip4(shown, context, start)
        if valid or (strictness == "loose" and ":" not in shown):
            yield match.span()


def _is_ip4(shown: str, context: Context, start: int) -> bool:
    parts = shown.split(".")
    fits = all(int(part) < 256 and not (part[0] == "0" and len(part) == 2) for part in parts)
    pinned = _PINNED.search(context.text, max(0, start - 3), start)
    version = 0 if pinned else context.before(start, _VERSION_WORDS, 16)
    named = context.before(start, _IP_WORDS)
    return fits and (named > version or not (pinned or version))


def _is_ip6(shown: str, text: str, start: int) -> bool:
    try:
        ipaddress.IPv6Address(shown)
    except ValueError:
        return False
    digits = sum(one != ":" for one in shown)
    if "::" not in shown or shown == "::1":
        return not re.search(r"[\w)\]]\[\Z", text[max(0, start - 2) : start])
    return digits >= 4 and any(map(str.isdigit, shown))


# secrets ----------------------------------------------------------------------------------------

_KEY = re.compile(rf"(?<![0-9A-Za-z_+-])(?:{'|'.join(TABLES['secrets']['keys'])})(?![0-9A-Za-z_])")
_LONG = re.compile(r"[A-Za-z]{16,}")
_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,8000}"
    r"(?:-----END [A-Z ]{0,40}-----)?"
)
_URLS = re.compile(rf"https://(?:{'|'.join(TABLES['secrets']['urls'])})")
_CONNECTION = re.compile(
    r"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,64}:([^\s@/\"'<>\x00]{1,128})@[0-9A-Za-z\[]"
)
_COMMAND = re.compile(
    r"(?:\bcurl [^\n]{0,200}?(?:-u|--user)[ =]?[\"']?[^\s:\"']{1,64}:|\bsshpass -p ?[\"']?"
    r"|\bmysql\w{0,8} [^\n]{0,80}?-p[\"']?)([^\s\"'\x00]{4,128})"
)

# What stands between a name and its value: in code, in configuration, in markup, in prose.
_TYPED = r"[\"'`\\\])]{0,3}(?:(?: ?:)? (?:string|str)\b)? {0,4}"
_ASSIGNED = rf"{_TYPED}(?:[:?.+!]{{0,3}}={{1,3}}>?|[:：]| ->)[ \t]{{0,4}}(?:[|>][-+]?\s{{1,16}})?@?"
_BESIDE = r"[\"'`\\\])]{0,3}(?:\.\w{1,12}\(|[ \t,|(]{1,4})\\?[\"'`]?"
_SAID = r"[\"'`]? (?:is|to|lautet|est|es) {1,3}"
_WITHIN = r">\s{0,16}"
_NAMED_KEY = re.compile(
    r"(?:api[ _-]?(?:keys?|secret)|secret(?:[ _-]?(?:access[ _-]?)?key)?(?:_base)?|(?:access|auth"
    r"|api|bearer|refresh)[ _-]?token|(?:access|account|private|signing|encryption"
    r"|shared[ _-]?access)[ _-]?key|client[ _-]?secret|authorization|bearer|token|credentials?"
    rf"|signature|sig)(?:{_ASSIGNED}|{_BESIDE}|{_SAID}|{_WITHIN})[\\\"'`]{{0,2}}"
    r"(?:bearer |basic |token )?[\"'`]?([0-9A-Za-z_+/.=~%-]{12,300})",
    re.IGNORECASE,
)
_PASS = (
    r"(?:passwor[dt]|passwd|passphrase|pwd|kennwort|contraseña|contrasena|mot de passe|senha"
    r"|haslo|wachtwoord|密码|密碼|비밀번호|secret|(?:(?<=[\"'_.-])|(?<=^))pass)"
)
_PASSWORD = re.compile(
    rf"{_PASS}(?:(?:{_ASSIGNED}|{_SAID})(?:\\?\"([^\"\n\x00]{{4,128}}?)\\?\"|'([^'\n\x00]{{4,128}})'"
    r"|`([^`\n\x00]{4,128})`"
    rf"|(?<![=!+.]=)(?<![=!+.]= )([^\s\"'`,;&<\x00]{{4,128}}))"
    rf"|{_WITHIN}([^\s<>\x00]{{4,128}})\s{{0,16}}</|{_BESIDE}([^\s\"'`,;&<>|()\x00]{{6,128}}))",
    re.IGNORECASE | re.MULTILINE,
)
_BARE, _NEAR = 4, 6  # groups: a value without quotes, and one beside a name without an operator
_SECRET_WORDS = WORDS["secret"]
_NO_PASSWORD: Final = re.compile(
    r"(?:none|null|true|false|str|string|required|optional|undefined|password|passwd|self|args"
    r"|os|env|config|settings|input|hidden|redacted|text|bytes|int|data|request|process"
    r"|[*x•.\-_]{3,})\b.{0,40}|\$\{?[a-z_]\w{0,60}\}?|\$\(.*|%s|%\(\w+\)s|\{.*|<.*>|[\w.]+\(.*\)|[*•.\-_x]{3,}",
    re.IGNORECASE,
)


def keys(text: str, context: Context, strictness: Strictness) -> Spans:
    """Keys by their shape, and what is named a key, a token or a password."""
    spans = [match.span() for match in _KEY.finditer(text) if _is_made(match[0])]
    if "-----BEGIN" in text:
        spans += [match.span() for match in _BLOCK.finditer(text)]
    if "://" in text:
        spans += [match.span() for match in _URLS.finditer(text)]
        spans += [match.span(1) for match in _CONNECTION.finditer(text) if match[1][0] not in "$<{"]
    if strictness != "strict":
        spans += _named(text, context)
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            yield start, stop
            end = stop


def _is_made(key: str) -> bool:
    """Whether a key is none in an example, such as `hf_xxxx`, and no name in a program."""
    letters = _LONG.search(key)
    mixed = letters and sum(map(str.isupper, letters[0])) * 4 >= len(letters[0])
    repeated = 2 * max(map(key.count, key)) > len(key)
    return not repeated and (any(map(str.isdigit, key)) or bool(mixed))


def _named(text: str, context: Context) -> list[tuple[int, int]]:
    spans, found = list[tuple[int, int]](), list[tuple[int, int]]()
    for match in _NAMED_KEY.finditer(text):
        value = match[1].rstrip(".")
        if _looks_random(value):
            spans.append((match.start(1), match.start(1) + len(value)))
    for match in _PASSWORD.finditer(text):
        index = match.lastindex or 0
        value = match[index].rstrip(".")
        if _may_be_said(match, index, value):
            found.append((match.start(index), match.start(index) + len(value)))
    found += [match.span(1) for match in _COMMAND.finditer(text)]
    for begin, end in context.cells(_SECRET_WORDS):
        value = text[begin:end].strip(" \"'\r")
        if len(value) >= 4 and FOUND not in value:
            start = text.index(value, begin)
            found.append((start, start + len(value)))
    spans += [span for span in found if not _NO_PASSWORD.fullmatch(text[span[0] : span[1]])]
    return spans


def _may_be_said(match: re.Match[str], index: int, value: str) -> bool:
    """Whether what follows a word for passwords is one: prose goes on with a plain word."""
    if index == _NEAR:
        return _looks_made_up(value)
    plain = value.isalpha() and value.islower()
    return index != _BARE or not plain or match.string[: match.start(index)].rstrip()[-1:] == "="


def _looks_made_up(value: str) -> bool:
    kinds = map(str.isdigit, value), map(str.isalpha, value)
    signs = any(not one.isalnum() and one not in "-_./:" for one in value)
    return all(map(any, kinds)) and (signs or value.lower() != value != value.upper())


def _looks_random(value: str) -> bool:
    digits = sum(map(str.isdigit, value))
    letters = sum(map(str.isalpha, value))
    mixed = len(value) >= 16 and value.lower() != value != value.upper()
    enough = digits >= 2 or (digits and mixed and any(one in "/+=" for one in value))
    return bool(enough) and letters >= 2 and len(set(value)) >= 8 and "://" not in value
