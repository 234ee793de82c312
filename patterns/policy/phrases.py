"""Phrases of known jailbreaks: a tripwire for what is pasted from a forum, whatever the letters.

They miss what is short, indirect, or said in other words, and text that is spaced out, spelled in
leet or encoded. As a middleware: `screening`.

Taught in chapter 01.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from patterns.policy.confusables import fold, hidden_text


@dataclass(frozen=True)
class Hit:
    """A phrase of a known trick: `text[start:end]` of the text as it was given.

    Hidden text has no place that one can see; its span is the whole text.
    """

    trick: str
    weight: float
    start: int
    end: int


def normalise(text: str) -> str:
    """`text` as the phrases are looked for in it: folded, lower case, single spaces."""
    return " ".join(fold(text).text.lower().split())


_THEIRS = r"(?:previous|prior|above|earlier|preceding|initial|original|system|developer|safety)"
_ORDERS = r"(?:instruction|prompt|rule|direction|guideline|guidance|order|command|programming)s?"
_DROP = r"(?:ignore|disregard|forget|override|bypass|discard)"
_GAP = r"[\s,.:;'\"()*_-]{1,4}"
_SOME = rf"(?:[a-z']{{1,12}}{_GAP}){{0,3}}"

_TRICKS: Final[tuple[tuple[str, float, str], ...]] = (
    ("override", 1.0, rf"{_DROP}{_GAP}{_SOME}{_THEIRS}{_GAP}{_SOME}{_ORDERS}"),
    ("override", 1.0, rf"{_DROP}{_GAP}(?:all|any|every){_GAP}(?:of{_GAP})?(?:your|the|these|those)"
                      rf"{_GAP}{_SOME}{_ORDERS}"),
    ("override", 1.0, rf"{_DROP}{_GAP}(?:everything|all|anything){_GAP}(?:that{_GAP})?(?:was{_GAP}"
                      rf"|you{_GAP}(?:were|have{_GAP}been){_GAP})?(?:said|told|written|instructed)"
                      rf"(?:{_GAP}(?:to{_GAP})?(?:you|before|above|previously|earlier))"),
    ("override", 1.0, rf"(?:new|real|updated){_GAP}(?:system{_GAP})?(?:instructions|prompt){_GAP}"
                      rf"(?:follow|begin|start|override)"),
    ("reveal", 1.0, rf"(?:reveal|print|show|output|repeat|display|leak|dump|recite|tell{_GAP}me)"
                    rf"{_GAP}{_SOME}(?:system|hidden|secret|initial|original|developer){_GAP}"
                    rf"(?:prompt|instructions|message)s?(?![\w-])(?!{_GAP}(?:for|that|to|of|in))"),
    ("reveal", 1.0, rf"(?:repeat|print|output){_GAP}(?:all{_GAP}|everything{_GAP})?(?:of{_GAP})?"
                    rf"(?:the{_GAP})?(?:words|text|content)s?{_GAP}above(?!{_GAP}(?:in|into|as|with|but)(?![a-z]))"),
    ("persona", 1.0, rf"(?:do{_GAP}anything{_GAP}now|jailbreak(?:ed|en)?{_GAP}(?:mode|version|ai)"
                     rf"|developer{_GAP}mode{_GAP}(?:enabled|output|on)|god{_GAP}mode{_GAP}enabled)"),
    ("persona", 1.0, rf"(?:you{_GAP}are|act{_GAP}as|pretend{_GAP}to{_GAP}be|become|simulate|play)"
                     rf"{_GAP}{_SOME}(?:dan(?![\w'])|stan(?![\w'])|evil{_GAP}(?:ai|bot|confidant)"
                     rf"|unrestricted|unfiltered|uncensored|amoral)"),
    ("persona", 1.0, rf"(?:with(?:out|{_GAP}no)|free{_GAP}(?:of|from)|ignore|no{_GAP}longer{_GAP}"
                     rf"bound{_GAP}by){_GAP}(?:any{_GAP}|all{_GAP}|your{_GAP})?(?:ethical|moral"
                     rf"|safety|content){_GAP}(?:or{_GAP}\w{{1,12}}{_GAP})?"
                     rf"(?:guidelines|filters"
                     rf"|restrictions|limitations|constraints|policies)"),
    ("never refuse", 0.6, rf"(?:never|do{_GAP}not|don't|must{_GAP}not){_GAP}(?:ever{_GAP})?"
                     rf"(?:refuse|decline|say{_GAP}(?:no|that{_GAP}you{_GAP}can(?:not|'t)))"),
    ("in character", 0.6, rf"stay{_GAP}in{_GAP}character"),
    ("opposite", 0.6, rf"(?:opposite|evil|unfiltered){_GAP}(?:day|twin|response)"),
    ("exfiltrate", 1.0, rf"(?:send|post|forward|upload|email|exfiltrate){_GAP}{_SOME}"
                        rf"(?:conversation|credentials|api{_GAP}keys?|secrets|passwords|system{_GAP}prompt){_GAP}"
                        rf"{_SOME}to{_GAP}(?:http|www|this{_GAP}(?:url|address)|[\w.]{{1,40}}@)"),
    ("markup", 1.0, r"<\|(?:im_start|im_end|system|endoftext)\|>|\[/?inst\]|<</?sys>>"),
    ("header", 0.6, rf"(?:begin|end)?{_GAP}?(?:#{{2,4}}|\[|<){{1}} ?(?:system|admin|root)"
                    rf" ?(?:prompt|override|message)? ?(?:\]|>|:)"),
)  # fmt: skip
_PATTERNS: Final = tuple(
    (trick, weight, re.compile(rf"(?<![a-z]){pattern}" if pattern[0] != "<" else pattern))
    for trick, weight, pattern in _TRICKS
)


_NEEDED: Final = (
    *("ignore", "disregard", "forget", "override", "bypass", "discard", "prompt", "instruction"),
    *("message", "above", "anything", "jailbr", "mode", "ethical", "moral", "safety", "content"),
    *("refuse", "decline", "say", "character", "opposite", "evil", "unfiltered", "restricted"),
    *("uncensored", "amoral", "dan", "stan", "conversation", "credentials", "api", "secrets"),
    *("passwords", "<", "[", "#"),
)
"""No phrase is without one of these; looking for them first is much cheaper."""


def hits(text: str) -> list[Hit]:
    """Every known phrase in `text`, also in look-alike letters, and in text that is invisible."""
    folded = fold(text)
    found = [
        Hit(trick, weight, *folded.span(start, end))
        for trick, weight, start, end in _phrases(folded.text.lower())
    ]
    hidden = hidden_text(text)
    if hidden:
        more = _phrases(hidden.lower())
        found += [Hit(trick, weight, 0, len(text)) for trick, weight, _, _ in more]
    return found


def _phrases(text: str) -> Iterator[tuple[str, float, int, int]]:
    for word in _NEEDED:
        if word in text:
            break
    else:
        return
    for trick, weight, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            yield trick, weight, *match.span()


def injection_score(text: str) -> float:
    """How much of the known tricks is in `text`: 0 nothing, from 1 on it is blocked."""
    best: dict[str, float] = {}
    for hit in hits(text):
        best[hit.trick] = max(hit.weight, best.get(hit.trick, 0))
    return sum(best.values())
