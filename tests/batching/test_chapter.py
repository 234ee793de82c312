"""The chapter's drawings: what they say is what the modules compute."""

from dataclasses import replace
from typing import Any

import pytest
from matplotlib import pyplot as plt

from patterns.batching import BatchJob
from patterns.core.models import SONNET
from patterns.core.pricing import Tokens
from patterns.course.views import Table, batching
from patterns.fake_api import RateLimits

LIMITS = RateLimits(rpm=10_000, itpm=10_000_000, otpm=20_000)


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed; figures are drawn into memory."""
    plt.switch_backend("agg")
    found: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: found.extend(things))
    return found


def test_ways_of_fanning_out_do_what_the_chapter_says() -> None:
    """Few are slow, many are lost, a naive loop sends far more than it gets."""
    few, many, naive, adaptive = (
        batching.measure(way, LIMITS, batching.SLOW, calls=100)
        for way in (5, 100, "naive", "adaptive")
    )
    assert (few.lost, naive.lost, adaptive.lost) == (0, 0, 0)
    assert many.lost + many.answered == 100
    assert few.seconds > 2 * adaptive.seconds
    assert naive.attempts > adaptive.attempts
    assert adaptive.attempts <= 102


def test_a_measurement_gives_the_same_figures_every_time() -> None:
    """The chapter's outputs are compared word for word."""
    loads = [batching.measure("adaptive", LIMITS, batching.SLOW, calls=30) for _ in range(2)]
    assert loads[0] == loads[1]
    assert batching.measure(20, LIMITS, batching.SLOW, seconds=5).answered > 0


def test_plot_and_table_say_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """The alt text holds what the bars show."""
    slow = batching.Load("5", 120, 40, 0.2, 0.0, 40, 0, 0)
    loads = [slow, replace(slow, name="adaptive", answered=140, refused=0.008)]
    batching.plot_loads(loads)
    said = capsys.readouterr().out
    assert "5: 20 answers a minute, 0% refused, 0 lost" in said
    assert "adaptive: 70 answers a minute, 1% refused, 0 lost" in said
    assert "0.8%" in repr(batching.load_table(loads))


def test_choice_is_shown_with_its_arrow() -> None:
    """And spans as a person says them."""
    shown = repr(batching.compare(30_000, 4, Tokens(input=2_000, output=300)))
    assert "→  fan-out" in shown
    assert [batching.hours(s) for s in (8, 1_800, 86_400)] == ["8 s", "30 min", "24 h"]


def test_each_lab_has_its_own_api_clock_and_file() -> None:
    """So that any cell of the chapter runs again."""
    one, other = batching.Lab(batch_seconds=3_600), batching.Lab(batch_seconds=3_600)
    assert one.file != other.file
    params: Any = {"model": SONNET, "max_tokens": 9}
    params |= {"messages": [{"role": "user", "content": "Hello"}]}
    with BatchJob(one.client, one.file, **one.timed) as job:
        job.submit([{"custom_id": "a", "params": params}])
        job.wait()
        assert [each.outcome for each in job.results()] == ["succeeded"]
    assert one.clock.elapsed >= 3_600
    assert other.clock.elapsed == 0


def arrow_of(table: Table) -> tuple[str, str]:
    """Way and usual time of the row with the arrow."""
    row = next(row for row in table.rows if row[0] == "→")
    return row[1], row[3]


def test_the_widget_reaches_what_the_text_names(shown: list[Any]) -> None:
    """30,000 calls in 4 hours at first, then 60,000; 24 hours; ten calls in a tenth of an hour."""
    volume, deadline, prompt, answer = batching.decision_widget().children[0].children
    assert (volume.value, deadline.value, prompt.value, answer.value) == (30_000, 4, 2_000, 300)
    assert arrow_of(shown[-1]) == ("fan-out", "30 min")
    volume.value = 60_000
    assert arrow_of(shown[-1]) == ("fan-out", "60 min")
    assert next(row for row in shown[-1].rows if row[1] == "batch")[3] == "60 min"
    deadline.value = 24
    assert arrow_of(shown[-1])[0] == "batch"
    volume.value, deadline.value = 10, 0.1
    assert arrow_of(shown[-1])[0] == "one by one"
