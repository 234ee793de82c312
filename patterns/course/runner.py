"""Run, record and audit the chapters: what `make` calls.

    python -m patterns.course run [CHAPTER]             execute from recordings, store nothing;
                                                        two at a time, or as --workers says
    python -m patterns.course record CHAPTER [--live] [--missing]
                                                        make the recording, then the outputs
    python -m patterns.course audit FOLDER              what a nbval run left unused or unanswered
    python -m patterns.course serve [CHAPTER] [--port]  recordings for clients in any language

Not part of any pattern: nothing else imports it.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbclient.output_widget import OutputWidget

from patterns.core.fan_out import fan_out
from patterns.course.budget import BUDGET, budget_limit, dollars, estimate_usd
from patterns.course.client import KEEP, find_recordings
from patterns.course.recordings import CourseError, Recording
from patterns.course.replay import REPLAY_LOG

NOTEBOOKS: Final = Path(__file__).parents[2] / "notebooks"
WIDGET: Final = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT: Final = 120
"""Seconds after which a cell is taken to hang."""
WORKERS: Final = min(2, os.cpu_count() or 1)
"""Chapters that `run` executes at a time: more than two make each of them slow."""
FAILURES: Final = (CellExecutionError, CellTimeoutError, DeadKernelError)
"""How a chapter fails: a cell raised, hung, or took the kernel along."""


def chapters(asked: str = "") -> list[Path]:
    """The notebooks, in order; or the one that is meant by `05_prompting`, `prompting` or `05`.

    Raises:
        SystemExit: there is no such chapter.
    """
    found = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not asked:
        return found
    matching = [each for each in found if asked in (each.stem, each.stem[3:], each.stem[:2])]
    if not matching:
        names = ", ".join(each.stem for each in found)
        raise SystemExit(f"no chapter {asked!r}; there is: {names}")
    return matching


class _Output(OutputWidget):
    """Keeps what a widget shows without telling the kernel, where nobody asks for it.

    nbclient would send it on the socket on which it waits for the cell's reply, and pyzmq may then
    miss that reply: one drawing in ten ended only with CELL_TIMEOUT.
    """

    def send(self, *_: Any, **__: Any) -> None:
        """Send nothing."""


async def execute(notebook: Path, environment: Mapping[str, str]) -> tuple[Any, float]:
    """Run a notebook from top to bottom in a kernel and an environment of its own.

    Returns:
        The executed notebook, and the seconds it took.

    Raises:
        CellExecutionError: a cell failed that is not tagged `raises-exception`.
        CellTimeoutError: a cell took longer than CELL_TIMEOUT.
        DeadKernelError: the kernel ended in the middle of a cell.
    """
    book = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        book,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        coalesce_streams=True,
        shutdown_kernel="immediate",  # whatever is recorded or logged is on disk; saves 1.5 s
    )
    client.widget_registry = {"@jupyter-widgets/output": {"OutputModel": _Output}}
    began = time.perf_counter()
    await client.async_execute(cwd=str(notebook.parent), env={**os.environ, **environment})
    return book, time.perf_counter() - began


def run(asked: str = "", *, workers: int = WORKERS) -> int:
    """Execute chapters from their recordings; print a line for each, in order; 1 if one failed."""
    return asyncio.run(_run(chapters(asked), workers))


async def _run(notebooks: Sequence[Path], workers: int) -> int:
    failed = 0
    async for chapter in fan_out(notebooks, _replayed, limit=workers, ordered=True):
        if isinstance(chapter.error, FAILURES):
            failed = 1
            _say(f"✗ {chapter.item.stem}\n{_plain(str(chapter.error))}")
        else:
            _say(chapter.unwrap())
    return failed


async def _replayed(notebook: Path) -> str:
    """Execute a chapter from its recording, and say in a line how that went."""
    book, seconds, uses = await _replay(notebook, {})
    cells = sum(cell.cell_type == "code" for cell in book.cells)
    return f"✓ {notebook.stem:<26} {cells:3} cells  {len(uses):4} exchanges  {seconds:5.1f} s"


def record(asked: str, *, live: bool, missing: bool = False) -> int:
    """Make a chapter's recording and its outputs again; nothing is replaced unless all went well.

    Args:
        asked: the chapter.
        live: ask the API. The likely cost is said first, PATTERNS_BUDGET_USD holds, and what was
            paid for stays in `recordings/draft/` until a run gets to the end: the next one goes on
            from there.
        missing: ask only for what the recording lacks.
    """
    (notebook,) = chapters(asked)
    target = NOTEBOOKS / "recordings" / f"{notebook.stem}.json"
    if live:
        folder = target.parent / "draft"
        folder.mkdir(exist_ok=True)
        return _record(notebook, target, folder, _live_settings(target), missing=missing)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(target.parent / "replies", folder / "replies")
        return _record(notebook, target, folder, {"PATTERNS_MODE": "record"}, missing=missing)


def _record(
    notebook: Path, target: Path, folder: Path, settings: Mapping[str, str], *, missing: bool
) -> int:
    draft = folder / target.name
    if missing and target.exists() and not draft.exists():
        shutil.copyfile(target, draft)
    elif draft.exists():
        _say(
            f"going on from {_count(draft)} answers in draft/{draft.name}; delete it to start anew"
        )
    where = {"PATTERNS_RECORDINGS": str(folder.resolve()), KEEP: "1"}
    try:
        asyncio.run(execute(notebook, {**settings, **where}))
        book, seconds, used = asyncio.run(_replay(notebook, where))
    except (*FAILURES, KeyboardInterrupt) as error:
        _say(f"✗ {notebook.stem}: nothing was replaced\n{_plain(str(error))}")
        if settings["PATTERNS_MODE"] == "record-live" and draft.exists():
            _say(f"{_count(draft)} answers are kept in draft/{draft.name}; run again to go on")
        return 1
    recorded = Recording.load(draft)
    exchanges = tuple(each for at, each in enumerate(recorded.exchanges) if at in used)
    Recording(target, recorded.source, exchanges).save()
    draft.unlink()
    clean(book)
    notebook.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", "utf-8")
    _say(
        f"✓ {notebook.stem}: {len(exchanges)} exchanges recorded, outputs stored ({seconds:.1f} s)"
    )
    return 0


async def _replay(
    notebook: Path, settings: Mapping[str, str]
) -> tuple[Any, float, list[int | None]]:
    """Execute a chapter from its recording: the notebook, the seconds, the exchanges used."""
    with tempfile.TemporaryDirectory() as folder:
        replaying = {"PATTERNS_MODE": "replay", REPLAY_LOG: folder}
        book, seconds = await execute(notebook, {**settings, **replaying})
        return book, seconds, list(replay_uses(Path(folder), notebook.stem))


def _live_settings(target: Path) -> dict[str, str]:
    """Say what going live costs; the budget that goes with it."""
    recorded = Recording.load(target).exchanges if target.exists() else None
    cost = None if recorded is None else estimate_usd(recorded)
    limit = budget_limit(os.environ.get(BUDGET), cost)
    about = "an unknown amount" if cost is None else f"about {dollars(cost)}"
    _say(f"going live: {about} by recorded usage; stops at ${limit:.2f} ({BUDGET})")
    return {"PATTERNS_MODE": "record-live", BUDGET: f"{limit:f}"}


def _count(recording: Path) -> int:
    return len(Recording.load(recording).exchanges)


def clean(book: Any) -> None:
    """Take out what changes from run to run or breaks rendering: timings, ids, widget state."""
    book.metadata = {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("jupyter", None)
        for output in cell.get("outputs", []):
            if output.get("data", {}).pop(WIDGET, None):
                output["data"]["text/plain"] = "(run this cell to see the widget)"


def audit(folder: Path) -> int:
    """Compare what notebooks used with what is recorded; 1 if anything is unused or missing."""
    wrong = 0
    for notebook in chapters():
        path = NOTEBOOKS / "recordings" / f"{notebook.stem}.json"
        if not path.exists():
            continue
        uses = list(replay_uses(folder, notebook.stem))
        recorded = Recording.load(path).exchanges
        for index in sorted(set(range(len(recorded))) - set(uses)):
            wrong = 1
            _say(f"{path.name}: no cell uses exchange {index}, {recorded[index].path}")
    return wrong


def replay_uses(folder: Path, chapter: str) -> Iterator[int | None]:
    """The exchanges that processes used, as `ReplayLog` noted them; None for a miss."""
    for log in sorted(folder.glob(f"{chapter}.*.log")):
        for line in log.read_text("utf-8").splitlines():
            yield None if line == "miss" else int(line)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m patterns.course")
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("chapter", nargs="?", default="")
    running.add_argument("--workers", type=int, default=WORKERS, help="chapters at a time")
    recording = commands.add_parser("record")
    recording.add_argument("chapter")
    recording.add_argument("--live", action="store_true", help="ask the API; costs money")
    recording.add_argument("--missing", action="store_true", help="keep the answers there are")
    serving = commands.add_parser("serve")
    serving.add_argument("chapter", nargs="?", default="", help="all of them if not given")
    serving.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    commands.add_parser("audit").add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    try:
        return _do(given)
    except CourseError as error:
        _say(str(error))
        return 1


def _do(given: argparse.Namespace) -> int:
    if given.command == "run":
        return run(given.chapter, workers=given.workers)
    if given.command == "record":
        return record(given.chapter, live=given.live, missing=given.missing)
    if given.command == "audit":
        return audit(given.folder)
    from patterns.course.serve import serve

    paths = [find_recordings() / f"{each.stem}.json" for each in chapters(given.chapter)]
    return serve([path for path in paths if given.chapter or path.exists()], given.port)


if __name__ == "__main__":  # pragma: no cover  # main() itself is tested in process
    sys.exit(main())
