"""patterns.core.retrying: the SDK's own decision, and waits that a broken proxy cannot stretch."""

import inspect
import json
import math
from email.utils import formatdate

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, _error_classes
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.retrying import (
    LONGEST_BACKOFF_S,
    LONGEST_RETRY_AFTER_S,
    SPEND_LIMITS,
    backoff,
    headers_of,
    is_transient,
    retry_after,
)

SDK = Anthropic(api_key="none")
REQUEST = httpx2.Request("POST", "https://api.anthropic.com/v1/messages")


def failed(status: int, *, code: str | None = None, **headers: str) -> anthropic.APIStatusError:
    """The error that the SDK raises for such a response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    details = {"details": {"error_code": code}} if code else {}
    body = {"type": "error", "error": {"type": "api_error", "message": "no", **details}}
    response = httpx2.Response(status, headers=named, json=body, request=REQUEST)
    return SDK._make_status_error_from_response(response)


@pytest.mark.parametrize("told", [None, "true", "false", "perhaps"])
@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503, 504, 529]
)
def test_a_status_is_retried_exactly_where_the_sdk_does(status: int, told: str | None) -> None:
    """The installed SDK is the judge."""
    error = failed(status, **({"x_should_retry": told} if told else {}))
    assert is_transient(error) == SDK._should_retry(error.response)


@pytest.mark.parametrize("code", sorted(SPEND_LIMITS))
def test_a_spend_limit_is_never_waited_out(code: str) -> None:
    """Another 429 is."""
    assert not is_transient(failed(429, code=code))
    assert is_transient(failed(429, code="some_other_code"))


def test_the_spend_limits_are_codes_that_the_sdk_documents() -> None:
    """A code that is renamed or gone shows up here."""
    source = inspect.getsource(_error_classes)
    assert [code for code in sorted(SPEND_LIMITS) if code not in source] == []


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (anthropic.APIConnectionError(request=REQUEST), True),
        (anthropic.APITimeoutError(request=REQUEST), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (json.JSONDecodeError("cut", "{", 1), True),
        (ValueError("bad"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_lost_connections_pass_and_mistakes_do_not(error: BaseException, passes: bool) -> None:
    """What our own code did wrong comes back the same."""
    assert is_transient(error) is passes


@given(st.floats(0.001, LONGEST_RETRY_AFTER_S) | st.integers(1, 3_600))
def test_seconds_are_read_as_the_sdk_reads_them(seconds: float) -> None:
    """In both headers."""
    headers = httpx2.Headers({"retry-after": str(seconds)})
    assert retry_after(headers) == pytest.approx(SDK._parse_retry_after_header(headers))
    headers = httpx2.Headers({"Retry-After-Ms": str(seconds), "retry-after": "1"})
    assert retry_after(headers) == pytest.approx(SDK._parse_retry_after_header(headers))


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "-inf", "Thu, 99 Foo"])
def test_nonsense_asks_for_nothing(text: str) -> None:
    """Neither a wait for ever nor an error."""
    assert retry_after({"retry-after": text}, now=0.0) is None


def test_a_wait_has_an_upper_and_a_lower_bound() -> None:
    """`1e9` seconds are 31 years."""
    assert retry_after({"retry-after": "1e9"}) == LONGEST_RETRY_AFTER_S
    assert retry_after({"retry-after": "1e9"}, longest=60) == 60
    assert retry_after({"retry-after": "-5"}) == 0
    assert retry_after({}) is None


def test_a_date_is_read_against_the_time_that_is_given() -> None:
    """Without a time it says nothing."""
    headers = {"retry-after": formatdate(1_000_030, usegmt=True)}
    assert retry_after(headers, now=1_000_000.0) == 30
    assert retry_after(headers, now=1_000_099.0) == 0
    assert retry_after(headers) is None


@given(
    st.integers(1, 10_000),
    st.none() | st.floats(0, 3_600),
    st.floats(0, 1, exclude_max=True),
)
def test_a_backoff_never_undercuts_what_was_asked(
    attempt: int, asked: float | None, draw: float
) -> None:
    """And is finite and bounded without it."""
    seconds = backoff(attempt, asked, draw)
    assert math.isfinite(seconds)
    if asked is None:
        assert 0.25 <= seconds <= LONGEST_BACKOFF_S
    else:
        assert asked <= seconds <= 1.1 * asked


def test_a_backoff_doubles() -> None:
    """From half a second, with the same draw."""
    assert [backoff(each, None, 0.0) for each in (1, 2, 3, 4)] == [0.25, 0.5, 1.0, 2.0]


def test_headers_come_from_a_response_only() -> None:
    """A lost connection has none."""
    assert headers_of(failed(429, retry_after="7"))["retry-after"] == "7"
    assert headers_of(ValueError()) == {}
    assert headers_of(None) == {}
