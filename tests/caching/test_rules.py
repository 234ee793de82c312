"""The documented rules of the prompt cache, as a table that the fake API must agree with.

Every case is a row of requests and what the last one reads and writes. Sizes are in tokens by the
fake's rule: "abcd" is one token, a message adds three.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from anthropic import BadRequestError

from patterns.caching import CacheStats
from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.fake_api import Error, FakeAPI, Reply, VirtualClock

Body = dict[str, Any]


class Seen(NamedTuple):
    """Prompt tokens of one response by kind."""

    uncached: int = 0
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


@dataclass(frozen=True)
class Call:
    """One request, sent some seconds after the one before."""

    body: Body
    after: float = 0
    workspace: str = "w1"
    fails: bool = False


def text(letter: str, tokens: int, ttl: str | None = None, **more: Any) -> Body:
    """A text block of that many tokens; a TTL gives it a breakpoint."""
    block: Body = {"type": "text", "text": letter * 4 * tokens, **more}
    return block | ({} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}})


def tool(name: str, ttl: str | None = None) -> Body:
    """A tool definition of somewhat more than 600 tokens."""
    made: Body = {"name": name, "description": "d" * 2_400, "input_schema": {"type": "object"}}
    return made | ({} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}})


def user(*content: Body) -> Body:
    """A user turn of blocks."""
    return {"role": "user", "content": list(content)}


Q, OTHER_Q = user(text("q", 1)), user(text("r", 1))  # 4 tokens each
AUTO: Body = {"type": "ephemeral"}
FORMAT: Body = {
    "type": "json_schema",
    "schema": {"type": "object", "additionalProperties": False},
}


def ask(*system: Body, turns: Sequence[Body] = (Q,), model: str = SONNET, **more: Any) -> Body:
    """A request body."""
    body: Body = {"model": model, "max_tokens": 50, "messages": list(turns), **more}
    return body | ({"system": list(system)} if system else {})


def grown(blocks: int, first_ttl: str | None = "5m") -> Body:
    """A conversation that that many blocks were added to since its first turn of 603 tokens."""
    added = [text("t", 1) for _ in range(blocks - 1)]
    answer = {"role": "assistant", "content": [text("t", 1)]}
    turns = [user(text("a", 600, first_ttl)), answer, user(*added)]
    return ask(turns=turns, cache_control=AUTO)


FIRST = ask(turns=[user(text("a", 600, "5m"))])
S = text("s", 600, "5m")
HOUR = text("s", 600, "1h")
IMAGE: Body = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
DOCUMENT: Body = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "w" * 40},
}
CITED = {**DOCUMENT, "citations": {"enabled": True}}
TAIL = user(text("m", 600, "5m"))  # a message with a breakpoint of its own: 603 tokens
TOOL = 626  # tokens of the tool definition above

CASES: dict[str, tuple[list[Call], Seen]] = {
    # The minimum: below it nothing is cached, and nothing says so.
    "one token under the minimum of Sonnet 5.5": (
        [Call(ask(text("s", 511, "5m")))] * 2,
        Seen(uncached=515),
    ),
    "the minimum of Sonnet 5.5": ([Call(ask(text("s", 512, "5m")))], Seen(4, written_5m=512)),
    "one token under the minimum of Sonnet 5": (
        [Call(ask(text("s", 1_023, "5m"), model="claude-sonnet-5"))] * 2,
        Seen(uncached=1_027),
    ),
    "the minimum of Sonnet 5": (
        [Call(ask(text("s", 1_024, "5m"), model="claude-sonnet-5"))] * 2,
        Seen(4, read=1_024),
    ),
    "one token under the minimum of Haiku 4.5": (
        [Call(ask(text("s", 4_095, "5m"), model="claude-haiku-4-5"))] * 2,
        Seen(uncached=4_099),
    ),
    "the minimum is of the prefix, not of the block": (
        [Call(ask(text("s", 400), text("u", 112, "5m")))] * 2,
        Seen(4, read=512),
    ),
    "a breakpoint under the minimum leaves the next one alone": (
        [Call(ask(text("s", 100, "5m"), text("u", 900, "5m")))],
        Seen(4, written_5m=1_000),
    ),
    # Without a breakpoint, and with the automatic one.
    "no breakpoint, no cache": ([Call(ask(text("s", 900)))] * 2, Seen(uncached=904)),
    "the automatic breakpoint is the last block": (
        [Call(ask(text("s", 600), cache_control=AUTO))] * 2,
        Seen(read=604),
    ),
    "the automatic breakpoint on a new question writes and never reads": (
        [
            Call(ask(text("s", 600), cache_control=AUTO)),
            Call(ask(text("s", 600), turns=[OTHER_Q], cache_control=AUTO)),
        ],
        Seen(written_5m=604),
    ),
    "the automatic breakpoint moves with the conversation": (
        [Call(FIRST), Call(grown(2, None))],
        Seen(read=603, written_5m=4 + 4),
    ),
    # Order, and byte equality.
    "a changed question keeps the system prompt": (
        [Call(ask(S)), Call(ask(S, turns=[OTHER_Q]))],
        Seen(4, read=600),
    ),
    "a changed system prompt keeps the tools": (
        [
            Call(ask(S, tools=[tool("a", "5m")])),
            Call(ask(text("u", 600, "5m"), tools=[tool("a", "5m")])),
        ],
        Seen(4, read=TOOL, written_5m=600),
    ),
    "changed tools keep nothing": (
        [
            Call(ask(S, tools=[tool("a", "5m")])),
            Call(ask(S, tools=[tool("b", "5m")])),
        ],
        Seen(4, written_5m=TOOL + 600),
    ),
    "tools in another order keep nothing": (
        [
            Call(ask(S, tools=[tool("a"), tool("b")])),
            Call(ask(S, tools=[tool("b"), tool("a")])),
        ],
        Seen(4, written_5m=2 * TOOL + 600),
    ),
    "one byte is enough": (
        [Call(ask(S)), Call(ask({**S, "text": "s" * 2_399 + "S"}))],
        Seen(4, written_5m=600),
    ),
    "a breakpoint is no part of the prompt": (
        [Call(ask(S, text("u", 100))), Call(ask(text("s", 600), text("u", 100, "5m")))],
        Seen(4, read=600, written_5m=100),
    ),
    "a string and one text block are the same prompt": (
        [
            Call(ask(turns=[TAIL])),
            Call(ask(turns=[{"role": "user", "content": "m" * 2_400}, Q], cache_control=AUTO)),
        ],
        Seen(read=603, written_5m=4),
    ),
    # Lookback: 20 blocks per breakpoint, its own included.
    "an entry 19 blocks back is found": (
        [Call(FIRST), Call(grown(19, None))],
        Seen(read=603, written_5m=4 + 3 + 18),
    ),
    "an entry 20 blocks back is not": (
        [Call(FIRST), Call(grown(20, None))],
        Seen(written_5m=603 + 4 + 3 + 19),
    ),
    "a second breakpoint in between bridges the gap": (
        [Call(FIRST), Call(grown(20, "5m"))],
        Seen(read=603, written_5m=4 + 3 + 19),
    ),
    # Lifetimes.
    "five minutes: read after 299 s": ([Call(ask(S)), Call(ask(S), 299)], Seen(4, read=600)),
    "five minutes: gone after 301 s": ([Call(ask(S)), Call(ask(S), 301)], Seen(4, written_5m=600)),
    "a hit renews five minutes": (
        [Call(ask(S)), Call(ask(S), 200), Call(ask(S), 200)],
        Seen(4, read=600),
    ),
    "an hour: read after 3,599 s": ([Call(ask(HOUR)), Call(ask(HOUR), 3_599)], Seen(4, read=600)),
    "an hour: gone after 3,601 s": (
        [Call(ask(HOUR)), Call(ask(HOUR), 3_601)],
        Seen(4, written_1h=600),
    ),
    "a hit renews an hour": (
        [Call(ask(HOUR)), Call(ask(HOUR), 2_000), Call(ask(HOUR), 2_000)],
        Seen(4, read=600),
    ),
    "a hit further on renews the entries before it": (
        [Call(ask(S, turns=[TAIL])), Call(ask(S, turns=[TAIL]), 200), Call(ask(S), 200)],
        Seen(4, read=600),
    ),
    # Two lifetimes in one request.
    "an hour and then five minutes are written apart": (
        [Call(ask(HOUR, text("u", 100, "5m")))],
        Seen(4, written_5m=100, written_1h=600),
    ),
    "ten minutes later the hour is read and the five minutes written again": (
        [Call(ask(HOUR, text("u", 100, "5m"))), Call(ask(HOUR, text("u", 100, "5m")), 600)],
        Seen(4, read=600, written_5m=100),
    ),
    # What invalidates what.
    "tool_choice invalidates the messages": (
        [
            Call(ask(S, turns=[TAIL], tools=[tool("a")])),
            Call(ask(S, turns=[TAIL], tools=[tool("a")], tool_choice={"type": "none"})),
        ],
        Seen(read=TOOL + 600, written_5m=603),
    ),
    "effort invalidates the messages": (
        [
            Call(ask(S, turns=[TAIL])),
            Call(ask(S, turns=[TAIL], output_config={"effort": "low"})),
        ],
        Seen(read=600, written_5m=603),
    ),
    "an output format comes with a system prompt of its own": (
        [
            Call(ask(S, tools=[tool("a", "5m")], turns=[TAIL])),
            Call(ask(S, tools=[tool("a", "5m")], turns=[TAIL], output_config={"format": FORMAT})),
        ],
        Seen(20, read=TOOL, written_5m=600 + 603),
    ),
    "thinking invalidates the messages": (
        [
            Call(ask(S, turns=[TAIL], model="claude-opus-5")),
            Call(ask(S, turns=[TAIL], model="claude-opus-5", thinking={"type": "disabled"})),
        ],
        Seen(read=600, written_5m=603),
    ),
    "an image anywhere invalidates the messages": (
        [Call(ask(S, turns=[TAIL])), Call(ask(S, turns=[TAIL, Q, user(IMAGE)]))],
        Seen(4 + 1_603, read=600, written_5m=603),
    ),
    "citations invalidate system and messages": (
        [
            Call(ask(S, tools=[tool("a", "5m")], turns=[user(DOCUMENT), TAIL])),
            Call(ask(S, tools=[tool("a", "5m")], turns=[user(CITED), TAIL])),
        ],
        Seen(read=TOOL, written_5m=600 + 13 + 603),
    ),
    "fast mode invalidates system and messages": (
        [
            Call(ask(S, tools=[tool("a", "5m")], turns=[TAIL], model=OPUS)),
            Call(ask(S, tools=[tool("a", "5m")], turns=[TAIL], model=OPUS, speed="fast")),
        ],
        Seen(read=TOOL, written_5m=600 + 603),
    ),
    "another model shares nothing": (
        [Call(ask(S)), Call(ask(S, model=HAIKU))],
        Seen(4, written_5m=600),
    ),
    "another workspace shares nothing": (
        [Call(ask(S)), Call(ask(S), workspace="w2")],
        Seen(4, written_5m=600),
    ),
    # Calls that leave nothing behind, and one that only leaves.
    "a failed call writes nothing": (
        [Call(ask(S), fails=True), Call(ask(S))],
        Seen(4, written_5m=600),
    ),
    "max_tokens=0 writes": ([Call(ask(S, max_tokens=0)), Call(ask(S))], Seen(4, read=600)),
}


def play(calls: Sequence[Call]) -> list[Seen]:
    """Send the calls one after the other on a virtual clock."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    seen = []
    for call in calls:
        clock.advance(call.after)
        client = api.client(api_key=call.workspace, max_retries=0)
        if call.fails:
            api.enqueue(Error(529))
            with pytest.raises(Exception, match="529"):
                client.messages.create(**call.body)
            continue
        seen.append(seen_in(client.messages.create(**call.body)))
    return seen


