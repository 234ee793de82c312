"""One call first, so that the parallel ones read."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from anthropic import AsyncAnthropic, InternalServerError

from patterns.caching import CacheStats, savings, warm_then_fan_out
from patterns.caching.warming import CannotWarm, NotCached, warm, warm_async
from patterns.core.fan_out import fan_out
from patterns.core.models import SONNET
from patterns.fake_api import Error, FakeAPI, Latency, VirtualClock

DOCUMENT = {
    "type": "text",
    "text": "abcd" * 40_000,
    "cache_control": {"type": "ephemeral"},
}


def request(question: str = "What is new?", **more: Any) -> dict[str, Any]:
    """A question about 40,000 shared tokens."""
    asked = {"role": "user", "content": question}
    base = {"model": SONNET, "max_tokens": 100, "system": [DOCUMENT], "messages": [asked]}
    return base | more


def agents() -> list[dict[str, Any]]:
    """Eight agents with one prefix."""
    return [request(f"Part {n}?") for n in range(8)]


def cost(usages: Iterable[Any]) -> Decimal:
    """Dollars for the prompt."""
    stats = savings(usages, SONNET).stats
    return stats.usd.prompt


def test_warming_writes_without_an_answer() -> None:
    """max_tokens=0 on the wire, a write in the usage, no output."""
    api = FakeAPI()
    message = warm(api.client(), request())
    assert api.journal[0].body["max_tokens"] == 0
    assert message.usage.cache_creation_input_tokens == 40_000
    assert message.usage.output_tokens == 0


def test_call_after_warming_reads() -> None:
    """The next call finds what warming wrote, and warming again only refreshes it."""
    client = FakeAPI().client()
    warm(client, request())
    assert client.messages.create(**request("Why?")).usage.cache_read_input_tokens == 40_000
    assert warm(client, request()).usage.cache_creation_input_tokens == 0


@pytest.mark.parametrize(
    ("extra", "setting"),
    [
        ({"stream": True}, "stream"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, "a thinking budget"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "structured output"),
        ({"tool_choice": {"type": "any"}}, "tool_choice any"),
        ({"tool_choice": {"type": "tool", "name": "add"}}, "tool_choice tool"),
        ({"system": "No breakpoint here."}, "no cache_control"),
    ],
)
def test_request_that_cannot_be_warmed_is_not_sent(extra: dict[str, Any], setting: str) -> None:
    """The API answers 400 to these; the message says what to do instead."""
    api = FakeAPI()
    with pytest.raises(CannotWarm, match="let one real call go first") as caught:
        warm(api.client(), request(**extra))
    assert (caught.value.setting, api.journal) == (setting, [])


def test_warming_a_short_prefix_is_not_silent() -> None:
    """The API processes it without a word; here it is an error with both numbers."""
    short = {**DOCUMENT, "text": "abcd" * 500}
    with pytest.raises(NotCached, match=r"under 512 tokens") as caught:
        warm(FakeAPI().client(), request(system=[short]))
    assert (caught.value.minimum, caught.value.tokens) == (512, 506)
    assert caught.value.message.usage.cache_read_input_tokens == 0


def test_eight_cold_agents_in_parallel_all_write() -> None:
    """None can read what has not begun to be answered: $0.80, dearer than no caching."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=Latency())

    async def run() -> Decimal:
        send = api.async_client().messages.create
        outcomes = [o async for o in fan_out(agents(), lambda job: send(**job), limit=8)]
        return cost(outcome.unwrap().usage for outcome in outcomes)

    questions = 8 * 5 * Decimal(2) / 1_000_000
    assert clock.run(run()) - questions == Decimal("0.80")


def test_eight_agents_after_warming_all_read() -> None:
    """One write and eight reads, $0.132; letting one agent go first would be $0.128."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=Latency())

    async def run() -> Decimal:
        client = api.async_client()
        answers = warm_then_fan_out(client, agents(), limit=8)
        usages = [outcome.unwrap().usage async for outcome in answers]
        return cost(usages)

    reads = clock.run(run())
    warming = CacheStats.from_usage(_Usage(api.journal[0].usage), SONNET).usd.prompt
    questions = 9 * 5 * Decimal(2) / 1_000_000
    assert reads + warming - questions == Decimal("0.132")
    assert sum(entry.body["max_tokens"] == 0 for entry in api.journal) == 1


class _Usage:
    """The journal's usage, with attributes."""

    def __init__(self, fields: Any) -> None:
        self.__dict__.update(fields)
        if isinstance(fields.get("cache_creation"), dict):
            self.cache_creation = _Usage(fields["cache_creation"])


def test_single_request_is_not_warmed() -> None:
    """There is nobody to read it."""
    api = FakeAPI()

    async def run(client: AsyncAnthropic) -> int:
        return len([o async for o in warm_then_fan_out(client, agents()[:1], limit=8)])

    assert (asyncio.run(run(api.async_client())), len(api.journal)) == (1, 1)


def test_two_requests_are_warmed_for() -> None:
    """The second one reads."""
    api = FakeAPI()

    async def run(client: AsyncAnthropic) -> int:
        return len([o async for o in warm_then_fan_out(client, agents()[:2], limit=8)])

    assert (asyncio.run(run(api.async_client())), len(api.journal)) == (2, 3)


def test_failed_warming_sends_nothing_else() -> None:
    """Eight cold writes are what one wanted to avoid."""
    api = FakeAPI()
    api.enqueue(Error(529))

    async def run(client: AsyncAnthropic) -> None:
        async for _ in warm_then_fan_out(client, agents(), limit=8):
            raise AssertionError("no request may be sent")

    with pytest.raises(InternalServerError):
        asyncio.run(run(api.async_client(max_retries=0)))
    assert len(api.journal) == 1


def test_one_failing_agent_leaves_the_others_their_answers() -> None:
    """Failures are outcomes."""
    api = FakeAPI()
    api.enqueue("", "one", Error(529), "three")

    async def run(client: AsyncAnthropic) -> list[bool]:
        jobs = warm_then_fan_out(client, agents()[:3], limit=1)
        return [outcome.ok async for outcome in jobs]

    assert asyncio.run(run(api.async_client(max_retries=0))) == [True, False, True]


def test_async_warming_raises_the_same_errors() -> None:
    """Two clients, one decision."""
    api = FakeAPI()
    with pytest.raises(CannotWarm):
        asyncio.run(warm_async(api.async_client(), request(stream=True)))
