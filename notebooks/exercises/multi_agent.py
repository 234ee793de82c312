"""Chapter 03: a data room, a team, the seconds that calls take, a worker to kill, three exercises.

Northwind Boats and its papers are made up. The seconds are assumed, for pictures: that one call
takes several times as long as another is what matters, not by how much.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from exercises import SOLVED, Exercise, Grade, Wrong, not_yet
from patterns.agents.balancer import Balancer
from patterns.agents.plan import Agent, InvalidPlan, Plan, Task, lower_bound
from patterns.agents.report import Context, RunReport, TaskResult
from patterns.agents.scheduler import Call, Execute, Job, run_job, run_plan
from patterns.agents.worker import caller
from patterns.core.messages import tag
from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.fake_api import FakeAPI, Latency, RateLimits, VirtualClock

GOAL: Final = (
    "Write a due-diligence brief on Northwind Boats, maker of electric harbour ferries: should "
    "we buy it, and at what risk?"
)

PAPERS: Final = {
    "accounts": (
        "Revenue 2024: 31.0 million euros; 2025: 38.4. Operating profit 2025: 2.1. "
        "Net debt: 9.5. Two customers account for 61 % of revenue. Warranty reserve: 0.4."
    ),
    "contracts": (
        "Harbour of Aalborg, 9 ferries, delivery by March 2027, penalty 1 % per week up to 15 %. "
        "Either side may end it when the owner of Northwind changes. Battery supplier: exclusive "
        "until 2029. Claim pending: hull cracks on two ferries, 1.8 million euros."
    ),
    "patents": (
        "EP-1: hull with low wake, valid until 2038. EP-2: charging arm, licensed from a "
        "university until 2028. EP-3: anti-fouling coating with a new biocide, pending."
    ),
    "market": (
        "Tenders for electric ferries in Europe: 14 in 2023, 22 in 2024, 31 in 2025. Four makers "
        "win four in five. Prices per kWh of battery fell by 18 % in 2025."
    ),
}


def _knowing(role: str, *papers: str) -> str:
    texts = "\n".join(tag("paper", PAPERS[name], name=name) for name in papers)
    return f"{role} Answer from these papers only, in at most three sentences.\n{texts}"


LAWYER: Final = Agent(
    "lawyer",
    "Reads contracts, claims and patents.",
    frozenset({"law"}),
    model=OPUS,
    system=_knowing("You are a lawyer.", "contracts", "patents"),
    priority=1,
)
COUNSEL: Final = Agent(
    "counsel",
    "Stands in for the lawyer.",
    frozenset({"law"}),
    model=SONNET,
    system=_knowing("You are a lawyer.", "contracts", "patents"),
)
ANALYST: Final = Agent(
    "analyst",
    "Reads accounts, builds forecasts.",
    frozenset({"finance"}),
    model=SONNET,
    system=_knowing("You are a financial analyst.", "accounts"),
)
SCOUT: Final = Agent(
    "scout",
    "Knows the market.",
    frozenset({"market"}),
    model=HAIKU,
    system=_knowing("You know the market for ferries.", "market"),
)
TEAM: Final = (LAWYER, COUNSEL, ANALYST, SCOUT)

WAITS: Final = {
    "accounts": (),
    "contracts": (),
    "market": (),
    "patents": (),
    "ratios": ("accounts",),
    "forecast": ("accounts", "market"),
    "claims": ("contracts",),
    "risks": ("claims", "patents"),
}
"""What each task of the brief waits for."""

SECONDS: Final = {
    "accounts": 4.0,
    "contracts": 14.0,
    "market": 5.0,
    "patents": 3.0,
    "ratios": 6.0,
    "forecast": 12.0,
    "claims": 2.0,
    "risks": 3.0,
}
"""Assumed seconds of each call."""


def rush(balancer: Balancer, calls: int = 60) -> tuple[RunReport, int]:
    """Independent calls on two models, one of them with a narrow limit, against the fake API.

    Gives the report and how many requests came back as a 429. Time is virtual.
    """
    clock = VirtualClock()
    narrow = RateLimits(rpm=4_000, itpm=6_000, otpm=200_000)
    limits = RateLimits(lines={"haiku": narrow})
    api = FakeAPI(clock=clock, limits=limits, latency=Latency())
    agents = [Agent("quick", model=HAIKU), Agent("thorough", model=SONNET)]
    text = "Summarise this page of the data room.\n" + "boats and batteries " * 80
    tasks = [Task(f"page-{n:02}", f"{text} Page {n}.", max_attempts=9) for n in range(calls)]

    async def run() -> RunReport:
        call = caller(api.async_client(max_retries=0))  # a copy would start a thread first
        return await run_plan(
            Plan(tuple(tasks)), agents, call, max_concurrency=8, balancer=balancer
        )

    report = clock.run(run())
    return report, sum(entry.status == 429 for entry in api.journal)


SUBTASKS: Final = (
    {"id": "accounts", "agent": "financial_expert", "depends_on": []},
    {"id": "contracts", "agent": "lawyer", "depends_on": ["risk_review"]},
)


def subtasks_in(text: str) -> list[dict[str, Any]]:
    """The plan between the fences of an answer; a well-known one where there is none."""
    with suppress(IndexError, ValueError, TypeError, KeyError):
        found = json.loads(text.split("```")[1].removeprefix("json"))
        return [{name: one[name] for name in ("id", "agent", "depends_on")} for one in found]
    sys.stdout.write("no plan between fences here; this one is well known:\n")
    return [*SUBTASKS]


class ByOrder:
    """An engine that everybody writes first: it hands results out in the order they came in."""

    def __init__(self) -> None:
        self.recorded: list[TaskResult] = []

    async def run(self, job: Job, call: Call | str, balancer: Balancer) -> RunReport:
        """Run the job, or read what an earlier run has recorded."""
        recorded = iter([*self.recorded])

        async def step(task: Task, inputs: Mapping[str, Any], execute: Execute) -> TaskResult:
            if known := next(recorded, None):
                return replace(known, id=task.id)
            self.recorded.append(await execute())
            return self.recorded[-1]

        assert not isinstance(call, str)
        return await run_job(job, call, balancer, step=step)


def fleet(machines: int, tasks: int = 600, rpm: int = 600) -> tuple[float, float]:
    """Simulated: minutes for independent calls of some 30 s on so many machines, and the bound.

    Each machine has eight calls under way, and all draw on one limit of requests a minute. Taking
    and recording a task holds the one database for 5 ms. Time is virtual.
    """
    draws, clock, at_once = random.Random(3), VirtualClock(), 8 * machines
    seconds = {str(n): 20 * draws.lognormvariate(0.25, 0.6) for n in range(tasks)}
    free = {"limit": 0.0, "database": 0.0}

    async def turn(name: str, every: float) -> None:
        now = asyncio.get_running_loop().time()
        free[name] = max(now, free[name]) + every
        await asyncio.sleep(free[name] - every - now)

    async def call(agent: Agent, task: Task, context: Context) -> str:
        await turn("database", 0.005)
        await turn("limit", 60 / rpm)
        await asyncio.sleep(seconds[task.id])
        return task.id

    plan = Plan(tuple(Task(name, "", timeout_s=9_999) for name in seconds))
    team = [Agent("agent", max_concurrency=at_once)]
    report = clock.run(run_plan(plan, team, call, max_concurrency=at_once))
    bound = max(lower_bound(plan, at_once, seconds), tasks * 60 / rpm)
    return report.makespan / 60, bound / 60


# ── A worker to kill ──────────────────────────────────────────────────────────────────────────

FERRY: Final = Plan(
    tuple(
        Task(name, f"Write the part on {name}.", depends_on=waits) for name, waits in WAITS.items()
    )
)


async def answer_or_hang(agent: Agent, task: Task, context: Context) -> str:
    """Answers at once, but for the forecast, which never ends."""
    if task.id == "forecast":
        await asyncio.Event().wait()
    return f"{task.id} by worker one"


async def _work(url: str) -> None:
    from patterns.agents.durable import DBOSEngine

    async with DBOSEngine(url) as engine:
        await run_plan(
            FERRY,
            [Agent("writer")],
            answer_or_hang,
            max_concurrency=4,
            engine=engine,
            run_id="brief",
        )


def start_worker(url: str) -> "subprocess.Popen[bytes]":
    """A process of its own that runs the plan, and hangs in the forecast."""
    home = Path(__file__).parents[1]
    paths = f"import sys; sys.path[:0] = [{str(home)!r}, {str(home.parent)!r}]"
    code = f"{paths}; from exercises import multi_agent as m; m.asyncio.run(m._work({url!r}))"
    return subprocess.Popen([sys.executable, "-c", code])


async def recorded(url: str, expected: int) -> list[str]:
    """The tasks that the database holds, once there are as many as expected."""
    names: list[str] = []
    for _ in range(300):
        names = await asyncio.to_thread(_recorded_now, url)
        if len(names) >= expected:
            break
        await asyncio.sleep(0.2)
    return names


def _recorded_now(url: str) -> list[str]:
    from dbos import DBOSClient  # a second of imports, while the worker starts
    from sqlalchemy.exc import DBAPIError

    if not Path(url.removeprefix("sqlite:///")).exists():
        return []
    client = DBOSClient(system_database_url=url)
    try:
        return sorted(step["function_name"] for step in client.list_workflow_steps("brief"))
    except DBAPIError:  # the worker has not made the tables yet
        return []
    finally:
        client.destroy()


# ── Exercises ─────────────────────────────────────────────────────────────────────────────────

BRIEF: Final = Plan(
    tuple(Task(name, "", depends_on=waits, weight=SECONDS[name]) for name, waits in WAITS.items())
)


def grade_speed_up(answer: Any) -> Grade:
    """The one task that is worth making twice as fast, with four calls at once."""
    if answer not in SECONDS:
        return not_yet(f"name one of the tasks: {', '.join(SECONDS)}")
    halved = lower_bound(BRIEF, 4, {**SECONDS, answer: SECONDS[answer] / 2})
    if answer == "forecast":
        return not_yet("it is long, but it ends at 17 s: what ends after it?")
    if halved > 17:
        return not_yet(f"then the bound is {halved:g} s; look along the critical path")
    return SOLVED


def grade_dependencies(answer: Any) -> Grade:
    """A plan that waits for what it needs and for nothing else."""
    needs = {"price": {"ratios", "forecast"}, "letter": {"price", "risks"}}
    if not isinstance(answer, Mapping) or set(answer) != {"ratios", "forecast", "risks", *needs}:
        return not_yet("keep the five tasks as keys, each with a list of what it waits for")
    try:
        Plan(tuple(Task(name, "", depends_on=tuple(waits)) for name, waits in answer.items()))
    except InvalidPlan as error:
        return not_yet(f"that cannot run: {error}")
    for name, waits in answer.items():
        wanted = needs.get(name, set())
        if missing := sorted(wanted - set(waits)):
            return not_yet(f"{name} starts without what it reads: {', '.join(missing)}")
        if extra := sorted(set(waits) - wanted):
            return not_yet(f"{name} does not read {', '.join(extra)}, so it need not wait for it")
    return SOLVED


def grade_key(answer: Any) -> Grade:
    """A key that is the same for a repeated call and different for every other."""
    first = Context("run-1", "invoice", 1, {})
    again, other = Context("run-1", "invoice", 2, {}), Context("run-2", "invoice", 1, {})
    sibling = Context("run-1", "reminder", 1, {})
    try:
        key = answer(first)
        if answer(again) != key:
            return not_yet("the second attempt sends the invoice again: leave the attempt out")
        if answer(other) == key:
            return not_yet("the next run's invoice is never sent: the key lacks the run")
        if answer(sibling) == key:
            return not_yet("the reminder is taken for the invoice: the key lacks the task")
    except Exception as error:
        return not_yet(f"a function of the context, please; yours raised {type(error).__name__}")
    return SOLVED


EXERCISES: Final[Sequence[Exercise]] = (
    Exercise(
        name="What is worth speeding up",
        starter='answer = "forecast"',
        solution='answer = "contracts"',
        grade=grade_speed_up,
        wrong=(
            Wrong('answer = "accounts"', "critical path"),
            Wrong('answer = "risks"', "critical path"),
            Wrong('answer = "lawyer"', "one of the tasks"),
        ),
    ),
    Exercise(
        name="Only what is needed",
        starter="""\
