"""Signatures of thinking blocks: made from the text, and checked when the block comes back."""

from hashlib import blake2b
from typing import Final

MARK: Final = "fake"
"""How our signatures begin; others, from the real API, are taken as they are."""

OMITTED: Final = "omit"
"""How those of blocks without text begin."""


def sign(thinking: str) -> str:
    """The signature of a thinking block."""
    return MARK + blake2b(thinking.encode("utf-8", "replace"), digest_size=24).hexdigest()


def sign_omitted(thinking: str) -> str:
    """The signature of a thinking block without text; what is put there is ignored."""
    return OMITTED + blake2b(thinking.encode("utf-8", "replace"), digest_size=24).hexdigest()


def is_changed(thinking: str, signature: str) -> bool:
    """Whether a block of ours comes back with another text."""
    return signature.startswith(MARK) and signature != sign(thinking)
