"""Durable work: once by its id, served by who can, taken over from who is gone."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dbos import DBOSClient
from durable_worker import WORKFLOW

from patterns.core import durable
from patterns.core.durable import DatabaseUnusable, Durable, EngineBusy, holder_of, make_tables

WORKER = Path(__file__).parents[1] / "support" / "durable_worker.py"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of its own."""
    return f"sqlite:///{tmp_path}/work.sqlite"


@pytest.fixture
def said() -> list[str]:
    """What the service of this process was asked to do."""
    return []


@pytest.fixture
def engine(url: str, said: list[str]) -> Iterator[Durable]:
    """A worker that serves `names`."""

    def does(name: str, number: int) -> str:
        said.append(f"{name} {number}")
        return f"{name} {number} by {os.getpid()}"

    engine = Durable(url, services={"names": does}, lease_s=0.3)
    engine.start()
    yield engine
    engine.stop()


def steps(url: str, workflow_id: str) -> list[str]:
    client = DBOSClient(system_database_url=url)
    found = client.list_workflow_steps(workflow_id)
    client.destroy()
    return [step["function_name"] for step in found]


def lost(url: str, service: str, workflow_id: str) -> subprocess.Popen[str]:
    """A worker that has started a workflow and hangs in its third step."""
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), url, service, workflow_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=WORKER.parents[2],
    )
    assert worker.stdout
    while line := worker.stdout.readline():
        if line == f"{workflow_id} 2\n":
            return worker
    raise AssertionError(worker.wait())


def end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.communicate()


def until(true: Any) -> None:
    """Look again until something holds that another thread brings about."""
    for _ in range(2_000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError


def test_a_workflow_runs_once_by_its_id(engine: Durable, said: list[str]) -> None:
    """Queued twice, from the shared queue and for here, it ran once and is read again."""
    engine.enqueue(WORKFLOW, "a", "names", "a")
    first = engine.wait("a")
    engine.enqueue(WORKFLOW, "a", "names", "a", here=True)
    assert engine.wait("a").output == first.output == [f"a {n} by {os.getpid()}" for n in range(4)]
    assert said == ["a 0", "a 1", "a 2", "a 3"]
    assert engine.look("b") is None


def test_what_a_killed_process_held_goes_on_here(
    url: str, engine: Durable, said: list[str]
) -> None:
    """The recorded steps keep their values; the one under way runs again."""
    worker = lost(url, "names", "x")
    pid = worker.pid
    assert holder_of(engine.look("x")) != engine.executor_id  # type: ignore[arg-type]
    end(worker)
    done = engine.wait("x")
    assert done.output == [f"x {n} by {pid if n < 2 else os.getpid()}" for n in range(4)]
    assert said == ["x 2", "x 3"]


def test_nobody_has_to_ask_for_it(url: str, engine: Durable, said: list[str]) -> None:
    """A living worker looks after what others left, by itself."""
    end(lost(url, "names", "x"))
    until(lambda: "x 3" in said)
    assert engine.wait("x").status == "SUCCESS"


def test_what_needs_another_service_is_left_alone(
    url: str, engine: Durable, said: list[str]
) -> None:
    """It waits for a worker that has the service; taken by force it fails, and says so."""
    end(lost(url, "others", "x"))
    end(lost(url, "names", "y"))
    until(lambda: "y 3" in said)
    status = engine.look("x")
    assert status
    assert status.status == "PENDING"
    assert holder_of(status).startswith("lost@")  # type: ignore[union-attr]
    engine.look("x", take=True)
    assert isinstance(engine.wait("x").error, KeyError)
    assert not [line for line in said if line.startswith("x")]


def test_a_worker_that_stops_leaves_its_work(url: str, engine: Durable) -> None:
    """What waits for a worker that signed off has another holder at once."""
    engine.enqueue("tests.unknown", "x", "names")
    gone = engine.executor_id
    engine.stop()
    engine.start()
    assert engine.executor_id != gone
    engine.enqueue(WORKFLOW, "y", "names", "y")
    assert engine.wait("y").status == "SUCCESS"


def test_one_engine_per_process(url: str, engine: Durable) -> None:
    """The second is told who is there; starting twice and stopping the other do nothing."""
    other = Durable(url)
    with pytest.raises(EngineBusy, match="close it first"):
        other.start()
    other.stop()
    engine.start()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("no/folder/x.sqlite", None, "unable to open"), ("x.sqlite", b"no database" * 99, "not a")],
)
def test_a_database_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    """A missing folder and a damaged file are told in one line; the next engine starts."""
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatabaseUnusable, match=says) as raised:
        Durable(f"sqlite:///{tmp_path}/{name}").start()
    assert str(tmp_path) in raised.value.url
    fine = Durable(f"sqlite:///{tmp_path}/fine.sqlite")
    fine.start()
    fine.stop()


