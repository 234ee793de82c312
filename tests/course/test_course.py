"""patterns.course.runner: run, record and audit the chapters."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.output_widget import OutputWidget

from patterns.core.models import SONNET
from patterns.course import client as client_module
from patterns.course import runner as course
from patterns.course.client import connect
from patterns.course.recordings import Recording
from patterns.fake_api import FakeAPI

ASK = """\
import anthropic
from patterns.course.client import connect

client = connect("01_x")
message = client.messages.create(
    model="claude-sonnet-5-5", max_tokens=99, messages=[{"role": "user", "content": "Hi"}]
)
print(message.content[0].text)"""
REPLIES = '[[reply]]\ncontains = "Hi"\ntext = "Hello."\n'


def notebook(path: Path, *cells: str) -> None:
    book: Any = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]
    path.write_text(json.dumps(book), "utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one chapter, not yet recorded."""
    (tmp_path / "recordings" / "replies").mkdir(parents=True)
    (tmp_path / "recordings" / "replies" / "01_x.toml").write_text(REPLIES, "utf-8")
    notebook(tmp_path / "01_x.ipynb", ASK)
    monkeypatch.setattr(course, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(client_module, "_SHARED", {})
    return tmp_path


@pytest.fixture
def recorded(folder: Path) -> Path:
    """The same chapter with its recording, made without a kernel."""
    client = connect("01_x", mode="record", recordings=folder / "recordings")
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    client.messages.create(model=SONNET, max_tokens=99, messages=messages)
    return folder / "recordings" / "01_x.json"


def test_record_then_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recording is made, outputs are stored, and a run replays and says so in a line."""
    assert course.main(["record", "01_x"]) == 0
    book = json.loads((folder / "01_x.ipynb").read_text("utf-8"))
    assert book["cells"][0]["outputs"][0]["text"] == "Hello.\n"
    assert book["cells"][0]["execution_count"] == 1
    assert len(Recording.load(folder / "recordings" / "01_x.json").exchanges) == 1
    assert course.main(["run", "x"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split()[:4] == ["✓", "01_x", "1", "cells"]
    assert "1  exchanges" not in line
    assert " 1 exchanges" in line


def test_a_failed_recording_replaces_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The old file and the old outputs stay."""
    notebook(folder / "01_x.ipynb", ASK, "1 / 0")
    before = (folder / "01_x.ipynb").read_text("utf-8")
    assert course.main(["record", "01_x"]) == 1
    assert (folder / "01_x.ipynb").read_text("utf-8") == before
    assert not (folder / "recordings" / "01_x.json").exists()
    assert "nothing was replaced" in capsys.readouterr().out


def test_failing_chapters_fail_the_run_and_not_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the cell and its error, without colour codes; also when the kernel died.

    Settings are those of a kernel, and not of this process.
    """
    notebook(folder / "01_x.ipynb", "1 / 0")
    notebook(folder / "02_y.ipynb", "import os\nos._exit(1)")
    notebook(folder / "03_z.ipynb", "import os\nassert os.environ['PATTERNS_MODE'] == 'replay'")
    assert course.main(["run"]) == 1
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines() if line[:1] in ("✓", "✗")] == [
        "01_x",
        "02_y",
        "03_z",
    ]
    assert "✗ 01_x" in out
    assert "ZeroDivisionError" in out
    assert "✗ 02_y\nKernel died" in out
    assert "✓ 03_z" in out
    assert "\x1b" not in out
    assert "PATTERNS_MODE" not in os.environ


class Kernels:
    """Stands in for `execute`: later chapters end sooner; notes who ran and with what."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.ended: list[str] = []
        self.logs: set[str] = set()

    async def __call__(self, path: Path, environment: Mapping[str, str]) -> tuple[Any, float]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.logs.add(environment["PATTERNS_REPLAY_LOG"])
        for _ in range(20 - 5 * int(path.stem[:2])):
            await asyncio.sleep(0)
        self.running -= 1
        self.ended.append(path.stem)
        return nbformat.v4.new_notebook(), 1.0  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("workers", "ended"), [("1", ["01_x", "02_y", "03_z"]), ("3", ["03_z", "02_y", "01_x"])]
)
def test_chapters_run_side_by_side_and_are_reported_in_order(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
    ended: list[str],
) -> None:
    """As many at a time as asked for, each with a log of its own."""
    notebook(folder / "02_y.ipynb", "1")
    notebook(folder / "03_z.ipynb", "1")
    kernels = Kernels()
    monkeypatch.setattr(course, "execute", kernels)
    assert course.main(["run", "--workers", workers]) == 0
    assert (kernels.most, kernels.ended, len(kernels.logs)) == (int(workers), ended, 3)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said] == ["01_x", "02_y", "03_z"]


DRAWING = """\
import ipywidgets

ipywidgets.interactive_output(lambda n: print(n), {"n": ipywidgets.IntSlider(7)})"""


