"""Sinks: labels stay few, money stays exact, a log that cannot be written loses only records."""

from __future__ import annotations

import io
import json
import logging
import socket
import sqlite3
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from datadog.dogstatsd.base import DogStatsd
from hypothesis import given
from hypothesis import strategies as st
from monitoring_support import NOW, Kept, a_record, ask, watched
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import exposition

import patterns.monitoring
from patterns.core.models import HAIKU, SONNET
from patterns.core.pricing import Tokens
from patterns.fake_api import FakeAPI
from patterns.monitoring.calls import CallMonitor, call_context
from patterns.monitoring.dogstatsd import DogStatsDSink
from patterns.monitoring.event_log import EventLog, EventLogUnusable
from patterns.monitoring.json_log import JsonLog, as_json
from patterns.monitoring.prometheus import BUCKETS, PrometheusSink, RegistryInUse
from patterns.monitoring.sink import Memory, Sink, model_label


def scrape(sink: PrometheusSink) -> bytes:
    """What a server gets that asks for exemplars."""
    return exposition.generate_latest(sink.registry)  # type: ignore[no-untyped-call,no-any-return]


def value(sink: PrometheusSink, name: str, /, **labels: str) -> float | None:
    """One sample of the sink's registry."""
    return sink.registry.get_sample_value(name, labels)


def test_default_sink_hears_nothing() -> None:
    """A sink overrides what it needs, and nothing else."""
    api = FakeAPI()
    monitor = CallMonitor(Sink(), Kept())
    ask(watched(api, monitor))
    Sink().failed("Other")
    assert monitor.sink_errors == {}


def test_memory_keeps_records_and_attempts() -> None:
    """How code that uses a monitor is tested."""
    api, memory = FakeAPI(), Memory()
    ask(watched(api, CallMonitor(memory)))
    assert [record.outcome for record in memory.records] == ["ok"]
    assert memory.attempts == ["200"]


@pytest.mark.parametrize(
    ("model", "label"),
    [
        (SONNET, SONNET),
        (f"{SONNET}-20260930", SONNET),
        (f"{SONNET}-2026093x", "other"),
        ("claude-quartz-9", "other"),
        ("", "other"),
    ],
)
def test_model_label_is_from_a_closed_set(model: str, label: str) -> None:
    """Whatever a request names, the label is known in advance."""
    assert model_label(model, {SONNET}) == label


def test_prometheus_counts_times_and_prices() -> None:
    """One record reaches every metric it belongs to."""
    sink = PrometheusSink()
    tokens = Tokens(input=10, output=20, cache_write_5m=30, cache_write_1h=40, cache_read=50)
    sink.started()
    sink.attempted("529")
    sink.attempted("200")
    sink.attempted("teapot")
    sink.finished(a_record(tokens=tokens, first_chunk_seconds=0.4, trace_id="ab" * 16))
    labels = {"model": SONNET, "outcome": "ok", "feature": "chat"}
    assert value(sink, "claude_calls_total", **labels) == 1
    assert value(sink, "claude_cost_usd_total", model=SONNET, feature="chat") == 0.01
    assert value(sink, "claude_tokens_total", model=SONNET, type="cache_write_1h") == 40
    assert value(sink, "claude_call_duration_seconds_sum", model=SONNET) == 1.5
    assert value(sink, "claude_time_to_first_chunk_seconds_count", model=SONNET) == 1
    assert value(sink, "claude_attempts_total", status="529") == 1
    assert value(sink, "claude_attempts_total", status="other") == 1
    assert value(sink, "claude_active_calls") == 0
    assert value(sink, "claude_spend_cap_calls_total") == 0


def test_prometheus_counts_what_it_cannot_price() -> None:
    """Unpriced counters start at zero, so that the first such call is an increase."""
    sink = PrometheusSink()
    assert value(sink, "claude_unpriced_calls_total", model=HAIKU) == 0
    sink.finished(a_record(model="claude-quartz-9", cost_usd=None))
    assert value(sink, "claude_unpriced_calls_total", model="other") == 1
    assert value(sink, "claude_cost_usd_total", model="other", feature="chat") is None


