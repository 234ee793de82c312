"""Stay inside the API's limits, or your own per user, without asking the API to say no.

Reserve what a call may cost, send it, settle what it did cost. The API counts requests, input
tokens and output tokens in buckets of their own, so this does too, all or nothing. Innermost of
the policies: a call that another one denies costs nothing here. Not a queue for hours: `max_wait`
bounds it, and work that can wait longer belongs into a batch.

Taught in chapter 01.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from typing import Any, Final, Literal

import anyio
from anthropic import (
    APIRequest,
    APIResponse,
    AsyncAPIResponse,
    AsyncCallNext,
    CallNext,
    Middleware,
)

from patterns.policy.buckets import (
    AboveCapacity,
    Cost,
    Grant,
    Limits,
    MemoryStore,
    RedisStore,
    Store,
    StoreFull,
    Throttled,
    TokenBucket,
    check_capacity,
)
from patterns.policy.responses import (
    AnyResponse,
    Ending,
    Watch,
    http_of,
    is_open,
    json_of,
    must_read,
    through,
)
from patterns.policy.wire import (
    BATCH,
    COUNT,
    CREATE,
    Json,
    PolicyDenied,
    endpoint_of,
    note,
    texts_of,
)

__all__ = [
    "AboveCapacity",
    "Cost",
    "Limits",
    "MemoryStore",
    "RateLimit",
    "RedisStore",
    "StoreFull",
    "StoreUnavailable",
    "Throttled",
    "TokenBucket",
]

LONGEST_HOLD: Final = 3600.0
"""Seconds for which a `retry-after` is believed."""

_REMAINING: Final = (
    b"anthropic-ratelimit-requests-remaining",
    b"anthropic-ratelimit-input-tokens-remaining",
    b"anthropic-ratelimit-output-tokens-remaining",
)


class StoreUnavailable(PolicyDenied):
    """The limiter cannot be asked, and `on_store_error` says to deny.

    Attributes:
        error: class name of what the store raised.
    """

    rule = "limiter-unavailable"

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(
            f"the rate limit store failed ({error}); restore it, or allow with on_store_error."
        )


def estimate_tokens(body: Json) -> int:
    """Roughly what a body costs as input: 3.5 bytes of text a token, 1,600 for an image or file.

    A high guess is settled a second later; a low one lets too many in.
    """
    size = sum(len(slot.text.encode("utf-8", "replace")) for run in texts_of(body) for slot in run)
    return 8 + int(size / 3.5) + 1_600 * _attachments(body.get("messages"))


def _attachments(value: Any) -> int:
    if isinstance(value, str):
        return 0
    if isinstance(value, list):
        return sum(map(_attachments, value))
    if not isinstance(value, Mapping):
        return 0
    own = value.get("type") in ("base64", "url", "file")
    return own + sum(map(_attachments, value.values()))


def per_model(request: APIRequest) -> str:
    """One budget per model, as the API keeps them."""
    body = request.json
    return str(body.get("model", "batches")) if isinstance(body, Mapping) else "other"


class RateLimit(Middleware):
    """Reserve, settle and refund a budget per key.

    A message reserves one request, its estimated input and its `max_tokens`; counting tokens and
    creating a batch cost one request, since the API keeps the tokens of batches apart. Retries of
    a call are one request here. A response's own limit headers and `retry-after` are obeyed.

    Args:
        limits: per minute and key.
        store: `MemoryStore` for one process, `RedisStore` for many.
        key: whose budget a request takes from.
        max_wait: seconds that a call may wait for its turn before it is `Throttled`.
        on_store_error: `deny`, or `allow` with a note in the audit row.
        estimate: input tokens of a body.
        sleep, sleep_async: how to wait.
    """

    def __init__(
        self,
        limits: Limits,
        store: Store | None = None,
        *,
        key: Callable[[APIRequest], str] = per_model,
        max_wait: float = 30.0,
        on_store_error: Literal["deny", "allow"] = "deny",
        estimate: Callable[[Json], int] = estimate_tokens,
        sleep: Callable[[float], None] = time.sleep,
        sleep_async: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.limits, self.key = limits, key
        self.store: Store = MemoryStore() if store is None else store
        self.max_wait, self.on_store_error, self.estimate = max_wait, on_store_error, estimate
        self._sleep, self._sleep_async = sleep, sleep_async

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        price = self._price(request)
        wait = self._reserve(*price) if price else None
        if price is None or wait is None:
            return call_next(request)
        key, cost = price
        unused = cost
        try:
            if wait:
                self._sleep(wait)
            unused = cost._replace(requests=0)
            response = call_next(request)
            if must_read(response):
                response.read()
        except BaseException as error:
            self._adjust(key, cost if isinstance(error, PolicyDenied) else unused)
            raise
        if is_open(request, response):
            self._adjust(key, Cost(), *_told(response))
            settle = Watch(lambda ending: self._adjust(key, _left(cost, ending)))
            return through(response, settle)
        self._adjust(key, _settled(cost, response), *_told(response))
        return response

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        price = self._price(request)
        wait = await self._reserve_async(*price) if price else None
        if price is None or wait is None:
            return await call_next(request)
        key, cost = price
        unused = cost
        try:
            if wait:
                await self._sleep_async(wait)
            unused = cost._replace(requests=0)
            response = await call_next(request)
            if must_read(response):
                await response.read()
        except BaseException as error:
            await self._adjust_async(key, cost if isinstance(error, PolicyDenied) else unused)
            raise
        if is_open(request, response):
            await self._adjust_async(key, Cost(), *_told(response))
            settle = Watch(lambda ending: self._adjust_async(key, _left(cost, ending)))
            return through(response, settle)
        await self._adjust_async(key, _settled(cost, response), *_told(response))
        return response

    def _price(self, request: APIRequest) -> tuple[str, Cost] | None:
        """Whose budget, and how much of it; None for calls that cost nothing."""
        endpoint, body = endpoint_of(request), request.json
        if endpoint not in (CREATE, COUNT, BATCH) or not isinstance(body, Mapping):
            return None
        cost = Cost(requests=0 if request.retries_taken else 1)
        if endpoint == CREATE:
            most = body.get("max_tokens")
            output = most if isinstance(most, int) else 0
            cost = cost._replace(input=self.estimate(body), output=output)
        check_capacity(self.limits, cost)
        return self.key(request), cost

    def _reserve(self, key: str, cost: Cost) -> float | None:
        """Seconds to wait before the call; None when the store is down and that is allowed."""
        try:
            grant = self.store.reserve(key, self.limits, cost, self.max_wait)
        except Exception as error:
            self._without_store(error)
            return None
        return self._wait(grant)

    async def _reserve_async(self, key: str, cost: Cost) -> float | None:
        try:
            grant = await self.store.reserve_async(key, self.limits, cost, self.max_wait)
        except Exception as error:
            self._without_store(error)
            return None
        return self._wait(grant)

    def _without_store(self, error: Exception) -> None:
        note("limiter", f"{type(error).__name__}: {self.on_store_error}")
        if self.on_store_error == "deny":
            raise StoreUnavailable(type(error).__name__) from None

    def _wait(self, grant: Grant) -> float:
        if not grant.granted:
            raise Throttled(
                f"the budget is used up for {grant.wait:.1f} s, max_wait is {self.max_wait:g} s; "
                "ask again then, or raise the limits.",
                grant.wait,
            )
        return grant.wait

    def _adjust(self, key: str, give: Cost, at_most: Cost | None = None, hold: float = 0) -> None:
        """Settle; the call has been made, so a store that fails now is noted and no more."""
        try:
            self.store.adjust(key, self.limits, give, at_most, hold)
        except Exception as error:
            note("limiter", f"{type(error).__name__}: not settled")

    async def _adjust_async(
        self, key: str, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        try:
            await self.store.adjust_async(key, self.limits, give, at_most, hold)
        except Exception as error:
            note("limiter", f"{type(error).__name__}: not settled")

    def __repr__(self) -> str:
        return f"RateLimit({type(self.store).__name__})"


def _settled(cost: Cost, response: AnyResponse) -> Cost:
    """What to give back after a whole response: all tokens of a failure, else what was unused."""
    if not http_of(response).is_success:
        return cost._replace(requests=0)
    usage = (json_of(response) or {}).get("usage")
    return _unused(cost, usage) if isinstance(usage, Mapping) else Cost()


def _left(cost: Cost, ending: Ending) -> Cost:
    """What to give back after a stream: one that was broken off keeps its output reservation."""
    if not ending.usage:
        return cost._replace(requests=0) if ending.how == "failed" else Cost()
    left = _unused(cost, ending.usage)
    return left if ending.stop_reason is not None else left._replace(output=0)


def _unused(cost: Cost, usage: Mapping[str, Any]) -> Cost:
    """Cache reads do not count towards the input limit of current models."""
    used = (usage.get("input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    return Cost(0, cost.input - used, cost.output - (usage.get("output_tokens") or 0))


def _told(response: AnyResponse) -> tuple[Cost | None, float]:
    """What the API says itself: the most that is left, and how long to stay away."""
    told = {
        name.lower(): value
        for name, value in http_of(response).headers.raw  # one pass: a lookup costs as much
        if name[:9].lower() in (b"anthropic", b"retry-aft")
    }
    most = [_number(told.get(name), inf) for name in _REMAINING]
    hold = 0.0
    if response.status_code == 429:
        hold = _number(told.get(b"retry-after-ms"), 0) / 1000
        hold = hold or _number(told.get(b"retry-after"), 0)
    return (None if min(most) == inf else Cost(*most)), min(hold, LONGEST_HOLD)


def _number(text: bytes | None, otherwise: float) -> float:
    try:
        value = float(text or b"")
    except ValueError:
        return otherwise
    return value if 0 <= value < inf else otherwise
