"""The exercises: starters run and fail, solutions pass, common wrong answers get a hint."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from chapters import CHAPTERS, NOTEBOOKS, Chapter
from exercises import SOLVED, Checker, Exercise, Grade, Solution, desk, not_yet
from lesson_facts import CONVERTED

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
def test_a_chapter_has_exercises_and_one_is_a_part_of_the_desk(chapter: Chapter) -> None:
    """Three at least, each with wrong answers that people really give."""
    found = exercises_of(chapter)
    assert len(found) >= 3
    assert len({each.name for each in found}) == len(found)
    assert all(each.wrong for each in found)
    if chapter.stem in CONVERTED:
        assert any(each.part for each in found)
        assert min(len(each.right) for each in found) >= 4
        assert min(len(each.wrong) for each in found) >= 6


@case
def test_the_starter_runs_and_is_not_enough(chapter: Chapter, exercise: Exercise) -> None:
    """And the grader says where to look."""
    grade = exercise.run(exercise.starter)
    assert not grade.passed
    assert len(grade.hint) > 10


@case
def test_the_solution_and_other_right_answers_pass(chapter: Chapter, exercise: Exercise) -> None:
    """Also those that the grader's author did not think of."""
    for code in (exercise.solution, *exercise.right):
        assert exercise.run(code).passed, (code, exercise.run(code).hint)


@case
def test_wrong_answers_get_a_useful_hint(chapter: Chapter, exercise: Exercise) -> None:
    """The hint speaks of what is wrong with that answer."""
    for wrong in exercise.wrong:
        grade = exercise.run(wrong.code)
        assert not grade.passed, wrong.code
        assert wrong.hint in grade.hint, (wrong.code, grade.hint)


@case
def test_the_notebook_shows_the_starter(chapter: Chapter, exercise: Exercise) -> None:
    """One source: what is tested is what is taught; and the stored output is a hint."""
    cells = [cell for cell in chapter.code if "exercise" in cell.tags]
    shown = [cell for cell in cells if _squeezed(exercise.starter) in _squeezed(cell.source)]
    assert len(shown) == 1, f"no exercise cell holds the starter of {exercise.name}"
    assert "not yet: " in shown[0].text
    if chapter.stem in CONVERTED:
        assert f'check("{exercise.name}", answer)' in shown[0].source
        assert _squeezed(exercise.solution) not in _squeezed(chapter.prose), "only for who asks"
    else:
        assert _squeezed(exercise.solution) in _squeezed(chapter.prose)


def _squeezed(code: str) -> str:
    """Formatting aside: ruff puts two blank lines around a function in a notebook."""
    return "\n".join(line.rstrip() for line in code.splitlines() if line.strip())


def test_a_grade_reads_like_a_sentence() -> None:
    """That is all a learner sees."""
    assert repr(Grade(passed=True)) == "✓ solved"
    assert repr(not_yet("look again")) == "not yet: look again"


def _at_least_ten(answer: Any) -> Grade:
    return SOLVED if answer() >= 10 else not_yet("more")


ONE = Exercise("ten", "answer = lambda: 1", "answer = lambda: 10", _at_least_ten, (), (), part=True)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("answer = lambda: 1 / 0", r"raises ZeroDivisionError \(line 1 of your cell\): division"),
        ("x = 1", "nothing is called `answer`"),
        ("\nanswer = nowhere", r"raises NameError \(line 2 of your cell\)"),
        ("answer =", "raises SyntaxError"),
        ("def answer():\n    raise KeyError", r"raises KeyError \(line 2 of your cell\)$"),
        ("answer = lambda: 'x'", "raises TypeError"),
    ],
)
def test_an_exception_of_the_learner_is_a_hint(code: str, words: str) -> None:
    """Not a wall of somebody else's lines."""
    grade = ONE.run(code)
    assert not grade.passed
    assert re.search(words, grade.hint), grade.hint


def test_a_checker_grades_or_shows_the_solution_to_whoever_asks() -> None:
    """And names the exercises there are."""
    check = Checker([ONE])
    assert check("ten", lambda: 10) == SOLVED
    assert repr(check("ten")) == "answer = lambda: 10"
    shown = check("ten")
    assert isinstance(shown, Solution)
    assert shown._repr_markdown_() == "```python\nanswer = lambda: 10\n```"
    hint = "'two' is no exercise's name; check takes one of 'ten', in quotes"
    assert check("two", 1) == not_yet(hint)


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one chapter, whose learner has solved nothing yet."""
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "x.py").write_text("", "utf-8")
    monkeypatch.setattr(desk, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(desk, "exercises_of", lambda _: (ONE,))
    save(tmp_path, ONE.starter)
    return tmp_path


def save(folder: Path, code: str) -> None:
    """Save the learner's notebook."""
    cells = [
        {"cell_type": "markdown", "source": "# 00"},
        {"cell_type": "code", "source": [f"{code}\n", "\n", 'check("ten", answer)']},
    ]
    (folder / "00_x.ipynb").write_text(json.dumps({"cells": cells}), "utf-8")


def test_progress_is_read_from_the_saved_notebooks(course: Path) -> None:
    """A line a chapter, and where to go on."""
    assert desk.report().splitlines() == [
        "00_x                       ·        0 of 1",
        "next: 'ten' in 00_x: more",
    ]
    save(course, "answer = lambda: 11")
    assert desk.report() == "00_x                       ✓        1 of 1"


def test_the_desk_takes_your_own_parts_where_they_pass(course: Path) -> None:
    """And the official ones elsewhere."""
    assert desk.parts().ten() == 10
    assert desk.parts(mine=True).ten() == 10
    save(course, "answer = lambda: 11")
    assert desk.parts(mine=True).ten() == 11
    (course / "00_x.ipynb").write_text('{"cells": []}', "utf-8")
    assert desk.parts(mine=True).ten() == 10


def test_the_course_itself_is_graded() -> None:
    """Starters everywhere: nothing is solved in a fresh copy."""
    found = list(desk.graded())
    assert {notebook.stem for notebook, _, _ in found} == {each.stem for each in WITH_EXERCISES}
    assert not any(grade.passed for _, _, grade in found)
