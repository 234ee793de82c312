"""Work that survives its process, and moves to another when that one is gone: DBOS with leases.

One engine in each process, one database for all: SQLite (nothing to set up) or PostgreSQL
(several machines). A workflow is a function registered with `@DBOS.workflow(name=…)` whose first
argument names the *service* that it needs, such as a client; a worker takes only what it has the
service for. Workers renew a lease, and a living one takes over what a dead one held; DBOS lets
only the newest owner record a step. Not for work that may simply be repeated.

    engine = Durable("sqlite:///runs.sqlite", services={"batches": client})
    engine.start()
    engine.enqueue("my.workflow", "job-1", "batches", "other", "arguments")
    status = engine.wait("job-1")  # .status, .output, .error

Needs: pip install dbos. Chapter 3 teaches it.
"""

import logging
import os
import secrets
import socket
import sqlite3
import sys
import threading
import time
from asyncio import get_running_loop
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

if not (_logger := logging.getLogger("dbos")).handlers:  # pragma: no branch - runs once a process
    # Else DBOS prints every start and stop, and tracebacks of failures that it hands on anyway.
    _logger.addHandler(logging.NullHandler())
    _logger.propagate = False

from dbos import DBOS, DBOSClient, EnqueueOptions, WorkflowStatus

from patterns.core.errors import Portable

POLL_S: Final = 0.05
UNFINISHED: Final = ("ENQUEUED", "PENDING")
ENDED: Final = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
HERE: Final = 20
"""Leases for which a process of this machine may give no sign of life: then it hangs for good, or
is another one that has got the number of one that ended."""
OLDEST_SQLITE: Final = (3, 42, 0)
"""From Python 3.12 on, DBOS's tables use `unixepoch('subsec')` of SQLite 3.42.0 (May 2023)."""

_APP: Final = "patterns"
_OWN, _SHARED = f"{_APP}.worker.", f"{_APP}.service."

