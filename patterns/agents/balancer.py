"""Which agent gets the next call: rate-limit headroom first, then the least busy.

The API counts tokens per pool (organisation and model class), not per agent, and says in
`anthropic-ratelimit-*` headers what is left. A call that would not fit is held back here, where
waiting costs nothing, instead of coming back as a 429. Among agents that have headroom the least
busy wins: calls under way, each weighted with how long that agent's calls take. Then the higher
priority. Not needed for one agent: a plain semaphore does. Chapter 3 teaches it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import inf, isfinite

from patterns.agents.plan import Agent, Task

KINDS = ("requests", "input-tokens", "output-tokens", "tokens")
POLL_S = 0.05
"""How soon to look again when nothing says when an agent will be free."""

_SMOOTHING = 0.2  # weight of the newest call in the running averages


@dataclass(frozen=True)
class Size:
    """What a call takes out of its pool's limits, in tokens."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0

    def of(self, kind: str) -> float:
        """The part that counts against one kind of limit; a call is one request."""
        tokens = self.input_tokens, self.output_tokens
        return dict(zip(KINDS, (1.0, *tokens, sum(tokens)), strict=True))[kind]

    def mixed(self, newest: "Size") -> "Size":
        """The running average after one more call."""
        return Size(
            _mix(self.input_tokens, newest.input_tokens),
            _mix(self.output_tokens, newest.output_tokens),
        )


@dataclass(frozen=True)
class Ticket:
    """One call under way: what was set aside for it, and when."""

    number: int
    agent: Agent
    started: float
    size: Size


@dataclass(frozen=True)
class Gauge:
    """One limit of a pool as a response told it. Limits are per minute and refill evenly."""

    limit: float
    remaining: float  # below zero when the pool is in debt
    seen: float

    @property
    def rate(self) -> float:
        """Refill per second."""
        return self.limit / 60

    def level(self, now: float) -> float:
        """What should be left at `now`, before the calls that the reading cannot have counted."""
        return min(self.limit, self.remaining + self.rate * (now - self.seen))


@dataclass
class Pool:
    """What is known of one rate-limit pool."""

    gauges: dict[str, Gauge] = field(default_factory=dict)
    told_by: int = 0  # number of the call that the gauges come from
    running: dict[int, Ticket] = field(default_factory=dict)
    closed_until: float = -inf
    size: Size | None = None  # running average of its calls

    def spare(self, kind: str, now: float) -> float:
        """Headroom: the gauge minus the calls that its reading cannot have counted.

        The API counts input when a call arrives and output as it is produced. So the output of
        every call under way is still to come, and the input of those that started after the
        call that the reading came with.
        """
        early = kind in ("requests", "input-tokens")
        held = [t for t in self.running.values() if not early or t.number > self.told_by]
        return self.gauges[kind].level(now) - sum(ticket.size.of(kind) for ticket in held)

    def opens_at(self, need: Size, now: float) -> float:
        """When a call of that size fits; `now` or earlier means that it does."""
        waits = [self._wait(kind, need.of(kind), now) for kind in self.gauges]
        return max(self.closed_until, now + max(waits, default=0.0))

    def _wait(self, kind: str, need: float, now: float) -> float:
        gauge = self.gauges[kind]
        return max(0.0, min(need, gauge.limit) - self.spare(kind, now)) / gauge.rate


