"""The exercises: starters run and fail, solutions pass, common wrong answers get a hint."""

import importlib
from typing import Any

import pytest
from chapters import CHAPTERS, NOTEBOOKS, Chapter
from exercises import Exercise, Grade, not_yet

WITH_EXERCISES = [
    each for each in CHAPTERS if (NOTEBOOKS / "exercises" / f"{each.slug}.py").exists()
]


def exercises_of(chapter: Chapter) -> tuple[Exercise, ...]:
    """The exercises of a chapter."""
    found: Any = importlib.import_module(f"exercises.{chapter.slug}").EXERCISES
    return tuple(found)


CASES = [
    pytest.param(chapter, exercise, id=f"{chapter.slug}-{exercise.name}")
    for chapter in WITH_EXERCISES
    for exercise in exercises_of(chapter)
]
case = pytest.mark.parametrize(("chapter", "exercise"), CASES)


@pytest.mark.parametrize("chapter", WITH_EXERCISES, ids=lambda each: each.slug)
def test_a_chapter_has_three_exercises(chapter: Chapter) -> None:
    """Each with at least one wrong answer that people really give."""
    found = exercises_of(chapter)
    assert len(found) == 3
    assert all(each.wrong for each in found)


@case
def test_the_starter_runs_and_is_not_enough(chapter: Chapter, exercise: Exercise) -> None:
    """And the grader says where to look."""
    grade = exercise.run(exercise.starter)
    assert not grade.passed
    assert len(grade.hint) > 10


@case
def test_the_solution_passes(chapter: Chapter, exercise: Exercise) -> None:
    """Word for word as the notebook shows it."""
    assert exercise.run(exercise.solution).passed


@case
def test_wrong_answers_get_a_useful_hint(chapter: Chapter, exercise: Exercise) -> None:
    """The hint speaks of what is wrong with that answer."""
    for wrong in exercise.wrong:
        grade = exercise.run(wrong.code)
        assert not grade.passed, wrong.code
        assert wrong.hint in grade.hint, (wrong.code, grade.hint)


@case
def test_the_notebook_shows_starter_and_solution(chapter: Chapter, exercise: Exercise) -> None:
    """One source: what is tested is what is taught; and the stored output is a hint."""
    cells = [cell for cell in chapter.code if "exercise" in cell.tags]
    shown = [cell for cell in cells if _squeezed(exercise.starter) in _squeezed(cell.source)]
    assert len(shown) == 1, f"no exercise cell holds the starter of {exercise.name}"
    assert "not yet: " in shown[0].text
    assert _squeezed(exercise.solution) in _squeezed(chapter.prose)
    assert "<details>" in chapter.prose


def _squeezed(code: str) -> str:
    """Formatting aside: ruff puts two blank lines around a function in a notebook."""
    return "\n".join(line.rstrip() for line in code.splitlines() if line.strip())


def test_a_grade_reads_like_a_sentence() -> None:
    """That is all a learner sees."""
    assert repr(Grade(passed=True)) == "✓ solved"
    assert repr(not_yet("look again")) == "not yet: look again"
