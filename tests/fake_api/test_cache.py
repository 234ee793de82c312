"""Prompt cache accounting, case by case: what each request of a story reads and writes.

Sizes are in the fake's own estimate: `words(600)` is a block of 600 tokens, a message costs 3 more.
"""

import asyncio
from typing import Any

import anthropic
import pytest

from patterns.core.models import HAIKU, OPUS
from patterns.fake_api import Error, FakeAPI, Latency, VirtualClock, cache

Story = list[tuple[float, dict[str, Any]]]


def words(tokens: int, letter: str = "a") -> str:
    """A text of so many tokens."""
    return letter * (4 * tokens)


def block(tokens: int, ttl: str | None = None, letter: str = "a") -> dict[str, Any]:
    """A text block of so many tokens, as a breakpoint when a TTL is given."""
    control = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}
    return {"type": "text", "text": words(tokens, letter), **control}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    """A user turn."""
    return {"role": "user", "content": list(blocks) or "hi!!"}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    """An assistant turn."""
    return {"role": "assistant", "content": list(blocks)}


def tool(letter: str = "t", ttl: str | None = None) -> dict[str, Any]:
    """A tool definition of more than 600 tokens."""
    control = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}
    schema = {"type": "object", "properties": {}}
    return {"name": letter, "description": words(600), "input_schema": schema, **control}


