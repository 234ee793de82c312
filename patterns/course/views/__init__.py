"""What the notebooks draw with: the banner, tables, figures and widgets of the course.

The only folder that draws. Each chapter has a file of its own here; this one holds what they
share. A figure that depends on a model's answers gets its source note from the client, so that
authored replies are never mistaken for a measurement. Not for production dashboards: see
`patterns.monitoring`.

Used in every chapter.
"""

import ast
import base64
import html
import inspect
import io
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from anthropic import Anthropic, AsyncAnthropic

from patterns.course.client import connection_of
from patterns.course.recordings import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK: Final = "#1f2430"
SOFT: Final = "#5f6672"
"""Text of second rank: ticks, notes."""
MUTED: Final = "#b9c0c8"
"""Bars and lines that are not the point."""
GRID: Final = "#e6e8ee"
PALETTE: Final = ("#d5672c", "#174a73", "#74b3a4", "#f0cf6b")
"""Series colours; the first is for what matters. Apart under deuteranopia and in grey too."""
STYLES: Final = tuple(
    {"color": color, "linestyle": line, "marker": marker}
    for color, line, marker in zip(PALETTE, ("-", "--", "-.", ":"), "osD^", strict=True)
)
"""One look for each series of lines, told apart without any colour: `plot(x, y, **STYLES[0])`."""


class Shown:
    """Text that a cell shows as it is, and that nbval compares word for word."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class Banner(Shown):
    """The first output of a chapter; it brings the one rule of style for all that follow.

    JupyterLab breaks long lines of plain output in the middle of a word.
    """

    def _repr_html_(self) -> str:
        rule = ".jp-OutputArea-output pre{word-break:normal;overflow-wrap:anywhere}"
        look = "margin:0;font-size:var(--jp-code-font-size,inherit)"
        return f'<style>{rule}</style><pre style="{look}">{html.escape(self.text)}</pre>'


def banner(client: Anthropic | AsyncAnthropic) -> Banner:
    """One or two lines for a chapter's set-up cell: mode, source, cost or budget, models."""
    connection = connection_of(client)
    models = ", ".join(connection.models)
    return Banner(f"{connection}\nmodels: {models}" if models else str(connection))


def one_line(error: BaseException) -> Shown:
    """An error the way a chapter shows it: type and first line, at most 160 characters."""
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)
    detail = body.get("error", {}).get("message") if isinstance(body, dict) else None
    said = (str(detail or error).strip() or repr(error)).splitlines()[0]
    name = type(error).__name__ + (f" {status}" if status else "")
    return Shown(textwrap.shorten(f"{name}: {said}", 160, placeholder=" …"))


def attempt(call: Callable[[], Any]) -> Shown:
    """Run what used to work and say in one line what it does today; its warnings are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call()
        except Exception as error:
            return one_line(error)
    return Shown(textwrap.shorten(f"runs: {result!r}", 160, placeholder=" …"))


class Listing(Shown):
    """Python source: highlighted where Markdown is rendered, plain text elsewhere."""

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.text}\n```"


def show_source(thing: Any) -> Listing:
    """The source of a function or class of `patterns`; of its docstring the first paragraph."""
    source = textwrap.dedent(inspect.getsource(thing)).rstrip()
    doc = ast.parse(source).body[0].body[0]  # type: ignore[attr-defined]  # a def or a class
    told, _, details = (inspect.getdoc(thing) or "").partition("\n\n")
    if not details:
        return Listing(source)
    lines = source.splitlines()
    brief = textwrap.indent(f'"""{told}"""', " " * doc.col_offset)
    lines[doc.lineno - 1 : doc.end_lineno] = brief.splitlines()
    return Listing("\n".join(lines))


class Table:
    """A small table: aligned text for the terminal and for nbval, HTML for the notebook.

    Args:
        columns: headings.
        rows: one sequence of cells each; numbers are aligned to the right.
        note: a line below it, such as where the figures come from.
    """

    def __init__(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, note: str = ""
    ) -> None:
        self.columns = tuple(columns)
        raw = [tuple(row) for row in rows]
        self._right = [
            all(isinstance(row[at], (int, float)) or _is_figure(str(row[at])) for row in raw)
            for at in range(len(self.columns))
        ]
        self.rows = [tuple(str(cell) for cell in row) for row in raw]
        self.note = note

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        text = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, self._right, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*text, *([self.note] if self.note else [])])

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], kind: str) -> str:
            sides = ["right" if right else "left" for right in self._right]
            aligned = (
                f'<{kind} style="text-align:{side}{_whole(cell)}">{html.escape(cell)}</{kind}>'
                for cell, side in zip(cells, sides, strict=True)
            )
            return f"<tr>{''.join(aligned)}</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        note = f"<caption>{html.escape(self.note)}</caption>" if self.note else ""
        return f"<table>{note}<thead>{row(self.columns, 'th')}</thead><tbody>{body}</tbody></table>"


def _whole(text: str) -> str:
    """Style that keeps a short cell on one line, such as an id with hyphens or two words."""
    breaks = "-" in text.strip("-") or " " in text
    return ";white-space:nowrap" if breaks and len(text) <= (12 if " " in text else 24) else ""


def _is_figure(text: str) -> bool:
    return bool(text) and text.strip("$%×x+-.,0123456789 –") == ""


def note_for(client: Anthropic | AsyncAnthropic) -> str:
    """Where a figure's answers come from, in the words that the figure carries."""
    connection = connection_of(client)
    return source_note(connection.source, connection.models)


