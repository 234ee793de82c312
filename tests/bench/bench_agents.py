"""Scheduling beside waves, LangGraph and DBOS; balancing beside round robin; memory and overhead.

Makespans are wall time divided by the lower bound of the same plan, candidates in turn for each
seed. `exact` repeats them on a virtual clock, where only the schedule counts and no machine (and
not how long a task is, so the short tasks, which are the same plans ten times as fast, are left
out there). `fleet` has 200 waiting tasks (120 in the quick mode) queued in one database for 1, 2
and 4 processes; its bound counts whole tasks, since half a task is no shorter (for 200 tasks, four
workers of eight slots need seven turns).

    python tests/bench/bench_agents.py quick     # the same ratios with fewer seeds, in 3 minutes
"""

import asyncio
import gc
import json
import math
import operator
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any, TypedDict

from harness import interleaved, write_results
from langgraph.graph import END, START, StateGraph

from patterns.agents.balancer import Balancer
from patterns.agents.durable import DBOSEngine
from patterns.agents.plan import Agent, Plan, Task, lower_bound
from patterns.agents.report import Context
from patterns.agents.scheduler import run_plan
from patterns.course.views.agents import RoundRobin, as_waves
from patterns.fake_api.clock import VirtualClock

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from agents_pools import World, measure  # lies with the tests that use it too

TASKS, WIDTH, CAP = 200, 8, 8
QUICK = sys.argv[1:] in (["quick"], ["--quick"])
SEEDS, EXACT_SEEDS, WORLDS, ROUNDS = (1, 3, 2, 3) if QUICK else (10, 30, 10, 9)
FLEET_TASKS, FLEET_SECONDS, AT_ONCE = 120 if QUICK else 200, 1.0, 8
AGENTS = (Agent("a"),)
KINDS = {
    "50-500 ms, uniform": (0.050, 0.500, False),
    "50-500 ms, heavy tail": (0.050, 0.500, True),
    "5-50 ms, uniform": (0.005, 0.050, False),
    "5-50 ms, heavy tail": (0.005, 0.050, True),
}
LONG = {kind: shape for kind, shape in KINDS.items() if kind.startswith("50")}


def random_plan(seed: int, shortest: float, longest: float, heavy: bool) -> Plan:
    """Tasks in rows of eight, each waiting for one to three of the row before."""
    rng = random.Random(seed)
    tasks = []
    for number in range(TASKS):
        row = number // WIDTH * WIDTH
        before = range(row - WIDTH, row) if row else ()
        waits = rng.sample(before, k=rng.randint(1, 3)) if before else []
        seconds = rng.uniform(shortest, longest)
        if heavy:  # half are below a fifth of the longest, one in twenty is near it
            seconds = min(longest, max(shortest, longest * rng.lognormvariate(-1.7, 0.9)))
        tasks.append(
            Task(f"t{number}", "", depends_on=tuple(f"t{n}" for n in waits), weight=seconds)
        )
    return Plan(tuple(tasks))


async def wait(agent: Agent, task: Task, context: Context) -> str:
    """A call that takes as long as its task says."""
    await asyncio.sleep(task.weight)
    return task.id


async def eager(plan: Plan) -> None:
    """Ours."""
    assert (await run_plan(plan, AGENTS, wait, max_concurrency=CAP)).ok


async def waves(plan: Plan) -> None:
    """Everything that is ready, then everything that became ready: the seed's way."""
    assert (await run_plan(as_waves(plan), AGENTS, wait, max_concurrency=CAP)).ok


async def langgraph(plan: Plan) -> None:
    """The same graph in LangGraph."""

    class State(TypedDict):
        done: Annotated[list[str], operator.add]

    def node(task: Task) -> Callable[[State], Awaitable[State]]:
        async def run(state: State) -> State:
            await asyncio.sleep(task.weight)
            return {"done": [task.id]}

        return run

    graph = StateGraph(State)
    leaves = {task.id for task in plan}
    for task in plan:
        graph.add_node(task.id, node(task))
        graph.add_edge([*task.depends_on] or START, task.id)
        leaves -= set(task.depends_on)
    graph.add_edge(sorted(leaves), END)
    config = {"max_concurrency": CAP, "recursion_limit": TASKS + 2}
    state = await graph.compile().ainvoke({"done": []}, config)
    assert len(state["done"]) == TASKS


def durable(engine: DBOSEngine) -> Callable[[Plan], Awaitable[None]]:
    """Ours, with every task recorded in SQLite."""

    async def run(plan: Plan) -> None:
        report = await run_plan(
            plan, AGENTS, wait, max_concurrency=CAP, engine=engine, run_id=f"{time.time_ns()}"
        )
        assert report.ok

    return run


