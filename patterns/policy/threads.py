"""Remember what a thread began with: its later turns name only the message before them.

The SDK's tool runner sends its second turn as `thread: {"type": "continue", ...}`, without tools
and history. What a policy knew of the first turn is kept here under the ids of the answers, in
this process; elsewhere a continued thread is unknown, and treated as such.

Taught in chapter 01.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from patterns.policy.flow import Do
from patterns.policy.responses import (
    AnyResponse,
    How,
    Lines,
    event_of,
    http_of,
    is_open,
    json_of,
    through,
)
from patterns.policy.texts import Json

T = TypeVar("T")


class Threads(Generic[T]):
    """Something known about each thread, by the id of its latest message."""

    def __init__(self, most: int = 10_000) -> None:
        self._most, self._known, self._lock = most, OrderedDict[str, T](), threading.Lock()

    def before(self, body: Json) -> T | None:
        """What is known of the thread that this request continues; None if nothing is."""
        thread = body.get("thread")
        name = thread.get("previous_message_id") if isinstance(thread, Mapping) else None
        with self._lock:
            return self._known.get(name) if isinstance(name, str) else None

    def keep(self, body: Json, response: AnyResponse, known: T) -> AnyResponse:
        """Remember it for the turn that follows the answer, if the request uses threads."""
        if not isinstance(body.get("thread"), Mapping) or not http_of(response).is_success:
            return response

        def named(name: str) -> None:
            with self._lock:
                self._known[name] = known
                while len(self._known) > self._most:
                    self._known.popitem(last=False)

        if is_open(response):
            return through(response, _Start(named))
        name = (json_of(response) or {}).get("id")
        if isinstance(name, str):
            named(name)
        return response


class _Start:
    """A stream that passes unchanged, and tells the id of its message."""

    def __init__(self, named: Callable[[str], None]) -> None:
        self._named, self._lines = named, Lines()

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        for line in self._lines.feed(chunk):
            if b"message_start" in line:
                message: Any = (event_of(line) or {}).get("message")
                if isinstance(message, dict) and isinstance(message.get("id"), str):
                    self._named(message["id"])
        return chunk

    def end(self) -> bytes:
        """What remains after the last chunk."""
        return b""

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
        """Reading is over; called once or more."""
        return None
