"""Running plans: order, caps, failures, budgets and interruption, on a clock that never waits."""

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import Message, Usage
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.agents.balancer import POLL_S, Balancer, Size
from patterns.agents.budget import Budget
from patterns.agents.failures import next_agents, one_line
from patterns.agents.plan import Agent, NoCapableAgent, Plan, Task, lower_bound
from patterns.agents.report import Attempt, Context, Reply, RunReport, TaskResult
from patterns.agents.scheduler import (
    Call,
    Execute,
    Interrupted,
    Job,
    RunBroken,
    run_job,
    run_plan,
)
from patterns.core.messages import Refused, Truncated
from patterns.course.views.agents import as_waves
from patterns.fake_api.clock import VirtualClock

ANYONE = Agent("a", pool="one")
TWO = (ANYONE, Agent("b", pool="two"))


def plan_of(**waits: str) -> Plan:
    """`plan_of(a="", c="a b")` has task c wait for a and b."""
    return Plan(tuple(Task(name, "", depends_on=(*on.split(),)) for name, on in waits.items()))


def run(plan: Plan, call: Call, *agents: Agent, cap: int = 4, **options: Any) -> RunReport:
    """Run in virtual time."""
    return VirtualClock().run(
        run_plan(plan, agents or (ANYONE,), call, max_concurrency=cap, **options)
    )


def taking(seconds: Mapping[str, float]) -> Call:
    """A call that takes as long as `seconds` says and returns the task's id."""

    async def call(agent: Agent, task: Task, context: Context) -> str:
        await asyncio.sleep(seconds.get(task.id, 1.0))
        return task.id

    return call


def failing(*errors: Exception, on: str = "") -> Call:
    """A call that raises these errors in turn (for task `on`, or all) and then answers."""
    left = list(errors)

    async def call(agent: Agent, task: Task, context: Context) -> str:
        await asyncio.sleep(1)
        if left and on in ("", task.id):
            raise left.pop(0)
        return f"{task.id} by {agent.name}"

    return call


def status_error(status: int, **headers: str) -> anthropic.APIStatusError:
    """What the SDK raises for a status."""
    client = anthropic.Anthropic(
        api_key="test",
        max_retries=0,
        http_client=httpx2.Client(
            transport=httpx2.MockTransport(lambda _: httpx2.Response(status, headers=headers))
        ),
    )
    try:
        client.get("/v1/models", cast_to=object)
    except anthropic.APIStatusError as error:
        return error
    raise AssertionError(status)


def test_a_runs_seconds_count_from_its_own_start() -> None:
    """However long the event loop has been there."""

    async def later() -> RunReport:
        await asyncio.sleep(1_000)
        options: Any = {"max_concurrency": 1, "deadline_s": 2.5}
        return await run_plan(plan_of(a="", b="a", c="b"), [ANYONE], taking({}), **options)

    report = VirtualClock().run(later())
    times = [(each.started, each.ended) for each in report.results.values()]
    assert times == [(0.0, 1.0), (1.0, 2.0), (2.0, 2.5)]


def test_a_task_starts_when_its_own_dependencies_are_done() -> None:
    """c waits for a (1 s) and not for b (5 s), which a wave would have it do."""
    plan, seconds = plan_of(a="", b="", c="a"), {"a": 1.0, "b": 5.0, "c": 5.0}
    report = run(plan, taking(seconds))
    assert report.results["c"].started == 1.0
    assert report.makespan == 6.0 == lower_bound(plan, 4, report.seconds)
    assert run(as_waves(plan), taking(seconds)).makespan == 10.0


def test_a_task_is_given_the_outputs_of_its_direct_dependencies() -> None:
    """In the order that the task names them, with a key that is stable over attempts."""
    seen: list[Context] = []

    async def call(agent: Agent, task: Task, context: Context) -> str:
        seen.append(context)
        return task.id.upper()

    report = run(plan_of(a="", b="a", c="b a"), call, run_id="r7")
    assert seen[-1].inputs == {"b": "B", "a": "A"}
    assert [*seen[-1].inputs] == ["b", "a"]
    assert seen[-1].idempotency_key == "r7:c"
    assert report.outputs == {"a": "A", "b": "B", "c": "C"}
    assert report.ok
    assert report.results["a"].quarantined is False


