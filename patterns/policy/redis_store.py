"""Budgets and owners that all processes share: eight of them together admit the limit once.

One round trip and one Lua script per decision, on Redis' own clock. Needs `redis`.

Taught in chapter 01.
"""

import time
from collections.abc import Callable, Sequence
from inspect import isawaitable
from typing import Any, Final

from patterns.policy.budgets import Charge, Cost, Grant

_SCRIPT: Final = """
-- KEYS: one hash per budget, the widest last. ARGV: mode, max_wait or hold, then for each budget
-- three buckets of (capacity or -1, part, most or -1), dollars, number of periods, and for each
-- period its name, limit and seconds left.
local clock = redis.call('TIME')
local time = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local reserving, wait, at_arg, budgets = ARGV[1] == 'reserve', 0, 3, {}
for k = 1, #KEYS do
  local saved = redis.call('HMGET', KEYS[k], 'at', 'hold', '1', '2', '3')
  local at, hold, now = tonumber(saved[1]) or time, tonumber(saved[2]) or 0, time
  if now < at then now = at end  -- a clock that runs backwards stands still
  local one = {now = now, hold = hold, levels = {}, caps = {}, parts = {}, most = {}, periods = {}}
  wait = math.max(wait, hold - now)
  for i = 1, 3 do
    local capacity, part = tonumber(ARGV[at_arg]), tonumber(ARGV[at_arg + 1])
    one.caps[i], one.parts[i], one.most[i] = capacity, part, tonumber(ARGV[at_arg + 2])
    at_arg = at_arg + 3
    if capacity >= 0 then
      local level = tonumber(saved[i + 2]) or capacity
      one.levels[i] = math.min(capacity, level + (now - at) * capacity / 60)
      if reserving and part > 0 and part > one.levels[i] then
        wait = math.max(wait, (part - one.levels[i]) * 60 / capacity)
      end
    end
  end
  one.usd = tonumber(ARGV[at_arg])
  local count = tonumber(ARGV[at_arg + 1])
  at_arg = at_arg + 2
  for p = 1, count do
    local name, limit, lasts = ARGV[at_arg], tonumber(ARGV[at_arg + 1]), tonumber(ARGV[at_arg + 2])
    local spent = tonumber(redis.call('HGET', KEYS[k], name)) or 0
    if reserving and one.usd > 0 and spent + one.usd > limit then wait = math.max(wait, lasts) end
    one.periods[p] = {name = name, spent = spent, lasts = lasts}
    at_arg = at_arg + 3
  end
  budgets[k] = one
end
if reserving and wait > tonumber(ARGV[2]) then return {0, string.format('%.6f', wait)} end
for k = 1, #KEYS do
  local one, sign = budgets[k], reserving and -1 or 1
  if not reserving and k == #KEYS then
    one.hold = math.max(one.hold, one.now + tonumber(ARGV[2]))
  end
  local full = math.max(0, one.hold - one.now)
  for i = 1, 3 do
    if one.caps[i] >= 0 then
      local level = math.min(one.caps[i], one.levels[i] + sign * one.parts[i])
      if one.most[i] >= 0 then level = math.min(level, one.most[i]) end
      redis.call('HSET', KEYS[k], tostring(i), string.format('%.6f', level))
      if one.caps[i] > 0 then full = math.max(full, (one.caps[i] - level) * 60 / one.caps[i]) end
    end
  end
  for _, period in ipairs(one.periods) do
    if one.usd ~= 0 then
      local spent = math.max(0, period.spent - sign * one.usd)
      redis.call('HSET', KEYS[k], period.name, string.format('%.9f', spent))
    end
    full = math.max(full, period.lasts)
  end
  redis.call('HSET', KEYS[k], 'at', string.format('%.6f', one.now),
             'hold', string.format('%.6f', one.hold))
  redis.call('PEXPIRE', KEYS[k], math.ceil(full * 1000) + 1000)
end
return {1, string.format('%.6f', math.max(0, wait))}
"""
"""One round trip, atomic. A key vanishes when it is full again and its periods are over."""


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
        self._client, self._script = client, client.register_script(_SCRIPT)

    def reserve(self, charges: Sequence[Charge], max_wait: float) -> Any:
        """Book all the charges if that is possible within `max_wait` seconds, otherwise none."""
        found = self._script(**self._call(charges, "reserve", max_wait))
        return _then(found, lambda told: Grant(bool(told[0]), float(told[1])))

    def adjust(
        self, charges: Sequence[Charge], at_most: Cost | None = None, hold: float = 0
    ) -> Any:
        """Give back (or take, if negative); cap the levels of the last, and hold it for a while."""
        return self._script(**self._call(charges, "adjust", hold, at_most))

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
        self, charges: Sequence[Charge], mode: str, seconds: float, at_most: Cost | None = None
    ) -> dict[str, Any]:
        arguments: list[Any] = [mode, seconds]
        now = self._today()
        for index, (_, limits, cost) in enumerate(charges):
            capped = (at_most if index == len(charges) - 1 else None) or (-1, -1, -1)
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
