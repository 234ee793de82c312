"""patterns.course.turns: a cell that runs again gets what it got the first time."""

from typing import Any

import IPython
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.course.turns import Run, Turns, running_cell


class Notebook:
    """Runs cells: each asks for some keys; what it got is remembered."""

    def __init__(self, cells: list[str]) -> None:
        self.cells, self.count = cells, 0
        self.run: Run | None = None
        self.turns = Turns(lambda: self.run)

    def cell(self, number: int) -> list[int]:
        self.count += 1
        self.run = (number, self.count)
        return [self.turns.take(key.encode()) for key in self.cells[number]]


@given(st.lists(st.text("ab", max_size=4), min_size=1), st.lists(st.integers(0, 30)))
def test_a_cell_gets_again_what_it_got_whatever_ran_in_between(
    cells: list[str], again: list[int]
) -> None:
    """After Run All, in any order and any number of times."""
    notebook = Notebook(cells)
    first = [notebook.cell(number) for number in range(len(cells))]
    for number in again:
        assert notebook.cell(number % len(cells)) == first[number % len(cells)]


@given(st.lists(st.text("ab", max_size=4), min_size=1), st.lists(st.integers(0, 30)))
def test_a_new_cell_goes_on_after_the_furthest_point(cells: list[str], again: list[int]) -> None:
    """Running earlier cells again does not change what later ones get."""
    notebook, got = Notebook(cells), []
    for number in range(len(cells)):
        got.append(notebook.cell(number))
        for earlier in again[:3]:
            notebook.cell(earlier % (number + 1))
    whole = Notebook(cells)
    expected = [whole.cell(number) for number in range(len(cells))]
    assert got == expected


def test_outside_a_notebook_every_request_is_the_next() -> None:
    """As for N samples in a script."""
    turns = Turns()
    assert [turns.take(b"x") for _ in range(3)] == [0, 1, 2]


class Shell:
    """What IPython offers of the running cell, in a terminal and in a kernel."""

    execution_count = 7

    class history_manager:  # noqa: N801  # IPython's name
        input_hist_raw = ("1", "2")


class Kernel(Shell):
    def __init__(self) -> None:
        self.parent: dict[str, Any] = {"metadata": {"cellId": "abc"}}

    def get_parent(self) -> dict[str, Any]:
        return self.parent


def test_the_cell_is_known_by_its_id_or_else_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterLab sends an id, other front ends may not."""
    assert running_cell() is None
    kernel = Kernel()
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    assert running_cell() == ("abc", 7)
    kernel.parent = {}
    assert running_cell() == ("2", 7)
    monkeypatch.setattr(IPython, "get_ipython", Shell)
    assert running_cell() == ("2", 7)
