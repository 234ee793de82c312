"""Conversations and document questions that keep their prefix."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import hostile
import pytest
from anthropic import APIStatusError, BadRequestError

from patterns.caching import (
    AsyncCachedAssistant,
    CachedAssistant,
    CacheStats,
    DocumentQA,
    first_difference,
)
from patterns.caching.limits import UnknownTTL
from patterns.caching.prefix import TTLOrder
from patterns.caching.warming import NotCached, warm
from patterns.core.messages import Refused, Truncated
from patterns.core.models import SONNET
from patterns.fake_api import Error, FakeAPI, Latency, Reply, ToolUse, VirtualClock

SYSTEM = "abcd" * 600
DOCUMENTS = {"Lease": "No pets. " * 150, "House <rules>": "Quiet after ten. " * 150}


def prefix_bytes(body: dict[str, Any]) -> list[str]:
    """What the cache compares, piece by piece: tools, system and messages as JSON."""
    parts = [*body.get("tools", []), *body["system"], *body["messages"]]
    return [json.dumps(part) for part in parts]


def test_second_turn_reads_what_the_first_one_wrote() -> None:
    """Both breakpoints work: instructions at once, turns as they grow."""
    assistant = CachedAssistant(FakeAPI().client(), SYSTEM)
    first, second = assistant.ask("One?"), assistant.ask("Two?")
    assert first.stats.tokens.written_5m == first.stats.tokens.prompt > 600
    assert second.stats.tokens.read == first.stats.tokens.written
    assert second.stats.tokens.uncached == 0
    assert assistant.stats == first.stats + second.stats


def test_request_has_two_breakpoints_and_asks_for_a_diagnosis() -> None:
    """One at the end of the documents, one that moves by itself."""
    api = FakeAPI()
    CachedAssistant(api.client(), "Be brief.", documents=["abc"], prefix_ttl="1h").ask("Hi")
    body = api.journal[0].body
    assert "cache_control" not in body["system"][0]
    assert body["system"][1]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert body["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert body["diagnostics"] == {"previous_message_id": None}


def test_no_turn_rewrites_the_prefix_of_an_earlier_one() -> None:
    """Byte for byte: every request starts with all of the one before."""
    api = FakeAPI()
    api.enqueue(*[Reply(f"Answer {n}.", thinking="Hm.") for n in range(30)])
    assistant = CachedAssistant(api.client(), SYSTEM, documents=DOCUMENTS)
    for n in range(30):
        assistant.ask(f"Question {n}?")
    sent = [prefix_bytes(dict(entry.body)) for entry in api.journal]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(sent))
    assert len(sent[-1]) == len(sent[0]) + 2 * 29


def test_turns_cost_what_they_add() -> None:
    """From the second turn on, each writes its own tokens and reads the rest."""
    assistant = CachedAssistant(FakeAPI().client(), SYSTEM)
    replies = [assistant.ask("Question?") for _ in range(20)]
    for before, after in pairwise(replies):
        assert after.stats.tokens.read == before.stats.tokens.prompt
        assert after.miss is None


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Error(529), APIStatusError),
        (Error(400), BadRequestError),
        (Reply(refusal="bio"), Refused),
        (Reply("Half an ans", stop_reason="max_tokens"), Truncated),
    ],
)
def test_failed_turn_leaves_the_conversation_as_it_was(answer: Any, error: type[Exception]) -> None:
    """The next question goes out as if the failed one had never been asked."""
    api = FakeAPI()
    assistant = CachedAssistant(api.client(max_retries=0), SYSTEM)
    assistant.ask("One?")
    before, asked = assistant.turns, assistant.request("Two?")
    api.enqueue(answer)
    with pytest.raises(error):
        assistant.ask("Lost?")
    assert assistant.turns == before
    assert assistant.request("Two?") == asked
    assert assistant.ask("Two?").stats.tokens.read > 600


def test_refused_turn_is_paid_for() -> None:
    """What was spent stays in the stats, whatever came back."""
    api = FakeAPI()
    api.enqueue(Reply(refusal="bio"))
    assistant = CachedAssistant(api.client(), SYSTEM)
    with pytest.raises(Refused):
        assistant.ask("One?")
    assert (assistant.stats.calls, assistant.turns) == (1, ())
    assert assistant.stats.usd.total > 0


def test_tool_use_and_thinking_go_back_unchanged() -> None:
    """The whole answer is kept, and a tool result is a turn like any other."""
    api = FakeAPI()
    api.enqueue(
        Reply("Let me look.", thinking="Hm.", tool_use=[ToolUse("look", {"at": 1}, "tu_1")])
    )
    tool = {"name": "look", "input_schema": {"type": "object"}}
    assistant = CachedAssistant(api.client(), SYSTEM, tools=[tool])
    reply = assistant.ask("What is there?")
    assert (reply.text, reply.stop_reason) == ("Let me look.", "tool_use")
    assistant.ask([{"type": "tool_result", "tool_use_id": "tu_1", "content": "A cat."}])
    kept = api.journal[1].body["messages"][1]["content"]
    assert [part["type"] for part in kept] == ["thinking", "text", "tool_use"]
    assert api.journal[1].body["tools"] == [tool]


def test_changing_the_model_breaks_the_prefix_and_the_reply_says_so() -> None:
    """The diagnosis is asked for on every turn."""
    assistant = CachedAssistant(FakeAPI().client(), SYSTEM)
    assistant.ask("One?")
    assistant._fixed["system"] = [{"type": "text", "text": "It is 09:01. " + SYSTEM}]
    miss = assistant.ask("Two?").miss
    assert miss is not None
    assert miss.reason == "system_changed"


def test_options_are_the_same_on_every_turn() -> None:
    """Effort, metadata and the like go through; both breakpoints can be switched off."""
    api = FakeAPI()
    plain = CachedAssistant(
        api.client(), SYSTEM, prefix_ttl=None, turns_ttl=None, output_config={"effort": "low"}
    )
    plain.ask("One?")
    assert api.journal[0].body["output_config"] == {"effort": "low"}
    assert "cache_control" not in json.dumps(api.journal[0].body)


def test_lifetimes_are_checked_before_anything_is_sent() -> None:
    """An unknown one, and an hour behind five minutes."""
    client = FakeAPI().client()
    with pytest.raises(UnknownTTL, match="'2h'"):
        CachedAssistant(client, SYSTEM, prefix_ttl="2h")  # type: ignore[arg-type]
    with pytest.raises(TTLOrder):
        CachedAssistant(client, SYSTEM, prefix_ttl="5m", turns_ttl="1h")


def test_documents_are_escaped_and_titled() -> None:
    """A document cannot close its tag; a title cannot break out of its attribute."""
    assistant = CachedAssistant(FakeAPI().client(), "s", documents=DOCUMENTS)
    text = assistant.request("?")["system"][2]["text"]
    assert text.startswith('<document title="House &lt;rules&gt;">')


def test_async_assistant_asks_one_turn_after_the_other() -> None:
    """Two questions at once stay one conversation."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=Latency())

    async def run() -> int:
        assistant = AsyncCachedAssistant(api.async_client(), SYSTEM)
        await asyncio.gather(assistant.ask("One?"), assistant.ask("Two?"))
        return len(assistant.turns)

    assert clock.run(run()) == 4
    assert first_difference(api.journal[0].body, api.journal[1].body) is None
    assert len(api.journal[1].body["messages"]) == 3


