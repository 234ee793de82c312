"""Exercises: a starter that runs, a grader that hints, a solution that passes.

Each chapter's file holds `EXERCISES` and a `check` made from them. The notebook shows the starter
word for word as it stands here; the tests prove that the starter is not enough, that the solution
and other right answers are, and that wrong answers people really give get a useful hint. The
solution is shown to whoever asks: `check("name")`.
"""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Final

_NOTHING: Final = object()


@dataclass(frozen=True)
class Grade:
    """What a grader says of an answer."""

    passed: bool
    hint: str = ""
    """Where to look next; empty once passed."""

    def __repr__(self) -> str:
        return "✓ solved" if self.passed else f"not yet: {self.hint}"


SOLVED = Grade(passed=True)


def not_yet(hint: str) -> Grade:
    """A failing grade."""
    return Grade(passed=False, hint=hint)


def yes_or_no(value: Any) -> bool | None:
    """What a yes-or-no answer means, as True, numpy's True, 1, or None for no; else None."""
    known = value is None or isinstance(value, Real) or type(value).__name__ in ("bool", "bool_")
    return bool(value) if known and value in (None, 0, 1) else None


def number(value: Any) -> float | None:
    """A number of whatever type, as a float; None for whatever else, truth values included."""
    known = isinstance(value, Real | Decimal) and not isinstance(value, bool)
    return float(value) if known else None


def pair(value: Any) -> tuple[Any, Any] | None:
    """Two values in order, whatever holds them; None for whatever else."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | Set):
        return None
    found = tuple(value)
    return (found[0], found[1]) if len(found) == 2 else None


@dataclass(frozen=True)
class Wrong:
    """An answer that people really give, and a phrase that its hint must hold."""

    code: str
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter.

    `starter`, `solution`, and each right or wrong answer are code that binds `answer` and runs by
    itself; the cell in the notebook is the starter followed by `check("name", answer)`.

    Attributes:
        name: unique in its chapter.
        grade: says what an answer lacks; what it raises becomes a hint.
        right: other answers that must pass, written without a look at the grader.
        part: whether the answer is a part of the desk that the course builds, under its name.
    """

    name: str
    starter: str
    solution: str
    grade: Callable[[Any], Grade]
    wrong: tuple[Wrong, ...]
    right: tuple[str, ...] = ()
    part: bool = False

    def check(self, answer: Any) -> Grade:
        """Grade an answer; an exception inside it is a hint with the line that raised it."""
        try:
            return self.grade(answer)
        except Exception as error:
            return not_yet(_told(error))

    def run(self, code: str) -> Grade:
        """Grade what `code` leaves in `answer`; `code` runs in a fresh namespace."""
        names: dict[str, Any] = {"__name__": "__main__"}  # as in a notebook: `create_model` asks
        try:
            exec(code, names)
        except Exception as error:
            return not_yet(_told(error))
        if "answer" not in names:
            return not_yet("nothing is called `answer` yet")
        return self.check(names["answer"])


def _told(error: BaseException) -> str:
    """An exception in a sentence: type, message, and the learner's own line if there is one."""
    where = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename[0] == "<"
    ]
    line = f" (line {where[-1].lineno} of your cell)" if where else ""
    text = " ".join(str(error).split())
    return f"it raises {type(error).__name__}{line}" + (f": {text}" if text else "")


class Solution:
    """A solution as a notebook shows it."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __repr__(self) -> str:
        return self.code

    def _repr_markdown_(self) -> str:
        return f"```python\n{self.code}\n```"


class Checker:
    """`check("name", answer)` grades an answer; `check("name")` shows a solution."""

    def __init__(self, exercises: Sequence[Exercise]) -> None:
        self._exercises = {each.name: each for each in exercises}

    def __call__(self, name: str, answer: Any = _NOTHING) -> Grade | Solution:
        """The grade of an answer, or the solution where none is given.

        Where no exercise has that name, a hint says which names there are.
        """
        exercise = self._exercises.get(name) if isinstance(name, str) else None
        if exercise is None:
            said = repr(name) if isinstance(name, str) else f"this {type(name).__name__}"
            names = ", ".join(map(repr, self._exercises))
            return not_yet(f"{said} is no exercise's name; check takes one of {names}, in quotes")
        return Solution(exercise.solution) if answer is _NOTHING else exercise.check(answer)
