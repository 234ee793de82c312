"""Token buckets that are taken from all at once or not at all, in one process or on one Redis.

For a budget of requests, input tokens and output tokens per minute that many callers share. A
reservation that has to wait is booked at once and used later, so waiting is in order and nobody
polls. Not for exact quotas per calendar day: a bucket forgives after a minute.

Taught in chapter 01.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from patterns.policy.wire import PolicyDenied

MINUTE: Final = 60.0


class Cost(NamedTuple):
    """What a call takes, or what is given back: requests, input tokens, output tokens."""

    requests: float = 0
    input: float = 0
    output: float = 0


@dataclass(frozen=True)
class Limits:
    """Per minute: requests, input tokens, output tokens. None does not limit; 0 allows nothing.

    A bucket holds one minute's worth and refills continuously, as the API's own do.
    """

    rpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("rpm", self.rpm), ("itpm", self.itpm), ("otpm", self.otpm)):
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; give a number from 0, or None for no limit.")

    @property
    def capacities(self) -> tuple[float | None, ...]:
        """The three limits, in the order of `Cost`."""
        return self.rpm, self.itpm, self.otpm


class Throttled(PolicyDenied):
    """The budget does not allow the call now.

    Attributes:
        wait: seconds after which it would; None if it never would.
    """

    rule = "rate-limit"

    def __init__(self, message: str, wait: float | None) -> None:
        self.wait = wait
        super().__init__(message)


class AboveCapacity(Throttled):
    """One call costs more than a full bucket holds, so waiting does not help."""

    rule = "above-capacity"

    def __init__(self, what: str, cost: float, capacity: float) -> None:
        self.cost, self.capacity = cost, capacity
        super().__init__(
            f"the call needs {cost:g} {what}, a full bucket holds {capacity:g}; make it smaller.",
            None,
        )


class StoreFull(Exception):
    """More keys are in use within a minute than the store may remember."""


class Grant(NamedTuple):
    """The store's answer: whether the cost is booked, and how many seconds to wait."""

    granted: bool
    wait: float