def test_async_failure_leaves_the_conversation_as_it_was() -> None:
    """And the lock open."""
    api = FakeAPI()
    api.enqueue(Error(529), "Fine.")

    async def run() -> tuple[int, str]:
        assistant = AsyncCachedAssistant(api.async_client(max_retries=0), SYSTEM)
        with pytest.raises(APIStatusError):
            await assistant.ask("One?")
        turns = len(assistant.turns)
        return turns, (await assistant.ask("Two?")).text

    assert asyncio.run(run()) == (0, "Fine.")


def test_document_questions_share_one_write() -> None:
    """Warmed once; then every question, side by side, reads."""
    clock = VirtualClock()
    api = FakeAPI(clock=clock, latency=Latency())
    qa = DocumentQA(api.async_client(), DOCUMENTS)
    outcomes = clock.run(qa.ask([f"Question {n}?" for n in range(12)]))
    assert [outcome.item for outcome in outcomes] == [f"Question {n}?" for n in range(12)]
    assert qa.stats.tokens.written == outcomes[0].unwrap().stats.tokens.read > 512
    assert all(outcome.unwrap().stats.tokens.written == 0 for outcome in outcomes)
    assert (qa.stats.calls, qa.stats.saved > 0) == (13, True)


def test_one_document_question_needs_no_warming() -> None:
    """Nobody else reads it."""
    api = FakeAPI()
    qa = DocumentQA(api.async_client(), DOCUMENTS, ttl="1h")
    (outcome,) = asyncio.run(qa.ask(["Pets?"]))
    assert len(api.journal) == 1
    assert outcome.unwrap().stats.tokens.written_1h > 512
    assert outcome.unwrap().request_id == api.journal[0].request_id


