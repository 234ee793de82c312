"""A zip for a workshop without a network: `make kit`.

    python .github/workshop/kit.py [--python 3.12 3.13] [--system linux macos windows] [--out dist]

`claude-patterns-kit.zip` has what a learner needs: the notebooks without outputs, the recordings,
the locked wheels of every system and Python asked for, one page of instructions for each system,
and `start.py`, which sets it up and says in plain words what is missing.
`claude-patterns-trainer.zip` has the same notebooks as they are on the page, with a solution and
the usual wrong answers below each exercise.
"""

import argparse
import hashlib
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nbformat

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).resolve().parent
NOTEBOOKS: Final = ROOT / "notebooks"
LEFT_OUT: Final = shutil.ignore_patterns("*.ipynb", "__pycache__", ".*", "draft")
SLOW: Final = "rfc3987-syntax"
"""Optional for jsonschema, and 2 s at each import of it."""


@dataclass(frozen=True)
class System:
    """A system that the kit has wheels for.

    Attributes:
        resolves: its name for uv.
        tags: its names on wheels, for pip.
        python: how Python is called there.
        needs: what to install where `start.py` says that Python is missing.
    """

    title: str
    resolves: str
    tags: tuple[str, ...]
    python: str
    needs: str


SYSTEMS: Final = {
    "linux": System(
        "Linux (x86-64)",
        "x86_64-manylinux_2_28",
        ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64"),
        "python3",
        "`sudo apt install python3 python3-venv`, or your distribution's packages",
    ),
    "macos": System(
        "macOS (Apple silicon)",
        "aarch64-apple-darwin",
        ("macosx_13_0_arm64", "macosx_12_0_arm64", "macosx_11_0_arm64", "macosx_10_12_universal2"),
        "python3",
        "the installer from python.org",
    ),
    "windows": System(
        "Windows (64 bit)",
        "x86_64-pc-windows-msvc",
        ("win_amd64",),
        "py",
        "the installer from python.org; unzip close to the root of the drive, as `C:\\kit`",
    ),
}

PAGE: Final = """# Claude Patterns on {title}

No network, no key. You need Python {pythons} and 2 GB of free space.

1. Unzip the kit and open a terminal in its folder.
2. `{python} start.py` sets it up (about a minute), runs chapter 00 as a check, and opens
   JupyterLab. The second time it opens at once.
3. `{python} start.py check` says in plain words what is missing, and changes nothing.
4. `{python} start.py grade` shows how far you are with the exercises, as saved in the notebooks.

Without Python: {needs}. Everything stays in this folder; delete it and it is gone.
To begin a chapter again, unzip it from the kit once more.
"""


def resolved(system: System, python: str, folder: Path) -> Path:
    """The locked packages that the course needs there, a file with hashes."""
    target = folder / f"{system.resolves}-{python}.txt"
    _call(
        Path(sys.executable).with_name("uv"), "pip", "compile", "-q", ROOT / "pyproject.toml",
        HERE / "uv.in",
        "--extra", "course", "--constraint", ROOT / "requirements.lock",
        "--python-platform", system.resolves, "--python-version", python, "--generate-hashes",
        "--no-header", "--no-annotate", "--only-binary", ":all:",
        "--no-emit-package", SLOW, "-o", target,
    )  # fmt: skip
    return target


def download(listed: Path, system: System, python: str, wheels: Path) -> None:
    """Fetch the wheels of a list, with their hashes checked.

    Raises:
        SystemExit: one of them is not to be had; pip's own words say which.
    """
    tags = [word for tag in system.tags for word in ("--platform", tag)]
    _call(
        sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:",
        "--require-hashes", "-r", listed, "--dest", wheels, "--python-version", python,
        "--implementation", "cp", *tags,
    )  # fmt: skip


def learners(target: Path) -> None:
    """The notebooks as a learner begins with them: no outputs."""
    shutil.copytree(NOTEBOOKS, target, ignore=LEFT_OUT)
    for path, book in _books():
        for cell in book.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(book, target / path.name)  # type: ignore[no-untyped-call]


