"""What is to be done and who can do it: agents, tasks, and a plan that cannot be wrong.

A `Plan` is checked when it is built (ids, dependencies, cycles, size), so that everything after
it may trust it. `ranks`, `critical_path` and `lower_bound` say what the best possible schedule
is before anything runs. Not for plans that change while they run: build a second plan from the
first one's results. Chapter 3 teaches it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from math import inf

from patterns.core.errors import Portable
from patterns.core.model_ids import SONNET

MAX_TASKS = 10_000


class InvalidPlan(Portable, ValueError):
    """A plan that no schedule can run; `problems` lists every fault, `cycle` names a circle."""

    def __init__(self, problems: Sequence[str], cycle: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        self.cycle = tuple(cycle)
        super().__init__("; ".join(self.problems))


class NoCapableAgent(Portable, LookupError):
    """A task needs a capability that no agent has; `offers` says what each agent has."""

    def __init__(self, task: "Task", agents: Sequence["Agent"]) -> None:
        self.task = task
        self.offers = {agent.name: agent.capabilities for agent in agents}
        has = ", ".join(f"{name} {_set(caps)}" for name, caps in self.offers.items())
        super().__init__(
            f"task {task.id!r} needs {_set(task.needs)}; agents offer: {has or 'there are none'}"
        )


@dataclass(frozen=True)
class Agent:
    """A model with a speciality, and the rate-limit pool that its calls draw on.

    `pool` names the budget that the API counts against: one per organisation and model class.
    Two agents with one pool share its limit, so balancing between them cures no 429. It is the
    model's id unless you say otherwise.
    """

    name: str
    description: str = ""
    capabilities: frozenset[str] = frozenset()
    model: str = SONNET
    system: str = ""
    priority: int = 0  # the higher is chosen first, when all else is equal
    max_concurrency: int = 8
    pool: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "capabilities", frozenset(_names(self.capabilities)))
        object.__setattr__(self, "pool", self.pool or self.model)
        if not self.max_concurrency >= 1:
            raise ValueError(
                f"agent {self.name!r}: max_concurrency is {self.max_concurrency}, give at least 1"
            )


@dataclass(frozen=True)
class Task:
    """One step of a plan: what to ask, what it needs, and what it waits for.

    `weight` is how long it is expected to take, in any unit: only ratios matter, for the order
    among tasks that are ready. `timeout_s` bounds one attempt, `max_attempts` counts them all.
    A task that is not `required` may fail without making the result partial.
    """

    id: str
    prompt: str
    needs: frozenset[str] = frozenset()
    depends_on: tuple[str, ...] = ()
    priority: int = 0  # the higher starts first, among tasks that are ready
    required: bool = True
    max_attempts: int = 3
    timeout_s: float = 300.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", frozenset(_names(self.needs)))
        object.__setattr__(self, "depends_on", _names(self.depends_on))


@dataclass(frozen=True)
class Plan:
    """Tasks and their dependencies, checked: raises `InvalidPlan` with every fault found."""

    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", tuple(self.tasks))
        problems = [*_faults(self.tasks)]
        if problems:
            raise InvalidPlan(problems)
        try:
            TopologicalSorter(graph(self)).prepare()
        except CycleError as error:
            cycle = error.args[1]
            problem = f"tasks wait for each other in a circle: {' → '.join(cycle)}"
            raise InvalidPlan([problem], cycle) from None

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def __getitem__(self, task_id: str) -> Task:
        return self.by_id[task_id]

    @cached_property
    def by_id(self) -> dict[str, Task]:
        """The tasks by id, in the plan's order."""
        return {task.id: task for task in self.tasks}


def match(task: Task, agents: Iterable[Agent]) -> tuple[Agent, ...]:
    """The agents whose capabilities cover what `task` needs; raises `NoCapableAgent`."""
    agents = tuple(agents)
    capable = tuple(agent for agent in agents if task.needs <= agent.capabilities)
    if not capable:
        raise NoCapableAgent(task, agents)
    return capable


def graph(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Each task's dependencies: what `graphlib.TopologicalSorter` takes."""
    return {task.id: task.depends_on for task in plan.tasks}


def ranks(plan: Plan, seconds: Mapping[str, float] | None = None) -> dict[str, float]:
    """For each task, the length of the longest chain that starts with it.

    `seconds` are durations by task id; without them each task's `weight` stands in.
    """
    own = _durations(plan, seconds)
    longest = dict.fromkeys(own, 0.0)
    dependencies = graph(plan)
    for task_id in reversed([*TopologicalSorter(dependencies).static_order()]):
        longest[task_id] += own[task_id]
        for dependency in dependencies[task_id]:
            longest[dependency] = max(longest[dependency], longest[task_id])
    return longest


def critical_path(plan: Plan, seconds: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """The chain of tasks that takes longest: no number of agents finishes sooner than it."""
    rank = ranks(plan, seconds)
    dependants: dict[str, list[str]] = {task.id: [] for task in plan.tasks}
    for task in plan.tasks:
        for dependency in task.depends_on:
            dependants[dependency].append(task.id)
    path = [max(rank, key=rank.__getitem__)]
    while following := dependants[path[-1]]:
        path.append(max(following, key=rank.__getitem__))
    return tuple(path)


def lower_bound(plan: Plan, concurrency: int, seconds: Mapping[str, float] | None = None) -> float:
    """The makespan that no schedule can beat: the critical path, or the work over the width."""
    longest = max(ranks(plan, seconds).values())
    return max(longest, sum(_durations(plan, seconds).values()) / concurrency)


def _durations(plan: Plan, seconds: Mapping[str, float] | None) -> dict[str, float]:
    return {task.id: task.weight if seconds is None else seconds[task.id] for task in plan.tasks}


def _faults(tasks: Sequence[Task]) -> Iterator[str]:
    if not 1 <= len(tasks) <= MAX_TASKS:
        yield f"the plan has {len(tasks)} tasks, allowed are 1 to {MAX_TASKS}"
    known: set[str] = set()
    for task in tasks:
        if not task.id:
            yield "a task has an empty id, give each one a name"
        if task.id in known:
            yield f"the id {task.id!r} is given twice, ids must differ"
        if task.max_attempts < 1:
            yield f"task {task.id!r} allows {task.max_attempts} attempts, give at least 1"
        if not 0 < task.timeout_s < inf:
            yield f"task {task.id!r} has a timeout of {task.timeout_s} s, give more than 0"
        if not 0 <= task.weight < inf:
            yield f"task {task.id!r} has the weight {task.weight}, give a number from 0"
        known.add(task.id)
    for task in tasks:
        for dependency in dict.fromkeys(task.depends_on):
            if dependency == task.id:
                yield f"task {task.id!r} waits for itself, drop that dependency"
            elif dependency not in known:
                yield f"task {task.id!r} waits for {dependency!r}, which is not in the plan"


def _names(given: Iterable[str]) -> tuple[str, ...]:
    """Several names; one that is given alone is one, not its letters."""
    return (given,) if isinstance(given, str) else tuple(given)


def _set(names: Iterable[str]) -> str:
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"
