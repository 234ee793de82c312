"""Calls made = records + counted losses, whatever labels, answers, faults and forks do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anthropic
import hostile
import httpx2
import pytest
from anthropic.types.messages import MessageBatchIndividualResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from monitoring_support import ASK, NOW, SOON, Broken, Kept, a_record, ask, watched

from patterns.core.models import SONNET
from patterns.core.pseudonym import WeakKey, pseudonym
from patterns.fake_api import Error, FakeAPI, Fault
from patterns.monitoring.calls import CallMonitor, call_context
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.insights import insights
from patterns.monitoring.json_log import JsonLog
from patterns.monitoring.prometheus import PrometheusSink
from patterns.monitoring.record import CallContext, InvalidLabel
from patterns.monitoring.summary import summarize

KEY = b"k" * 32


@given(feature=hostile.values(), user=hostile.values(), offline=hostile.values())
@settings(max_examples=100, deadline=None)
def test_label_of_any_type_is_recorded_or_refused_before_the_call(
    feature: Any, user: Any, offline: Any
) -> None:
    """A refusal comes from `call_context`, so nothing was sent; else there is one record."""
    api, kept, log = FakeAPI(), Kept(), EventLog()
    monitor = CallMonitor(kept, log, PrometheusSink(), JsonLog(), features={"chat"}, user_key=KEY)

    def call() -> None:
        with call_context(feature=feature, user=user, offline=offline):
            ask(watched(api, monitor))

    refused = hostile.settle(call).error
    assert isinstance(refused, InvalidLabel | None)
    made = 0 if refused else 1
    assert len(api.journal) == len(kept.records) == made
    assert log.query("SELECT count(*) FROM calls")[0][0] == made
    assert monitor.sink_errors == {}
    log.close()


@pytest.mark.parametrize("user", [17, UUID(int=17), "17"])
def test_user_is_a_text_a_number_or_a_uuid(user: Any) -> None:
    """Named by the same pseudonym as its text, which is the audit log's."""
    kept = Kept()
    with call_context(user=user):
        ask(watched(FakeAPI(), CallMonitor(kept, user_key=KEY)))
    assert kept.only().user == pseudonym(str(user), KEY)


@pytest.mark.parametrize("features", ["chat", 7, {"a": 1, 2: 3}, [["chat"]], {"\ud800"}])
def test_features_that_are_no_set_of_names_are_refused(features: Any) -> None:
    """One text would be taken for its letters."""
    with pytest.raises(InvalidLabel, match="features is"):
        CallMonitor(features=features)


@pytest.mark.parametrize(
    ("name", "value"), [("feature", 1), ("user", True), ("user", 1.5), ("offline", 1)]
)
def test_refused_label_is_named(name: str, value: Any) -> None:
    """With its value."""
    with pytest.raises(InvalidLabel, match=rf"^{name} is {value}; pass ") as refused:
        CallContext(**{name: value})
    assert (refused.value.name, refused.value.value) == (name, value)


def test_429_that_breaks_off_fails_as_it_does_unwatched() -> None:
    """The monitor reads the error's code from what the SDK reads, and does not read first."""
    traffic: Traffic = [("stream", Error(429), Fault.disconnect(after=2))]
    kept = Kept()
    assert made(traffic, CallMonitor(kept)) == made(traffic, None) != [None]
    assert kept.only().outcome == "connection"


def test_weak_key_is_refused_at_the_start() -> None:
    """As in the audit log."""
    with pytest.raises(WeakKey):
        CallMonitor(user_key=b"short")


