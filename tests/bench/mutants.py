"""Mutation check: would the tests notice if one small thing in a package were wrong?

    python tests/bench/mutants.py patterns/fake_api tests/fake_api --sample 40 --seed 1

Runs the tests once and notes which test runs which line. Then it changes one operator, constant,
condition, return or statement of one function at a time, in a copy of the repository, and runs
only the tests that pass over that line, until one fails. Prints the survivors with their lines and
the ratio; exits 1 below `--least`. A mutant that hangs counts as killed, one on a line that no test
runs as a survivor. `--seed` draws another sample, `--only build.py` keeps to files so named.

Prose (strings with a blank in them) is left alone: messages are not behaviour.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from coverage import CoverageData

ROOT: Final = Path(__file__).resolve().parents[2]
SWAPS: Final[dict[type[Any], type[Any]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
MOST_TESTS: Final = 60
"""Tests that one mutant is shown to at most; lines that everything runs are hit early anyway."""


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
        case ast.Return(value=value) if value is not None:
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
    """pytest in a folder: its exit code; 1 where it takes longer."""
    env = {**os.environ, "PYTHONPATH": str(where), "COVERAGE_FILE": str(where / ".coverage")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", *arguments]
    try:
        done = subprocess.run(command, cwd=where, env=env, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


def who_runs(data: CoverageData, file: Path, line: int) -> list[str]:
    """The tests that pass over a line; what runs at import counts for all."""
    contexts = data.contexts_by_lineno(str(file)).get(line, [])
    return sorted({context.partition("|")[0] for context in contexts} - {""})


def survives(mutant: Mutant, where: Path, data: CoverageData, draw: random.Random) -> bool:
    """Whether every test that passes over the mutant's line passes with it."""
    file = where / mutant.path
    tests = who_runs(data, file, mutant.line)
    if not tests:
        return True
    original = file.read_text("utf-8")
    chosen = draw.sample(tests, min(len(tests), MOST_TESTS))
    try:
        file.write_text(mutant.source(original), "utf-8")
        return run(where, *chosen, seconds=300) == 0
    finally:
        file.write_text(original, "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the survivors of a sample; 1 where too many survive."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("package", type=Path)
    parse.add_argument("tests", nargs="+")
    parse.add_argument("--sample", type=int, default=40)
    parse.add_argument("--seed", type=int, default=0)
    parse.add_argument("--only", default="", help="part of a file's path")
    parse.add_argument("--least", type=float, default=0.85)
    options = parse.parse_args(arguments)
    found = (ROOT / options.package).resolve()
    files = sorted(found.rglob("*.py")) if found.is_dir() else [found]
    pool = [m for file in files if options.only in str(file) for m in mutants_of(file)]
    draw = random.Random(options.seed)
    sample = draw.sample(pool, min(options.sample, len(pool)))
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder).resolve() / "copy"
        skip = shutil.ignore_patterns(".venv*", ".git", ".mypy_cache", "__pycache__")
        shutil.copytree(ROOT, where, ignore=skip)
        measured = found if found.is_dir() else found.parent
        if run(where, *options.tests, f"--cov={measured.relative_to(ROOT)}", "--cov-context=test",
               "--cov-report=", "--cov-fail-under=0"):  # fmt: skip
            return print("the tests fail without any mutant") or 2
        data = CoverageData(str(where / ".coverage"))
        data.read()
        left = 0
        for done, mutant in enumerate(sorted(sample, key=str), 1):
            if survives(mutant, where, data, draw):
                left += 1
                print(f"[{done}/{len(sample)}] {mutant}", flush=True)
    ratio = 1 - left / max(1, len(sample))
    print(f"{len(sample) - left} of {len(sample)} killed ({ratio:.0%}), {len(pool)} possible")
    return int(ratio < options.least)


if __name__ == "__main__":
    sys.exit(main())
