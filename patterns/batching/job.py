"""A job of any number of requests on the Batches API that survives being killed anywhere.

    with BatchJob(client, "job.sqlite") as job:
        job.submit(requests)        # {"custom_id", "params"}, any iterable
        job.wait()
        for result in job.results():
            ...

Run the same lines again after a crash: the journal knows how far the job was. Half the price of
plain calls, for work that can wait a day. Not for one request, and not while a person waits: see
`choose`. In async code, take `AsyncBatchJob`.

Taught in chapter 08.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

from anthropic import Anthropic, BadRequestError, NotFoundError
from anthropic.types.messages.batch_create_params import Request

from patterns.batching.journal import BatchShard, Journal
from patterns.batching.patience import Patience
from patterns.batching.plan import (
    MOST_BYTES,
    MOST_REQUESTS,
    BadRequest,
    Cutter,
    PlanChanged,
    encode,
    fill,
)
from patterns.batching.progress import Progress, Silent
from patterns.batching.results import (
    TRANSIENT,
    BatchGone,
    BatchResult,
    Collected,
    Collector,
    ForeignBatch,
    ResultsError,
)
from patterns.batching.submission import Submission, Window

FIRST_LOOK: Final = 5.0
SLOWEST_LOOK: Final = 60.0


class NotSubmitted(Exception):
    """Some requests are not on their way yet."""

    def __init__(self, shards: int) -> None:
        super().__init__(f"{shards} batch(es) are not submitted; call submit() first.")


class StillRunning(Exception):
    """The time for waiting is over and some batches run on; wait again, or cancel.

    Attributes:
        status: how far the job is.
    """

    def __init__(self, status: "JobStatus") -> None:
        self.status = status
        super().__init__(
            f"{status.shards - status.ended} of {status.shards} batches still run after "
            f"{status.elapsed:,.0f} s; wait() again goes on, cancel() stops them."
        )


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        shards: batches of the job, those of retries included.
        submitted: those whose id is known.
        ended: those whose results can be read, or are.
        requests: requests of the job.
        outcomes: how many stored results there are of each outcome.
        elapsed: seconds since the oldest running batch was created.
        left: seconds until the next one expires.
    """

    shards: int
    submitted: int
    ended: int
    requests: int
    outcomes: dict[str, int]
    elapsed: float
    left: float

    @property
    def share(self) -> float:
        """How much of its time the oldest running batch has used, 0 to 1."""
        whole = self.elapsed + self.left
        return self.elapsed / whole if whole > 0 else 1.0


@dataclass(frozen=True)
class JobCost:
    """What the stored results cost.

    Attributes:
        usd: US dollars of everything that has a price.
        by_tier: the same, by the `service_tier` that the API names.
        unpriced: succeeded results without a published price.
    """

    usd: Decimal
    by_tier: dict[str, Decimal]
    unpriced: int


