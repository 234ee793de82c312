"""Call as fast as the API allows and no faster: a concurrency limit that learns from headers.

Make each call inside `async with limit:`, or give the limit to `patterns.core.fan_out.fan_out`, and
its middleware to the client. Not needed for a handful of calls: the SDK's own retries do.
Taught in chapter 08.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from anthropic import APIRequest, AsyncAPIResponse, AsyncCallNext, Middleware

from patterns.core.retrying import retry_after

Share = Callable[[Mapping[str, int], Mapping[str, float]], Awaitable[float]]
"""Books amounts, by the names in `BUCKETS`, in allowances per minute that several processes share;
gives the seconds to wait before using them. Below zero they are given back."""

BUCKETS: Final = ("requests", "input-tokens", "output-tokens")
"""What the API limits per minute, as its `anthropic-ratelimit-*` headers name it."""
MARGIN: Final = 0.05
"""Share of an allowance that is never touched, for what other programs send and for estimates that
were too low. It costs no throughput: a bucket that is kept at 5 % fills as fast as an empty one."""
FULLEST: Final = 0.75
"""Share of the output bucket that is waited for at most: one that is full runs over."""


@dataclass
class _Bucket:
    """An allowance as the API keeps it: a minute's worth at most, filled continuously."""

    limit: int
    level: float
    at: float

    def fill(self, now: float) -> float:
        """What is there now."""
        added = max(0.0, now - self.at) * self.limit / 60
        self.level, self.at = min(float(self.limit), self.level + added), max(now, self.at)
        return self.level

    def share(self, now: float) -> float:
        """What is there now, as a share of a full bucket."""
        return self.fill(now) / self.limit


@dataclass
class _Mean:
    """A running mean, its spread and the largest value, that forget what is long past."""

    value: float = 0.0
    most: float = 0.0
    count: int = 0
    keeps: float = 0.999
    square: float = 0.0

    @property
    def spread(self) -> float:
        """The standard deviation."""
        return math.sqrt(max(0.0, self.square - self.value**2))

    def add(self, value: float, memory: int = 50) -> None:
        self.count = min(self.count + 1, memory)
        self.square += (value**2 - self.square) / self.count
        self.value += (value - self.value) / self.count
        self.most = max(value, self.keeps * self.most)


@dataclass(eq=False)
class _Slot:
    """What one call has set aside."""

    limit: "AdaptiveLimit"
    amounts: dict[str, float]
    is_sent: bool = False


# `fan_out` starts a call's task right after `acquire`, and a task copies the context of its
# maker: so the middleware, deep inside the call, finds the slot that was acquired for it.
_SLOT: ContextVar[_Slot | None] = ContextVar("_SLOT", default=None)


