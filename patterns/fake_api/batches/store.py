"""`/v1/messages/batches`: made at once, finished by the clock, read as a stream in another order.

What a batch will answer is decided when it is made; nothing runs in the background. Its requests
finish one after the other, evenly over `seconds`, in a seeded order, which is also the order of
the results. Until the batch ends every count but `processing` is zero, as in the real API. What
is not finished after 24 hours is expired, what is not finished when it is cancelled is canceled.
Bodies are kept compressed and messages are built while results are read, so that a batch of a
hundred thousand requests stays small.

Used by chapter 08.
"""

import random
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from patterns.fake_api.batches.answers import Outcome
from patterns.fake_api.batches.requests import check_batch
from patterns.fake_api.build import make_id
from patterns.fake_api.catalogue import page
from patterns.fake_api.journal import Packed
from patterns.fake_api.limits import rfc3339
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.jsons import from_bytes, quick_bytes
from patterns.fake_api.wire.routes import Call

DAY: Final = 86_400
RESULTS_KEPT: Final = 29 * DAY
CANCEL_SECONDS: Final = 60.0

Decide: TypeAlias = Callable[[Any, int], Outcome]
"""From parameters and number to the outcome."""
Render: TypeAlias = Callable[[Any, int, Outcome], dict[str, Any]]
"""From parameters, number and outcome to the `result` of a line."""


@dataclass
class Batch:
    """One batch."""

    id: str
    workspace: str
    created_at: float
    seconds: float
    body: Packed
    outcomes: list[Outcome]
    order: "array[int]"
    cancelled_at: float | None = None
    cancel_seconds: float = CANCEL_SECONDS
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many requests it holds."""
        return len(self.outcomes)

    @property
    def expires_at(self) -> float:
        """When whatever is left expires."""
        return self.created_at + DAY

    @property
    def ends_at(self) -> float:
        """When processing ends."""
        ends = min(self.created_at + self.seconds, self.expires_at)
        if self.cancelled_at is None:
            return ends
        return min(ends, self.cancelled_at + self.cancel_seconds)

    def status(self, now: float) -> str:
        """The batch's `processing_status`."""
        if now >= self.ends_at:
            return "ended"
        return "in_progress" if self.cancelled_at is None else "canceling"

    def finished(self) -> int:
        """How many requests were processed by the end; the rest expired or were cancelled."""
        stops = self.ends_at if self.cancelled_at is None else min(self.ends_at, self.cancelled_at)
        if stops >= self.created_at + self.seconds:  # a difference would lose the last bits
            return self.size
        return int(self.size * (stops - self.created_at) / self.seconds)

    def left_over(self) -> str:
        """What became of the requests that were not processed."""
        return "canceled" if self.cancelled_at is not None else "expired"

    def tally(self, now: float) -> dict[str, int]:
        """The `request_counts`."""
        names = ("processing", "succeeded", "errored", "canceled", "expired")
        counts = dict.fromkeys(names, 0)
        if self.status(now) != "ended":
            counts["processing"] = self.size
            return counts
        done = self.finished()
        errored = sum(isinstance(self.outcomes[n], APIError) for n in self.order[:done])
        counts["succeeded"], counts["errored"] = done - errored, errored
        counts[self.left_over()] += self.size - done
        return counts

    def as_dict(self, now: float, base_url: str) -> dict[str, Any]:
        """The batch as the API shows it."""
        ended = self.status(now) == "ended"
        if ended and not self.counts:
            self.counts = self.tally(now)
        archived = now >= self.created_at + RESULTS_KEPT
        url = (
            f"{base_url}/v1/messages/batches/{self.id}/results" if ended and not archived else None
        )
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status(now),
            "request_counts": self.counts or self.tally(now),
            "created_at": _time(self.created_at),
            "expires_at": _time(self.expires_at),
            "ended_at": _time(self.ends_at) if ended else None,
            "cancel_initiated_at": _time(self.cancelled_at),
            "archived_at": _time(self.created_at + RESULTS_KEPT) if archived else None,
            "results_url": url,
        }


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(int(at))


class Batches:
    """The batches of one fake API.

    Args:
        seconds: how long a batch takes, or a function from its number of requests to that.
        seed: decides on the order of results.
    """

    def __init__(self, seconds: float | Callable[[int], float], seed: int) -> None:
        self._seconds = seconds
        self._seed = seed
        self._batches: dict[str, Batch] = {}

    def create(self, call: Call, body: Any, decide: Decide) -> Batch:
        """Take a batch in; every call makes a new one, also for a body that came before."""
        requests = check_batch(body)
        batch_id = make_id("msgbatch", self._seed, call.digest, call.ordinal)
        outcomes = [decide(each["params"], n) for n, each in enumerate(requests)]
        order = list(range(len(requests)))
        random.Random(f"{self._seed}{batch_id}").shuffle(order)
        seconds = self._seconds(len(requests)) if callable(self._seconds) else self._seconds
        batch = Batch(
            batch_id,
            call.workspace,
            call.at,
            seconds,
            call.packed,
            outcomes,
            array("I", order),
        )
        self._batches[batch_id] = batch
        return batch

    def get(self, batch_id: str, workspace: str) -> Batch:
        """A batch of this workspace.

        Raises:
            APIError: 404 where there is none.
        """
        batch = self._batches.get(batch_id)
        if batch is None or batch.workspace != workspace:
            raise APIError(404, f"Message batch {batch_id!r} not found")
        return batch

    def list(self, query: Mapping[str, str], workspace: str, now: float, base_url: str) -> Any:
        """A page of batches, newest first."""
        own = [batch for batch in self._batches.values() if batch.workspace == workspace]
        own.reverse()
        return page(own, query, lambda batch: batch.id, lambda batch: batch.as_dict(now, base_url))

    def cancel(self, batch: Batch, now: float) -> None:
        """Start to cancel; what is finished by then stays finished.

        Raises:
            APIError: 400 for a batch that has ended.
        """
        if batch.status(now) == "ended":
            raise APIError(400, f"batch {batch.id!r} has ended and cannot be canceled")
        if batch.cancelled_at is None:
            batch.cancelled_at = now

    def delete(self, batch: Batch, now: float) -> None:
        """Forget a batch.

        Raises:
            APIError: 400 for a batch that has not ended.
        """
        if batch.status(now) != "ended":
            raise APIError(400, f"batch {batch.id!r} has not ended; cancel it before deleting it")
        del self._batches[batch.id]

    def results(self, batch: Batch, now: float, render: Render) -> Iterator[bytes]:
        """The lines of the results.

        Raises:
            APIError: 404 before the batch has ended and once its results are archived.
        """
        if batch.status(now) != "ended":
            raise APIError(404, f"batch {batch.id!r} has no results yet; it is in progress")
        if now >= batch.created_at + RESULTS_KEPT:
            raise APIError(404, f"the results of batch {batch.id!r} are archived after 29 days")
        return _lines(batch, render)


def _lines(batch: Batch, render: Render) -> Iterator[bytes]:
    requests = from_bytes(batch.body.unpack())["requests"]
    done = batch.finished()
    for rank, n in enumerate(batch.order):
        request = requests[n]
        if rank < done:
            result = render(request["params"], n, batch.outcomes[n])
        else:
            result = {"type": batch.left_over()}
        yield quick_bytes({"custom_id": request["custom_id"], "result": result}) + b"\n"
