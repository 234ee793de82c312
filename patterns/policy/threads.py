"""Remember what a thread began with: its later turns name only the message before them.

The SDK's tool runner sends its second turn as `thread: {"type": "continue", ...}`, without tools
and history. What a policy knew of the first turn is kept here under the ids of the answers, in
this process; elsewhere a continued thread is unknown, and treated as such.

Taught in chapter 01.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Generic, TypeVar

from patterns.policy.flow import Flow
from patterns.policy.responses import AnyResponse, Ending, ended
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
        if not isinstance(name, str):
            return None
        with self._lock:
            return self._known.get(name)

    def keep(self, body: Json, response: AnyResponse, known: T) -> Flow:
        """A step of a flow: remember it for the next turn, if the request uses threads."""
        if not isinstance(body.get("thread"), Mapping):
            return response

        def done(ending: Ending) -> None:
            name = ending.message.get("id")
            with self._lock:
                if isinstance(name, str):
                    self._known[name] = known
                while len(self._known) > self._most:
                    self._known.popitem(last=False)

        return (yield from ended(response, done))