async def makespans() -> dict[str, dict[str, float]]:
    """Median of wall time over the bound, by kind of plan and candidate."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with DBOSEngine(f"sqlite:///{folder}/runs.sqlite") as engine:
            await engine.serve()
            candidates = {
                "eager": eager,
                "eager, DBOS on SQLite": durable(engine),
                "waves": waves,
                "LangGraph": langgraph,
            }
            for kind, shape in KINDS.items():
                ratios: dict[str, list[float]] = {name: [] for name in candidates}
                for seed in range(SEEDS):
                    plan = random_plan(seed, *shape)
                    for name, candidate in candidates.items():
                        started = time.perf_counter()
                        await candidate(plan)
                        took = time.perf_counter() - started
                        ratios[name].append(took / lower_bound(plan, CAP))
                found[kind] = {name: round(median(each), 3) for name, each in ratios.items()}
    return found


def exact() -> dict[str, dict[str, float]]:
    """The same on a clock that only tasks move: what the schedule alone costs."""
    found = {}
    for kind, shape in LONG.items():
        ratios: dict[str, list[float]] = {"eager": [], "waves": [], "LangGraph": []}
        for seed in range(EXACT_SEEDS):
            plan = random_plan(seed, *shape)
            for name, candidate in (("eager", eager), ("waves", waves), ("LangGraph", langgraph)):
                clock = VirtualClock()
                clock.run(candidate(plan))
                ratios[name].append(clock.elapsed / lower_bound(plan, CAP))
        found[kind] = {name: round(median(each), 3) for name, each in ratios.items()}
    return found


class Ungated(Balancer):
    """Ours without the headroom gate."""

    def _opens(self, task: Task, agent: Agent, now: float) -> float:
        return 0.0


class LeastOutstanding(Balancer):
    """The gate, then only the number of calls under way."""

    def order(self, agent: Agent) -> tuple[float, ...]:
        return (self.busy(agent),)


class StaticPriority(Ungated):
    """Always the first agent that is free, as a priority list has it."""

    def order(self, agent: Agent) -> tuple[float, ...]:
        return (["fast", "also fast", "middle", "slow"].index(agent.name),)


class Chance(Ungated):
    """Any agent."""

    def order(self, agent: Agent) -> tuple[float, ...]:
        return (random.random(),)


class PowerOfTwo(Ungated):
    """The less busy of two agents that are drawn."""

    def choose(self, task: Task, agents: Any, now: float) -> Agent | None:
        return super().choose(task, random.sample(agents, 2), now)


def balancing() -> dict[str, dict[str, float]]:
    """Seconds at the 95th percentile and calls answered with 429, at 95 % of the capacity."""
    policies: Mapping[str, Callable[[], Balancer]] = {
        "headroom, then least busy (ours)": Balancer,
        "headroom, then least outstanding": LeastOutstanding,
        "least busy, no gate": Ungated,
        "power of two": PowerOfTwo,
        "round robin": RoundRobin,
        "random": Chance,
        "static priority": StaticPriority,
    }
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in policies}
    for seed in range(WORLDS):
        random.seed(seed)
        for name, policy in policies.items():
            runs[name].append(measure(policy(), World(seed)))
    return {
        name: {
            "p95_s": round(median(p95 for p95, _ in each), 1),
            "p95_over_round_robin": round(
                median(a / b for (a, _), (b, _) in zip(each, runs["round robin"], strict=True)), 2
            ),
            "blocked": sum(blocked for _, blocked in each),
        }
        for name, each in runs.items()
    }


async def instant(agent: Agent, task: Task, context: Context) -> None:
    """A call that takes no time: what is left is the scheduler's own."""


def chains(size: int) -> Plan:
    """Eight chains side by side."""
    return Plan(
        tuple(
            Task(f"t{n}", "", depends_on=(f"t{n - WIDTH}",) if n >= WIDTH else ())
            for n in range(size)
        )
    )


def overhead_s(*sizes: int) -> list[float]:
    """Median CPU seconds of runs of these sizes, in turns, whose calls take none."""
    plans = {str(size): chains(size) for size in sizes}

    def run(plan: Plan) -> None:
        asyncio.run(run_plan(plan, AGENTS, instant, max_concurrency=CAP))

    gc.collect()
    gc.freeze()  # what the peers have imported is not for our collections to go through
    runs = {size: partial(run, plan) for size, plan in plans.items()}
    return list(interleaved(runs, rounds=ROUNDS, timer=time.process_time).values())


async def wait_and_sign(agent: Agent, task: Task, context: Context) -> int:
    """A call that waits as calls do, and says who made it."""
    await asyncio.sleep(FLEET_SECONDS)
    return os.getpid()


