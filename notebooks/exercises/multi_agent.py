"""Chapter 03: a data room, a team, the seconds that calls take, a worker to kill, three exercises.

Northwind Boats and its papers are made up. The seconds are assumed, for pictures: that one call
takes several times as long as another is what matters, not by how much.
"""

import asyncio
import builtins
import html
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from exercises import SOLVED, Checker, Exercise, Grade, Wrong, not_yet, number
from patterns.agents.balancer import Balancer
from patterns.agents.plan import Agent, Plan, Task, lower_bound
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


def _soonest(waits: Mapping[str, Sequence[str]], seconds: Mapping[str, float]) -> float:
    ends = dict.fromkeys(seconds, 0.0)
    for _ in seconds:  # the longest chain has as many links as there are tasks, at most
        for name, before in waits.items():
            ends[name] = max((ends[each] for each in before), default=0.0) + seconds[name]
    return max(ends.values())


def _graphs() -> Iterator[tuple[dict[str, tuple[str, ...]], dict[str, float], str]]:
    yield {"a": (), "b": ("a",)}, {"a": 2.0, "b": 3.0}, "b starts when a has ended"
    yield {"a": (), "b": ()}, {"a": 2.0, "b": 3.0}, "what waits for nothing runs side by side"
    yield {**WAITS}, {**SECONDS}, "no task waits for a whole level, or for the longest one"
    late = {"c": ("b",), "b": ("a",), "a": ()}
    yield late, {"c": 1.0, "b": 2.0, "a": 4.0}, "a task may stand before those it waits for"
    draws = random.Random(5)
    for size in range(1, 12):
        names = [f"t{n}" for n in range(size)]
        waits = {
            name: tuple(draws.sample(names[:at], draws.randint(0, min(at, 3))))
            for at, name in enumerate(names)
        }
        mixed = {name: waits[name] for name in draws.sample(names, size)}
        seconds = {name: float(draws.randint(1, 9)) for name in mixed}
        yield mixed, seconds, "follow every chain, and take the longest"


def grade_soonest(answer: Any) -> Grade:
    """`answer(waits, seconds)` is the length of the longest chain."""
    for waits, seconds, why in _graphs():
        said, expected = answer({**waits}, {**seconds}), _soonest(waits, seconds)
        got = number(said)
        if got is None or abs(got - expected) > 1e-6:
            given = f"waits {waits}, seconds {seconds}" if len(waits) < 5 else f"{len(waits)} tasks"
            return not_yet(f"{why}: expected {expected:g}, got {said!r} ({given})")
    return SOLVED