class AdaptiveLimit:
    """Starts calls as fast as the API allows and no faster, whatever that is.

    It keeps the API's three token buckets (requests, input, output) on this side, learns their
    size and level from the headers of every answer, and sets aside for each call what a request
    of its size takes and what answers have taken on average (more while one is long in coming),
    while there is enough for the largest. Where one answer may be more than a minute's allowance,
    some 429s are left: nobody knows of it before it has come. Otherwise, from 5 to 3,000 requests a
    minute and from 1 to 30 s, it runs at 95 % of the rate or more with at most 0.5 % refused after
    the warm-up (heavy-tailed answers of the fake API; tests/core/test_adaptive_limit.py). After a
    429 it is still until `retry-after`. Before the first answers it starts few calls, and more with
    every answer. Time is the running loop's.

        limit = AdaptiveLimit()
        client = AsyncAnthropic(middleware=[limit.middleware])
        async for outcome in fan_out(items, ask, limit=limit): ...

    Limits hold per model line (Sonnet, Opus, ...): one `AdaptiveLimit` for each. Several processes
    on one organisation see each other in the headers only, and late: give them a `share`. More than
    1,000 calls at once need a client with more connections (`DefaultAsyncHttpxClient(limits=...)`).

    Args:
        start: calls at once before any answer.
        most: calls at once in all.
        share: what several processes have in common, such as a store of chapter 01 on Redis.

    Raises:
        ValueError: a number that makes no sense.
    """

    def __init__(
        self,
        *,
        start: int = 10,
        most: int = 10_000,
        share: Share | None = None,
    ) -> None:
        if not 1 <= start <= most:
            raise ValueError(f"start is {start}, most {most}; start must be 1 to most.")
        self.refused = 0
        """How many answers were 429 so far."""
        self.middleware: Middleware = _Watch(self)
        """For the client that makes the calls: it reads the headers."""
        self._most, self._window = most, start
        self._share = share
        self._open = 0
        self._blocked_until = -math.inf
        self._buckets: dict[str, _Bucket] = {}
        self._reserved = dict.fromkeys(BUCKETS, 0.0)
        self._held = dict.fromkeys(BUCKETS, 0.0)  # set aside by calls that wait for more
        self._means = {name: _Mean() for name in BUCKETS[1:]}
        self._density = _Mean(keeps=0.99)  # input tokens per character of a request
        self._seconds = _Mean()  # of an answer
        self._under_way: dict[_Slot, float] = {}  # when each was sent
        self._look_again = -math.inf  # at those that are under way
        # Two queues: whoever waits for room must not stand before retries, which make it.
        self._starting, self._turn = asyncio.Lock(), asyncio.Lock()
        self._news = asyncio.Event()

    async def acquire(self) -> None:
        """Wait until one more call may start."""
        async with self._starting:
            while self._open >= min(self._most, self._window):
                await self._change()
            await self._admit()
        self._open += 1
        _SLOT.set(self._reserve())

    def release(self) -> None:
        """Take back a slot; what was set aside for a call that was never sent is free again."""
        slot = _SLOT.get()
        if slot is not None and slot.limit is self and not slot.is_sent:
            self._give_back(slot.amounts)
            slot.is_sent = True
        self._open -= 1
        self._news.set()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def _admit(self, needs: Mapping[str, float] | None = None) -> None:
        """Wait for an allowance, first come, first served: calls that start, retries, the rest."""
        async with self._turn:
            while (seconds := self._wait(needs or self._needs())) > 0:
                await self._change(seconds)

    def _needs(self) -> dict[str, float]:
        """What must be there for a call whose request is not known yet."""
        output = self._means["output-tokens"]
        # Answers on their way may be longer than the average: three standard deviations of them.
        unknown = 3 * output.spread * math.sqrt(self._open)
        bucket = self._buckets.get("output-tokens")
        room = FULLEST * bucket.limit if bucket else math.inf
        return {
            "requests": 1.0,
            "input-tokens": self._means["input-tokens"].value,  # `_fit` has what needs more wait
            "output-tokens": min(max(output.most, unknown), room),
        }

    async def _change(self, seconds: float | None = None) -> None:
        """Wait until something has happened, or so many seconds have passed."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def _wait(self, needs: Mapping[str, float]) -> float:
        """Seconds until every bucket holds what a call needs; 0 for now."""
        now = asyncio.get_running_loop().time()
        self._charge_long(now)
        waits = [self._blocked_until - now]
        for name, bucket in self._buckets.items():
            if name not in needs:
                continue
            need = min(needs[name] + MARGIN * bucket.limit, bucket.limit)
            waits.append((need - bucket.fill(now)) * 60 / bucket.limit)
        longest = max(waits)
        return max(longest, 0.001) if longest > 1e-9 else 0.0

    def _charge_long(self, now: float) -> None:
        """Charge answers that are long in coming for what they must have written by now."""
        if now < self._look_again or not self._seconds.value:
            return
        self._look_again = now + self._seconds.value / 8
        name = "output-tokens"
        output = self._means[name]
        speed = output.value / self._seconds.value
        for slot, sent_at in self._under_way.items():
            more = min(speed * (now - sent_at), output.most) - slot.amounts[name]
            if more > output.value / 4:  # in steps, or it would be waited for again and again
                self._charge({name: more})
                self._reserved[name] += more
                slot.amounts[name] += more

    def _expected(self, name: str) -> float:
        """What a call takes from a bucket."""
        return 1.0 if name == "requests" else self._means[name].value

    def _reserve(self) -> _Slot:
        amounts = {name: self._expected(name) for name in BUCKETS}
        for name, amount in amounts.items():
            self._reserved[name] += amount
        self._charge(amounts)
        return _Slot(self, amounts)

    def _charge(self, amounts: dict[str, float]) -> None:
        now = asyncio.get_running_loop().time()
        for name, amount in amounts.items():
            if name in self._buckets:
                self._buckets[name].fill(now)
                self._buckets[name].level -= amount

    def _give_back(self, amounts: dict[str, float]) -> None:
        self._charge({name: -amount for name, amount in amounts.items()})

    async def attempt(self, request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
        """One HTTP attempt: the middleware's work. A retry waits for an allowance of its own."""
        slot = _SLOT.get()
        if slot is None or slot.limit is not self or slot.is_sent:
            await self._admit()
            slot = self._reserve()
        slot.is_sent = True
        size = _length(request.json)
        await self._fit(slot, size)
        booked = dict(slot.amounts)
        if (seconds := await self._book(booked)) > 0:  # a sleep of 0 would let others pass
            await asyncio.sleep(seconds)
        before, sent_at = dict(self._reserved), asyncio.get_running_loop().time()
        self._under_way[slot] = sent_at
        try:
            response = await call_next(request)
        finally:
            del self._under_way[slot]
        if response.http_response.is_success:
            used = await _usage_of(response, request)
            self._settle(slot, used, size, sent_at)
            await self._book({name: used[name] - booked[name] for name in used})
        self._learn(response, before, sent_at)
        if response.status_code == 429:
            self._give_back(slot.amounts)
            self._block(response)
        self._news.set()
        return response

    async def _book(self, amounts: Mapping[str, float]) -> float:
        """Book what others must know of; seconds to wait."""
        limits = {name: bucket.limit for name, bucket in self._buckets.items()}
        return await self._share(limits, amounts) if self._share and limits and amounts else 0.0

    def _block(self, response: AsyncAPIResponse[Any]) -> None:
        """Be still until `retry-after`; the bucket that was empty is so until then."""
        self.refused += 1
        now = asyncio.get_running_loop().time()
        asked = retry_after(response.headers) or 1.0
        self._blocked_until = max(self._blocked_until, now + asked)
        if self._buckets:
            name = min(self._buckets, key=lambda name: self._buckets[name].share(now))
            bucket = self._buckets[name]
            # The headers say 0 for a bucket that is overdrawn as well: the wait tells how far.
            bucket.level = min(bucket.level, self._expected(name) - asked * bucket.limit / 60)

    async def _fit(self, slot: _Slot, size: int) -> None:
        """Set aside what a request of this size takes; one above the average waits for the rest.

        At most as much as the largest so far: images and cached text are fewer tokens.
        """
        name = "input-tokens"
        mean = self._means[name]
        more = min(self._density.most * size, mean.most) - slot.amounts[name]
        if more > 0 and self._wait({name: more}):
            self._move(slot.amounts, self._reserved, self._held)
            try:
                await self._admit({name: more})
            finally:
                self._move(slot.amounts, self._held, self._reserved)
        self._charge({name: more})
        self._reserved[name] += more
        slot.amounts[name] += more

    @staticmethod
    def _move(amounts: dict[str, float], source: dict[str, float], to: dict[str, float]) -> None:
        for name, amount in amounts.items():
            source[name] -= amount
            to[name] += amount

    def _settle(self, slot: _Slot, used: dict[str, float], size: int, sent_at: float) -> None:
        """Replace the estimate by what was used, and let more calls run at once."""
        self._window = min(self._window + 1, self._most)
        # Of calls that start together, the short answers come first: a mean of few is theirs.
        memory = max(50, 2 * self._open)
        if used:
            self._seconds.add(asyncio.get_running_loop().time() - sent_at, memory)
            self._density.add(used["input-tokens"] / max(1, size))
        for name, amount in used.items():
            self._means[name].add(amount, memory)
            self._charge({name: amount - slot.amounts[name]})

    def _learn(
        self, response: AsyncAPIResponse[Any], before: dict[str, float], sent_at: float
    ) -> None:
        """Correct each level by what the API says is left.

        The figure is up to as old as the answer took. It may or may not contain what was sent and
        what was filled up since, so the truth lies between it less all of the one and it plus what
        the other is more; a level outside is moved to the edge.
        """
        now = asyncio.get_running_loop().time()
        for name in BUCKETS:
            limit = _number(response, f"anthropic-ratelimit-{name}-limit")
            left = _number(response, f"anthropic-ratelimit-{name}-remaining")
            if limit is None or limit < 1 or left is None or left < 0:
                continue
            spare = MARGIN * limit / 2  # for the estimates among what was sent since
            since, filled = self._reserved[name] - before[name], (now - sent_at) * limit / 60
            left -= self._held[name]
            least, most = left - since - spare, left + max(0.0, filled - since)
            bucket = self._buckets.setdefault(name, _Bucket(int(limit), least, now))
            bucket.limit = int(limit)
            bucket.level = min(max(bucket.fill(now), least), most)


