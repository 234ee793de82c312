"""Count HTTP attempts, and keep for each call what no span carries: its whole usage.

A call that got 529, 529, 200 is one success and three attempts; the SDK's span knows the call, only
a middleware sees the attempts. Part of a `CallMonitor`. Not a place for policy or retries. Chapter
4 teaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2
from anthropic import (
    APIConnectionError,
    APIRequest,
    APIResponse,
    APITimeoutError,
    AsyncAPIResponse,
    AsyncCallNext,
    CallNext,
    Middleware,
)
from pydantic_core import from_json

from patterns.monitoring.call_span import OpenCall
from patterns.monitoring.stream_usage import (
    AsyncObservedBody,
    ErrorReader,
    ObservedBody,
    UsageReader,
)


class AttemptMiddleware(Middleware):
    """Counts HTTP attempts, and keeps for the call what no span carries: its full usage.

    Put it last, so that what your other middleware answers itself is not counted as an attempt.

    Args:
        attempted: told the status of every attempt.
        current: the call that is being sent.
    """

    def __init__(self, attempted: Callable[[str], None], current: Callable[[], OpenCall]) -> None:
        self._attempted = attempted
        self._current = current

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        """One attempt of a sync client."""
        try:
            response = call_next(request)
        except Exception as error:
            self._attempted(_failed_attempt(error))
            raise
        self._answered(response.http_response, ObservedBody)
        return response

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        """One attempt of an async client."""
        try:
            response = await call_next(request)
        except Exception as error:
            self._attempted(_failed_attempt(error))
            raise
        self._answered(response.http_response, AsyncObservedBody)
        return response

    def _answered(
        self, http: httpx2.Response, observed: type[ObservedBody] | type[AsyncObservedBody]
    ) -> None:
        self._attempted(str(http.status_code))
        call = self._current()
        keep = partial(setattr, call)
        if http.status_code == 429 and http.is_closed:  # read already, and its coding taken off
            ErrorReader(partial(keep, "error_code"), {}).feed(http.content)
        elif http.status_code == 429:
            reader = ErrorReader(partial(keep, "error_code"), http.headers)
            http.stream = observed(http.stream, reader)
        elif not http.is_success:
            return
        elif http.headers.get("content-type", "").startswith("text/event-stream"):
            http.stream = observed(http.stream, UsageReader(partial(keep, "usage"), http.headers))
        elif http.is_closed:
            call.usage, call.broken = _usage_in(http.content)


def _failed_attempt(error: Exception) -> str:
    if isinstance(error, APITimeoutError):
        return "timeout"
    return "connection" if isinstance(error, APIConnectionError) else "stopped"


def _usage_in(body: bytes) -> tuple[dict[str, Any] | None, bool]:
    """The usage, and whether the body is no JSON."""
    # Read from the bytes: parsing can fail on the caller's own terms, and is billed all the same.
    try:
        answer = from_json(body)
    except ValueError:
        return None, True
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return usage if isinstance(usage, dict) else None, False
