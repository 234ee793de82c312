"""Which failures cost one answer of several, and the errors for when too many are missing.

An answer that was cut, refused or not valid is billed as well, so it is counted here too.
Taught in chapter 06.
"""

from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from typing import Any, Final

import anthropic

from patterns.core.answers import Refused, Truncated
from patterns.core.errors import Portable
from patterns.prompting.structured import InvalidOutput
from patterns.quality.calls import Call, Lost

LOSSES: Final = (anthropic.APIError, Refused, Truncated, InvalidOutput, JSONDecodeError)
"""How one call may fail without taking the others with it. Anything else is raised."""


def lost(what: str, error: Exception) -> Lost:
    """A loss with its reason in a few words."""
    match error:
        case Refused(category=category):
            reason = f"refused ({category or 'no category'})"
        case Truncated(stop_reason=stop_reason):
            reason = f"truncated ({stop_reason})"
        case InvalidOutput(errors=errors):
            reason = f"invalid ({errors[0]})"
        case anthropic.APIStatusError(status_code=status):
            reason = f"HTTP {status}"
        case _:
            reason = type(error).__name__
    return Lost(what, error, reason)


class Unfinished(Portable, Exception):
    """Calls were paid for, but they do not add up to a result.

    Attributes:
        done: the answers that did come back, by what was asked.
        lost: those that did not.
        calls: every call that was billed.
    """

    def __init__(
        self, problem: str, done: Mapping[str, Any], lost: Sequence[Lost], calls: Sequence[Call]
    ) -> None:
        self.done, self.lost, self.calls = dict(done), tuple(lost), tuple(calls)
        named = "; ".join(f"{each.what}: {each.reason}" for each in self.lost)
        super().__init__(f"{problem} ({named}).")


class AllLost(Unfinished):
    """Not one answer came back."""
