"""Every chapter live, over a socket, with other answers than the recorded ones."""

import asyncio

import pytest
from chapters import CHAPTERS, NOTEBOOKS, Chapter
from kernels import Shown, kernel_of
from other_answers import CHANGES, api_with

from patterns.core.models import SONNET
from patterns.fake_api.wire.server import serve

SAID = ("reworded", "longer", "shorter")
"""Answers that a chapter can use: no cell may raise."""
UNUSABLE = ("refused", "cut", "echo")
"""Answers that it may not be able to use: a cell says so, in a typed line."""

pytestmark = pytest.mark.stage


def cases(changes: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(chapter, change, id=f"{chapter.stem}-{change}")
        for change in changes
        for chapter in CHAPTERS
    ]


async def failures(chapter: Chapter, change: str) -> list[Shown]:
    """What went wrong in cells that are not expected to fail."""
    with serve(api_with(chapter.stem, change, NOTEBOOKS / "recordings" / "replies")) as url:
        live = {
            "PATTERNS_MODE": "live",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "k",
        }
        async with kernel_of(chapter.path, live) as kernel:
            shown = [await kernel.run(number) for number in range(len(kernel))]
            expected = {n for n in range(len(kernel)) if "raises-exception" in kernel.tags(n)}
    return [each for each in shown if each.error and each.cell not in expected]


@pytest.mark.parametrize(("chapter", "change"), cases(SAID))
def test_a_chapter_finishes_whatever_the_model_says(chapter: Chapter, change: str) -> None:
    """Nothing is asserted about an answer, and nothing breaks on it."""
    failed = asyncio.run(failures(chapter, change))
    assert failed == []


@pytest.mark.parametrize(("chapter", "change"), cases(UNUSABLE))
def test_what_cannot_go_on_without_an_answer_says_so_in_a_line(
    chapter: Chapter, change: str
) -> None:
    """A typed error, one message; the kernel goes on, and later cells at most lack a name."""
    failed = asyncio.run(failures(chapter, change))
    walls = [each for each in failed if not (each.lines == 1 or each.error == "NameError")]
    assert walls == []


def test_other_answers_are_other_answers() -> None:
    """Else the rest of this file proves nothing."""
    said = set()
    for change in (*CHANGES, "echo"):
        with api_with(
            "00_start_here", change, NOTEBOOKS / "recordings" / "replies"
        ).client() as client:
            message = client.messages.create(
                model=SONNET,
                max_tokens=999,
                system="You answer in one sentence.",
                messages=[{"role": "user", "content": "Why is the sky blue?"}],
            )
        said.add("".join(block.text for block in message.content if block.type == "text"))
    assert len(said) == len(CHANGES) + 1