def test_a_drawn_widget_tells_the_kernel_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one drawing in ten hangs until the time is up; what it shows is kept all the same."""

    def told(*_: Any, **__: Any) -> None:
        raise AssertionError("sent while the reply is awaited")

    monkeypatch.setattr(OutputWidget, "_publish_msg", told)
    notebook(folder / "01_x.ipynb", DRAWING)
    book, _ = asyncio.run(course.execute(folder / "01_x.ipynb", {}))
    (states,) = book.metadata.widgets.values()
    (shown,) = [each.state.outputs for each in states.state.values() if "outputs" in each.state]
    assert shown[0]["text"] == "7\n"


def test_an_unknown_chapter_lists_the_known_ones(folder: Path) -> None:
    """By stem, slug or number it would have been found."""
    assert course.chapters("01") == course.chapters("x") == course.chapters("")
    with pytest.raises(SystemExit, match="no chapter 'y'; there is: 01_x"):
        course.main(["run", "y"])


def test_the_audit_names_exchanges_that_no_cell_uses(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chapter without a recording is passed over."""
    notebook(recorded.parents[1] / "02_y.ipynb", "1")
    logs = tmp_path / "logs"
    logs.mkdir()
    assert course.main(["audit", str(logs)]) == 1
    assert "01_x.json: no cell uses exchange 0, /v1/messages" in capsys.readouterr().out
    (logs / "01_x.1.log").write_text("miss\n0\n", "utf-8")
    assert course.main(["audit", str(logs)]) == 0


def test_recording_live_says_the_cost_first(
    recorded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key it ends there, in a readable error, and replaces nothing."""
    assert course.main(["record", "01_x", "--live"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("going live: about $0.000")
    assert "stops at $1.00 " in out
    assert "set ANTHROPIC_API_KEY" in out
    recorded.unlink()
    monkeypatch.setenv("PATTERNS_BUDGET_USD", "1e999")
    assert course.main(["record", "01_x", "--live"]) == 1
    assert capsys.readouterr().out.startswith("PATTERNS_BUDGET_USD is '1e999': give an amount")
    monkeypatch.setenv("PATTERNS_BUDGET_USD", "2")
    assert course.main(["record", "01_x", "--live"]) == 1
    assert "an unknown amount by recorded usage; stops at $2.00" in capsys.readouterr().out


class Live:
    """Stands in for `execute`: records one answer of several, then fails; or replays."""

    def __init__(self, *, wanted: int) -> None:
        self.wanted, self.sent = wanted, 0

    async def __call__(self, path: Path, environment: Mapping[str, str]) -> tuple[Any, float]:
        client_module._SHARED.clear()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"ANTHROPIC_API_KEY": "k", **environment}.items():
                patch.setenv(name, value)
            patch.setattr(client_module, "network", self.network)
            client = connect("01_x")
            for number in range(self.wanted):
                content = [{"role": "user", "content": f"{number}"}]
                client.messages.create(model=SONNET, max_tokens=9, messages=content)  # type: ignore[arg-type]
        return nbformat.v4.new_notebook(), 1.0  # type: ignore[no-untyped-call]

    def network(self, *, asynchronous: bool) -> Any:
        self.sent += 1
        if self.sent == 2:
            self.sent = 0
            raise KeyboardInterrupt
        return FakeAPI().transport


def test_a_failed_live_recording_keeps_what_was_paid(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run goes on from there; what no cell uses in the end is left out."""
    live = Live(wanted=2)
    monkeypatch.setattr(course, "execute", live)
    assert course.main(["record", "01_x", "--live"]) == 0
    target, draft = folder / "recordings" / "01_x.json", folder / "recordings" / "draft"
    assert Recording.load(target).source.kind == "live"
    assert not list(draft.iterdir())
    live.wanted = 3
    live.sent = 1
    assert course.main(["record", "01_x", "--live", "--missing"]) == 1
    assert "2 answers are kept in draft/01_x.json" in capsys.readouterr().out
    live.wanted = 1
    assert course.main(["record", "01_x", "--live"]) == 0
    assert "going on from 2 answers in draft/01_x.json" in capsys.readouterr().out
    assert len(Recording.load(target).exchanges) == 1


def test_cleaning_takes_out_what_changes_from_run_to_run() -> None:
    """Timings, and widgets, whose ids differ each time and which GitHub cannot show."""
    widget = {"data": {course.WIDGET: {"model_id": "1"}, "text/plain": "VBox()"}}
    plain = {"name": "stdout", "text": "x"}
    cell = nbformat.from_dict(  # type: ignore[no-untyped-call]
        {"cell_type": "code", "metadata": {"execution": {}}, "outputs": [widget, plain]}
    )
    markdown = nbformat.from_dict({"cell_type": "markdown", "metadata": {}})  # type: ignore[no-untyped-call]
    book = nbformat.from_dict({"metadata": {"widgets": {}}, "cells": [cell, markdown]})  # type: ignore[no-untyped-call]
    course.clean(book)
    assert "widgets" not in book.metadata
    assert book.cells[0].metadata == {}
    assert book.cells[0].outputs[0]["data"] == {"text/plain": "(run this cell to see the widget)"}