def test_failed_document_question_is_data() -> None:
    """The others are answered; a refusal is paid for."""
    api = FakeAPI()
    api.enqueue("", "Yes.", Reply(refusal="bio"), "No.")
    qa = DocumentQA(api.async_client(), DOCUMENTS, limit=1)
    outcomes = asyncio.run(qa.ask(["A?", "B?", "C?"]))
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, Refused)
    assert qa.stats.calls == 4


def test_documents_too_short_to_cache_are_not_asked_about_in_silence() -> None:
    """Warming finds out before the questions are paid for."""
    api = FakeAPI()
    qa = DocumentQA(api.async_client(), ["Short."], model=SONNET)
    with pytest.raises(NotCached):
        asyncio.run(qa.ask(["A?", "B?"]))
    assert len(api.journal) == 1


@pytest.mark.parametrize("turns", [60, pytest.param(1_000, marks=pytest.mark.soak)])
def test_long_conversation_grows_by_its_turns_and_nothing_else(turns: int) -> None:
    """Each request is the one before plus two messages; each turn reads all of the last."""
    api = FakeAPI()
    assistant = CachedAssistant(api.client(), SYSTEM)
    earlier: list[str] = []
    for n in range(turns):
        read = assistant.ask(f"Question number {n:04}?").stats.tokens.read
        sent = prefix_bytes(dict(api.journal[-1].body))
        assert sent[: len(earlier)] == earlier
        assert len(sent) == 2 + 2 * n
        assert (read > 0) == (n > 0)
        earlier = sent
        api.journal.clear()
    assert assistant.stats.tokens.uncached == 0
    assert assistant.stats.calls == turns
    assert isinstance(assistant.stats, CacheStats)


@pytest.mark.parametrize("blank", [Reply(content=[]), "", "\n"])
def test_a_blank_answer_does_not_end_the_conversation(blank: Any) -> None:
    """It is handed to the caller and not sent back, which the API would refuse for ever."""
    api = FakeAPI()
    api.enqueue("Yes.", blank, "Still here.")
    assistant = CachedAssistant(api.client(), SYSTEM)
    assert [assistant.ask(text).text.strip() for text in "abc"] == ["Yes.", "", "Still here."]
    roles = [turn["role"] for turn in assistant.turns]
    assert roles == ["user", "assistant", "user", "user", "assistant"]


TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


@pytest.mark.parametrize("width", [1, 8, 9, 10, 11, 20, 40])
def test_a_wide_turn_still_reads_all_that_came_before(width: int) -> None:
    """The cache looks back over 20 blocks; ten calls and their results are as many."""
    api = FakeAPI()
    calls = [ToolUse("look", {"n": n}) for n in range(width)]
    api.enqueue("Hello.", Reply(tool_use=calls), "Done.")
    assistant = CachedAssistant(api.client(), SYSTEM, tools=[TOOL])
    assistant.ask("Hi")
    asked = assistant.ask("Look everywhere.")
    ids = [block.id for block in asked.message.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "ok"} for each in ids]
    done = assistant.ask(results)
    assert done.stats.tokens.read >= asked.stats.tokens.prompt
    assert len(assistant.turns) == 6
    assert "cache_control" not in json.dumps(assistant.turns)


