"""Rate limits: buckets on the clock, the headers, and a `retry-after` that is true."""

from datetime import datetime
from typing import Any

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.fake_api import FakeAPI, Fault, RateLimits, Reply, VirtualClock
from patterns.fake_api.limits import Limiter
from patterns.fake_api.wire.errors import APIError

KINDS = ("requests", "tokens", "input-tokens", "output-tokens")


def ask(tokens: int = 97, **options: Any) -> dict[str, Any]:
    """A request of so many input tokens and 3."""
    turn = {"role": "user", "content": "a" * (4 * tokens)}
    return {"model": SONNET, "max_tokens": 500, "messages": [turn], **options}


def limited(**limits: Any) -> tuple[FakeAPI, anthropic.Anthropic]:
    """A fake on virtual time and a client that does not retry."""
    api = FakeAPI(clock=VirtualClock(), limits=RateLimits(**limits))
    return api, api.client(max_retries=0)


def headers_of(client: anthropic.Anthropic, **request: Any) -> dict[str, str]:
    """The rate limit headers of one call."""
    answer = client.messages.with_raw_response.create(**request)
    start = "anthropic-ratelimit-"
    return {k[len(start) :]: v for k, v in answer.headers.items() if k.startswith(start)}


def test_every_answer_carries_the_headers() -> None:
    """Limit, remaining and reset for requests, tokens, input and output tokens."""
    api, client = limited(rpm=10, itpm=1000, otpm=500)
    api.enqueue(Reply("b" * 200))
    headers = headers_of(client, **ask())
    assert len(headers) == 12
    remaining = {kind: headers[f"{kind}-remaining"] for kind in KINDS}
    assert remaining == {
        "requests": "9",
        "tokens": "1350",
        "input-tokens": "900",
        "output-tokens": "450",
    }
    resets = [datetime.fromisoformat(headers[f"{kind}-reset"]).timestamp() for kind in KINDS]
    assert [reset - api.clock.now() for reset in resets] == [6, 6, 6, 6]


def test_without_limits_the_headers_show_full_allowances() -> None:
    """Every response has them, as the API's have; what was asked before takes nothing away."""
    client = FakeAPI(clock=VirtualClock()).client()
    first = headers_of(client, **ask())
    assert headers_of(client, **ask()) == first
    assert {first[f"{kind}-limit"] == first[f"{kind}-remaining"] for kind in KINDS} == {True}


def test_fast_mode_has_headers_of_its_own() -> None:
    """Input and output tokens, each with limit, remaining and reset."""
    options: Any = {"extra_headers": {"anthropic-beta": "fast-mode-2026-02-01"}}
    request = {**ask(), "model": "claude-opus-5", "speed": "fast"}
    response = FakeAPI().client().messages.with_raw_response.create(**request, **options)
    fast = {name for name in response.headers if name.startswith("anthropic-fast-")}
    parts = ("limit", "remaining", "reset")
    kinds = ("input-tokens", "output-tokens")
    assert fast == {f"anthropic-fast-{kind}-{part}" for kind in kinds for part in parts}


@pytest.mark.parametrize(
    ("limits", "unit", "wait"),
    [
        ({"rpm": 2}, "requests", "30"),
        ({"itpm": 250}, "input tokens", "12"),
        ({"otpm": 26}, "output tokens", "3"),
    ],
)
def test_third_request_is_too_many(limits: dict[str, int], unit: str, wait: str) -> None:
    """Each bucket can be the one that is empty."""
    api, client = limited(**limits)
    api.enqueue(*["c" * 52] * 3)
    client.messages.create(**ask())
    client.messages.create(**ask())
    with pytest.raises(anthropic.RateLimitError, match=unit) as caught:
        client.messages.create(**ask())
    assert caught.value.response.headers["retry-after"] == wait
    assert "anthropic-ratelimit-requests-remaining" in caught.value.response.headers
    api.clock.sleep(float(wait))
    assert client.messages.create(**ask()).stop_reason == "end_turn"


def test_refused_request_uses_no_reply() -> None:
    """A 429 leaves the queue as it is."""
    api, client = limited(rpm=1)
    api.enqueue("first", "second")
    client.messages.create(**ask())
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**ask())
    api.clock.sleep(60)
    client.messages.create(**ask())
    assert [entry.status for entry in api.journal] == [200, 429, 200]
    assert api.journal[-1].reply == "queue"


def test_model_lines_have_buckets_of_their_own() -> None:
    """Sonnet's requests leave Opus's alone; a line can have limits of its own."""
    _, client = limited(rpm=1, lines={"haiku": RateLimits(rpm=2)})
    for model in (SONNET, OPUS, HAIKU, HAIKU):
        client.messages.create(**ask(model=model))
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**ask(model="claude-sonnet-4-6"))


def test_cache_reads_do_not_count() -> None:
    """A warm prefix of 800 tokens fits again and again into 1,000 per minute."""
    _, client = limited(itpm=1000)
    prefix = {"type": "text", "text": "p" * 3200, "cache_control": {"type": "ephemeral"}}
    request = ask(7, system=[prefix])
    left = [int(headers_of(client, **request)["input-tokens-remaining"]) for _ in range(4)]
    assert left == [190, 180, 170, 160]


def test_counting_and_batches_have_limits_of_their_own() -> None:
    """`count_tokens` is limited apart from messages."""
    _, client = limited(rpm=1, count_tokens_rpm=1, batches_rpm=2)
    count: Any = {"model": SONNET, "messages": ask()["messages"]}
    client.messages.create(**ask())
    client.messages.count_tokens(**count)
    client.models.list()
    with pytest.raises(anthropic.RateLimitError, match="count_tokens"):
        client.messages.count_tokens(**count)
    client.messages.batches.list()
    client.messages.batches.list()
    with pytest.raises(anthropic.RateLimitError, match="batches"):
        client.messages.batches.list()


def test_counting_is_free_by_default() -> None:
    """Without a limit of its own, counting is never refused."""
    _, client = limited(rpm=1)
    for _ in range(3):
        client.messages.count_tokens(model=SONNET, messages=ask()["messages"])


def test_spend_limit_names_its_code() -> None:
    """The 429 that no retry helps with is told apart by its code."""
    client = FakeAPI(faults=[Fault.spend_limit()]).client(max_retries=0)
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**ask())
    assert caught.value.error_code == "enforced_spend_limit_reached"


def test_limits_below_one_are_refused() -> None:
    """A limit of nothing is a mistake."""
    with pytest.raises(ValueError, match="at least 1"):
        RateLimits(rpm=0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), max_size=40),
    st.integers(1, 50),
    st.integers(400, 5_000),
)
def test_retry_after_is_true_and_no_minute_is_overspent(
    calls: list[tuple[float, int]], rpm: int, itpm: int
) -> None:
    """Who waits as told gets in, and any minute holds at most two minutes' worth."""
    limiter = Limiter(RateLimits(rpm=rpm, itpm=itpm))
    now, admitted = 1000.0, []
    for gap, tokens in calls:
        now += gap
        try:
            limiter.admit(SONNET, tokens, now)
        except APIError as error:
            now += float(error.headers["retry-after"])
            limiter.admit(SONNET, tokens, now)
        admitted.append((now, tokens))
    for start, _ in admitted:
        spent = [tokens for at, tokens in admitted if start <= at < start + 60]
        assert len(spent) <= 2 * rpm + 1
        assert sum(spent) <= 2 * itpm + 1
