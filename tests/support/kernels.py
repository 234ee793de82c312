"""Run the cells of a chapter in a real kernel, in any order, and say what each of them showed."""

import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from patterns.course.runner import _Output

CELL_TIMEOUT = 400
"""Seconds: what takes ten takes a hundred on a machine that has much else to do."""


@dataclass(frozen=True)
class Shown:
    """What one run of a cell showed."""

    cell: int
    """Its place among the code cells, from 0."""
    text: str
    error: str
    """Class of the error that it raised, or empty; KeyboardInterrupt when it took too long."""
    lines: int
    """Lines of the error's traceback."""


class Kernel:
    """A chapter's code cells and the kernel they run in."""

    def __init__(self, book: Any, client: NotebookClient) -> None:
        self._client = client
        self.cells = [(at, each) for at, each in enumerate(book.cells) if each.cell_type == "code"]

    def __len__(self) -> int:
        return len(self.cells)

    def tags(self, number: int) -> frozenset[str]:
        """The tags of a cell."""
        return frozenset(self.cells[number][1].metadata.get("tags", ()))

    async def run(self, number: int) -> Shown:
        """Run one code cell."""
        at, original = self.cells[number]
        cell = deepcopy(original)
        cell.outputs = []
        await self._client.async_execute_cell(cell, at)
        failed = next((each for each in cell.outputs if each.output_type == "error"), None)
        text = "".join(_text(each) for each in cell.outputs)
        if failed is None:
            return Shown(number, text, "", 0)
        trace = "\n".join(failed.traceback)
        return Shown(
            number, f"{failed.ename}: {failed.evalue}", failed.ename, trace.count("\n") + 1
        )


def _text(output: Any) -> str:
    found = output.get("text") or output.get("data", {}).get("text/plain") or ""
    text = found if isinstance(found, str) else "".join(found)
    return "" if re.match(r"(\w+\(|<)", text) and "data" in output else text  # a widget, a figure


@contextlib.asynccontextmanager
async def kernel_of(notebook: Path, settings: Mapping[str, str]) -> AsyncIterator[Kernel]:
    """A fresh kernel for a chapter, with these settings in its environment."""
    book: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        book,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        allow_errors=True,
        interrupt_on_timeout=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        shutdown_kernel="immediate",
    )
    client.widget_registry = {"@jupyter-widgets/output": {"OutputModel": _Output}}
    environment = {**os.environ, **settings}
    async with client.async_setup_kernel(cwd=str(notebook.parent), env=environment):
        yield Kernel(book, client)
