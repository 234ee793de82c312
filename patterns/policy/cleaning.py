"""A detector and what to do with what it finds, by type and by origin, applied to texts of JSON.

Taught in chapter 01.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

from patterns.policy.detectors import Match
from patterns.policy.flow import notes, observed
from patterns.policy.redaction import Finder, PIIFound, Replace, Strategy, cut, replacer
from patterns.policy.texts import Path, Run, joined
from patterns.policy.vault import Conversation, literals

Choose = Callable[[str, str], Strategy]
"""The strategy for an origin and a type of identifier."""
_IN_NAMES: Final = frozenset(("api_key", "email", "iban", "card", "ssn"))
"""What is looked for in names and headers, where a date or a version is no phone and no address."""


class PIIInName(PIIFound):
    """An identifier in a name, a header or a query, which cannot be rewritten."""

    rule = "pii-in-name"


def chooser(default: Strategy, exceptions: Mapping[str | tuple[str, str], Strategy]) -> Choose:
    """The nearest of the exceptions: for `(origin, type)`, for the type, for the origin."""

    def choose(origin: str, kind: str) -> Strategy:
        for key in ((origin, kind), kind, origin):
            if key in exceptions:
                return exceptions[key]
        return default

    return choose


def allows(values: Collection[str]) -> Callable[[str], bool]:
    """Whether a value is on the list: itself, or as an e-mail address its domain (`@x.org`)."""
    listed = {value.lower() for value in values}

    def allowed(value: str) -> bool:
        lower = value.lower()
        return lower in listed or lower[lower.rfind("@") :] in listed

    return allowed


def seam_matches(text: str, seams: list[int], find: Finder) -> list[Match]:
    """Matches in text that was joined at `seams`: apart, with their neighbours as context, and
    those that cross a seam, which win over the pieces that they cover."""
    if not seams:
        return find(text)
    edges = [0, *seams, len(text)]
    apart = "\n".join(text[a:b] for a, b in pairwise(edges))
    breaks = [seam + index for index, seam in enumerate(seams)]
    across = [
        one for one in find(text) if bisect_right(seams, one.start) < bisect_left(seams, one.end)
    ]
    ends, found = [one.end for one in across], list(across)
    for one in find(apart):
        start = one.start - bisect_left(breaks, one.start)
        moved = Match(start, one.end - bisect_left(breaks, one.end), one.type)
        after = bisect_right(ends, moved.start)
        if after == len(across) or moved.end <= across[after].start:
            found.append(moved)
    return sorted(found)


def run_matches(run: Run, find: Finder) -> list[Match]:
    """Matches in the joined text of a run; what a value is called in its data is context."""
    text = joined(run)
    if len(run) > 1:
        return seam_matches(text, list(accumulate(len(slot.text) for slot in run))[:-1], find)
    if not run[0].label:
        return find(text)
    label = f"{run[0].label}: "
    return [
        Match(one.start - len(label), one.end - len(label), one.type)
        for one in find(label + text)
        if one.start >= len(label)
    ]


def report(
    where: str, seen: Counter[str], kept: dict[str, Any] | None = None, *, observe: bool = False
) -> None:
    """Tell the audit row how many identifiers of which type there were."""
    told = notes() if kept is None else kept
    if observe:
        observed(told, f"pii {where}", seen)
    elif seen and told is not None:
        told.setdefault("pii", {}).setdefault(where, {}).update(seen)


class Cleaner:
    """A detector and its strategies, applied to texts.

    Args:
        find: the detector.
        choose: the strategy for an origin and a type.
        key: for the strategy `hash`.
        where: `input` or `output`.
        allowed: whether a value may stay.
        observe: only count what would be done.
    """

    def __init__(
        self,
        find: Finder,
        choose: Choose,
        key: bytes | None = None,
        where: str = "input",
        *,
        allowed: Callable[[str], bool] = lambda value: False,
        observe: bool = False,
    ) -> None:
        self.find, self.where, self.observes = find, where, observe
        self._choose, self._allowed, self._key = choose, allowed, key
        self._made: dict[Strategy, Replace] = {}

    def edits(
        self,
        runs: Iterable[Run],
        seen: Counter[str],
        usage: Mapping[str, Any] | None = None,
        conversation: Conversation | None = None,
    ) -> dict[Path, Any]:
        """The new value of every string, number and key that holds an identifier."""
        found: dict[Path, Any] = {}
        for run in runs:
            text, matches = joined(run), run_matches(run, self.find)
            if conversation is not None:
                matches = _with_literals(matches, text)
            if matches:
                ends = list(accumulate(len(slot.text) for slot in run))
                origins = {one: run[bisect_right(ends, one.start)].origin for one in matches}
                chosen = self.chosen(text, origins, seen, usage, name=run[0].kind == "fixed")
                found.update(self._changed(run, chosen, conversation))
        return found

    def chosen(
        self,
        text: str,
        origins: Mapping[Match, str],
        seen: Counter[str],
        usage: Mapping[str, Any] | None = None,
        *,
        name: bool = False,
    ) -> dict[Match, Strategy]:
        """What to do with each match that may not stay, by its origin; all are counted.

        Raises:
            PIIFound: one is to be blocked, or stands in a `name`, which cannot be rewritten.
        """
        chosen: dict[Match, Strategy] = {}
        for match, origin in origins.items():
            looked_for = not name or (match.type in _IN_NAMES and self.where == "input")
            strategy = self._choose(origin, match.type) if looked_for else "allow"
            if match.type == "literal":
                chosen[match] = "vault"
            elif strategy != "allow" and not self._allowed(text[match.start : match.end]):
                chosen[match] = strategy
        seen.update(match.type for match in chosen if match.type != "literal")
        if chosen and not self.observes and (name or "block" in chosen.values()):
            report(self.where, seen)
            if usage and (kept := notes()) is not None:
                kept["usage"] = dict(usage)  # the answer is paid for, and will not be seen
            raise (PIIInName if name else PIIFound)(seen, self.where)
        return chosen

    def _changed(
        self, run: Run, chosen: Mapping[Match, Strategy], conversation: Conversation | None
    ) -> dict[Path, Any]:
        if not chosen or self.observes:
            return {}
        replace = self.replacing(chosen, conversation)
        if run[0].kind == "number":
            match, text = next(iter(chosen)), run[0].text
            return {run[0].path: int(replace(match, text, True))}
        cleaned = cut([slot.text for slot in run], list(chosen), replace)
        return {
            slot.path: text for slot, text in zip(run, cleaned, strict=True) if text != slot.text
        }

    def replacing(
        self, chosen: Mapping[Match, Strategy], conversation: Conversation | None
    ) -> Replace:
        """What stands in the place of each of the matches."""

        def replace(match: Match, value: str, number: bool) -> str:
            kind = chosen[match]
            if kind == "vault":
                assert conversation is not None  # the middleware has one where it has this strategy
                return conversation.mask(match, value, number)
            if kind not in self._made:
                self._made[kind] = replacer(kind, self._key)
            return self._made[kind](match, value, number)

        return replace


def _with_literals(matches: list[Match], text: str) -> list[Match]:
    found = list(matches)
    for one in literals(text):
        if all(one.end <= other.start or other.end <= one.start for other in matches):
            found.append(one)
    return sorted(found)