def test_four_breakpoints_of_your_own_leave_none_to_spend() -> None:
    """Then a wide turn is paid for again, and the request is still one that the API takes."""
    api = FakeAPI()
    mark = {"type": "ephemeral"}
    tools = [{**TOOL, "name": name, "cache_control": mark} for name in ("a", "b")]
    api.enqueue("Hello.", Reply(tool_use=[ToolUse("a", {"n": n}) for n in range(12)]), "Done.")
    assistant = CachedAssistant(api.client(), SYSTEM, tools=tools)
    assistant.ask("Hi")
    asked = assistant.ask("Look.")
    ids = [block.id for block in asked.message.content if block.type == "tool_use"]
    assistant.ask([{"type": "tool_result", "tool_use_id": each} for each in ids])
    assert api.journal[-1].status == 200


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
PAUSED = Reply(
    content=[
        {"type": "text", "text": "I look. "},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    ],
    stop_reason="pause_turn",
)
RESUMED = Reply(
    content=[
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "Nothing."},
    ]
)


def test_a_turn_that_the_server_pauses_is_sent_back_until_it_ends() -> None:
    """Kept as it is, the search without its result would make every later turn a 400."""
    api = FakeAPI()
    api.enqueue(PAUSED, RESUMED, "Sure.")
    assistant = CachedAssistant(api.client(max_retries=0), SYSTEM, tools=[SEARCH])
    reply = assistant.ask("Look.")
    assert (reply.text, reply.stop_reason, reply.stats.calls) == ("I look. Nothing.", "end_turn", 2)
    assert reply.stats == assistant.stats
    later = assistant.ask("Sure?")
    assert later.text == "Sure."
    assert later.stats.tokens.read >= reply.message.usage.input_tokens


def test_a_turn_that_never_ends_is_given_up() -> None:
    """What was paid is counted, and the conversation is as it was."""
    api = FakeAPI()
    api.enqueue(*[PAUSED] * 20)
    assistant = CachedAssistant(api.client(max_retries=0), SYSTEM, tools=[SEARCH])
    with pytest.raises(Truncated):
        assistant.ask("Look.")
    assert (assistant.stats.calls, assistant.turns) == (11, ())


def test_a_paused_turn_that_fails_leaves_the_conversation_as_it_was() -> None:
    """What was paid is counted; the question can be asked again."""
    api = FakeAPI()
    api.enqueue(PAUSED, Error(529), PAUSED, RESUMED)

    async def run() -> tuple[int, int, str]:
        client = api.async_client(max_retries=0)
        assistant = AsyncCachedAssistant(client, SYSTEM, tools=[SEARCH])
        with pytest.raises(APIStatusError):
            await assistant.ask("Look.")
        left = len(assistant.turns), assistant.stats.calls
        return (*left, (await assistant.ask("Look.")).text)

    assert asyncio.run(run()) == (0, 1, "I look. Nothing.")


@pytest.mark.parametrize("usage", [None, {"input_tokens": None, "output_tokens": None}, "none"])
def test_an_answer_whose_usage_cannot_be_read_is_handed_over_and_unpriced(usage: Any) -> None:
    """Some proxies leave the counts out: the answer is paid for all the same."""
    body = {**MESSAGE, "usage": usage}
    if usage == "none":
        del body["usage"]
    assistant = CachedAssistant(hostile.serving(body), "Be brief.")
    assert [assistant.ask("Hi").text, assistant.ask("And?").text] == ["Hello.", "Hello."]
    assert (assistant.stats.calls, assistant.stats.unpriced) == (2, 2)
    with pytest.raises(NotCached):
        warm(hostile.serving(body), assistant.request("Hi"))


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": SONNET,
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
}