def seen_in(message: Any) -> Seen:
    """The prompt's tokens by kind."""
    tokens = CacheStats.from_usage(message.usage, message.model).tokens
    return Seen(tokens.uncached, tokens.read, tokens.written_5m, tokens.written_1h)


def test_table_has_at_least_25_cases() -> None:
    """Enough for each rule to be there."""
    assert len(CASES) >= 25


@pytest.mark.parametrize("name", CASES)
def test_fake_api_follows_the_documented_rule(name: str) -> None:
    """What the last request reads, writes and pays in full."""
    calls, expected = CASES[name]
    assert play(calls)[-1] == expected


@pytest.mark.parametrize("name", CASES)
def test_no_token_is_lost_or_counted_twice(name: str) -> None:
    """Uncached, read and written add up to what count_tokens says."""
    calls = [call for call in CASES[name][0] if not call.fails]
    client = FakeAPI().client()
    for call, seen in zip(calls, play(CASES[name][0]), strict=True):
        counted = {k: v for k, v in call.body.items() if k != "max_tokens"}
        assert sum(seen) == client.messages.count_tokens(**counted).input_tokens


@pytest.mark.parametrize(
    "body",
    [
        ask(*[text("s", 600, "5m") for _ in range(5)]),
        ask(*[text("s", 600, "5m") for _ in range(4)], cache_control=AUTO),
        ask(text("s", 600, "5m"), text("u", 600, "1h")),
        ask(text("s", 600, "2h")),
    ],
    ids=["five", "four and the automatic one", "1h after 5m", "unknown ttl"],
)
def test_impossible_breakpoints_are_a_400(body: Body) -> None:
    """Refused aloud, unlike a prefix that is too short."""
    with pytest.raises(BadRequestError):
        FakeAPI().client().messages.create(**body)


