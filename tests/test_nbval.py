"""The comparison of notebooks with their stored outputs really bites."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chapters import NOTEBOOKS, ROOT

SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
CELLS = 14  # of chapter 00: the set-up and the first outputs are enough to show it


def compare(folder: Path, change: Callable[[list[Any]], None]) -> subprocess.CompletedProcess[str]:
    """Run strict nbval over the beginning of chapter 00, changed."""
    book = json.loads((NOTEBOOKS / "00_start_here.ipynb").read_text("utf-8"))
    book["cells"] = book["cells"][:CELLS]
    change([cell for cell in book["cells"] if cell["cell_type"] == "code"])
    (folder / "00_start_here.ipynb").write_text(json.dumps(book), "utf-8")
    shutil.copytree(NOTEBOOKS / "recordings", folder / "recordings")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder]
    nbval = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", SANITIZE, folder]
    done = [*command, "-c", "/dev/null", *nbval]
    return subprocess.run([str(each) for each in done], capture_output=True, text=True, check=False)


def nothing(cells: list[Any]) -> None:
    """Leave it as committed."""


def change_an_output(cells: list[Any]) -> None:
    """One stored value is no longer what the cell gives."""
    cells[3]["outputs"][0]["data"]["text/plain"] = ["['text', 'thinking']"]


def clear_an_output(cells: list[Any]) -> None:
    """One stored output is gone."""
    cells[3]["outputs"] = []


@pytest.mark.parametrize(
    ("change", "passes"), [(nothing, True), (change_an_output, False), (clear_an_output, False)]
)
def test_a_changed_output_is_found(
    tmp_path: Path, change: Callable[[list[Any]], None], passes: bool
) -> None:
    """As committed it passes; with one output changed or cleared it fails."""
    done = compare(tmp_path, change)
    assert (done.returncode == 0) == passes, done.stdout
    if not passes:
        assert "1 failed" in done.stdout