def test_prometheus_counts_spend_caps_and_other_sinks_failures() -> None:
    """Both alert at once."""
    sink = PrometheusSink()
    sink.finished(a_record(outcome="spend_cap", cost_usd=Decimal(0)))
    sink.failed("EventLog")
    assert value(sink, "claude_spend_cap_calls_total") == 1
    assert value(sink, "claude_sink_errors_total") == 1


def test_batch_result_has_no_latency_and_leaves_the_gauge_alone() -> None:
    """Nobody waited for it."""
    sink = PrometheusSink()
    sink.finished(a_record(seconds=None, batch=True))
    assert value(sink, "claude_active_calls") == 0
    assert value(sink, "claude_call_duration_seconds_count", model=SONNET) is None


def test_buckets_double_from_10_ms_to_82_s() -> None:
    """The default buckets of the client library stop at 10 s."""
    assert (len(BUCKETS), BUCKETS[0], round(BUCKETS[-1], 2)) == (14, 0.01, 81.92)


def test_latency_buckets_carry_a_trace_as_exemplar() -> None:
    """From a slow bucket to one request."""
    sink = PrometheusSink()
    sink.finished(a_record(trace_id="ab" * 16))
    text = scrape(sink).decode()
    assert '# {trace_id="abababababababababababababababab"} 1.5' in text


def test_registry_used_twice_is_a_clear_error() -> None:
    """A second sink on the same registry would count into nothing."""
    registry = CollectorRegistry()
    PrometheusSink(registry)
    with pytest.raises(RegistryInUse, match="already holds"):
        PrometheusSink(registry)


def test_features_and_users_leave_the_series_count_unchanged() -> None:
    """A thousand features and ten thousand users: not one series, not one byte of labels more."""
    assert_flat(features=1_000, users=10_000)


@pytest.mark.soak
def test_features_and_users_leave_the_series_count_unchanged_at_scale() -> None:
    """The same with 10,000 features and 100,000 users."""
    assert_flat(features=10_000, users=100_000)


def assert_flat(*, features: int, users: int) -> None:
    """Through the monitor's own labels, as a call would."""
    kept, sink = Kept(), PrometheusSink()
    monitor = CallMonitor(kept, features={"chat"}, user_key=b"k" * 32)
    ask_with(monitor, sink, "chat", "u")
    ask_with(monitor, sink, "surprise", "u")
    series = len(scrape(sink).splitlines())
    size = len(scrape(sink))
    for number in range(users):
        ask_with(monitor, sink, f"feature-{number % features}", f"user-{number}")
    assert len(scrape(sink).splitlines()) == series
    assert len(scrape(sink)) < size + 500  # longer numbers, no longer labels


def ask_with(monitor: CallMonitor, sink: Sink, feature: str, user: str) -> None:
    """A call without the SDK: the labels that the monitor makes, on one record."""
    with call_context(feature=feature, user=user) as context:
        labels = monitor.labels_of(context)
    sink.finished(a_record(feature=labels.feature, user=labels.user))


def test_json_log_is_one_line_a_call(caplog: pytest.LogCaptureFixture) -> None:
    """Failures are warnings; amounts stay exact."""
    sink = JsonLog()
    with caplog.at_level(logging.INFO, "claude.calls"):
        sink.finished(a_record())
        sink.finished(a_record(outcome="overloaded", error_type="overloaded_error"))
    first, second = caplog.records
    line: dict[str, Any] = json.loads(first.getMessage())
    assert (line["cost_usd"], line["at"], line["tokens"]["output"]) == (
        "0.01",
        "2026-11-21T12:00:00Z",
        800,
    )
    assert (first.levelno, second.levelno) == (logging.INFO, logging.WARNING)