def test_more_urgent_tasks_start_first() -> None:
    """Priority decides, then the longer remaining chain, then the plan's order."""
    order: list[str] = []

    async def call(agent: Agent, task: Task, context: Context) -> None:
        order.append(task.id)

    tasks = (
        Task("short", ""),
        Task("chain", ""),
        Task("end", "", depends_on=("chain",)),
        Task("urgent", "", priority=1),
    )
    run(Plan(tasks), call, cap=1)
    assert order == ["urgent", "chain", "short", "end"]


def test_a_failed_task_skips_its_descendants_and_nothing_else() -> None:
    """The report says what is missing and which failure is to blame."""
    report = run(plan_of(a="", b="", c="a", d="c", e="b"), failing(ValueError("no"), on="a"))
    assert report.missing == ("a", "c", "d")
    assert report.outputs == {"b": "b by a", "e": "e by a"}
    assert report.results["a"].cause == "a: ValueError: no"
    assert report.results["c"].cause == "needs 'a', which failed"
    assert report.results["d"].cause == "needs 'c', which skipped because of 'a'"
    assert report.results["d"].root == "a"
    assert report.results["d"].started is None
    assert (report.partial, report.stopped) == (True, None)


def test_an_optional_task_may_fail() -> None:
    """It is missing, but the result is not partial."""
    plan = Plan((Task("a", "", required=False), Task("b", "")))
    report = run(plan, failing(ValueError(), on="a"))
    assert (report.missing, report.partial, report.ok) == (("a",), False, False)


def test_a_report_is_shown_as_counts() -> None:
    """However long its plan: `asyncio.run` asks for the repr of every result."""
    plan = Plan((Task("a", ""), Task("b", "", depends_on=("a",)), Task("c", "")))
    report = run(plan, failing(ValueError(), on="a"))
    assert repr(report) == "RunReport('run': 1 failed, 1 ok, 1 skipped)"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 529])
def test_what_is_transient_is_tried_again(status: int) -> None:
    """After a pause, and every attempt is in the result."""
    report = run(plan_of(a=""), failing(status_error(status)))
    attempts = report.results["a"].attempts
    assert [attempt.transient for attempt in attempts] == [True, False]
    assert attempts[1].started > attempts[0].ended
    assert report.ok


def test_retry_after_is_obeyed() -> None:
    """The pause is what the response says, and a little more."""
    report = run(plan_of(a=""), failing(status_error(429, **{"retry-after": "20"})))
    first, second = report.results["a"].attempts
    assert 20 <= second.started - first.ended <= 22


def test_a_429_holds_back_every_task_of_its_pool() -> None:
    """As long as it says; the next call would meet the same."""
    call = failing(status_error(429, **{"retry-after": "20"}), on="a")
    started = run(plan_of(a="", b=""), call, cap=1).results["b"].started
    assert started is not None
    assert started >= 20


def test_attempts_are_bounded() -> None:
    """A lasting outage ends in a failed task, not in a loop."""
    report = run(plan_of(a=""), failing(*[status_error(529)] * 9))
    assert len(report.results["a"].attempts) == 3
    assert report.results["a"].cause.startswith("a: OverloadedError")


def test_nobody_waits_after_the_last_attempt() -> None:
    """There is none to come."""
    clock = VirtualClock()
    call = failing(*[status_error(529)] * 9)
    report = clock.run(run_plan(plan_of(a=""), [ANYONE], call, max_concurrency=1))
    assert clock.elapsed == report.makespan


@pytest.mark.parametrize(
    "error", [status_error(400), Refused("cyber"), Truncated("max_tokens", "")]
)
def test_a_bad_answer_goes_to_another_pool(error: Exception) -> None:
    """The same call would fail the same way: no second try by the same agent."""
    report = run(plan_of(a=""), failing(error), *TWO)
    assert [attempt.agent for attempt in report.results["a"].attempts] == ["a", "b"]
    assert report.outputs == {"a": "a by b"}


def test_a_task_that_fails_on_two_agents_is_quarantined() -> None:
    """A third agent is not burnt on it, and all attempts are kept."""
    agents = (*TWO, Agent("c", pool="three"))
    report = run(plan_of(a="", b=""), failing(*[Refused(None)] * 9, on="a"), *agents)
    assert report.results["a"].quarantined
    assert [attempt.agent for attempt in report.results["a"].attempts] == ["a", "b"]
    assert report.outputs.keys() == {"b"}


def test_a_bad_answer_from_the_only_agent_is_final() -> None:
    """There is nobody else to ask."""
    report = run(plan_of(a=""), failing(Refused("bio")))
    assert len(report.results["a"].attempts) == 1
    assert report.results["a"].cause.startswith("a: Refused: Claude refused (category bio)")


