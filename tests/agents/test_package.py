"""patterns.agents: its public names, and what is refused before anything runs."""

import asyncio

import pytest

import patterns.agents as package
from patterns.agents.balancer import read_gauges
from patterns.agents.plan import Agent, InvalidPlan, Plan, Task
from patterns.agents.report import Context
from patterns.agents.scheduler import run_plan


def test_every_public_name_can_be_imported() -> None:
    """Lazily, so that DBOS is loaded only by those who use it."""
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        getattr(package, "nothing")  # noqa: B009  # the lazy way in


@pytest.mark.parametrize(
    ("numbers", "words"),
    [({"timeout_s": float("inf")}, "timeout of inf s"), ({"weight": float("nan")}, "weight nan")],
)
def test_a_number_that_no_schedule_can_use_is_named(numbers: dict[str, float], words: str) -> None:
    """Before the first call."""
    with pytest.raises(InvalidPlan, match=words):
        Plan((Task("t", "", **numbers),))  # type: ignore[arg-type]


def test_a_limit_that_is_no_number_is_left_out() -> None:
    """A proxy may write anything."""
    name = "anthropic-ratelimit-requests"
    assert read_gauges({f"{name}-limit": "inf", f"{name}-remaining": "1"}, 0.0) == {}


class Halt(BaseException):
    """An order to stop, as KeyboardInterrupt is."""


def test_an_order_to_stop_ends_the_run_and_reaches_the_caller() -> None:
    """It is no failure of a task."""

    async def call(agent: Agent, task: Task, context: Context) -> str:
        raise Halt

    with pytest.raises(Halt):
        asyncio.run(run_plan(Plan((Task("t", ""),)), [Agent("a")], call, max_concurrency=1))
