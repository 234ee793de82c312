"""What a server is called in errors and logs: enough to find it, nothing that opens a door.

People put keys into URLs (`?api_key=`, `user:password@`, a long path) and into command lines
(`--token abc`, `postgres://user:password@host`), and errors travel further than both.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlsplit

HIDDEN = "…"
LONGEST_PART = 40
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_OPAQUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w~+=-]{16,}")


def url_name(url: str) -> str:
    """A URL without its user, query, fragment and the parts of its path that look like a key."""
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return HIDDEN
    path = "/".join(HIDDEN if _opaque(part) else part for part in parts.path.split("/"))
    return f"{parts.scheme}://{host}{path}{f'?{HIDDEN}' if parts.query else ''}"


def command_name(command: Sequence[str]) -> str:
    """A command line without folders, and without the values that it gives to options."""
    words: list[str] = []
    before = ""
    for word in command:
        after_option = before.startswith("--") and "=" not in before
        hide = after_option and not word.startswith("-")
        words.append(HIDDEN if hide else _word(word))
        before = word
    return " ".join(words)


def without_secrets(text: str) -> str:
    """A message in which every URL has become its `url_name`."""
    return _URL.sub(lambda found: url_name(found[0]), text)


class HideSecrets(logging.Filter):
    """Puts `without_secrets` on the records of a logger, such as httpx's line per request."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "://" in text:
            record.msg, record.args = without_secrets(text), ()
        return True


def _word(word: str) -> str:
    if "://" in word:
        return url_name(word)
    name, equals, _ = word.partition("=")
    if equals:
        return f"{PurePath(name).name}={HIDDEN}"
    short = PurePath(word).name
    return HIDDEN if len(short) > LONGEST_PART or " " in short or _opaque(short) else short


def _opaque(part: str) -> bool:
    return len(part) > LONGEST_PART or _OPAQUE.fullmatch(part) is not None
