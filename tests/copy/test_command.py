"""`python -m patterns.copy`: what a user types, and what a user gets back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from chapters import CHAPTERS, NOTEBOOKS

from patterns.copy import __main__ as command
from patterns.copy.index import UnknownPattern, pattern, patterns

NAMES = list(patterns())


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and all that was said."""
    code = command.main(arguments)
    out, err = capsys.readouterr()
    return code, out + err


def test_the_list_has_every_pattern_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each: name, problem, size."""
    code, text = run("--list", capsys=capsys)
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == NAMES
    assert all(re.search(r"\(\d+ lines in \d+ files?\)$", line) for line in text.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_is_whole(name: str) -> None:
    """Every module and data file exists, and the chapter has that section."""
    each = pattern(name)
    assert each.files
    assert len(each.usage("app").splitlines()) <= 21
    assert each.chapter in {chapter.stem for chapter in CHAPTERS}
    prose = next(chapter.prose for chapter in CHAPTERS if chapter.stem == each.chapter)
    assert not each.section or re.search(rf"^#+ {re.escape(each.section)}$", prose, re.MULTILINE)
    assert all((NOTEBOOKS.parent / "patterns" / path).is_file() for path in each.data)


def test_copying_says_what_came_along_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files, lines, the pip line, and imports from where they are now."""
    monkeypatch.chdir(tmp_path)
    code, text = run("structured", "fan-out", "--into", "app/inner/claude", capsys=capsys)
    assert code == 0
    assert 'pip install "anthropic' in text
    assert "from app.inner.claude.prompting.structured import structured" in text
    assert re.search(r"\d+ lines of code in \d files: core/answers\.py, core/errors\.py", text)
    home = tmp_path / "app" / "inner" / "claude"
    first = (home / "prompting" / "structured.py").read_text("utf-8").splitlines()[0]
    assert first == (
        f"# From claude-patterns {command.version()}, "
        "patterns/prompting/structured.py; MIT licence."
    )
    assert "Permission is hereby granted" in (home / "LICENSE.claude-patterns").read_text("utf-8")
    assert (home / "core" / "__init__.py").read_text("utf-8") == ""


def test_a_copy_can_be_compared_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and the edit, or 0 and a sentence."""
    into = str(tmp_path / "claude")
    run("fan-out", "--into", into, capsys=capsys)
    assert run("--diff", "--into", into, capsys=capsys)[0] == 0
    file = tmp_path / "claude" / "core" / "fan_out.py"
    file.write_text(file.read_text("utf-8") + "mine = True\n", "utf-8")
    code, text = run("--diff", "--into", into, capsys=capsys)
    assert code == 1
    assert "core/fan_out.py: edited here" in text
    assert "+mine = True" in text


def test_a_pattern_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files are compared with what was copied."""
    into = str(tmp_path / "claude")
    run("fan-out", "--into", into, capsys=capsys)
    monkeypatch.setattr(command, "patterns", dict)
    code, text = run("--diff", "--into", into, capsys=capsys)
    assert code == 0
    assert "no longer here: fan-out" in text


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the files."""
    code, text = run("fan-out", "--into", str(tmp_path / "x"), "--dry-run", capsys=capsys)
    assert code == 0
    assert "would write core/fan_out.py" in text
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fan-ou", "--into", "x"], "no pattern 'fan-ou'; did you mean fan-out"),
        (["zzzzzz", "--into", "x"], r"no pattern 'zzzzzz'; `--list` shows"),
        (["--show", "zzzzzz"], "no pattern 'zzzzzz'"),
        (["--diff", "--into", "x"], "x has no PATTERNS.lock"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2."""
    monkeypatch.chdir(tmp_path)
    code, text = run(*arguments, capsys=capsys)
    assert code == 2
    assert re.search(words, text)
    assert len(text.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["fan-out"], "give --into FOLDER"), (["--into", "x"], "which patterns")],
)
def test_a_call_that_lacks_something_says_what(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every command line does."""
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert words in capsys.readouterr().err


def test_one_pattern_is_shown_with_all_that_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is copied."""
    code, text = run("--show", "fan-out", capsys=capsys)
    assert code == 0
    assert "core/fan_out.py" in text
    assert "notebooks/08_batching.ipynb" in text


def test_what_the_lines_of_use_import_is_installed_too() -> None:
    """Prices need no SDK, but the lines that show them ask Claude."""
    assert [re.split("[<>]", need)[0] for need in pattern("prices").requirements] == [
        "anthropic",
        "genai-prices",
    ]


def test_a_name_that_is_none_keeps_what_is_close() -> None:
    """For a program that asks."""
    with pytest.raises(UnknownPattern) as caught:
        pattern("structred")
    assert "structured" in caught.value.close


def test_a_folder_elsewhere_is_imported_by_its_last_name(tmp_path: Path) -> None:
    """Where it is on the path is the user's business."""
    assert command.dotted(tmp_path / "claude") == "claude"


def test_without_an_installed_package_the_version_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the licence is that of the checkout."""
    import importlib.metadata

    def nothing(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(command, "metadata", nothing)
    monkeypatch.setattr(importlib.metadata, "files", nothing)
    assert command.version() == "unknown"
    assert "MIT" in command.licence()


def test_the_command_imports_nothing_but_the_standard_library() -> None:
    """It runs where nothing is installed yet."""
    script = (
        "import sys, patterns.copy.__main__; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    root = str(NOTEBOOKS.parent)
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    strange = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"patterns", "__main__"}
    assert {name for name in strange if not name.startswith("_")} == set()


def test_data_files_travel_along() -> None:
    """Unchanged, beside the modules."""
    from dataclasses import replace

    rules = "monitoring/ops/rules.yml"
    files = command.rendered([replace(pattern("fan-out"), data=(rules,))])
    assert files[rules] == (NOTEBOOKS.parent / "patterns" / rules).read_text("utf-8")
