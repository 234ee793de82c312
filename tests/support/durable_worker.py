"""A worker of `Durable` that tests start, stop and kill; it prints a line for each step it runs.

    python durable_worker.py URL SERVICE [WORKFLOW_ID]

It serves what is queued for SERVICE; with an id it starts that workflow itself.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from dbos import DBOS

from patterns.core.durable import Durable, running

WORKFLOW = "tests.four_steps"


def four_steps(service: str, name: str) -> list[Any]:
    """Four recorded steps, each done by the service."""
    does = running().services[service]
    return [DBOS.run_step({"name": f"step-{n}"}, does, name, n) for n in range(4)]


DBOS.workflow(name=WORKFLOW)(four_steps)


def main(url: str, service: str, workflow_id: str = "") -> None:
    """Serve until killed; the third step of every workflow never ends."""

    def does(name: str, number: int) -> str:
        sys.stdout.write(f"{name} {number}\n")
        sys.stdout.flush()
        while number == 2:
            os.read(0, 1)
        return f"{name} {number} by {os.getpid()}"

    engine = Durable(url, services={service: does}, executor_id="lost")
    engine.start()
    if workflow_id:
        engine.enqueue(WORKFLOW, workflow_id, service, workflow_id, here=True)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    asyncio.run(asyncio.Event().wait())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])