def test_json_log_that_nobody_reads_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The level is asked before the line is made."""
    logger = logging.getLogger("test.quiet")
    logger.setLevel(logging.ERROR)
    JsonLog(logger).finished(a_record())
    assert caplog.records == []
    assert json.loads(as_json(a_record(cost_usd=None)))["cost_usd"] is None
    assert as_json(a_record(model="m\u2028ö")).isascii()


def test_dogstatsd_datagrams_arrive_over_udp() -> None:
    """With the real client, on a real loopback socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(60)
        port = agent.getsockname()[1]
        statsd = DogStatsd(
            host="127.0.0.1", port=port, disable_telemetry=True, disable_buffering=True
        )
        sink = DogStatsDSink(statsd)
        sink.attempted("200")
        sink.finished(a_record(model="anything", first_chunk_seconds=0.4))
        sink.finished(a_record(seconds=None, cost_usd=None))
        lines = [agent.recv(4096).decode().strip() for _ in range(7)]
        statsd.close_socket()
    tags = "#model:other,feature:chat"
    assert lines[:3] == [
        "claude.attempts:1|c|#status:200",
        f"claude.calls:1|c|{tags},outcome:ok",
        f"claude.call.seconds:1.5|d|{tags}",
    ]
    assert lines[3] == f"claude.first_chunk.seconds:0.4|d|{tags}"
    assert lines[4] == f"claude.cost_usd:0.01|c|{tags}"
    assert lines[6] == f"claude.unpriced:1|c|#model:{SONNET},feature:chat"


def test_event_log_keeps_exact_sums(tmp_path: Path) -> None:
    """A thousand tenths of a cent are exactly a dollar."""
    log = EventLog(tmp_path / "calls.db")
    for _ in range(1_000):
        log.finished(a_record(cost_usd=Decimal("0.001")))
    (row,) = log.query("SELECT count(*) AS calls, sum(cost_pico) AS cost FROM calls")
    assert (row["calls"], row["cost"]) == (1_000, 10**12)
    log.close()


def test_event_log_is_there_after_a_restart(tmp_path: Path) -> None:
    """And another process may read it meanwhile."""
    path = tmp_path / "calls.db"
    first = EventLog(path)
    first.finished(a_record())
    second = EventLog(path)
    assert second.query("SELECT count(*) FROM calls")[0][0] == 1
    first.close()
    second.close()


records = st.builds(
    a_record,
    cost_usd=st.none() | st.decimals(0, 1_000, places=12),
    tokens=st.builds(Tokens, *[st.integers(0, 10**9)] * 5),
    seconds=st.none() | st.floats(0, 1e6),
    user=st.none() | st.text(),
    outcome=st.sampled_from(["ok", "timeout"]),
    retries=st.integers(0, 9),
    offline=st.booleans(),
    streamed=st.booleans(),
)


@given(st.lists(records, max_size=5))
def test_exported_lines_are_the_records_that_went_in(made: list[Any]) -> None:
    """Through SQLite and back without a loss."""
    log, file = EventLog(), io.StringIO()
    log.extend(made)
    assert log.export(file) == len(made)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    for line, record in zip(lines, made, strict=True):
        original = json.loads(as_json(record))
        cost, original_cost = line.pop("cost_usd"), original.pop("cost_usd")
        assert line == original
        assert (cost is None) == (original_cost is None)
        assert cost is None or Decimal(cost) == Decimal(original_cost)
    log.close()


def test_export_can_begin_where_the_last_one_ended() -> None:
    """By time."""
    log = EventLog()
    log.extend([a_record(), a_record(at=NOW + timedelta(hours=1))])
    file = io.StringIO()
    assert log.export(file, since=NOW + timedelta(minutes=1)) == 1
    log.close()


