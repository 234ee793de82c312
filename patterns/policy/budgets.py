"""Budgets that are taken from all at once or not at all: per minute, and in dollars per period.

For requests, input tokens, output tokens and dollars that many callers share, nested as
organisations are: a user's, a team's, the organisation's. A reservation that has to wait is booked
at once and used later, so waiting is in order and nobody polls. Many processes: `redis_store`.

Taught in chapter 01.
"""

import threading
import time
from calendar import monthrange
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from patterns.policy.flow import PolicyDenied

MINUTE: Final = 60.0
DAY: Final = 86_400.0


class Cost(NamedTuple):
    """What a call takes, or what is given back: requests, input tokens, output tokens, dollars."""

    requests: float = 0
    input: float = 0
    output: float = 0
    usd: float = 0


@dataclass(frozen=True)
class Limits:
    """Per minute: requests, input and output tokens. None does not limit; 0 allows nothing.

    A bucket holds one minute's worth and refills continuously, as the API's own do. Dollars are
    counted per calendar day and month in UTC, and do not refill before it is over.
    """

    rpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None
    usd_per_day: float | None = None
    usd_per_month: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}; give a number from 0, or None for no limit.")

    @property
    def capacities(self) -> tuple[float | None, ...]:
        """The three limits per minute, in the order of `Cost`."""
        return self.rpm, self.itpm, self.otpm

    def periods(self, now: float) -> list[tuple[str, float, float]]:
        """The dollar limits that count at `now`: name of the period, limit, seconds it lasts."""
        found = []
        at = datetime.fromtimestamp(now, UTC)
        if self.usd_per_day is not None:
            found.append((f"{at:%Y-%m-%d}", self.usd_per_day, DAY - now % DAY))
        if self.usd_per_month is not None:
            days = monthrange(at.year, at.month)[1] - at.day + 1
            found.append((f"{at:%Y-%m}", self.usd_per_month, days * DAY - now % DAY))
        return found


class Charge(NamedTuple):
    """A cost to one budget: its name, its limits, what it takes."""

    key: str
    limits: Limits
    cost: Cost


class Throttled(PolicyDenied):
    """The budget does not allow the call now.

    Attributes:
        wait: seconds after which it would; None if it never would.
    """

    rule, status = "rate-limit", 429

    def __init__(self, message: str, wait: float | None) -> None:
        self.wait, self.why = wait, message
        super().__init__(message)


class AboveCapacity(Throttled):
    """One call costs more than a full budget holds, so waiting does not help."""

    rule, status = "above-capacity", 422

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
    """Where the levels are kept, and who owns what. Every method is atomic.

    For async clients the methods may return something to be waited for instead.
    """

    def reserve(self, charges: Sequence[Charge], max_wait: float) -> Any:
        """Book all the charges if that is possible within `max_wait` seconds, otherwise none.

        Returns a `Grant`.
        """
        ...

    def adjust(
        self, charges: Sequence[Charge], at_most: Cost | None = None, hold: float = 0
    ) -> Any:
        """Give back (or take, if negative); cap the levels of the last, and hold it for a while."""
        ...

    def claim(self, names: Sequence[str], owner: str) -> Any:
        """Make `owner` the owner of the ids that have none."""
        ...

    def owners(self, names: Sequence[str]) -> Any:
        """Whose each id is, None if nobody claimed it."""
        ...


def check_capacity(limits: Limits, cost: Cost) -> None:
    """Refuse at once what no waiting makes possible.

    Raises:
        AboveCapacity: a part of the cost is more than a full budget.
    """
    for what, part, capacity in (
        ("requests", cost.requests, limits.rpm),
        ("input tokens", cost.input, limits.itpm),
        ("output tokens", cost.output, limits.otpm),
        ("dollars a day", cost.usd, limits.usd_per_day),
        ("dollars a month", cost.usd, limits.usd_per_month),
    ):
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
        now = max(now, self.at)
        self.level = min(self.capacity, self.level + (now - self.at) * self.capacity / MINUTE)
        self.at = now

    def wait(self, cost: float) -> float:
        """Seconds until the level covers `cost`, as of the last refill."""
        if cost <= 0:
            return 0.0
        missing = max(0.0, cost - self.level)
        return missing * MINUTE / self.capacity if self.capacity else float("inf")

    def add(self, tokens: float) -> None:
        """Give back, or take if negative; never above the capacity."""
        self.level = min(self.capacity, self.level + tokens)


