"""The workshop's kit: what a learner unzips, what a trainer opens, and what the self-check says."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kit
import nbformat
import pytest
import start
from chapters import CHAPTERS

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
OFFLINE = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "-"]
"""Runs a command where there is no network but loopback."""


def book(path: Path) -> Any:
    """A notebook."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def test_a_learner_gets_every_chapter_without_outputs(tmp_path: Path) -> None:
    """With the exercises, the servers and the recordings that they need."""
    kit.learners(tmp_path / "notebooks")
    for chapter in CHAPTERS:
        cells = book(tmp_path / "notebooks" / chapter.path.name).cells
        assert [cell.source for cell in cells] == [cell.source for cell in chapter.cells]
        assert not any(cell.get("outputs") for cell in cells)
        assert (tmp_path / "notebooks" / "recordings" / f"{chapter.stem}.json").exists()
    assert (tmp_path / "notebooks" / "exercises" / "desk.py").exists()


def test_a_trainer_has_solutions_and_wrong_answers_below_the_exercises(tmp_path: Path) -> None:
    """Each with what the grader says to it; the outputs stay."""
    kit.trainers(tmp_path / "notebooks")
    for chapter in CHAPTERS:
        exercises = kit._exercises(chapter.path)
        cells = book(tmp_path / "notebooks" / chapter.path.name).cells
        notes = [cell.source for cell in cells if cell.source.startswith("**Trainer")]
        assert len(notes) == len(exercises)
        for exercise in exercises:
            (note,) = [each for each in notes if exercise.solution.strip() in each]
            assert all(wrong.hint in note for wrong in exercise.wrong)
        assert any(cell.get("outputs") for cell in cells)


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kit for this machine, as far as the self-check looks at it."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / f"{start.SYSTEM}-{HERE}.txt").write_text("uv==1", "utf-8")
    (tmp_path / "a.whl").write_bytes(b"wheel")
    digest = start.digest_of(tmp_path / "a.whl")
    (tmp_path / "files.json").write_text(json.dumps({"a.whl": digest}), "utf-8")
    monkeypatch.setattr(start, "HERE", tmp_path)
    monkeypatch.setattr(start, "READY", tmp_path / "ready.txt")
    monkeypatch.setitem(start.MACHINE, start.SYSTEM, (platform.machine().lower(),))
    return tmp_path


def test_nothing_is_missing_where_all_is_there(unpacked: Path) -> None:
    """Then the self-check has nothing to say."""
    assert start.problems() == []


def test_the_self_check_says_what_is_missing_and_what_to_do(
    unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence each: another Python, a damaged file, no venv, no space, another machine."""
    listed = unpacked / "requirements" / f"{start.SYSTEM}-{HERE}.txt"
    other = listed.rename(listed.with_name(f"{start.SYSTEM}-3.9.txt"))
    assert start.problems() == [
        f"This is Python {HERE}; the kit is for 3.9. Start it with one of them."
    ]
    other.unlink()
    assert start.problems() == [
        f"This kit was made without {start.SYSTEM}. Ask for one that has it."
    ]
    listed.write_text("uv==1", "utf-8")
    (unpacked / "a.whl").write_bytes(b"half")
    assert start.problems() == ["a.whl did not arrive whole. Unzip the kit again."]
    (unpacked / "files.json").unlink()
    assert "Unzip all of it" in start.problems()[0]
    (unpacked / "files.json").write_text("{}", "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(start, "importable", lambda module: module != "ensurepip")
        assert "sudo apt install python3-venv" in start.problems()[0]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))
        assert start.problems() == ["0.1 GB are free here, 1.5 are needed. Make room."]
    monkeypatch.setitem(start.MACHINE, start.SYSTEM, ("z80",))
    assert "wheels for others" in start.problems()[0]


def test_settings_of_the_caller_do_not_reach_what_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pip's, uv's, Python's and Jupyter's own variables."""
    for name in ("PIP_TARGET", "UV_CONSTRAINT", "PYTHONPATH", "JUPYTER_PATH"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "kept")
    assert "elsewhere" not in start.clean().values()
    assert start.clean()["ANTHROPIC_API_KEY"] == "kept"


@pytest.mark.stage
def test_the_kit_reaches_a_first_output_without_a_network(tmp_path: Path) -> None:
    """Built here for this system, unzipped elsewhere, with an empty home and only loopback."""
    if subprocess.run([*OFFLINE, "true"], capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    kit.main(["--system", start.SYSTEM, "--python", HERE, "--out", str(tmp_path / "dist")])
    home, room = tmp_path / "home", tmp_path / "ü x"
    home.mkdir()
    shutil.unpack_archive(tmp_path / "dist" / "claude-patterns-kit.zip", room)
    base = Path(sys.base_prefix) / "bin" / "python3"
    for asked, says in (("check", "everything is here"), ("grade", "chapter 00 ran")):
        done = subprocess.run(
            [*OFFLINE, "env", "-i", f"HOME={home}", f"PATH={os.defpath}", str(base),
             "start.py", asked],
            cwd=room / "claude-patterns", capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert says in done.stdout
    assert list(home.iterdir()) == []


@pytest.mark.stage
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", [name for name in kit.SYSTEMS if name != start.SYSTEM])
def test_wheels_for_other_systems_resolve_from_the_lock(
    system: str, python: str, tmp_path: Path
) -> None:
    """Every package at the locked version, with a hash; uv takes wheels for that system only."""
    listed = kit.resolved(kit.SYSTEMS[system], python, tmp_path).read_text("utf-8")
    lock = re.sub(r"\[.*?\]", "", (kit.ROOT / "requirements.lock").read_text("utf-8"))
    pins = [line.split(" ")[0] for line in listed.splitlines() if "==" in line]
    assert len(pins) > 100
    assert [pin for pin in pins if pin not in lock] == []
