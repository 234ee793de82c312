"""The README's tables, generated from the chapters and modules; `make fix` writes them.

A test compares them with what stands in the README.
"""

import ast
import re
import sys
from pathlib import Path

from chapters import CHAPTERS, ROOT, Chapter

README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- (?P<name>\w+): generated -->\n).*?(\n<!-- end -->)", re.DOTALL)


def chapter_table() -> str:
    """One row a chapter: where it is, what it is about, how long it takes."""
    rows = [
        f"| [{each.stem[:2]}]({each.path.relative_to(ROOT)}) | {title(each)} | {problem(each)} |"
        for each in CHAPTERS
    ]
    return "\n".join(["| | Chapter | The problem |", "|---|---|---|", *rows])


def title(chapter: Chapter) -> str:
    """The heading without its number."""
    heading = chapter.cells[0].source.splitlines()[0]
    return re.sub(r"^# \d\d[:.]?\s*", "", heading)


def problem(chapter: Chapter) -> str:
    """The first sentence or two below the heading, on one line."""
    return " ".join(" ".join(chapter.cells[0].source.splitlines()[1:]).split())


def copy_table() -> str:
    """One row a pattern: file and the first sentence of its docstring."""
    rows = [f"| [`{name}`](patterns/{name}) | {sentence(path)} |" for name, path in patterns()]
    return "\n".join(["| Take | For |", "|---|---|", *rows])


def patterns() -> list[tuple[str, Path]]:
    """Files and folders of `patterns` that are worth taking home."""
    own = {"__init__.py", "course.py", "views", "client.py", "recorder.py", "recordings.py"}
    found = []
    for path in sorted((ROOT / "patterns").iterdir()):
        if path.name in own or path.name.startswith(("_", ".")):
            continue
        if path.is_dir():
            found.append((f"{path.name}/", path / "__init__.py"))
        elif path.suffix == ".py":
            found.append((path.name, path))
    return found


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", first)[0].replace("|", "\\|")


def rendered(text: str) -> str:
    """The README with its tables as they ought to be."""
    tables = {"chapters": chapter_table, "patterns": copy_table}
    return BLOCK.sub(lambda found: found[1] + tables[found["name"]]() + found[3], text)


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(rendered(README.read_text("utf-8")), "utf-8")