SOONEST: Final = Exercise(
    name="soonest",
    starter="""\
def soonest(waits, seconds):
    return max(seconds.values())


answer = soonest""",
    solution="""\
from graphlib import TopologicalSorter


def soonest(waits, seconds):
    ends = {}
    for name in TopologicalSorter(waits).static_order():
        ends[name] = seconds[name] + max((ends[each] for each in waits[name]), default=0)
    return max(ends.values())


answer = soonest""",
    grade=grade_soonest,
    right=(
        """\
def answer(waits, seconds):
    def end(name):
        return seconds[name] + max(map(end, waits[name]), default=0)
    return max(end(name) for name in waits)""",
        """\
def answer(waits, seconds):
    ends = dict.fromkeys(waits, 0)
    changed = True
    while changed:
        changed = False
        for name, before in waits.items():
            new = seconds[name] + max([ends[each] for each in before] or [0])
            if new != ends[name]:
                ends[name] = new
                changed = True
    return max(ends.values())""",
        """\
from patterns.agents.plan import Plan, Task, critical_path

def answer(waits, seconds):
    tasks = [Task(n, "", depends_on=w, weight=seconds[n]) for n, w in waits.items()]
    return sum(seconds[name] for name in critical_path(Plan(tuple(tasks))))""",
        """\
def answer(waits, seconds):
    now, done, ends = 0, set(), {}
    while len(done) < len(waits):
        for name in waits:
            if name not in ends and set(waits[name]) <= done:
                ends[name] = now + seconds[name]
        now = min(end for name, end in ends.items() if name not in done)
        done |= {name for name, end in ends.items() if end <= now}
    return now""",
    ),
    wrong=(
        Wrong("answer = lambda waits, seconds: sum(seconds.values())", "side by side"),
        Wrong("answer = lambda waits, seconds: max(seconds, key=seconds.get)", "b starts when"),
        Wrong(
            "def answer(waits, seconds):\n    total, done = 0, set()\n"
            "    while len(done) < len(waits):\n"
            "        ready = [n for n in waits if n not in done and set(waits[n]) <= done]\n"
            "        total += max(seconds[n] for n in ready)\n        done |= set(ready)\n"
            "    return total",
            "a whole level",
        ),
        Wrong(
            "def answer(waits, seconds):\n    ends = {}\n    for n in waits:\n"
            "        ends[n] = seconds[n] + max((ends.get(w, 0) for w in waits[n]), default=0)\n"
            "    return max(ends.values())",
            "before those it waits for",
        ),
        Wrong(
            "answer = lambda waits, seconds: max(seconds[n] + sum(seconds[w] for w in waits[n])"
            " for n in waits)",
            "a whole level, or for the longest one",
        ),
        Wrong(
            "def answer(waits, seconds):\n    ends = {}\n    for n in waits:\n"
            "        ends[n] = seconds[n] + max((ends[w] for w in waits[n]), default=0)\n"
            "    return max(ends.values())",
            "KeyError",
        ),
    ),
)

NEEDS: Final[Mapping[str, set[str]]] = {
    "order": set(),
    "handbook": set(),
    "draft": {"order", "handbook"},
    "check": {"draft"},
}
LETTERS: Final = (
    "Where is my oolong?",
    "Is <b>1 < 2</b> & so on?",
    "Zwei Dosen, bitte.\nDanke",
    "I ordered on Monday, and on Friday again. " * 60 + "Please cancel ONE of them.",
)


def _written(text: str) -> Iterator[str]:
    """A text as it is, and as people escape it."""
    yield text
    yield from (html.escape(text, quote=quote) for quote in (True, False))
    yield from (json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (True, False))
    yield repr(text)[1:-1]


def grade_plan_of(answer: Any) -> Grade:
    """`answer(ticket)` is a plan of four tasks that wait for what they need, and nothing else."""
    for text in LETTERS:
        plan = answer({"id": "T-17", "customer": "c-204", "text": text})
        if not isinstance(plan, Plan):
            return not_yet(f"return a Plan; yours is a {type(plan).__name__}")
        if {task.id for task in plan} != set(NEEDS):
            return not_yet(f"the tasks are {', '.join(NEEDS)}; yours: {', '.join(plan.by_id)}")
        for name, wanted in NEEDS.items():
            task = plan[name]
            if missing := sorted(wanted - set(task.depends_on)):
                return not_yet(f"{name} starts without what it reads: {', '.join(missing)}")
            if extra := sorted(set(task.depends_on) - wanted):
                return not_yet(f"{name} does not read {', '.join(extra)}, so it need not wait")
            if task.needs:
                return not_yet(f"any agent may take {name}; it asks for {', '.join(task.needs)}")
            if not task.prompt.strip():
                return not_yet(f"{name} has no prompt: what should the agent do?")
            if name != "check" and not any(form in task.prompt for form in _written(text)):
                said = textwrap.shorten(text, 60, placeholder=" … (a long letter)")
                return not_yet(f"the prompt of {name} lacks the text {said!r}")
    return SOLVED


TASKS: Final = "from patterns.agents.plan import Plan, Task\n"

