"""Reversible masking: the API sees `[EMAIL_1]`, your tools and users see the address.

For agents: a tool that is called with `[EMAIL]` fails, and one that is called with the value works.
The placeholders of a conversation are stable, so prompt caching keeps working; the values stay in
this process, for a while. What the model may do with a placeholder, it may do with the value: the
vault keeps data from the API, and does not make an agent more careful with it.

Taught in chapter 01.
"""

import json
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

from patterns.policy.detectors import Match

_NUMBERS: Final = 7_700_000_000_000
"""Placeholders for numbers in JSON begin here: 13 digits that no card or article number has."""
_PLACEHOLDER: Final = re.compile(r"\[[A-Z_]{2,20}_[1-9]\d{0,5}\]|(?<!\d)77000000\d{5}(?!\d)")
_BEGUN: Final = re.compile(
    r"(?:\[(?:[A-Z_]{0,21}(?:\d{1,6})?)|(?<!\d)(?:7|77|770{1,6}(?:\d{1,5})?))\Z"
)


class Conversation:
    """The values of one conversation and what stands for them."""

    used = 0.0

    def __init__(self) -> None:
        self._shown: dict[tuple[str, str, bool], str] = {}
        self._values: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def mask(self, match: Match, value: str, number: bool) -> str:
        """The placeholder for a value, the same whenever it comes again."""
        kind, known = match.type.upper(), (match.type, value, number)
        with self._lock:
            shown = self._shown.get(known)
            if shown is None:
                self._counts[kind] += 1
                named = f"[{kind}_{self._counts[kind]}]"
                shown = str(_NUMBERS + len(self._shown)) if number else named
                self._shown[known], self._values[shown] = shown, value
        return shown

    def restore(self, text: str, *, escaped: bool = False) -> str:
        """`text` with the values back in; `escaped` for text that is itself JSON."""

        def value(found: re.Match[str]) -> str:
            kept = self._values.get(found[0], found[0])
            return json.dumps(kept)[1:-1] if escaped else kept

        return _PLACEHOLDER.sub(value, text)


def literals(text: str) -> list[Match]:
    """Text that only looks like a placeholder: masked as well, or it would be taken for one."""
    return [Match(*found.span(), "literal") for found in _PLACEHOLDER.finditer(text)]


class RestoredText:
    """Streamed text with the values back in; it holds back only a placeholder that has begun.

    No placeholder crosses two text blocks.
    """

    def __init__(self, conversation: Conversation, *, escaped: bool) -> None:
        self._conversation, self._escaped, self._held = conversation, escaped, ""

    def feed(self, piece: str) -> list[Any]:
        """Add a piece; returns what can be shown now."""
        text = self._held + piece
        begun = _BEGUN.search(text, max(0, len(text) - 32))
        end = begun.start() if begun else len(text)
        self._held = text[end:]
        return self._restored(text[:end])

    def mark(self, event: Any) -> list[Any]:
        """An event that stands between two blocks of text."""
        return [*self.flush(), event]

    def flush(self) -> list[Any]:
        """Everything that was held: the text is complete."""
        held, self._held = self._held, ""
        return self._restored(held)

    def _restored(self, text: str) -> list[Any]:
        return [self._conversation.restore(text, escaped=self._escaped)] if text else []


class Vault:
    """The conversations that are going on in this process.

    Args:
        lifetime: seconds after its last use when a conversation is forgotten.
        most: conversations kept; the one that was used longest ago makes room.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        lifetime: float = 3_600,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lifetime, self._most, self._clock = lifetime, most, clock
        self._kept: OrderedDict[Hashable, Conversation] = OrderedDict()
        self._lock = threading.Lock()

    def conversation(self, name: Hashable) -> Conversation:
        """The conversation of that name; a new one if it was never used, or not for a while."""
        with self._lock:
            now = self._clock()
            found = self._kept.pop(name, None)
            if found is None or now - found.used > self._lifetime:
                found = Conversation()
            self._kept[name] = found
            found.used = now
            while now - self._oldest().used > self._lifetime or len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return found

    def _oldest(self) -> Conversation:
        return next(iter(self._kept.values()))