class Store(Protocol):
    """Where the levels are kept. Both methods are atomic over the three buckets of a key."""

    def reserve(self, key: str, limits: Limits, cost: Cost, max_wait: float) -> Grant:
        """Book the cost if that is possible within `max_wait` seconds; otherwise change nothing."""
        ...

    def adjust(
        self, key: str, limits: Limits, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """Give back (or take, if negative), cap the levels, and let nobody in for a while."""
        ...

    async def reserve_async(self, key: str, limits: Limits, cost: Cost, max_wait: float) -> Grant:
        """`reserve` without blocking the event loop."""
        ...

    async def adjust_async(
        self, key: str, limits: Limits, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """`adjust` without blocking the event loop."""
        ...


def check_capacity(limits: Limits, cost: Cost) -> None:
    """Refuse at once what no waiting makes possible.

    Raises:
        AboveCapacity: a part of the cost is more than a full bucket, or the limit is zero.
    """
    names = ("requests", "input tokens", "output tokens")
    for what, part, capacity in zip(names, cost, limits.capacities, strict=True):
        if capacity is not None and part > capacity:
            raise AboveCapacity(what, part, capacity)


class TokenBucket:
    """A level that refills continuously up to its capacity, and may be overdrawn.

    Args:
        capacity: tokens in a full bucket, and per minute.
        now: seconds on any clock; one that runs backwards refills nothing.
    """

    __slots__ = ("at", "capacity", "level")

    def __init__(self, capacity: float, now: float) -> None:
        self.capacity, self.level, self.at = capacity, float(capacity), now

    def refill(self, now: float) -> None:
        """Bring the level up to `now`."""
        if now > self.at:
            self.level = min(self.capacity, self.level + (now - self.at) * self.capacity / MINUTE)
            self.at = now

    def wait(self, cost: float) -> float:
        """Seconds until the level covers `cost`, as of the last refill."""
        missing = cost - self.level
        if missing <= 0 or cost <= 0:
            return 0.0
        return missing * MINUTE / self.capacity if self.capacity else float("inf")

    def add(self, tokens: float) -> None:
        """Give back, or take if negative; never above the capacity."""
        self.level = min(self.capacity, self.level + tokens)


class _Account:
    """The buckets of one key; None where nothing is limited."""

    __slots__ = ("buckets", "held_until", "limits", "now")

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits, self.now, self.held_until = limits, now, now
        self.buckets = [
            None if capacity is None else TokenBucket(capacity, now)
            for capacity in limits.capacities
        ]

    def wait(self, cost: Cost, now: float) -> float:
        now = self.now = max(self.now, now)  # a clock that runs backwards stands still
        wait = self.held_until - now
        for bucket, part in zip(self.buckets, cost, strict=True):
            if bucket is not None:
                bucket.refill(now)
                wait = max(wait, bucket.wait(part))
        return wait if wait > 0 else 0.0

    def add(self, give: Cost, sign: int) -> None:
        for bucket, part in zip(self.buckets, give, strict=True):
            if bucket is not None:
                bucket.add(sign * part)

    def idle(self, now: float) -> bool:
        """Whether a fresh account would be no different."""
        self.wait(Cost(), now)
        full = all(one is None or one.level >= one.capacity for one in self.buckets)
        return full and self.held_until <= self.now


class MemoryStore:
    """Levels of one process; eight processes with one each admit eight times the limit.

    Args:
        clock: monotonic seconds.
        max_keys: keys to remember. One that has refilled makes room; if none has, the store is
            full rather than forgetful.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, max_keys: int = 100_000
    ) -> None:
        self._clock, self._max_keys = clock, max_keys
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._accounts)

    def reserve(self, key: str, limits: Limits, cost: Cost, max_wait: float) -> Grant:
        """Book the cost if that is possible within `max_wait` seconds; otherwise change nothing."""
        now = self._clock()
        with self._lock:
            account = self._account(key, limits, now)
            wait = account.wait(cost, now)
            if wait > max_wait:
                return Grant(False, wait)
            account.add(cost, -1)
            return Grant(True, wait)

    def adjust(
        self, key: str, limits: Limits, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """Give back (or take, if negative), cap the levels, and let nobody in for a while."""
        now = self._clock()
        with self._lock:
            account = self._account(key, limits, now)
            account.wait(give, now)
            account.add(give, 1)
            account.held_until = max(account.held_until, account.now + hold)
            for bucket, most in zip(account.buckets, at_most or (), strict=False):
                if bucket is not None:
                    bucket.level = min(bucket.level, most)

    async def reserve_async(self, key: str, limits: Limits, cost: Cost, max_wait: float) -> Grant:
        """`reserve`; memory does not block."""
        return self.reserve(key, limits, cost, max_wait)

    async def adjust_async(
        self, key: str, limits: Limits, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """`adjust`; memory does not block."""
        self.adjust(key, limits, give, at_most, hold)

    def levels(self, key: str, limits: Limits) -> tuple[float | None, ...]:
        """The three levels now, None where nothing is limited; to look at, not to decide by."""
        now = self._clock()
        with self._lock:
            account = self._account(key, limits, now)
            account.wait(Cost(), now)
            return tuple(None if one is None else one.level for one in account.buckets)

    def _account(self, key: str, limits: Limits, now: float) -> _Account:
        account = self._accounts.get(key)
        if account is not None and account.limits is limits:
            self._accounts.move_to_end(key)
            return account
        if account is None or account.limits != limits:
            if account is None and len(self._accounts) >= self._max_keys:
                self._make_room(now)
            account = self._accounts[key] = _Account(limits, now)
        self._accounts.move_to_end(key)
        return account

    def _make_room(self, now: float) -> None:
        oldest, account = next(iter(self._accounts.items()))
        if not account.idle(now):
            raise StoreFull(
                f"{self._max_keys} keys are in use within a minute; raise max_keys or use Redis."
            )
        del self._accounts[oldest]


_SCRIPT: Final = """
-- KEYS[1] one hash per key: level and hold. ARGV: mode, max_wait or hold, then for each of the
-- three buckets its capacity (-1: none), what it costs or gets, and the most it may hold (-1: any).
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local saved = redis.call('HMGET', KEYS[1], 'at', 'hold', '1', '2', '3')
local at, hold = tonumber(saved[1]) or now, tonumber(saved[2]) or 0
if now < at then now = at end  -- a clock that runs backwards stands still
local passed = now - at
local levels, wait = {}, math.max(0, hold - now)
for i = 1, 3 do
  local capacity, part = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  if capacity >= 0 then
    local level = tonumber(saved[i + 2]) or capacity
    levels[i] = math.min(capacity, level + passed * capacity / 60)
    if ARGV[1] == 'reserve' and part > 0 and part > levels[i] then
      wait = math.max(wait, (part - levels[i]) * 60 / capacity)
    end
  end
end
if ARGV[1] == 'reserve' then
  if wait > tonumber(ARGV[2]) then return {0, string.format('%.6f', wait)} end
else
  hold = math.max(hold, now + tonumber(ARGV[2]))
end
local full = math.max(0, hold - now)
for i = 1, 3 do
  local capacity, part = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  if capacity >= 0 then
    local sign, most = (ARGV[1] == 'reserve') and -1 or 1, tonumber(ARGV[3 * i + 2])
    local level = math.min(capacity, levels[i] + sign * part)
    if most >= 0 then level = math.min(level, most) end
    redis.call('HSET', KEYS[1], tostring(i), string.format('%.6f', level))
    if capacity > 0 then full = math.max(full, (capacity - level) * 60 / capacity) end
  end
end
redis.call('HSET', KEYS[1], 'at', string.format('%.6f', now),
           'hold', string.format('%.6f', hold))
redis.call('PEXPIRE', KEYS[1], math.ceil(full * 1000) + 1000)
return {1, string.format('%.6f', wait)}
"""
"""One round trip, atomic. Redis' own clock counts, and a key vanishes when it is full again."""


class RedisStore:
    """Levels that all processes share: eight of them together admit the limit once.

    Args:
        client: a `redis.Redis`, for sync clients; give it a socket timeout.
        async_client: a `redis.asyncio.Redis`, for async clients.
        prefix: of the Redis keys. The rest is in braces, so a cluster keeps a key on one node.
    """

    def __init__(
        self, client: Any = None, async_client: Any = None, *, prefix: str = "claude-limit"
    ) -> None:
        self._prefix = prefix
        self._script = client.register_script(_SCRIPT) if client is not None else None
        self._async_script = async_client.register_script(_SCRIPT) if async_client else None

    def reserve(self, key: str, limits: Limits, cost: Cost, max_wait: float) -> Grant:
        """Book the cost if that is possible within `max_wait` seconds; otherwise change nothing."""
        granted, wait = self._sync()(**self._call(key, "reserve", max_wait, limits, cost))
        return Grant(bool(granted), float(wait))

    def adjust(
        self, key: str, limits: Limits, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """Give back (or take, if negative), cap the levels, and let nobody in for a while."""
        self._sync()(**self._call(key, "adjust", hold, limits, give, at_most))

    async def reserve_async(self, key: str, limits: Limits, cost: Cost, max_wait: float) -> Grant:
        """`reserve` over the async client."""
        call = self._call(key, "reserve", max_wait, limits, cost)
        granted, wait = await self._async()(**call)
        return Grant(bool(granted), float(wait))

    async def adjust_async(
        self, key: str, limits: Limits, give: Cost, at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """`adjust` over the async client."""
        await self._async()(**self._call(key, "adjust", hold, limits, give, at_most))

    def _sync(self) -> Any:
        if self._script is None:
            raise ValueError("this RedisStore has no sync client; pass RedisStore(redis.Redis()).")
        return self._script

    def _async(self) -> Any:
        if self._async_script is None:
            raise ValueError("this RedisStore has no async client; pass it as async_client=.")
        return self._async_script

    def _call(
        self,
        key: str,
        mode: str,
        seconds: float,
        limits: Limits,
        parts: Cost,
        at_most: Cost | None = None,
    ) -> dict[str, Any]:
        arguments: list[Any] = [mode, seconds]
        for capacity, part, most in zip(
            limits.capacities, parts, at_most or (-1, -1, -1), strict=True
        ):
            arguments += [-1 if capacity is None else capacity, part, min(most, 1e15)]
        return {"keys": [f"{self._prefix}:{{{key}}}"], "args": arguments}