@given(hostile.messages())
@settings(max_examples=100, deadline=None)
def test_any_answer_is_one_record_in_every_sink(body: dict[str, Any]) -> None:
    """Blank, with unknown fields, reasons and models: kept, exported and summarised."""
    kept, log, metrics = Kept(), EventLog(), PrometheusSink()
    monitor = CallMonitor(kept, log, metrics, JsonLog())
    ask(hostile.serving(body, **monitor.client_options()))
    assert len(kept.records) == log.query("SELECT count(*) FROM calls")[0][0] == 1
    assert (monitor.active, monitor.sink_errors) == (0, {})
    total = summarize(log).total
    record = kept.only()
    assert (total.calls, total.cost_usd) == (1, record.cost_usd or 0)
    assert all(one.usd_per_day >= 0 for one in insights(log))
    log.close()


shapes = st.lists(
    st.tuples(
        st.sampled_from(["create", "stream", "events", "abandoned"]),
        st.sampled_from([None, *(Error(status, retry_after=SOON) for status in (429, 500, 529))]),
        st.sampled_from([None, Fault.disconnect(after=2), Fault.stream_error(after=2)]),
    ),
    max_size=4,
)


Traffic = list[tuple[str, Error | None, Fault | None]]


def make(client: Any, shape: str) -> None:
    """One call of some shape."""
    if shape == "create":
        ask(client)
    elif shape == "stream":
        with client.messages.stream(model=SONNET, max_tokens=64, messages=ASK) as stream:
            stream.get_final_message()
    else:
        with ask(client, stream=True) as events:
            for _ in events:
                if shape == "abandoned":
                    break


def made(traffic: Traffic, monitor: CallMonitor | None) -> list[type[Exception] | None]:
    """What each call raised, of the SDK's."""
    api, raised = FakeAPI(), list[type[Exception] | None]()
    client = watched(api, monitor) if monitor else api.client()
    # Retries are waited for, and only an answer can say that a moment is enough.
    retries = 0 if any(fault for _, _, fault in traffic) else 1
    client = client.with_options(max_retries=retries)
    for shape, error, fault in traffic:
        if error:
            api.enqueue(error)
        if fault:
            api.add_faults(fault)
        try:
            make(client, shape)
        except (anthropic.APIError, httpx2.HTTPError) as failure:
            raised.append(type(failure))
        else:
            raised.append(None)
    return raised


@given(shapes, st.sampled_from(["", "start", "end"]))
@settings(max_examples=60, deadline=None)
def test_calls_made_are_records_and_counted_losses_and_feel_nothing(
    traffic: Traffic, broken: str
) -> None:
    """Also when the monitor's own clock raises, at the start or at the end of every second call."""
    ticks = 0

    def clock() -> float:
        nonlocal ticks
        ticks += 1
        if (broken == "start" and ticks % 3 == 1) or (broken == "end" and ticks % 4 == 2):
            raise OSError("no clock")
        return float(ticks)

    kept, metrics = Kept(), PrometheusSink()
    monitor = CallMonitor(Broken(), kept, metrics, clock=clock)
    assert made(traffic, monitor) == made(traffic, None)
    lost = monitor.sink_errors["CallMonitor"]
    assert len(kept.records) + lost == len(traffic)
    assert monitor.active == 0
    assert metrics.registry.get_sample_value("claude_active_calls") == 0


def test_one_bad_result_of_a_batch_loses_no_other() -> None:
    """It is counted."""
    expired = {"custom_id": "a", "result": {"type": "expired"}}
    good = MessageBatchIndividualResponse.model_validate(expired)
    results: list[Any] = [good, None, good]
    kept = Kept()
    monitor = CallMonitor(kept)
    records = monitor.record_batch_results(results, at=datetime(2026, 11, 21), model=SONNET)  # noqa: DTZ001
    assert len(records) == len(kept.records) == 2
    assert monitor.sink_errors == {"CallMonitor": 1}
    assert {record.at for record in records} == {datetime(2026, 11, 21, tzinfo=UTC)}


