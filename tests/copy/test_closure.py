"""patterns.copy.closure: every import is found and made relative, nothing else is touched."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from patterns.copy import closure as module
from patterns.copy.closure import (
    NotInPackage,
    closure,
    code_lines,
    needs,
    path_of,
    relative,
    requirement,
)

FILES = {
    "core/low.py": "import json\n",
    "core/__init__.py": "",
    "one/__init__.py": "from patterns.one.first import run\n",
    "one/first.py": (
        "from typing import TYPE_CHECKING\n\nimport redis.asyncio\n\n"
        "from patterns.core import low\nfrom patterns.core.low import x\n"
        "from patterns.one.second import (\n    y,\n)\n\n"
        "if TYPE_CHECKING:\n    from patterns.one.third import Z\n\n\n"
        "def run() -> None:\n    import jwt\n    from .fourth import w\n"
    ),
    "one/second.py": "y = 'from patterns.core.low import x'\n",
    "one/third.py": "import json\nimport redis\nfrom redis import asyncio\n",
    "one/fourth.py": "from ..core import low\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package in place of ours."""
    for name, text in FILES.items():
        path = tmp_path / "patterns" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path / "patterns")
    module.source_of.cache_clear()
    yield tmp_path
    module.source_of.cache_clear()


def test_every_kind_of_import_is_followed(tree: Path) -> None:
    """Absolute, relative, of a module, under TYPE_CHECKING and in a function."""
    names = [path.as_posix() for path in closure(["patterns.one.first"])]
    assert names == [
        "core/low.py",
        "one/first.py",
        "one/fourth.py",
        "one/second.py",
        "one/third.py",
    ]


def test_what_only_a_function_imports_is_optional(tree: Path) -> None:
    """One import at the top is enough to need it."""
    files = closure(["patterns.one.first"])
    assert needs(files) == ["redis"]
    assert needs(files, optional=True) == ["pyjwt"]


def test_imports_become_relative_and_strings_stay(tree: Path) -> None:
    """The result parses, and runs under any name."""
    text = relative(Path("one/first.py"))
    assert "from ..core import low\n" in text
    assert "from ..core.low import x\n" in text
    assert "from .second import (\n" in text
    assert "    from .third import Z\n" in text
    assert "patterns" not in text
    assert relative(Path("one/second.py")) == FILES["one/second.py"]
    ast.parse(text)


def test_a_module_that_is_none_is_named(tree: Path) -> None:
    """With its full name."""
    with pytest.raises(NotInPackage, match=r"patterns\.one\.fifth is no module"):
        path_of("patterns.one.fifth")
    with pytest.raises(NotInPackage):
        closure(["patterns.nowhere"])


def test_a_requirement_has_the_versions_of_the_project() -> None:
    """And none for what the project does not declare."""
    assert requirement("anthropic").startswith("anthropic")
    assert "<" in requirement("anthropic")
    assert requirement("left-pad") == "left-pad"


def test_a_folder_that_nobody_installed_has_no_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names alone."""

    def nothing(_: str) -> list[str]:
        raise PackageNotFoundError

    monkeypatch.setattr(module, "requires", nothing)
    assert requirement("redis") == "redis"


def test_code_lines_are_those_that_the_tokenizer_finds() -> None:
    """Python's own tokenizer is the judge: lines with a token that is no comment or docstring."""
    import tokenize

    for path in (Path(module.__file__), Path(subprocess.__file__)):
        text = path.read_text("utf-8")
        docs = {
            line
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or 0) + 1)
        }
        empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
        empty |= {tokenize.ENDMARKER, tokenize.ENCODING}
        with path.open("rb") as file:
            lines = {
                line
                for token in tokenize.tokenize(file.readline)
                if token.type not in empty
                for line in range(token.start[0], token.end[0] + 1)
            }
        held = {n for n, line in enumerate(text.splitlines(), 1) if line.strip()}
        assert abs(code_lines(text) - len((lines & held) - docs)) <= 0.01 * len(lines)
    assert sys.version_info >= (3, 11)
