"""Which failed calls may succeed later, and how long to wait before the next try.

One decision for agents, batches and limits, the same as the SDK's own: 408, 409, 429, every 5xx
and lost connections pass, unless the response says otherwise; a spend limit does not lift by
waiting. For code that retries above the SDK, because it runs for hours or chooses another agent;
a single call needs only `Anthropic(max_retries=...)`.
"""

import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from anthropic import APIConnectionError, APIStatusError

TRANSIENT: Final = frozenset({408, 409, 429})
"""Status codes below 500 that the SDK retries (anthropic `_base_client._should_retry`)."""
SPEND_LIMITS: Final = frozenset(
    {
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "linked_organization_spend_limit_reached",
    }
)
"""Error codes of limits in dollars (anthropic 2.14): somebody has to raise them."""
LONGEST_RETRY_AFTER_S: Final = 3_600.0
"""Longest wait in seconds that a response may ask for; a broken proxy asks for years."""
FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 30.0


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed later.

    True for overload, rate limits, lost connections and answers that are no JSON; false for what
    comes back the same, such as a refused request or a spend limit. `x-should-retry` decides
    where the response has it.
    """
    if isinstance(error, APIStatusError):
        told = error.response.headers.get("x-should-retry")
        if told in ("true", "false"):
            return told == "true"
        passes = error.status_code >= 500 or error.status_code in TRANSIENT
        return passes and error.error_code not in SPEND_LIMITS
    lost = TimeoutError | ConnectionError | APIConnectionError | json.JSONDecodeError
    return isinstance(error, lost)


def headers_of(error: BaseException | None) -> Mapping[str, str]:
    """The headers of the response that a call failed with; empty where there is none."""
    return error.response.headers if isinstance(error, APIStatusError) else {}


def retry_after(
    headers: Mapping[str, str], *, now: float | None = None, longest: float = LONGEST_RETRY_AFTER_S
) -> float | None:
    """Seconds that a response asks to wait, between 0 and `longest`; None if it asks for nothing.

    Args:
        headers: names in any case if the mapping is httpx's, else in lower case.
        now: seconds since 1970, for a `retry-after` that is a date; without it, dates are not
            read.
        longest: what is believed at most.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _number(headers.get(name), unit)
        if seconds is None and name == "retry-after":
            seconds = _until(headers.get(name), now)
        if seconds is not None:
            return min(max(0.0, seconds), longest)
    return None


def backoff(attempt: int, asked: float | None, draw: float) -> float:
    """Seconds before the next try: what the response asked for, or doubling, both with jitter.

    Args:
        attempt: tries that have failed, from 1.
        asked: from `retry_after`.
        draw: uniform in [0, 1), so that many callers do not come back at once.
    """
    if asked is not None:
        return asked * (1 + 0.1 * draw)
    doubled = FIRST_BACKOFF_S * 2.0 ** min(attempt - 1, 16)
    return min(LONGEST_BACKOFF_S, doubled) * (0.5 + draw / 2)


def _number(text: str | None, unit: float) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value * unit if math.isfinite(value) else None


def _until(text: str | None, now: float | None) -> float | None:
    if text is None or now is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
