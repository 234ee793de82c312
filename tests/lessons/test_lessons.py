"""What makes a chapter a lesson: predictions, true minutes, terms explained, numbers bound."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from chapters import CHAPTERS, NOTEBOOKS, Cell, Chapter
from lesson_facts import CONVERTED, EXTERNAL
from lesson_minutes import exercise_minutes, main_line, teaching_minutes

LESSONS = [each for each in CHAPTERS if each.stem in CONVERTED]
chapter = pytest.mark.parametrize("chapter", LESSONS, ids=lambda each: each.stem)
GLOSSARY = NOTEBOOKS / "GLOSSARY.md"


def predictions(chapter: Chapter) -> Iterator[Cell]:
    """Code cells that follow a text which asks for a prediction."""
    for before, cell in zip(chapter.cells, chapter.cells[1:], strict=False):
        asked = before.kind == "markdown" and "**predict**" in before.source.lower()
        if asked and cell.kind == "code":
            yield cell


@chapter
def test_a_prediction_is_asked_before_its_answer_is_seen(chapter: Chapter) -> None:
    """All that the cell shows is folded, also after *Run All* and on a rendered page."""
    asked = list(predictions(chapter))
    assert len(asked) >= 3
    assert [cell.source for cell in asked if not cell.folded] == []


@chapter
def test_the_cell_does_not_tell_what_it_asks(chapter: Chapter) -> None:
    """Comments and reasons stand in `WHY` of the chapter's views; the truth is computed."""
    told: list[ast.expr] = []
    for cell in predictions(chapter):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("reveal"):
                named = [each.value for each in node.keywords if each.arg in {"why", "wrong"}]
                told += [each for each in named if isinstance(each, ast.Constant | ast.Dict)]
                told += [each for each in node.args[:1] if isinstance(each, ast.Constant)]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "wrong":
                told.append(node.value)
    assert list(map(ast.unparse, told)) == []


@chapter
def test_some_predictions_are_compared(chapter: Chapter) -> None:
    """Two at least ask for a choice that the cell comments on."""
    assert sum("guess=guess" in cell.source for cell in predictions(chapter)) >= 2


@chapter
def test_the_minutes_are_true(chapter: Chapter) -> None:
    """Within a fifth of what words, cells and exercises give by the formula of CONTRIBUTING."""
    found = re.search(
        r"\*\*You need\*\* (\d+) minutes.*?, (\d+) for the\s+exercises", chapter.prose
    )
    assert found, "**You need** N minutes for the lesson, M for the exercises"
    assert int(found[1]) == pytest.approx(teaching_minutes(chapter), rel=0.2)
    assert int(found[2]) == pytest.approx(exercise_minutes(chapter), rel=0.2)
    assert int(found[1]) <= 65


@chapter
def test_an_exercise_follows_each_part_of_the_lesson(chapter: Chapter) -> None:
    """Never all of them at the end."""
    kinds = ["exercise" in cell.tags for cell in chapter.code]
    where = [at for at, is_exercise in enumerate(kinds) if is_exercise]
    assert len(where) >= 3
    assert all(later - earlier > 1 for earlier, later in pairwise(where))


@chapter
def test_a_chapter_has_a_diagram_and_primary_sources(chapter: Chapter) -> None:
    """One picture drawn by code; links to where the facts are from."""
    assert sum("diagram" in cell.tags for cell in chapter.code) == 1
    assert len(re.findall(r"\]\(https://", chapter.prose)) >= 2


@chapter
def test_a_term_is_linked_to_the_glossary_at_its_first_use(chapter: Chapter) -> None:
    """Nobody meets kappa or makespan unprepared."""
    text = "\n\n".join(
        _without_code(cell.source) for cell in main_line(chapter) if cell.kind == "markdown"
    )
    for term in terms():
        found = re.search(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", text, re.IGNORECASE)
        if found:
            link = re.compile(rf"\[[^\]]*{re.escape(term)}[^\]]*\]\(GLOSSARY\.md#", re.IGNORECASE)
            first = link.search(text)
            assert first, f"{term!r} is never linked"
            assert first.start() <= found.start(), f"{term!r} is used before it is linked"


def terms() -> list[str]:
    """The headings of the glossary."""
    return re.findall(r"^## (.+)$", GLOSSARY.read_text("utf-8"), re.MULTILINE)


def _without_code(source: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`|^#[^\n]*$", " ", source, flags=re.DOTALL | re.MULTILINE)


def test_the_glossary_is_sorted_and_short() -> None:
    """A sentence or two for each term."""
    text = GLOSSARY.read_text("utf-8")
    assert terms() == sorted(terms(), key=str.casefold)
    for body in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        assert 5 <= len(body.split()) <= 60


NUMBER = re.compile(r"(?<![\w.,#])(?:\$|−|-)?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")


def numbers(text: str) -> set[str]:
    """Figures of two digits or more, or with a fraction, without signs and separators."""
    found = (each.lstrip("$-−").replace(",", "") for each in NUMBER.findall(text))
    return {each for each in found if len(each.replace(".", "").strip("0")) > 1 or len(each) > 2}


@chapter
def test_every_number_in_the_prose_stands_in_an_output_or_in_the_code(chapter: Chapter) -> None:
    """So that a changed value is found; facts from elsewhere are listed with their source."""
    text = "\n".join(
        re.sub(r"\]\([^)]*\)|https?://\S+|```.*?```", " ", cell.source, flags=re.DOTALL)
        for cell in chapter.cells
        if cell.kind == "markdown" and "**You need**" not in cell.source
    )
    shown = {re.sub(r"[,$]", "", each) for cell in chapter.code for each in _figures(cell)}
    known = shown | set(EXTERNAL.get(chapter.stem, {}))
    assert sorted(each for each in numbers(text) if not _among(each, known)) == []


def _figures(cell: Cell) -> list[str]:
    return re.findall(r"\d[\d,_]*(?:\.\d+)?", (cell.text + "\n" + cell.source).replace("_", ""))


def _among(number: str, known: set[str]) -> bool:
    return number in known or any(_same(number, each) for each in known)


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


@chapter
def test_a_chapter_says_where_one_is(chapter: Chapter) -> None:
    """Previous, next, and the list of all."""
    last = chapter.cells[-1].source
    at = CHAPTERS.index(chapter)
    around = [
        each.path.name for each in (*CHAPTERS[max(0, at - 1) : at], *CHAPTERS[at + 1 : at + 2])
    ]
    assert [name for name in around if name not in last] == []
    assert "../README.md" in last
