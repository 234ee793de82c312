"""A job of any number of requests on the Batches API that survives being killed anywhere.

    with BatchJob(client, "job.sqlite") as job:
        job.submit(requests)        # {"custom_id", "params"}, any iterable
        job.wait()
        for result in job.results():
            ...

Run the same lines again after a crash: the file knows how far the job was. Half the price of
plain calls, for work that can wait a day. Not for one request, and not while a person waits: see
`choose`. In async code, take `AsyncBatchJob`; for many workers on one job, give it the engine of
`patterns.core.durable` in place of a file.

Taught in chapter 08.
"""

import math
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol, cast

from anthropic import Anthropic, APIError
from anthropic.types.messages.batch_create_params import Request

from patterns.batching.api import SHORTEST, BatchAPI, BatchGone, NoBatch
from patterns.batching.plan import MOST_BYTES, MOST_REQUESTS, Cutter, PlanChanged, fill
from patterns.batching.reading import Reading
from patterns.batching.results import BatchResult
from patterns.batching.status import JobCost, JobStatus, cost_of, status_of
from patterns.batching.store import BatchShard, JobStore
from patterns.batching.wire import NONCE
from patterns.batching.work import Work
from patterns.core.errors import Portable
from patterns.core.retrying import is_transient

RESUMABLE: Final = frozenset(
    (
        "expired",
        "api_error",
        "billing_error",
        "overloaded_error",
        "rate_limit_error",
        "timeout_error",
    )
)
"""Why a request may have no answer now and get one later: too little time, load, or credit."""


class Engine(Protocol):
    """What many workers share: `patterns.core.durable.Durable`, started."""

    url: str


class Crew(Protocol):
    """Who does the work: this process (`work`), or whoever serves an engine (`fleet`)."""

    def submit(self) -> None:
        """Have every batch created, once."""

    def round(self, problems: dict[int, Exception]) -> float:
        """Bring every open batch on; seconds until the next time, 0 when there is none left."""


class NotSubmitted(Portable, Exception):
    """The job is planned and nothing of it is on its way."""

    def __init__(self, shards: int) -> None:
        super().__init__(f"{shards} batch(es) are not submitted; call submit() first.")


class StillRunning(Portable, Exception):
    """The time for waiting is over and some batches run on; wait again, or cancel.

    Attributes:
        status: how far the job is.
    """

    def __init__(self, status: JobStatus) -> None:
        self.status = status
        super().__init__(
            f"{status.shards - status.ended} of {status.shards} batches still run after "
            f"{status.elapsed:,.0f} s; wait() again goes on, cancel() stops them."
        )


@dataclass(frozen=True)
class Resumed:
    """What `resume` does again, and what it keeps.

    Attributes:
        kept: results that stay; they are not paid again.
        again: how many requests are sent again, by reason.
        shards: the batches that hold them.
    """

    kept: int
    again: Mapping[str, int]
    shards: tuple[BatchShard, ...]


