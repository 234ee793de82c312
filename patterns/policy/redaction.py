"""Replace identifiers in text and in JSON: redact, mask, hash or block.

Use it alone for logs and exports; as a middleware it is `patterns.policy.privacy`. Deterministic,
so a redacted prefix is still found in the prompt cache.

Taught in chapter 01.
"""

import hashlib
import hmac
import re
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal

from patterns.policy.detectors import ALL_TYPES, Match, PIIType, Strictness, find_pii
from patterns.policy.wire import Json, Path, PolicyDenied, Run, notes, texts_of

Strategy = Literal["redact", "mask", "hash", "block"]
Finder = Callable[[str], list[Match]]

SHORTEST_KEY: Final = 32


class PIIFound(PolicyDenied):
    """The text holds identifiers, and the strategy is to block.

    Attributes:
        types: how many of each type; never the identifiers themselves.
        where: `input` or `output`.
    """

    rule = "pii"

    def __init__(self, types: Mapping[str, int], where: str = "input") -> None:
        self.types, self.where = dict(types), where
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(self.types.items()))
        super().__init__(f"the {where} holds {found}; remove it, or choose another strategy.")


@dataclass(frozen=True)
class Redacted:
    """A text without its identifiers, and which they were; positions are in the original."""

    text: str
    matches: tuple[Match, ...]


def redact(
    text: str,
    *,
    strategy: Strategy = "redact",
    types: Collection[PIIType] = ALL_TYPES,
    strictness: Strictness = "balanced",
    key: bytes | None = None,
) -> Redacted:
    """`text` with each identifier replaced.

    `redact` leaves `[EMAIL]`, `mask` the last four characters, `hash` a keyed fingerprint by which
    equal values stay equal; `block` raises.

    Raises:
        PIIFound: something was found and the strategy is `block`.
        ValueError: an unknown strategy, type or strictness, or `hash` without a key of 32 bytes.
    """
    replace = replacer(strategy, key)
    matches = find_pii(text, types=types, strictness=strictness)
    if strategy == "block" and matches:
        raise PIIFound(Counter(match.type for match in matches))
    return Redacted(cut([text], matches, replace)[0], tuple(matches))


def replacer(strategy: Strategy, key: bytes | None = None) -> Callable[[Match, str], str]:
    """What stands in the place of an identifier, as a function of the match and its text."""
    if strategy == "mask":
        return lambda match, text: "*" * min(8, max(4, len(text) - 4)) + text[-4:]
    if strategy == "hash":
        if key is None or len(key) < SHORTEST_KEY:
            raise ValueError("strategy 'hash' needs a key of at least 32 bytes; a bare hash of an "
                             "e-mail address is undone with a list of addresses.")  # fmt: skip
        return lambda match, text: f"[{match.type.upper()}:{_fingerprint(key, match, text)}]"
    if strategy not in ("redact", "block"):
        raise ValueError(f"unknown strategy {strategy!r}; choose redact, mask, hash or block.")
    return lambda match, text: f"[{match.type.upper()}]"


def _fingerprint(key: bytes, match: Match, text: str) -> str:
    value = text.lower() if match.type == "email" else re.sub(r"[ ().\-/]", "", text)
    return hmac.new(key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:12]


def cut(
    texts: list[str], matches: Iterable[Match], replace: Callable[[Match, str], str]
) -> list[str]:
    """The texts without the matches of their joined text.

    One that crosses a seam is replaced on both sides: the API takes no empty text block.
    """
    whole, todo = "".join(texts), deque(matches)
    cut: list[str] = []
    begin = 0
    for text in texts:
        end, position, pieces = begin + len(text), begin, list[str]()
        while todo and todo[0].start < end:
            match = todo[0]
            pieces += [
                whole[position : match.start],
                replace(match, whole[match.start : match.end]),
            ]
            position = min(match.end, end)
            if match.end > end:
                break
            todo.popleft()
        cut.append("".join([*pieces, whole[position:end]]))
        begin = end
    return cut


def joined_matches(run: Run, find: Finder) -> list[Match]:
    """Matches in the run's joined text: those of each string, and those that cross a seam.

    Where one crosses a seam, it wins over the pieces that it covers.
    """
    if len(run) == 1:
        return find(run[0].text)
    seams = list(accumulate(len(slot.text) for slot in run))
    whole = find("".join(slot.text for slot in run))
    across = [one for one in whole if bisect_right(seams, one.start) < bisect_left(seams, one.end)]
    ends, found = [one.end for one in across], list(across)
    for slot, seam in zip(run, seams, strict=True):
        offset = seam - len(slot.text)
        for one in find(slot.text):
            moved = Match(one.start + offset, one.end + offset, one.type)
            after = bisect_right(ends, moved.start)
            if after == len(across) or moved.end <= across[after].start:
                found.append(moved)
    return sorted(found)


def report(where: str, seen: Counter[str], kept: dict[str, Any] | None = None) -> None:
    """Tell the audit row how many identifiers of which type there were."""
    told = notes() if kept is None else kept
    if seen and told is not None:
        told.setdefault("pii", {}).setdefault(where, {}).update(seen)


class Cleaner:
    """A detector and a strategy, applied to JSON."""

    def __init__(self, find: Finder, strategy: Strategy, key: bytes | None, where: str) -> None:
        self.find, self.where = find, where
        self.replace, self._block = replacer(strategy, key), strategy == "block"

    def edits(
        self, body: Json, seen: Counter[str], usage: Mapping[str, Any] | None = None
    ) -> dict[Path, str]:
        """The new text of every string that holds an identifier."""
        found: dict[Path, str] = {}
        for run in texts_of(body):
            matches = joined_matches(run, self.find)
            if matches:
                self.count(matches, seen, usage)
                found.update(self._changed(run, matches))
        return found

    def _changed(self, run: Run, matches: list[Match]) -> dict[Path, str]:
        cleaned = cut([slot.text for slot in run], matches, self.replace)
        return {
            slot.path: text for slot, text in zip(run, cleaned, strict=True) if text != slot.text
        }

    def count(
        self, matches: Iterable[Match], seen: Counter[str], usage: Mapping[str, Any] | None = None
    ) -> None:
        """Count the matches, or raise if they are to block."""
        seen.update(match.type for match in matches)
        if self._block:
            report(self.where, seen)
            if usage and (kept := notes()) is not None:
                kept["usage"] = dict(usage)  # the answer is paid for, and will not be seen
            raise PIIFound(seen, self.where)
