"""A chapter in JupyterLab in a real browser: run its cells, turn its knobs, read what is seen."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chapters import NOTEBOOKS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE_MS = 180_000
"""For one event, however busy the machine is."""
INSTALL = "apt-get install chromium, and pip install playwright (bash .ci/run tools browser)"

_READY = """(notebook) => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return panel?.context?.path === notebook && panel.context.isReady && panel.sessionContext.isReady
    && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
_RUN_ALL = "() => jupyterapp.commands.execute('notebook:run-all-cells')"
_CELLS = """() => jupyterapp.shell.currentWidget.content.widgets.map(cell => ({
  type: cell.model.type, count: cell.model.executionCount ?? null,
  outputs: cell.model.type === 'code' ? cell.model.outputs.toJSON() : []}))"""
_GO_TO = """async (at) => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = at;
  await notebook.scrollToItem(at, 'center');
  notebook.widgets[at].node.dataset.here = at;
}"""
_RUN = """async (at) => {
  jupyterapp.shell.currentWidget.content.activeCellIndex = at;
  await jupyterapp.commands.execute('notebook:run-cell');
}"""
_TOO_WIDE = """() => jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, at) =>
  [...cell.node.querySelectorAll('.cm-scroller, .jp-OutputArea-output, .jp-RenderedHTML, pre')]
  .filter(part => part.scrollWidth > part.clientWidth + 1)
  .map(part => `cell ${at}, ${part.className}: ${part.scrollWidth} in ${part.clientWidth}`))"""
_HOLDS = """([at, text]) => jupyterapp.shell.currentWidget.content.widgets[at]
  .outputArea.node.innerText.replace(/\\s+/g, ' ').includes(text)"""


def chromium() -> str:
    """Path of an installed Chromium, or empty."""
    return next(filter(None, map(shutil.which, BROWSERS)), "")


@contextmanager
def jupyterlab(folder: Path, *, dark: bool = False) -> Iterator[str]:
    """The address of a JupyterLab on a free port, over a copy of the notebooks, replaying."""
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    homes = {f"JUPYTER_{kind}_DIR": folder / kind for kind in ("CONFIG", "DATA", "RUNTIME")}
    homes |= {f"JUPYTERLAB_{kind}_DIR": folder / kind for kind in ("SETTINGS", "WORKSPACES")}
    homes |= {"IPYTHONDIR": folder / "ipython", "PATTERNS_MODE": Path("replay")}
    if dark:
        themes = folder / "SETTINGS" / "@jupyterlab" / "apputils-extension"
        themes.mkdir(parents=True)
        chosen = json.dumps({"theme": "JupyterLab Dark"})
        (themes / "themes.jupyterlab-settings").write_text(chosen, "utf-8")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--allow-root",
               "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    environment = {**os.environ, **{name: str(path) for name, path in homes.items()}}
    log = (folder / "lab.log").open("w+", encoding="utf-8")
    with (
        log,
        subprocess.Popen(command, cwd=folder / "notebooks", env=environment, stderr=log) as lab,
    ):
        try:
            yield _address(lab, folder / "lab.log")
        finally:
            lab.terminate()


def _address(lab: subprocess.Popen[bytes], log: Path) -> str:
    while True:
        said = log.read_text("utf-8")
        if found := re.search(r"http://(?:127\.0\.0\.1|localhost):(\d+)/lab", said):
            return f"http://127.0.0.1:{found[1]}"
        try:
            lab.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"JupyterLab did not start:\n{said}")


class Opened:
    """A chapter that is open in the browser; cells are named by their place in the notebook."""

    def __init__(self, page: Any, address: str, notebook: str) -> None:
        self.page = page
        self.crashes: list[str] = []
        page.on("pageerror", lambda error: self.crashes.append(str(error)))
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{address}/lab/workspaces/{notebook[:2]}/tree/{notebook}")
        page.wait_for_function(_READY, arg=notebook)

    def close(self) -> None:
        """End the kernel and the page."""
        self.page.evaluate("() => jupyterapp.serviceManager.sessions.shutdownAll()")
        self.page.close()

    def run_all(self) -> None:
        """Run all cells, and wait for the last."""
        self.page.evaluate(_RUN_ALL)

    def run(self, at: int) -> str:
        """Run one cell, and wait for it; what it shows as text."""
        self.page.evaluate(_RUN, at)
        return self.texts()[at]

    def cells(self) -> list[dict[str, Any]]:
        """Type, execution count and outputs of each cell."""
        found: list[dict[str, Any]] = self.page.evaluate(_CELLS)
        return found

    def texts(self) -> list[str]:
        """What each cell shows as text: printed, displayed or raised."""
        return [plain(cell["outputs"]) for cell in self.cells()]

    def look(self, at: int) -> Any:
        """A locator of a cell, scrolled into view."""
        self.page.evaluate(_GO_TO, at)
        return self.page.locator(f'[data-here="{at}"]')

    def too_wide(self) -> set[str]:
        """Parts near the window that do not fit into it, of whatever cell."""
        return set(self.page.evaluate(_TOO_WIDE))

    def write(self, at: int, source: str) -> None:
        """Replace a cell's source by the keyboard."""
        self.look(at).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)

    def wait_for(self, at: int, text: str) -> None:
        """Wait until a cell's output holds a text, white space aside."""
        self.page.wait_for_function(_HOLDS, arg=[at, text])

    def turn(self, at: int, knob: str, value: Any) -> None:
        """Set a control of a widget by the keyboard or the mouse; None presses a button."""
        cell = self.look(at)
        if value is None:
            cell.locator(f'button:has-text("{knob}"), button:has(.fa-{knob})').click()
            return
        box = cell.locator(".widget-inline-hbox", has=self._label(knob))
        if isinstance(value, bool):
            box.locator("input").set_checked(value)
        elif box.locator("select").count():
            box.locator("select").select_option(value)
        elif isinstance(value, str):
            self._step(box, value)
        else:
            box.locator(".widget-readout").fill(str(value))
            box.locator(".widget-readout").press("Enter")

    def _label(self, knob: str) -> Any:
        return self.page.get_by_text(knob, exact=True)

    def _step(self, box: Any, value: str) -> None:
        """A slider over a list: to its start, then right until it reads the value."""
        handle, readout = box.locator(".noUi-handle"), box.locator(".widget-readout")
        handle.press("Home")
        for _ in range(100):
            if readout.inner_text() == value:
                return
            handle.press("ArrowRight")
        raise AssertionError(f"{value!r} is not on this slider")


def plain(outputs: Iterable[dict[str, Any]]) -> str:
    """Outputs of a cell as text: printed, displayed or raised."""
    return "".join(map(_text, outputs))


def _text(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    said = output.get("text") or data.get("text/plain") or output.get("traceback") or ""
    return said if isinstance(said, str) else "".join(said)
