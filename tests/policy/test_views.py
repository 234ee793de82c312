"""What chapter 01 draws: the simulation behind it, the tables, the figure, the widget."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from patterns.course.views import policy
from patterns.fake_api import FakeAPI
from patterns.policy import AuditLog, PIIMiddleware, guarded


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been displayed in a notebook."""
    mpl.use("agg")
    seen: list[Any] = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda thing, metadata=None: seen.append(getattr(thing, "figure", thing)),
    )
    return seen


def test_an_audit_row_is_shown_without_what_differs_from_run_to_run() -> None:
    """No time, no id, no mac; missing facts are empty."""
    rows = [
        {
            "seq": 1,
            "event": "request",
            "model": "m",
            "time": "now",
            "detail": {"user": "user_12345"},
        },
        {
            "seq": 2,
            "event": "response",
            "usage": {"output_tokens": 7},
            "notes": {"pii": 1, "allowed": "rule 0"},
        },
    ]
    table = policy.audit_table(rows)
    assert table.rows == [
        ("1", "request", "user_12345", "m", "", ""),
        ("2", "response", "", "", "7", "1"),
    ]


def test_the_chain_is_drawn_as_it_is(tmp_path: Path) -> None:
    """In order, from the call to the API."""
    with AuditLog(tmp_path / "audit.db", b"k" * 32) as log:
        client = guarded(
            FakeAPI().client(), log=log, user_key=b"k" * 32, rules=[], privacy=PIIMiddleware()
        )
        drawn = policy.chain_diagram(client)
    assert drawn.alt.startswith("A call passes Audit, Authorize, ContentPolicy, PIIMiddleware")


def test_a_shared_bucket_admits_no_more_than_the_limit() -> None:
    """Capacity and refill of two minutes, whatever the traffic."""
    traffic = policy.simulate(calls_per_second=10)
    assert traffic.admitted[-1] <= 60_000 * 3
    assert traffic.refused > 0


def test_a_bucket_in_each_process_admits_a_multiple() -> None:
    """That is the mistake which the figure shows."""
    one = policy.simulate(calls_per_second=80, reserve=1_000)
    eight = policy.simulate(calls_per_second=80, reserve=1_000, processes=8)
    assert eight.admitted[-1] > 4 * one.admitted[-1]


def test_what_is_never_settled_runs_dry() -> None:
    """The reservation is four times what the call uses."""
    settled = policy.simulate(calls_per_second=0.8)
    unsettled = policy.simulate(calls_per_second=0.8, settle=False)
    assert min(settled.levels) > 0.5 * 60_000
    assert min(unsettled.levels) < 4_000
    assert "lowest level" in policy.summary(settled)


def test_the_figure_says_its_numbers(shown: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Title, two panels, and a sentence with what was admitted."""
    shared = policy.simulate(calls_per_second=80, reserve=1_000)
    apart = policy.simulate(calls_per_second=80, reserve=1_000, processes=8)
    policy.plot_buckets(shared, apart, otpm=60_000, processes=8)
    (fig,) = shown
    assert fig.get_suptitle().startswith("8 buckets in 8 processes let ")
    assert capsys.readouterr().out.startswith("After 120 s the limit allows 180 thousand")


def test_the_widget_runs_the_simulation(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the values of its controls, and again when one is turned."""
    asked: list[dict[str, Any]] = []
    traffic = policy.simulate(seconds=1)

    def note(**values: Any) -> policy.Traffic:
        asked.append(values)
        return traffic

    monkeypatch.setattr(policy, "simulate", note)
    box = policy.limit_knobs()
    box.children[0].children[0].value = 5
    assert [each["calls_per_second"] for each in asked] == [2, 5]
    titles = [fig.get_suptitle() for fig in shown]
    assert titles == ["0.1 times the limit was used, 0 calls were turned away"] * 2
    assert capsys.readouterr().out.count(policy.summary(traffic)) == 2


def turned(box: Any, capsys: pytest.CaptureFixture[str], **values: Any) -> str:
    """Turn the named controls; what the widget says after the last of them."""
    controls = {each.description: each for each in box.children[0].children}
    said = ""
    for name, value in values.items():
        controls[name.replace("per_s", "/s")].value = value
        said = capsys.readouterr().out or said
    assert {name: controls[name.replace("per_s", "/s")].value for name in values} == values
    return said.strip().splitlines()[-1]


def test_the_widget_reaches_what_the_text_names(
    shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing to settle where all that is reserved is used; the excess of eight processes."""
    box = policy.limit_knobs()
    unsettled = turned(box, capsys, settle=False, reserve=1_000)
    assert turned(box, capsys, settle=True) == unsettled
    assert unsettled.startswith("admitted 180,000")
    said = turned(box, capsys, reserve=4_000, callsper_s=16, processes=8)
    assert said.endswith("6.5 times the limit")
    assert shown[-1].get_suptitle().startswith("6.5 times the limit was used")
