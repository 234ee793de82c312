"""Every pattern of the index, copied from a wheel into a stranger's package, run and type-checked.

The package has another name, lies two levels deep, and lives in an environment with nothing but
what the command's own pip line installs.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chapters import ROOT
from elsewhere import call

from patterns.copy.index import Pattern, patterns

pytestmark = pytest.mark.stage
UV = [sys.executable, "-m", "uv"]
INSTALL = [*UV, "pip", "install", "-q", "--constraint", str(ROOT / "requirements.lock")]
"""With the versions that the rest is tested with; `make drift` tells what newer ones change."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel installed, and nothing else."""
    out = tmp_path_factory.mktemp("dist")
    call(*UV, "build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable,
         "-o", str(out), str(ROOT), cwd=out)  # fmt: skip
    (wheel,) = out.glob("*.whl")
    call(
        *UV, "pip", "install", "-q", "--no-deps", "--target", str(out / "site"), str(wheel), cwd=out
    )
    return out / "site"


@pytest.fixture(scope="module")
def fake_url() -> Iterator[str]:
    """The fake API on a loopback port."""
    server = subprocess.Popen(
        [sys.executable, "-m", "patterns.fake_api", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout
    line = server.stdout.readline()
    yield next(word for word in line.split() if word.startswith("http"))
    server.terminate()
    server.wait()
    server.stdout.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stranger's project, shared by all."""
    return tmp_path_factory.mktemp("project")


def needs_of(each: Pattern) -> str:
    """The names of what a pattern requires."""
    return "-".join(sorted(re.split("[<>=]", need)[0] for need in each.requirements)) or "bare"


each_pattern = pytest.mark.parametrize(
    "each",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.xdist_group(needs_of(each)))
        for each in patterns().values()
    ],
)


def environment_of(each: Pattern, bench: Path) -> Path:
    """The interpreter of an environment with the requirements of a pattern, made once."""
    home = bench / f"env-{needs_of(each)}"
    python = home / "bin" / "python"
    if not python.exists():
        call(*UV, "venv", "-q", "--python", sys.executable, str(home), cwd=bench)
        if each.requirements:
            call(*INSTALL, "--python", str(python), *each.requirements, cwd=bench)
    return python


def package_of(each: Pattern) -> str:
    """Another name for each, two levels deep."""
    return f"app_{each.name.replace('-', '_')}.vendored.claude"


@each_pattern
def test_a_copied_pattern_runs_where_only_its_pip_line_was_run(
    each: Pattern, installed: Path, bench: Path, fake_url: str
) -> None:
    """Its lines of use, over a socket; nothing of this checkout can be imported there."""
    package = package_of(each)
    into = package.replace(".", "/")
    said = call(sys.executable, "-S", "-m", "patterns.copy", each.name, "--into", into,
                cwd=bench, PYTHONPATH=str(installed))  # fmt: skip
    script = bench / f"use_{each.name.replace('-', '_')}.py"
    lines = said[said.index("\ntaught in") :].split("\n\n", 1)[1]
    script.write_text(lines, "utf-8")
    python = environment_of(each, bench)
    hidden = "import importlib.util as u; raise SystemExit(u.find_spec('patterns') is not None)"
    call(str(python), "-c", hidden, cwd=bench)
    home = bench / f"home-{each.name}"
    home.mkdir()
    settings = {"ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": fake_url}
    for _ in range(2):  # what the first run left behind is in nobody's way
        call(str(python), "-W", "error::SyntaxWarning", str(script), cwd=home,
             PYTHONPATH=str(bench), **settings)  # fmt: skip


@each_pattern
def test_a_copied_pattern_passes_a_strict_type_checker(
    each: Pattern, installed: Path, bench: Path
) -> None:
    """As vendored code has to in a strict project."""
    package = package_of(each)
    if not (bench / package.replace(".", "/")).exists():
        call(sys.executable, "-S", "-m", "patterns.copy", each.name, "--into",
             package.replace(".", "/"), cwd=bench, PYTHONPATH=str(installed))  # fmt: skip
    python = environment_of(each, bench)
    call(sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python),
         "--cache-dir", str(bench / f"cache-{python.parents[1].name}"), "-p", package.split(".")[0],
         cwd=bench)  # fmt: skip
