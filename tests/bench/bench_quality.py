"""Five votes beside other ways of asking five times, and what early stopping saves.

The same five answers come from one `httpx2.MockTransport`, so what is compared is the libraries'
own cost. The savings and the waiting times need no machine: they are counted, over every sequence
of votes and on a virtual clock.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import instructor
from harness import interleaved, write_results
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Reply, VirtualClock
from patterns.quality import self_consistent, self_consistent_async, vote
from patterns.quality.odds import early_stop_cost
from patterns.quality.vote import still_needed

N = 5
QUESTION = "How many whole numbers from 1 to 99 can be divided by 6 or by 8?"


class Answer(BaseModel):
    """A number."""

    answer: int


def answer(request: httpx2.Request) -> httpx2.Response:
    """The same answer every time: as text, or as a tool call where tools were sent."""
    body = json.loads(request.content)
    block: dict[str, Any] = {"type": "text", "text": '{"answer": 24}'}
    if body.get("tools"):
        name = body["tools"][0]["name"]
        block = {"type": "tool_use", "id": "t1", "name": name, "input": {"answer": 24}}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": [block],
        "stop_reason": "tool_use" if body.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 30, "output_tokens": 30},
    }
    return httpx2.Response(200, json=message)


def candidates(loop: asyncio.AbstractEventLoop) -> dict[str, Callable[[], object]]:
    """Each way of voting with five samples, as a call without arguments."""
    transport = httpx2.MockTransport(answer)
    client = anthropic.Anthropic(api_key="test", http_client=httpx2.Client(transport=transport))
    async_client = anthropic.AsyncAnthropic(
        api_key="test", http_client=httpx2.AsyncClient(transport=transport)
    )
    turns: list[Any] = [{"role": "user", "content": QUESTION}]
    common: dict[str, Any] = {"model": SONNET, "max_tokens": 4096, "messages": turns}
    tools = instructor.from_anthropic(client, mode=instructor.Mode.ANTHROPIC_TOOLS)
    model = AnthropicModel(SONNET, provider=AnthropicProvider(anthropic_client=async_client))
    agent = Agent(model, output_type=NativeOutput(Answer), model_settings={"max_tokens": 4096})

    def parse_loop() -> object:
        parsed = (client.messages.parse(**common, output_format=Answer) for _ in range(N))
        return Counter(each.parsed_output.answer for each in parsed if each.parsed_output)

    def instructor_loop() -> object:
        return Counter(tools.create(**common, response_model=Answer).answer for _ in range(N))

    async def parse_gather() -> object:
        calls = [async_client.messages.parse(**common, output_format=Answer) for _ in range(N)]
        parsed = await asyncio.gather(*calls)
        return Counter(each.parsed_output.answer for each in parsed if each.parsed_output)

    async def agents() -> object:
        runs = await asyncio.gather(*(agent.run(QUESTION) for _ in range(N)))
        return Counter(run.output.answer for run in runs)

    every: dict[str, Any] = {"n": N, "answer": int, "stop_early": False}
    return {
        "messages.parse in a loop": parse_loop,
        "self_consistent, one at a time": lambda: self_consistent(
            client, QUESTION, concurrency=1, **every
        ),
        "self_consistent, stopping early": lambda: self_consistent(
            client, QUESTION, n=N, answer=int, concurrency=1
        ),
        "instructor in a loop": instructor_loop,
        "messages.parse gathered": lambda: loop.run_until_complete(parse_gather()),
        "self_consistent_async, five at once": lambda: loop.run_until_complete(
            self_consistent_async(async_client, QUESTION, concurrency=N, **every)
        ),
        "pydantic-ai gathered": lambda: loop.run_until_complete(agents()),
    }


def sequences(n: int, head: tuple[int, ...] = (), names: int = 0) -> Iterator[tuple[int, ...]]:
    """Every sequence of n votes, up to renaming the answers."""
    if len(head) == n:
        yield head
        return
    for each in range(names + 1):
        yield from sequences(n, (*head, each), max(names, each + 1))


def asked(votes: tuple[int, ...]) -> int:
    """How many of these votes a vote that stops early asks for."""
    told = 0
    while more := still_needed(Counter(votes[:told]).values(), len(votes) - told):
        told += more
    return told


def early_stopping(n: int) -> dict[str, Any]:
    """Over every sequence of n votes: winners that changed, and the mean saving."""
    total = saved = changed = 0
    for votes in sequences(n):
        told = asked(votes)
        early, full = vote(votes[:told]), vote(votes)
        changed += (early.answer, set(early.tie)) != (full.answer, set(full.tie))
        total, saved = total + n, saved + n - told
    by_chance = {f"{p:.0%}": round(1 - early_stop_cost(p, n)[0] / n, 3) for p in (0.5, 0.7, 0.9)}
    return {
        "sequences": total // n,
        "winners_changed": changed,
        "mean_saving_over_sequences": round(saved / total, 3),
        "mean_saving_when_a_sample_is_right_with": by_chance,
    }


def waiting(n: int, concurrency: int) -> float:
    """Seconds on a virtual clock over the ideal, for calls of one second each."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    api.enqueue(*[Reply(json={"answer": 24}, seconds=1.0)] * n)
    client = api.async_client()
    clock.run(client.models.retrieve(SONNET))  # a client's first call looks up its platform
    clock.run(
        self_consistent_async(
            client, QUESTION, n=n, answer=int, concurrency=concurrency, stop_early=False
        )
    )
    return clock.elapsed / -(-n // concurrency)


def main() -> None:
    """Measure, print and write `results/quality.json`."""
    loop = asyncio.new_event_loop()
    seconds = interleaved(candidates(loop), rounds=31, calls=5)
    loop.close()
    sync = seconds["self_consistent, one at a time"] / seconds["messages.parse in a loop"]
    side_by_side = (
        seconds["self_consistent_async, five at once"] / seconds["messages.parse gathered"]
    )
    stopping = {str(n): early_stopping(n) for n in (3, 5, 7, 9)}
    waits = {f"{n} at {c}": round(waiting(n, c), 3) for n in (9, 100) for c in (1, 4, 16)}
    write_results(
        "quality",
        {
            "milliseconds_per_vote_of_five": {k: round(1e3 * v, 3) for k, v in seconds.items()},
            "self_consistent_over_parse_loop": round(sync, 2),
            "self_consistent_async_over_parse_gathered": round(side_by_side, 2),
            "early_stopping_by_n": stopping,
            "virtual_seconds_over_ideal": waits,
        },
        packages=["anthropic", "pydantic", "httpx2", "instructor", "pydantic-ai-slim"],
        targets={
            "self_consistent at most 1.4 times a loop of messages.parse": sync <= 1.4,
            "five at once at most 1.4 times a gather of messages.parse": side_by_side <= 1.4,
            "no winner changed by stopping early": not any(
                each["winners_changed"] for each in stopping.values()
            ),
            "waiting at most 1.05 times the ideal": max(waits.values()) <= 1.05,
        },
    )


if __name__ == "__main__":
    main()
