"""The support desk that the exercises build: one part a chapter, put together in chapter 09.

A part is the answer to an exercise that says so. `parts()` takes the official solutions;
`parts(mine=True)` takes your own from the saved notebooks wherever they pass.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from exercises import Exercise, Grade

NOTEBOOKS = Path(__file__).parents[1]


def chapters() -> list[Path]:
    """The notebooks that have exercises, in order."""
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return [each for each in found if (NOTEBOOKS / "exercises" / f"{each.stem[3:]}.py").exists()]


def exercises_of(notebook: Path) -> tuple[Exercise, ...]:
    """The exercises of a chapter."""
    if str(NOTEBOOKS) not in sys.path:
        sys.path.insert(0, str(NOTEBOOKS))
    module: Any = importlib.import_module(f"exercises.{notebook.stem[3:]}")
    return tuple(module.EXERCISES)


def code_of(notebook: Path, exercise: Exercise) -> str:
    """The learner's cell for an exercise, without the line that grades it; "" if it is gone."""
    call = f'check("{exercise.name}"'
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and call in source:
            return "\n".join(line for line in source.splitlines() if not line.startswith("check("))
    return ""


def graded() -> Iterator[tuple[Path, Exercise, Grade]]:
    """Every exercise of the course with the grade of what is saved in the notebooks."""
    for notebook in chapters():
        for exercise in exercises_of(notebook):
            yield notebook, exercise, exercise.run(code_of(notebook, exercise))


def parts(*, mine: bool = False) -> Any:
    """The desk's parts by name: `parts().reply` is the answer to the exercise `reply`.

    Args:
        mine: take the learner's own answers from the saved notebooks where they pass.
    """
    found: dict[str, Any] = {}
    for notebook in chapters():
        for exercise in exercises_of(notebook):
            if exercise.part:
                code = code_of(notebook, exercise) if mine else ""
                own = bool(code) and exercise.run(code).passed
                names: dict[str, Any] = {"__name__": "__main__"}
                exec(code if own else exercise.solution, names)
                found[exercise.name] = names["answer"]
    return SimpleNamespace(**found)


def report() -> str:
    """What `make grade` prints: a line a chapter, then where to go on."""
    rows: dict[str, list[tuple[str, Grade]]] = {}
    for notebook, exercise, grade in graded():
        rows.setdefault(notebook.stem, []).append((exercise.name, grade))
    lines = []
    for stem, grades in rows.items():
        solved = sum(grade.passed for _, grade in grades)
        marks = "".join("✓" if grade.passed else "·" for _, grade in grades)
        lines.append(f"{stem:<26} {marks:<8} {solved} of {len(grades)}")
    todo = [(stem, name, grade) for stem, each in rows.items() for name, grade in each]
    ahead = next(((stem, name, grade) for stem, name, grade in todo if not grade.passed), None)
    if ahead:
        lines.append(f"next: {ahead[1]!r} in {ahead[0]}: {ahead[2].hint}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report() + "\n")
