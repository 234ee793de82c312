"""What people install: the wheel, the source archive, and the core with each extra."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from chapters import ROOT
from elsewhere import call

pytestmark = pytest.mark.stage
UV = [sys.executable, "-m", "uv"]
INSTALL = [*UV, "pip", "install", "-q", "--constraint", str(ROOT / "requirements.lock")]
"""With the versions that the rest is tested with; `make drift` tells what newer ones change."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
IMPORTS = {
    "": ["core.messages", "core.models", "core.fan_out", "prompting", "quality.vote", "copy"],
    "pricing": ["core.pricing", "quality.refinement", "caching"],
    "fake-api": ["fake_api", "fake_api.wire.server"],
    "policy": ["policy"],
    "redis": ["policy"],
    "mcp": ["mcp_session"],
    "durable": ["agents.durable"],
    "monitoring": ["monitoring.calls", "monitoring.prometheus", "monitoring.event_log"],
    "datadog": ["monitoring.dogstatsd"],
    "agents": ["agents.coordinator", "agents.scheduler"],
    "quality": ["quality"],
    "caching": ["caching"],
    "batching": ["batching"],
}
"""What each extra makes importable; the core alone is ""."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    out = tmp_path_factory.mktemp("dist")
    call(*UV, "build", "-q", "--no-build-isolation", "--python", sys.executable, "-o", str(out),
         str(ROOT), cwd=out)  # fmt: skip
    return out


def test_the_wheel_holds_the_package_its_data_and_its_licence(built: Path) -> None:
    """And no test, notebook or recording."""
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        "patterns/py.typed",
        "patterns/copy/index.toml",
        "patterns/monitoring/ops/rules.yml",
        "patterns/monitoring/ops/dashboard.json",
    }
    assert expected - names == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"patterns", "claude_patterns"}


def test_the_source_archive_can_be_built_again(built: Path, tmp_path: Path) -> None:
    """It holds the licence, the README and the project file."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "patterns/py.typed"} <= names


def test_every_extra_is_checked() -> None:
    """A new one is told here."""
    extras = set(PROJECT["optional-dependencies"]) - {"course", "notebooks"}
    assert extras == set(IMPORTS) - {""}


@pytest.mark.parametrize("extra", IMPORTS)
def test_an_extra_brings_what_its_modules_import(extra: str, built: Path, tmp_path: Path) -> None:
    """In an environment of its own, far from the checkout."""
    (wheel,) = built.glob("*.whl")
    python = tmp_path / "env" / "bin" / "python"
    call(*UV, "venv", "-q", "--python", sys.executable, str(tmp_path / "env"), cwd=tmp_path)
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    call(*INSTALL, "--python", str(python), wanted, cwd=tmp_path)
    lines = "; ".join(f"import patterns.{module}" for module in IMPORTS[extra])
    call(str(python), "-I", "-c", lines, cwd=tmp_path)


def test_the_command_copies_from_an_installed_wheel(built: Path, tmp_path: Path) -> None:
    """With the licence from its metadata."""
    (wheel,) = built.glob("*.whl")
    call(*UV, "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "site"), str(wheel),
         cwd=tmp_path)  # fmt: skip
    call(sys.executable, "-S", "-m", "patterns.copy", "vote", "--into", "app/claude",
         cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))  # fmt: skip
    licence = tmp_path / "app" / "claude" / "LICENSE.claude-patterns"
    assert "Permission is hereby granted" in licence.read_text("utf-8")
    assert (
        subprocess.run(
            [sys.executable, "-S", "-c", "import app.claude.quality"], cwd=tmp_path, check=False
        ).returncode
        == 0
    )
