"""Set up the course from this folder, without a network, and open it.

    python start.py          set up if need be, check, open JupyterLab
    python start.py check    say what is missing; change nothing
    python start.py grade    your exercises, as saved in the notebooks

Needs Python alone: no pip settings, no key, no internet. Everything stays in this folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
READY = VENV / "ready.txt"
NEEDED_BYTES = 1_500_000_000
SYSTEM = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}.get(platform.system(), "")
MACHINE = {"linux": ("x86_64",), "macos": ("arm64",), "windows": ("amd64",)}
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
BIN = VENV / ("Scripts" if SYSTEM == "windows" else "bin")
FIRST = """
import nbclient, nbformat
book = nbformat.read("00_start_here.ipynb", 4)
quiet = ["--IPKernelApp.log_level=ERROR"]
nbclient.NotebookClient(book, timeout=120, kernel_name="python3", extra_arguments=quiet).execute()
texts = [output.data["text/plain"] for cell in book.cells for output in cell.get("outputs", ())
         if "text/plain" in output.get("data", {})]
print(f"chapter 00 ran; the first thing that it shows: {texts[0]}")
"""
QUIET = """{"@jupyterlab/apputils-extension:notification":
 {"fetchNews": "false", "checkForUpdates": false}}"""


def problems() -> list[str]:
    """What stands in the way, each with what to do, in plain words."""
    found = []
    listed = sorted(path.stem for path in (HERE / "requirements").glob(f"{SYSTEM}-*.txt"))
    pythons = ", ".join(name.split("-")[1] for name in listed)
    if not SYSTEM or platform.machine().lower() not in MACHINE[SYSTEM]:
        here = f"{platform.system()} on {platform.machine()}"
        found.append(f"This is {here}; the kit has wheels for others. Ask for the online set-up.")
    elif not listed:
        found.append(f"This kit was made without {SYSTEM}. Ask for one that has it.")
    elif f"{SYSTEM}-{PYTHON}" not in listed:
        found.append(
            f"This is Python {PYTHON}; the kit is for {pythons}. Start it with one of them."
        )
    found += unpacked()
    if importable("venv") and importable("ensurepip"):
        free = shutil.disk_usage(HERE).free
        if not READY.exists() and free < NEEDED_BYTES:
            found.append(f"{free / 1e9:.1f} GB are free here, 1.5 are needed. Make room.")
    else:
        found.append(
            "Python's `venv` is missing. On Debian or Ubuntu: sudo apt install python3-venv"
        )
    if not os.access(HERE, os.W_OK):
        found.append(f"Nothing can be written in {HERE}. Unzip the kit into a folder of your own.")
    if SYSTEM == "windows" and len(str(HERE)) > 60:
        found.append(f"{HERE} is a long path for Windows. Unzip the kit as C:\\kit, for instance.")
    try:
        socket.create_server(("127.0.0.1", 0)).close()
    except OSError as error:
        found.append(
            f"Programs here may not talk to each other ({error}). Ask whoever set this up."
        )
    return found


def unpacked() -> list[str]:
    """What of the kit did not arrive whole."""
    try:
        files = json.loads((HERE / "files.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ["The kit is not whole (files.json). Unzip all of it, not just start.py."]
    wrong = [name for name, digest in files.items() if digest_of(HERE / name) != digest]
    if not wrong:
        return []
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return [f"{wrong[0]}{more} did not arrive whole. Unzip the kit again."]


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, or "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def importable(module: str) -> bool:
    """Whether Python has a module that some distributions leave out."""
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def clean() -> dict[str, str]:
    """The environment of the programs that are started: nothing of pip's or Jupyter's own."""
    kept = {name: value for name, value in os.environ.items() if not leaks(name)}
    folder = str(VENV / "var")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return {**kept, **dict.fromkeys((*names, "MPLCONFIGDIR", "UV_CACHE_DIR"), folder)}


def leaks(name: str) -> bool:
    """Whether a setting of the caller would change what happens here."""
    return name.startswith(("PIP_", "UV_", "PYTHON", "JUPYTER", "VIRTUAL_ENV"))


def run(*words: object, cwd: Path = HERE) -> None:
    """Run a program, and end with a sentence where it fails."""
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=str(cwd), env=clean())
    if done.returncode:
        raise SystemExit(f"start.py: `{Path(command[0]).name} {command[1]} …` failed; see above.")


def set_up() -> None:
    """An environment in this folder, from the wheels in this folder."""
    print("setting up .venv from the wheels of this kit; about a minute", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    run(sys.executable, "-m", "venv", VENV)
    python, wheels = BIN / "python", HERE / "wheels"
    here = ("--no-index", "--find-links", wheels)
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *here, "uv")
    uv = (BIN / "uv", "pip", "install", "-q", "--offline", *here, "--python", python, "--no-deps")
    run(*uv, "--require-hashes", "-r", HERE / "requirements" / f"{SYSTEM}-{PYTHON}.txt")
    run(*uv, next(wheels.glob("claude_patterns-*.whl")))
    print("running chapter 00 as a check", flush=True)
    run(python, "-c", FIRST, cwd=HERE / "notebooks")
    settings = VENV / "share" / "jupyter" / "lab" / "settings"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(QUIET, "utf-8")
    READY.write_text(str(HERE), "utf-8")


def main() -> None:
    """What is asked for, after the check."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "open"
    missing = problems()
    if missing:
        raise SystemExit("\n".join(f"- {line}" for line in missing))
    print(f"Python {PYTHON} on {SYSTEM}: everything is here.", flush=True)
    if asked == "check":
        return
    if not READY.exists() or READY.read_text("utf-8") != str(HERE):
        set_up()
    if asked == "grade":
        run(BIN / "python", "-m", "exercises.desk", cwd=HERE / "notebooks")
    elif asked == "open":
        root = ("--allow-root",) if SYSTEM != "windows" and os.getuid() == 0 else ()
        run(BIN / "jupyter", "lab", *root, "00_start_here.ipynb", cwd=HERE / "notebooks")


if __name__ == "__main__":
    main()
