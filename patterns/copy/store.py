"""Write copied files into somebody's package, and tell later who changed what.

`PATTERNS.lock` beside the copies keeps every file as it was written, so that a local edit and a
change upstream are told apart and a file that was edited is never lost.
"""

import base64
import difflib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from patterns.core.errors import Portable

LOCK: Final = "PATTERNS.lock"
HEADER: Final = "# From claude-patterns "
"""How the first line of a copy begins; it names the version and is no change by itself."""
SCRATCH: Final = ".patterns-copy-tmp"
"""Suffix of a file that is being written: it is moved into place whole, or left and ignored."""
State = Literal["new", "same", "edited here", "changed upstream", "both changed", "gone here"]


class CopyError(Portable, Exception):
    """Nothing was written; the message says why and what to do."""


class WouldOverwrite(CopyError):
    """Files are there that are not as this command wrote them.

    Attributes:
        files: their paths below the target.
    """

    def __init__(self, files: Iterable[str], into: Path) -> None:
        self.files = tuple(files)
        listed = ", ".join(self.files)
        super().__init__(
            f"{into}: not as they were copied: {listed}. See `--diff`, move them away, "
            "or give --overwrite to lose your edits."
        )


class NotWritable(CopyError):
    """The target cannot be written to."""

    def __init__(self, into: Path, why: str) -> None:
        super().__init__(f"{into} cannot be written to: {why}. Choose another folder with --into.")


class BadLock(CopyError):
    """The lock file cannot be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged. Restore it from version control, or delete it: files that you "
            "did not edit are then known again after the next copy."
        )


@dataclass(frozen=True)
class Lock:
    """What was copied: names of patterns, the version they came from, each file as written."""

    version: str
    names: tuple[str, ...]
    files: Mapping[str, str]

    @classmethod
    def load(cls, into: Path) -> "Lock":
        """The lock in a folder; an empty one where there is none.

        Raises:
            BadLock: it is damaged.
        """
        path = into / LOCK
        try:
            raw: Any = json.loads(path.read_text("utf-8"))
            files = {name: _unpacked(text) for name, text in raw["files"].items()}
            return cls(str(raw["version"]), tuple(raw["patterns"]), files)
        except (FileNotFoundError, NotADirectoryError):
            return cls("", (), {})
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
            raise BadLock(path) from None

    def text(self) -> str:
        """As it is written: sorted, one file a line."""
        files = {name: _packed(text) for name, text in sorted(self.files.items())}
        held = {"version": self.version, "patterns": sorted(self.names), "files": files}
        return json.dumps(held, indent=1) + "\n"


def _packed(text: str) -> str:
    return base64.b85encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str:
    return zlib.decompress(base64.b85decode(text)).decode()


@dataclass(frozen=True)
class Change:
    """A file that is not as it was copied.

    Attributes:
        file: path below the target.
        state: who changed it.
        here: your edits, as a unified diff.
        upstream: what changed in this package since, as a unified diff.
    """

    file: str
    state: State
    here: str
    upstream: str


def changes(into: Path, fresh: Mapping[str, str]) -> list[Change]:
    """Compare a folder with what was copied into it and with what would be copied now.

    Args:
        into: the folder.
        fresh: each file as it would be written now.

    Raises:
        BadLock: the lock file is damaged.
    """
    lock = Lock.load(into)
    found = []
    for file in sorted({*lock.files, *fresh}):
        base, now = lock.files.get(file), fresh.get(file, lock.files.get(file))
        mine = _read(into / file)
        state = _state(base, mine, now)
        if state != "same":
            here = "" if mine is None else _diff(file, base, mine, "as copied", "yours")
            found.append(Change(file, state, here, _diff(file, base, now, "as copied", "upstream")))
    return found


def _body(text: str | None) -> str | None:
    """A file without the line that says where it is from."""
    return text.partition("\n")[2] if text and text.startswith(HEADER) else text


def _state(base: str | None, mine: str | None, now: str | None) -> State:
    base, mine, now = _body(base), _body(mine), _body(now)
    if mine == now:
        return "same"
    if mine is None:
        return "new" if base is None else "gone here"
    if mine == base:
        return "changed upstream"
    return "edited here" if now == base else "both changed"


def _diff(file: str, old: str | None, new: str | None, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        (_body(old) or "").splitlines(keepends=True),
        (_body(new) or "").splitlines(keepends=True),
        f"{file} ({before})",
        f"{file} ({after})",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:  # somebody's, certainly not ours
        return path.read_bytes().decode("latin-1")


def write(
    into: Path,
    fresh: Mapping[str, str],
    *,
    names: Iterable[str],
    version: str,
    overwrite: bool = False,
) -> list[str]:
    """Write files and the lock; each file appears whole, the lock last.

    A file that you edited stays as it is while nothing changed upstream.

    Returns:
        The files that were written, without those that were so already.

    Raises:
        WouldOverwrite: a file was edited and changed upstream, or is not from here; nothing was
            written.
        NotWritable: the folder is read-only or is a file; nothing was written.
        BadLock: the lock file is damaged.
    """
    lock = Lock.load(into)
    states = {f: _state(lock.files.get(f), _read_at(into, f), text) for f, text in fresh.items()}
    # An `__init__.py` of yours stays as it is: it may hold names that you import elsewhere.
    own = {f for f in states if f.endswith("__init__.py") and states[f] not in ("new", "gone here")}
    clash = [f for f, state in states.items() if state == "both changed" and f not in own]
    if clash and not overwrite:
        raise WouldOverwrite(clash, into)
    due = {"new", "gone here", "changed upstream", "both changed"}
    due |= {"edited here"} if overwrite else set()
    differ = {f: text for f, text in fresh.items() if states[f] in due and f not in own}
    kept = {**lock.files, **fresh}
    total = Lock(version, tuple(sorted({*lock.names, *names})), kept)
    try:
        into.mkdir(parents=True, exist_ok=True)
        _clear(into)
        for file, text in differ.items():
            _put(into / file, text)
        _put(into / LOCK, total.text())
    except OSError as error:
        raise NotWritable(into, error.strerror or str(error)) from None
    return sorted(differ)


def _read_at(into: Path, file: str) -> str | None:
    try:
        return _read(into / file)
    except OSError as error:
        raise NotWritable(into / file, error.strerror or str(error)) from None


def _clear(into: Path) -> None:
    """Remove what an earlier run left that was killed."""
    for left in into.rglob(f"*{SCRATCH}"):
        left.unlink(missing_ok=True)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + SCRATCH)
    scratch.write_text(text, "utf-8")
    os.replace(scratch, path)  # noqa: PTH105  # the one call that replaces on every system
