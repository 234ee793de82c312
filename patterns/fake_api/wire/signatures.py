"""Signatures of thinking: made from the text and from what it is bound to, checked on return.

`fake` (or `omit`, where the text is left out), the digest of the text, and `.`-separated what the
block is bound to (`patterns.fake_api.binding`).
"""

from hashlib import blake2b
from typing import Final

MARK: Final = "fake"
"""How our signatures begin."""
OMITTED: Final = "omit"
"""How those of blocks without text begin."""


def sign(thinking: str, *bonds: str) -> str:
    """The signature of a thinking block."""
    digest = blake2b(thinking.encode("utf-8", "replace"), digest_size=24).hexdigest()
    return ".".join((MARK + digest, *bonds))


def sign_omitted(signature: str) -> str:
    """The signature of the same block without its text; what is put there is ignored."""
    return OMITTED + signature.removeprefix(MARK)


def bonds_of(signature: str) -> list[str]:
    """What a block is bound to."""
    return signature.split(".")[1:]


def is_ours(signature: str) -> bool:
    """Whether a signature was made here; the API takes no other."""
    return signature.startswith((MARK, OMITTED))


def is_changed(thinking: str, signature: str) -> bool:
    """Whether a block comes back with another text than it was signed with."""
    return signature.startswith(MARK) and signature != sign(thinking, *bonds_of(signature))
