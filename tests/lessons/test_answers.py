"""Fair grading: answers of strangers, and every solution's results in other types."""

import functools
import importlib
import inspect
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chapters import CHAPTERS
from exercises import Checker, Exercise, number, pair, yes_or_no

ANSWERS = Path(__file__).parent / "answers"
SLUGS = [chapter.slug for chapter in CHAPTERS]


def exercises_of(slug: str) -> dict[str, Exercise]:
    """The exercises of a chapter by name."""
    return {each.name: each for each in importlib.import_module(f"exercises.{slug}").EXERCISES}


def kept() -> Iterator[Any]:
    """Every kept answer with its exercise and whether it is right."""
    for file in sorted(ANSWERS.glob("*.toml")):
        for name, verdicts in tomllib.loads(file.read_text("utf-8")).items():
            for verdict, answers in verdicts.items():
                for at, answer in enumerate(answers, 1):
                    case = (exercises_of(file.stem)[name], verdict, answer["code"])
                    yield pytest.param(*case, id=f"{file.stem}-{name}-{verdict}-{at}")


@pytest.mark.parametrize(("exercise", "verdict", "code"), list(kept()))
def test_an_answer_of_a_stranger_is_graded_fairly(
    exercise: Exercise, verdict: str, code: str
) -> None:
    """Whatever its style and its types; a wrong one gets a hint that is no exception."""
    grade = exercise.run(code)
    assert grade.passed == (verdict == "right"), grade
    assert verdict == "right" or len(grade.hint) > 10


def test_every_chapter_has_kept_answers_of_both_kinds() -> None:
    """So that a new grader meets them as well."""
    files = {file.stem: tomllib.loads(file.read_text("utf-8")) for file in ANSWERS.glob("*.toml")}
    assert set(files) == set(SLUGS)
    for exercises in files.values():
        found = {verdict for verdicts in exercises.values() for verdict in verdicts}
        assert found == {"right", "wrong"}


class Text(str):
    """A text of a learner's own class."""

    __slots__ = ()


def from_numpy(value: Any) -> Any:
    """The same value as numpy gives it."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.int64(value)
    return np.float64(value) if isinstance(value, float) else value


def otherwise(value: Any) -> Any:
    """The same value in another type that compares or reads the same."""
    kinds: dict[type, Callable[[Any], Any]] = {
        bool: int,
        float: Fraction,
        str: Text,
        tuple: list,
        dict: OrderedDict,
    }
    return kinds.get(type(value), lambda same: same)(value)


def in_other_types(answer: Any, change: Callable[[Any], Any]) -> Any:
    """The answer, whose results are of other types."""

    def changed(value: Any) -> Any:
        return change(tuple(map(change, value)) if type(value) is tuple else value)

    @functools.wraps(answer)
    async def waits(*given: Any) -> Any:
        return changed(await answer(*given))

    @functools.wraps(answer)
    def at_once(*given: Any) -> Any:
        return changed(answer(*given))

    return waits if inspect.iscoroutinefunction(answer) else at_once


FUNCTIONS = [
    pytest.param(exercise, id=f"{slug}-{exercise.name}")
    for slug in SLUGS
    for exercise in exercises_of(slug).values()
    if exercise.name not in {"sink", "cases"}  # a class, and a list
]


@pytest.mark.parametrize("change", [from_numpy, otherwise])
@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_the_type_of_a_result_does_not_decide(
    exercise: Exercise, change: Callable[[Any], Any]
) -> None:
    """numpy's numbers, 1 for True, a fraction for a float, a list for a tuple."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(exercise.solution, names)
    grade = exercise.check(in_other_types(names["answer"], change))
    assert grade.passed, grade


MEANT: list[tuple[Any, bool | None]] = [
    *((True, True), (np.False_, False), (1, True), (0.0, False), (None, False)),
    *[(2, None), (-1, None), ("yes", None), ("", None), ([], None), (float("nan"), None)],
    (np.arange(0), None),
]


@pytest.mark.parametrize(("value", "meant"), MEANT)
def test_yes_and_no_have_several_spellings(value: Any, meant: bool | None) -> None:
    """A text, a list, or a number beside 0 and 1 is none of them."""
    assert yes_or_no(value) is meant


def test_numbers_and_pairs_are_taken_from_whatever_holds_them() -> None:
    """And nothing else is taken for one."""
    assert [number(each) for each in (2, np.int8(2), Fraction(1, 2))] == [2.0, 2.0, 0.5]
    assert [number(each) for each in (True, "2", None)] == [None] * 3
    assert [pair(each) for each in ([1, 2], iter((1, 2)), np.array([1, 2]))] == [(1, 2)] * 3
    assert [pair(each) for each in ("ab", {1, 2}, {1: 1, 2: 2}, [1], 7)] == [None] * 5


@pytest.mark.parametrize("slug", SLUGS)
def test_a_name_with_a_slip_gets_the_names_there_are(slug: str) -> None:
    """No traceback; also where the name was left out."""
    check: Checker = importlib.import_module(f"exercises.{slug}").check
    for given in ("typo", len, ["typo"]):
        said = repr(check(given))  # type: ignore[arg-type]  # that is the slip
        assert all(repr(name) in said for name in exercises_of(slug))
