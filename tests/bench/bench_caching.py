"""The planner and long conversations, measured; and how far the plan is from the bill.

    .venv-bench/bin/python tests/bench/bench_caching.py

A plan is compared with the exhaustive search that it replaces, in the same interleaved run. A
conversation of 1,000 turns is measured in bytes kept and in seconds per byte sent: both must stay
level as it grows. Pydantic AI places breakpoints by flags; the same calls through its agent and
through a plan of ours are billed by the fake API.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "caching"), str(Path(__file__).parent)]

from anthropic.types import Usage  # noqa: E402  # the path comes first
from harness import interleaved, write_results  # noqa: E402
from pydantic_ai import Agent  # noqa: E402
from pydantic_ai.models.anthropic import (  # noqa: E402
    AnthropicModel,
    AnthropicModelSettings,
)
from pydantic_ai.providers.anthropic import (  # noqa: E402
    AnthropicProvider,
)
from test_planner import (  # noqa: E402
    Bill,
    placements,
    price_of,
    workload,
)

from patterns.caching import CachedAssistant, Segment, plan_breakpoints, savings  # noqa: E402
from patterns.caching.limits import min_cacheable  # noqa: E402
from patterns.caching.traffic import Poisson  # noqa: E402
from patterns.core.models import SONNET  # noqa: E402
from patterns.fake_api import FakeAPI, VirtualClock  # noqa: E402

WORKLOADS = 300
TURNS = 1_000
CALLS = 1_000
EIGHT = [Segment(f"s{i}", 3_000, 0.02) for i in range(8)]


def exhaustive(segments: list[Segment], model: str, calls: Any) -> float:
    """The cheapest of all placements."""
    bill: Any = Bill(segments, price_of(model, sum(s.tokens for s in segments)), calls)
    return float(min(map(bill.mean, placements(segments, min_cacheable(model)))))


def optimality() -> dict[str, float]:
    """Worst ratios over random workloads, and how the obvious choices do."""
    ratios, automatic, uncached = [], [], []
    for seed in range(10_000, 10_000 + WORKLOADS):
        segments, model, calls = workload(seed)
        plan = plan_breakpoints(segments, model, calls)
        ratios.append(plan.usd / exhaustive(segments, model, calls))
        automatic.append(plan.usd_automatic / plan.usd)
        uncached.append(plan.usd_uncached / plan.usd)
    return {
        "workloads": WORKLOADS,
        "worst cost over optimum": max(ratios),
        "median automatic over plan": statistics.median(automatic),
        "median uncached over plan": statistics.median(uncached),
        "least automatic or uncached over plan": min(automatic + uncached),
    }


def plan_times() -> dict[str, float]:
    """Milliseconds a plan of eight segments takes, and the worst of all the workloads'."""
    calls = Poisson(200)
    medians = interleaved(
        {
            "plan": lambda: plan_breakpoints(EIGHT, SONNET, calls),
            "exhaustive": lambda: exhaustive(EIGHT, SONNET, calls),
        },
        rounds=9,
    )
    worst = 0.0
    for seed in range(WORKLOADS):
        segments, model, arrivals = workload(seed)
        tries = []
        for _ in range(3):
            started = time.process_time()
            plan_breakpoints(segments, model, arrivals)
            tries.append(time.process_time() - started)
        worst = max(worst, min(tries))
    return {
        "plan, 8 segments, ms": medians["plan"] * 1e3,
        "exhaustive, 8 segments, ms": medians["exhaustive"] * 1e3,
        "worst of the workloads, ms": worst * 1e3,
    }


Turn = tuple[float, str, str]
"""Seconds since the call before, rules, notes."""

PROMPT = [Segment("rules", 900, 0.02), Segment("notes", 2_000, 0.6), Segment("ask", 4, 1)]
GAPS = Poisson(200)


def stream() -> Iterator[Turn]:
    """The same random calls for everybody: rules seldom change, notes often."""
    rng, contents = random.Random(3), ["r", "n"]
    for n in range(CALLS):
        gap = rng.expovariate(1 / GAPS.mean)
        for i, segment in enumerate(PROMPT[:2]):
            if rng.random() < segment.changes:
                contents[i] = f"{segment.name[0]}{n}"
        rules, notes = (c.ljust(4 * s.tokens, ".") for c, s in zip(contents, PROMPT, strict=False))
        yield gap, rules, notes


def billed(api: FakeAPI) -> float:
    """Dollars per call for the prompts that an API saw."""
    usages = [Usage.model_validate(entry.usage) for entry in api.journal]
    return float(savings(usages, SONNET).stats.usd.prompt) / len(usages)


