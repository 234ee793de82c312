"""How a call to Claude ended, in one word from a closed set, fit for a label.

Of a call, not of its attempts: after two overloaded attempts it may still be "ok". Which outcomes
burn an error budget: `patterns.monitoring.slo`. Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

Outcome = Literal[
    "ok",  # answered, tool requests included
    "truncated",  # stopped by max_tokens or by the context window
    "refused",  # the model declined
    "rate_limited",  # 429 to the end
    "spend_cap",  # 429 that no retry can help: the organisation's spend limit
    "overloaded",  # 529 to the end
    "api_error",  # any other 5xx
    "timeout",  # no answer in time
    "connection",  # no answer at all
    "cut_short",  # the server ended an answer early
    "expired",  # a batch request that was not reached within a day
    "invalid_request",  # our own 4xx: a bug or a wrong key, not the service
    "client_error",  # our own code stopped the call: a policy, a bug
    "abandoned",  # we stopped reading the stream
    "cancelled",  # we cancelled the call
]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


_BY_STOP: Mapping[str, Outcome] = MappingProxyType(
    {
        "max_tokens": "truncated",
        "model_context_window_exceeded": "truncated",
        "refusal": "refused",
    }
)
_BY_ERROR: Mapping[str, Outcome] = MappingProxyType(
    {
        "rate_limit_error": "rate_limited",
        "429": "rate_limited",
        "overloaded_error": "overloaded",
        "api_error": "api_error",
        "timeout_error": "timeout",
        "client_timeout_error": "timeout",
        "connection_error": "connection",
        "client_error": "client_error",
    }
)


def outcome_of(
    *,
    stop_reason: str | None,
    error_type: str | None,
    status: int | None,
    error_code: str | None = None,
) -> Outcome:
    """How a call ended, from what the SDK recorded of it.

    Args:
        stop_reason: of the message, when there is one.
        error_type: of the failure, when there is one.
        status: of the last HTTP response, when there is one.
        error_code: the API's own name for the cause of a failure.
    """
    if error_code == "enforced_spend_limit_reached":
        return "spend_cap"
    if error_type is not None:
        return _failure(error_type, status)
    return _BY_STOP.get(stop_reason or "", "ok")


_BY_STATUS: Mapping[int, Outcome] = MappingProxyType({504: "timeout", 529: "overloaded"})


def _failure(error_type: str, status: int | None) -> Outcome:
    if error_type == "api_error" and status == 200:
        return "cut_short"
    if status is not None and status >= 500:
        return _BY_STATUS.get(status, "api_error")
    return _BY_ERROR.get(error_type, "invalid_request")
