"""Budgets and owners that all processes share: eight of them together admit the limit once.

One round trip and one Lua script per decision, on Redis' own clock. Needs `redis`.

Taught in chapter 01.
"""

import time
from collections.abc import Callable, Sequence
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final

from patterns.policy.budgets import Charge, Cost, Grant

_SCRIPT: Final = Path(__file__).with_name("redis_store.lua")
"""One round trip, atomic. A key vanishes when it is full again and its periods are over."""


_UNCAPPED: Final = (-1, -1, -1)


class RedisStore:
    """Levels and owners that all processes share.

    Args:
        client: a `redis.Redis` for sync clients, a `redis.asyncio.Redis` for async ones; both may
            share a prefix. Give it a socket timeout.
        prefix: of the Redis keys, in braces, so that a cluster keeps nested budgets on one node.
        today: seconds since 1970, which say what day it is for dollars per day and month.
        owned_for: seconds for which an owner is remembered after an id was claimed.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "claude-limit",
        today: Callable[[], float] = time.time,
        owned_for: int = 90 * 86_400,
    ) -> None:
        self._prefix, self._today, self._owned_for = prefix, today, owned_for
        self._client, self._script = client, client.register_script(_SCRIPT.read_text("utf-8"))

    def reserve(self, charges: Sequence[Charge], max_wait: float) -> Any:
        """Book all the charges if that is possible within `max_wait` seconds, otherwise none."""
        found = self._script(**self._call(charges, 1, max_wait))
        return _then(found, lambda told: Grant(bool(told[0]), float(told[1])))

    def adjust(
        self, charges: Sequence[Charge], at_most: Cost | None = None, hold: float = 0
    ) -> Any:
        """Give back (or take, if negative); cap the levels of the last, and hold it for a while."""
        return self._script(**self._call(charges, 0, hold, at_most))

    def claim(self, names: Sequence[str], owner: str) -> Any:
        """Make `owner` the owner of the ids that have none."""
        calls = self._client.pipeline()
        for name in names:
            calls.set(self._owned(name), owner, nx=True, ex=self._owned_for)
        return calls.execute()

    def owners(self, names: Sequence[str]) -> Any:
        """Whose each id is, None if nobody claimed it."""
        found = self._client.mget([self._owned(name) for name in names])
        return _then(found, lambda told: [one.decode() if one else None for one in told])

    def _owned(self, name: str) -> str:
        return f"{{{self._prefix}}}:owner:{name}"

    def _call(
        self, charges: Sequence[Charge], reserves: int, seconds: float, at_most: Cost | None = None
    ) -> dict[str, Any]:
        arguments: list[Any] = [reserves, seconds]
        now = self._today()
        for index, (_, limits, cost) in enumerate(charges):
            capped = (at_most if index == len(charges) - 1 else None) or _UNCAPPED
            for capacity, part, most in zip(limits.capacities, cost, capped, strict=False):
                arguments += [-1 if capacity is None else capacity, part, min(most, 1e15)]
            periods = limits.periods(now)
            arguments += [cost.usd, len(periods)]
            for period in periods:
                arguments += period
        keys = [f"{{{self._prefix}}}:{charge.key}" for charge in charges]
        return {"keys": keys, "args": arguments}


def _then(found: Any, read: Callable[[Any], Any]) -> Any:
    """What was read from an answer, at once or once it has arrived."""

    async def later() -> Any:
        return read(await found)

    return later() if isawaitable(found) else read(found)
