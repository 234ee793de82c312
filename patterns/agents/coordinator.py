"""From a goal to an answer: decompose it, run the plan, and say what is missing in the synthesis.

The orchestrator-workers pattern with a checked contract at each seam: Claude's plan is validated
like anyone else's (and repaired once), a worker sees its direct inputs and nothing more, and the
synthesis is told which tasks have no result. For goals that fall into parts of different skill;
when one agent can do it all in a few turns, let it. Chapter 3 teaches it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from anthropic import AsyncAnthropic
from pydantic import BaseModel, Field, create_model, model_validator

from patterns.agents.balancer import Balancer
from patterns.agents.budget import UNLIMITED, Budget
from patterns.agents.plan import Agent, NoCapableAgent, Plan, Task, match
from patterns.agents.report import Context, Reply, RunReport
from patterns.agents.scheduler import Job
from patterns.agents.stages import Resumable, asked, go_on
from patterns.agents.synthesis import NoSynthesis as NoSynthesis
from patterns.agents.synthesis import NothingToSynthesize as NothingToSynthesize
from patterns.agents.synthesis import Synthesis as Synthesis
from patterns.agents.synthesis import synthesize as synthesize
from patterns.agents.worker import caller, cost_of, total
from patterns.core.model_ids import SONNET
from patterns.core.tags import tag
from patterns.prompting.structured import structured_async

MOST_TASKS = 12

DECOMPOSE = """\
You plan work for a team of agents. Split the goal into tasks that one agent each can finish.
Each prompt stands alone: it names the objective, the form of the result and what is out of scope,
because the agent sees only that prompt and the results of the tasks it depends on. Let tasks
depend on each other only where one needs the other's result; everything else runs at once. Ask
only for capabilities from the list. Mark a task as not required when the answer stands without
it. Do not add a task that puts the results together: that is done afterwards."""


@dataclass(frozen=True)
class Decomposition:
    """A plan that Claude made and that was checked; `repaired` if the first one was invalid.

    `report` says what making it took.
    """

    plan: Plan
    repaired: bool
    report: RunReport


@dataclass(frozen=True)
class Coordinated:
    """A goal's answer with everything that led to it."""

    decomposition: Decomposition
    report: RunReport
    synthesis: Synthesis

    @property
    def text(self) -> str:
        """The answer."""
        return self.synthesis.text

    @property
    def cost_usd(self) -> Decimal | None:
        """Dollars for planning, work and synthesis; None when a call has no known price."""
        stages = self.decomposition.report, self.report, self.synthesis.report
        return total(
            *(each.cost_usd for report in stages for each in report.attempts if each.usage)
        )


async def coordinate(
    goal: str,
    agents: Sequence[Agent],
    *,
    client: AsyncAnthropic,
    max_concurrency: int,
    model: str = SONNET,
    engine: Resumable | None = None,
    balancer: Balancer | None = None,
    budget: Budget = UNLIMITED,
    deadline_s: float | None = None,
    run_id: str = "run",
) -> Coordinated:
    """Decompose the goal, run the plan, synthesise the answer.

    With a durable engine all three are recorded, the plan and the synthesis as runs of their own
    (`RUN_ID/plan`, `RUN_ID/answer`): call it again with the same goal and id, and what failed is
    tried again, with these agents and limits; nothing that is recorded is asked for again.

    `budget` and `deadline_s` hold for the plan. The other arguments are those of `run_plan`.

    Raises:
        InvalidOutput: the plan was invalid, and so was the repaired one.
        Refused, Truncated: the planner declined, or ran out of tokens.
        NothingToSynthesize, NoSynthesis: with the report of what was done.
        Interrupted, RunBroken: as `run_plan`.
    """
    made = await decompose(
        goal, agents, client=client, model=model, engine=engine, run_id=f"{run_id}/plan"
    )
    job = Job(made.plan, tuple(agents), max_concurrency, run_id, budget, deadline_s)
    report = await go_on(job, caller(client), engine=engine, balancer=balancer)
    synthesis = await synthesize(
        goal, report, client=client, model=model, engine=engine, run_id=f"{run_id}/answer"
    )
    return Coordinated(made, report, synthesis)


async def decompose(
    goal: str,
    agents: Sequence[Agent],
    *,
    client: AsyncAnthropic,
    model: str = SONNET,
    most_tasks: int = MOST_TASKS,
    max_tokens: int = 8_192,
    engine: Resumable | None = None,
    run_id: str = "plan",
) -> Decomposition:
    """Have Claude plan `goal` for these agents; the plan is valid and every task has an agent.

    The schema lists the agents' capabilities, so that others cannot be asked for. What a schema
    cannot say (cycles, unknown ids, a combination that no one agent has) is checked here, and the
    faults go back to Claude once.

    Raises:
        NoCapableAgent: there are no agents.
        InvalidOutput: the second plan was invalid too; `errors` lists its faults.
        Refused, Truncated: the planner declined, or ran out of tokens.
    """
    match(Task("goal", goal), agents)
    roster = "\n".join(
        f"- {agent.name}: {agent.description} Capabilities: {', '.join(sorted(agent.capabilities))}"
        for agent in agents
    )
    schema = plan_schema(agents, most_tasks)
    prompt = f"{tag('goal', goal)}\n\n{tag('agents', roster)}\n\nAt most {most_tasks} tasks."

    async def ask(agent: Agent, task: Task, context: Context) -> Reply:
        made = await structured_async(
            client, prompt, schema, model=agent.model, system=DECOMPOSE, max_tokens=max_tokens
        )
        ids = tuple(request_id for request_id in made.request_ids if request_id)
        output = {"draft": made.value.model_dump(), "repaired": made.repaired}
        return Reply(output, made.usage, cost_of(agent.model, made.usage), ids)

    planner = Agent("planner", model=model)
    job = Job(Plan((Task("plan", goal),)), (planner,), 1, run_id)
    report = await asked(job, ask, engine=engine)
    made = report.outputs["plan"]
    return Decomposition(_plan_from(made["draft"]["tasks"]), made["repaired"], report)


def plan_schema(agents: Sequence[Agent], most_tasks: int = MOST_TASKS) -> type[BaseModel]:
    """The output model for a plan: capabilities as an enum, validity as a validator."""
    known = sorted({name for agent in agents for name in agent.capabilities})
    capability: Any = Literal[tuple(known)] if known else str
    draft = create_model(
        "DraftTask",
        id=(str, Field(description="short name in kebab-case, unique in the plan")),
        prompt=(str, Field(description="objective, form of the result, what is out of scope")),
        needs=(list[capability], Field(description="capabilities that the agent must have")),
        depends_on=(list[str], Field(description="ids of the tasks whose results it needs")),
        required=(bool, Field(description="false when the answer stands without it")),
    )

    def check(self: Any) -> Any:
        if len(self.tasks) > most_tasks:
            raise ValueError(f"{len(self.tasks)} tasks are too many; allowed are {most_tasks}")
        try:
            for task in _plan_from([one.model_dump() for one in self.tasks]):
                match(task, agents)
        except NoCapableAgent as error:
            raise ValueError(str(error)) from error
        return self

    validators: dict[str, Any] = {"check": model_validator(mode="after")(check)}
    tasks: Any = (list[draft], ...)  # type: ignore[valid-type]
    return create_model("DraftPlan", __validators__=validators, tasks=tasks)


def _plan_from(draft: Sequence[Mapping[str, Any]]) -> Plan:
    """The plan that a validated answer describes."""
    return Plan(tuple(Task(**one) for one in draft))
