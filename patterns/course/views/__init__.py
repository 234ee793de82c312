"""What the notebooks draw with: the banner, tables, figures and widgets of the course.

The only folder that draws. Each chapter has a file of its own here; this one holds what they
share. A figure that depends on a model's answers gets its source note from the client, so that
authored replies are never mistaken for a measurement. Not for production dashboards: see
`patterns.monitoring`.

Used in every chapter.
"""

import html
import inspect
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
MUTED: Final = "#8a8f9c"
GRID: Final = "#e6e8ee"
PALETTE: Final = ("#c4572a", "#2f6f8f", "#6b8e3a", "#8a5fa8", "#d29b2f", "#4b5563")
"""Series colours, told apart by colour-blind readers too; the first is for what matters."""


class Shown:
    """Text that a cell shows as it is, and that nbval compares word for word."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def banner(client: Anthropic | AsyncAnthropic) -> Shown:
    """One or two lines for a chapter's set-up cell: mode, source, cost or budget, models."""
    connection = connection_of(client)
    models = ", ".join(connection.models)
    return Shown(f"{connection}\nmodels: {models}" if models else str(connection))


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
    """The source of a function or class of `patterns`, as it stands in the file."""
    return Listing(textwrap.dedent(inspect.getsource(thing)).rstrip())


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
                f'<{kind} style="text-align:{side}">{html.escape(cell)}</{kind}>'
                for cell, side in zip(cells, sides, strict=True)
            )
            return f"<tr>{''.join(aligned)}</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        note = f"<caption>{html.escape(self.note)}</caption>" if self.note else ""
        return f"<table>{note}<thead>{row(self.columns, 'th')}</thead><tbody>{body}</tbody></table>"


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
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(colors=INK, labelsize=9)
    axis.grid(visible=True, color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)


def show(fig: "Figure", alt: str, *, source: str = "") -> None:
    """Display a figure with its alt text, saved in the file and printed below it.

    Args:
        fig: from `figure`.
        alt: one sentence that says what the picture shows, with its numbers.
        source: from `note_for(client)`, where the figure depends on a model's answers.
    """
    from IPython.display import display
    from matplotlib import pyplot as plt

    if source:
        fig.text(0.995, 0.005, source, ha="right", va="bottom", fontsize=8, color=MUTED)
        fig.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # type: ignore[union-attr, call-arg]
    display(fig, metadata={"image/png": {"alt": alt}})  # type: ignore[no-untyped-call]
    plt.close(fig)
    print(f"{alt} ({source})" if source else alt)  # noqa: T201  # this file is what shows things


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