class Balancer:
    """Chooses among capable agents, and learns from what their calls report.

    One balancer may serve several runs at once, and should if they share pools. All times are
    seconds of the caller's clock.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.pools: dict[str, Pool] = {}
        self.outstanding: dict[str, int] = {}
        self.latency: dict[str, float] = {}

    def choose(self, task: Task, agents: Sequence[Agent], now: float) -> Agent | None:
        """The agent to call now for `task`, or None when each is busy or out of headroom."""
        free = [
            agent
            for agent in agents
            if self.busy(agent) < agent.max_concurrency and self._opens(task, agent, now) <= now
        ]
        return min(free, key=self.order) if free else None

    def order(self, agent: Agent) -> tuple[float, ...]:
        """What makes an agent come first: when it would be done, then its priority.

        Least outstanding alone sends as much to a slow agent as to a fast one. An agent that
        was never heard of counts as fast as the fastest, so that it is tried.
        """
        fastest = min(self.latency.values(), default=1.0)
        done_in = (self.busy(agent) + 1) * self.latency.get(agent.name, fastest)
        return (done_in, -agent.priority)

    def busy(self, agent: Agent) -> int:
        """How many calls of `agent` are under way."""
        return self.outstanding.get(agent.name, 0)

    def look_again(self, task: Task, agents: Sequence[Agent], now: float) -> float:
        """When `choose` may have an answer, if no call ends before then."""
        opens = min(self._opens(task, agent, now) for agent in agents)
        return opens if opens > now else now + POLL_S

    def size(self, task: Task, agent: Agent) -> Size:
        """What a call is expected to take; override it to know better.

        The pool's running average, or the prompt at three characters a token if that is more.
        """
        usual = self.pool(agent).size or Size()
        return Size(max(usual.input_tokens, len(task.prompt) / 3), usual.output_tokens)

    def started(self, task: Task, agent: Agent, now: float) -> Ticket:
        """Set aside what the call will take; give the ticket back to `finished`."""
        self.calls += 1
        ticket = Ticket(self.calls, agent, now, self.size(task, agent))
        pool = self.pool(agent)
        pool.running[ticket.number] = ticket
        self.outstanding[agent.name] = self.busy(agent) + 1
        return ticket

    def finished(
        self,
        ticket: Ticket,
        now: float,
        *,
        used: Size | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float | None = None,
    ) -> None:
        """Take a call's end into account.

        Args:
            ticket: what `started` gave.
            now: when it ended.
            used: the tokens it took; None for a call that failed without a count.
            headers: the response's headers, for `anthropic-ratelimit-*`.
            wait_s: seconds that a 429 asked to wait (`retry-after`): closes the pool.
        """
        agent, pool = ticket.agent, self.pool(ticket.agent)
        del pool.running[ticket.number]
        self.outstanding[agent.name] -= 1
        if used is not None:
            pool.size = pool.size.mixed(used) if pool.size else used
            seconds = now - ticket.started
            self.latency[agent.name] = _mix(self.latency.get(agent.name, seconds), seconds)
        if wait_s is not None:
            pool.closed_until = max(pool.closed_until, now + wait_s)
        if gauges := read_gauges(headers or {}, now):
            pool.gauges, pool.told_by = gauges, ticket.number

    def pool(self, agent: Agent) -> Pool:
        """The pool that `agent` draws on."""
        return self.pools.setdefault(agent.pool, Pool())

    def _opens(self, task: Task, agent: Agent, now: float) -> float:
        return self.pool(agent).opens_at(self.size(task, agent), now)


class Unbalanced(Balancer):
    """The first agent at once, for calls that are handed on to whoever balances them."""

    def choose(self, task: Task, agents: Sequence[Agent], now: float) -> Agent | None:
        """No limit is looked at here."""
        return agents[0]


class Standby(Balancer):
    """The highest priority that has headroom; the others stand by until it is full or fails."""

    def order(self, agent: Agent) -> tuple[float, ...]:
        """Priority first, then as in `Balancer`."""
        return (-agent.priority, *super().order(agent))


def read_gauges(headers: Mapping[str, str], now: float) -> dict[str, Gauge]:
    """The limits that a response tells, by kind; empty when it tells none.

    A pool in debt is told as 0 remaining; how far its reset lies ahead says how deep. The reset
    and the `date` header are both of the server's clock, so their difference needs none of ours.
    """
    found = {}
    for kind in KINDS:
        name = f"anthropic-ratelimit-{kind}"
        try:
            limit, left = float(headers[f"{name}-limit"]), float(headers[f"{name}-remaining"])
            if left <= 0 and "date" in headers:
                left = min(0.0, limit - limit / 60 * _until(headers[f"{name}-reset"], headers))
        except (KeyError, ValueError, TypeError):
            continue  # not told, or in a form that nobody knows
        if isfinite(limit + left):
            found[kind] = Gauge(max(1.0, limit), left, now)
    return found


def _until(reset: str, headers: Mapping[str, str]) -> float:
    """Seconds from the response's date to the reset."""
    date = parsedate_to_datetime(headers["date"])
    return (datetime.fromisoformat(reset) - date).total_seconds()


def _mix(average: float, newest: float) -> float:
    return average + _SMOOTHING * (newest - average)