def test_an_agent_that_hangs_is_cut_off() -> None:
    """The attempt ends at the task's timeout and another agent takes over."""

    async def call(agent: Agent, task: Task, context: Context) -> str:
        if agent.name == "a":
            await asyncio.Event().wait()
        return agent.name

    plan = Plan((Task("t", "", timeout_s=9),))
    report = run(plan, call, *TWO)
    assert report.results["t"].attempts[0].error == "TimeoutError: no answer within 9 s"
    assert report.outputs == {"t": "b"}


def test_a_call_that_cancels_itself_is_a_failure() -> None:
    """It must neither hang the run nor look like the user's own cancellation."""
    report = run(plan_of(a="", b=""), failing(asyncio.CancelledError(), on="a"))  # type: ignore[arg-type]
    assert report.results["a"].cause == "a: RuntimeError: the call cancelled itself"
    assert report.outputs == {"b": "b by a"}


def test_a_timeout_of_the_callees_own_is_transient() -> None:
    """Its message is kept: only our own limit is reported as such."""
    report = run(plan_of(a=""), failing(TimeoutError("socket")))
    assert report.results["a"].attempts[0].error == "TimeoutError: socket"
    assert report.ok


def spending(tokens: int, usd: str | None = None) -> Call:
    """A call that takes a second and so many tokens."""

    async def call(agent: Agent, task: Task, context: Context) -> Reply:
        await asyncio.sleep(1)
        cost = None if usd is None else Decimal(usd)
        return Reply(task.id, (Usage(input_tokens=tokens, output_tokens=0),), cost, ("req",))

    return call


@pytest.mark.parametrize(
    ("budget", "usd", "done", "cause"),
    [
        (Budget(tokens=200), None, "ab", "budget: 200 of 200 tokens are spent"),
        (Budget(usd=Decimal("0.02")), "0.01", "ab", "budget: $0.02 of $0.02 is spent"),
        (
            Budget(usd=Decimal(9)),
            None,
            "a",
            "budget: a call has no known price, so dollars cannot be counted",
        ),
    ],
)
def test_a_budget_that_runs_out_keeps_what_is_finished(
    budget: Budget, usd: str | None, done: str, cause: str
) -> None:
    """Nothing more starts, and the report says why."""
    report = run(plan_of(a="", b="", c="a", d="c"), spending(100, usd), cap=2, budget=budget)
    assert "".join(report.outputs) == done
    assert report.results["c"].cause == cause
    assert (report.stopped, report.results["c"].status) == ("budget", "skipped")
    assert report.results["d"].root == "c"


def test_a_budget_that_is_not_reached_changes_nothing() -> None:
    """Tokens and dollars are below their limits."""
    budget = Budget(tokens=500, usd=Decimal(1))
    assert run(plan_of(a="", b=""), spending(100, "0.1"), budget=budget).ok


def test_a_deadline_cuts_off_and_starts_nothing_more() -> None:
    """a is done, b is under way, c has not begun."""
    seconds = {"a": 1.0, "b": 9.0, "c": 1.0}
    report = run(plan_of(a="", b="a", c="b"), taking(seconds), deadline_s=5)
    assert report.outputs == {"a": "a"}
    assert report.results["b"].cause == "deadline: 5 s are over"
    assert [attempt.ended for attempt in report.results["b"].attempts] == [5.0]
    assert (report.stopped, report.makespan) == ("deadline", 5.0)


def test_an_interrupted_run_keeps_what_is_finished() -> None:
    """Cancelling raises, as asyncio asks, and the exception carries the report."""

    async def interrupted() -> RunReport:
        plan, seconds = plan_of(a="", b="", c="b", d="a"), {"b": 99.0, "d": 99.0}
        job = asyncio.create_task(run_plan(plan, [ANYONE], taking(seconds), max_concurrency=2))
        await asyncio.sleep(3)
        job.cancel()
        with pytest.raises(Interrupted, match="interrupted with 1 of 4 tasks done") as raised:
            await job
        return raised.value.report

    report = VirtualClock().run(interrupted())
    assert report.outputs == {"a": "a"}
    assert report.stopped == "interrupted"
    assert [each.error for each in report.results["b"].attempts] == ["interrupted"]
    assert {r.id: r.status for r in report.results.values()} == {
        "a": "ok",
        "b": "failed",
        "c": "skipped",
        "d": "failed",
    }


