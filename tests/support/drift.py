"""What the newest SDK and peers change, by chapter, and which models are near their end.

    python tests/support/drift.py --environment .venv-drift [--on 2027-06-01]

`make drift` calls it, and a job that runs weekly does. It makes an environment of its own from
the lock with the newest of PACKAGES, whatever pyproject.toml allows, runs the tests and the
notebooks there, and exits with 1 when something differs. Nothing is wrong with a course that was
cloned last month: this tells its maintainers what to look at next.
"""

import argparse
import subprocess
import sys
import venv
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("anthropic", "mcp", "dbos", "genai-prices")
NOTICE = timedelta(days=45)
NBVAL = ("--nbval", "--nbval-current-env", "--nbval-sanitize-with")


@dataclass
class Part:
    """How the tests of a folder, or the cells of a notebook, went."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)


def ending(ends: Mapping[str, date], on: date, notice: timedelta = NOTICE) -> list[str]:
    """A line for each model that is past its end of life on that day, or close to it."""
    return [
        f"{model}: {'ended' if end < on else 'ends'} on {end}"
        for model, end in sorted(ends.items(), key=lambda item: (item[1], item[0]))
        if end - on <= notice
    ]


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for each package of which another version is installed."""
    return [
        f"{name}: {before.get(name, 'absent')} → {version}"
        for name, version in sorted(after.items())
        if before.get(name) != version
    ]


def parts(report: Path) -> dict[str, Part]:
    """The results in a JUnit file, by folder of tests or by notebook."""
    found: dict[str, Part] = defaultdict(Part)
    for case in ET.parse(report).getroot().iter("testcase"):
        where = case.get("classname", "").split(".")
        part = found[where[1] if len(where) > 1 else where[0] or "(collection)"]
        if case.find("failure") is None and case.find("error") is None:
            part.passed += case.find("skipped") is None
        else:
            part.failed.append(f"{case.get('name')}")
    return dict(found)


def table(found: Mapping[str, Part], most: int = 8) -> Iterator[str]:
    """One line a part, and below it what failed there."""
    for name, part in sorted(found.items()):
        yield f"  {name:<24} {part.passed:5} passed {len(part.failed):4} failed"
        yield from (f"      {each}" for each in part.failed[:most])


def indented(lines: Sequence[str]) -> list[str]:
    """The lines of a section, or that there are none."""
    return [f"  {line}" for line in lines or ["none"]]


def install(folder: Path, uv: Sequence[str]) -> Path:
    """An environment with the lock and the newest PACKAGES; gives its Python."""
    venv.create(folder, symlinks=True)
    python, lock, free = folder / "bin" / "python", folder / "lock.txt", folder / "newest.txt"
    excluded = folder / "excluded.txt"
    lock.write_text((ROOT / "requirements.lock").read_text("utf-8"), "utf-8")
    free.write_text("\n".join(PACKAGES), "utf-8")
    newest = [word for name in PACKAGES for word in ("--upgrade-package", name)]
    run(*uv, "compile", "--universal", "--python-version", "3.11", "--no-header", "-q",
        "--extra", "course", "--group", "dev", "pyproject.toml", "-o", lock,
        "--override", free, *newest)  # fmt: skip
    excluded.write_text("rfc3987-syntax", "utf-8")  # as `make setup` leaves it out
    run(*uv, "install", "-q", "--python", python, "--excludes", excluded, "-r", lock)
    run(*uv, "install", "-q", "--python", python, "--no-deps", "--no-build-isolation", "-e", ".")
    return python


def run(*command: Any, check: bool = True) -> str:
    """What a command prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, check=check, stdout=subprocess.PIPE, text=True)
    return done.stdout


def versions(uv: Sequence[str], python: Path | str) -> dict[str, str]:
    """What is installed."""
    lines = run(*uv, "freeze", "--python", python).splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def ends_by(python: Path) -> dict[str, date]:
    """The end of life of each model of our table, as the newest SDK has it or we do."""
    code = (
        "from anthropic._data.deprecated_models import DEPRECATED_MODELS as theirs\n"
        "from patterns.core.models import MODELS\n"
        "for name, row in MODELS.items():\n"
        "    print(name, '|', theirs.get(name) or row.end_of_life or '')\n"
    )
    rows = (line.split(" | ") for line in run(python, "-c", code).splitlines())
    return {name: day(text) for name, text in rows if text}


def day(text: str) -> date:
    """A date as the SDK writes it, `November 30th, 2026`, or as ISO 8601 has it."""
    if text[:4].isdigit():
        return date.fromisoformat(text)
    month, number, year = text.replace(",", "").split()
    return datetime.strptime(f"{month} {number[:-2]} {year}", "%B %d %Y").replace(tzinfo=UTC).date()


def main(environment: Path, on: date) -> int:
    """Print the report; 1 when something needs a look."""
    uv = (str(Path(sys.executable).with_name("uv")), "pip")
    python = install(environment, uv)
    news = changed(versions(uv, sys.executable), versions(uv, python))
    ends = ending(ends_by(python), on)
    pytest = (python, "-m", "pytest", "-n", "2", "-q")
    report = environment / "report.xml"
    run(*pytest, "--dist", "loadfile", f"--junitxml={report}", check=False)
    tests = parts(report)
    cells = ROOT / "tests" / "support" / "nbval_sanitize.cfg"
    books = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    run(*pytest, "--dist", "loadscope", *NBVAL, cells, f"--junitxml={report}", *books, check=False)
    notebooks = parts(report)
    sections = {
        "Newer than the lock": indented(news),
        f"Models near their end on {on}": indented(ends),
        "Tests by folder": table(tests),
        "Notebooks": table(notebooks),
    }
    for title, lines in sections.items():
        sys.stdout.write("\n".join([f"{title}:", *lines, ""]))
    return int(any(part.failed for part in [*tests.values(), *notebooks.values()]) or bool(ends))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environment", type=Path, required=True)
    parser.add_argument("--on", type=date.fromisoformat, default=datetime.now(UTC).date())
    asked = parser.parse_args()
    sys.exit(main(asked.environment.resolve(), asked.on))
