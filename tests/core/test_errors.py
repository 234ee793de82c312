"""Every exception of the package comes through a pickle and a copy as it was."""

import copy
import importlib
import pickle
import pkgutil
from collections.abc import Iterator

import pytest

import patterns
from patterns.agents.plan import Plan, Task
from patterns.agents.records import CallNotRegistered, RunStalled
from patterns.agents.report import RunReport, TaskResult
from patterns.agents.scheduler import Interrupted
from patterns.batching.reading import ResultsIncomplete
from patterns.core.models import UnknownModel
from patterns.policy.budgets import AboveCapacity

REPORT = RunReport("r", Plan((Task("a", ""),)), {"a": TaskResult("a", "ok", "done")})
MADE = [
    CallNotRegistered("r", "ask"),
    Interrupted(REPORT),
    RunStalled(REPORT, ("w1",), 900.0),  # OSError and its kin build themselves another way
    ResultsIncomplete("msgbatch_1", 2, ["a", "b"], [(1, "<html>")]),
    UnknownModel("claude-0"),
    AboveCapacity("tokens", 9.0, 5.0),
]


def exceptions_of(module: str) -> Iterator[type[BaseException]]:
    """What a module defines."""
    for found in vars(importlib.import_module(module)).values():
        if isinstance(found, type) and issubclass(found, BaseException):
            yield from [found] if found.__module__ == module else []


MODULES = [module.name for module in pkgutil.walk_packages(patterns.__path__, "patterns.")]
KINDS = [kind for name in MODULES if "__main__" not in name for kind in exceptions_of(name)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_exception_survives_a_pickle(kind: type[BaseException]) -> None:
    """Built again without its constructor, which may ask for more than the message."""
    error = kind.__new__(kind)
    error.args, error.__dict__["fact"] = ("what happened",), 7
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), again.args, vars(again)) == (kind, error.args, vars(error))


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_says_the_same_after_a_pickle(error: BaseException) -> None:
    """The message once, and every attribute."""
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
