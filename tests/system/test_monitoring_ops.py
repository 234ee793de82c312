"""Rules, dashboard and exporter against the real Prometheus and promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from anthropic import RateLimitError
from monitoring_support import Broken, a_record, ask, watched
from prometheus_client import start_http_server
from prometheus_client.openmetrics import exposition
from real_servers import Prometheus, free_port, prometheus_program, prometheus_server, until
from week_rules import alerts_of

import patterns.monitoring
from patterns.core.models import SONNET
from patterns.course.synthetic import LOUD, MONDAY, SILENT, week
from patterns.fake_api import Error, FakeAPI
from patterns.monitoring.calls import CallMonitor
from patterns.monitoring.prometheus import PrometheusSink
from patterns.monitoring.slo import BURNS, IGNORED, POLICIES

OPS = Path(patterns.monitoring.__file__).parent / "ops"
RULES = (OPS / "rules.yml").read_text()


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """What promtool says."""
    command = [prometheus_program("promtool"), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def busy_sink() -> PrometheusSink:
    """A sink in which every metric has at least one sample."""
    sink = PrometheusSink()
    sink.started()
    sink.attempted("200")
    sink.finished(a_record(first_chunk_seconds=0.2, trace_id="ab" * 16))
    return sink


def test_exported_metrics_pass_the_linter() -> None:
    """Names, units and help texts, as promtool checks them."""
    from prometheus_client import generate_latest

    result = promtool("check", "metrics", stdin=generate_latest(busy_sink().registry).decode())
    assert (result.returncode, result.stderr) == (0, "")


def test_configuration_and_rules_are_valid() -> None:
    """The shipped files load as they are."""
    assert promtool("check", "config", str(OPS / "prometheus.yml")).returncode == 0
    assert promtool("check", "rules", str(OPS / "rules.yml")).returncode == 0


def rules_test(rules: str, folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """The shipped tests against these rules."""
    (folder / "rules.yml").write_text(rules)
    for test in tests:
        shutil.copy(OPS / test, folder)
    return promtool("test", "rules", *(str(folder / test) for test in tests))


def test_rules_pass_their_own_tests(tmp_path: Path) -> None:
    """Every alert fires where it must and is quiet where it must be."""
    result = rules_test(RULES, tmp_path, "rules_test.yml", "rules_days_test.yml")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("rule", "mutant"),
    [
        ("claude:bad_ratio:1h > 14.4 *", "claude:bad_ratio:1h > 20 *"),
        ("claude:bad_ratio:5m > 14.4 * 0.01", "claude:bad_ratio:5m > -1 * 0.01"),
        ("14.4 * 0.01", "13 * 0.01"),
        ("claude:calls:1h >= 20", "claude:calls:1h >= 1"),
        ("increase(claude_spend_cap_calls_total[5m]) > 0", "claude_spend_cap_calls_total > 1"),
        ("claude_unpriced_calls_total[1h])) > 0", "claude_unpriced_calls_total[1h])) > 2"),
        ("> 0.05", "> 0.1"),
        ("> 0.05", "> 0.02"),
        ("claude_sink_errors_total[15m]) > 0", "claude_sink_errors_total[15m]) > 2"),
    ],
)
def test_mutated_threshold_fails_the_tests(rule: str, mutant: str, tmp_path: Path) -> None:
    """Tests that no mutant survives are tests."""
    assert_killed(rule, mutant, tmp_path, "rules_test.yml")


def test_mutated_slow_burn_fails_the_tests(tmp_path: Path) -> None:
    """One of the thresholds that take hours to show; the soak tries all of them."""
    assert_killed("6 * 0.01", "4 * 0.01", tmp_path, "rules_days_test.yml")


@pytest.mark.soak
@pytest.mark.parametrize(
    ("rule", "mutant"),
    [
        ("claude:bad_ratio:6h > 6 *", "claude:bad_ratio:6h > 14 *"),
        ("1 * 0.01", "0.4 * 0.01"),
        ("claude:bad_ratio:3d > 1 * ", "claude:bad_ratio:3d > 5 * "),
        ("> 3 * max_over_time", "> 4 * max_over_time"),
        ("> 3 * max_over_time", "> 1.5 * max_over_time"),
        ("max_over_time(claude:usd_per_day:1h[2h] offset 23h)", "0"),
        ("ratio:1h < 0.5 * (", "ratio:1h < 0 * ("),
        ("ratio:1h < 0.5 * (", "ratio:1h < 1.5 * ("),
    ],
)
def test_every_mutated_slow_threshold_fails_the_tests(
    rule: str, mutant: str, tmp_path: Path
) -> None:
    """Money and budgets over days."""
    assert_killed(rule, mutant, tmp_path, "rules_days_test.yml")


def assert_killed(rule: str, mutant: str, folder: Path, tests: str) -> None:
    """The tests notice that a rule was changed."""
    assert rule in RULES
    assert rules_test(RULES.replace(rule, mutant), folder, tests).returncode == 1


def test_week_raises_the_alerts_that_the_chapter_names() -> None:
    """The synthetic week, scraped and evaluated: the incident pages, the broken prefix tickets."""
    found = alerts_of(week(), RULES, prometheus_program("promtool"))
    assert found == json.loads((OPS / "week_alerts.json").read_text())
    prefix = [one for one in found if one["alert"] == "ClaudeCacheHitRatioFell"]
    release = MONDAY + SILENT
    assert [datetime.fromisoformat(one["from"]) - release for one in prefix] == [
        timedelta(minutes=40)
    ]
    pages = [datetime.fromisoformat(one["from"]) for one in found if one["severity"] == "page"]
    assert all(LOUD[0] <= page - MONDAY < LOUD[1] for page in pages)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_weeks_page_nobody_outside_of_the_incident(seed: int) -> None:
    """The thresholds are not fitted to one seed."""
    found = alerts_of(week(seed), RULES, prometheus_program("promtool"))
    fell = [one["from"] for one in found if one["alert"] == "ClaudeCacheHitRatioFell"]
    assert [moment[:13] for moment in fell] == ["2026-11-13T10"]
    pages = [datetime.fromisoformat(one["from"]) for one in found if one["severity"] == "page"]
    assert all(LOUD[0] <= page - MONDAY < LOUD[1] for page in pages)


def test_rules_and_python_agree() -> None:
    """The same outcomes, the same windows, the same rates."""
    groups = yaml.safe_load(RULES)["groups"]
    expressions = {r.get("record") or r["alert"]: r["expr"] for g in groups for r in g["rules"]}
    ratio = expressions["claude:bad_ratio:5m"]
    burns, ignored = re.findall(r'outcome[=!]~"([^"]+)"', ratio)
    assert set(burns.split("|")) == BURNS
    assert set(ignored.split("|")) == IGNORED
    alerts = ("ClaudeErrorBudgetBurnsFast", "ClaudeErrorBudgetBurns", "ClaudeErrorBudgetLeaks")
    hours = {"5m": 1 / 12, "30m": 0.5, "1h": 1, "6h": 6, "3d": 72}
    for name, policy in zip(alerts, POLICIES, strict=True):
        found = re.findall(r"bad_ratio:(\w+) > ([\d.]+) \* 0.01", expressions[name])
        windows = [hours[window] * 3_600 for window, _ in found]
        assert windows == [policy.long.total_seconds(), policy.short.total_seconds()]
        assert {float(rate) for _, rate in found} == {policy.rate}


def names_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads."""
    promql_parser.parse(expression)  # raises ValueError on a mistake
    return set(re.findall(r"\bclaude[\w:]+", expression))


