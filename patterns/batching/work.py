"""One step of one batch: send it, look at it, or read its results, wherever it stands.

The same for a job in one process (`job`) and for the workers of an engine (`fleet`): what the store
says decides, so a step may be taken again by anybody after a crash.

Used by the folder patterns/batching.
"""

from typing import Final, cast

from patterns.batching.api import BatchAPI, ResultsError
from patterns.batching.reading import Reader, Reading
from patterns.batching.store import BatchShard, JobStore
from patterns.batching.submission import Submission

FIRST_LOOK: Final = 5.0
SLOWEST_LOOK: Final = 60.0


class Work:
    """What is to be done on the batches of a store."""

    def __init__(
        self, api: BatchAPI, store: JobStore, readings: dict[int, Reading] | None = None
    ) -> None:
        self._api, self._store = api, store
        self._submission = Submission(api, store)
        self._readings = {} if readings is None else readings

    def submit(self) -> None:
        """Have every batch created, once; see `Submission.run`."""
        for shard in self._store.shards("planned", "sending"):
            self._submission.run(shard)

    def round(self, problems: dict[int, Exception]) -> float:
        """A step of every open batch; seconds until the next, 0 where there is nothing to do.

        Args:
            problems: batches, by number, that are left alone; those that get one are added.
        """
        pauses = []
        for shard in self._store.shards("planned", "sending", "submitted"):
            if shard.number not in problems:
                try:
                    pauses.append(self.step(shard))
                except ResultsError as error:
                    problems[shard.number] = error
        return min(filter(None, pauses), default=0.0)

    def step(self, shard: BatchShard) -> float:
        """Bring a batch on as far as it goes now; seconds until the next look, 0 for none.

        Raises:
            ResultsError: its results cannot be had.
            APIError: the API refuses, or fails for too long.
        """
        shard = self._submission.run(shard)
        if shard.state == "sending":
            return SLOWEST_LOOK
        if shard.state == "submitted":
            batch = self._api.batch(cast(str, shard.batch_id))
            if batch.processing_status != "ended":
                elapsed = self._api.clock() - batch.created_at.timestamp()
                return max(FIRST_LOOK, min(SLOWEST_LOOK, FIRST_LOOK + elapsed / 2))
            reader = Reader(self._api, self._store, shard)
            self._readings[shard.number] = reader.report
            reader.run()
        return 0.0