def test_every_task_is_matched_before_the_first_call() -> None:
    """A plan that cannot be finished is not begun."""
    called: list[str] = []

    async def call(agent: Agent, task: Task, context: Context) -> None:
        called.append(task.id)

    plan = Plan((Task("a", ""), Task("b", "", needs=frozenset({"german"}), depends_on=("a",))))
    with pytest.raises(NoCapableAgent):
        run(plan, call)
    assert called == []


@pytest.mark.parametrize(
    ("agents", "cap", "message"),
    [
        ((ANYONE,), 0, "max_concurrency is 0, give a number from 1"),
        ((ANYONE,), math.nan, "max_concurrency is nan"),
        ((ANYONE, ANYONE), 1, "agents are told apart by name, and some share one"),
    ],
)
def test_bad_settings_are_named(agents: tuple[Agent, ...], cap: int, message: str) -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match=message):
        run(plan_of(a=""), taking({}), *agents, cap=cap)


def test_a_run_has_a_name() -> None:
    """An engine would record a nameless one where nobody finds it again."""
    with pytest.raises(ValueError, match="run_id is empty"):
        run(plan_of(a=""), taking({}), run_id="")


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 0.0, -1.0])
def test_a_deadline_is_a_number_of_seconds(seconds: float) -> None:
    """Not a number is never over, so it would be none."""
    with pytest.raises(ValueError, match="deadline_s is"):
        run(plan_of(a=""), taking({}), deadline_s=seconds)
    assert run(plan_of(a=""), taking({"a": 0.1}), deadline_s=0.2).ok  # less than one is some


