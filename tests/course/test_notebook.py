"""patterns.course.notebook: an error in a notebook is a message, not a wall."""

import json
from pathlib import Path
from typing import Any

import IPython
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from patterns.core.messages import Refused
from patterns.course.notebook import show_errors_short
from patterns.course.replay import RecordingMissing

MISSING = RecordingMissing(Path("01_x.json"), "POST /v1/messages", "It differs.", " (free)")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A shell with short errors; what it would show."""
    shell: Any = InteractiveShell()  # type: ignore[no-untyped-call]
    lines: list[list[str]] = []
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, error, trace: lines.append(trace))
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    show_errors_short()
    shell.user_ns.update(raised=Refused("bio"), missing=MISSING)
    for cell in ("x = 1\nraise raised", "raise missing", "1 / 0", "raise Exception('mine')"):
        shell.run_cell(cell)
    return lines


def test_typed_errors_are_one_message_and_others_keep_their_traceback(
    shown: list[list[str]],
) -> None:
    """The message with the line of the cell; a reader's own mistakes need the whole story."""
    refused, missing, division, plain = shown
    assert len(refused) == 1
    assert refused[0].startswith("Refused: Claude refused (category bio)")
    assert refused[0].endswith("(line 2 of this cell)")
    assert missing == [f"RecordingMissing: {MISSING}"]
    assert "ZeroDivisionError" in division[0] + division[-1]
    assert len(division) > 1
    assert "mine" in plain[-1]


def test_outside_a_notebook_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor without IPython."""
    show_errors_short()
    monkeypatch.delitem(__import__("sys").modules, "IPython")
    show_errors_short()


def test_an_edited_prompt_gets_the_message_alone(tmp_path: Path) -> None:
    """In a real kernel: what differs, two ways on, what it costs, and no traceback."""
    from nbclient import NotebookClient

    cell = (
        "from patterns.course.client import connect\n"
        'client = connect("00_start_here")\n'
        'client.messages.create(model="claude-sonnet-5-5", max_tokens=64,\n'
        '    messages=[{"role": "user", "content": "Why is the sky red?"}])'
    )
    book: Any = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    book.cells = [nbformat.v4.new_code_cell(cell)]  # type: ignore[no-untyped-call]
    NotebookClient(book, allow_errors=True, kernel_name="python3").execute(cwd=str(tmp_path))
    (output,) = book.cells[0].outputs
    text = "\n".join(output.traceback)
    assert len(text.splitlines()) == 3, json.dumps(output)
    assert "this request has 'Why is the sky red?'" in text
    assert "PATTERNS_MODE=live" in text
    assert "at most $0.0" in text
    assert "$0.000)" not in text
