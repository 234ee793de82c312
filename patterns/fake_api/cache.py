"""Prompt cache accounting: what is read, what is written, what it would have been otherwise.

As documented in November 2026: up to four breakpoints; a prefix shorter than the model's minimum
is not cached and nothing says so; from each breakpoint the cache looks back over 20 blocks, the
breakpoint's own included; a hit renews the entry for its TTL; an entry can be read once the answer
that wrote it has begun, so calls in parallel each pay for the write; workspaces share nothing.

With a hit that ends at block A, B the last 1-hour breakpoint after it and C the last breakpoint
of all, a request reads A tokens, writes B - A for an hour and C - B for five minutes.

Taught in chapter 07.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from patterns.fake_api.build import Input
from patterns.fake_api.prefix import Prefix, prefix_of
from patterns.fake_api.tokens import input_tokens

LOOKBACK: Final = 20
TTL_SECONDS: Final[Mapping[str, int]] = {"5m": 300, "1h": 3600}
SWEEP_AT: Final = 10_000
"""Entries from which expired ones are thrown out before more are added."""


@dataclass(slots=True)
class _Entry:
    ttl: int
    readable_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the cache means for one request; nothing is stored until `PromptCache.store`."""

    tokens: Input
    prefix: Prefix
    hits: tuple[bytes, ...] = ()
    """Entries that the request renews."""
    writes: tuple[tuple[bytes, str], ...] = ()
    """Entries that it makes, with their TTLs."""


class PromptCache:
    """The prompt cache of one fake API."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._asked: dict[tuple[str, str], Plan] = {}

    def plan(self, body: Mapping[str, Any], minimum: int, workspace: str, now: float) -> Plan:
        """What a request reads and writes if it succeeds.

        Args:
            body: the checked request.
            minimum: the model's shortest cacheable prefix, in tokens.
            workspace: whose cache it is.
            now: when the request arrives.
        """
        prefix = prefix_of(body, workspace)
        total = input_tokens(body)
        marks = [(n, ttl) for n, ttl in prefix.breakpoints if prefix.totals[n] >= minimum]
        hit = self._longest_hit(prefix, marks, now)
        read = prefix.totals[hit] if hit >= 0 else 0
        later = [(n, ttl) for n, ttl in marks if n > hit]
        hour = max((prefix.totals[n] for n, ttl in later if ttl == "1h"), default=read)
        end = max((prefix.totals[n] for n, _ in later), default=read)
        tokens = Input(total - end, read, written_5m=end - hour, written_1h=hour - read)
        passed = {prefix.keys[n] for n, _ in marks if n <= hit} | (
            {prefix.keys[hit]} if hit >= 0 else set()
        )
        writes = tuple((prefix.keys[n], ttl) for n, ttl in later)
        return Plan(tokens, prefix, tuple(passed), writes)

    def _longest_hit(self, prefix: Prefix, marks: list[tuple[int, str]], now: float) -> int:
        """The last block of the longest readable prefix, or -1."""
        for mark, _ in reversed(marks):
            for n in range(mark, max(-1, mark - LOOKBACK), -1):
                if self._is_readable(prefix.keys[n], now):
                    return n
        return -1

    def _is_readable(self, key: bytes, now: float) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.readable_at <= now < entry.expires_at

    def store(self, plan: Plan, now: float, begins_at: float) -> None:
        """Carry a plan out: renew what was read, and write what can be read from `begins_at`."""
        for key in plan.hits:
            if self._is_readable(key, now):
                self._entries[key].expires_at = now + self._entries[key].ttl
        if plan.writes and len(self._entries) >= SWEEP_AT:
            self._entries = {k: e for k, e in self._entries.items() if e.expires_at > now}
        for key, name in plan.writes:
            ttl = TTL_SECONDS[name]
            self._entries[key] = _Entry(ttl, self._first(key, begins_at, now), begins_at + ttl)

    def _first(self, key: bytes, begins_at: float, now: float) -> float:
        """When a key can be read: an equal answer on its way may begin earlier."""
        entry = self._entries.get(key)
        alive = entry is not None and entry.expires_at > now
        return min(entry.readable_at, begins_at) if entry and alive else begins_at

    def remember(self, workspace: str, message_id: str, plan: Plan) -> None:
        """Keep a request that asked for diagnostics, for the next one to compare with."""
        self._asked[workspace, message_id] = plan

    def diagnose(self, workspace: str, previous: str | None, plan: Plan) -> dict[str, Any] | None:
        """The response's `diagnostics`: why the previous request's prefix could not be reused.

        None where there is nothing to say: no previous message, or a prefix that only grew.
        """
        if previous is None:
            return None
        before = self._asked.get((workspace, previous))
        if before is None:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        kind = _difference(before.prefix, plan.prefix)
        if kind is None:
            return None
        if kind == "unavailable":
            return {"cache_miss_reason": {"type": kind}}
        missed = before.tokens.read + before.tokens.written - plan.tokens.read
        reason = {"type": kind, "cache_missed_input_tokens": max(0, missed)}
        return {"cache_miss_reason": reason}


def _difference(before: Prefix, now: Prefix) -> str | None:
    """The first section that differs, in prefix order."""
    for section in ("model", "tools", "system"):
        if before.sections[section] != now.sections[section]:
            return f"{section}_changed"
    if now.messages[: len(before.messages)] != before.messages:
        return "messages_changed"
    if before.sections["settings"] != now.sections["settings"]:
        return "unavailable"
    return None