def test_dashboard_reads_only_what_is_exported() -> None:
    """Each expression parses, and each metric in it exists in a scrape or in a rule."""
    families = busy_sink().registry.collect()
    exported = {sample.name for family in families for sample in family.samples}
    groups = yaml.safe_load(RULES)["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    panels = json.loads((OPS / "dashboard.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) >= 12
    for expression in expressions:
        assert names_in(expression)
        assert names_in(expression) <= exported | recorded


def test_rules_read_only_what_is_exported() -> None:
    """An alert on a metric that nobody exports never fires, silently."""
    exported = {s.name for family in busy_sink().registry.collect() for s in family.samples}
    rules = [rule for group in yaml.safe_load(RULES)["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        assert names_in(rule["expr"]) <= exported | recorded


@pytest.fixture
def exporter() -> Iterator[tuple[PrometheusSink, int]]:
    """A sink whose metrics are served on loopback."""
    sink, port = PrometheusSink(), free_port()
    server, thread = start_http_server(port, addr="127.0.0.1", registry=sink.registry)
    yield sink, port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def prometheus(exporter: tuple[PrometheusSink, int], tmp_path: Path) -> Iterator[Prometheus]:
    """A server that scrapes the exporter."""
    with prometheus_server([f"127.0.0.1:{exporter[1]}"], tmp_path) as server:
        yield server


def test_running_prometheus_scrapes_calls_and_fires_an_alert(
    exporter: tuple[PrometheusSink, int], prometheus: Prometheus
) -> None:
    """From a real SDK call to an answered query, an exemplar and a firing page."""
    sink, _ = exporter
    monitor = CallMonitor(Broken(), sink, features={"chat"})
    api = FakeAPI()
    client = watched(api, monitor, max_retries=0)
    until(lambda: prometheus.value("claude_spend_cap_calls_total") == 0)
    for _ in range(5):
        ask(client)
    api.enqueue(Error(429, error_code="enforced_spend_limit_reached"))
    with pytest.raises(RateLimitError, match="enforced_spend_limit"):
        ask(client)
    query = f'claude_calls_total{{model="{SONNET}",outcome="ok",feature="none"}}'
    assert until(lambda: prometheus.value(query)) == 5
    assert until(lambda: prometheus.value('claude_attempts_total{status="429"}')) == 1
    (alert,) = until(lambda: prometheus.firing("ClaudeSpendCapReached"))
    assert alert["labels"]["severity"] == "page"
    assert until(lambda: prometheus.firing("ClaudeMonitoringLosesRecords"))
    assert prometheus.firing("ClaudeErrorBudgetBurnsFast") == []  # six calls are no trend
    series = until(lambda: exemplars(prometheus))
    trace = series[0]["exemplars"][0]["labels"]["trace_id"]
    assert re.fullmatch(r"[0-9a-f]{32}", trace)


def exemplars(server: Prometheus) -> Any:
    """What the server kept of the latency histogram's exemplars."""
    return server.get(
        "query_exemplars",
        query="claude_call_duration_seconds_bucket",
        start="2020-01-01T00:00:00Z",
        end="2100-01-01T00:00:00Z",
    )


def test_scrape_in_the_exemplar_format_is_well_formed() -> None:
    """It ends as the format says, or a server takes nothing of it."""
    text = exposition.generate_latest(busy_sink().registry)  # type: ignore[no-untyped-call]
    assert text.decode().endswith("# EOF\n")
