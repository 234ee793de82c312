"""The chapter's drawings and exercises: what they say is what the modules compute."""

from dataclasses import replace

import pytest
from exercises.batching import JOBS, TOKENS, right_way
from matplotlib import pyplot as plt

from patterns.batching import choose
from patterns.core.models import SONNET
from patterns.core.pricing import Tokens
from patterns.course.views import batching
from patterns.fake_api import RateLimits

LIMITS = RateLimits(rpm=10_000, itpm=10_000_000, otpm=20_000)


@pytest.fixture(autouse=True)
def no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw into memory."""
    plt.switch_backend("agg")
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)


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
    assert "5 20, 0%, 0, adaptive 70, 1%, 0" in capsys.readouterr().out
    assert "0.8%" in repr(batching.load_table(loads))


def test_choice_is_shown_with_its_arrow() -> None:
    """And spans as a person says them."""
    shown = repr(batching.compare(30_000, 4, Tokens(input=2_000, output=300)))
    assert "→  fan-out" in shown
    assert [batching.hours(s) for s in (8, 1_800, 86_400)] == ["8 s", "30 min", "24 h"]


def test_widget_draws_the_table_for_its_knobs() -> None:
    """Four knobs."""
    assert len(batching.decision_widget().children[0].children) == 4


def test_right_ways_of_the_exercise_are_three_different_ones() -> None:
    """As `choose` has them."""
    assert [right_way(job) for job in JOBS] == ["one by one", "fan-out", "batch"]
    n, deadline = JOBS["30,000 tickets until lunch, in 4 hours"]
    assert choose(n, deadline, TOKENS, model=SONNET).fits == "surely"
