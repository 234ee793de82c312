"""Balancing: who is asked next, what headroom is, and what it is worth under a limit."""

import asyncio
from functools import partial

import pytest
from agents_pools import World, measure
from hypothesis import given
from hypothesis import strategies as st

from patterns.agents.balancer import POLL_S, Balancer, Gauge, Size, Standby, read_gauges
from patterns.agents.plan import Agent, Plan, Task
from patterns.agents.scheduler import run_plan
from patterns.agents.worker import caller
from patterns.course.views.agents import RoundRobin
from patterns.fake_api import FakeAPI, Latency, RateLimits, VirtualClock
from patterns.policy.budgets import Limits, MemoryStore
from patterns.policy.rate_limit import RateLimit

A, B = Agent("a", pool="one"), Agent("b", pool="two")
TASK = Task("t", "")
DATE = "Sun, 01 Nov 2026 09:00:00 GMT"


def told(kind: str, remaining: float, limit: float = 6_000, reset_s: int = 0) -> dict[str, str]:
    """The headers of a response that tells one limit."""
    name = f"anthropic-ratelimit-{kind}"
    return {
        "date": DATE,
        f"{name}-limit": str(limit),
        f"{name}-remaining": str(remaining),
        f"{name}-reset": f"2026-11-01T09:{reset_s // 60:02}:{reset_s % 60:02}Z",
    }


def called(
    balancer: Balancer,
    agent: Agent,
    *,
    seconds: float = 1.0,
    used: Size | None = None,
    headers: dict[str, str] | None = None,
    wait_s: float | None = None,
) -> None:
    """One finished call that started at 0."""
    ticket = balancer.started(TASK, agent, 0.0)
    balancer.finished(ticket, seconds, used=used, headers=headers, wait_s=wait_s)


def test_the_agent_with_fewer_calls_under_way_is_next() -> None:
    """When both take as long."""
    balancer = Balancer()
    for agent in (A, B):
        called(balancer, agent, used=Size(1, 1))
    balancer.started(TASK, A, 0.0)
    assert balancer.choose(TASK, [A, B], 0.0) is B


def test_a_fast_agent_gets_more_calls_than_a_slow_one() -> None:
    """b takes three times as long, so it comes third."""
    balancer = Balancer()
    called(balancer, A, seconds=1, used=Size(1, 1))
    called(balancer, B, seconds=2.5, used=Size(1, 1))
    chosen = []
    for _ in range(4):
        agent = balancer.choose(TASK, [A, B], 3.0)
        assert agent
        balancer.started(TASK, agent, 3.0)
        chosen.append(agent.name)
    assert chosen == ["a", "a", "b", "a"]


def test_priority_decides_among_equals() -> None:
    """Nothing is known of either yet."""
    assert Balancer().choose(TASK, [A, Agent("c", priority=1)], 0.0) == Agent("c", priority=1)


def test_an_unknown_agent_is_tried() -> None:
    """It counts as fast as the fastest until it has shown otherwise."""
    balancer = Balancer()
    called(balancer, A, seconds=4, used=Size(1, 1))
    balancer.started(TASK, A, 5.0)
    assert balancer.choose(TASK, [A, B], 5.0) is B


def test_agents_on_standby_wait_for_the_first_to_be_busy() -> None:
    """However fast they are."""
    first = Agent("first", priority=1, max_concurrency=1)
    balancer = Standby()
    called(balancer, first, seconds=9, used=Size(1, 1))
    called(balancer, A, seconds=1, used=Size(1, 1))
    assert balancer.choose(TASK, [A, first], 9.0) is first
    balancer.started(TASK, first, 9.0)
    assert balancer.choose(TASK, [A, first], 9.0) is A


def test_an_agent_at_its_cap_is_passed_over() -> None:
    """And when all are, there is nobody, and it is worth looking again soon."""
    balancer, one = Balancer(), Agent("one", max_concurrency=1)
    balancer.started(TASK, one, 0.0)
    assert balancer.choose(TASK, [one], 0.0) is None
    assert balancer.look_again(TASK, [one], 5.0) == 5.0 + POLL_S
    assert balancer.choose(TASK, [one, A], 0.0) is A


@pytest.mark.parametrize("kind", ["input-tokens", "output-tokens", "tokens"])
def test_a_pool_without_headroom_is_passed_over_until_it_refills(kind: str) -> None:
    """300 tokens are left of 6,000 a minute, the call takes 1,000: it fits 7 seconds later."""
    balancer = Balancer()
    called(balancer, A, used=Size(1_000, 1_000), headers=told(kind, 300))
    need = 2_000 if kind == "tokens" else 1_000
    opens = 1.0 + (need - 300) / 100
    assert balancer.choose(TASK, [A, B], 1.0) is B
    assert balancer.choose(TASK, [A], 1.0) is None
    assert balancer.look_again(TASK, [A], 1.0) == pytest.approx(opens)
    assert balancer.choose(TASK, [A], opens) is A


def test_requests_are_limited_too() -> None:
    """None is left of 60 a minute; one comes back every second."""
    balancer = Balancer()
    called(balancer, A, headers=told("requests", 0, limit=60))
    assert balancer.look_again(TASK, [A], 1.0) == 2.0


