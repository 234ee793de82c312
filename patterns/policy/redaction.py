"""Replace identifiers in text and in JSON: redact, mask, hash or block.

Use it alone for logs and exports; as a middleware it is `patterns.policy.privacy`. Deterministic,
so a redacted prefix is still found in the prompt cache.

Taught in chapter 01.
"""

import hashlib
import hmac
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from patterns.core.pseudonym import strong_key
from patterns.policy.detectors import ALL_TYPES, Match, PIIType, Strictness, find_pii
from patterns.policy.flow import PolicyDenied
from patterns.policy.texts import read_json

Strategy = Literal["redact", "mask", "hash", "vault", "block", "allow"]
Finder = Callable[[str], list[Match]]
Replace = Callable[[Match, str, bool], str]
"""What stands in the place of an identifier; the last argument says that it must be a number."""


class PIIFound(PolicyDenied):
    """The text holds identifiers, and the strategy is to block.

    Attributes:
        types: how many of each type; never the identifiers themselves.
        where: `input` or `output`.
    """

    rule, status = "pii", 422

    def __init__(self, types: Mapping[str, int], where: str = "input") -> None:
        self.types, self.where = dict(types), where
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(self.types.items()))
        self.why = f"the {where} holds {found}"
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
    matches = [] if strategy == "allow" else find_pii(text, types=types, strictness=strictness)
    if strategy == "block" and matches:
        raise PIIFound(Counter(match.type for match in matches))
    return Redacted(cut([text], matches, replace)[0], tuple(matches))


def replacer(strategy: Strategy, key: bytes | None = None) -> Replace:
    """What stands in the place of an identifier, as a function of the match and its text."""
    if strategy == "mask":
        return _masked
    if strategy == "hash":
        if key is None:
            raise ValueError("strategy 'hash' needs a key of at least 32 bytes; a bare hash of an "
                             "e-mail address is undone with a list of addresses.")  # fmt: skip
        strong = strong_key(key)
        return lambda match, text, number: _hashed(strong, match, text, number)
    if strategy not in ("redact", "block", "allow"):
        raise ValueError(f"unknown strategy {strategy!r}; choose redact, mask, hash or block.")
    return lambda match, text, number: "0" if number else f"[{match.type.upper()}]"


def _masked(match: Match, text: str, number: bool) -> str:
    if number:
        return str(int(text[-4:]))
    return f"********{text[-4:]}"


def _hashed(key: bytes, match: Match, text: str, number: bool) -> str:
    digest = _fingerprint(key, match, text)
    return str(int(digest, 16) % 10**5) if number else f"[{match.type.upper()}:{digest}]"


def _fingerprint(key: bytes, match: Match, text: str) -> str:
    value = text.lower() if match.type == "email" else re.sub(r"[ ().\-/]", "", text)
    return hmac.new(key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:12]


def cut(texts: list[str], matches: Iterable[Match], replace: Replace) -> list[str]:
    """The texts without the matches of their joined text.

    One that crosses a seam is replaced on both sides: the API takes no empty text block. A text
    that is JSON stays JSON, and a number in it stays a number.
    """
    whole, todo = "".join(texts), deque(matches)
    cut: list[str] = []
    begin = 0
    for text in texts:
        end, position, pieces = begin + len(text), begin, list[str]()
        document = is_document(text)
        while todo and todo[0].start < end:
            match = todo[0]
            number = document and _is_number(text, match.start - begin, match.end - begin)
            value = whole[match.start : match.end]
            pieces += [whole[position : match.start], replace(match, value, number)]
            position = min(match.end, end)
            if match.end > end:
                break
            todo.popleft()
        cut.append("".join([*pieces, whole[position:end]]))
        begin = end
    return cut


def is_document(text: str) -> bool:
    """Whether the text is a JSON object or list."""
    try:
        return isinstance(read_json(text), dict | list)
    except ValueError:
        return False


def _is_number(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]`, in a JSON text, is a whole number that stands alone."""
    before, after = text[:start].rstrip()[-1:], text[end:].lstrip()[:1]
    return text[start:end].isdigit() and before in (":", "[", ",") and after in (",", "]", "}")
