"""Simulated rate-limit pools: what a balancer meets, without the network and on virtual time.

Input tokens are taken from the pool's bucket when a call arrives, output tokens when it ends;
both refill evenly, as the API describes its limits. A call that does not fit gets a 429 with
`retry-after`.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from statistics import quantiles

import anthropic
import httpx2
from anthropic.types import Usage

from patterns.agents.balancer import Balancer
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.report import Context, Reply
from patterns.agents.scheduler import run_plan
from patterns.fake_api.clock import VirtualClock

EPOCH = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Bucket:
    """Tokens that refill evenly up to a minute's worth."""

    per_minute: float
    level: float
    seen: float = 0.0

    def at(self, now: float) -> float:
        """The level at `now`."""
        grown = self.level + self.per_minute / 60 * (now - self.seen)
        self.level, self.seen = min(self.per_minute, grown), now
        return self.level

    def headers(self, kind: str, now: float) -> dict[str, str]:
        """What a response says of it."""
        full_s = (self.per_minute - self.at(now)) / self.per_minute * 60
        name = f"anthropic-ratelimit-{kind}"
        return {
            f"{name}-limit": f"{self.per_minute:.0f}",
            f"{name}-remaining": f"{max(0.0, self.level):.0f}",
            f"{name}-reset": (EPOCH + timedelta(seconds=now + full_s)).isoformat(),
        }


@dataclass
class Pool:
    """The two token limits of one organisation and model class."""

    inputs: Bucket
    outputs: Bucket
    blocked: int = 0

    def headers(self, now: float) -> dict[str, str]:
        """What every response of this pool says."""
        date = {"date": format_datetime(EPOCH + timedelta(seconds=now), usegmt=True)}
        both = self.inputs.headers("input-tokens", now) | self.outputs.headers("output-tokens", now)
        return date | both


@dataclass
class World:
    """Four agents of different speed on three pools, and the calls that come in.

    `load` is the share of the pools' output tokens that the calls need, over time. Of pool one
    there is twice as much, and two agents draw on it.
    """

    seed: int = 0
    load: float = 0.95
    calls: int = 1_000
    speeds: dict[str, float] = field(  # output tokens per second
        default_factory=lambda: {"fast": 160.0, "also fast": 120.0, "middle": 70.0, "slow": 35.0}
    )
    pool_of: dict[str, str] = field(
        default_factory=lambda: {
            "fast": "one",
            "slow": "one",
            "also fast": "two",
            "middle": "three",
        }
    )

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.agents = [
            Agent(name, pool=self.pool_of[name], max_concurrency=64) for name in self.speeds
        ]
        self.sizes = [self.size() for _ in range(self.calls)]
        output = sum(out for _, out in self.sizes) / self.calls
        given = sum(into for into, _ in self.sizes) / self.calls
        shares = {"one": 2.0, "two": 1.0, "three": 1.0}
        self.pools = {
            name: Pool(half_full(given * 100 * share), half_full(output * 60 * share))
            for name, share in shares.items()
        }
        every_s = output / (self.load * sum(p.outputs.per_minute for p in self.pools.values()) / 60)
        self.gaps = [self.rng.expovariate(1 / every_s) for _ in range(self.calls)]

    def size(self) -> tuple[int, int]:
        """Input and output tokens of a call: both with a heavy tail."""
        return (
            int(min(20_000, self.rng.lognormvariate(7.3, 0.8))),
            int(min(4_000, self.rng.lognormvariate(5.6, 0.9))),
        )

    async def call(self, agent: Agent, task: Task, context: Context) -> Reply:
        """Answer like the API: a 429, or tokens after a while."""
        given, output = self.sizes[int(task.id)]
        pool, loop = self.pools[agent.pool], asyncio.get_running_loop()
        now = loop.time()
        if pool.inputs.at(now) < given or pool.outputs.at(now) <= 0:
            pool.blocked += 1
            raise too_many(pool.headers(now))
        pool.inputs.level -= given
        await asyncio.sleep(0.8 + output / self.speeds[agent.name])
        pool.outputs.at(loop.time())
        pool.outputs.level -= output
        usage = Usage(input_tokens=given, output_tokens=output)
        return Reply(task.id, (usage,), headers=pool.headers(loop.time()))

    async def arrivals(self, balancer: Balancer) -> list[float]:
        """Every call as a run of its own, with one balancer between them; seconds for each."""
        loop = asyncio.get_running_loop()

        async def one(number: int) -> float:
            task = Task(str(number), "x" * 3 * self.sizes[number][0], max_attempts=20)
            begun = loop.time()
            report = await run_plan(
                Plan((task,)), self.agents, self.call, max_concurrency=1, balancer=balancer
            )
            assert report.ok
            return loop.time() - begun

        under_way = []
        for number, gap in enumerate(self.gaps):
            await asyncio.sleep(gap)
            under_way.append(asyncio.create_task(one(number)))
        return await asyncio.gather(*under_way)


def half_full(per_minute: float) -> Bucket:
    """A bucket as a busy minute leaves it."""
    return Bucket(per_minute, per_minute / 2)


def too_many(headers: dict[str, str]) -> anthropic.RateLimitError:
    """The error that the SDK raises for a 429."""
    request = httpx2.Request("POST", "https://api.example/v1/messages")
    response = httpx2.Response(429, headers={**headers, "retry-after": "1"}, request=request)
    return anthropic.RateLimitError("rate limited", response=response, body=None)


def measure(balancer: Balancer, world: World) -> tuple[float, int]:
    """The 95th percentile of the seconds that a call took, and how many were blocked."""
    seconds: Sequence[float] = VirtualClock().run(world.arrivals(balancer))
    p95 = quantiles(seconds, n=20)[-1]
    return p95, sum(pool.blocked for pool in world.pools.values())