PLAN_OF: Final = Exercise(
    name="plan_of",
    part=True,
    starter="""\
from patterns.agents import plan


def plan_of(ticket):
    order = plan.Task("order", f"Find the order: {ticket['text']}")
    handbook = plan.Task("handbook", "Find the rule.", depends_on=("order",))
    return plan.Plan((order, handbook))


answer = plan_of""",
    solution="""\
from patterns.agents.plan import Plan, Task
from patterns.core.messages import tag


def plan_of(ticket):
    text = tag("ticket", ticket["text"])
    return Plan(
        (
            Task("order", f"Say what is known of the order in question.\\n{text}"),
            Task("handbook", f"Quote the rules of the handbook that apply.\\n{text}"),
            Task("draft", f"Draft an answer.\\n{text}", depends_on=("order", "handbook")),
            Task("check", "Is all of the draft true and polite?", depends_on=("draft",)),
        )
    )


answer = plan_of""",
    grade=grade_plan_of,
    right=(
        """\
import json
from patterns.agents.plan import Plan, Task

def answer(ticket):
    asked = "The customer writes: " + json.dumps(ticket["text"])
    return Plan([
        Task("order", "Which order is it? " + asked),
        Task("handbook", "Which rules apply? " + asked),
        Task("draft", "Write an answer. " + asked, depends_on=["order", "handbook"]),
        Task("check", "Look the draft over.", depends_on=["draft"]),
    ])""",
        TASKS
        + """\
answer = lambda t: Plan([Task("check", "Check it.", depends_on=["draft"]),
    Task("draft", t["text"], depends_on=["handbook", "order"]),
    Task("handbook", t["text"]), Task("order", t["text"])])""",
        TASKS
        + """\
WAITS = {"order": (), "handbook": (), "draft": ("order", "handbook"), "check": ("draft",)}

def answer(ticket):
    text = ticket["text"]
    return Plan(tuple(Task(n, f"{n}: {text}", depends_on=w) for n, w in WAITS.items()))""",
        """\
import html
from patterns.agents import plan

def answer(ticket):
    safe = html.escape(ticket["text"])
    tasks = [plan.Task(id=name, prompt="<t>" + safe + "</t>") for name in ("order", "handbook")]
    tasks.append(plan.Task(id="draft", prompt=safe, depends_on=tuple(t.id for t in tasks)))
    tasks.append(plan.Task(id="check", prompt="Right?", depends_on=(tasks[-1].id,), weight=0.5))
    return plan.Plan(tuple(tasks))""",
        """\
from dataclasses import replace
from patterns.agents.plan import Plan, Task

def answer(ticket):
    base = Task("order", "Help with: " + ticket["text"])
    first = [base, replace(base, id="handbook")]
    draft = replace(base, id="draft", depends_on=("order", "handbook"), priority=1)
    return Plan((*first, draft, replace(draft, id="check", depends_on=("draft",))))""",
    ),
    wrong=(
        Wrong("answer = lambda ticket: [ticket]", "return a Plan"),
        Wrong(TASKS + "answer = lambda t: Plan((Task('order', t['text']),))", "the tasks are"),
        Wrong(
            TASKS + "ids = ('order', 'handbook', 'draft', 'check')\nanswer = lambda t: Plan(tuple("
            "Task(n, t['text'], depends_on=ids[max(0, i - 1):i]) for i, n in enumerate(ids)))",
            "handbook does not read order",
        ),
        Wrong(
            TASKS + "w = {'order': (), 'handbook': (), 'draft': ('order',), 'check': ('draft',)}\n"
            "answer = lambda t: Plan(tuple(Task(n, t['text'], depends_on=w[n]) for n in w))",
            "starts without what it reads: handbook",
        ),
        Wrong(
            TASKS + "w = {'order': (), 'handbook': (), 'draft': ('order', 'handbook'),"
            " 'check': ('order', 'handbook', 'draft')}\n"
            "answer = lambda t: Plan(tuple(Task(n, t['text'], depends_on=w[n]) for n in w))",
            "check does not read handbook, order",
        ),
        Wrong(
            TASKS + "w = {'order': (), 'handbook': (), 'draft': ('order', 'handbook'),"
            " 'check': ('draft',)}\n"
            "answer = lambda t: Plan(tuple(Task(n, t['id'], depends_on=w[n]) for n in w))",
            "lacks the text",
        ),
        Wrong(
            TASKS + "w = {'order': (), 'handbook': (), 'draft': ('order', 'handbook'),"
            " 'check': ('draft',)}\n"
            "answer = lambda t: Plan(tuple(Task(n, t['text'][:80], depends_on=w[n]) for n in w))",
            "a long letter",
        ),
        Wrong(
            TASKS + "w = {'order': ('check',), 'handbook': (), 'draft': ('order', 'handbook'),"
            " 'check': ('draft',)}\n"
            "answer = lambda t: Plan(tuple(Task(n, t['text'], depends_on=w[n]) for n in w))",
            "circle",
        ),
    ),
)