def planned() -> float:
    """Dollars per call with the plan's breakpoints."""
    plan, clock = plan_breakpoints(PROMPT, SONNET, GAPS), VirtualClock()
    api = FakeAPI(clock=clock)
    client = api.client()
    for gap, rules, notes in stream():
        clock.advance(gap)
        system: Any = [
            {"type": "text", "text": rules, **plan.mark("rules")},
            {"type": "text", "text": notes, **plan.mark("notes")},
        ]
        asked: Any = [{"role": "user", "content": "?"}]
        client.messages.create(model=SONNET, max_tokens=9, system=system, messages=asked)
    return billed(api)


def by_flags(**flags: Any) -> float:
    """Dollars per call through Pydantic AI with its cache settings."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    provider = AnthropicProvider(anthropic_client=api.async_client())
    agent = Agent(AnthropicModel(SONNET, provider=provider))

    async def run() -> None:
        for gap, rules, notes in stream():
            clock.advance(gap)
            settings = AnthropicModelSettings(max_tokens=9, **flags)
            await agent.run("?", instructions=[rules, notes], model_settings=settings)

    asyncio.run(run())
    return billed(api)


def bills() -> dict[str, float]:
    """Dollars per thousand calls of one workload, and how far the plan is from its bill."""
    expected, ours = plan_breakpoints(PROMPT, SONNET, GAPS).usd, planned()
    peers: dict[str, dict[str, Any]] = {
        "pydantic-ai, no flag": {},
        "pydantic-ai, anthropic_cache": {"anthropic_cache": True},
        "pydantic-ai, anthropic_cache_instructions 5m": {"anthropic_cache_instructions": "5m"},
        "pydantic-ai, anthropic_cache_instructions 1h": {"anthropic_cache_instructions": "1h"},
    }
    costs = {name: 1_000 * by_flags(**flags) for name, flags in peers.items()}
    return {"calls": CALLS, "bill over plan": ours / expected, "planned": 1_000 * ours, **costs}


def size_of(value: Any, seen: set[int]) -> int:
    """Bytes that a value keeps alive, each object once."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(size_of(k, seen) + size_of(v, seen) for k, v in value.items())
    if isinstance(value, list | tuple):
        return size + sum(size_of(each, seen) for each in value)
    return size


def conversation() -> dict[str, float]:
    """Growth of a conversation of 1,000 turns over the fake API."""
    api = FakeAPI()
    assistant = CachedAssistant(api.client(), "abcd" * 600)
    seconds, sent, kept, broken = [], [], [], 0
    earlier: list[Any] = []
    for n in range(TURNS):
        started = time.process_time()
        assistant.ask(f"Question number {n:04}?")
        seconds.append(time.process_time() - started)
        body = api.journal[-1].body
        broken += body["messages"][: len(earlier)] != earlier
        earlier = list(body["messages"])
        sent.append(len(json.dumps(body)))
        api.journal.clear()
        if n % 250 == 249:
            kept.append(size_of(vars(assistant)["_messages"], set()))
    early, late = slice(250, 500), slice(750, 1_000)
    return {
        "turns": TURNS,
        "prefixes rewritten": broken,
        "bytes kept per turn, turns 250-500": (kept[1] - kept[0]) / 250,
        "bytes kept per turn, turns 750-1000": (kept[3] - kept[2]) / 250,
        "us per KB sent, turns 250-500": 1e9 * sum(seconds[early]) / sum(sent[early]),
        "us per KB sent, turns 750-1000": 1e9 * sum(seconds[late]) / sum(sent[late]),
        "ms in turn 1000": 1e3 * statistics.median(seconds[-20:]),
        "hit rate": float(assistant.stats.hit_rate or 0),
    }


def main() -> None:
    """Measure everything and write the results."""
    best, times, money, talk = optimality(), plan_times(), bills(), conversation()
    cheapest = min(usd for name, usd in money.items() if name.startswith("pydantic-ai"))
    memory = [talk[f"bytes kept per turn, turns {span}"] for span in ("250-500", "750-1000")]
    speed = [talk[f"us per KB sent, turns {span}"] for span in ("250-500", "750-1000")]
    write_results(
        "caching",
        {"optimality": best, "times": times, "bills": money, "conversation": talk},
        packages=["anthropic", "genai-prices", "pydantic-ai-slim"],
        targets={
            "a plan costs at most 1.02 of the optimum": best["worst cost over optimum"] <= 1.02,
            "a plan is never dearer than automatic or none": best[
                "least automatic or uncached over plan"
            ]
            >= 1 - 1e-12,
            "a plan takes at most 5 ms": times["worst of the workloads, ms"] <= 5,
            "the bill is within 5 % of the plan": abs(money["bill over plan"] - 1) <= 0.05,
            "the plan is cheaper than any flag of Pydantic AI": money["planned"] < cheapest,
            "no prefix is rewritten in 1,000 turns": talk["prefixes rewritten"] == 0,
            "memory per turn stays level": memory[1] <= 1.25 * memory[0],
            "time per byte sent stays level": speed[1] <= 1.25 * speed[0],
        },
    )


if __name__ == "__main__":
    main()
