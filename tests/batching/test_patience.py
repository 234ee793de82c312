"""patterns.batching.patience: what passes, and for how long one waits."""

import json
from typing import Any

import httpx2
import pytest
from anthropic import APIConnectionError, BadRequestError, InternalServerError, RateLimitError

from patterns.batching.patience import Patience, passes, retry_after
from patterns.fake_api import VirtualClock

REQUEST = httpx2.Request("GET", "https://api.anthropic.com")


def status(kind: Any, code: int, body: Any = None, **headers: str) -> Any:
    """An error as the SDK raises it."""
    answer = httpx2.Response(code, request=REQUEST, headers=headers)
    return kind("it says", response=answer, body=body)


SPENT = {"error": {"details": {"error_code": "enforced_spend_limit_reached"}}}


def test_what_passes_by_itself() -> None:
    """A spend limit does not."""
    assert passes(status(InternalServerError, 529))
    assert passes(status(RateLimitError, 429))
    assert passes(APIConnectionError(request=REQUEST))
    assert passes(json.JSONDecodeError("cut", "{", 1))
    assert not passes(status(RateLimitError, 429, SPENT))
    assert not passes(status(BadRequestError, 400))
    assert not passes(OSError())


def test_the_wait_that_the_api_asks_for_is_read() -> None:
    """Milliseconds first; nonsense is no wait."""
    asked = {"retry-after": "7", "retry-after-ms": "6500"}
    assert retry_after(status(RateLimitError, 429, **asked)) == 6.5
    assert retry_after(status(RateLimitError, 429, **{"retry-after": "soon"})) == 0
    assert retry_after(APIConnectionError(request=REQUEST)) == 0


def test_it_waits_as_asked_and_gives_up_in_the_end() -> None:
    """Pauses double; the API's wish wins."""
    clock = VirtualClock()
    errors = [
        status(RateLimitError, 429, **{"retry-after": "30"}),
        status(InternalServerError, 500),
    ]

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert Patience(clock.now, clock.sleep, 100)(call) == "done"
    assert clock.elapsed == 32
    errors.extend(status(InternalServerError, 500) for _ in range(99))
    with pytest.raises(InternalServerError):
        Patience(clock.now, clock.sleep, 100)(call)
    assert clock.elapsed == 32 + 1 + 2 + 4 + 8 + 16 + 32 + 60
