"""How long a chapter takes, by a formula that anyone can check.

A minute for 130 words of prose and a minute for each code cell (read it, predict, run it, look);
seven minutes for each exercise. Fitted to three chapters that were read with a clock: 75, 65 and
65 minutes. Sections whose heading says "optional" are not on the main line.
"""

from chapters import Cell, Chapter

WORDS_A_MINUTE = 130
MINUTES_A_CELL = 1
MINUTES_AN_EXERCISE = 7


def main_line(chapter: Chapter) -> list[Cell]:
    """The cells of a chapter without its optional sections."""
    kept, optional = [], False
    for cell in chapter.cells:
        if cell.kind == "markdown" and cell.source.startswith("## "):
            optional = "optional" in cell.source.splitlines()[0].lower()
        if not optional:
            kept.append(cell)
    return kept


def teaching_minutes(chapter: Chapter) -> float:
    """Minutes for the lesson alone."""
    cells = main_line(chapter)
    words = sum(len(cell.source.split()) for cell in cells if cell.kind == "markdown")
    run = sum(cell.kind == "code" and "exercise" not in cell.tags for cell in cells)
    return words / WORDS_A_MINUTE + run * MINUTES_A_CELL


def exercise_minutes(chapter: Chapter) -> float:
    """Minutes for the exercises."""
    return MINUTES_AN_EXERCISE * sum("exercise" in cell.tags for cell in main_line(chapter))
