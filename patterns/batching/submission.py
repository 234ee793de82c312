"""Create a batch exactly once, although the answer to a create can get lost.

A create has no idempotency key. Between sending it and learning the batch's id lies a window in
which a crash, a time-out or a 5xx leaves one question open: does the batch exist? Sending again
might pay twice, not sending might lose a shard. So the store notes "sending" first, with the newest
batch that there was; the SDK's own retries are off; and an open question is answered by the API.
Only a batch that was made since then and holds exactly this many requests can be ours, and it is
ours only if its results begin with our nonce, which they show when it has ended. Until then the
question stays open, and the other shards go on.

A list that shows nothing proves nothing yet: the API may still be working on the create of a
process that died a second ago. Therefore `BatchAPI.settle`.

Taught in chapter 08.
"""

from typing import Final

import httpx2
from anthropic import APIConnectionError, APIError, APIStatusError
from anthropic.types.messages import MessageBatch

from patterns.batching.api import BatchAPI, NoBatch
from patterns.batching.reading import belongs_to
from patterns.batching.store import BatchShard, JobStore
from patterns.core.retrying import backoff, headers_of, is_transient, retry_after

UNDECIDED: Final = frozenset((408, 409, 499))
"""4xx after which the batch may exist all the same: the connection ended while it was made."""
NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Submission:
    """Sends the shards of a store.

    Args:
        api: how to call.
        store: what it says is true, whatever this process remembers.
    """

    def __init__(self, api: BatchAPI, store: JobStore) -> None:
        self._api, self._store = api, store
        self._strangers: set[str] = set()

    def run(self, shard: BatchShard) -> BatchShard:
        """Send a shard, or find out what became of it; as it is then.

        It is still `sending` while a batch runs that may be it: look again later.

        Raises:
            APIError: the API refuses, and will again, or fails for too long.
        """
        began, attempt = self._api.clock(), 0
        while shard.state in ("planned", "sending"):
            if shard.state == "sending" and self._found(shard):
                break
            if self._store.state == "stopped":
                self._store.mark_unsent(shard)
            elif self._store.mark_sending(  # pragma: no branch - else another worker sent it
                shard, self._api.newest()
            ):
                attempt += 1
                error = self._create(shard)
                passed = self._api.clock() - began
                refused = error is not None and _was_refused(error)
                if error and (
                    passed >= self._api.patience or (refused and not is_transient(error))
                ):
                    raise error
                if refused:
                    asked = retry_after(headers_of(error), now=self._api.clock())
                    self._api.sleep(backoff(attempt, asked, self._api.draw()))
            shard = self._store.shard(shard.number)
        return self._store.shard(shard.number)

    def _create(self, shard: BatchShard) -> Exception | None:
        """Create a batch of which it is certain that there is none yet; what went wrong, if so."""
        try:
            batch = self._api.create(shard.size, self._store.body(shard))
        except (APIError, NoBatch, ValueError) as error:
            if _was_refused(error):
                self._store.mark_planned(shard)
            return error
        self._keep(shard, batch)
        return None

    def _keep(self, shard: BatchShard, batch: MessageBatch) -> None:
        created, expires = batch.created_at.timestamp(), batch.expires_at.timestamp()
        self._store.mark_submitted(shard, batch.id, created, expires)
        # Meanwhile the job may have been cancelled, or another worker may have sent the shard.
        unwanted = self._store.state == "stopped"
        unwanted = unwanted or self._store.shard(shard.number).batch_id != batch.id
        if unwanted and batch.processing_status != "ended":
            self._api.cancel(batch.id)

    def _found(self, shard: BatchShard) -> bool:
        """Whether an open create is settled, or may be once a batch ends; False if it is lost."""
        left = self._api.settle  # counted in pauses: a clock that jumps must not cut it short
        while True:
            candidates = self._candidates(shard)
            for batch in candidates:
                if batch.processing_status == "ended":
                    ours = belongs_to(self._api, batch.id, self._store.nonce, shard.number)
                    if ours:
                        self._keep(shard, batch)
                        return True
                    if ours is False:
                        self._strangers.add(batch.id)
            if any(batch.id not in self._strangers for batch in candidates):
                return True
            if left <= 0:
                return False
            self._api.sleep(min(self._api.every, left))
            left -= self._api.every

    def _candidates(self, shard: BatchShard) -> list[MessageBatch]:
        """The batches that may be this shard's: made since, of its size, and nobody else's."""
        others = self._store.known_batches() | self._strangers
        return [
            batch
            for batch in self._api.since(shard.after_id)
            if batch.id not in others and _size(batch) == shard.requests
        ]


def _size(batch: MessageBatch) -> int:
    counts = batch.request_counts
    ended = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return counts.processing + ended


def _was_refused(error: Exception) -> bool:
    """Whether a failed create left no batch behind."""
    if isinstance(error, APIStatusError):
        return error.status_code < 500 and error.status_code not in UNDECIDED
    return isinstance(error, APIConnectionError) and isinstance(error.__cause__, NEVER_SENT)
