"""What lessons share: answers that wait for a prediction, and diagrams drawn by code.

Used in every chapter; not a pattern.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final

from patterns.course.views import INK, PALETTE, SOFT, Shown, picture

_OPEN: Final = object()


class Revealed(Shown):
    """An answer that stays folded until the reader has made a prediction.

    Folded by HTML, so that it is also folded after *Run All*, in every front end and on a page.
    """

    def __init__(self, text: str, inside: str, *, is_open: bool) -> None:
        super().__init__(text)
        self._inside, self._open = inside, " open" if is_open else ""

    def _repr_html_(self) -> str:
        asked = "Your prediction first; then click here"
        return f"<details{self._open}><summary>{asked}</summary>{self._inside}</details>"


def reveal(
    *things: Any, guess: Any = _OPEN, wrong: Mapping[Any, str] | None = None, why: str = ""
) -> Revealed:
    """What a cell found, folded until the reader opens it, with a word on their prediction.

    Args:
        things: what to show; the first is the truth that a guess is compared with. Text stays as
            it is, tables and pictures are drawn.
        guess: the reader's prediction; None while there is none. Leave it out where the question
            has no short answer. Text is compared without regard to case and spaces at its ends.
        wrong: a comment on each wrong guess that people really make.
        why: the explanation, which would give the answer away if it stood below the cell.
    """
    said = [] if guess is _OPEN else [_verdict(guess, things[0], wrong or {})]
    notes = [*said, *([why] if why else [])]
    text = "\n".join([*(_text(each) for each in things), *notes])
    inside = "".join(map(_html, things)) + "".join(f"<p>{html.escape(each)}</p>" for each in notes)
    return Revealed(text, inside, is_open=guess is not _OPEN and guess is not None)


def _verdict(guess: Any, truth: Any, wrong: Mapping[Any, str]) -> str:
    if guess is None:
        return "No prediction yet: set guess, and run the cell again."
    if _plain(guess) == _plain(truth):
        return f"You said {guess}: right."
    comment = wrong.get(guess, wrong.get(_plain(guess), ""))
    return f"You said {guess}." + (f" {comment}" if comment else "")


def _plain(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value


def _text(thing: Any) -> str:
    return thing if isinstance(thing, str) else repr(thing)


def _html(thing: Any) -> str:
    drawn = getattr(thing, "_repr_html_", None)
    return drawn() if drawn else f"<pre>{html.escape(_text(thing))}</pre>"


def diagram(
    boxes: Mapping[str, tuple[float, float]],
    arrows: Sequence[tuple[str, str] | tuple[str, str, str]],
    alt: str,
    *,
    ours: Sequence[str] = (),
) -> Any:
    """A picture of boxes and arrows.

    Args:
        boxes: text of each box, and where its middle is: columns and rows from 0, rows downwards.
        arrows: from which box to which, and a word to write beside it.
        alt: the diagram in one or two sentences.
        ours: boxes to set off: what the chapter builds.

    Returns:
        A picture to end a cell with.
    """
    from matplotlib import pyplot as plt

    columns = max(x for x, _ in boxes.values()) + 1
    rows = max(y for _, y in boxes.values()) + 1
    fig, axis = plt.subplots(figsize=(7.2, 0.3 + 0.75 * rows), layout="constrained")
    axis.set(xlim=(-0.55, columns - 0.45), ylim=(0.55 - rows, 0.45))
    axis.axis("off")
    drawn = {}
    for text, (x, y) in boxes.items():
        look = {"boxstyle": "round,pad=0.45", "facecolor": "white", "linewidth": 1.2}
        look |= {"edgecolor": PALETTE[0], "linewidth": 2.2} if text in ours else {"edgecolor": SOFT}
        drawn[text] = axis.text(
            x, -y, text, ha="center", va="center", fontsize=10, color=INK, zorder=3, bbox=look
        )
    fig.canvas.draw()  # only now do the boxes have a size at which arrows can end
    for start, end, *label in arrows:
        (x0, y0), (x1, y1) = boxes[start], boxes[end]
        ends = {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        look = {"arrowstyle": "-|>", "color": SOFT, "shrinkA": 2, "shrinkB": 3, "linewidth": 1.4}
        axis.annotate("", (x1, -y1), (x0, -y0), zorder=1, arrowprops=look | ends)
        if label:
            look = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            where = _between(drawn[start], drawn[end])
            axis.text(*where, label[0], ha="center", va="center", fontsize=9, color=SOFT, bbox=look)
    return picture(fig, alt)


def _between(start: Any, end: Any) -> tuple[float, float]:
    """The middle of what is seen of an arrow: from the edge of one box to that of the other."""
    ends = []
    for this, other in ((start, end), (end, start)):
        (x, y), (to_x, to_y) = this.get_position(), other.get_position()
        box = this.get_bbox_patch().get_window_extent().transformed(this.axes.transData.inverted())
        sides = [box.width / 2 / abs(to_x - x)] if to_x != x else []
        sides += [box.height / 2 / abs(to_y - y)] if to_y != y else []
        part = min(sides)
        ends.append((x + part * (to_x - x), y + part * (to_y - y)))
    (x0, y0), (x1, y1) = ends
    return (x0 + x1) / 2, (y0 + y1) / 2
