"""What chapter 04 draws: every figure of the synthetic week says that it is synthetic."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure
from monitoring_support import a_record

from patterns.course.views import monitoring
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.insights import insights
from patterns.monitoring.summary import summarize


@pytest.fixture(scope="module")
def log() -> EventLog:
    """The synthetic week with its thumbs."""
    return monitoring.synthetic_week()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Title, alt text and source of each figure, in place of a display."""
    seen: list[tuple[str, str, str]] = []

    def show(fig: Figure, alt: str, *, source: str = "") -> None:
        seen.append((fig.get_suptitle(), alt, source))

    monkeypatch.setattr(monitoring, "show", show)
    return seen


def test_records_show_only_what_is_the_same_in_every_run() -> None:
    """A time or an id would make a page that never compares equal."""
    table = monitoring.record_table([a_record(user=None)], "outcome", "cost_usd", "user")
    assert table.rows == [("ok", "$0.010000", "–")]
    with pytest.raises(ValueError, match="not stable"):
        monitoring.record_table([], "seconds")


def test_week_comes_with_feedback(log: EventLog) -> None:
    """On chats only."""
    assert log.query("SELECT count(*) FROM feedback")[0][0] > 50


def test_tables_say_that_the_week_is_synthetic(log: EventLog) -> None:
    """In the table itself."""
    tables = [
        monitoring.feature_table(summarize(log)),
        monitoring.day_table(log, "chat"),
        monitoring.insight_table(insights(log)),
        monitoring.incident_table(log),
        monitoring.state_at(log, 64),
    ]
    assert {table.note for table in tables} == {monitoring.SYNTHETIC}
    assert tables[0].rows[0][0] == "chat"
    assert repr(monitoring.totals(summarize(log))).startswith("11,112 calls, $")
    assert len(tables[3].rows) == 2


def test_quiet_hour_has_no_rates(log: EventLog) -> None:
    """At night nobody calls, and nobody is paged."""
    hours = ({row[0]: row[1] for row in monitoring.state_at(log, h).rows} for h in range(1, 168))
    rows = next(rows for rows in hours if rows["calls"] == "0")
    assert rows["burn rate"] == "too few calls"
    assert (rows["pages somebody"], rows["p95"], rows["cache hits"]) == ("no", "–", "–")


def test_burn_plot_states_its_finding(log: EventLog, shown: list[tuple[str, str, str]]) -> None:
    """As title, in numbers."""
    monitoring.plot_burn(log)
    ((title, alt, source),) = shown
    assert title.startswith("2 of ")
    assert "14.4" in alt
    assert source == monitoring.SYNTHETIC


def test_dashboard_draws_again_when_the_hour_moves(
    log: EventLog, shown: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every hour that the text names, and at both ends of the slider."""
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    widget = monitoring.dashboard(log)
    hour = widget.children[1].children[0].children[0]
    said = {64: "Wed 16:00", 106: "Fri 10:00", 168: "Mon 00:00", 1: "Mon 01:00"}
    for number in said:
        hour.value = number
        tables = [each for each in displayed if hasattr(each, "rows")]
        assert tables[-1].columns[0] == said[number]
    assert shown[-1][0] == "24 hours to Monday 01:00"
    assert hour.layout.width == "98%"


def test_alerts_of_the_week_are_listed_in_their_order() -> None:
    """From the file that a test with promtool keeps true."""
    rows = monitoring.alert_table().rows
    assert rows[-1] == ("Fri 10:40", "18:30", "ticket", "ClaudeCacheHitRatioFell")