def trainers(target: Path) -> None:
    """The notebooks with outputs, and below each exercise what a trainer wants to have at hand."""
    shutil.copytree(NOTEBOOKS, target, ignore=LEFT_OUT)
    for path, book in _books():
        exercises = {each.name: each for each in _exercises(path)}
        cells = []
        for cell in book.cells:
            cells.append(cell)
            named = [name for name in exercises if f'check("{name}"' in cell.source]
            if cell.cell_type == "code" and named:
                text = solution(exercises[named[0]])
                cells.append(nbformat.v4.new_markdown_cell(text))  # type: ignore[no-untyped-call]
        book.cells = cells
        nbformat.write(book, target / path.name)  # type: ignore[no-untyped-call]


def solution(exercise: Any) -> str:
    """A solution, and where groups get stuck: the wrong answers with what the grader says."""
    stuck = []
    for wrong in exercise.wrong:
        said = exercise.run(wrong.code)
        stuck.append(f"```python\n{wrong.code.strip()}\n```\n→ {said.hint}")
    told = "\n\n".join(["**Where groups get stuck**", *stuck])
    return f"**Trainer: a solution**\n\n```python\n{exercise.solution.strip()}\n```\n\n{told}"


def _books() -> Iterator[tuple[Path, Any]]:
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        yield path, nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def _exercises(notebook: Path) -> tuple[Any, ...]:
    sys.path[:0] = [str(NOTEBOOKS)] if str(NOTEBOOKS) not in sys.path else []
    if not (NOTEBOOKS / "exercises" / f"{notebook.stem[3:]}.py").exists():
        return ()
    return tuple(importlib.import_module(f"exercises.{notebook.stem[3:]}").EXERCISES)


def build(kit: Path, systems: Sequence[str], pythons: Sequence[str]) -> None:
    """Write the learner's kit into a folder."""
    wheels = kit / "wheels"
    wheels.mkdir(parents=True)
    (kit / "requirements").mkdir()
    _call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=ROOT)
    for name in systems:
        system = SYSTEMS[name]
        for python in pythons:
            print(f"{system.title}, Python {python}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                listed = resolved(system, python, Path(folder))
                download(listed, system, python, wheels)
                shutil.copy(listed, kit / "requirements" / f"{name}-{python}.txt")
        page = PAGE.format(
            title=system.title, pythons=" or ".join(pythons), python=system.python,
            needs=system.needs,
        )  # fmt: skip
        (kit / f"{name.upper()}.md").write_text(page, "utf-8")
    shutil.copy(HERE / "start.py", kit)
    shutil.copy(ROOT / "LICENSE", kit)
    learners(kit / "notebooks")
    files = sorted(path for path in kit.rglob("*") if path.is_file())
    listing = {path.relative_to(kit).as_posix(): _digest(path) for path in files}
    unpacked = {name: digest for name, digest in listing.items() if not _changes(name)}
    (kit / "files.json").write_text(json.dumps(unpacked, indent=0), "utf-8")


def _changes(name: str) -> bool:
    """Whether a learner may change a file: the check leaves it alone."""
    return name.startswith("notebooks/")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _call(*words: Any, cwd: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in words], cwd=cwd)
    if done.returncode:
        raise SystemExit(f"make kit: {words[0]} {words[1]} … ended with {done.returncode}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Build both zips."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13"], metavar="3.12")
    parse.add_argument("--system", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parse.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parse.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        kit, trainer = Path(folder, "kit", "claude-patterns"), Path(folder, "trainer")
        build(kit, options.system, options.python)
        trainers(trainer / "notebooks")
        shutil.copy(ROOT / ".github" / "WORKSHOP.md", trainer)
        for name, root in (("kit", kit.parent), ("trainer", trainer)):
            made = shutil.make_archive(str(options.out / f"claude-patterns-{name}"), "zip", root)
            print(f"{made}: {Path(made).stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
