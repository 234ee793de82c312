"""Plans: what is rejected, and what the best possible schedule of a good one is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.agents.plan import (
    MAX_TASKS,
    Agent,
    InvalidPlan,
    NoCapableAgent,
    Plan,
    Task,
    critical_path,
    lower_bound,
    match,
    ranks,
)
from patterns.course.views.agents import as_waves, levels

DIAMOND = Plan(
    (
        Task("search", "", weight=2),
        Task("filings", "", weight=5),
        Task("market", "", depends_on=("search",), weight=4),
        Task("brief", "", depends_on=("market", "filings"), weight=1),
    )
)


def a_task(name: str, *depends_on: str, attempts: int = 3) -> Task:
    return Task(name, "", depends_on=depends_on, max_attempts=attempts)


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ((), "the plan has 0 tasks, allowed are 1 to 10000"),
        ((a_task(""),), "a task has an empty id, give each one a name"),
        ((a_task("a"), a_task("a")), "the id 'a' is given twice, ids must differ"),
        ((a_task("a", "a"),), "task 'a' waits for itself, drop that dependency"),
        ((a_task("a", "b"),), "task 'a' waits for 'b', which is not in the plan"),
        ((a_task("a", attempts=0),), "task 'a' allows 0 attempts, give at least 1"),
    ],
)
def test_a_bad_plan_is_rejected_with_the_fault(tasks: tuple[Task, ...], problem: str) -> None:
    """The message names the value, what is allowed and what to do."""
    with pytest.raises(InvalidPlan) as raised:
        Plan(tasks)
    assert raised.value.problems == (problem,)


def test_a_short_task_and_one_that_takes_nothing_are_tasks() -> None:
    """The limits themselves are allowed."""
    assert lower_bound(Plan((Task("a", "", timeout_s=0.5, weight=0),)), 1) == 0


def test_every_fault_is_listed_at_once() -> None:
    """Whoever repairs a plan, a person or a model, sees all of it in one go."""
    with pytest.raises(InvalidPlan) as raised:
        Plan((a_task("a", "a"), a_task("a", "missing", "missing")))
    assert len(raised.value.problems) == 3
    assert str(raised.value) == "; ".join(raised.value.problems)


def test_a_cycle_is_named() -> None:
    """Each name in the cycle is a dependency of the next."""
    with pytest.raises(InvalidPlan, match="wait for each other in a circle") as raised:
        Plan((a_task("a", "c"), a_task("b", "a"), a_task("c", "b"), a_task("d")))
    cycle = raised.value.cycle
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"a", "b", "c"}
    assert f"{cycle[0]} → {cycle[1]}" in str(raised.value)


def test_a_plan_may_not_grow_without_end() -> None:
    """The size is checked before anything else is done with it."""
    with pytest.raises(InvalidPlan, match="allowed are 1 to 10000"):
        Plan(tuple(a_task(str(number)) for number in range(MAX_TASKS + 1)))


def test_any_iterable_of_tasks_makes_the_same_plan() -> None:
    """Also one that can be read only once."""
    assert Plan(iter(DIAMOND)) == Plan([*DIAMOND]) == DIAMOND  # type: ignore[arg-type]


def test_tasks_are_found_by_id() -> None:
    """A plan reads like a sequence and like a mapping."""
    assert DIAMOND["market"].depends_on == ("search",)
    assert [task.id for task in DIAMOND] == [*DIAMOND.by_id]
    assert len(DIAMOND) == 4


def test_a_task_goes_to_agents_that_have_all_it_needs() -> None:
    """Capabilities are a superset test: more never hurts."""
    both = Agent("both", capabilities=frozenset({"german", "law"}))
    one = Agent("one", capabilities=frozenset({"german"}))
    assert match(Task("t", "", needs=frozenset({"german"})), [both, one]) == (both, one)
    assert match(Task("t", "", needs=frozenset({"german", "law"})), [both, one]) == (both,)


def test_no_capable_agent_says_who_there_is() -> None:
    """The error carries the task and what each agent offers."""
    english = Agent("one", capabilities=frozenset({"english"}))
    with pytest.raises(NoCapableAgent) as raised:
        match(Task("translate", "", needs=frozenset({"german"})), [english])
    assert raised.value.offers == {"one": {"english"}}
    assert str(raised.value) == ("task 'translate' needs {'german'}; agents offer: one {'english'}")


def test_zero_agents_are_no_capable_agent() -> None:
    """The message says that there are none."""
    with pytest.raises(NoCapableAgent, match="agents offer: there are none"):
        match(a_task("t"), [])


def test_an_agent_without_room_for_a_call_is_rejected() -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="agent 'a': max_concurrency is 0, give at least 1"):
        Agent("a", max_concurrency=0)


def test_an_agents_pool_is_its_model_unless_told_otherwise() -> None:
    """Two agents on one model share its limit."""
    assert Agent("a").pool == Agent("b").pool == Agent("a").model
    assert Agent("a", model="other").pool == "other"
    assert Agent("a", pool="team-b").pool == "team-b"


def test_the_critical_path_is_the_longest_chain() -> None:
    """search (2) → market (4) → brief (1) is longer than filings (5) → brief (1)."""
    assert critical_path(DIAMOND) == ("search", "market", "brief")
    assert ranks(DIAMOND) == {"search": 7, "filings": 6, "market": 5, "brief": 1}


def test_measured_durations_replace_the_weights() -> None:
    """After a run, the same functions tell what the bound really was."""
    seconds = {"search": 1.0, "filings": 9.0, "market": 1.0, "brief": 1.0}
    assert critical_path(DIAMOND, seconds) == ("filings", "brief")


@pytest.mark.parametrize(("concurrency", "bound"), [(1, 12), (2, 7), (9, 7)])
def test_the_bound_is_the_chain_or_the_work_over_the_width(concurrency: int, bound: float) -> None:
    """One at a time takes the whole work; wide enough, the chain decides."""
    assert lower_bound(DIAMOND, concurrency) == bound


def test_waves_wait_for_the_whole_level_before() -> None:
    """The tasks are the same, with more dependencies."""
    assert levels(DIAMOND) == [["search", "filings"], ["market"], ["brief"]]
    waves = as_waves(DIAMOND)
    assert waves["market"].depends_on == ("search", "filings")
    assert lower_bound(waves, 9) == 10


@given(st.data())
def test_the_bound_is_never_below_any_chain(data: st.DataObject) -> None:
    """Every chain that is walked along dependencies is at most the critical path."""
    size = data.draw(st.integers(1, 12))
    tasks = []
    for number in range(size):
        waits = data.draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        weight = data.draw(st.floats(0.1, 9))
        tasks.append(Task(str(number), "", depends_on=tuple(map(str, waits)), weight=weight))
    plan = Plan(tuple(tasks))
    path = critical_path(plan)
    assert sum(plan[name].weight for name in path) == pytest.approx(max(ranks(plan).values()))
    assert all(early in plan[late].depends_on for early, late in pairwise(path))
    assert lower_bound(plan, size) >= max(ranks(plan).values())


def test_one_name_that_is_given_alone_is_one_name() -> None:
    """Of an agent's capabilities, of what a task needs, and of what it waits for."""
    agent = Agent("scout", capabilities="web")  # type: ignore[arg-type]
    task = Task("b", "", needs="web", depends_on="before")  # type: ignore[arg-type]
    assert agent.capabilities == task.needs == frozenset(["web"])
    assert task.depends_on == ("before",)
    assert Agent("scout", capabilities=["web", "law"]).capabilities == frozenset(("law", "web"))  # type: ignore[arg-type]
