"""What lessons share: a prediction compared with what happened, and diagrams drawn by code.

Used in every chapter; not a pattern.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from patterns.course.views import INK, PALETTE, SOFT, Shown, picture


def compare(guess: Any, truth: Any, why: Mapping[Any, str] | str = "") -> Shown:
    """What a reader predicted beside what happened, with a word on the difference.

    Args:
        guess: the prediction; None while nobody has made one. Text is compared without regard to
            case and spaces at its ends.
        truth: what the cell found.
        why: a comment for each wrong guess, or one for all of them.
    """
    if guess is None:
        return Shown(f"it is {truth}; set guess to your own prediction and run the cell again")
    if _plain(guess) == _plain(truth):
        return Shown(f"you said {guess}: right")
    comment = why if isinstance(why, str) else why.get(guess, why.get(_plain(guess), ""))
    return Shown(f"you said {guess}, it is {truth}" + (f": {comment}" if comment else ""))


def _plain(value: Any) -> Any:
    return value.strip().casefold() if isinstance(value, str) else value


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
            middle = (x0 + x1) / 2, -(y0 + y1) / 2 + 0.1
            axis.text(*middle, label[0], ha="center", va="bottom", fontsize=9, color=SOFT)
    return picture(fig, alt)
