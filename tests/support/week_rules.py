"""The shipped rules on the synthetic week: its calls through the real sink, its series in promtool.

python tests/support/week_rules.py --write     rewrites patterns/monitoring/ops/week_alerts.json
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import patterns.monitoring
from patterns.course.synthetic import MONDAY, week
from patterns.monitoring.prometheus import PrometheusSink
from patterns.monitoring.record import CallRecord

OPS: Final = Path(patterns.monitoring.__file__).parent / "ops"
SCRAPE: Final = timedelta(minutes=2)
STEP: Final = timedelta(minutes=10)
"""How often the rules are evaluated: as seldom as their longest `for`."""
WEEK: Final = timedelta(days=7)
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def series_of(calls: Sequence[CallRecord]) -> dict[str, list[str]]:
    """What a server would scrape off a `PrometheusSink`: the samples of each counter."""
    sink, waiting = PrometheusSink(), list(reversed(calls))
    series: dict[str, list[str]] = {}
    for number in range(WEEK // SCRAPE + 1):
        while waiting and waiting[-1].at < MONDAY + number * SCRAPE:
            sink.finished(waiting.pop())
        for sample in (s for family in sink.registry.collect() for s in family.samples):
            if sample.name.endswith("_total"):
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                values = series.setdefault(f"{sample.name}{{{labels}}}", ["_"] * number)
                values.append(repr(round(sample.value, 9)))
    return series


def _short(values: Sequence[str]) -> str:
    runs = ((value, sum(1 for _ in run)) for value, run in groupby(values))
    return " ".join(value if count == 1 else f"{value}x{count - 1}" for value, count in runs)


def unit_test(series: dict[str, list[str]]) -> dict[str, Any]:
    """A promtool test that expects no alert at any time, so that it reports each one."""
    firing = 'count by (alertname, severity) (ALERTS{alertstate="firing"})'
    times = range(0, int(WEEK.total_seconds()), int(STEP.total_seconds()))
    given = [{"series": name, "values": _short(values)} for name, values in series.items()]
    asked = [{"expr": firing, "eval_time": f"{at}s", "exp_samples": []} for at in times]
    test = {"interval": _seconds(SCRAPE), "input_series": given, "promql_expr_test": asked}
    return {"rule_files": ["rules.yml"], "evaluation_interval": _seconds(STEP), "tests": [test]}


def _seconds(step: timedelta) -> str:
    return f"{int(step.total_seconds())}s"


def alerts_of(calls: Sequence[CallRecord], rules: str, promtool: str) -> list[dict[str, str]]:
    """Every alert that the rules raise in these calls, from when until when, in order."""
    with TemporaryDirectory() as name:
        (Path(name) / "rules.yml").write_text(rules)
        test = Path(name) / "week_test.yml"
        test.write_text(json.dumps(unit_test(series_of(calls))))  # JSON is YAML
        command = [promtool, "test", "rules", str(test)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
    moments: dict[tuple[str, str], list[timedelta]] = {}
    for at, alert, severity in _reported(said.stdout + said.stderr):
        moments.setdefault((alert, severity), []).append(at)
    found = [
        {"alert": alert, "severity": severity, "from": _when(run[0]), "until": _when(run[-1])}
        for (alert, severity), times in moments.items()
        for run in _runs(times)
    ]
    return sorted(found, key=lambda one: (one["from"], one["alert"]))


def _reported(text: str) -> Iterator[tuple[timedelta, str, str]]:
    at = timedelta()
    for line in text.splitlines():
        if moment := re.search(r"time: (\w+),", line):
            parts = re.findall(r"(\d+)([dhms])", moment[1])
            at = timedelta(seconds=sum(int(count) * _UNITS[unit] for count, unit in parts))
        for labels in re.findall(r"{([^}]*)}", line) if "got:" in line else ():
            named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            yield at, named["alertname"], named["severity"]


def _runs(times: Sequence[timedelta]) -> Iterator[list[timedelta]]:
    run = [times[0]]
    for time in times[1:]:
        if time - run[-1] > STEP:
            yield run
            run = []
        run.append(time)
    yield run


def _when(at: timedelta) -> str:
    return (MONDAY + at).isoformat(timespec="minutes")


if __name__ == "__main__":
    found = alerts_of(week(), (OPS / "rules.yml").read_text(), "promtool")
    text = json.dumps(found, indent=2) + "\n"
    if "--write" in sys.argv:
        (OPS / "week_alerts.json").write_text(text)
    sys.stdout.write(text)
