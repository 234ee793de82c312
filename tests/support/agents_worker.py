"""A worker that tests start, kill and start again; it keeps a log of every call it makes.

    python agents_worker.py URL EXECUTOR LOG RUN_ID|- [SEED]

With a run id it runs that plan and writes `done` with the outputs; with `-` it serves others.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import Mapping
from typing import Any

from patterns.agents.durable import DBOSEngine
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.report import Context
from patterns.agents.scheduler import run_plan

CAP = 4
AGENTS = (Agent("a", pool="one"), Agent("b", pool="two"))


def plan_for(seed: int, size: int = 20) -> tuple[Plan, dict[str, float]]:
    """A random plan, and durations that make tasks end in another order than they are listed."""
    rng = random.Random(seed)
    tasks, seconds = [], {}
    for number in range(size):
        name = f"t{number:02}"
        before = [f"t{other:02}" for other in range(max(0, number - 8), number)]
        waits = rng.sample(before, k=min(len(before), rng.randint(0, 3)))
        tasks.append(Task(name, "", depends_on=tuple(waits)))
        seconds[name] = rng.choice([0.02, 0.05, 0.15, 0.3])
    return Plan(tuple(tasks)), seconds


def value(task_id: str, inputs: Mapping[str, Any]) -> str:
    """What a task must return: its own name and every input that it was given, nested."""
    return f"{task_id}({','.join(f'{name}={inputs[name]}' for name in sorted(inputs))})"[:400]


def expected(plan: Plan) -> dict[str, str]:
    """The right outputs."""
    outputs: dict[str, str] = {}
    for task in plan:  # listed after what it depends on
        outputs[task.id] = value(task.id, {name: outputs[name] for name in task.depends_on})
    return outputs


async def main(url: str, executor: str, log: str, run_id: str, seed: int) -> None:
    """Run or serve."""
    plan, seconds = plan_for(seed)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(**line: Any) -> None:
        os.write(out, (json.dumps({"pid": os.getpid(), **line}) + "\n").encode())

    async def call(agent: Agent, task: Task, context: Context) -> str:
        note(run=context.run_id, started=task.id)
        await asyncio.sleep(seconds[task.id])
        return value(task.id, context.inputs)

    async with DBOSEngine(url, executor_id=executor) as engine:
        await engine.serve(call)
        note(serving=executor)
        if run_id == "-":
            await asyncio.Event().wait()
        report = await run_plan(
            plan, AGENTS, call, max_concurrency=CAP, engine=engine, run_id=run_id
        )
        note(done=run_id, outputs=report.outputs)


if __name__ == "__main__":
    url, executor, log, run_id, *rest = sys.argv[1:]
    asyncio.run(main(url, executor, log, run_id, int(rest[0]) if rest else 0))