@pytest.mark.parametrize("limit", [Decimal("nan"), Decimal(-1), Decimal("inf")])
def test_a_budget_is_a_number(limit: Decimal) -> None:
    """In tokens as in dollars."""
    with pytest.raises(ValueError, match="budget: usd is"):
        Budget(usd=limit)
    with pytest.raises(ValueError, match="budget: tokens is"):
        Budget(tokens=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("wide", [1, 8, 64])
def test_many_calls_at_once_stay_inside_the_budget(wide: int) -> None:
    """As one at a time do: what a call is expected to take is set aside before it starts."""
    names = {f"t{n}": "" for n in range(64)}
    report = run(plan_of(**names), spending(100), cap=wide, budget=Budget(tokens=1_050))
    assert len(report.outputs) == 10
    cause = "budget: 1000 of 1050 tokens are spent, and a call takes about 100"
    assert {report.results[name].cause for name in report.missing} == {cause}


def test_a_budget_of_one_call_is_spent_once() -> None:
    """Of sixty-four that could start, one does, though nobody knew what it would take."""
    names = {f"t{n}": "" for n in range(64)}
    report = run(plan_of(**names), spending(5_000), cap=64, budget=Budget(tokens=1))
    assert len(report.attempts) == 1


def test_a_call_that_was_cut_off_gives_back_what_was_set_aside() -> None:
    """And one that failed without a bill says nothing of what the next will take."""

    async def call(agent: Agent, task: Task, context: Context) -> Reply:
        if task.id == "a" and context.attempt == 1:
            raise ConnectionError("lost")
        await asyncio.sleep(1)
        return Reply("", (Usage(input_tokens=40, output_tokens=0),))

    report = run(plan_of(a="", b="", c=""), call, budget=Budget(tokens=120))
    assert report.ok
    assert report.makespan == 2.0  # one to learn what a call takes, then two side by side


def test_nobody_can_change_what_another_task_reads() -> None:
    """Each call has its inputs to itself, each attempt too; what cannot be copied is shared."""
    lock, seen = threading.Lock(), []

    async def call(agent: Agent, task: Task, context: Context) -> Any:
        if task.id == "a":
            return {"rows": [1], "lock": None}
        if task.id == "b":
            return lock
        assert context.inputs["b"] is lock
        seen.append([*context.inputs["a"]["rows"]])
        context.inputs["a"]["rows"].append(task.id)
        if context.attempt == 1:
            raise ConnectionError("lost")
        return task.id

    report = run(plan_of(a="", b="", c="a b", d="a b", e="a b c d"), call)
    assert report.ok
    assert seen == [[1]] * 6
    assert report.outputs["a"] == {"rows": [1], "lock": None}


@pytest.mark.parametrize("stays_s", [0.0, 0.5, 9_999.0])
def test_a_call_that_does_not_let_itself_be_cancelled_is_late_all_the_same(stays_s: float) -> None:
    """What it gives after its time is no result, though its tokens count; it is not waited for."""

    async def call(agent: Agent, task: Task, context: Context) -> Reply:
        try:
            await asyncio.sleep(99)
        except asyncio.CancelledError:
            await asyncio.sleep(stays_s)
        return Reply("late", (Usage(input_tokens=7, output_tokens=0),))

    report = run(plan_of(a="", b="a"), call, deadline_s=5)
    assert report.results["a"].cause == "deadline: 5 s are over"
    assert report.attempts[0].error == "TimeoutError: no answer within 5 s"
    assert len(report.attempts[0].usage) == (stays_s < 1)
    assert report.makespan == pytest.approx(5 + min(stays_s, 1.0))


def test_a_call_that_is_none_fails_its_task() -> None:
    """A function that raises before it is awaited, or gives nothing to await."""

    def call(agent: Agent, task: Task, context: Context) -> Any:
        if task.id == "a":
            raise ValueError("no")
        return "not awaitable"

    report = run(plan_of(a="", b=""), call)
    assert report.results["a"].cause == "a: ValueError: no"
    assert report.results["b"].cause.startswith("a: TypeError")


def test_a_name_needs_an_engine_that_has_it() -> None:
    """In this process there are no registered calls."""
    with pytest.raises(ValueError, match="call is the name 'research'"):
        run(plan_of(a=""), "research")  # type: ignore[arg-type]


def test_what_breaks_a_run_keeps_what_is_finished() -> None:
    """The engine's own failure is no task's: the error carries the report and says so."""

    async def step(task: Task, inputs: Mapping[str, Any], execute: Execute) -> TaskResult:
        if task.id == "c":
            raise OSError("disk full")
        return await execute()

    async def broken() -> RunReport:
        job = Job(plan_of(a="", b="", c="a", d="c"), (ANYONE,), 4)
        with pytest.raises(RunBroken, match=r"2 of 4 tasks done \(OSError: disk full\)") as raised:
            await run_job(job, taking({}), Balancer(), step=step)
        return raised.value.report

    report = VirtualClock().run(broken())
    assert report.outputs == {"a": "a", "b": "b"}
    assert report.stopped == "interrupted"


def test_totals_are_kept_by_agent() -> None:
    """Tokens, dollars and seconds of every call, also of those that failed."""
    agents = (Agent("a", capabilities=frozenset("x")), Agent("b", capabilities=frozenset("y")))
    plan = Plan((Task("t", "", needs=frozenset("x")), Task("u", "", needs=frozenset("y"))))
    report = run(plan, spending(100, "0.25"), *agents)
    both = report.by_agent()
    assert [*both] == ["a", "b"]
    assert (both["a"].calls, both["a"].input_tokens) == (1, 100)
    assert both["b"].cost_usd == Decimal("0.25")
    assert report.attempts[0].usage[0].input_tokens == 100
    assert report.attempts[0].request_ids == ("req",)


def test_a_refused_answer_is_counted_too() -> None:
    """It was billed, so the budget must see it."""
    message = Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": "refusal",
            "usage": {
                "input_tokens": 70,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 10,
                "output_tokens": 7,
            },
        }
    )
    balancer = Balancer()
    refused = failing(Refused("cyber", None, message))
    report = run(plan_of(a="", b=""), refused, balancer=balancer, budget=Budget(tokens=107), cap=1)
    done = report.by_agent()["a"]
    assert (done.input_tokens, done.output_tokens) == (100, 7)
    assert balancer.pool(ANYONE).size == Size(90, 7)  # what is read from the cache has no limit
    assert report.results["b"].cause == "budget: 107 of 107 tokens are spent"


def test_a_shared_balancer_holds_over_runs() -> None:
    """Two runs side by side never have more calls under way than the agent allows."""
    most: Counter[str] = Counter()

    async def call(agent: Agent, task: Task, context: Context) -> None:
        most["now"] += 1
        most["most"] = max(most["most"], most["now"])
        await asyncio.sleep(1)
        most["now"] -= 1

    async def both() -> None:
        shared, agent = Balancer(), Agent("a", max_concurrency=2)
        runs = [
            run_plan(plan_of(a="", b="", c=""), [agent], call, max_concurrency=9, balancer=shared)
            for _ in range(2)
        ]
        assert all(report.ok for report in await asyncio.gather(*runs))

    VirtualClock().run(both())
    assert most["most"] == 2


