"""Exercises: a starter that runs, a grader that hints, a solution that passes.

Each chapter's file holds `EXERCISES`. The notebook shows the starter and the folded solution word
for word as they stand here; the tests prove that the starter is not enough, that the solution is,
and that the wrong answers people really give are turned down with a useful hint.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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


@dataclass(frozen=True)
class Wrong:
    """An answer that people really give, and a phrase that its hint must hold."""

    code: str
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter.

    `starter`, `solution` and each wrong answer are code that binds `answer`; the cell in the
    notebook is the starter followed by a line that calls the grader on it.
    """

    name: str
    starter: str
    solution: str
    grade: Callable[[Any], Grade]
    wrong: tuple[Wrong, ...]

    def run(self, code: str) -> Grade:
        """Grade what `code` leaves in `answer`; `code` runs in a fresh namespace."""
        names: dict[str, Any] = {}
        exec(code, names)
        return self.grade(names["answer"])
