"""patterns.course.views: what the chapters share to show things."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import matplotlib as mpl
import pytest
from anthropic.types import Usage

from patterns.course.client import connect
from patterns.course.recordings import Source
from patterns.course.views import (
    Table,
    attempt,
    banner,
    figure,
    knobs,
    note_for,
    one_line,
    show,
    show_source,
    source_note,
    start_here,
)


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    """Figures are drawn in memory and closed again."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    before = plt.get_fignums()  # whoever had this process before may have kept some
    yield
    assert plt.get_fignums() == before


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """What would have been displayed in a notebook, with its metadata."""
    seen: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        "IPython.display.display", lambda thing, metadata=None: seen.append((thing, metadata))
    )
    return seen


def test_the_banner_names_mode_source_cost_and_models() -> None:
    """Two lines on top of every chapter."""
    first, second = repr(banner(connect("00_start_here"))).splitlines()
    assert first.startswith("replay · ")
    assert "no key, nothing is sent" in first
    assert second == "models: claude-sonnet-5-5"


def test_the_banner_of_an_empty_recording_has_one_line(tmp_path: Path) -> None:
    """No model has answered yet."""
    source = '"source":"authored","recorded":"2026-11-21","sdk":"2.12.0","upstream":"fake_api"'
    (tmp_path / "01_x.json").write_text(f'{{"format":1,{source},"exchanges":[]}}', "utf-8")
    assert "\n" not in repr(banner(connect("01_x", recordings=tmp_path)))


def status_error(status: int, body: object) -> anthropic.APIStatusError:
    response = httpx2.Response(status, request=httpx2.Request("POST", "https://x"))
    return anthropic.APIStatusError("long text", response=response, body=body)


@pytest.mark.parametrize(
    ("error", "shown_as"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (KeyError(), "KeyError: KeyError()"),
        (status_error(404, {"error": {"message": "model: x"}}), "APIStatusError 404: model: x"),
        (status_error(500, "text"), "APIStatusError 500: long text"),
    ],
)
def test_an_error_is_one_line(error: Exception, shown_as: str) -> None:
    """Type, status and what the API said; no traceback."""
    assert repr(one_line(error)) == shown_as


def test_an_error_line_has_an_end() -> None:
    """A wall of text says nothing."""
    assert len(repr(one_line(ValueError("word " * 100)))) <= 160


def test_attempt_shows_what_the_old_way_does_today() -> None:
    """Its warnings are not the point."""
    import warnings

    def old() -> int:
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
        return 1 // 0

    assert repr(attempt(old)) == "ZeroDivisionError: integer division or modulo by zero"
    assert repr(attempt(lambda: 42)) == "runs: 42"


def test_source_is_shown_as_it_stands() -> None:
    """Highlighted in a notebook, plain elsewhere."""
    listing = show_source(one_line)
    assert repr(listing).startswith("def one_line(")
    assert listing._repr_markdown_().startswith("```python\ndef one_line(")


def test_a_table_aligns_figures_to_the_right() -> None:
    """In text and in HTML, with its note."""
    table = Table(("name", "cost"), [("a<b", "$1.50"), ("c", "$12.00")], note="made up")
    assert repr(table) == "name    cost\na<b    $1.50\nc     $12.00\nmade up"
    html = table._repr_html_()
    assert "a&lt;b" in html
    assert '<td style="text-align:right">$1.50</td>' in html
    assert "<caption>made up</caption>" in html
    assert "caption" not in Table(("a",), [("",)])._repr_html_()


@pytest.mark.parametrize(
    ("source", "note"),
    [
        (Source("authored", "2026-11-21", "2", "fake_api"), "illustrative: authored replies"),
        (Source("live", "2026-11-21", "2", "localhost"), "illustrative: replies from localhost"),
        (Source("live", "2026-11-21", "2", "api.anthropic.com"), "measured on m, 2026-11-21"),
    ],
)
def test_a_figure_says_where_its_answers_come_from(source: Source, note: str) -> None:
    """Only answers of the real API count as measured."""
    assert source_note(source, ["m"]) == note


def test_the_note_comes_from_the_client() -> None:
    """Nobody has to remember it."""
    assert note_for(connect("00_start_here")) == "illustrative: authored replies"


def test_a_figure_is_shown_with_alt_text_and_source(
    shown: list[tuple[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the file's metadata, and as visible text."""
    fig, axes = figure("A finding", panels=2)
    assert len(axes) == 2
    show(fig, "Two empty panels.", source="illustrative: authored replies")
    assert capsys.readouterr().out == "Two empty panels. (illustrative: authored replies)\n"
    assert shown[0][1] == {"image/png": {"alt": "Two empty panels."}}
    assert any("illustrative" in text.get_text() for text in fig.texts)


def test_knobs_draw_once_for_each_change() -> None:
    """The widget calls the function with the values of its controls."""
    import ipywidgets as widgets

    drawn: list[int] = []
    slider = widgets.IntSlider(1, 0, 5)
    box = knobs(lambda n: drawn.append(n), n=slider)
    slider.value = 3
    assert drawn == [1, 3]
    assert len(box.children) == 2


def test_prices_are_drawn_cheapest_first(
    shown: list[tuple[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The title is the ratio, the numbers are printed."""
    costs = start_here.prices(Usage(input_tokens=20, output_tokens=50))
    start_here.plot_prices(costs)
    out = capsys.readouterr().out
    assert out.startswith("Bars from claude-haiku-5-5 at $0.03")
    assert len(shown) == 1


def test_the_price_widget_shows_the_table(shown: list[tuple[Any, Any]]) -> None:
    """And again when a knob is turned."""
    box = start_here.price_widget()
    box.children[0].children[2].value = 20_000
    assert [type(thing) for thing, _ in shown] == [Table, Table]
