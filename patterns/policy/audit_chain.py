"""Which key signed which row: the keyed chain of an audit log, with rotation.

Every row carries an HMAC over itself and the row before it. A ring of keys lets you change the
key without a new log: rows name their key, the newest signs, the order never goes back.

Taught in chapter 01.
"""

import hmac
import json
from collections.abc import Mapping
from typing import Final

from patterns.core.pseudonym import strong_key

GENESIS: Final = bytes(32)


class KeyRing:
    """Keys by name, the newest last; a single key has no name.

    Raises:
        ValueError: a key under 32 bytes, or no key at all.
    """

    def __init__(self, keys: bytes | Mapping[str, bytes]) -> None:
        named = keys if isinstance(keys, Mapping) else {"": keys}
        if not named:
            raise ValueError("the key ring is empty; give it secrets.token_bytes(32) by a name.")
        self._macs = {
            name: hmac.new(strong_key(key), digestmod="sha256") for name, key in named.items()
        }
        self.name = list(self._macs)[-1]
        self._newest = self._macs[self.name]

    def rank(self, name: str) -> int:
        """How new a key is; -1 if the ring does not hold it."""
        names = list(self._macs)
        return names.index(name) if name in names else -1

    def sign(self, *parts: bytes, name: str | None = None) -> bytes:
        """The MAC of the parts, with the newest key or the one named."""
        mac = (self._newest if name is None else self._macs[name]).copy()
        mac.update(b"\0".join(parts))
        return mac.digest()

    def chain(self, before: bytes, seq: int, body: str) -> bytes:
        """The MAC of a new row."""
        return self.sign(before, str(seq).encode(), body.encode())

    def fits(self, mac: bytes, before: bytes, seq: int, body: str) -> bool:
        """Whether a row is as it was written, by the key that it names."""
        name, parts = key_name(body), (before, str(seq).encode(), body.encode())
        return name in self._macs and hmac.compare_digest(mac, self.sign(*parts, name=name))

    def committed(self, body: Mapping[str, object], detail: str) -> bool:
        """Whether the personal part is the one that the row was written with."""
        name = str(body.get("key", ""))
        signed = self.sign(b"detail", detail.encode(), name=name).hex()
        return hmac.compare_digest(str(body.get("detail")), signed)

    def seal(self, seq: int, mac: bytes) -> bytes:
        """What proves that a checkpoint is ours."""
        return self.sign(b"checkpoint", str(seq).encode(), mac)

    def sealed(self, seq: int, mac: bytes, seal: bytes) -> bool:
        """Whether a checkpoint is ours, by any of the keys."""
        return any(
            hmac.compare_digest(seal, self.sign(b"checkpoint", str(seq).encode(), mac, name=name))
            for name in self._macs
        )


def key_name(body: str) -> str:
    """The name of the key that a row was signed with."""
    try:
        return str(json.loads(body).get("key", ""))
    except (ValueError, AttributeError):
        return "?"