_tables = sa.MetaData()
_workers = sa.Table(
    "patterns_leases",
    _tables,
    sa.Column("executor_id", sa.String, primary_key=True),
    sa.Column("place", sa.String, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("beats", sa.Integer, nullable=False),
)

_workflows = sa.Table(  # DBOS's own: docs.dbos.dev/explanations/system-tables
    "workflow_status",
    sa.MetaData(schema="dbos"),
    *(sa.Column(name) for name in ("workflow_uuid", "status", "executor_id", "queue_name")),
    *(sa.Column(name) for name in ("owner_xid", "started_at_epoch_ms")),
)


class EngineBusy(RuntimeError):
    """This process already runs an engine: DBOS has one database per process."""


class DatabaseUnusable(Portable, RuntimeError):
    """The engine's database cannot be opened: a missing folder, a damaged file, no server.

    `url` is without its password.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = sa.make_url(url).render_as_string()
        super().__init__(f"the database {self.url} cannot be used: {reason}")


class Stopped(BaseException):
    """Ends a workflow that waits while its engine stops; it counts as unfinished."""


def make_tables(tables: sa.MetaData, database: sa.Engine) -> None:
    """Create the tables that are missing; several workers may start in the same moment.

    Raises:
        sqlalchemy.exc.DBAPIError: the database refuses for another reason.
    """
    for _ in tables.tables:  # another worker may make each between our look and our order
        with suppress(sa.exc.DBAPIError):
            tables.create_all(database)
            return
    tables.create_all(database)


class Durable:
    """Workflows on one database; what a dead worker held goes on at a living one.

    Args:
        url: `sqlite:///file` or `postgresql+psycopg://…`.
        services: what workflows need here, by name. A worker runs workflows of others only if it
            has their service.
        executor_id: a name for this worker in what is reported; each start adds to it what tells
            it from every other, so that two can never be taken for one.
        application_version: workers of different versions leave each other's work alone. Change
            it when a workflow's code no longer fits what is recorded.
        at_once: workflows of each service that this worker takes from the shared queue at once.
        lease_s: seconds without a sign of life after which a worker of another machine counts as
            gone; on this machine a process that ended is noticed at once.
        monotonic: seconds of a clock that never goes back, for the leases.
    """

    def __init__(
        self,
        url: str,
        *,
        services: Mapping[str, Any] | None = None,
        executor_id: str = "worker",
        application_version: str = "1",
        at_once: int = 8,
        lease_s: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url, self.application_version = url, application_version
        self.services = dict(services or {})
        self.at_once, self.lease_s, self.monotonic = at_once, lease_s, monotonic
        self.executor_id = self.name = executor_id
        self.database = _open(url)
        self._stopping = threading.Event()
        self._seen: dict[str, tuple[int, float]] = {}

    def start(self) -> None:
        """Start working: on what is queued for this worker's services, and on what others leave.

        Raises:
            EngineBusy: another engine runs in this process.
            DatabaseUnusable: with the reason.
        """
        global _running
        if _running is self:
            return
        if _running is not None:
            raise EngineBusy(f"an engine runs on {_running.url!r} in this process; close it first")
        _running = self
        try:
            _prepare(self.url)
            self._launch()
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            self.stop()
            raise DatabaseUnusable(self.url, _reason(error)) from error
        except BaseException:
            self.stop()
            raise

    def _launch(self) -> None:
        self.executor_id = (
            f"{self.name}@{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        )
        DBOS.migrate(self.url)
        make_tables(_tables, self.database)
        self.client = DBOSClient(system_database_url=self.url, application_name=_APP)
        self.client.register_queue(self.own_queue, polling_interval_sec=POLL_S)
        shared = [_SHARED + service for service in self.services]
        for queue in shared:
            self.client.register_queue(
                queue, polling_interval_sec=POLL_S, worker_concurrency=self.at_once
            )
        self._sign_on(self.executor_id)
        self._stopping.clear()
        DBOS(
            config={
                "name": _APP,
                "system_database_url": self.url,
                "executor_id": self.executor_id,
                "application_version": self.application_version,
                "notification_listener_polling_interval_sec": 0.02,  # else stop() takes a second
            }
        )
        DBOS.listen_queues([self.own_queue, *shared])
        DBOS.launch()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """Let go of the database at once; what is unfinished goes on at another worker."""
        global _running
        if _running is not self:
            return
        self._stopping.set()
        if keeper := self.__dict__.pop("_keeper", None):
            keeper.join()
        DBOS.destroy()
        if client := self.__dict__.pop("client", None):
            with suppress(SQLAlchemyError):  # the lease lapses by itself
                client.delete_queue(self.own_queue)
                self._sign_off(self.executor_id)
            client.destroy()
        self.database.dispose()
        _running = None
        with suppress(RuntimeError):  # no loop
            # DBOS made its thread pool the loop's and has shut it down: to_thread needs a new one.
            get_running_loop().set_default_executor(ThreadPoolExecutor())

    def enqueue(
        self, workflow: str, workflow_id: str, service: str, *args: Any, here: bool = False
    ) -> None:
        """Queue a workflow for any worker that has its service, or for this one; once by its id."""
        options: EnqueueOptions = {
            "queue_name": self.own_queue if here else _SHARED + service,
            "workflow_name": workflow,
            "workflow_id": workflow_id,
            "app_version": self.application_version,
        }
        self.client.enqueue(options, service, *args)

    @property
    def own_queue(self) -> str:
        """The queue that only this worker listens to."""
        return _OWN + self.executor_id

    def look(
        self, workflow_id: str, *, take: bool = False, load: bool = True
    ) -> WorkflowStatus | None:
        """Where a workflow is, or None; if its worker is gone, it is taken over.

        Taken over is what this worker has the service for, and with `take` whatever it is.
        Without `load` the status is without input and output.
        """
        found = self.client.list_workflows(
            workflow_ids=[workflow_id], load_input=load, load_output=load
        )
        if not found:
            return None
        holder = holder_of(found[0])
        others = found[0].status in UNFINISHED and holder and holder != self.executor_id
        if holder and others and not self.living(holder):
            self.take_over(holder, {workflow_id} if take else frozenset())
        return found[0]

    def wait(
        self, workflow_id: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> WorkflowStatus:
        """The workflow's last status, when it has ended; takes over from a dead worker."""
        while True:
            status = self.look(workflow_id)
            if status and status.status not in UNFINISHED:
                return status
            sleep(POLL_S)

    def pause(self, seconds: float) -> None:
        """Wait in a workflow; when the engine stops, the workflow ends here, and goes on elsewhere.

        Raises:
            Stopped: the engine stops; no `except Exception` takes it, and DBOS records nothing.
        """
        if self._stopping.wait(seconds):  # pragma: no branch  # tests do not wait
            raise Stopped

    def living(self, executor_id: str) -> bool:
        """Whether a worker is there: its process on this machine, or signs of life from another."""
        row = self._find(executor_id)
        if row is None:
            return False
        here = row.place == _place() and os.name == "posix"  # elsewhere signal 0 is Ctrl+C
        if here and row.pid == os.getpid():  # there is one at a time in this process
            return _running is not None and executor_id == _running.executor_id
        if here and not _runs(row.pid):
            return False
        beats, since = self._seen.get(executor_id, (-1, 0.0))
        if beats != row.beats:
            self._seen[executor_id] = row.beats, self.monotonic()
            return True
        lease_s = self.lease_s * (HERE if here else 1)
        return self.monotonic() - since < lease_s

    def take_over(self, gone: str, also: frozenset[str] | set[str] = frozenset()) -> list[str]:
        """Go on with what a dead worker held, as far as its services are here, and `also` these.

        Each workflow goes to one worker, however many take over at once.
        """
        held = [
            *self.client.list_workflows(status="PENDING", executor_id=gone),
            *self.client.list_workflows(status="ENQUEUED", queue_name=_OWN + gone),
        ]
        ours = [one for one in held if one.workflow_id in also or service_of(one) in self.services]
        moved = [one.workflow_id for one in ours if self.requeue(one)]
        self._sign_off(gone)
        return moved

    def requeue(self, seen: WorkflowStatus) -> bool:
        """Queue what a worker held; False if it was cancelled, ended or moved since it was seen.

        DBOS's own resume would bring a cancelled workflow back to life.
        """
        shared = (seen.queue_name or "").startswith(_SHARED)
        now = {name: getattr(seen, name) for name in ("status", "executor_id", "queue_name")}
        change = sa.update(_workflows).where(
            _workflows.c.workflow_uuid == seen.workflow_id,
            _workflows.c.status.in_(UNFINISHED),
            *(_workflows.c[name].is_not_distinct_from(value) for name, value in now.items()),
        )
        values = {
            "status": "ENQUEUED",
            "queue_name": seen.queue_name if shared else self.own_queue,
            "owner_xid": None,
            "started_at_epoch_ms": None,
        }
        with self.database.begin() as connection:
            return connection.execute(change.values(values)).rowcount == 1

    def _keep(self) -> None:
        """Renew the lease, and look after what others have left."""
        while not self._stopping.wait(self.lease_s / 3):
            with suppress(SQLAlchemyError):  # the database is away; so are the others' leases
                self._beat()
                held = self.client.list_workflows(status=[*UNFINISHED], load_input=False)
                for holder in {holder_of(one) for one in held} - {None, self.executor_id}:
                    if holder and not self.living(holder):
                        self.take_over(holder)

    def _sign_on(self, executor_id: str) -> None:
        row = {"executor_id": executor_id, "place": _place(), "pid": os.getpid(), "beats": 0}
        with self.database.begin() as connection:
            connection.execute(sa.insert(_workers).values(row))

    def _sign_off(self, executor_id: str) -> None:
        with self.database.begin() as connection:
            connection.execute(sa.delete(_workers).where(_workers.c.executor_id == executor_id))

    def _beat(self) -> None:
        executor_id = self.executor_id
        renew = sa.update(_workers).where(_workers.c.executor_id == executor_id)
        with self.database.begin() as connection:
            there = connection.execute(renew.values(beats=_workers.c.beats + 1)).rowcount
        if not there:  # this process was away for so long that it counted as gone
            self._sign_on(executor_id)

    def _find(self, executor_id: str) -> Any:
        with self.database.connect() as connection:
            this = sa.select(_workers).where(_workers.c.executor_id == executor_id)
            return connection.execute(this).first()


_running: Durable | None = None  # the one that DBOS serves in this process


def running() -> Durable:
    """The engine that runs the current workflow; its `services` hold what the workflow needs."""
    assert _running  # DBOS runs workflows only between start() and stop()
    return _running


def holder_of(status: WorkflowStatus) -> str | None:
    """The worker that has an unfinished workflow, by its `executor_id`; None while any may."""
    queue = status.queue_name or ""
    if status.status == "ENQUEUED":
        return queue.removeprefix(_OWN) if queue.startswith(_OWN) else None
    return status.executor_id


def service_of(status: WorkflowStatus) -> str:
    """The service that a workflow needs: its first argument."""
    return str(status.input["args"][0]) if status.input else ""


def _open(url: str) -> sa.Engine:
    """Connections for the tables that are ours, in the same database."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"timeout": 30})
        return engine.execution_options(schema_translate_map={"dbos": None})
    return sa.create_engine(url, pool_pre_ping=True)


def _prepare(url: str) -> None:
    """Give an SQLite file a write-ahead log: one flush a step instead of three, as durable."""
    if not url.startswith("sqlite"):
        return
    if sys.hexversion >= 0x030C0000 and sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise DatabaseUnusable(
            url,
            f"this Python {sys.version.split()[0]} was built with SQLite {sqlite3.sqlite_version}, "
            "and from Python 3.12 on DBOS needs 3.42 or newer: take one with a newer SQLite "
            "(python.org, conda, uv python install), or Python 3.11, or PostgreSQL",
        )
    with closing(sqlite3.connect(sa.make_url(url).database or "")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _reason(error: Exception) -> str:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return f"{said}; check the path or server, that its folder exists and may be written to"


def _place() -> str:
    """What tells this machine, since it was started, and its table of processes from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()}:{os.name}"


def _runs(pid: int) -> bool:
    """Whether a process of this machine runs."""
    with suppress(PermissionError):  # another user's
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
