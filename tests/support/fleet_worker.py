"""A worker that has plans and batch jobs side by side on one database, and dies when it is told.

It has two calls, `red` and `blue`, and the batches of one API, so it goes on with what another
left. A moment is the beginning or the end of a call, or of a request; it is killed at one.
"""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from agents_worker import AGENTS, CAP, plan_for, seed_of, value
from anthropic import Anthropic
from anthropic.types import Usage
from batching_worker import Moments, request

from patterns.agents.budget import Budget
from patterns.agents.durable import DBOSEngine
from patterns.agents.plan import Agent, Task
from patterns.agents.report import Context, Reply
from patterns.agents.scheduler import Call, run_plan
from patterns.batching import BatchJob
from patterns.batching.api import BatchAPI
from patterns.batching.fleet import BATCHES
from patterns.core.messages import text_of

ROWS, EACH = 9, 3
TOKENS = 10
BUDGET = Budget(tokens=100_000)


def rows(job: str) -> list[Any]:
    """The same ids in every job, and questions that name it."""
    return [request(n, messages=[{"role": "user", "content": f"{job} {n}"}]) for n in range(ROWS)]


class Log:
    """What happened, by every process, a line each; `dies_at` counts those of this one."""

    def __init__(self, path: str, dies_at: int) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.left, self.lock = dies_at, threading.Lock()

    def note(self, **line: Any) -> None:
        """One line."""
        os.write(self.file, (json.dumps({"pid": os.getpid(), **line}) + "\n").encode())

    def moment(self, **line: Any) -> None:
        """One line, and the end if it was the last."""
        with self.lock:
            self.note(**line)
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def call(self, name: str) -> Call:
        """A call whose answers start with its name."""

        async def call(agent: Agent, task: Task, context: Context) -> Reply:
            self.moment(run=context.run_id, started=task.id)
            await asyncio.sleep(plan_for(seed_of(context.run_id))[1][task.id])
            self.moment(run=context.run_id, ended=task.id)
            usage = Usage(input_tokens=TOKENS, output_tokens=0)
            return Reply(value(name, context.run_id, task.id, context.inputs), (usage,))

        return call


def work(
    database: str, url: str, path: str, starts: Sequence[str], queue: bool, dies_at: int = 0
) -> None:
    """Start these (`red-3` is a run of the call `red`, `job-x` a batch job), note how they end."""
    asyncio.run(_work(database, url, Log(path, dies_at), starts, queue))


async def _work(database: str, url: str, log: Log, starts: Sequence[str], queue: bool) -> None:
    def nap(seconds: float) -> None:
        time.sleep(min(seconds, 0.05))

    seen = Moments(lambda number: log.moment(request=number))
    client = Anthropic(base_url=url, api_key="worker", middleware=[seen])
    calls = {name: log.call(name) for name in ("red", "blue")}

    async def run(name: str) -> None:
        report = await run_plan(
            plan_for(seed_of(name))[0],
            AGENTS,
            name.partition("-")[0],
            max_concurrency=CAP,
            engine=engine,
            budget=BUDGET,
            run_id=name,
        )
        log.note(done=name, outputs=report.outputs)

    def batches(name: str) -> None:
        with BatchJob(client, engine, name=name, sleep=nap, most_requests=EACH) as job:
            job.submit(rows(name))
            job.wait()
            texts = {r.custom_id: text_of(r.message) for r in job.results() if r.message}
        log.note(done=name, outputs=texts)

    async with DBOSEngine(database, calls=calls, queue=queue, lease_s=1.0) as engine:
        engine.services[BATCHES] = BatchAPI(client, sleep=nap, settle=0.6, every=0.1)
        await engine.serve()
        await asyncio.gather(
            *(
                asyncio.to_thread(batches, name) if name.startswith("job") else run(name)
                for name in starts
            )
        )