def test_four_breakpoints_are_taken() -> None:
    """Three and the automatic one."""
    body = ask(*[text("s", 600, "5m") for _ in range(3)], cache_control=AUTO)
    assert play([Call(body)])[-1] == Seen(written_5m=1_804)


def side_by_side(delays: Sequence[float], stream: bool = False) -> list[Seen]:
    """The same request at several moments, each answer 10 s long."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock)
    api.enqueue(*[Reply("word " * 40, seconds=10.0) for _ in delays])
    usages: list[Any] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        client = api.async_client()
        if not stream:
            usages.append(await client.messages.create(**ask(S)))
            return
        async with client.messages.stream(**ask(S)) as events:
            usages.append(await events.get_final_message())

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for delay in delays:
                group.create_task(one(delay))

    clock.run(all_of_them())
    return [seen_in(message) for message in usages]


@pytest.mark.parametrize("stream", [False, True])
def test_parallel_cold_calls_all_write(stream: bool) -> None:
    """None has begun to be answered when the others arrive."""
    assert side_by_side([0, 0, 0, 0], stream) == [Seen(4, written_5m=600)] * 4


def test_call_that_comes_after_the_answer_has_begun_reads() -> None:
    """It need not have ended."""
    first, second = side_by_side([0, 9], stream=True)
    assert (first, second) == (Seen(4, written_5m=600), Seen(4, read=600))


def test_diagnosis_names_the_section_that_changed() -> None:
    """With the tokens that the previous request would have left to read."""
    client = FakeAPI().client()
    first = client.messages.create(**ask(S, diagnostics={"previous_message_id": None}))
    again: Body = {"diagnostics": {"previous_message_id": first.id}}
    for changed, reason in (
        (ask(text("u", 600, "5m"), **again), "system_changed"),
        (ask(S, tools=[tool("a")], **again), "tools_changed"),
        (ask(S, turns=[OTHER_Q], **again), "messages_changed"),
        (ask(S, model=HAIKU, **again), "model_changed"),
    ):
        found = client.messages.create(**changed).diagnostics
        assert found is not None
        assert found.cache_miss_reason is not None
        assert found.cache_miss_reason.type == reason
    assert client.messages.create(**ask(S, **again)).diagnostics is None
