"""Dispatch: slots for calls, given to the most urgent task that an agent can take now.

One cap holds over all agents, and the balancer says which of them may be called. A task that
waits for its next attempt holds no slot. Chapter 3 teaches it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from anthropic.types import Usage

from patterns.agents.balancer import Balancer, Size, Ticket
from patterns.agents.failures import usage_of
from patterns.agents.plan import Agent, Task
from patterns.agents.report import Reply
from patterns.core.retrying import headers_of, retry_after


@dataclass(order=True)
class Request:
    """A task that waits for an agent: the first attempt of it, or a later one."""

    urgency: tuple[float, float, int]
    task: Task = field(compare=False)
    capable: tuple[Agent, ...] = field(compare=False)
    granted: Callable[[Ticket], None] = field(compare=False)


class Dispatcher:
    """Who waits for a call, and how many are under way.

    Args:
        balancer: chooses the agent.
        cap: calls under way at once.
        ranks: the longest chain that starts with each task; breaks ties between priorities.
        wake: set when a slot may have become free; then call `grant`.
    """

    def __init__(
        self, balancer: Balancer, cap: int, ranks: Mapping[str, float], wake: asyncio.Event
    ) -> None:
        self.balancer, self.cap, self.ranks, self.wake = balancer, cap, ranks, wake
        self.loop = asyncio.get_running_loop()
        self.waiting: dict[tuple[Agent, ...], list[Request]] = {}
        self.taken, self.asked = 0, count()
        self.timer: asyncio.TimerHandle | None = None

    def ask(
        self, task: Task, capable: tuple[Agent, ...], granted: Callable[[Ticket], None]
    ) -> None:
        """Queue for a slot; `granted` is called with the ticket for it."""
        urgency = (-task.priority, -self.ranks[task.id], next(self.asked))
        heappush(self.waiting.setdefault(capable, []), Request(urgency, task, capable, granted))
        self.wake.set()

    def grant(self) -> None:
        """Give out what can be given now, and set an alarm for what cannot."""
        self.close()
        while self.taken < self.cap and (found := self.most_urgent()):
            request, agent = found
            heap = self.waiting[request.capable]
            heappop(heap)
            if not heap:
                del self.waiting[request.capable]
            self.taken += 1
            request.granted(self.balancer.started(request.task, agent, self.loop.time()))
        if self.taken < self.cap and self.waiting:
            now = self.loop.time()
            tops = [heap[0] for heap in self.waiting.values()]
            soonest = min(self.balancer.look_again(r.task, r.capable, now) for r in tops)
            self.timer = self.loop.call_at(soonest, self.wake.set)

    def most_urgent(self) -> tuple[Request, Agent] | None:
        """The first request, in order of urgency, that has an agent; the others keep waiting."""
        now = self.loop.time()
        for request in sorted(heap[0] for heap in self.waiting.values()):
            if agent := self.balancer.choose(request.task, request.capable, now):
                return request, agent
        return None

    def close(self) -> None:
        """Set no more alarms."""
        if self.timer:
            self.timer.cancel()


class Slot:
    """One task's slot: taken, left between attempts, and taken again.

    After a good answer it is kept until the engine has recorded the result, so that no more
    tasks than the cap are ever without a record.
    """

    def __init__(self, dispatcher: Dispatcher, ticket: Ticket) -> None:
        self.dispatcher, self.taken = dispatcher, True
        self.ticket: Ticket | None = ticket

    @property
    def agent(self) -> Agent:
        """Who is to be called."""
        assert self.ticket
        return self.ticket.agent

    async def take(self, task: Task, capable: tuple[Agent, ...]) -> None:
        """Wait for a slot, unless there is one already."""
        if self.taken:
            return
        granted: asyncio.Future[Ticket] = self.dispatcher.loop.create_future()
        self.dispatcher.ask(task, capable, granted.set_result)
        self.ticket, self.taken = await granted, True

    def settle(self, reply: Reply | None = None, error: Exception | None = None) -> None:
        """Tell the balancer how the call went."""
        if self.ticket is None:
            return
        usage = (reply.usage if reply else ()) or usage_of(error)
        headers = headers_of(error) or (reply.headers if reply else {})
        self.dispatcher.balancer.finished(
            self.ticket,
            self.dispatcher.loop.time(),
            used=_size(usage) if usage else None,
            headers=headers,
            wait_s=retry_after(headers) if error else None,
        )
        self.ticket = None

    def leave(self) -> None:
        """Free the place, if it is still held."""
        self.settle()
        if self.taken:
            self.taken = False
            self.dispatcher.taken -= 1
            self.dispatcher.wake.set()


def _size(usage: Iterable[Usage]) -> Size:
    """What counts against the limits: input that was not read from the cache, and output."""
    calls = tuple(usage)
    fresh = sum(one.input_tokens + (one.cache_creation_input_tokens or 0) for one in calls)
    return Size(fresh, sum(one.output_tokens for one in calls))
