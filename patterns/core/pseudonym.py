"""A stable, opaque name for a user: one keyed hash for the API, the audit log and call records.

The same user and key give the same name everywhere, so that an audit row and a call record join,
and `metadata.user_id` holds nothing that identifies a person. Without the key it cannot be undone
or tested against a list of addresses; with it, it can: keep the key as you keep passwords.
"""

import hashlib
import hmac
from typing import Final

from patterns.core.errors import Portable

LEAST_KEY_BYTES: Final = 32
"""Shortest key in bytes: as long as the hash, so that the key cannot be guessed first."""


class WeakKey(Portable, ValueError):
    """A key that is too short to protect anything.

    Attributes:
        size: its length in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(
            f"the key has {size} bytes; use {LEAST_KEY_BYTES} or more, such as "
            "secrets.token_bytes(32), from your secret store."
        )


class InvalidUser(Portable, TypeError):
    """An id that is no text.

    Attributes:
        user_id: what was given.
    """

    def __init__(self, user_id: object) -> None:
        self.user_id = user_id
        super().__init__(f"user_id is {user_id!r}; pass text, such as str(user.id).")


def strong_key(key: str | bytes) -> bytes:
    """The key as bytes.

    Raises:
        WeakKey: it has under 32 bytes, or is neither text nor bytes; there is no default.
    """
    if not isinstance(key, str | bytes):  # bytes(64) would be 64 zeros
        raise WeakKey(0)
    raw = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    if len(raw) < LEAST_KEY_BYTES:
        raise WeakKey(len(raw))
    return raw


def pseudonym(user_id: str, key: str | bytes, *, tenant: str = "") -> str:
    """`user_` and 32 hexadecimal digits, an HMAC-SHA256 of the id; safe for `metadata.user_id`.

    Args:
        user_id: the application's own id; any text.
        key: secret of at least 32 bytes. Another key gives other names, which is how one rotates.
        tenant: whose user it is, where equal ids of two tenants are two people.

    Raises:
        WeakKey: the key has under 32 bytes.
        InvalidUser: the id is no text: None and "None" must not be one person.
    """
    if not isinstance(user_id, str):
        raise InvalidUser(user_id)
    text = f"{tenant}\0{user_id}" if tenant else user_id
    digest = hmac.new(strong_key(key), text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"user_{digest.hexdigest()[:32]}"
