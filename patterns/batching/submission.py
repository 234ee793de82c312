"""Create a batch exactly once, although the answer to a create can get lost.

A create has no idempotency key. Between sending it and learning the batch's id lies a window in
which a crash, a time-out or a 5xx leaves one question open: does the batch exist? Sending again
might pay twice, not sending might lose a shard. So the journal notes "sending since T" first, the
SDK's own retries are off, and an open question is answered by the list of batches: a batch that
was created since T, has exactly this many requests and belongs to no other shard is taken for
ours, for the time being. Its ids, seen when its results are read, decide (see `results`).

A list that shows nothing proves nothing yet: the API may still be working on the create of a
process that died a second ago. Therefore `settle`: how long to go on looking before sending again.

Taught in chapter 08.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx2
from anthropic import Anthropic, APIConnectionError, APIError, APIStatusError
from anthropic.types.messages import MessageBatch

from patterns.batching.journal import BatchShard, Journal
from patterns.batching.patience import Patience

UNDECIDED: Final = frozenset((408, 409, 499))
"""4xx after which the batch may exist all the same: the connection ended while it was made."""
NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True)
class Window:
    """How an open create is looked for; all in seconds.

    Attributes:
        settle: how long to look before sending again. Longer than the API may take to show a
            batch in its list after its create was received; 60 is a guess on the safe side.
        skew: how far this machine's clock may be from the API's.
        every: between two looks.
    """

    settle: float = 60.0
    skew: float = 300.0
    every: float = 5.0


class _Unanswered(Exception):
    """A create went out and its answer is not known."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Submission:
    """Sends the shards of a journal.

    Args:
        client: its own retries are not used.
        journal: what it says is true, whatever this process remembers.
        patience: for failures that say for certain that nothing was created.
        window: for those that do not.
    """

    def __init__(
        self, client: Anthropic, journal: Journal, patience: Patience, window: Window
    ) -> None:
        self._batches = client.with_options(max_retries=0).messages.batches
        self._post: Callable[..., MessageBatch] = client.with_options(max_retries=0).post
        self._journal, self._patience, self._window = journal, patience, window

    def run(self) -> None:
        """Send what is planned, after settling what is open.

        Raises:
            APIError: the API refuses, and will again, or fails for too long. What is known is in
                the journal: run again.
        """
        for shard in self._journal.shards("sending"):
            if not self._find(shard):
                self._send(shard)
        for shard in self._journal.shards("planned"):
            self._send(shard)

    def _send(self, shard: BatchShard) -> None:
        """Create a batch of which it is certain that there is none yet."""
        began = self._patience.clock()
        while True:
            try:
                return self._patience(partial(self._create, shard))
            except _Unanswered as open_:
                (sent,) = (s for s in self._journal.shards("sending") if s.number == shard.number)
                if self._find(sent):
                    return None
                if self._patience.clock() - began >= self._patience.seconds:
                    raise open_.error from None

    def _create(self, shard: BatchShard) -> None:
        """Create it and keep its id.

        Raises:
            _Unanswered: nobody knows whether that worked.
            Exception: it was not created, for certain.
        """
        self._journal.mark_sending(shard, self._patience.clock())
        try:
            batch = self._upload(shard)
            if not isinstance(batch.id, str):  # the SDK does not check what a 200 holds
                raise ValueError(f"the API's answer to a create is no batch: {batch!r}"[:200])
        except (APIError, ValueError) as error:
            if not _certain(error):
                raise _Unanswered(error) from error
            self._journal.mark_planned(shard)
            raise
        self._keep(shard, batch, sure=True)

    def _upload(self, shard: BatchShard) -> MessageBatch:
        """The create, with its body straight from the disk."""
        headers = {"content-type": "application/json", "content-length": str(shard.size)}
        return self._post(
            "/v1/messages/batches",
            content=self._journal.body(shard),
            cast_to=MessageBatch,
            options={"headers": headers},
        )

    def _keep(self, shard: BatchShard, batch: MessageBatch, *, sure: bool) -> None:
        created, expires = batch.created_at.timestamp(), batch.expires_at.timestamp()
        self._journal.mark_submitted(shard, batch.id, created, expires, sure=sure)

    def _find(self, shard: BatchShard) -> bool:
        """Look for the batch of an open create until it shows or `settle` has passed."""
        clock, window = self._patience.clock, self._window
        deadline = clock() + window.settle
        while True:
            batch = self._patience(partial(self._candidate, shard))
            if batch is not None:
                self._keep(shard, batch, sure=False)
                return True
            if clock() >= deadline:
                return False
            self._patience.sleep(min(window.every, max(0.001, deadline - clock())))

    def _candidate(self, shard: BatchShard) -> MessageBatch | None:
        """The batch that is most likely this shard's: of its size, and nearest in time."""
        since = shard.since or 0.0
        known, found = self._journal.known_batches(), []
        for batch in self._batches.list(limit=100):
            created = batch.created_at.timestamp()
            if created < since - self._window.skew:
                break
            if batch.id not in known and _size(batch) == shard.requests:
                found.append((abs(created - since), batch))
        return min(found, key=lambda each: each[0])[1] if found else None


def _size(batch: MessageBatch) -> int:
    counts = batch.request_counts
    ended = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return counts.processing + ended


def _certain(error: Exception) -> bool:
    """Whether a failed create left no batch behind."""
    if isinstance(error, APIStatusError):
        return error.status_code < 500 and error.status_code not in UNDECIDED
    return isinstance(error, APIConnectionError) and isinstance(error.__cause__, NEVER_SENT)