class BatchJob:
    """Requests on their way through the Batches API, remembered in a file or a database.

    Args:
        client: the SDK's client; its middleware applies, its own retries do not.
        where: a file, made if it is missing, that this process has to itself; or a started engine,
            on whose database many workers share the job (see `fleet`). It holds the prompts and
            answers: keep it as you keep those.
        name: of the job, where an engine's database has several.
        clock: seconds since 1970.
        sleep: waits that many seconds.
        most_requests: requests in one batch.
        most_bytes: bytes in one batch.
        nonce: 16 hex digits that no other job has; drawn at random unless a test wants the same
            bytes each time.
        options: of `BatchAPI`, such as `patience` and `settle`.

    Raises:
        JobStoreError: the file or database cannot be used.
        TypeError: an async client.
        ValueError: a nonce or seconds that make no sense.
    """

    def __init__(
        self,
        client: Anthropic,
        where: Path | str | Engine,
        *,
        name: str = "job",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
        nonce: str | None = None,
        **options: Any,
    ) -> None:
        self._new_nonce = nonce or secrets.token_hex(8)
        if not NONCE.fullmatch(self._new_nonce):
            raise ValueError(f"nonce is {nonce!r}; it must be 16 of 0-9 and a-f.")
        self._api = BatchAPI(client, clock, sleep, **options)
        self._most = most_requests, most_bytes
        self._engine = None if isinstance(where, str | Path) else where
        self._store = JobStore(where if isinstance(where, str | Path) else where.url, name)
        self.readings: dict[int, Reading] = {}
        """What reading results found here, by the number of the batch."""

    def __enter__(self) -> "BatchJob":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the batches run on."""
        self._store.close()

    @property
    def nonce(self) -> str:
        """What every `custom_id` of this job begins with on the wire."""
        return self._store.nonce

    @property
    def shards(self) -> tuple[BatchShard, ...]:
        """The job's batches and how far each is."""
        return tuple(self._store.shards())

    def plan(self, requests: Iterable[Request]) -> tuple[BatchShard, ...]:
        """Keep the requests, all or none; compare them if the job has some already.

        Raises:
            BadRequest, NothingToSend: see `plan_batches`.
            PlanChanged: the job has other requests.
        """
        # A store of its own, so that no code of the caller's runs inside a transaction of ours.
        with closing(JobStore()) as plan:
            with plan.step():
                list(fill(plan, requests, *self._most))
            if not self._store.begin(plan, self._new_nonce):
                self._compare(plan)
        return self.shards

    def _compare(self, plan: JobStore) -> None:
        known = self._store.count_requests()
        if (count := plan.count_requests()) < known:
            problem = f"only {count:,} requests come again, the job has {known:,}; call "
            raise PlanChanged(count, None, problem + "submit() without requests to go on.")
        mine = (row for page in self._store.pages() for row in page)
        for n, custom_id, _, params in (row for page in plan.pages() for row in page):
            n_, id_, _, params_ = next(mine, (0, "", 0, b""))
            if (n, custom_id, params) != (n_, id_, params_):
                problem = f"{custom_id!r} is not what the job has there; call submit() without "
                problem += "requests to go on, or take another file or name for another job."
                raise PlanChanged(n - 1, custom_id, problem)

    def submit(self, requests: Iterable[Request] | None = None) -> tuple[BatchShard, ...]:
        """Create what is not created yet, each batch once; settle what a crash left open.

        After `cancel` nothing more is sent: see `resume`.

        Args:
            requests: the job's requests; None to go on with those that it has.

        Raises:
            BadRequest, NothingToSend, PlanChanged: see `plan`; nothing was sent.
            APIStatusError: the API refuses a batch; the others before it are submitted.
        """
        if requests is not None:
            self.plan(requests)
        self._store.set_state("running", "planned")
        self._crew(self._api).submit()
        return self.shards

    def _crew(self, api: BatchAPI) -> Crew:
        if self._engine is None:
            return Work(api, self._store, self.readings)
        fleet = import_module(".fleet", __package__)  # a job in a file needs no DBOS
        crew: Crew = fleet.Fleet(self._engine, self._store)
        return crew

    def status(self) -> JobStatus:
        """How far the job is; asks nobody."""
        return status_of(self._store, self._api.clock())

    def wait(
        self, *, timeout: float = math.inf, progress: Callable[[JobStatus], object] | None = None
    ) -> JobStatus:
        """Until every batch has ended and its results are stored: look, less and less often.

        Args:
            timeout: seconds; without one it waits as long as the API takes, at most a day.
            progress: told the status at each look, such as `print`.

        Raises:
            ValueError: the timeout is no number.
            StillRunning: the time is over.
            NotSubmitted: there is something to submit first.
            ResultsError: of the first batch whose results cannot be had; the others are stored.
            APIError: the API refuses, or fails for too long.
        """
        if self._store.state in (None, "planned"):
            raise NotSubmitted(len(self.shards))
        if math.isnan(timeout):
            raise ValueError("timeout is nan; give seconds, or nothing to wait for the end.")
        crew = self._crew(replace(self._api, patience=max(0.0, min(self._api.patience, timeout))))
        began = self._api.clock()
        problems: dict[int, Exception] = {}
        while True:
            pause, status = self._round(crew, problems, timeout), self.status()
            if progress:
                progress(status)
            if pause == 0:
                break
            left = timeout - (self._api.clock() - began)
            if left <= SHORTEST:
                raise StillRunning(status)
            self._api.sleep(min(pause, left))
        for number in sorted(problems):
            raise problems[number]
        return status

    def _round(self, crew: Crew, problems: dict[int, Exception], timeout: float) -> float:
        try:
            return crew.round(problems)
        except (APIError, NoBatch) as error:
            if timeout == math.inf or not is_transient(error):
                raise
            raise StillRunning(self.status()) from error  # an outage longer than the time to wait

    def results(self) -> Iterator[BatchResult]:
        """The stored results, in the order of the requests; asks nobody.

        After `wait` there is one for every request.
        """
        return (BatchResult(n - 1, *rest) for n, *rest in self._store.results())

    def cost(self) -> JobCost:
        """What the stored results cost."""
        return cost_of(self.results())

    def resume(self, reasons: Collection[str] = RESUMABLE) -> Resumed:
        """Go on after a cancel or after failures: send again what has no answer, nothing else.

        Args:
            reasons: an outcome or the type of an error for which to send a request again. An
                `invalid_request_error` is not among them, since it would fail again. Add
                `"canceled"` for what was cancelled or never sent, and `"gone"` for batches that
                the API knows no more, whose requests may be billed twice.

        Returns:
            What is sent again; wait() as before.
        """
        sent = self._store.shards("submitted") if "gone" in reasons else []
        gone = [shard for shard in sent if self._is_gone(shard)]
        again: dict[str, int] = {}
        with self._store.step():
            self._store.set_state("running")
            rows = [row for row in self._store.failed() if row[3] in reasons]
            rows += [(*row, "gone") for shard in gone for row in self._store.release(shard)]
            cutter, before = Cutter(self._store, *self._most), len(self._store.shards())
            for n, custom_id, size, reason in sorted(rows):
                list(cutter.cut(n, custom_id, size))
                self._store.move(n, cutter.number)
                again[reason] = again.get(reason, 0) + 1
            if cutter.count:
                cutter.shard()
        self.submit()
        kept = sum(self._store.outcomes().values())
        return Resumed(kept, again, self.shards[before:])

    def _is_gone(self, shard: BatchShard) -> bool:
        """Whether the API knows the batch no more, or not its results."""
        try:
            batch = self._api.batch(cast(str, shard.batch_id))
        except BatchGone:
            return True
        return batch.processing_status == "ended" and batch.results_url is None

    def cancel(self) -> tuple[str, ...]:
        """Send nothing more, and ask the API to stop every running batch; wait() as before.

        What is done by then is kept and paid, what was never sent counts as canceled. A batch of
        which it is not known yet whether it is ours is not stopped.

        Returns:
            The ids that it asked for.
        """
        self._store.set_state("stopped")
        for shard in self._store.shards("planned"):
            self._store.mark_unsent(shard)
        ids = tuple(cast(str, shard.batch_id) for shard in self._store.shards("submitted"))
        for batch_id in ids:
            self._api.cancel(batch_id)
        return ids