def test_calls_under_way_are_set_aside() -> None:
    """What no reading can have counted yet is not there to be given away."""
    balancer = Balancer()
    called(balancer, A, used=Size(1_000, 10), headers=told("input-tokens", 2_500))
    for _ in range(2):
        balancer.started(TASK, A, 1.0)
    assert balancer.pool(A).spare("input-tokens", 1.0) == 500
    assert balancer.choose(TASK, [A], 1.0) is None


def test_two_agents_of_one_pool_share_its_headroom() -> None:
    """Spreading calls over them cures no 429."""
    balancer, twin = Balancer(), Agent("twin", pool="one")
    called(balancer, A, used=Size(1_000, 0), headers=told("input-tokens", 100))
    assert balancer.choose(TASK, [A, twin], 1.0) is None


def test_a_long_prompt_counts_with_its_own_length() -> None:
    """Three characters a token, if that is more than the pool's usual call."""
    balancer = Balancer()
    called(balancer, A, used=Size(100, 50))
    assert balancer.size(Task("t", "x" * 3_000), A) == Size(1_000, 50)
    assert balancer.size(TASK, A) == Size(100, 50)


def test_the_size_of_a_call_is_learnt() -> None:
    """The first one counts in full, later ones move the average."""
    balancer = Balancer()
    called(balancer, A, used=Size(1_000, 100))
    assert balancer.size(TASK, A) == Size(1_000, 100)
    called(balancer, A, used=Size(2_000, 600))
    assert balancer.size(TASK, A) == Size(1_200, 200)


def test_a_429_closes_the_whole_pool_for_as_long_as_it_says() -> None:
    """Even when no header tells a limit."""
    balancer = Balancer()
    called(balancer, A, wait_s=7.0)
    assert balancer.choose(TASK, [A, B], 1.0) is B
    assert balancer.look_again(TASK, [A], 1.0) == 8.0
    assert balancer.choose(TASK, [A], 8.0) is A


def test_a_call_bigger_than_the_limit_waits_for_a_full_pool() -> None:
    """It would otherwise wait for ever; let the API decide on it."""
    balancer = Balancer()
    called(balancer, A, used=Size(9_999, 0), headers=told("input-tokens", 5_900))
    assert balancer.look_again(TASK, [A], 1.0) == 2.0
    assert balancer.choose(TASK, [A], 2.0) is A


def test_a_pool_in_debt_is_told_by_its_reset() -> None:
    """0 remaining and full in 90 s at 100 a second means 3,000 below zero."""
    assert read_gauges(told("tokens", 0, reset_s=90), 5.0) == {"tokens": Gauge(6_000, -3_000, 5.0)}
    assert Gauge(6_000, -3_000, 5.0).level(45.0) == 1_000
    assert Gauge(6_000, -3_000, 5.0).level(999.0) == 6_000
    assert read_gauges(told("tokens", 1, reset_s=90), 5.0) == {"tokens": Gauge(6_000, 1, 5.0)}


def test_headers_that_tell_nothing_are_left_alone() -> None:
    """No headers, a broken number, no date."""
    assert read_gauges({}, 0.0) == {}
    assert read_gauges(told("tokens", 5) | {"anthropic-ratelimit-tokens-limit": "?"}, 0.0) == {}
    undated = {name: text for name, text in told("tokens", 0).items() if name != "date"}
    assert read_gauges(undated, 0.0)["tokens"].remaining == 0


@given(st.lists(st.tuples(st.floats(0, 6_000), st.floats(0, 5_000)), min_size=1))
def test_a_granted_call_fits_what_was_told(readings: list[tuple[float, float]]) -> None:
    """Whatever a pool has told, the gate opens only when the call fits (or the pool is full)."""
    balancer = Balancer()
    for remaining, tokens in readings:
        called(balancer, A, used=Size(tokens, 0), headers=told("input-tokens", remaining))
    now = balancer.look_again(TASK, [A], 1.0) if not balancer.choose(TASK, [A], 1.0) else 1.0
    need = min(balancer.size(TASK, A).input_tokens, 6_000)
    assert balancer.pool(A).spare("input-tokens", now) >= need - 1e-6
    assert balancer.choose(TASK, [A], now + 1e-6) is A


def test_no_call_is_blocked_at_95_per_cent_and_the_tail_is_shorter() -> None:
    """On simulated pools, beside round robin; the full table is in the benchmark."""
    slow, blocked = measure(Balancer(), World(seed=2, calls=300))
    robin, _ = measure(RoundRobin(), World(seed=2, calls=300))
    assert blocked == 0
    assert slow <= 0.7 * robin


def test_workers_whose_clients_share_a_store_stay_inside_one_limit() -> None:
    """A balancer knows what it was told; chapter 01's limit in the client knows of all workers."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, limits=RateLimits(rpm=60), latency=Latency(0.1))
    store = MemoryStore(clock=clock.now)
    shared = partial(RateLimit, Limits(rpm=60), store, max_wait=600, sleep_async=asyncio.sleep)

    async def worker() -> None:
        client = api.async_client(middleware=[shared()], max_retries=0)
        plan = Plan(tuple(Task(f"t{n}", "Hi") for n in range(45)))
        team = [Agent("a", max_concurrency=64)]
        assert (await run_plan(plan, team, caller(client), max_concurrency=64)).ok

    async def all_of_them() -> None:
        await api.async_client().models.list()
        await asyncio.gather(*(worker() for _ in range(4)))

    clock.run(all_of_them())
    asked = [entry.status for entry in api.journal if entry.method == "POST"]
    assert asked == [200] * 180
    assert clock.elapsed == pytest.approx(120, rel=0.05)
