"""A learner runs cells again, in any order, and restarts in the middle: replay stays the same."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from chapters import CHAPTERS, Chapter
from kernels import Shown, kernel_of

pytestmark = pytest.mark.slow

REPLAY = {"PATTERNS_MODE": "replay"}

by_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


async def shown_by(path: Path, *orders: Iterable[int], most: int = 999) -> list[list[Shown]]:
    """What cells show in one kernel: all or the first `most` in order, then in each other order."""
    async with kernel_of(path, REPLAY) as kernel:
        whole = range(min(most, len(kernel)))
        return [[await kernel.run(number) for number in order] for order in (whole, *orders)]


def compared(chapter: Chapter, shown: Iterable[Shown]) -> dict[int, Shown]:
    """By cell, those whose output is the same every time."""
    ignored = {n for n, cell in enumerate(chapter.code) if "nbval-ignore-output" in cell.tags}
    return {each.cell: each for each in shown if each.cell not in ignored}


@by_chapter
def test_every_cell_runs_again_and_shows_what_it_showed(chapter: Chapter) -> None:
    """After Run All: once more in order, then backwards."""
    again = range(len(chapter.code))
    first, second, third = asyncio.run(shown_by(chapter.path, again, again[::-1]))
    assert compared(chapter, second) == compared(chapter, first)
    assert compared(chapter, third) == compared(chapter, first)


@pytest.mark.stage
@by_chapter
def test_a_chapter_runs_whole_after_a_restart_in_its_middle(chapter: Chapter) -> None:
    """Nothing that an abandoned kernel left behind is in the way."""
    (begun,) = asyncio.run(shown_by(chapter.path, most=2 * len(chapter.code) // 3))
    (whole,) = asyncio.run(shown_by(chapter.path))
    assert compared(chapter, begun).items() <= compared(chapter, whole).items()


@pytest.mark.soak
@by_chapter
def test_every_prefix_runs_after_a_restart(chapter: Chapter) -> None:
    """One kernel a cell."""
    (whole,) = asyncio.run(shown_by(chapter.path))
    for most in range(1, len(chapter.code)):
        (prefix,) = asyncio.run(shown_by(chapter.path, most=most))
        assert compared(chapter, prefix).items() <= compared(chapter, whole).items(), most
