"""What a module of ours needs: the other modules, the data files, the distributions from PyPI.

Read from the source alone; nothing is imported.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from patterns.core.errors import Portable

PACKAGE: Final = "patterns"
ROOT: Final = Path(__file__).parents[1]
"""The folder of the package, in a checkout or in site-packages."""
BROUGHT: Final = {
    "httpx2": "anthropic",
    "pydantic_core": "pydantic",
    "typing_extensions": "pydantic",
}
"""Imports that come with a distribution that is needed anyway."""
DISTRIBUTIONS: Final = {
    "dbos": "dbos",
    "genai_prices": "genai-prices",
    "PIL": "pillow",
    "jwt": "pyjwt",
    "opentelemetry": "opentelemetry-sdk",
    "prometheus_client": "prometheus-client",
}
"""Distributions whose name is not that of the import."""


class NotInPackage(Portable, LookupError):
    """An import of ours that leads to no file."""

    def __init__(self, module: str) -> None:
        super().__init__(f"{module} is no module of {PACKAGE}")


@dataclass(frozen=True)
class Imported:
    """One import of a module.

    Attributes:
        module: the full name, such as `patterns.core.messages` or `redis.asyncio`.
        optional: it stands in a function, so the module can be imported without it.
        node: the statement.
    """

    module: str
    optional: bool
    node: ast.ImportFrom | ast.Import


def path_of(module: str) -> Path:
    """The file of a module of ours, relative to the package's folder.

    Raises:
        NotInPackage: there is none.
    """
    parts = module.split(".")[1:]
    for found in (Path(*parts).with_suffix(".py") if parts else None, Path(*parts, "__init__.py")):
        if found and (ROOT / found).is_file():
            return found
    raise NotInPackage(module)


@cache
def source_of(path: Path) -> str:
    """The text of a file of ours, by its path in the package."""
    return (ROOT / path).read_text("utf-8")


def imports_of(path: Path) -> Iterator[Imported]:
    """Every import of a file, relative ones with their full name."""
    tree = ast.parse(source_of(path))
    in_function = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in _named(path, node):
                yield Imported(name, id(node) in in_function, node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(alias.name, id(node) in in_function, node)


def _named(path: Path, node: ast.ImportFrom) -> Iterator[str]:
    """The modules that a `from` statement needs: `from patterns.core import models` is two."""
    base = node.module or ""
    if node.level:
        home = [PACKAGE, *path.parts[:-1]]
        base = ".".join([*home[: len(home) - node.level + 1], *filter(None, [node.module])])
    yield base
    if base.split(".")[0] == PACKAGE:
        for alias in node.names:
            try:
                path_of(f"{base}.{alias.name}")
            except NotInPackage:
                continue
            yield f"{base}.{alias.name}"


def closure(modules: Iterable[str]) -> list[Path]:
    """The files that these modules need, themselves included, sorted; `__init__.py` left out.

    The `__init__.py` of a folder only hands names on, and a copy gets one of its own.
    """
    found: set[Path] = set()
    todo = [path_of(module) for module in modules]
    while todo:
        path = todo.pop()
        if path in found or path.name == "__init__.py":
            continue
        found.add(path)
        todo += [path_of(each.module) for each in imports_of(path) if _ours(each.module)]
    return sorted(found)


def _ours(module: str) -> bool:
    return module.split(".")[0] == PACKAGE


def needs(files: Iterable[Path], *, optional: bool = False) -> list[str]:
    """Distributions that files import, sorted, without what comes with another.

    With `optional`, those that only functions import: what can be left out until it is used.
    """
    seen: dict[str, bool] = {}
    for path in files:
        for each in imports_of(path):
            top = each.module.split(".")[0]
            if top in sys.stdlib_module_names or top == PACKAGE:
                continue
            name = DISTRIBUTIONS.get(top, BROUGHT.get(top, top.replace("_", "-")))
            seen[name] = seen.get(name, True) and each.optional
    return sorted(name for name, is_optional in seen.items() if is_optional == optional)


def requirement(name: str) -> str:
    """A distribution with the versions that this package is tested with, such as `redis<9,>=6`."""
    try:
        declared = requires("claude-patterns") or []
    except PackageNotFoundError:  # run from a copy of the folder that nobody installed
        declared = []
    for text in declared:
        found = re.match(r"([\w.-]+)(?:\[[^]]*])?([^;\s]*)", text)
        if found and found[1].lower().replace("_", "-") == name:
            return f"{found[1]}{found[2]}"
    return name


def relative(path: Path) -> str:
    """The source of a file with its imports of ours made relative, else as it is.

    Args:
        path: in the package; the file keeps its place in the copy.
    """
    lines = source_of(path).splitlines(keepends=True)
    for each in ast.walk(ast.parse("".join(lines))):
        if isinstance(each, ast.ImportFrom) and not each.level and _ours(each.module or ""):
            at = each.lineno - 1
            target = (each.module or "").split(".")[1:]
            lines[at] = lines[at].replace(
                f"from {each.module} import", f"from {_dots(path, target)} import", 1
            )
    return "".join(lines)


def _dots(path: Path, target: list[str]) -> str:
    home = list(path.parts[:-1])
    while home and target and home[0] == target[0] and len(target) > 1:
        home, target = home[1:], target[1:]
    return "." * (len(home) + 1) + ".".join(target)


def code_lines(text: str) -> int:
    """Lines of code in a source text: no blank line, no comment, no docstring."""
    tree = ast.parse(text)
    said: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else ():
            value = each.value if isinstance(each, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                said.update(range(each.lineno, (each.end_lineno or each.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in said
        for number, line in enumerate(text.splitlines(), 1)
    )
