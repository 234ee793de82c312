"""What the course says about the SDK, compared with the SDK that is installed.

Nothing here asks what day it is: what is past its end on a day is told by the drift report.
"""

import ast
import inspect
import re
import typing
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from anthropic._data.deprecated_models import DEPRECATED_MODELS
from anthropic.types.model import Model
from chapters import CHAPTERS, ROOT
from drift import changed, day, ending, parts, table

from patterns.core import models
from patterns.core.models import MODELS

CURRENT = (models.SONNET, models.OPUS, models.HAIKU, models.FABLE, models.MYTHOS)


def known_to_the_sdk() -> set[str]:
    """The ids in the SDK's own list."""
    literal = next(each for each in typing.get_args(Model) if typing.get_origin(each))
    return set(typing.get_args(literal))


def sources() -> Iterator[tuple[str, ast.AST]]:
    """Every module of `patterns` and every cell that is not about the old ways."""
    for path in sorted((ROOT / "patterns").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))
    for chapter in CHAPTERS:
        for number, cell in enumerate(chapter.code, 1):
            if "then" not in cell.tags:
                code = cell.source.replace("await ", "")  # top-level await is no plain syntax
                yield f"{chapter.stem}[{number}]", ast.parse(code)


SOURCES = list(sources())


def test_the_current_models_are_in_the_sdks_list() -> None:
    """And in our table."""
    assert set(CURRENT) <= known_to_the_sdk()
    assert set(CURRENT) <= set(MODELS)


def test_the_table_knows_every_model_of_the_sdk_that_still_answered() -> None:
    """On the day of the table; a new SDK that brings a model shows up here."""
    gone = {model for model, when in DEPRECATED_MODELS.items() if day(when) < models.AS_OF}
    assert known_to_the_sdk() - gone - set(MODELS) == set()


def test_the_table_has_the_sdks_end_of_life_dates() -> None:
    """One source of truth, copied once and compared always."""
    theirs = {model: day(when) for model, when in DEPRECATED_MODELS.items()}
    ours = {model: facts.end_of_life for model, facts in MODELS.items() if facts.end_of_life}
    assert ours == {model: when for model, when in theirs.items() if model in MODELS}


def test_no_model_that_is_named_had_reached_its_end() -> None:
    """On the day of the table; retired ids live in `then` cells and in tests only."""
    for where, tree in SOURCES:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in DEPRECATED_MODELS:
                last = day(DEPRECATED_MODELS[node.value])
                table = where == "patterns/core/models.py"  # which records that very date
                assert table or last >= models.AS_OF, f"{where}: {node.value} ended on {last}"


def test_current_models_had_time_left() -> None:
    """A default that retires within 45 days of the table must be replaced with it."""
    ends = {model: MODELS[model].end_of_life for model in CURRENT}
    assert ending({model: end for model, end in ends.items() if end}, models.AS_OF) == []


def test_the_report_tells_what_is_past_and_what_is_close() -> None:
    """By a date that is an argument."""
    ends = {"late": date(2027, 1, 1), "gone": date(2026, 1, 1), "far": date(2028, 1, 1)}
    assert ending(ends, date(2026, 12, 1)) == [
        "gone: ended on 2026-01-01",
        "late: ends on 2027-01-01",
    ]
    assert ending(ends, date(2025, 1, 1)) == []


def test_the_report_tells_new_versions() -> None:
    """Of packages that changed or came along."""
    assert changed({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "1"}) == [
        "b: 2 → 3",
        "c: absent → 1",
    ]


def test_the_report_counts_by_folder_and_by_notebook(tmp_path: Path) -> None:
    """With the names of what failed; what was skipped counts as neither."""
    cases = """<testsuites><testsuite>
      <testcase classname="tests.policy.test_a" name="test_one"/>
      <testcase classname="tests.policy.test_a" name="test_two"><failure/></testcase>
      <testcase classname="tests.core.test_b" name="test_three"><skipped/></testcase>
      <testcase classname="notebooks.02_mcp" name="Cell 1"><error/></testcase>
    </testsuite></testsuites>"""
    (tmp_path / "report.xml").write_text(cases, "utf-8")
    found = parts(tmp_path / "report.xml")
    assert {name: (part.passed, part.failed) for name, part in found.items()} == {
        "policy": (1, ["test_two"]),
        "core": (0, []),
        "02_mcp": (0, ["Cell 1"]),
    }
    assert [line.split()[0] for line in table(found)] == [
        "02_mcp",
        "Cell",
        "core",
        "policy",
        "test_two",
    ]


METHODS: dict[str, Any] = {}
CLIENT = Anthropic(api_key="none")
for _path in (
    "messages.create",
    "messages.stream",
    "messages.parse",
    "messages.count_tokens",
    "messages.batches.create",
    "messages.batches.retrieve",
    "messages.batches.list",
    "messages.batches.cancel",
    "messages.batches.delete",
    "messages.batches.results",
    "beta.messages.create",
    "beta.messages.tool_runner",
    "models.retrieve",
    "models.list",
    "with_options",
):
    _found: Any = CLIENT
    for _name in _path.split("."):
        _found = getattr(_found, _name)
    METHODS[_path] = inspect.signature(_found)


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Calls of SDK methods, by the longest name that is known."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            known = [each for each in METHODS if name.endswith(f".{each}") or name == each]
            if known:
                yield max(known, key=len), node


@pytest.mark.parametrize(("where", "tree"), SOURCES, ids=[where for where, _ in SOURCES])
def test_every_keyword_is_one_that_the_sdk_has(where: str, tree: ast.AST) -> None:
    """Of every call of an SDK method, in modules and in cells."""
    for name, call in calls(tree):
        parameters = METHODS[name].parameters
        unknown = {each.arg for each in call.keywords if each.arg} - set(parameters)
        assert not unknown, f"{where}: {name}() has no {unknown}"


def test_the_check_of_keywords_can_fail() -> None:
    """It finds what the seeds of this course are full of."""
    tree = ast.parse("client.messages.create(model=m, temperature=0.7)")
    with pytest.raises(AssertionError, match=r"has no \{'temperature'\}"):
        test_every_keyword_is_one_that_the_sdk_has("here", tree)


def test_the_retired_models_are_in_no_file_of_patterns() -> None:
    """Not even in a docstring."""
    for path in sorted(Path(ROOT / "patterns").rglob("*.py")):
        assert not re.search(r"claude-3|claude-sonnet-4-2025", path.read_text("utf-8")), path
