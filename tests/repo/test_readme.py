"""The README is short, true, and its tables are generated; links lead somewhere, everywhere."""

import re
from pathlib import Path

from chapters import CHAPTERS, ROOT
from readme_tables import README, WORKSHOP, rendered

TEXT = README.read_text("utf-8")


def test_the_tables_are_up_to_date() -> None:
    """`make fix` writes them from the chapters and modules."""
    for page in (README, WORKSHOP):
        text = page.read_text("utf-8")
        assert rendered(text) == text, "run `make fix`"


def test_the_readme_is_short() -> None:
    """Under 160 lines: promise, two commands, chapters, replay or live, what to copy."""
    assert len(TEXT.splitlines()) < 160


def test_every_link_leads_somewhere() -> None:
    """Links into the repository, from the README and the chapters."""
    texts = {ROOT: [TEXT], ROOT / "notebooks": [chapter.prose for chapter in CHAPTERS]}
    links = [
        folder / link
        for folder, pages in texts.items()
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page)
        if not link.startswith("https://")
    ]
    assert [link for link in links if not Path(link).exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    """The two commands first of all."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)|^make ([a-z]+)", TEXT, re.MULTILINE))
    assert {one or other for one, other in named} <= targets


def test_the_doors_without_make_say_the_same_for_every_system() -> None:
    """CI runs the lines for macOS and Linux as they stand, and the workflow those for Windows."""
    doors = dict(re.findall(r"```(sh without-make|powershell)\n(.*?)```", TEXT, re.DOTALL))
    windows = doors["powershell"].replace("\\", "/").replace("Scripts", "bin")
    assert re.sub(r"^py ", "python3 ", windows) == doors["sh without-make"]
    run = (ROOT / ".ci" / "run").read_text("utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert 'block "sh without-make"' in run
    assert "powershell" in workflow
