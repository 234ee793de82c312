"""Rate limits as the API has them: token buckets for requests, input and output tokens.

Buckets fill continuously and hold one minute's worth. Input counts what is not read from the
cache: uncached and written tokens. Output counts what was really produced; a request is let in
while any output allowance is left, and may overdraw it (the real API counts while it writes).
Limits hold per model line (sonnet, opus, ...), for all credentials together.

Used by chapters 01 and 08.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from patterns.fake_api.catalogue import line_of
from patterns.fake_api.wire.errors import APIError

NAMES: Final = ("requests", "input-tokens", "output-tokens")
UNITS: Final[Mapping[str, str]] = {
    "requests": "requests",
    "input-tokens": "input tokens",
    "output-tokens": "output tokens",
}


@dataclass(frozen=True)
class RateLimits:
    """Allowances per minute.

    Attributes:
        rpm: requests.
        itpm: input tokens that are not read from the cache.
        otpm: output tokens.
        count_tokens_rpm: calls of `count_tokens`, which have a limit of their own.
        batches_rpm: calls of the Batches API, likewise.
        lines: limits of single model lines, such as `{"opus": RateLimits(...)}`.
    """

    rpm: int = 4_000
    itpm: int = 2_000_000
    otpm: int = 400_000
    count_tokens_rpm: int | None = None
    batches_rpm: int | None = None
    lines: Mapping[str, "RateLimits"] | None = None

    def __post_init__(self) -> None:
        if min(self.rpm, self.itpm, self.otpm) < 1:
            raise ValueError("each limit is at least 1 per minute.")


class _Bucket:
    """An allowance that fills up again."""

    __slots__ = ("_at", "_level", "limit")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def level(self, now: float) -> float:
        """What is left now; negative where it was overdrawn."""
        filled = self._level + max(0.0, now - self._at) * self.limit / 60
        return min(float(self.limit), filled)

    def take(self, amount: float, now: float) -> None:
        self._level = self.level(now) - amount
        self._at = max(now, self._at)

    def wait_for(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there; a minute's worth is the most that ever is."""
        missing = min(amount, self.limit) - self.level(now)
        return max(0.0, missing * 60 / self.limit)

    def full_in(self, now: float) -> float:
        return (self.limit - self.level(now)) * 60 / self.limit


class Limiter:
    """The buckets of one fake API.

    Args:
        limits: what is enforced; None for nothing, and then the headers show full allowances.
    """

    def __init__(self, limits: RateLimits | None) -> None:
        self._limits = limits or RateLimits()
        self._enforced = limits is not None
        self._lines: dict[str, tuple[_Bucket, ...]] = {}
        self._others: dict[str, _Bucket] = {}

    def admit(self, model: str, tokens: int, now: float) -> None:
        """Let a request in and charge its input.

        Raises:
            APIError: 429 with `retry-after` and the rate limit headers.
        """
        if not self._enforced:
            return
        buckets = self._of(model, now)
        asked = (1, tokens, 1)
        short = [
            (bucket.wait_for(amount, now), name, bucket)
            for bucket, amount, name in zip(buckets, asked, NAMES, strict=True)
            if bucket.level(now) < amount - 1e-9
        ]
        if short:
            wait, name, bucket = max(short, key=lambda each: each[0])
            raise _too_many(bucket.limit, UNITS[name], wait, self.headers(model, now))
        buckets[0].take(1, now)
        buckets[1].take(tokens, now)

    def admit_other(self, kind: str, now: float) -> None:
        """Let a call of `count_tokens` or of the batches endpoints in.

        Raises:
            APIError: 429 with `retry-after`.
        """
        named = {"count_tokens": self._limits.count_tokens_rpm, "batches": self._limits.batches_rpm}
        limit = named[kind]
        if limit is None:
            return
        bucket = self._others.setdefault(kind, _Bucket(limit, now))
        if bucket.level(now) < 1 - 1e-9:
            raise _too_many(limit, f"{kind} requests", bucket.wait_for(1, now), {})
        bucket.take(1, now)

    def produced(self, model: str, tokens: int, now: float) -> None:
        """Charge output."""
        if not self._enforced:
            return
        self._of(model, now)[2].take(tokens, now)

    def headers(self, model: str, now: float) -> Mapping[str, str]:
        """The `anthropic-ratelimit-*` headers; `tokens` is input and output together."""
        if not self._enforced:
            return full_allowances(math.ceil(now))
        buckets = self._of(model, now)
        rows = [
            (name, bucket.limit, bucket.level(now), bucket.full_in(now))
            for name, bucket in zip(NAMES, buckets, strict=True)
        ]
        (_, in_limit, in_left, in_full), (_, out_limit, out_left, out_full) = rows[1:]
        both = ("tokens", in_limit + out_limit, in_left + out_left, max(in_full, out_full))
        headers = {}
        for name, limit, left, full_in in (*rows, both):
            start = f"anthropic-ratelimit-{name}-"
            headers[start + "limit"] = str(limit)
            headers[start + "remaining"] = str(max(0, int(left + 1e-9)))
            headers[start + "reset"] = rfc3339(math.ceil(now + full_in))
        return headers

    def fast_headers(self, model: str, now: float) -> dict[str, str]:
        """The `anthropic-fast-*` headers of fast mode, which counts tokens for itself."""
        return {
            name.replace("ratelimit", "fast"): value
            for name, value in self.headers(model, now).items()
            if "put-tokens" in name
        }

    def _of(self, model: str, now: float) -> tuple[_Bucket, ...]:
        line = line_of(model) or model
        if line not in self._lines:
            limits = (self._limits.lines or {}).get(line, self._limits)
            sizes = (limits.rpm, limits.itpm, limits.otpm)
            self._lines[line] = tuple(_Bucket(size, now) for size in sizes)
        return self._lines[line]


@lru_cache(maxsize=64)
def full_allowances(second: int) -> Mapping[str, str]:
    """The headers of limits that nothing was taken from."""
    return Limiter(RateLimits()).headers("", second)


def _too_many(limit: int, unit: str, wait: float, headers: Mapping[str, str]) -> APIError:
    return APIError(
        429,
        f"this request would exceed the rate limit of {limit:,} {unit} per minute; "
        "see the response headers",
        retry_after=max(1, math.ceil(wait)),
        headers=headers,
    )


@lru_cache(maxsize=64)
def rfc3339(seconds: int) -> str:
    """A moment as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
