"""The comparison of notebooks with their stored outputs really bites."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from chapters import NOTEBOOKS, ROOT

SANITIZE = ROOT / "tests" / "support" / "nbval_sanitize.cfg"
CELLS = 14  # of chapter 00: the set-up and the first outputs are enough to show it


def test_a_changed_and_a_missing_output_are_found_and_nothing_else(tmp_path: Path) -> None:
    """Strict nbval over the beginning of chapter 00; all but two outputs are as committed."""
    book = json.loads((NOTEBOOKS / "00_start_here.ipynb").read_text("utf-8"))
    book["cells"] = book["cells"][:CELLS]
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    code[3]["outputs"][0]["data"]["text/plain"] = ["['text', 'thinking']"]
    code[4]["outputs"] = []
    (tmp_path / "00_start_here.ipynb").write_text(json.dumps(book), "utf-8")
    for folder in ("recordings", "exercises"):
        shutil.copytree(NOTEBOOKS / folder, tmp_path / folder)
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider"]
    command += ["-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)]
    nbval = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", str(SANITIZE)]
    done = subprocess.run([*command, *nbval], capture_output=True, text=True, check=False)
    assert re.findall(r"^FAILED .*::Cell (\d+)", done.stdout, re.M) == ["3", "4"], done.stdout
    assert f"2 failed, {len(code) - 2} passed" in done.stdout