def grade_key(answer: Any) -> Grade:
    """A key that is the same for a repeated call and different for every other."""
    names = ("run-1", "run-2", "run", "run1", "invoice", "1-invoice", "1", "11", "Run-1", "Invoice")
    seen: dict[str, tuple[str, str]] = {}
    for run, task in product(names, names):
        key = answer(Context(run, task, 1, {}))
        if not isinstance(key, str):
            return not_yet(f"the post room takes text; yours gives {key!r}")
        if answer(Context(run, task, 2, {"letter": "again"})) != key:
            return not_yet("the second attempt sends the invoice again: the key must stay the same")
        with patch.object(builtins, "hash", lambda _: random.random()):  # as in another process
            if answer(Context(run, task, 1, {})) != key:
                return not_yet("another process hashes text to another number: sent twice")
        if other := seen.get(key):
            lacks = "run" if other[1] == task else "task" if other[0] == run else "border"
            if [each.lower() for each in other] == [run.lower(), task.lower()]:
                lacks = "difference between A and a"
            return not_yet(
                f"run {run!r} task {task!r} has the key of run {other[0]!r} task {other[1]!r}, "
                f"{key!r}: it lacks the {lacks}"
            )
        seen[key] = (run, task)
    return SOLVED


KEY: Final = Exercise(
    name="key",
    starter="""\
def key(context):
    return f"{context.task_id}:{context.attempt}"


answer = key""",
    solution="""\
def key(context):
    return f"{context.run_id}:{context.task_id}"  # or context.idempotency_key


answer = key""",
    grade=grade_key,
    right=(
        "answer = lambda context: context.idempotency_key",
        "import json\nanswer = lambda c: json.dumps([c.run_id, c.task_id])",
        """\
import hashlib

def answer(context):
    digest = hashlib.sha256()
    digest.update(context.run_id.encode() + b"\\0")
    digest.update(context.task_id.encode())
    return digest.hexdigest()""",
        "answer = lambda context: '/'.join((context.task_id, context.run_id))",
        """\
from uuid import NAMESPACE_URL, uuid5

def answer(context):
    return str(uuid5(uuid5(NAMESPACE_URL, context.run_id), context.task_id))""",
    ),
    wrong=(
        Wrong("answer = lambda context: context.task_id", "lacks the run"),
        Wrong("answer = lambda context: context.run_id", "lacks the task"),
        Wrong('answer = "invoice"', "TypeError"),
        Wrong("answer = lambda c: f'{c.run_id}-{c.task_id}'", "lacks the border"),
        Wrong("answer = lambda c: c.run_id + c.task_id", "lacks the border"),
        Wrong("answer = lambda c: str(hash((c.run_id, c.task_id)))", "another process"),
        Wrong("import uuid\nanswer = lambda c: str(uuid.uuid4())", "second attempt"),
        Wrong("answer = lambda c: (c.run_id, c.task_id)", "takes text"),
        Wrong("answer = lambda c: f'{c.run_id}:{c.task_id}'.lower()", "between A and a"),
    ),
)


def asked(report: RunReport, name: str) -> list[str]:
    """The agents that were asked for a task, in order; none if the plan has no such task."""
    found = report.results.get(name)
    return [attempt.agent for attempt in found.attempts] if found else []


EXERCISES: Final = (SOONEST, PLAN_OF, KEY)
check: Final = Checker(EXERCISES)
