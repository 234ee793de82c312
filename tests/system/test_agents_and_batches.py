"""Plans and batch jobs side by side on one database, in processes that are killed one by one.

Two runs of different plans and calls, and two batch jobs of equal sizes and ids. The first two
processes die at a moment that is told; the last one says the same as they did, and all that they
had begun is finished by whoever lives. The fake API runs here, on a real socket.
"""

import json
import multiprocessing
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from agents_worker import CAP, expected, plan_for, seed_of
from batching_worker import PATH, asked
from dbos import DBOS, DBOSClient
from fleet_worker import ROWS, rows, work

from patterns.agents.durable import TASK
from patterns.core.durable import UNFINISHED
from patterns.fake_api import FakeAPI, Fault
from patterns.fake_api.wire.server import serve

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["fleet_worker", "patterns.batching", "patterns.fake_api"])


class Trial:
    """One database, one API, and processes that work on both."""

    def __init__(self, database: str, url: str, folder: Path, names: str, queue: bool) -> None:
        self.database, self.url, self.queue = database, url, queue
        self.log = folder / "log"
        self.runs = [f"red-{names}-1", f"blue-{names}-2"]
        self.jobs = [f"job-{names}-x", f"job-{names}-y"]
        DBOS.migrate(database)
        self.client = DBOSClient(system_database_url=database)

    def start(self, starts: list[str], dies_at: int = 0) -> Any:
        arguments = (self.database, self.url, str(self.log), starts, self.queue, dies_at)
        process = FORKS.Process(target=work, args=arguments)
        process.start()
        return process

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def recorded(self) -> tuple[set[tuple[str, str]], int]:
        """The tasks that have a record, and how much of the log is older than this look."""
        found = set()
        for run in self.runs:
            queued = self.client.list_workflows(
                workflow_id_prefix=f"{run}:1:", name=TASK, status="SUCCESS"
            )
            found |= {(run, one.workflow_id.rpartition(":")[2]) for one in queued}
            if self.client.list_workflows(workflow_ids=[run]):
                steps = self.client.list_workflow_steps(run)
                found |= {(run, step["function_name"]) for step in steps}
        return found, len(self.lines())


def side_by_side(trial: Trial, api: FakeAPI, first: int, second: int) -> None:
    """Two processes die at these moments, and a third finishes; every value is looked at."""
    starts = [[run, job] for run, job in zip(trial.runs, trial.jobs, strict=True)]
    dying = [trial.start(each, at) for each, at in zip(starts, (first, second), strict=True)]
    kept = []
    for process in dying:
        process.join(120)
        assert process.exitcode == -9
        kept.append(trial.recorded())
    last = trial.start([*trial.runs, *trial.jobs])
    last.join(120)
    assert last.exitcode == 0

    lines = trial.lines()
    done = {
        line["done"]: line["outputs"]
        for line in lines
        if line["pid"] == last.pid and "done" in line
    }
    for run in trial.runs:
        assert done[run] == expected(run.partition("-")[0], run)
    for job in trial.jobs:
        assert [*done[job]] == [row["custom_id"] for row in rows(job)]
        assert all(f"{job} {n}" in text for n, text in enumerate(done[job].values()))
    assert set(asked(api).values()) == {1}, "paid twice"
    assert len(asked(api)) == 2 * ROWS

    for tasks, position in kept:
        again = {(line["run"], line["started"]) for line in lines[position:] if "started" in line}
        assert not tasks & again, "a recorded step was paid again"
    started = sum("started" in line for line in lines)
    assert started - sum(len(plan_for(seed_of(run))[0]) for run in trial.runs) <= 2 * CAP * 2
    assert not trial.client.list_workflows(status=[*UNFINISHED])
    database = sa.create_engine(trial.database)
    with database.connect() as connection:
        still = "SELECT count(*) FROM patterns_ledger WHERE holder IS NOT NULL"
        assert connection.scalar(sa.text(still)) == 0
    database.dispose()
    trial.client.destroy()


def trial_on(database: str, folder: Path, name: str, queue: bool, moments: tuple[int, int]) -> None:
    """One trial. Slow creates, so that moments fall between sending one and knowing its batch."""
    slow = Fault.delay(0.1, path=PATH, requests=lambda body: body is not None)
    api = FakeAPI(batch_seconds=0.5, faults=[slow], seed=1)
    with serve(api) as url:
        side_by_side(Trial(database, url, folder, name, queue), api, *moments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queue", "moments"), [(False, (6, 21)), (True, (17, 9))], ids=["in their process", "queued"]
)
def test_plans_and_batches_survive_the_death_of_two_processes(
    postgres: str, tmp_path: Path, queue: bool, moments: tuple[int, int]
) -> None:
    """Each has its own answers, nothing is paid twice, and nothing is left pending."""
    trial_on(postgres, tmp_path, "q" if queue else "p", queue, moments)


@pytest.mark.soak
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", range(12))
def test_plans_and_batches_survive_deaths_at_many_moments(
    database: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The first forty moments of each process, drawn by the seed; queued or not in turns."""
    url = (
        f"sqlite:///{tmp_path}/runs" if database == "sqlite" else request.getfixturevalue(database)
    )
    rng = random.Random(seed)
    moments = rng.randint(1, 40), rng.randint(1, 40)
    trial_on(url, tmp_path, f"s{seed}", bool(seed % 2), moments)