def source_note(source: Source, models: Sequence[str] = ()) -> str:
    """`illustrative: authored replies`, or model and date where a model was really asked."""
    if source.measured:
        return f"measured on {', '.join(models) or 'the live API'}, {source.recorded}"
    if source.kind == "authored":
        return "illustrative: authored replies"
    return f"illustrative: replies from {source.upstream}"


def figure(
    title: str, *, size: tuple[float, float] = (7.2, 3.8), panels: int = 1, **options: Any
) -> tuple["Figure", Any]:
    """A figure in the house style: the finding as its title, light grid, no frame.

    Returns:
        The figure and its axes (one, or an array of `panels` side by side). `options` go to
        `matplotlib.pyplot.subplots`.
    """
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(1, panels, figsize=size, layout="constrained", **options)
    fig.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    for axis in [axes] if panels == 1 else axes:
        _plain(axis)
    return fig, axes


def _plain(axis: "Axes") -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(SOFT)
    axis.tick_params(colors=INK, labelsize=10)
    axis.grid(visible=True, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)


class Picture(Shown):
    """A figure as an image with its alt text, on a light card that a dark page can show as well.

    Args:
        figure: what was drawn.
        png: its image.
        alt: the sentence that it stands for.
    """

    def __init__(self, figure: "Figure", png: bytes, alt: str) -> None:
        super().__init__("(figure)")
        self.figure, self.png, self.alt = figure, png, alt

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        look = "width:720px;max-width:100%;background:#fff;border-radius:6px"
        return (
            f'<img alt="{html.escape(self.alt)}" style="{look}" src="data:image/png;base64,{data}">'
        )


def picture(fig: "Figure", alt: str) -> Picture:
    """Render a figure and close it."""
    from matplotlib import pyplot as plt

    held = io.BytesIO()
    fig.savefig(held, format="png", dpi=120, metadata={"Software": None})
    plt.close(fig)
    return Picture(fig, held.getvalue(), alt)


def show(fig: "Figure", alt: str, *, source: str = "") -> None:
    """Display a figure with its alt text, and print that sentence below it.

    Args:
        fig: from `figure`.
        alt: one sentence that says what the picture shows, with its numbers.
        source: from `note_for(client)`, where the figure depends on a model's answers.
    """
    from IPython.display import display

    if source:
        fig.text(0.995, 0.005, source, ha="right", va="bottom", fontsize=9, color=SOFT)
        fig.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # type: ignore[union-attr, call-arg]
    said = f"{alt} ({source})" if source else alt
    display(picture(fig, said))  # type: ignore[no-untyped-call]
    print(said)  # noqa: T201  # this file is what shows things


def knobs(draw: Callable[..., Any], /, **controls: Any) -> Any:
    """A widget: controls on top, and below them whatever `draw(**values)` displays or prints.

    Args:
        draw: called with the value of each control, at first and after each change.
        controls: ipywidgets controls, named as the arguments of `draw`.
    """
    import ipywidgets as widgets

    for control in controls.values():
        control.style.description_width = "initial"  # or longer names are cut off
        control.layout.min_width = "18em"
    row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([row, widgets.interactive_output(draw, controls)])