class _Account:
    """The budgets of one key. A limit that changes, or goes and comes back, keeps its level."""

    __slots__ = ("all", "buckets", "held_until", "limits", "now", "spent")

    def __init__(self, limits: Limits, now: float) -> None:
        self.now = self.held_until = now
        self.all: dict[int, TokenBucket] = {}
        self.spent: dict[str, float] = {}
        self.become(limits, now)

    def become(self, limits: Limits, now: float) -> None:
        """Take new limits."""
        self.limits = limits
        self.buckets: list[tuple[int, TokenBucket]] = []
        for index, capacity in enumerate(limits.capacities):
            if capacity is not None:
                bucket = self.all.setdefault(index, TokenBucket(capacity, now))
                bucket.refill(now)
                bucket.capacity, bucket.level = capacity, min(capacity, bucket.level)
                self.buckets.append((index, bucket))

    def wait(self, cost: Cost, now: float, today: float) -> float:
        """Seconds until all of the budgets allow it."""
        now = self.now = max(self.now, now)  # a clock that runs backwards stands still
        wait = max(0.0, self.held_until - now)
        for index, bucket in self.buckets:
            bucket.refill(now)
            wait = max(wait, bucket.wait(cost[index]))
        if cost.usd > 0:
            for period, limit, lasts in self.limits.periods(today):
                if self.spent.get(period, 0.0) + cost.usd > limit:
                    wait = max(wait, lasts)
        return wait

    def add(self, give: Cost, sign: int, today: float) -> None:
        for index, bucket in self.buckets:
            bucket.add(sign * give[index])
        if give.usd:
            self.spent = {
                period: max(0.0, self.spent.get(period, 0.0) - sign * give.usd)
                for period, _, _ in self.limits.periods(today)
            }

    def idle(self, now: float, today: float) -> bool:
        """Whether a fresh account would be no different."""
        self.wait(Cost(), now, today)
        full = all(one.level >= one.capacity for one in self.all.values())
        current = {period for period, _, _ in self.limits.periods(today)}
        return full and self.held_until <= self.now and not current & set(self.spent)


class MemoryStore:
    """Levels of one process; eight processes with one each admit eight times the limit.

    Args:
        clock: monotonic seconds.
        today: seconds since 1970, for dollars per day and month.
        max_keys: keys to remember. One that has refilled makes room; if none has, the store is
            full rather than forgetful.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
        max_keys: int = 100_000,
    ) -> None:
        self._clock, self._today, self._max_keys = clock, today, max_keys
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._accounts)

    def reserve(self, charges: Sequence[Charge], max_wait: float) -> Grant:
        """Book all the charges if that is possible within `max_wait` seconds, otherwise none."""
        now, today = self._clock(), self._today()
        with self._lock:
            found = [(self._account(key, limits, now), cost) for key, limits, cost in charges]
            wait = max([account.wait(cost, now, today) for account, cost in found])
            if wait > max_wait:
                return Grant(False, wait)
            for account, cost in found:
                account.add(cost, -1, today)
            return Grant(True, wait)

    def adjust(
        self, charges: Sequence[Charge], at_most: Cost | None = None, hold: float = 0
    ) -> None:
        """Give back (or take, if negative); cap the levels of the last, and hold it for a while."""
        now, today = self._clock(), self._today()
        with self._lock:
            for key, limits, give in charges:
                account = self._account(key, limits, now)
                account.wait(Cost(), now, today)
                account.add(give, 1, today)
            account.held_until = max(account.held_until, account.now + hold)
            if at_most is not None:
                for index, bucket in account.buckets:
                    bucket.level = min(bucket.level, at_most[index])

    def claim(self, names: Sequence[str], owner: str) -> None:
        """Make `owner` the owner of the ids that have none."""
        with self._lock:
            for name in names:
                self._owners.setdefault(name, owner)
            while len(self._owners) > self._max_keys:
                self._owners.popitem(last=False)

    def owners(self, names: Sequence[str]) -> list[str | None]:
        """Whose each id is, None if nobody claimed it."""
        with self._lock:
            return [self._owners.get(name) for name in names]

    def levels(self, key: str, limits: Limits) -> tuple[float | None, ...]:
        """The three levels now, None where nothing is limited; to look at, not to decide by."""
        now = self._clock()
        with self._lock:
            account = self._account(key, limits, now)
            account.wait(Cost(), now, self._today())
            levels = {index: bucket.level for index, bucket in account.buckets}
            return tuple(map(levels.get, range(3)))

    def _account(self, key: str, limits: Limits, now: float) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) >= self._max_keys:
                self._make_room(now)
            account = self._accounts[key] = _Account(limits, now)
        elif account.limits != limits:
            account.become(limits, now)
        self._accounts.move_to_end(key)
        return account

    def _make_room(self, now: float) -> None:
        oldest, account = next(iter(self._accounts.items()))
        if not account.idle(now, self._today()):
            raise StoreFull(
                f"{self._max_keys} keys are in use within a minute; raise max_keys or use Redis."
            )
        del self._accounts[oldest]
