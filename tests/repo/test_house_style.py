"""What every chapter and every module has in common; a new slug is told here what it lacks."""

import ast
import json
import re
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from chapters import CHAPTERS, NOTEBOOKS, ROOT, Chapter

chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda each: each.stem)
MODULES = sorted((ROOT / "patterns").rglob("*.py"))
module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "patterns"))
)

TOP = {
    ".ci",
    ".devcontainer",
    ".github",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "environment.yml",
    "notebooks",
    "patterns",
    "pyproject.toml",
    "requirements.lock",
    "tests",
}


def tracked() -> list[Path]:
    """Files that git knows, or will on the next `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_the_top_level_holds_what_the_tree_shows() -> None:
    """A stranger finds a file from the tree alone."""
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= TOP


PRIVATE = {
    "a file URL": r"file:///\w",
    "a path of a machine": r"(?<![\w/.:])/(?:home|root|Users|work)/[\w.]",
    "a key": r"sk-ant-[A-Za-z0-9_-]{12,}",
}


def test_no_committed_file_names_a_machine_or_holds_a_key() -> None:
    """Nothing in the repository depends on where it was made."""
    found = []
    for path in tracked():
        if path.stat().st_size > 2_000_000 or path == Path(__file__):
            continue
        text = path.read_text("utf-8", errors="ignore")
        for what, rule in PRIVATE.items():
            if (hit := re.search(rule, text)) and not (what == "a key" and "tests" in path.parts):
                found.append(f"{path.relative_to(ROOT)}: {what}: {hit[0]}")
    assert found == []


@pytest.mark.parametrize("name", ["requirements.lock", "tests/bench/requirements.lock"])
def test_a_lock_file_holds_versions_and_hashes_only(name: str) -> None:
    """No address of an index: every reader has their own."""
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text
    pinned = re.findall(r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==", text, re.MULTILINE)
    assert len(pinned) > 100
    assert text.count("--hash=sha256:") >= len(pinned)


def test_the_environment_installs_the_lock() -> None:
    """Conda brings Python and pip; what is tested is what conda users get."""
    import yaml

    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    pip = next(each["pip"] for each in environment["dependencies"] if isinstance(each, dict))
    names = [each for each in environment["dependencies"] if isinstance(each, str)]
    assert pip == ["-r requirements.lock"]  # hashes: an editable cannot stand beside them
    assert [re.split(r"[<>=]", name)[0] for name in names] == ["python", "pip"]


def test_the_environment_can_be_parsed_by_conda() -> None:
    """Every specification is a valid match."""
    import yaml
    from rattler import MatchSpec

    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    specs = [MatchSpec(each) for each in environment["dependencies"] if isinstance(each, str)]
    assert str(specs[0].version) == ">=3.11,<3.15"


@chapter
def test_a_chapter_is_complete(chapter: Chapter) -> None:
    """Notebook, recording, replies, exercises."""
    missing = [
        str(path.relative_to(ROOT))
        for path in (
            NOTEBOOKS / "recordings" / f"{chapter.stem}.json",
            NOTEBOOKS / "recordings" / "replies" / f"{chapter.stem}.toml",
            NOTEBOOKS / "exercises" / f"{chapter.slug}.py",
        )
        if not path.exists()
    ]
    assert missing == []


@chapter
def test_a_chapter_has_its_parts(chapter: Chapter) -> None:
    """Promise, then and now, practice, exercises, what to copy, where next."""
    number, _, _ = chapter.stem.partition("_")
    assert chapter.cells[0].source.startswith(f"# {number} ")
    parts = [
        "**You will build**",
        "**You will learn**",
        "**You need**",
        "hen and now",
        "## In practice",
        "## Exercises",
        "## Copy this",
        ".ipynb)",
    ]
    assert [part for part in parts if part not in chapter.prose] == []


@chapter
def test_a_chapter_was_executed_in_order(chapter: Chapter) -> None:
    """nbval compares nothing in a cell that never ran."""
    counts = [cell.execution_count for cell in chapter.code]
    assert counts == list(range(1, len(counts) + 1))


@chapter
def test_a_chapter_shows_only_deliberate_errors(chapter: Chapter) -> None:
    """An error output carries the tag `raises-exception`."""
    for cell in chapter.code:
        failed = any(output["output_type"] == "error" for output in cell.outputs)
        assert not failed or "raises-exception" in cell.tags, cell.source


IGNORED = {"nbval-ignore-output", "nbval-skip"}


@chapter
def test_almost_every_cell_is_compared(chapter: Chapter) -> None:
    """At most one cell in ten may be ignored."""
    ignored = [
        cell for cell in chapter.code if cell.tags & IGNORED or "NBVAL_" in cell.source.upper()
    ]
    assert len(ignored) <= 0.10 * len(chapter.code)


@chapter
def test_cells_are_short_and_follow_prose(chapter: Chapter) -> None:
    """Median five lines, none over twenty, four of five after prose, two defs at most."""
    sizes = [len(cell.lines) for cell in chapter.code]
    assert statistics.median(sizes) <= 5
    assert max(sizes) <= 20, max(chapter.code, key=lambda cell: len(cell.lines)).source
    setup = next(cell for cell in chapter.code if "connect" in cell.source)
    assert len(setup.lines) <= 6, setup.source
    kinds = [cell.kind for cell in chapter.cells]
    led = [kinds[at - 1] == "markdown" for at, kind in enumerate(kinds) if kind == "code"]
    assert sum(led) >= 0.8 * len(led)
    lesson = [cell for cell in chapter.code if "exercise" not in cell.tags]
    defs = sum(
        len(re.findall(r"^\s*(?:async )?def ", cell.source, re.MULTILINE)) for cell in lesson
    )
    assert defs <= 2


@chapter
def test_outputs_are_short_and_stable(chapter: Chapter) -> None:
    """At most twelve lines; no path, no address of an object, no widget state."""
    for cell in chapter.code:
        if not cell.tags & IGNORED:
            assert cell.text.count("\n") <= 13, cell.source
            assert not re.search(r"/tmp/|0x[0-9a-f]{8}|ipykernel", cell.text), cell.text
    assert '"widgets"' not in chapter.path.read_text("utf-8").split('"cells"')[-1].split("}")[-3]


@chapter
def test_current_cells_use_current_ways(chapter: Chapter) -> None:
    """Model ids from the table, text by type, await at top level; only `then` cells may differ."""
    wrong = {
        r"[\"']claude-": "take model ids from patterns.core.models",
        r"content\[0\]\.text": "use text_of",
        r"asyncio\.run\(": "await at top level",
        r"^[%!]": "no magic",
        r"api_key\s*=\s*[\"']sk-": "no key in a cell",
    }
    for cell in chapter.code:
        if cell.tags & {"then", "exercise"}:
            continue
        hits = [
            advice for rule, advice in wrong.items() if re.search(rule, cell.source, re.MULTILINE)
        ]
        assert hits == [], cell.source


class _Dollars(HTMLParser):
    """Texts of a page with two dollar signs, outside of code."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.found = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.code += tag in ("pre", "code")

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("pre", "code")

    def handle_data(self, data: str) -> None:
        if not self.code and data.count("$") > 1:
            self.found.append(data)


