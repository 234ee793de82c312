"""The ids that a job's requests have on the wire, and the bytes of a batch.

A `custom_id` is unique in a batch only, so another job's `row-1` looks like ours. On the wire every
id begins with the job's nonce, the number of its batch and that of the request; what follows is as
much of the caller's own id as fits, for whoever reads the results in the Console.

Used by the folder patterns/batching, taught in chapter 08.
"""

import re
from typing import Final

OPENING: Final = b'{"requests":['
CLOSING: Final = b"]}"
LONGEST_ID: Final = 64
"""Characters of a `custom_id`, by the Batches API's documentation."""
NONCE: Final = re.compile("[0-9a-f]{16}")
_ID: Final = re.compile(f"({NONCE.pattern})-([0-9]{{1,9}})-([0-9]{{1,9}})-")


def wire_id(nonce: str, shard: int, n: int, custom_id: str) -> str:
    """The id that is sent for the n-th request of the job in that batch."""
    return f"{nonce}-{shard}-{n}-{custom_id}"[:LONGEST_ID]


def place_of(sent: str, nonce: str, shard: int) -> int | None:
    """Which request of that job and batch an id belongs to; None if to none."""
    match = _ID.match(sent)
    if match is None or match[1] != nonce or int(match[2]) != shard:
        return None
    return int(match[3])


def wire_request(nonce: str, shard: int, n: int, custom_id: str, params: bytes) -> bytes:
    """One request of a batch as it is sent."""
    sent = wire_id(nonce, shard, n, custom_id).encode()
    return b'{"custom_id":"' + sent + b'","params":' + params + b"}"


def wire_size(shard: int, n: int, custom_id: str, params: int) -> int:
    """Bytes of such a request and a comma, from the bytes of its parameters."""
    return len(wire_request("0" * 16, shard, n, custom_id, b"")) + params + 1
