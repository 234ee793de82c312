"""Tables of the README and WORKSHOP.md, generated from the chapters and modules by `make fix`.

A test compares them with what stands there.
"""

import importlib
import re
import sys
from typing import Any

from chapters import CHAPTERS, ROOT, Chapter
from evidence import facts

from patterns.copy.index import patterns

README = ROOT / "README.md"
WORKSHOP = ROOT / ".github" / "WORKSHOP.md"
BLOCK = re.compile(r"(<!-- (?P<name>\w+): generated -->\n).*?(\n<!-- end -->)", re.DOTALL)


def chapter_table() -> str:
    """One row a chapter: where it is, what it is about, how long it takes."""
    rows = [
        f"| [{each.stem[:2]}]({each.path.relative_to(ROOT)}) | {title(each)} | {problem(each)} "
        f"| {'&nbsp;+&nbsp;'.join(map(str, minutes(each)))} |"
        for each in CHAPTERS
    ]
    return "\n".join(["| | Chapter | The problem | Minutes |", "|---|---|---|---|", *rows])


def title(chapter: Chapter) -> str:
    """The heading without its number."""
    heading = chapter.cells[0].source.splitlines()[0]
    return re.sub(r"^# \d\d[:.]?\s*", "", heading)


def problem(chapter: Chapter) -> str:
    """The first sentence or two below the heading, on one line."""
    return " ".join(" ".join(chapter.cells[0].source.splitlines()[1:]).split())


def minutes(chapter: Chapter) -> tuple[int, int]:
    """What a chapter says it takes: the lesson, and its exercises."""
    found = re.search(
        r"\*\*You need\*\* (\d+) minutes.*?, (\d+) for the\s+exercises", chapter.prose, re.DOTALL
    )
    if found is None:
        raise LookupError(f"{chapter.stem} does not say how long it takes")
    return int(found[1]), int(found[2])


def minutes_table() -> str:
    """One row a chapter: minutes, and the exercises, those that make the desk in bold."""
    rows = ["| Chapter | Lesson | Exercises | |", "|---|---|---|---|"]
    total = [0, 0]
    for each in CHAPTERS:
        lesson, exercises = minutes(each)
        total = [total[0] + lesson, total[1] + exercises]
        module: Any = importlib.import_module(f"exercises.{each.slug}")
        names = (f"**`{one.name}`**" if one.part else f"`{one.name}`" for one in module.EXERCISES)
        rows.append(
            f"| {each.stem[:2]} {title(each)} | {lesson} | {exercises} | {', '.join(names)} |"
        )
    rows.append(f"| Together | {total[0]} | {total[1]} | in bold: a part of the desk |")
    return "\n".join(rows)


def copy_table() -> str:
    """One row a pattern: the problem, the command, and where it is taught."""
    rows = [
        f"| {each.problem} | `{name}` | [{each.chapter[:2]}](notebooks/{each.chapter}.ipynb) |"
        for name, each in patterns().items()
    ]
    head = ["| The problem | NAME | Chapter |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def elsewhere() -> str:
    """Patterns that other guides have under names of their own."""
    return " · ".join(
        f"**{name}** {', '.join(each.also)}" for name, each in patterns().items() if each.also
    )


def evidence_line() -> str:
    """How many sourced facts the fake agrees with; a test runs each of them."""
    given = facts()
    agreed = sum("disputed" not in fact for fact in given)
    sources = len({fact["source"] for fact in given})
    refused = sum(fact["status"] >= 400 for fact in given)
    return (
        f"It agrees with {agreed} of {len(given)} [facts about the real API](tests/evidence): "
        f"{refused} refusals and {len(given) - refused} acceptances\n"
        f"from {sources} dated public sources. None of them was tried with a key."
    )


def rendered(text: str) -> str:
    """A page with its tables as they ought to be."""
    tables = {
        "chapters": chapter_table,
        "patterns": copy_table,
        "evidence": evidence_line,
        "minutes": minutes_table,
        "elsewhere": elsewhere,
    }
    return BLOCK.sub(lambda found: found[1] + tables[found["name"]]() + found[3], text)


if __name__ == "__main__":
    if "--write" in sys.argv:
        for page in (README, WORKSHOP):
            page.write_text(rendered(page.read_text("utf-8")), "utf-8")
