"""What goes in and out of the fake API, whichever door it comes through.

The transport and the socket server both turn an HTTP request into a `Request`, get an `Answer`
back and play it: wait, send the head, then send its steps. All decisions are in the answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias


class Cut(Enum):
    """Where an answer stops being an answer."""

    CLOSE = "close"
    """The connection is closed under the client."""
    HANG = "hang"
    """Nothing more comes, and the connection stays open."""


Step: TypeAlias = bytes | float | Cut
"""Bytes to send, seconds to wait, or the end of the connection."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as the fake sees it; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    """The values of a repeated name are joined by commas."""
    headers: Mapping[str, str]
    body: bytes
    base_url: str = "https://api.anthropic.com"


@dataclass(slots=True)
class Answer:
    """One HTTP response and how it is to be sent."""

    status: int
    headers: dict[str, str]
    body: bytes | Iterable[Step] = b""
    """All of the body, or its steps where it is streamed."""
    wait: float = 0.0
    """Seconds before the head is sent."""
    cut: Cut | None = None
    """Set where there is no head at all."""
    usage: Mapping[str, Any] | None = None
    reply: str | None = None
    """Which reply answered: a script's entry, the queue, the echo, or None for an error."""
    piece: int = 0
    """Bytes that a socket collects before it sends, where steps are many and small."""


def query_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The parameters of a query, each name once."""
    found = defaultdict[str, list[str]](list)
    for name, value in pairs:
        found[name].append(value)
    return {name: ",".join(values) for name, values in found.items()}


def pieces(steps: Iterable[Step], size: int) -> Iterator[Step]:
    """The same stream in pieces of at least `size` bytes; waits and cuts keep their place."""
    held = bytearray()
    for step in steps:
        if isinstance(step, bytes):
            held += step
            if len(held) < size:
                continue
        if held:
            yield bytes(held)
            held.clear()
        if not isinstance(step, bytes):
            yield step
    if held:
        yield bytes(held)
