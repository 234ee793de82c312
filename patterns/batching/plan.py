"""Split any number of requests into batches that the API takes: by count and by true bytes.

Requests are taken one by one, encoded as they will be sent, and kept on disk, where their ids are
compared too: a million requests need no more memory than one. Not for requests that must answer
while somebody waits: see `choose`.

Taught in chapter 08.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

from anthropic.types.messages.batch_create_params import Request
from pydantic import BaseModel

from patterns.batching.store import BatchShard, JobStore
from patterns.batching.wire import CLOSING, OPENING, wire_size
from patterns.core.errors import Portable

MOST_REQUESTS: Final = 100_000
"""Requests in one batch, by the Batches API's documentation."""
MOST_BYTES: Final = 256_000_000
"""Bytes in one batch: the documentation says 256 MB, and this holds for both kinds of megabyte."""
CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


class BadRequest(Portable, ValueError):
    """A request that no batch can hold, or an id that comes twice. Nothing was planned.

    Attributes:
        position: its place in the input, from 0.
        custom_id: its id, if it has one that can be read.
    """

    def __init__(self, position: int, custom_id: str | None, problem: str) -> None:
        self.position, self.custom_id = position, custom_id
        super().__init__(f"request {position}: {problem}")


class NothingToSend(Portable, ValueError):
    """There is no request at all; a batch holds 1 or more."""

    def __init__(self) -> None:
        super().__init__("there are no requests; a batch holds 1 to 100,000 of them.")


class PlanChanged(BadRequest):
    """A job was started again with other requests than it has."""


def plan_batches(
    requests: Iterable[Request],
    *,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> Iterator[BatchShard]:
    """How requests would be cut into batches; nothing is sent, and nothing is kept.

    Args:
        requests: the SDK's own shape, `{"custom_id": …, "params": {…}}`, taken lazily.
        most_requests: requests in one batch.
        most_bytes: bytes in one batch.

    Raises:
        BadRequest: a request that no batch can hold.
        NothingToSend: there is none.
        ValueError: `most_requests` is none that a batch can hold.
    """
    with closing(JobStore()) as store, store.step():
        yield from fill(store, requests, most_requests, most_bytes)


def fill(
    store: JobStore, requests: Iterable[Request], most_requests: int, most_bytes: int
) -> Iterator[BatchShard]:
    """Write requests and shards to an empty store, inside the caller's step."""
    cutter = Cutter(store, most_requests, most_bytes)
    for position, request in enumerate(requests):
        custom_id, params = encode(position, request)
        yield from cutter.cut(position + 1, custom_id, len(params))
        if cutter.size > most_bytes:
            problem = f"{custom_id!r} alone makes a batch of {cutter.size:,} bytes; shorten it to "
            raise BadRequest(position, custom_id, f"{problem}at most {most_bytes:,}.")
        if not store.add_request(position + 1, custom_id, cutter.number, params):
            problem = f"custom_id {custom_id!r} comes twice; results are told apart by it."
            raise BadRequest(position, custom_id, problem)
    if not cutter.count:
        raise NothingToSend
    yield cutter.shard()


class Cutter:
    """Decides where one shard ends and the next begins, and says how large each is on the wire.

    Raises:
        ValueError: a number of requests that no batch holds.
    """

    def __init__(self, store: JobStore, most_requests: int, most_bytes: int) -> None:
        if not 1 <= most_requests <= MOST_REQUESTS:
            raise ValueError(f"most_requests is {most_requests}; a batch holds 1 to 100,000.")
        self._store, self._most, self._most_bytes = store, most_requests, most_bytes
        self._begin(len(store.shards()) + 1)

    def _begin(self, number: int) -> None:
        self.number, self.count, self.size = number, 0, len(OPENING) + len(CLOSING) - 1

    def cut(self, n: int, custom_id: str, params: int) -> Iterator[BatchShard]:
        """Make room for the n-th request; gives the shard that this closes."""
        added = wire_size(self.number, n, custom_id, params)
        if self.count == self._most or (self.count and self.size + added > self._most_bytes):
            yield self.shard()
            self._begin(self.number + 1)
            added = wire_size(self.number, n, custom_id, params)
        self.count, self.size = self.count + 1, self.size + added

    def shard(self) -> BatchShard:
        """Keep the shard as it is."""
        return self._store.add_shard(self.number, self.count, self.size)


def encode(position: int, request: Request) -> tuple[str, bytes]:
    """Id and encoded parameters of one request, checked as far as possible without the API.

    Raises:
        BadRequest: it is no request, or its id is none.
    """
    custom_id = request.get("custom_id") if isinstance(request, Mapping) else None
    if not isinstance(custom_id, str) or not CUSTOM_ID.match(custom_id):
        problem = f"custom_id is {custom_id!r}; it must be 1 to 64 of a-z, A-Z, 0-9, _ and -."
        raise BadRequest(position, custom_id if isinstance(custom_id, str) else None, problem)
    if wrong := _problem(request):
        raise BadRequest(position, custom_id, f"{custom_id!r} {wrong}")
    try:
        return custom_id, _compact(request["params"]).encode()
    except (TypeError, ValueError, RecursionError) as error:
        problem = f"{custom_id!r} cannot be sent as JSON: {error}"
        raise BadRequest(position, custom_id, problem) from None


def _problem(request: Mapping[str, Any]) -> str | None:
    """What the API would say no to, as far as it is certain."""
    params = request.get("params")
    if not isinstance(params, Mapping):
        return f"has params of type {type(params).__name__}; give those of messages.create."
    if more := request.keys() - {"custom_id", "params"}:
        return f"has the field {min(more)!r}; a request holds custom_id and params only."
    if params.get("stream"):
        return "asks for a stream; results of a batch are read when all of it has ended."
    if params.get("max_tokens") == 0:
        return "has max_tokens 0; a batch cannot warm the cache."
    if params.get("speed") == "fast":
        return "asks for fast mode; batches have none."
    return None


def _plain(value: object) -> object:
    """Blocks of an earlier answer may be sent back as they came."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_compact: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
).encode
