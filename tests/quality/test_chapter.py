"""What chapter 06 draws: tables and figures hold the computed numbers, and their source."""

import asyncio
from decimal import Decimal
from typing import Any

import ipywidgets as widgets
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Usage
from matplotlib import pyplot as plt

from patterns.core.models import SONNET
from patterns.course.client import connect_async
from patterns.course.views import quality as views
from patterns.fake_api import Error, FakeAPI, Reply
from patterns.quality import self_consistent_async, vote
from patterns.quality.calls import Billed, Call
from patterns.quality.refinement import Critique, Refinement, Round
from patterns.quality.study import Gain, Strategy, gain

NOTE = "illustrative: authored replies"
ONE = Strategy("one call", (1, 0.5, 0.25, 0, 0.75), Decimal("0.01"))
NINE = Strategy("9 votes", (1, 0.75, 0, 0, 1), Decimal("0.06"))
HIGH = Strategy("effort high", (1, 1, 1, 0, 1), Decimal("0.03"))


@pytest.fixture
def client() -> AsyncAnthropic:
    """A client that replays the chapter's recording."""
    return connect_async("06_response_quality")


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Draw into memory, and keep what is displayed."""
    plt.switch_backend("agg")
    kept: list[Any] = []
    monkeypatch.setattr(
        "IPython.display.display", lambda thing, **_: kept.append(getattr(thing, "figure", thing))
    )
    return kept


def billed(tokens: int, model: str = SONNET) -> tuple[Call, ...]:
    """One call with so many tokens out."""
    return (Call(model, Usage(input_tokens=0, output_tokens=tokens), "req"),)


def test_ballot_says_winner_counts_agreement_and_source(client: AsyncAnthropic) -> None:
    """One line for the vote, one for where it comes from."""
    assert repr(views.ballot(vote([5, 5, 7]), client)) == (
        f"5 · 5: 2, 7: 1 · agreement 67% (21% to 94%)\n{NOTE}"
    )
    assert (
        repr(views.ballot(vote([5, 7]))) == "tie of 5, 7 · 5: 1, 7: 1 · agreement 50% (9% to 91%)"
    )


def test_ballot_says_what_was_lost_and_skipped() -> None:
    """Losses by their reason, sorted, and the samples that were saved."""
    api = FakeAPI()
    api.enqueue(Error(529), *[Reply(json={"answer": 5})] * 2, Reply(refusal="bio"))
    client = api.async_client(max_retries=0)
    counted = asyncio.run(self_consistent_async(client, "?", n=5, answer=int, concurrency=1))
    assert repr(views.ballot(counted)).endswith("· lost: HTTP 529, refused (bio) · 1 skipped")


def test_costs_stand_beside_calls_and_tokens(client: AsyncAnthropic) -> None:
    """A price, or that there is none."""
    table = views.cost_rows(
        client, all_five=Billed(calls=billed(1000)), other=Billed(calls=billed(7, "in-house"))
    )
    assert table.rows == [("all five", "1", "1000", "$0.0100"), ("other", "1", "7", "unknown")]
    assert table.note == NOTE


def test_stopping_table_holds_the_exact_sums() -> None:
    """Nine votes at 70 %: right 90.1 %, 6.86 samples, a quarter saved."""
    (row,) = views.stopping_table(9, [0.7]).rows
    assert row == ("70%", "90.1%", "9", "6.86", "24%", "2.42")


def test_rounds_table_marks_the_chosen_version(client: AsyncAnthropic) -> None:
    """Scores, costs and issues; an unjudged version has no score."""
    judged = Round(1, "a", Critique(verdict="revise", score=7, issues=["Long.", "Dull."]))
    lost = Round(2, "b", None)
    table = views.rounds_table(Refinement(judged, (judged, lost), "lost"), client)
    assert table.rows[0] == ("1", "7", "$0.0000", "chosen", "Long. · Dull.")
    assert table.rows[1][1:] == ("–", "$0.0000", "", "")


def test_study_tables_hold_accuracy_interval_price_and_source(client: AsyncAnthropic) -> None:
    """Shares, intervals, dollars for a thousand; differences in points."""
    table = views.study_table([ONE, NINE], client)
    assert table.rows[0] == ("one call", "50.0%", "17% – 83%", "$2.00")
    gains = {"a": gain(NINE.scores, ONE.scores), "b": Gain(0.2, 0.1, 0.3)}
    rows = views.gain_table(gains, client).rows
    assert [row[1] for row in rows] == ["+5.0", "+20.0"]
    assert [row[3] for row in rows] == ["not shown", "shown"]
    assert table.note == views.gain_table(gains, client).note == NOTE


def test_bands_hold_every_question_once(client: AsyncAnthropic) -> None:
    """Always, more often, less often and never right; the gains add up to the whole."""
    rows = views.bands_table(ONE, NINE, client).rows
    assert [row[1] for row in rows] == ["1", "2", "1", "1"]
    whole = sum(NINE.scores) - sum(ONE.scores)
    assert sum(float(row[4]) for row in rows) == pytest.approx(whole, abs=0.05)


def test_figure_says_its_numbers_and_its_source(
    client: AsyncAnthropic, capsys: pytest.CaptureFixture[str]
) -> None:
    """The alt text holds what is plotted."""
    views.plot_accuracy("A finding", [ONE, NINE, HIGH], client)
    said = capsys.readouterr().out
    assert "one call 50% for $2.00; 9 votes 55% for $12.00; effort high 80% for $6.00" in said
    assert NOTE in said


@pytest.mark.parametrize("percent", [30, 50, 70])
@pytest.mark.parametrize("wrong", [1, 2, 5])
def test_widget_reaches_what_the_text_says(
    percent: int, wrong: int, shown: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Moving the sliders to the values of the text draws the exact sums."""
    controls, _ = views.odds_widget().children
    samples, chance, answers = controls.children
    for control, value in ((samples, 9), (chance, percent), (answers, wrong)):
        assert isinstance(control, widgets.IntSlider)
        assert control.min <= value <= control.max
        assert (value - control.min) % control.step == 0
        control.value = value
    views.draw_odds(samples.value, chance.value, answers.value)
    assert f"{views.odds_text(9, percent, wrong)!r}." in capsys.readouterr().out
    assert shown