def test_looking_again_does_not_grow_with_what_happens() -> None:
    """One alarm at a time: twenty looks a second while the agent is busy, also after many ends."""

    class Counting(Balancer):
        looks = 0

        def look_again(self, *given: Any) -> float:
            self.looks += 1
            return super().look_again(*given)

    balancer, alone = Counting(), Agent("a", max_concurrency=1)
    seconds = {f"t{n}": 1.013 + n / 1_000 for n in range(20)}
    plan = plan_of(**dict.fromkeys(seconds, ""))
    report = run(plan, taking(seconds), alone, balancer=balancer)
    assert balancer.looks <= report.makespan / POLL_S + 2 * len(plan)


def test_an_error_of_the_engine_reaches_the_caller() -> None:
    """Only what a call raises is data; a keyboard interrupt inside one is not swallowed."""

    async def call(agent: Agent, task: Task, context: Context) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan_of(a=""), call)


def attempt(agent: str, *, transient: bool) -> Attempt:
    return Attempt(agent, 0, 1, "error", transient)


@pytest.mark.parametrize(
    ("history", "who"),
    [
        ([("a", False)], "c"),  # another pool first
        ([("c", False)], "ab"),
        ([("a", False), ("c", False)], ""),  # two bad answers
        ([("a", True)], "c"),
        ([("a", True), ("c", True)], "b"),
        ([("a", True), ("c", True), ("b", True)], "abc"),
        ([("a", False), ("c", True), ("b", True)], "bc"),
    ],
)
def test_who_may_try_next(history: list[tuple[str, bool]], who: str) -> None:
    """a and b share a pool, c has its own."""
    agents = [Agent("a", pool="x"), Agent("b", pool="x"), Agent("c", pool="y")]
    attempts = [attempt(name, transient=transient) for name, transient in history]
    assert "".join(agent.name for agent in next_agents(agents, attempts)) == who


def test_an_error_is_told_in_one_line() -> None:
    """Long and broken messages are flattened and cut."""
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 999))) == 200


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Plan, dict[str, float], set[str], int]:
    """A random plan, durations, the tasks that fail, and a cap."""
    size = draw(st.integers(1, 14))
    tasks = []
    for number in range(size):
        waits = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        tasks.append(
            Task(
                str(number),
                "",
                frozenset(draw(st.sets(st.sampled_from("xy"), max_size=1))),
                tuple(map(str, sorted(waits))),
                priority=draw(st.integers(0, 2)),
            )
        )
    names = [task.id for task in tasks]
    seconds = {name: draw(st.floats(0.01, 9)) for name in names}
    return (
        Plan(tuple(tasks)),
        seconds,
        draw(st.sets(st.sampled_from(names))),
        draw(st.integers(1, 5)),
    )


@settings(deadline=None)
@given(jobs())
def test_the_rules_hold_for_every_plan(job: tuple[Plan, dict[str, float], set[str], int]) -> None:
    """No cap is exceeded, no dependency overtaken, one status each, only descendants skipped."""
    plan, seconds, broken, cap = job
    agents = (
        Agent("x", capabilities=frozenset("x"), max_concurrency=2, pool="1"),
        Agent("xy", capabilities=frozenset("xy"), max_concurrency=3, pool="2"),
        Agent("y", capabilities=frozenset("y"), max_concurrency=1, pool="1"),
    )
    now: Counter[str] = Counter()
    done: set[str] = set()

    async def call(agent: Agent, task: Task, context: Context) -> str:
        assert set(task.depends_on) <= done
        assert task.needs <= agent.capabilities
        now.update([agent.name, "all"])
        assert now["all"] <= cap
        assert now[agent.name] <= agent.max_concurrency
        await asyncio.sleep(seconds[task.id])
        now.subtract([agent.name, "all"])
        if task.id in broken:
            raise ValueError(task.id)
        done.add(task.id)
        return task.id

    report = run(plan, call, *agents, cap=cap)
    lost = set(broken)
    for task in plan:
        lost |= {task.id} & {t.id for t in plan if set(t.depends_on) & lost}
    assert [*report.results] == [task.id for task in plan]
    assert {r.id for r in report.results.values() if r.status == "ok"} == done
    assert set(report.missing) == lost
    assert all(
        r.status == ("skipped" if set(plan[r.id].depends_on) & lost else "failed")
        for r in report.results.values()
        if r.id in lost
    )
