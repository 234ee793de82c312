"""Stay inside the API's limits, or your own per user, without asking the API to say no.

Reserve what a call may cost, send it, settle what it did cost. The API counts requests, input
tokens and output tokens in buckets of their own, so this does too, all or nothing, and in as many
budgets as an organisation nests. Innermost of the policies: a call that another one denies costs
nothing here. Not a queue for hours: `max_wait` bounds it, and work that can wait longer belongs
into a batch.

Taught in chapter 01.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, Final, Literal, NamedTuple

import anyio
from anthropic import APIRequest

from patterns.core.retrying import retry_after
from patterns.policy.budgets import AboveCapacity as AboveCapacity
from patterns.policy.budgets import Charge, check_capacity
from patterns.policy.budgets import Cost as Cost
from patterns.policy.budgets import Limits as Limits
from patterns.policy.budgets import MemoryStore as MemoryStore
from patterns.policy.budgets import Store as Store
from patterns.policy.budgets import StoreFull as StoreFull
from patterns.policy.budgets import Throttled as Throttled
from patterns.policy.budgets import TokenBucket as TokenBucket
from patterns.policy.flow import Do, Flow, Policy, PolicyDenied, note
from patterns.policy.responses import AnyResponse, Ending, ended, headers_of, is_open, whole
from patterns.policy.view import BATCH, COUNT, CREATE, Item, View, view_of

_REMAINING: Final = (
    b"anthropic-ratelimit-requests-remaining",
    b"anthropic-ratelimit-input-tokens-remaining",
    b"anthropic-ratelimit-output-tokens-remaining",
)
_EVERYBODY: Final = Charge("everybody", Limits(), Cost())
"""Limits nothing; a 429 of the organisation holds it, and with it everybody."""


class StoreUnavailable(PolicyDenied):
    """The limiter cannot be asked, and `on_store_error` says to deny.

    Attributes:
        error: class name of what the store raised.
    """

    rule, status = "limiter-unavailable", 503

    def __init__(self, error: str) -> None:
        self.error = self.why = error
        super().__init__(
            f"the rate limit store failed ({error}); restore it, or allow with on_store_error."
        )


class Unpriced(PolicyDenied):
    """A dollar limit stands, and no price is known for the call."""

    rule, status = "unpriced", 422

    def __init__(self, model: str) -> None:
        super().__init__(f"no price is known for {model!r}; use a model with one, or tokens.")


class Budget(NamedTuple):
    """One of several nested budgets: its limits, and whose it is for a request."""

    limits: Limits
    key: Callable[[APIRequest], str]


def estimate_tokens(item: Item) -> int:
    """Roughly what a body costs as input: 3.5 bytes of text a token, 1,600 for an image or file.

    A high guess is settled a second later; a low one lets too many in.
    """
    texts = item.texts
    size = sum([len(text.encode("utf-8", "replace")) for text in texts.joined])
    return 8 + int(size / 3.5) + 1_600 * (texts.images + texts.documents)


def per_model(request: APIRequest) -> str:
    """One budget per model, as the API keeps them."""
    return str(view_of(request).body.get("model", "batches"))


Price = Callable[[str, Mapping[str, Any]], Any]
"""Dollars of a `usage` on a model, or None; `patterns.core.pricing.cost_usd` is one."""


class RateLimit(Policy):
    """Reserve, settle and refund a budget per key, or several nested ones.

    A message reserves one request, its estimated input and its `max_tokens`; counting tokens costs
    one request; a batch costs what its items may cost, and keeps that. Retries of a call are one
    request here. A response's own limit headers and `retry-after` are obeyed, by everybody.

    Args:
        limits: per minute and key, and in dollars; or `Budget`s, the narrowest first: all of them
            allow a call, or none is charged.
        store: `MemoryStore` for one process, `RedisStore` for many.
        key: whose budget a request takes from, where `limits` are one.
        price: dollars of a usage, such as `cost_usd`; needed for limits in dollars.
        max_wait: seconds that a call may wait for its turn before it is `Throttled`.
        on_store_error: `deny`, or `allow` with a note in the audit row.
        sleep, sleep_async: how to wait.
    """

    def __init__(
        self,
        limits: Limits | Sequence[Budget],
        store: Store | None = None,
        *,
        key: Callable[[APIRequest], str] = per_model,
        price: Price | None = None,
        max_wait: float = 30.0,
        on_store_error: Literal["deny", "allow"] = "deny",
        sleep: Callable[[float], None] = time.sleep,
        sleep_async: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        nested = [Budget(limits, key)] if isinstance(limits, Limits) else list(limits)
        self.budgets, self.limits = nested, nested[-1].limits
        self.store: Store = MemoryStore() if store is None else store
        self.max_wait, self.on_store_error = max_wait, on_store_error
        self._sleep, self._sleep_async = sleep, sleep_async
        in_dollars = any(
            {one.limits.usd_per_day, one.limits.usd_per_month} - {None} for one in nested
        )
        self._price = price if in_dollars else None
        if in_dollars and price is None:
            raise ValueError("limits in dollars need prices; pass price=cost_usd of core.pricing.")

    def flow(self, request: APIRequest) -> Flow:
        view = view_of(request)
        if view.endpoint not in (CREATE, COUNT, BATCH):
            return (yield request)
        cost, models = self._cost(view, request.retries_taken), view.items[0].action.models
        keys = [budget.key(request) for budget in self.budgets]
        for budget in self.budgets:
            check_capacity(budget.limits, cost)
        wait = yield from self._reserve(self._charges(keys, cost))
        if wait is None:  # pragma: no branch  # Python 3.11 does not trace the end of a throw()
            return (yield request)
        unused = cost
        try:
            if wait:
                yield Do(lambda: self._sleep(wait), lambda: self._sleep_async(wait))
            unused = cost._replace(requests=0)
            response = yield request
            yield from whole(response)
        except BaseException as error:
            unspent = cost if isinstance(error, PolicyDenied) else unused
            yield self._adjust(self._charges(keys, unspent))
            raise
        told = _told(response)
        if is_open(response):
            yield self._adjust(self._charges(keys, Cost()), *told)
            told = None, 0.0

        def settle(ending: Ending) -> Do:
            give = self._unused(cost, ending, models)
            return self._adjust(self._charges(keys, give), *told)

        return (yield from ended(response, settle))  # a dropped stream keeps its reservation

    def _charges(self, keys: list[str], cost: Cost) -> list[Charge]:
        nested = zip(keys, self.budgets, strict=True)
        return [*(Charge(key, one.limits, cost) for key, one in nested), _EVERYBODY]

    def _cost(self, view: View, retries: int) -> Cost:
        cost = Cost(requests=0 if retries else len(view.items))
        if view.endpoint == COUNT:
            return cost
        for item in view.items:
            taken, most = estimate_tokens(item), item.action.max_tokens or 0
            usage = {"input_tokens": taken, "output_tokens": most}
            usd = self._usd(item.action.models, usage, batch=view.endpoint == BATCH)
            cost = Cost(cost[0], cost[1] + taken, cost[2] + most, cost[3] + usd)
        return cost

    def _usd(
        self, models: Sequence[str], usage: Mapping[str, Any], *, batch: bool = False
    ) -> float:
        """Dollars, of the dearest model that may answer."""
        if self._price is None:
            return 0.0
        full = {**usage, "service_tier": "batch"} if batch else usage
        prices = [(model, self._price(model, full)) for model in models]
        for model, price in prices:
            if price is None:
                raise Unpriced(model)
        return max(float(price) for _, price in prices)

    def _reserve(self, charges: list[Charge]) -> Flow:
        """Seconds to wait for the turn; None when the store is down and that is allowed."""
        try:
            granted, wait = yield Do(lambda: self.store.reserve(charges, self.max_wait))
        except Exception as error:
            note("limiter", f"{type(error).__name__}: {self.on_store_error}")
            if self.on_store_error == "deny":
                raise StoreUnavailable(type(error).__name__) from None
            granted, wait = True, None
        if not granted:
            raise Throttled(
                f"the budget is used up for {wait:.1f} s, max_wait is {self.max_wait:g} s; "
                "ask again then, or raise the limits.",
                wait,
            )
        return wait

    def _adjust(self, charges: list[Charge], at_most: Cost | None = None, hold: float = 0) -> Do:
        """Settle; the call has been made, so a store that fails now is noted and no more.

        What the API says is left belongs to the widest budget; what it says to wait, to everybody.
        """
        steps = [partial(self.store.adjust, charges[:-1], at_most)]
        if hold:
            steps.append(partial(self.store.adjust, charges[-1:], None, hold))

        def sync() -> None:
            with _noting():
                for step in steps:
                    step()

        async def other() -> None:
            with _noting():
                for step in steps:
                    await Do(step).awaited()

        return Do(sync, other)

    def _unused(self, cost: Cost, ending: Ending, models: Sequence[str]) -> Cost:
        """What to give back: of a failure, all tokens. Cache reads count towards no input limit.

        A batch keeps its reservation, since its usage is known only with its results, and so does
        a stream that broke off before its end, for its output.
        """
        usage = ending.usage
        if ending.how == "whole" and ending.error is not None:
            return cost._replace(requests=0)
        if not usage:
            return cost._replace(requests=0) if ending.how == "failed" else Cost()
        used = (usage.get("input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
        if ending.stop_reason is None:
            return Cost(input=cost.input - used)
        answered = str(ending.message.get("model"))
        usd = cost.usd - self._usd([answered] if answered in models else models, usage)
        return Cost(0, cost.input - used, cost.output - (usage.get("output_tokens") or 0), usd)

    def __repr__(self) -> str:
        return f"RateLimit({type(self.store).__name__})"


@contextmanager
def _noting() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        note("limiter", f"{type(error).__name__}: not settled")


def _told(response: AnyResponse) -> tuple[Cost | None, float]:
    """What the API says itself: the most that is left, and how long to stay away."""
    told = headers_of(response)
    most = [_number(told[name]) if name in told else inf for name in _REMAINING]
    hold = (response.status_code == 429 and retry_after(response.headers)) or 0.0
    return (None if min(most) == inf else Cost(*most)), hold


def _number(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        return inf
    return value if 0 <= value < inf else inf