@pytest.mark.parametrize(
    ("percent", "wrong", "finding"),
    [
        (30, 1, "9 votes are right with 9.9%: worse than one call"),
        (30, 5, "9 votes are right with 40.3%: better than one call"),
        (50, 1, "9 votes are right with 50.0%: no better than one call"),
    ],
)
def test_title_is_what_the_curve_shows(
    percent: int, wrong: int, finding: str, shown: list[Any]
) -> None:
    """Computed from the odds, whatever the sliders say."""
    views.draw_odds(9, percent, wrong)
    assert shown[-1].get_suptitle() == finding


def test_odds_table_holds_the_exact_multinomial() -> None:
    """Nine votes at 30 %: 9.9 % if all wrong samples agree, 40.3 % if there are five answers."""
    table = views.odds_table(9, [0.3], [1, 5])
    assert table.columns == ("a sample is right", "1 wrong", "5 wrong")
    assert table.rows == [("30%", "9.9%", "40.3%")]


def test_promise_stands_beside_what_was_found(client: AsyncAnthropic) -> None:
    """Fair coins promise a fair vote; the study found 55 %."""
    line = repr(views.promise_text(ONE, NINE, client))
    assert line == f"the study: one call 50.0%; 9 votes: promised 50.0%, found 55.0%\n{NOTE}"


def test_cache_table_lists_tokens_by_how_they_were_paid(client: AsyncAnthropic) -> None:
    """Uncached, written and read, call by call."""
    usage = Usage(input_tokens=5, output_tokens=1, cache_read_input_tokens=600)
    panel = Billed(calls=(Call(SONNET, usage, "req"),))
    assert views.cache_table(panel, ["ann"], client).rows == [("ann", "5", "0", "600")]


def test_noting_keeps_the_bodies_that_go_out() -> None:
    """What was sent is in the list, and the answer is as without it."""
    sent: list[Any] = []
    api = FakeAPI()
    api.enqueue(Reply(json={"answer": 5}))
    client = api.async_client(middleware=[views.Noting(sent)])
    counted = asyncio.run(self_consistent_async(client, "?", n=1, answer=int))
    assert counted.answer == 5
    assert sent[0] == api.journal[0].body
