"""patterns.copy.store: what was edited is never lost, and nothing is ever half-written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.copy.store import (
    HEADER,
    LOCK,
    SCRATCH,
    BadLock,
    CopyError,
    Lock,
    NotWritable,
    WouldOverwrite,
    changes,
    write,
)

ONE = f"{HEADER}1, patterns/a.py; MIT licence.\nx = 1\n"
TWO = f"{HEADER}2, patterns/a.py; MIT licence.\nx = 2\n"


def put(into: Path, **files: str) -> list[str]:
    """Write files whose names are those of the arguments."""
    named = {f"{name}.py": text for name, text in files.items()}
    return write(into, named, names=["p"], version="1")


def states(into: Path, **files: str) -> dict[str, str]:
    """The state of each file that differs."""
    return {
        each.file: each.state for each in changes(into, {f"{n}.py": t for n, t in files.items()})
    }


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    """And nothing differs."""
    assert put(tmp_path / "x" / "y", a=ONE) == ["a.py"]
    assert put(tmp_path / "x" / "y", a=ONE) == []
    assert states(tmp_path / "x" / "y", a=ONE) == {}


def test_an_edit_and_a_change_upstream_are_told_apart(tmp_path: Path) -> None:
    """Each with a diff of its own; a new version alone is no change."""
    put(tmp_path, a=ONE, b=ONE, c=ONE, d=ONE)
    for name in "bc":
        (tmp_path / f"{name}.py").write_text(ONE + "mine = True\n", "utf-8")
    (tmp_path / "d.py").unlink()
    found = {
        each.file: each
        for each in changes(
            tmp_path, {f"{n}.py": t for n, t in zip("abcd", [TWO, TWO, ONE, ONE], strict=True)}
        )
    }
    assert {file: each.state for file, each in found.items()} == {
        "a.py": "changed upstream",
        "b.py": "both changed",
        "c.py": "edited here",
        "d.py": "gone here",
    }
    assert "+mine = True" in found["b.py"].here
    assert "+x = 2" not in found["b.py"].here
    assert "+x = 2" in found["b.py"].upstream
    assert found["c.py"].upstream == ""
    assert states(tmp_path, a=ONE.replace(f"{HEADER}1", f"{HEADER}9"))["b.py"] == "edited here"


def test_an_edited_file_is_overwritten_only_when_told(tmp_path: Path) -> None:
    """Before anything else is written."""
    put(tmp_path, a=ONE, b=ONE)
    mine = ONE + "mine = True\n"
    (tmp_path / "a.py").write_text(mine, "utf-8")
    with pytest.raises(WouldOverwrite, match=r"a\.py.*--overwrite") as caught:
        put(tmp_path, a=TWO, b=TWO)
    assert caught.value.files == ("a.py",)
    assert (tmp_path / "b.py").read_text("utf-8") == ONE
    write(tmp_path, {"a.py": TWO, "b.py": TWO}, names=["p"], version="2", overwrite=True)
    assert (tmp_path / "a.py").read_text("utf-8") == TWO


def test_an_edit_stays_while_nothing_changed_upstream(tmp_path: Path) -> None:
    """Another pattern that shares the file can still be copied."""
    put(tmp_path, a=ONE)
    (tmp_path / "a.py").write_text(ONE + "mine = True\n", "utf-8")
    assert put(tmp_path, a=ONE, b=ONE) == ["b.py"]
    assert "mine" in (tmp_path / "a.py").read_text("utf-8")


def test_a_file_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    """Whatever its encoding; an `__init__.py` stays as it is."""
    (tmp_path / "a.py").write_bytes(b"\xff\xfe")
    with pytest.raises(WouldOverwrite):
        put(tmp_path, a=ONE)
    assert (tmp_path / "a.py").read_bytes() == b"\xff\xfe"
    (tmp_path / "__init__.py").write_text("mine = True\n", "utf-8")
    write(tmp_path, {"__init__.py": ""}, names=["p"], version="1", overwrite=True)
    assert (tmp_path / "__init__.py").read_text("utf-8") == "mine = True\n"


@pytest.mark.parametrize("whole", range(4))
def test_a_killed_run_is_finished_by_the_next(tmp_path: Path, whole: int) -> None:
    """Killed after any number of files, with one half-written: nothing half is ever imported."""
    files = {f"{name}.py": ONE for name in "abc"}
    for name in list(files)[:whole]:
        (tmp_path / name).write_text(ONE, "utf-8")
    (tmp_path / f"c.py{SCRATCH}").write_text(ONE[:9], "utf-8")
    write(tmp_path, files, names=["p"], version="1")
    assert {path.name for path in tmp_path.iterdir()} == {*files, LOCK}
    assert {(tmp_path / name).read_text("utf-8") for name in files} == {ONE}


def test_a_target_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    """A file in the place of the folder, or of a folder above a file."""
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(NotWritable, match=r"file/x.*--into"):
        put(tmp_path / "file" / "x", a=ONE)
    with pytest.raises(NotWritable, match=r"Not a directory|File exists"):
        write(tmp_path / "file", {"a.py": ONE}, names=["p"], version="1")


def test_a_read_only_target_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the refusal is the file system's words, not its doing."""

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(NotWritable, match="Permission denied"):
        put(tmp_path / "x", a=ONE)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": "1", "patterns": [], "files": {"a": "?"}}'],
)
def test_a_damaged_lock_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    """Not a traceback, and no file is touched."""
    (tmp_path / LOCK).write_text(text, "utf-8")
    with pytest.raises(BadLock, match="delete it"):
        put(tmp_path, a=ONE)
    assert not (tmp_path / "a.py").exists()
    assert issubclass(BadLock, CopyError)


@settings(max_examples=50)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}\.py", fullmatch=True), st.text()), st.text())
def test_a_lock_keeps_every_text(files: dict[str, str], version: str) -> None:
    """Any character, any length."""
    lock = Lock(version, ("p",), files)
    held = json.loads(lock.text())
    assert set(held["files"]) == set(files)