class BatchJob:
    """Requests on their way through the Batches API, remembered in a file.

    Args:
        client: the SDK's client; its middleware applies, its own retries do not.
        journal: the file, made if it is missing. Whoever has it can go on with the job. It holds
            the prompts and answers: keep it as you keep those.
        clock: seconds since 1970.
        sleep: waits that many seconds.
        patience: seconds for which the API may fail in a row.
        window: how the batch of a lost answer is looked for.
        most_requests: requests in one batch.
        most_bytes: bytes in one batch.

    Raises:
        JournalError: the file cannot be used.
    """

    def __init__(
        self,
        client: Anthropic,
        journal: Path | str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = 3_600.0,
        window: Window = Window(),  # noqa: B008  # frozen
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._client, self._clock, self._sleep = client, clock, sleep
        self._journal = Journal(journal)
        self._patience = Patience(clock, sleep, patience)
        self._window = window
        self._most = (most_requests, most_bytes)

    def __enter__(self) -> "BatchJob":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal; the batches run on."""
        self._journal.close()

    @property
    def shards(self) -> tuple[BatchShard, ...]:
        """The job's batches and how far each is."""
        return tuple(self._journal.shards())

    def plan(self, requests: Iterable[Request]) -> tuple[BatchShard, ...]:
        """Write the requests to the journal, all or none; compare them if they are there.

        Raises:
            BadRequest, NothingToSend: see `plan_batches`.
            PlanChanged: the journal holds other requests.
        """
        if self._journal.count_requests():
            self._compare(requests)
            return self.shards
        with self._journal.step():
            return tuple(fill(self._journal, requests, *self._most))

    def _compare(self, requests: Iterable[Request]) -> None:
        count = 0
        for position, request in enumerate(requests):
            custom_id, body = encode(position, request)
            if self._journal.body_of(position + 1) != (custom_id, body):
                problem = f"{custom_id!r} is not what the journal holds there; call submit() "
                problem += "without requests to go on, or take another journal for another job."
                raise PlanChanged(position, custom_id, problem)
            count += 1
        if count < (known := self._journal.count_requests()):
            problem = f"only {count:,} requests come again, the journal holds {known:,}; call "
            raise PlanChanged(count, None, problem + "submit() without requests to go on.")

    def submit(self, requests: Iterable[Request] | None = None) -> tuple[BatchShard, ...]:
        """Create what is not created yet, each batch once; settle what a crash left open.

        Args:
            requests: the job's requests; None to go on with those of the journal.

        Raises:
            BadRequest, NothingToSend, PlanChanged: see `plan`; nothing was sent.
            APIStatusError: the API refuses a batch; the others before it are submitted.
        """
        if requests is not None:
            self.plan(requests)
        Submission(self._client, self._journal, self._patience, self._window).run()
        return self.shards

    def status(self) -> JobStatus:
        """How far the job is, from the journal alone."""
        shards = self._journal.shards()
        now = self._clock()
        running = [shard for shard in shards if shard.state == "submitted"]
        outcomes: Counter[str] = Counter()
        for (outcome, _), n in self._journal.outcomes().items():
            outcomes[outcome] += n
        return JobStatus(
            shards=len(shards),
            submitted=sum(shard.batch_id is not None for shard in shards),
            ended=sum(shard.state in ("ended", "collected") for shard in shards),
            requests=self._journal.count_requests(),
            outcomes=dict(outcomes),
            elapsed=max((now - (shard.created_at or now) for shard in running), default=0.0),
            left=min(((shard.expires_at or now) - now for shard in running), default=0.0),
        )

    def wait(self, *, timeout: float | None = None, progress: Progress | None = None) -> JobStatus:
        """Look until every batch has ended: after 5 seconds, then less and less often.

        Args:
            timeout: seconds; without one it waits as long as the API takes, at most a day.
            progress: such as `TimeBar()`.

        Raises:
            StillRunning: the time is over.
            NotSubmitted: there is something to submit first.
            BatchGone: a batch was deleted on the server.
        """
        if open_ := self._journal.shards("planned", "sending"):
            raise NotSubmitted(len(open_))
        bar = progress or Silent()
        began, pause = self._clock(), FIRST_LOOK
        try:
            while True:
                for shard in self._journal.shards("submitted"):
                    self._look(shard)
                status = self.status()
                bar.show(status)
                if status.ended == status.shards:
                    return status
                if timeout is not None and self._clock() - began >= timeout:
                    raise StillRunning(status)
                self._sleep(pause)
                pause = min(1.5 * pause, SLOWEST_LOOK)
        finally:
            bar.close()

    def _look(self, shard: BatchShard) -> None:
        batches = self._client.with_options(max_retries=0).messages.batches
        batch_id = shard.batch_id or ""
        try:
            batch = self._patience(partial(batches.retrieve, batch_id))
        except NotFoundError:
            raise BatchGone(batch_id, "the API does not know it") from None
        if batch.processing_status == "ended":
            self._journal.mark_ended(shard)

    def collect(self) -> tuple[Collected, ...]:
        """Store the results of every ended batch; what it found, batch by batch.

        Where the batch of a lost answer turns out to be somebody else's, its requests are
        submitted and waited for again.

        Raises:
            ResultsError: of the first batch with a problem; the others are stored by then.
        """
        reports, problems = [], []
        while shards := self._journal.shards("ended"):
            for shard in shards:
                try:
                    collector = Collector(self._client, self._journal, self._patience, shard)
                    reports.append(collector.run())
                except ForeignBatch:
                    self._journal.mark_foreign(shard)
                except ResultsError as error:
                    problems.append(error)
            if problems:
                raise problems[0]
            if self._journal.shards("sending"):
                self.submit()
                self.wait()
        return tuple(reports)

    def results(self) -> Iterator[BatchResult]:
        """Collect what is not collected, then every result in the order of the requests.

        Raises:
            ResultsError: see `collect`; `stored()` gives what there is.
        """
        self.collect()
        return self.stored()

    def stored(self) -> Iterator[BatchResult]:
        """The results in the journal, in the order of the requests; asks nobody."""
        return (BatchResult.of(row) for row in self._journal.results())

    def cost(self) -> JobCost:
        """What the stored results cost."""
        by_tier: dict[str, Decimal] = {}
        unpriced = 0
        for result in self.stored():
            if result.usage is None:
                continue
            if (usd := result.cost) is None:
                unpriced += 1
                continue
            tier = result.usage.service_tier or "standard"
            by_tier[tier] = by_tier.get(tier, Decimal(0)) + usd
        return JobCost(sum(by_tier.values(), Decimal(0)), by_tier, unpriced)

    def retry_failed(
        self,
        *,
        errors: Collection[str] = TRANSIENT,
        expired: bool = True,
        canceled: bool = False,
    ) -> int:
        """Send what did not succeed again, in batches of its own; their old results are forgotten.

        Args:
            errors: error types worth another try. An `invalid_request_error` is not among them:
                the same request would fail again.
            expired: those that the 24 hours were too short for.
            canceled: those that were cancelled.

        Returns:
            How many were submitted again.
        """
        again = [
            (n, size)
            for n, size, outcome, error in self._journal.failed()
            if (outcome == "errored" and error in errors)
            or (outcome == "expired" and expired)
            or (outcome == "canceled" and canceled)
        ]
        with self._journal.step():
            cutter = Cutter(self._journal, *self._most)
            for n, size in again:
                list(cutter.cut(size))
                self._journal.move_request(n, cutter.number)
            list(cutter.rest())
        self.submit()
        return len(again)

    def cancel(self) -> tuple[str, ...]:
        """Ask the API to stop every running batch that is ours for certain; wait() as before.

        What is finished by then keeps its result and is billed. A batch that was found after a
        lost answer may be somebody else's until its results are read: it is left alone.

        Returns:
            The ids of the batches that are being cancelled.
        """
        batches = self._client.with_options(max_retries=0).messages.batches
        for shard in self._journal.shards("submitted"):
            self._look(shard)
        ours = [shard for shard in self._journal.shards("submitted") if shard.sure]
        for shard in ours:
            with suppress(BadRequestError):  # it ended meanwhile
                self._patience(partial(batches.cancel, shard.batch_id or ""))
        return tuple(shard.batch_id or "" for shard in ours)

    def resubmit(self, batch_id: str) -> None:
        """Give a batch up, and plan what it has no result for once more; submit() sends it.

        For a batch that is gone, or whose results are. Its requests may be billed twice.

        Raises:
            BadRequest: no batch of this job has that id.
        """
        for shard in self._journal.shards("submitted", "ended"):
            if shard.batch_id == batch_id:
                self._journal.replan(shard)
                return
        raise BadRequest(0, None, f"no running or ended batch of this job is {batch_id!r}.")


__all__ = ["BatchJob", "JobCost", "JobStatus", "NotSubmitted", "StillRunning"]
