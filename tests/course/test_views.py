"""patterns.course.views: what the chapters share to show things."""

import base64
import inspect
import math
from collections.abc import Iterator
from decimal import Decimal
from itertools import combinations
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
    PALETTE,
    STYLES,
    Table,
    attempt,
    banner,
    figure,
    knobs,
    lesson,
    note_for,
    one_line,
    picture,
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


def test_of_a_long_docstring_the_first_paragraph_is_shown() -> None:
    """The code is whole; arguments and errors stand in the file."""
    source = repr(show_source(knobs))
    assert '"""A widget: controls on top' in source
    assert "Args:" not in source
    compile(source, "shown", "exec")
    assert source.endswith(inspect.getsource(knobs).rstrip().splitlines()[-1])


def test_a_short_cell_stays_on_one_line() -> None:
    """An id keeps its hyphens together; a sentence wraps."""
    html = Table(("a", "b"), [("claude-haiku-5-5", "a sentence that is long")])._repr_html_()
    assert '<td style="text-align:left;white-space:nowrap">claude-haiku-5-5</td>' in html
    assert '<td style="text-align:left">a sentence that is long</td>' in html


def test_the_banner_lets_plain_output_break_between_words() -> None:
    """One rule of style for the whole notebook, and the text as it is."""
    page = banner(connect("00_start_here"))._repr_html_()
    assert page.startswith("<style>.jp-OutputArea-output pre{word-break:normal")
    assert "no key, nothing is sent" in page


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
    """For screen readers, in the notebook and on every page made of it; and as visible text."""
    fig, axes = figure("A finding", panels=2)
    assert len(axes) == 2
    show(fig, "Two empty panels.", source="illustrative: authored replies")
    assert capsys.readouterr().out == "Two empty panels. (illustrative: authored replies)\n"
    page = shown[0][0]._repr_html_()
    assert page.startswith('<img alt="Two empty panels. (illustrative: authored replies)" style=')
    assert base64.b64decode(page.split("base64,")[1][:-2]).startswith(b"\x89PNG")
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


def test_prices_are_drawn_cheapest_first() -> None:
    """The title is the ratio; the alt text has both ends."""
    costs = start_here.prices(Usage(input_tokens=20, output_tokens=50))
    drawn = start_here.price_bars(costs)
    assert drawn.alt.startswith("Bars from claude-haiku-5-5 at $0.03")
    title = drawn.figure.get_suptitle()
    assert f" {start_here.ratio(costs)} times more" in title
    assert start_here.ratio({"a": Decimal(2), "b": Decimal(9), "c": Decimal(1)}) == 9


def test_the_price_widget_shows_the_table(shown: list[tuple[Any, Any]]) -> None:
    """And again when a knob is turned, over the step that the text names: 100,000 tokens in."""
    tokens_in, _, calls = start_here.price_widget().children[0].children
    calls.value = 1_000
    tokens_in.value = 100_000
    tokens_in.value = 100_100
    tables = [thing for thing, _ in shown]
    assert [type(each) for each in tables] == [Table] * 4
    below, above = (
        {row[0]: float(row[1].lstrip("$").replace(",", "")) for row in table.rows}
        for table in tables[-2:]
    )
    jumps = {model for model in below if above[model] > 2 * below[model]}
    assert jumps == {"claude-haiku-5-5"}


def test_quotes_in_an_alt_text_are_escaped() -> None:
    """A sentence may quote."""
    fig, _ = figure("A finding")
    assert 'alt="say &quot;yes&quot;"' in picture(fig, 'say "yes"')._repr_html_()


DEUTERANOPIA = (  # Machado, Oliveira and Fernandes (2009), severity 1
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)


def _linear(colour: str) -> tuple[float, ...]:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)


def _lab(linear: tuple[float, ...]) -> tuple[float, float, float]:
    r, g, b = (min(1.0, max(0.0, each)) for each in linear)
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    f = [v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


@pytest.mark.parametrize(("one", "other"), [*combinations(PALETTE, 2)])
def test_series_are_told_apart_by_everybody(one: str, other: str) -> None:
    """Under deuteranopia by 20 in CIELAB (1976) at least, and in grey by 12 of 100."""
    seen = [
        _lab(tuple(sum(m * c for m, c in zip(row, _linear(colour), strict=True))
                   for row in DEUTERANOPIA))
        for colour in (one, other)
    ]  # fmt: skip
    assert math.dist(*seen) >= 20
    assert abs(_lab(_linear(one))[0] - _lab(_linear(other))[0]) >= 12


def test_every_series_has_a_line_and_a_marker_of_its_own() -> None:
    """Whoever sees no colour at all still has those."""
    assert len({style["linestyle"] for style in STYLES}) == len(STYLES)
    assert len({style["marker"] for style in STYLES}) == len(STYLES)


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        (None, "No prediction yet: set guess, and run the cell again."),
        (1, "You said 1: right."),
        (3, "You said 3. Three are attempts."),
        (2, "You said 2."),
    ],
)
def test_a_prediction_is_compared_with_what_happened(guess: int | None, words: str) -> None:
    """With a word on what was probably meant; folded while nobody has made one."""
    answer = lesson.reveal(1, guess=guess, wrong={3: "Three are attempts."}, why="One call.")
    assert repr(answer) == f"1\n{words}\nOne call."
    page = answer._repr_html_()
    assert page.startswith("<details><summary>" if guess is None else "<details open><summary>")
    assert f"<pre>1</pre><p>{words}</p><p>One call.</p></details>" in page


def test_an_answer_without_a_guess_is_folded_too() -> None:
    """Tables and pictures are drawn inside; text is escaped."""
    table = Table(["a"], [["1"]])
    answer = lesson.reveal("x < y", table)
    assert repr(answer) == f"x < y\n{table!r}"
    assert f"<pre>x &lt; y</pre>{table._repr_html_()}</details>" in answer._repr_html_()


def test_a_prediction_in_words_is_compared_by_its_words() -> None:
    """Neither case nor spaces are the point."""
    assert "right" in repr(lesson.reveal("cached", guess=" Cached"))
    assert "It repeats." in repr(
        lesson.reveal("new", guess="CACHED", wrong={"cached": "It repeats."})
    )


def test_a_diagram_draws_every_box_and_arrow() -> None:
    """What the chapter builds is set off."""
    boxes = {"you": (0.0, 0.0), "guard": (1.0, 0.0), "API": (1.0, 1.0)}
    drawn = lesson.diagram(
        boxes, [("you", "guard"), ("guard", "API", "retries")], "You ask.", ours=["guard"]
    )
    (axis,) = drawn.figure.axes
    assert {text.get_text() for text in axis.texts} == {*boxes, "retries", ""}
    assert drawn.alt == "You ask."
    assert drawn.png.startswith(b"\x89PNG")
