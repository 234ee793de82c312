"""Many workers on one job: each batch is a workflow on the engine of `patterns.core.durable`.

    engine = Durable("postgresql+psycopg://…", services={BATCHES: BatchAPI(client)})
    engine.start()                      # on every machine that shall work
    with BatchJob(client, engine, name="nightly") as job:
        job.submit(requests)            # on any of them; the others need not know of the job
        job.wait()

The engine decides who works on which batch, and hands over what a dead worker held; where a batch
stands is in the job's own tables, in the same database, so whoever takes over goes on from there.
A workflow holds no requests: those would be 256 MB of argument. A worker looks after as many open
batches as the engine's `at_once`; more of them wait to be sent.

Needs: pip install dbos. Taught in chapter 08.
"""

import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import Final

from dbos import DBOS

from patterns.batching.api import ResultsError
from patterns.batching.store import BatchShard, JobStore
from patterns.batching.work import Work
from patterns.core.durable import UNFINISHED, Durable, running

BATCHES: Final = "batches"
"""The service that a worker needs: a `BatchAPI`."""
SHARD: Final = "patterns.batching.shard"
LOOK_S: Final = 1.0


class WorkerFailed(ResultsError):
    """A worker could not go on with a batch; wait() has it tried again."""


@DBOS.workflow(name=SHARD)
def _shard(service: str, job: str, number: int) -> str:
    """Work on a batch until its results are stored; what went wrong, or nothing."""
    engine = running()
    api = engine.services[service]
    if api.sleep is time.sleep:
        api = replace(api, sleep=engine.pause)  # so that a worker can be stopped
    try:
        with closing(JobStore(engine.url, job)) as store:
            work = Work(api, store)
            while pause := work.step(store.shard(number)):
                api.sleep(pause)
    except Exception as error:  # as data: not every exception survives a database
        return f"{type(error).__name__}: {error}"
    return ""


class Fleet:
    """Has the batches of a store worked on by the workers of an engine."""

    def __init__(self, engine: Durable, store: JobStore) -> None:
        self._engine, self._store = engine, store
        self._ids: dict[int, str] = {}

    def submit(self, but: Collection[int] = ()) -> None:
        """Queue every open batch, once; not those of these numbers."""
        for shard in self._store.shards("planned", "sending", "submitted"):
            if shard.number not in self._ids and shard.number not in but:
                self._queue(shard)

    def round(self, problems: dict[int, Exception]) -> float:
        """Look after every open batch; seconds until the next look, 0 when all have ended."""
        self.submit(problems)
        for number, workflow_id in list(self._ids.items()):
            status = self._engine.look(workflow_id)
            if status and status.status not in UNFINISHED:
                del self._ids[number]
                shard = self._store.shard(number)
                if shard.state != "collected":
                    name = shard.batch_id or f"batch {number}"
                    problems[number] = WorkerFailed(name, str(status.output or status.error))
        return LOOK_S if self._ids else 0.0

    def _queue(self, shard: BatchShard) -> None:
        """Have a worker take it, unless one has; again where one has tried in vain."""
        for turn in count():  # pragma: no branch - it ends by return
            workflow_id = f"{SHARD}:{self._store.nonce}:{shard.number}:{turn}"
            status = self._engine.look(workflow_id)
            if status is None:
                self._engine.enqueue(SHARD, workflow_id, BATCHES, self._store.name, shard.number)
            if status is None or status.status in UNFINISHED:
                self._ids[shard.number] = workflow_id
                return
