"""What a server is called in errors and logs: enough to find it, nothing that opens a door.

People put keys into URLs (`?api_key=`, `user:password@`, a part of the path) and into command lines
(`--token abc`, `postgres://user:password@host`), and errors travel further than both. So a URL is
called by its host and a command by its program.
"""

import logging
import re
from urllib.parse import urlsplit

HIDDEN = "…"
_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")


def url_name(url: str) -> str:
    """The scheme, the host and the port of a URL."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    return f"{parts.scheme}://{parts.hostname or ''}{port}/{HIDDEN}"


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