class _Watch(Middleware):
    """Shows an `AdaptiveLimit` every attempt at a message."""

    def __init__(self, limit: AdaptiveLimit) -> None:
        self._limit = limit

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        if not request.options.url.partition("?")[0].endswith("/messages"):
            return await call_next(request)  # counting tokens and batches have limits of their own
        return await self._limit.attempt(request, call_next)


def _number(response: AsyncAPIResponse[Any], name: str) -> float | None:
    """A header's number; None for one that is none."""
    with suppress(KeyError, ValueError):
        value = float(response.headers[name])
        return value if math.isfinite(value) else None
    return None


def _length(value: object) -> int:
    """Characters of all strings in a request's body."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_length, value.values()))
    return sum(map(_length, value)) if isinstance(value, list | tuple) else 0


async def _usage_of(response: AsyncAPIResponse[Any], request: APIRequest) -> dict[str, float]:
    """What an answer took from the token buckets; nothing is known of a stream before its end."""
    usage = None if request.stream else getattr(await response.parse(), "usage", None)
    fresh, output = _tokens(usage, "input_tokens"), _tokens(usage, "output_tokens")
    if fresh is None or output is None:
        return {}
    fresh += _tokens(usage, "cache_creation_input_tokens") or 0  # what is read does not count
    return {"input-tokens": fresh, "output-tokens": output}


def _tokens(usage: object, name: str) -> float | None:
    """An amount of a usage; None for one that is none: the SDK does not check what comes."""
    value = getattr(usage, name, None)
    return float(value) if isinstance(value, int | float) and 0 <= value < math.inf else None