def as_formulas(markdown: str) -> list[str]:
    """The paragraphs, items and rows in which two dollar signs would make a formula."""
    prose = re.sub(r"```.*?```|``.*?``|`[^`]*`", " ", markdown, flags=re.DOTALL)
    parts = re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#>]|\d+\.) )", prose)
    return [part for part in parts if len(re.findall(r"(?<!\\)\$", part)) > 1]


@pytest.mark.parametrize(
    ("markdown", "formulas"),
    [
        ("It said $2.85 a day and was $0.35.", 1),
        ("It said $2.85 a day.\n\nIt was $0.35.", 0),
        ("- $1\n- $2", 0),
        (r"It said \$2.85 and was \$0.35.", 0),
        ("`$a` and `$b`", 0),
    ],
)
def test_two_dollar_signs_make_a_formula(markdown: str, formulas: int) -> None:
    """In one paragraph, unless they are escaped or code."""
    assert len(as_formulas(markdown)) == formulas


@chapter
def test_money_is_no_formula(chapter: Chapter) -> None:
    """Jupyter and GitHub set what stands between two dollar signs as mathematics."""
    for cell in chapter.cells:
        if cell.kind == "markdown":
            assert as_formulas(cell.source) == []
        for output in cell.outputs:
            page = _Dollars()
            page.feed("".join(output.get("data", {}).get("text/html", "")))
            assert page.found == []


def test_money_is_no_formula_on_a_page() -> None:
    """Nor elsewhere."""
    pages = [path for path in tracked() if path.suffix == ".md"]
    assert [page.name for page in pages if as_formulas(page.read_text("utf-8"))] == []


@module
def test_public_names_have_docstrings(path: Path) -> None:
    """Functions, classes and methods that a reader may call."""
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if not isinstance(node, kinds) or node.name.startswith("_"):
            continue
        assert _overload(node) or ast.get_docstring(node), node.name
        if not isinstance(node, ast.ClassDef) or node.bases:  # what a base documents is known
            continue
        for member in node.body:
            if isinstance(member, kinds) and not member.name.startswith("_"):
                documented = _overload(member) or ast.get_docstring(member)
                assert documented, f"{node.name}.{member.name}"


def _overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any("overload" in ast.unparse(each) for each in node.decorator_list)


TOPS = sorted(
    {path.relative_to(ROOT / "patterns").parts[0].removesuffix(".py") for path in MODULES}
    - {"__init__", "course"}
)
HEAVY = ("matplotlib", "ipywidgets", "IPython", "mcp", "dbos", "redis")
IMPORT_EACH = """\
import importlib, json, os, sys
import anthropic, pydantic  # once for all: most of each import's time otherwise
for top in json.loads(sys.argv[1]):
    if not os.fork():
        importlib.import_module("patterns." + top)
        loaded = [name for name in sys.modules if "." not in name]
        print(json.dumps([top, loaded]), flush=True)
        os._exit(0)  # without taking down what the parent loaded
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What the import of each folder brings in, each in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, json.dumps(TOPS)],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return {top: set(names) for top, names in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("top", TOPS)
def test_a_pattern_stays_light(top: str, loaded: dict[str, set[str]]) -> None:
    """Importing a folder brings in nothing heavy that is not its own subject."""
    allowed = {"mcp_session": {"mcp"}}.get(top, set())
    assert set(HEAVY) & loaded[top] <= allowed
