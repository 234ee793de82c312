"""The requests that the fake API got and how it answered, for assertions.

Bodies are kept as they came and parsed when somebody looks, so that a hundred thousand requests
stay small. Credentials are not kept.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SECRET_HEADERS: Final = frozenset(("authorization", "x-api-key", "cookie", "proxy-authorization"))
"""Request headers that never reach the journal."""

PACK_FROM: Final = 65_536
"""Bodies of at least this many bytes are kept compressed."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Bytes, compressed where that pays."""

    data: bytes
    is_compressed: bool

    @classmethod
    def of(cls, data: bytes) -> "Packed":
        """Keep `data`."""
        if len(data) < PACK_FROM:
            return cls(data, is_compressed=False)
        return cls(zlib.compress(data, 1), is_compressed=True)

    def unpack(self) -> bytes:
        """The bytes as they came."""
        return zlib.decompress(self.data) if self.is_compressed else self.data


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and the answer it got."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Lower-case names; no credentials."""
    status: int
    """0 where the connection was cut before any answer."""
    at: float
    """When it arrived, in seconds since 1970 by the API's clock."""
    request_id: str
    usage: Mapping[str, Any] | None = None
    """The response's usage, for a message."""
    reply: str | None = None
    """Which reply answered: `"<file>[<n>]"` of a script, `"queue"`, `"echo"`, or None."""
    query: Mapping[str, str] = field(default_factory=dict)
    raw: Packed = field(default=Packed(b"", is_compressed=False), repr=False)

    @property
    def body(self) -> Any:
        """The request's JSON, parsed; None where there was none, the text where it is no JSON."""
        data = self.raw.unpack()
        if not data:
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return data.decode("utf-8", "replace")