@pytest.mark.parametrize("how", ["moved", "removed", "all parts moved"])
def test_rows_are_kept_when_the_file_is_rotated(how: str, tmp_path: Path) -> None:
    """What was written stays in the old file; what comes next is in the new one."""
    path, old = tmp_path / "calls.db", tmp_path / "old.db"
    log = EventLog(path)
    for _ in range(3):
        log.finished(a_record())
    if how == "removed":
        path.unlink()
    else:
        path.rename(old)
        if how == "all parts moved":
            for part in ("-wal", "-shm"):
                Path(f"{path}{part}").rename(f"{old}{part}")
        if how == "replaced":
            EventLog(path).close()
    for _ in range(4):
        log.finished(a_record())
    log.close()
    assert rows(path) == 4
    if how != "removed":
        assert rows(old) == 3


def rows(path: Path) -> int:
    """Calls in a file, as another process reads it."""
    log = EventLog(path)
    count = int(log.query("SELECT count(*) FROM calls")[0][0])
    log.close()
    return count


def test_folder_that_is_gone_loses_records_and_counts_them(tmp_path: Path) -> None:
    """Until it is there again."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log = EventLog(folder / "calls.db")
    monitor = CallMonitor(log)
    client = watched(FakeAPI(), monitor)
    shutil.rmtree(folder)
    ask(client)
    assert monitor.sink_errors == {"EventLog": 1}
    folder.mkdir()
    ask(client)
    log.close()
    assert rows(folder / "calls.db") == 1


def test_moments_without_a_zone_are_utc() -> None:
    """On every machine, in every sink."""
    log = EventLog()
    log.finished(a_record(at=NOW.replace(tzinfo=None)))
    assert log.query("SELECT at FROM calls")[0][0] == NOW.timestamp()
    assert summarize(log, since=NOW.replace(tzinfo=None)).total.calls == 1
    log.close()


WORKERS = """
import os, sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from monitoring_support import ask, watched
from patterns.fake_api import FakeAPI
from patterns.monitoring.calls import CallMonitor
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.prometheus import PrometheusSink

log = EventLog(Path(sys.argv[1]) / "calls.db", timeout=300)
monitor = CallMonitor(log, PrometheusSink())
client = watched(FakeAPI(), monitor)
open_in_parent = ask(client, stream=True)
log._lock.acquire()
monitor._lock.acquire()
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        assert monitor.active == 0
        for _ in range(5):
            ask(client)
        os._exit(0 if not monitor.sink_errors else 1)
    children.append(child)
log._lock.release()
monitor._lock.release()
for child in children:
    assert os.waitpid(child, 0)[1] == 0
open_in_parent.close()
for _ in range(5):
    ask(client)
assert monitor.sink_errors == {}
print(log.query("SELECT count(*) FROM calls")[0][0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_workers_lose_nothing_and_wait_for_nobody(tmp_path: Path) -> None:
    """Forked while locks are held and a stream is open, left without a clean-up: 4 x 5 + 1 + 5."""
    here = Path(__file__).parents[2]
    paths = [str(here), str(here / "tests" / "support")]
    command = [sys.executable, "-c", WORKERS, str(tmp_path), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("26\n", "")


KILLED = """
import os, sys
sys.path[:0] = sys.argv[1:]
from patterns.monitoring.prometheus import PrometheusSink

sink = PrometheusSink()
for number in range(4):
    child = os.fork()
    if not child:
        sink.started()
        os.kill(os.getpid(), 9) if number < 2 else os._exit(0)
    os.waitpid(child, 0)
    if number < 2:
        from prometheus_client import multiprocess
        multiprocess.mark_process_dead(child)
from prometheus_client import CollectorRegistry, generate_latest
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print([l for l in generate_latest(registry).decode().splitlines() if l.startswith("claude_active")])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_workers_leave_no_running_calls_behind(tmp_path: Path) -> None:
    """In the multiprocess mode of the Prometheus client: the living are summed, in one series."""
    here = Path(__file__).parents[2]
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", KILLED, str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("['claude_active_calls 2.0']\n", "")