answer = {
    "ratios": [],
    "forecast": ["ratios"],
    "risks": ["forecast"],
    "price": ["risks"],
    "letter": ["price"],
}""",
        solution="""\
answer = {
    "ratios": [],
    "forecast": [],
    "risks": [],
    "price": ["ratios", "forecast"],
    "letter": ["price", "risks"],
}""",
        grade=grade_dependencies,
        wrong=(
            Wrong(
                'answer = {"ratios": [], "forecast": [], "risks": [], "price": [], "letter": []}',
                "price starts without",
            ),
            Wrong(
                'answer = {"ratios": ["letter"], "forecast": [], "risks": [],'
                ' "price": ["ratios", "forecast"], "letter": ["price", "risks"]}',
                "circle",
            ),
            Wrong('answer = ["ratios", "forecast"]', "five tasks as keys"),
        ),
    ),
    Exercise(
        name="A call that may run twice",
        starter="""\
def key(context):
    return f"{context.task_id}:{context.attempt}"


answer = key""",
        solution="""\
def key(context):
    return f"{context.run_id}:{context.task_id}"  # or context.idempotency_key


answer = key""",
        grade=grade_key,
        wrong=(
            Wrong("answer = lambda context: context.task_id", "lacks the run"),
            Wrong("answer = lambda context: context.run_id", "lacks the task"),
            Wrong('answer = "invoice"', "TypeError"),
        ),
    ),
)