async def work(url: str, run_id: str = "", tasks: str = "0") -> None:
    """One worker of the fleet, until it is killed; with a run it starts that and ends."""
    options: dict[str, Any] = {"calls": {"wait": wait_and_sign}, "at_once": AT_ONCE}
    async with DBOSEngine(url, queue=True, **options) as engine:
        await engine.serve()
        print("serving", flush=True)
        if not run_id:
            await asyncio.Event().wait()
        await asyncio.to_thread(sys.stdin.readline)
        plan = Plan(tuple(Task(f"t{n:03}", "") for n in range(int(tasks))))
        team = [Agent("a", max_concurrency=AT_ONCE)]
        started = time.perf_counter()
        report = await run_plan(
            plan, team, "wait", max_concurrency=len(plan), engine=engine, run_id=run_id
        )
        took = time.perf_counter() - started
        shares = sorted(Counter(report.outputs.values()).values(), reverse=True)
        print(json.dumps({"seconds": took, "shares": shares}), flush=True)


def fleet() -> dict[str, dict[str, Any]]:
    """Seconds over the bound, and how many tasks each worker took; the starter works too."""
    found = {}
    for workers in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/runs.sqlite"
            commands = [[url]] * (workers - 1) + [[url, f"fleet-{workers}", str(FLEET_TASKS)]]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes: list[Any] = []
            for words in commands:
                command = [sys.executable, __file__, "work", *words]
                processes.append(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
                if len(processes) == 1:  # the others start side by side on a database that is there
                    assert processes[0].stdout.readline() == "serving\n"
            for process in processes[1:]:
                assert process.stdout.readline() == "serving\n"
            last = processes[-1]
            told = json.loads(last.communicate("go\n")[0])
            for process in processes[:-1]:
                process.kill()
                process.communicate()
            bound = math.ceil(FLEET_TASKS / (AT_ONCE * workers)) * FLEET_SECONDS
            found[f"{workers} workers"] = {
                "over_bound": round(told["seconds"] / bound, 2),
                "shares": told["shares"],
            }
    return found


def memory_mb() -> float:
    """What 10,000 tasks add to a fresh interpreter with everything imported, at its peak."""
    made = subprocess.run(
        [sys.executable, __file__, "memory"], check=True, capture_output=True, text=True
    )
    return float(made.stdout)


def print_memory() -> None:
    """In the fresh interpreter: the highest mark of the run minus what was there before it."""
    before = kilobytes("VmRSS")
    report = asyncio.run(run_plan(chains(10_000), AGENTS, instant, max_concurrency=CAP))
    assert len(report.results) == 10_000
    print((kilobytes("VmHWM") - before) / 1024)


def kilobytes(name: str) -> int:
    """A line of /proc/self/status; the peak that getrusage tells may be the parent's."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    """Measure everything and say which targets are met."""
    wall = asyncio.run(makespans())
    schedule, balanced = exact(), balancing()
    small, large = overhead_s(1_000, 10_000)
    memory, workers = memory_mb(), fleet()
    ours = balanced["headroom, then least busy (ours)"]
    long_runs = [wall[kind] for kind in KINDS if kind in LONG]
    short_runs = [wall[kind] for kind in KINDS if kind not in LONG]
    write_results(
        "agents_quick" if QUICK else "agents",
        {
            "seeds": {
                "makespan_over_bound": [*range(SEEDS)],
                "makespan_over_bound_exact": [*range(EXACT_SEEDS)],
                "balancing_at_95_per_cent": [*range(WORLDS)],
            },
            "makespan_over_bound": wall,
            "makespan_over_bound_exact": schedule,
            "balancing_at_95_per_cent": balanced,
            "overhead_us_per_task": round(large / 10_000 * 1e6, 1),
            "overhead_10000_over_1000_tasks": round(large / small, 1),
            "memory_mb_for_10000_tasks": round(memory, 1),
            f"queue_tier_{FLEET_TASKS}_tasks_of_1_s_8_at_once": workers,
        },
        packages=["dbos", "langgraph", "anthropic"],
        targets={
            "eager is within 1.05 of the bound at 50-500 ms": all(
                each["eager"] <= 1.05 for each in long_runs
            ),
            "eager is within 1.10 of the bound at 5-50 ms": all(
                each["eager"] <= 1.10 for each in short_runs
            ),
            "DBOS on SQLite is within 1.15 of the bound at 50-500 ms": all(
                each["eager, DBOS on SQLite"] <= 1.15 for each in long_runs
            ),
            "no call is blocked at 95 % of the capacity": ours["blocked"] == 0,
            "p95 is at most 0.7 of round robin's": ours["p95_over_round_robin"] <= 0.7,
            "10,000 tasks cost at most 12 times 1,000": large / small <= 12,
            "10,000 tasks take at most 40 MB": memory <= 40,
            "queued tasks are within 1.3 of the bound on 1, 2 and 4 workers": all(
                each["over_bound"] <= 1.3 for each in workers.values()
            ),
        },
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        print_memory()
    elif sys.argv[1:2] == ["work"]:
        asyncio.run(work(*sys.argv[2:]))
    elif QUICK or not sys.argv[1:]:
        main()
    else:
        sys.exit(__doc__)
