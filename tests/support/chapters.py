"""What the tests of the notebooks share: reading them, and telling the kinds of cells apart."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook."""

    kind: str
    source: str
    tags: frozenset[str]
    outputs: tuple[Any, ...]
    execution_count: int | None

    @property
    def lines(self) -> list[str]:
        """Lines that hold something."""
        return [line for line in self.source.splitlines() if line.strip()]

    @property
    def pages(self) -> str:
        """All that the cell shows as HTML."""
        return "".join("".join(each.get("data", {}).get("text/html", "")) for each in self.outputs)

    @property
    def folded(self) -> bool:
        """Whether everything that the cell shows waits behind a click."""
        pages = ["".join(each.get("data", {}).get("text/html", "")) for each in self.outputs]
        return bool(pages) and all(page.startswith("<details><summary>") for page in pages)

    @property
    def text(self) -> str:
        """All that the cell shows as text."""
        return "".join(_text(output) for output in self.outputs)


def _text(output: Any) -> str:
    data = output.get("data", {})
    if "text/markdown" in data:  # a listing of source code, as long as the source is
        return ""
    found = output.get("text") or data.get("text/plain") or output.get("evalue") or ""
    return found if isinstance(found, str) else "".join(found)


@dataclass(frozen=True)
class Chapter:
    """A notebook of the course and the names that go with it."""

    path: Path

    @property
    def stem(self) -> str:
        """Such as `05_prompting`."""
        return self.path.stem

    @property
    def slug(self) -> str:
        """Such as `prompting`."""
        return self.path.stem[3:]

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells in order."""
        return [_cell(raw) for raw in json.loads(self.path.read_text("utf-8"))["cells"]]

    @property
    def code(self) -> list[Cell]:
        """The code cells."""
        return [cell for cell in self.cells if cell.kind == "code"]

    @property
    def prose(self) -> str:
        """The text of all Markdown cells."""
        return "\n\n".join(cell.source for cell in self.cells if cell.kind == "markdown")


def _cell(raw: Any) -> Cell:
    return Cell(
        raw["cell_type"],
        "".join(raw["source"]),
        frozenset(raw["metadata"].get("tags", ())),
        tuple(raw.get("outputs", ())),
        raw.get("execution_count"),
    )


CHAPTERS = [Chapter(path) for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))]
