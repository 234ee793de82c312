"""Several agents on one goal: a plan, eager scheduling, balanced pools, durable runs.

For work whose parts differ in skill or can run side by side. One agent with tools is cheaper
and simpler whenever the parts need each other's every word: measure that first. Chapter 3
teaches it.

Names are loaded when they are first used, so that only `DBOSEngine` needs DBOS. Copy single
files instead when you need less: `plan`, `balancer` and `scheduler` stand without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patterns.agents.balancer import Balancer
    from patterns.agents.budget import Budget
    from patterns.agents.coordinator import coordinate
    from patterns.agents.durable import DBOSEngine
    from patterns.agents.plan import Agent, Plan, Task
    from patterns.agents.report import Context, Reply, RunReport
    from patterns.agents.scheduler import run_plan
    from patterns.agents.worker import caller

__all__ = [
    "Agent",
    "Balancer",
    "Budget",
    "Context",
    "DBOSEngine",
    "Plan",
    "Reply",
    "RunReport",
    "Task",
    "caller",
    "coordinate",
    "run_plan",
]

_MODULES = ("plan", "report", "budget", "balancer", "scheduler", "worker", "coordinator", "durable")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:  # pragma: no branch  # every name is in one of them
            found = vars(import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"{__name__} has no {name!r}; it has {', '.join(__all__)}")