def ask(*messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A request."""
    turns = list(messages) or [user()]
    return {"model": OPUS, "max_tokens": 10, "messages": turns, **options}


AUTO = {"cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
S5 = [block(600, "5m")]
S1 = [block(600, "1h")]
TWENTY = [block(1, letter=chr(98 + n)) for n in range(20)]
PIN = {"cache_control": {"type": "ephemeral"}}


def marked(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks with a breakpoint on the last."""
    return [*blocks[:-1], {**blocks[-1], **PIN}]


THINK: dict[str, Any] = {
    "model": "claude-haiku-4-5", "max_tokens": 3_000,
    "thinking": {"type": "enabled", "budget_tokens": 1_024},
}  # fmt: skip
THINK_MORE = {**THINK, "thinking": {"type": "enabled", "budget_tokens": 2_048}}

# name, story of (seconds later, request), expected (uncached, read, written 5m, written 1h)
CASES: list[tuple[str, Story, list[tuple[int, int, int, int]]]] = [
    ("without a breakpoint nothing is cached",
     [(0, ask(system=words(600)))] * 2, [(604, 0, 0, 0)] * 2),
    ("the first call writes, the second reads",
     [(0, ask(system=S5))] * 2, [(4, 0, 600, 0), (4, 600, 0, 0)]),
    ("one hour is counted apart", [(0, ask(system=S1))] * 2, [(4, 0, 0, 600), (4, 600, 0, 0)]),
    ("below the minimum nothing happens, silently",
     [(0, ask(system=[block(511, "5m")]))] * 2, [(515, 0, 0, 0)] * 2),
    ("exactly the minimum is enough",
     [(0, ask(system=[block(512, "5m")]))] * 2, [(4, 0, 512, 0), (4, 512, 0, 0)]),
    ("the minimum is the model's own",
     [(0, ask(system=[block(600, "5m")], model="claude-sonnet-5"))], [(604, 0, 0, 0)]),
    ("five minutes later the entry is gone",
     [(0, ask(system=S5)), (300, ask(system=S5))], [(4, 0, 600, 0), (4, 0, 600, 0)]),
    ("a hit renews the entry",
     [(0, ask(system=S5)), (299, ask(system=S5)), (299, ask(system=S5))],
     [(4, 0, 600, 0), (4, 600, 0, 0), (4, 600, 0, 0)]),
    ("one hour lasts an hour",
     [(0, ask(system=S1)), (3599, ask(system=S1)), (3600, ask(system=S1))],
     [(4, 0, 0, 600), (4, 600, 0, 0), (4, 0, 0, 600)]),
    ("another system prompt misses",
     [(0, ask(system=S5)), (0, ask(system=[block(600, "5m", "b")]))],
     [(4, 0, 600, 0), (4, 0, 600, 0)]),
    ("another question after the breakpoint hits",
     [(0, ask(system=S5)), (0, ask(user(block(9)), system=S5))], [(4, 0, 600, 0), (12, 600, 0, 0)]),
    ("another model misses",
     [(0, ask(system=S5)), (0, ask(system=S5, model=HAIKU))], [(4, 0, 600, 0), (4, 0, 600, 0)]),
    ("moving the breakpoint does not change the prefix",
     [(0, ask(system=[block(600, "5m"), block(600, "5m", "b")])),
      (0, ask(system=[block(600), block(600, "5m", "b")]))],
     [(4, 0, 1200, 0), (4, 1200, 0, 0)]),
    ("a new breakpoint within what is read costs nothing",
     [(0, ask(system=[block(600), block(600, "5m", "b")])),
      (0, ask(system=[block(600, "5m"), block(600, "5m", "b")]))],
     [(4, 0, 1200, 0), (4, 1200, 0, 0)]),
    ("a later breakpoint reads the earlier entry and writes the rest",
     [(0, ask(system=S5)), (0, ask(system=[*S5, block(100, "5m", "b")]))],
     [(4, 0, 600, 0), (4, 600, 100, 0)]),
    ("one hour before five minutes splits the write",
     [(0, ask(system=[block(600, "1h"), block(100, "5m", "b")]))], [(4, 0, 100, 600)]),
    ("automatic caching marks the last block",
     [(0, ask(user(block(600)), **AUTO))] * 2, [(0, 0, 603, 0), (0, 603, 0, 0)]),
    ("automatic caching moves with the conversation",
     [(0, ask(user(block(600)), **AUTO)),
      (0, ask(user(block(600)), assistant(block(50)), user(block(10)), **AUTO))],
     [(0, 0, 603, 0), (0, 603, 66, 0)]),
    ("a string and a text block are the same prefix",
     [(0, ask({"role": "user", "content": words(600)}, **AUTO)),
      (0, ask(user(block(600)), **AUTO))],
     [(0, 0, 603, 0), (0, 603, 0, 0)]),
    ("nineteen new blocks are within the lookback",
     [(0, ask(user(*marked([block(600)])))), (0, ask(user(block(600), *marked(TWENTY[:19]))))],
     [(0, 0, 603, 0), (0, 603, 19, 0)]),
    ("twenty new blocks are not",
     [(0, ask(user(*marked([block(600)])))), (0, ask(user(block(600), *marked(TWENTY))))],
     [(0, 0, 603, 0), (0, 0, 623, 0)]),
    ("a second breakpoint bridges the lookback",
     [(0, ask(user(*marked([block(600)])))),
      (0, ask(user(block(600), *TWENTY[:4], *marked(TWENTY[4:5]), *marked(TWENTY[5:]))))],
     [(0, 0, 603, 0), (0, 603, 20, 0)]),
    ("tools come first: other tools miss everything",
     [(0, ask(tools=[tool("t")], system=S5)), (0, ask(tools=[tool("u")], system=S5))],
     [(4, 0, 1230, 0), (4, 0, 1230, 0)]),
    ("a breakpoint on the tools survives another system prompt",
     [(0, ask(tools=[tool(ttl="5m")], system=words(9))),
      (0, ask(tools=[tool(ttl="5m")], system=words(9, "b")))],
     [(13, 0, 630, 0), (13, 630, 0, 0)]),
    ("fast mode spares the tools",
     [(0, ask(tools=[tool(ttl="5m")], system=S5)),
      (0, ask(tools=[tool(ttl="5m")], system=S5, speed="fast"))],
     [(4, 0, 1230, 0), (4, 630, 600, 0)]),
    ("tool choice spares the system prompt",
     [(0, ask(tools=[tool()], system=S5, **AUTO)),
      (0, ask(tools=[tool()], system=S5, tool_choice={"type": "none"}, **AUTO))],
     [(0, 0, 1234, 0), (0, 1230, 4, 0)]),
    ("effort spares the system prompt",
     [(0, ask(system=S5, **AUTO)), (0, ask(system=S5, output_config={"effort": "low"}, **AUTO))],
     [(0, 0, 604, 0), (0, 600, 4, 0)]),
    ("the default effort is the same said or unsaid",
     [(0, ask(system=S5, **AUTO)), (0, ask(system=S5, output_config={"effort": "medium"}, **AUTO))],
     [(0, 0, 604, 0), (0, 604, 0, 0)]),
    ("thinking spares the system prompt",
     [(0, ask(system=S5, model="claude-sonnet-5", **AUTO)),
      (0, ask(system=[block(1200, "5m")], model="claude-sonnet-5", **AUTO)),
      (0, ask(system=[block(1200, "5m")], model="claude-sonnet-5",
              thinking={"type": "disabled"}, **AUTO))],
     [(604, 0, 0, 0), (0, 0, 1204, 0), (0, 1200, 4, 0)]),
    ("another thinking budget spares the system prompt only",
     [(0, ask(user(block(5000, "5m")), system=[block(5000, "5m")], **THINK)),
      (0, ask(user(block(5000, "5m")), system=[block(5000, "5m")], **THINK_MORE))],
     [(0, 0, 10003, 0), (0, 5000, 5003, 0)]),
    ("an image anywhere spares the system prompt only",
     [(0, ask(user(block(600, "5m")), system=S5)),
      (0, ask(user(block(600, "5m"), IMAGE), system=S5))],
     [(0, 0, 1203, 0), (1600, 600, 603, 0)]),
    ("max_tokens of 0 warms the cache",
     [(0, {**ask(system=S5), "max_tokens": 0}), (0, ask(system=S5))],
     [(4, 0, 600, 0), (4, 600, 0, 0)]),
    ("an output schema is never cached",
     [(0, ask(user(block(600)), output_config={"format": {"type": "json_schema", "schema": {
         "type": "object", "properties": {}, "additionalProperties": False}}}, **AUTO))],
     [(24, 0, 603, 0)]),
]  # fmt: skip


def counts(usage: anthropic.types.Usage) -> tuple[int, int, int, int]:
    """Uncached, read, written for five minutes, written for an hour."""
    assert usage.cache_creation is not None
    made = usage.cache_creation
    short, long = made.ephemeral_5m_input_tokens, made.ephemeral_1h_input_tokens
    assert usage.cache_creation_input_tokens == short + long
    return (usage.input_tokens, usage.cache_read_input_tokens or 0, short, long)


@pytest.mark.parametrize(("story", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_story_reads_and_writes(story: Story, expected: list[tuple[int, int, int, int]]) -> None:
    """Each request of the story has the documented usage."""
    clock = VirtualClock()
    client = FakeAPI(clock=clock).client()
    got = []
    for seconds, request in story:
        clock.advance(seconds)
        got.append(counts(client.messages.create(**request).usage))
    assert got == expected


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("five breakpoints", ask(system=[block(1, "5m")] * 5), "maximum of 4"),
    ("four and automatic", ask(system=[block(1, "5m")] * 4, **AUTO), "maximum of 4"),
    ("5m before 1h", ask(system=[block(1, "5m"), block(1, "1h")]), "system.1.cache_control.ttl"),
    ("5m tool, 1h system", ask(tools=[tool(ttl="5m")], system=S1), "put the longer ones first"),
    ("another ttl", ask(system=[block(1, "2h")]), "Input should be '5m' or '1h'"),
    ("another kind", ask(cache_control={"type": "forever"}), "'ephemeral'"),
    ("two on one block", ask(user(block(9, "1h")), **AUTO), "another ttl"),
]


@pytest.mark.parametrize(
    ("request_", "said"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_bad_breakpoints_get_a_400(request_: dict[str, Any], said: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(anthropic.BadRequestError, match=said):
        FakeAPI().client().messages.create(**request_)


def test_automatic_breakpoint_on_a_marked_block_is_one_breakpoint() -> None:
    """The same TTL twice on the last block counts once."""
    request = ask(user(block(600, "5m")), system=[block(1, "5m")] * 3, **AUTO)
    assert counts(FakeAPI().client().messages.create(**request).usage) == (0, 0, 606, 0)


@pytest.mark.parametrize("notebook", [False, True])
def test_parallel_cold_calls_each_pay_for_the_write(notebook: bool) -> None:
    """An entry can be read once its answer has begun: three at once write three times.

    So on the virtual loop, and on the real one that a notebook has.
    """
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=Latency(first_token=1.0, jitter=0))
    client = api.async_client()

    async def main() -> list[tuple[int, int, int, int]]:
        cold = await asyncio.gather(*(client.messages.create(**ask(system=S5)) for _ in range(3)))
        warm = await client.messages.create(**ask(system=S5))
        return [counts(message.usage) for message in (*cold, warm)]

    got = asyncio.run(main()) if notebook else clock.run(main())
    assert got == [(4, 0, 600, 0)] * 3 + [(4, 600, 0, 0)]


def test_workspaces_and_credentials_share_nothing() -> None:
    """The cache is isolated by workspace, and by credential where none is named."""
    api = FakeAPI()
    api.client(api_key="one").messages.create(**ask(system=S5))
    other = api.client(api_key="two").messages.create(**ask(system=S5))
    named = [
        api.client(api_key=key).messages.create(workspace_id="wrkspc_1", **ask(system=S5))
        for key in ("one", "two")
    ]
    assert [counts(m.usage)[1] for m in (other, *named)] == [0, 0, 600]


def test_error_response_writes_nothing() -> None:
    """A call that failed leaves no entry behind."""
    api = FakeAPI()
    api.enqueue(Error(529))
    client = api.client(max_retries=0)
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**ask(system=S5))
    assert counts(client.messages.create(**ask(system=S5)).usage) == (4, 0, 600, 0)


DIAGNOSED: list[tuple[str, dict[str, Any], str | None]] = [
    ("a conversation that grew", ask(user(), assistant(block(1)), user(), system=S5), None),
    ("another model", ask(system=S5, model=HAIKU), "model_changed"),
    ("fast mode", ask(system=S5, speed="fast"), "model_changed"),
    ("other tools", ask(system=S5, tools=[tool()]), "tools_changed"),
    ("another system prompt", ask(system=[block(600, "5m", "b")]), "system_changed"),
    ("another first message", ask(user(block(2)), system=S5), "messages_changed"),
    ("another effort", ask(system=S5, output_config={"effort": "low"}), "unavailable"),
]


@pytest.mark.parametrize(
    ("second", "kind"), [c[1:] for c in DIAGNOSED], ids=[c[0] for c in DIAGNOSED]
)
def test_diagnostics_name_the_reason(second: dict[str, Any], kind: str | None) -> None:
    """The second call learns why the first one's prefix could not be used."""
    client = FakeAPI().client()
    first = client.messages.create(diagnostics={"previous_message_id": None}, **ask(system=S5))
    assert first.diagnostics is None
    later = client.messages.create(diagnostics={"previous_message_id": first.id}, **second)
    reason = later.diagnostics.cache_miss_reason if later.diagnostics else None
    assert (reason.type if reason else None) == kind
    if reason is not None and reason.type.endswith("changed"):
        missed = getattr(reason, "cache_missed_input_tokens")  # noqa: B009 - not on every reason
        read = later.usage.cache_read_input_tokens or 0
        assert missed == 600 - read


def test_diagnostics_say_when_the_previous_message_is_unknown() -> None:
    """An id that was never given out, or of another credential, is not found."""
    client = FakeAPI().client()
    diagnostics: Any = {"previous_message_id": "msg_unknown"}
    message = client.messages.create(diagnostics=diagnostics, **ask(system=S5))
    assert message.diagnostics is not None
    assert message.diagnostics.cache_miss_reason is not None
    assert message.diagnostics.cache_miss_reason.type == "previous_message_not_found"


def test_a_thousand_distinct_prefixes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired entries are thrown out."""
    monkeypatch.setattr(cache, "SWEEP_AT", 400)
    clock = VirtualClock()
    store = cache.PromptCache()
    for n in range(1_000):
        clock.advance(1)
        body = ask(system=[{**block(1, "5m"), "text": str(n)}])
        store.store(store.plan(body, 1, "w", clock.now()), clock.now(), clock.now())
    assert len(store._entries) <= 400
