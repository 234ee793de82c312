"""A worker that tests start, kill and start again; it keeps a log of every call it makes.

    python agents_worker.py URL NAME LOG CALL RUN_ID,RUN_ID…|- [queue]

It has one call, named CALL, whose answers start with that name; a CALL with a leading `-` has no
name. With run ids it runs their plans side by side and logs `done` with the outputs; with `-` it
serves others.
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


def value(call: str, run_id: str, task_id: str, inputs: Mapping[str, Any]) -> str:
    """What a task must return: who, for whom, and every input that it was given, nested."""
    given = ",".join(f"{name}={inputs[name]}" for name in sorted(inputs))
    return f"{call}/{run_id}/{task_id}({given})"[:400]


def expected(call: str, run_id: str) -> dict[str, str]:
    """The right outputs of a run."""
    outputs: dict[str, str] = {}
    for task in plan_for(seed_of(run_id))[0]:  # listed after what it depends on
        inputs = {name: outputs[name] for name in task.depends_on}
        outputs[task.id] = value(call, run_id, task.id, inputs)
    return outputs


def seed_of(run_id: str) -> int:
    """The plan of a run: `name-7` has the seventh."""
    return int(run_id.rpartition("-")[2])


async def main(url: str, name: str, log: str, call_name: str, *run_ids: str, queue: bool) -> None:
    """Run or serve."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(**line: Any) -> None:
        os.write(out, (json.dumps({"pid": os.getpid(), **line}) + "\n").encode())

    async def call(agent: Agent, task: Task, context: Context) -> str:
        note(run=context.run_id, started=task.id)
        await asyncio.sleep(plan_for(seed_of(context.run_id))[1][task.id])
        return value(call_name, context.run_id, task.id, context.inputs)

    async def run(run_id: str) -> None:
        plan, _ = plan_for(seed_of(run_id))
        report = await run_plan(
            plan, AGENTS, call, max_concurrency=CAP, engine=engine, run_id=run_id
        )
        note(done=run_id, outputs=report.outputs)

    calls = {} if call_name.startswith("-") else {call_name: call}
    async with DBOSEngine(url, calls=calls, executor_id=name, queue=queue, lease_s=1.5) as engine:
        await engine.serve()
        note(serving=name)
        if run_ids == ("-",):
            await asyncio.Event().wait()
        await asyncio.gather(*map(run, run_ids))


if __name__ == "__main__":
    url, name, log, call_name, run_ids, *rest = sys.argv[1:]
    asyncio.run(main(url, name, log, call_name, *run_ids.split(","), queue=bool(rest)))
