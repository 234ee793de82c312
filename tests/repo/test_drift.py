"""What the course says about the SDK, compared with the SDK that is installed.

Fails when a model is past its end of life or a keyword is gone; warns 45 days ahead.
"""

import ast
import inspect
import re
import typing
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from anthropic._data.deprecated_models import DEPRECATED_MODELS
from anthropic.types.model import Model
from chapters import CHAPTERS, ROOT

from patterns.core import models
from patterns.core.models import MODELS

CURRENT = (models.SONNET, models.OPUS, models.HAIKU, models.FABLE, models.MYTHOS)
NOTICE = timedelta(days=45)
TODAY = date.today()  # noqa: DTZ011  # an end of life is a calendar day, wherever you are


class EndOfLifeAhead(UserWarning):
    """A model that the course names is about to be retired."""


def known_to_the_sdk() -> set[str]:
    """The ids in the SDK's own list."""
    literal = next(each for each in typing.get_args(Model) if typing.get_origin(each))
    return set(typing.get_args(literal))


def end_of_life(text: str) -> date:
    """A date as the SDK writes it: `November 30th, 2026`."""
    plain = re.sub(r"(?<=\d)(st|nd|rd|th)", "", text)
    return datetime.strptime(plain, "%B %d, %Y").date()  # noqa: DTZ007  # it has no time


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


def test_the_table_knows_every_model_of_the_sdk_that_still_answers() -> None:
    """A new SDK that brings a model shows up here."""
    gone = {model for model, when in DEPRECATED_MODELS.items() if end_of_life(when) < TODAY}
    assert known_to_the_sdk() - gone - set(MODELS) == set()


def test_the_table_has_the_sdks_end_of_life_dates() -> None:
    """One source of truth, copied once and compared always."""
    theirs = {model: end_of_life(when) for model, when in DEPRECATED_MODELS.items()}
    ours = {model: facts.end_of_life for model, facts in MODELS.items() if facts.end_of_life}
    assert ours == {model: when for model, when in theirs.items() if model in MODELS}


@pytest.mark.filterwarnings("always::UserWarning")
def test_no_model_that_is_named_has_reached_its_end() -> None:
    """In modules and in cells; retired ids live in `then` cells and in tests only."""
    for where, tree in SOURCES:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or node.value not in DEPRECATED_MODELS:
                continue
            last = end_of_life(DEPRECATED_MODELS[node.value])
            table = where == "patterns/core/models.py"  # which records that very date
            assert table or last >= TODAY, f"{where}: {node.value} was retired after {last}"
            if last - TODAY <= NOTICE:
                text = f"{where}: {node.value} reaches its end of life on {last}"
                warnings.warn(text, EndOfLifeAhead, stacklevel=1)


def test_current_models_have_time_left() -> None:
    """A default that retires within 45 days must be replaced now."""
    for model in CURRENT:
        when = DEPRECATED_MODELS.get(model)
        assert when is None or end_of_life(when) - TODAY > NOTICE, model


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
