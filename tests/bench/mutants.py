"""Mutation check: would the tests notice if one small thing in a package were wrong?

    python tests/bench/mutants.py patterns/fake_api tests/fake_api --sample 40 --seed 1

Runs the tests once and notes which test runs which line. Then it changes one operator, constant,
condition, return or statement of one function at a time, in copies of the repository, and runs
only the tests that pass over that line, the quickest first, until one fails. Prints the survivors
with their lines and the ratio; exits 1 below `--least`. A mutant that hangs counts as killed, one
on a line that no test runs as a survivor. `--seed` draws another sample, `--only build.py` keeps to
files so named, `--jobs 2` tries two at a time, `--again FOLDER` keeps the first run there and
takes it from there as long as no file of the package or the tests has changed.

Prose (strings with a blank in them) is left alone: messages are not behaviour.
"""

import argparse
import ast
import contextlib
import copy
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import pytest
from coverage import CoverageData

ROOT: Final = Path(__file__).resolve().parents[2]
SWAPS: Final[dict[type[Any], type[Any]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
WARM: Final = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload([
    "__main__", "anthropic.types.beta", "hypothesis", "jsonschema", "matplotlib.pyplot",
    "mcp.client", "nbclient", "numpy", "opentelemetry.sdk.trace", "prometheus_client", "redis",
])  # fmt: skip
MOST_SECONDS: Final = 30.0
"""What the tests that one mutant is shown to took at first; lines all tests run are hit early."""


@dataclass(frozen=True)
class Mutant:
    """One change: a piece of a file and what stands there instead."""

    path: str
    node: ast.AST
    became: ast.AST

    @property
    def line(self) -> int:
        """Where it is."""
        return int(self.node.lineno)  # type: ignore[attr-defined]

    def source(self, text: str) -> str:
        """The file with the change."""
        lines = [line.encode() for line in text.splitlines(keepends=True)]
        node: Any = self.node
        first, last = node.lineno - 1, node.end_lineno - 1
        new = ast.unparse(self.became)
        if not isinstance(self.node, ast.stmt):
            new = f"({new})"
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [before + new.encode() + after]
        return b"".join(lines).decode()

    def __str__(self) -> str:
        old, new = (" ".join(ast.unparse(n).split())[:70] for n in (self.node, self.became))
        return f"{self.path}:{self.line}: {old}  ->  {new}"


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in a node's place."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            yield _with(node, ops=[SWAPS[type(op)](), *node.ops[1:]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            yield _with(node, op=SWAPS[type(op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if " " not in value:
            yield ast.Constant(f"{value}X")
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Continue() | ast.Break() | ast.Raise() | ast.Expr(value=ast.Call()):
            yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of the functions of one file."""
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                yield from _within(str(path.relative_to(ROOT)), statement)


def _within(path: str, node: ast.AST) -> Iterator[Mutant]:
    """Mutants of a node, without annotations, nested functions (their turn comes), f-strings."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.JoinedStr):
        return
    for became in changes(node):
        # an `if` is shown and changed by its condition alone
        test = getattr(node, "test", None)
        yield Mutant(path, test or node, getattr(became, "test", None) or became)
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _within(path, child)


def run(where: Path, *arguments: str, seconds: float | None = None) -> int:
    """pytest in a folder, in a process that has the libraries in memory: its exit code; 1 where it
    takes longer."""
    done = WARM.Process(target=_pytest, args=(where, ["-q", "-x", *arguments]))
    done.start()
    done.join(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(done.pid or 0, signal.SIGKILL)
    done.join()
    return 1 if done.exitcode is None or done.exitcode < 0 else done.exitcode


def _pytest(where: Path, arguments: Sequence[str]) -> None:
    os.setsid()  # so that what a test leaves running ends with it
    os.chdir(where)
    os.environ |= {"PYTHONPATH": str(where), "COVERAGE_FILE": str(where / ".coverage")}
    sys.path[:0] = [str(where)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    in_memory = "ignore::pytest.PytestAssertRewriteWarning"
    sys.exit(int(pytest.main(["-W", in_memory, *arguments])))


@dataclass(frozen=True)
class Baseline:
    """The run without a mutant: which test passes over which line, and how long each test takes."""

    data: CoverageData
    seconds: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> "Baseline":
        """What a first run left in a folder."""
        data = CoverageData(str(folder / ".coverage"))
        data.read()
        cases = ET.parse(folder / "tests.xml").iter("testcase")
        names = {
            f"{c.get('classname', '').replace('.', '/')}.py::{c.get('name')}": c for c in cases
        }
        return cls(data, {name: float(case.get("time", 0)) for name, case in names.items()})

    def tests(self, path: str, line: int) -> list[str]:
        """The tests that pass over a line, the quickest first, as many as there is time for."""
        file = next((f for f in self.data.measured_files() if f.endswith(path)), path)
        contexts = self.data.contexts_by_lineno(file).get(line, [])
        names = {context.rpartition("|")[0] for context in contexts} - {""}
        chosen: list[str] = []
        left = MOST_SECONDS
        for name in sorted(names, key=lambda each: (self.seconds.get(each, 1), each)):
            if (left := left - self.seconds.get(name, 1)) > 0 or not chosen:
                chosen.append(name)
        return chosen


def survives(mutant: Mutant, where: Path, baseline: Baseline) -> bool:
    """Whether every test that passes over the mutant's line passes with it."""
    file = where / mutant.path
    tests = baseline.tests(mutant.path, mutant.line)
    if not tests:
        return True
    original = file.read_text("utf-8")
    patience = 60 + 5 * sum(baseline.seconds.get(test, 1) for test in tests)
    try:
        file.write_text(mutant.source(original), "utf-8")
        return run(where, "-p", "no:xdist", *tests, seconds=patience) == 0
    finally:
        file.write_text(original, "utf-8")


def first_run(where: Path, package: Path, tests: Sequence[str], kept: Path) -> bool:
    """Run the tests once and keep what they say in a folder, unless it holds that already."""
    roots = [where / each for each in (str(package), *tests)]
    found = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*.*"))]
    files = sorted(file for file in found if file.suffix in (".py", ".jsonl"))
    print_of = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    mark = kept / "of"
    if mark.exists() and mark.read_text() == print_of:
        return True
    measured = package if (where / package).is_dir() else package.parent
    if run(where, *tests, "-n", "2", f"--cov={measured}", "--cov-context=test", "--cov-report=",
           "--cov-fail-under=0", f"--junitxml={kept / 'tests.xml'}"):  # fmt: skip
        return False
    shutil.copy(where / ".coverage", kept)
    mark.write_text(print_of)
    return True


def copies(folder: Path, count: int) -> "SimpleQueue[Path]":
    """Copies of the repository, to be taken and given back."""
    made: SimpleQueue[Path] = SimpleQueue()
    skip = shutil.ignore_patterns(".venv*", ".git", ".mypy_cache", "__pycache__")
    for n in range(count):
        shutil.copytree(ROOT, folder / str(n), ignore=skip)
        made.put(folder / str(n))
    return made


@contextlib.contextmanager
def taken(free: "SimpleQueue[Path]") -> Iterator[Path]:
    """A copy of one's own for a while."""
    where = free.get()
    yield where
    free.put(where)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the survivors of a sample; 1 where too many survive."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("package", type=Path)
    parse.add_argument("tests", nargs="+")
    parse.add_argument("--sample", type=int, default=40)
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--only", default="", help="part of a file's path")
    parse.add_argument("--least", type=float, default=0.85)
    parse.add_argument("--jobs", type=int, default=1)
    parse.add_argument("--again", type=Path, help="folder in which the first run is kept")
    options = parse.parse_args(arguments)
    found = (ROOT / options.package).resolve()
    files = sorted(found.rglob("*.py")) if found.is_dir() else [found]
    pool = [m for file in files if options.only in str(file) for m in mutants_of(file)]
    draw = random.Random(options.seed)
    sample = draw.sample(pool, min(options.sample, len(pool)))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as threads:
        free = copies(Path(folder).resolve(), options.jobs)
        kept = (options.again or Path(folder)).resolve()
        kept.mkdir(parents=True, exist_ok=True)
        with taken(free) as where:
            if not first_run(where, found.relative_to(ROOT), options.tests, kept):
                return print("the tests fail without any mutant") or 2
        baseline = Baseline.read(kept)

        def left(mutant: Mutant) -> bool:
            with taken(free) as where:
                return survives(mutant, where, baseline)

        alive = 0
        for n, lives in enumerate(threads.map(left, sample)):
            alive += lives
            if lives:
                print(f"[{n + 1}/{len(sample)}] {sample[n]}", flush=True)
    ratio = 1 - alive / max(1, len(sample))
    print(f"{len(sample) - alive} of {len(sample)} killed ({ratio:.0%}), {len(pool)} possible")
    return int(ratio < options.least)


if __name__ == "__main__":
    sys.exit(main())
