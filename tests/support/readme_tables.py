"""The README's tables, generated from the chapters and modules; `make fix` writes them.

A test compares them with what stands in the README.
"""

import re
import sys

from chapters import CHAPTERS, ROOT, Chapter
from evidence import facts

from patterns.copy.index import patterns

README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- (?P<name>\w+): generated -->\n).*?(\n<!-- end -->)", re.DOTALL)


def chapter_table() -> str:
    """One row a chapter: where it is, what it is about, how long it takes."""
    rows = [
        f"| [{each.stem[:2]}]({each.path.relative_to(ROOT)}) | {title(each)} | {problem(each)} |"
        for each in CHAPTERS
    ]
    return "\n".join(["| | Chapter | The problem |", "|---|---|---|", *rows])


def title(chapter: Chapter) -> str:
    """The heading without its number."""
    heading = chapter.cells[0].source.splitlines()[0]
    return re.sub(r"^# \d\d[:.]?\s*", "", heading)


def problem(chapter: Chapter) -> str:
    """The first sentence or two below the heading, on one line."""
    return " ".join(" ".join(chapter.cells[0].source.splitlines()[1:]).split())


def copy_table() -> str:
    """One row a pattern: the problem, the command, and where it is taught."""
    rows = [
        f"| {each.problem} | `{name}` | [{each.chapter[:2]}](notebooks/{each.chapter}.ipynb) |"
        for name, each in patterns().items()
    ]
    head = ["| The problem | NAME | Chapter |", "|---|---|---|"]
    return "\n".join([*head, *rows])


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
    """The README with its tables as they ought to be."""
    tables = {"chapters": chapter_table, "patterns": copy_table, "evidence": evidence_line}
    return BLOCK.sub(lambda found: found[1] + tables[found["name"]]() + found[3], text)


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(rendered(README.read_text("utf-8")), "utf-8")