def test_many_records_are_kept_all_or_none() -> None:
    """A bad one in the middle rolls the others back."""
    log = EventLog()
    absurd = a_record(tokens=Tokens(input=2**70))
    with pytest.raises(OverflowError):
        log.extend([a_record(), absurd])
    assert log.query("SELECT count(*) FROM calls")[0][0] == 0
    log.extend([a_record()])
    assert log.query("SELECT count(*) FROM calls")[0][0] == 1
    log.close()


def test_last_feedback_on_an_answer_counts() -> None:
    """A user may think twice."""
    log = EventLog()
    log.feedback("msg_1", helpful=False, at=NOW)
    log.feedback("msg_1", helpful=True, at=NOW)
    assert [tuple(row)[:2] for row in log.query("SELECT * FROM feedback")] == [("msg_1", 1)]
    log.close()


def calls_through(log: EventLog) -> tuple[CallMonitor, Any]:
    """One call with the log as a sink, and its answer."""
    monitor = CallMonitor(log)
    return monitor, ask(watched(FakeAPI(), monitor))


def test_locked_log_loses_the_record_and_not_the_call(tmp_path: Path) -> None:
    """Another process in the middle of a long transaction."""
    path = tmp_path / "calls.db"
    log = EventLog(path, timeout=0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monitor, message = calls_through(log)
    assert message.stop_reason == "end_turn"
    assert monitor.sink_errors == {"EventLog": 1}
    other.execute("ROLLBACK")
    other.close()
    assert calls_through(log)[0].sink_errors == {}
    log.close()


def test_full_log_loses_the_record_and_not_the_call(tmp_path: Path) -> None:
    """As on a full disk."""
    log = EventLog(tmp_path / "calls.db")
    log.query("PRAGMA max_page_count = 1")
    log.extend([])
    lost = 0
    for _ in range(60):
        lost += calls_through(log)[0].sink_errors["EventLog"]
    assert lost > 0
    log.close()


def test_corrupt_log_loses_the_record_and_not_the_call(tmp_path: Path) -> None:
    """Overwritten while it is in use."""
    path = tmp_path / "calls.db"
    EventLog(path).close()
    log = EventLog(path)
    path.write_bytes(b"x" * path.stat().st_size)
    monitor, message = calls_through(log)
    assert message.stop_reason == "end_turn"
    assert monitor.sink_errors == {"EventLog": 1}
    log.close()


def test_closed_log_loses_the_record_and_not_the_call() -> None:
    """Shutting down in the wrong order."""
    log = EventLog()
    log.close()
    assert calls_through(log)[0].sink_errors == {"EventLog": 1}


def test_file_that_is_no_event_log_is_refused(tmp_path: Path) -> None:
    """With its path and the reason, at the start and not in the middle of the night."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and no database " * 100)
    with pytest.raises(EventLogUnusable, match="not a database") as error:
        EventLog(path)
    assert error.value.path == str(path)


def test_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """It has tables, and not ours."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as shop:
        shop.execute("CREATE TABLE orders (id)")
    shop.close()
    with pytest.raises(EventLogUnusable, match="its version is 0"):
        EventLog(path)


def test_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """SQLite's own words are kept."""
    with pytest.raises(EventLogUnusable, match="unable to open"):
        EventLog(tmp_path / "nowhere" / "calls.db")


@pytest.mark.parametrize("path", [None, 3, b"calls.db"])
def test_path_of_another_type_is_no_event_log(path: Any) -> None:
    """Not a file called None."""
    with pytest.raises(EventLogUnusable, match="it is no path"):
        EventLog(path)


def test_folder_gives_its_public_names_and_no_others() -> None:
    """Each from the module that defines it, imported when it is asked for."""
    public = patterns.monitoring.__all__
    assert [getattr(patterns.monitoring, name).__name__ for name in public] == public
    with pytest.raises(AttributeError, match="no attribute 'Moon'"):
        patterns.monitoring.Moon  # noqa: B018
