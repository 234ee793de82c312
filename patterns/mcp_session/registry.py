"""The conversations of many users, bounded in number and in time."""

import time
from collections import OrderedDict
from collections.abc import Callable

from patterns.core.errors import Portable
from patterns.mcp_session.conversation import Conversation


class TooManyConversations(Portable, RuntimeError):
    """The registry is full of conversations whose turns are running."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} conversations are running, the most allowed; try again later")


class Conversations:
    """The conversations of many users, each for as long as it is used.

    Args:
        make: Makes the conversation of a session id.
        most: How many are kept; the one that was used longest ago and is idle gives way.
        lifetime: Seconds without use after which one is forgotten.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        make: Callable[[str], Conversation],
        *,
        most: int = 1_000,
        lifetime: float = 3_600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make, self._most, self._lifetime, self._clock = make, most, lifetime, clock
        self._known: OrderedDict[str, tuple[Conversation, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, session_id: str) -> Conversation:
        """The conversation of a session id, a new one if it is not known (any more).

        Raises:
            TooManyConversations: No more fit, and every one is busy.
        """
        now = self._clock()
        self._drop(lambda used: now - used > self._lifetime)
        if session_id not in self._known and len(self._known) >= self._most:
            self._drop(lambda used: True, most=1)
            if len(self._known) >= self._most:
                raise TooManyConversations(self._most)
        known = self._known.pop(session_id, None)
        conversation = known[0] if known else self._make(session_id)
        self._known[session_id] = conversation, now
        return conversation

    def forget(self, session_id: str) -> None:
        """End a conversation, as when a user logs out."""
        self._known.pop(session_id, None)

    def _drop(self, old: Callable[[float], bool], most: int | None = None) -> None:
        idle = [name for name, (c, used) in self._known.items() if old(used) and not c.busy]
        for name in idle[:most]:
            del self._known[name]