def test_a_server_that_does_not_answer() -> None:
    """No password in what is said."""
    with pytest.raises(DatabaseUnusable) as raised:
        Durable("postgresql+psycopg://me:secret@127.0.0.1:1/runs").start()
    assert "secret" not in str(raised.value)


def test_an_old_sqlite_is_told_with_the_way_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on DBOS's tables need a function that older ones do not have."""
    monkeypatch.setattr(sys, "hexversion", 0x030C0100)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 41, 9))
    with pytest.raises(DatabaseUnusable, match=r"needs 3\.42 or newer: take"):
        Durable(url).start()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", durable.OLDEST_SQLITE)
    engine = Durable(url)
    monkeypatch.setattr(sys, "hexversion", 0x030B0700)
    engine.start()
    engine.stop()


def test_a_worker_elsewhere_lives_while_it_gives_signs(url: str) -> None:
    """Its beats are counted against this machine's clock: no two clocks are compared."""
    now = [0.0]
    engine = Durable(url, lease_s=1_000, monotonic=lambda: now[0])
    engine.start()
    try:
        with engine.database.begin() as connection:
            values = {"place": "elsewhere", "pid": 1, "beats": 7}
            connection.execute(sa.insert(durable._workers).values(executor_id="far", **values))
        lives = []
        for now[0], beats in ((0, 7), (999, 7), (1_001, 8), (2_000, 8), (2_001, 8)):
            with engine.database.begin() as connection:
                far = sa.update(durable._workers).where(durable._workers.c.executor_id == "far")
                connection.execute(far.values(beats=beats))
            lives.append(engine.living("far"))
        assert lives == [True, True, True, True, False]
        assert not engine.living("never heard of")
        assert engine.living(engine.executor_id)
    finally:
        engine.stop()


def test_a_number_that_another_process_has_got_is_no_sign_of_life(url: str) -> None:
    """A process of this machine is asked first; one that runs and gives no sign is another."""
    now = [0.0]
    engine = Durable(url, lease_s=1_000, monotonic=lambda: now[0])
    engine.start()
    try:
        with engine.database.begin() as connection:
            values = {"place": durable._place(), "beats": 7}
            sign_on = sa.insert(durable._workers)
            connection.execute(sign_on.values(executor_id="hers", pid=os.getppid(), **values))
        lives = [engine.living("hers") for now[0] in (0, 1_001, 19_999, 20_001)]
        assert lives == [True, True, True, False]
    finally:
        engine.stop()


def test_one_heir_for_each_workflow(
    url: str, engine: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds that another took a workflow over, or cancelled it, leaves it alone."""
    monkeypatch.setattr(engine, "living", lambda _: True)  # nobody takes over by itself
    for name in ("x", "y"):
        end(lost(url, "names", name))
    seen = {name: engine.client.list_workflows(workflow_ids=[name])[0] for name in ("x", "y")}
    engine.client.cancel_workflow("y")
    assert [engine.requeue(seen["x"]), engine.requeue(seen["x"]), engine.requeue(seen["y"])] == [
        True,
        False,
        False,
    ]
    assert engine.wait("x").status == "SUCCESS"
    assert engine.wait("y").status == "CANCELLED"


def test_a_worker_that_was_away_signs_on_again(engine: Durable) -> None:
    """A machine that slept finds its lease gone, and takes a new one."""
    engine._sign_off(engine.executor_id)
    assert not engine.living(engine.executor_id)
    until(lambda: engine.living(engine.executor_id))


def test_without_proc_the_host_tells_where_a_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems have no boot id."""
    monkeypatch.setattr(Path, "read_text", lambda *_: open("/no/such/file"))  # noqa: PTH123, SIM115
    assert durable._place().endswith(":posix")


def test_it_stops_inside_a_loop_too(url: str) -> None:
    """After which the loop's own threads work again."""

    async def test() -> None:
        engine = Durable(url)
        engine.start()
        engine.stop()
        assert await asyncio.to_thread(str, 1) == "1"

    asyncio.run(test())


def test_a_table_that_another_worker_just_made_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the order; any other refusal is raised in the end."""
    database = sa.create_engine(f"sqlite:///{tmp_path}/x.sqlite")
    tables = sa.MetaData()
    mine = [sa.Table(name, tables, sa.Column("id", sa.Integer)) for name in ("t", "u")]
    create = tables.create_all
    others = iter(mine)

    def raced(bind: sa.Engine) -> None:
        for made in others:  # another worker makes one more each time that we look
            create(bind, tables=[made])
            raise sa.exc.OperationalError("CREATE TABLE", {}, Exception("exists"))
        create(bind)

    monkeypatch.setattr(tables, "create_all", raced)
    make_tables(tables, database)
    assert {*sa.inspect(database).get_table_names()} == {"t", "u"}

    def refused(bind: sa.Engine) -> None:
        raise sa.exc.OperationalError("CREATE TABLE t", {}, Exception("disk full"))

    monkeypatch.setattr(tables, "create_all", refused)
    with pytest.raises(sa.exc.OperationalError):
        make_tables(tables, database)
    database.dispose()
