"""A conversation: several servers, words streamed while tools run, and a history that survives."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import anthropic
import pytest
from mcp.server import MCPServer, Server
from mcp.server.mcpserver import Context
from mcp.types import ListToolsResult, Tool, ToolAnnotations
from servers.shop import Shop, build_shop

from patterns.core.models import HAIKU, SONNET
from patterns.core.pricing import cost_usd
from patterns.fake_api import FakeAPI, Fault, Reply, ToolUse
from patterns.mcp_session import ServerUnavailable, ToolSession
from patterns.mcp_session.claude import MARK
from patterns.mcp_session.conversation import Conversation
from patterns.mcp_session.events import (
    Budget,
    Event,
    TextDelta,
    ToolEnded,
    ToolRequest,
    ToolStarted,
    TurnEnded,
    to_progress,
)
from patterns.mcp_session.registry import Conversations, TooManyConversations
from patterns.mcp_session.tool_calls import read_only

SAFE = ToolAnnotations(read_only_hint=True)
Talk = Callable[[Conversation], Coroutine[Any, Any, Any]]


class Desk:
    """A server whose tools say when they begin and end."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.go = asyncio.Event()
        self.server = MCPServer("desk", log_level="ERROR")
        for name, hints in (("look", SAFE), ("see", SAFE), ("book", None), ("pay", None)):
            self.server.add_tool(self._tool(name), name=name, annotations=hints)
        self.server.add_tool(self.wait, annotations=None)

    def _tool(self, name: str) -> Callable[..., Any]:
        async def work(at: int = 0) -> str:
            self.log.append(f"{name} begins")
            await asyncio.sleep(0.02)
            self.log.append(f"{name} ends")
            return f"{name} done"

        return work

    async def wait(self) -> str:
        """Takes until somebody says go."""
        self.log.append("wait begins")
        await self.go.wait()
        return "waited"


def uses(*names: str, text: str = "Let me see.") -> Reply:
    """An answer that asks for tools."""
    calls = tuple(ToolUse(name, {}, id=f"toolu_0{n}") for n, name in enumerate(names))
    return Reply(text, tool_use=calls)


def talk(
    api: FakeAPI, run: Talk, servers: dict[str, Any] | None = None, **options: Any
) -> Conversation:
    """Run a coroutine with a conversation over open sessions; returns the conversation."""

    async def main() -> Conversation:
        found = servers or {"desk": Desk().server}
        sessions = {name: ToolSession(server) for name, server in found.items()}
        for session in sessions.values():
            await session.open()
        options.setdefault("model", SONNET)
        conversation = Conversation(
            api.async_client(max_retries=0), sessions, conversation_id="c", **options
        )
        try:
            await run(conversation)
        finally:
            for session in sessions.values():
                await session.aclose()
        assert len(asyncio.all_tasks()) == 1
        return conversation

    return asyncio.run(main())


def shape(conversation: Conversation) -> list[str]:
    """The history as one word per message."""
    return [
        f"{message['role']}:{'+'.join(block['type'] for block in message['content'])}"
        for message in conversation.messages
    ]


def results(conversation: Conversation) -> list[tuple[bool, str]]:
    """Every tool result: whether it is an error, and its first text."""
    found = []
    for message in conversation.messages:
        for block in message["content"]:
            if block["type"] == "tool_result":
                content = block["content"]
                text = content if isinstance(content, str) else content[0]["text"]
                found.append((bool(block.get("is_error")), text))
    return found


def test_a_turn_streams_words_runs_tools_and_remembers() -> None:
    """Two servers with the same tools; the ids of the three logs are one."""
    api = FakeAPI()
    api.enqueue(
        Reply("Let me look.", tool_use=(ToolUse("shelf_stock", {"tea": "assam"}, id="toolu_7"),)),
        "500 g.",
        "You're welcome.",
    )
    seen: list[Event] = []
    shelf = Shop()

    async def run(conversation: Conversation) -> None:
        turn = await conversation.send("How much assam?", seen.append)
        assert (turn.text, turn.stop_reason) == ("Let me look.500 g.", "end_turn")
        (ran,) = turn.runs
        assert (ran.server, ran.tool, ran.arguments) == ("shelf", "stock", {"tea": "assam"})
        (call,) = conversation._servers["shelf"].history
        assert (ran.tool_use_id, ran.call_id, call.id) == ("toolu_7", "c/toolu_7", "c/toolu_7")
        assert ran.request_id == turn.request_ids[0]
        assert str(ran.request_id).startswith("req_")
        assert turn.dollars is None
        await conversation.send("Thanks.")

    conversation = talk(api, run, {"shelf": build_shop(shelf), "depot": build_shop()})
    told = "".join(event.text for event in seen if isinstance(event, TextDelta))
    assert told == "Let me look.500 g."
    kinds = [type(event) for event in seen if not isinstance(event, TextDelta)]
    assert kinds == [ToolStarted, ToolEnded]
    assert shape(conversation) == [
        "user:text",
        "assistant:text+tool_use",
        "user:tool_result",
        "assistant:text",
        "user:text",
        "assistant:text",
    ]
    sent: Any = api.journal[1].body
    assert sent["messages"][-1]["content"][0]["content"][-1] == MARK
    assert {"shelf_stock", "depot_stock"} <= {tool["name"] for tool in sent["tools"]}


def test_safe_tools_run_together_and_before_the_answer_ends_others_after_it_in_order() -> None:
    """Safe is what the server declares read-only."""
    api = FakeAPI()
    api.enqueue(uses("book", "look", "see", "pay"), "Done.")
    holder: list[Desk] = []

    async def run(conversation: Conversation) -> None:
        turn = await conversation.send("Go")
        assert [ran.tool for ran in turn.runs] == ["look", "see", "book", "pay"]

    async def main() -> None:
        holder.append(Desk())
        async with ToolSession(holder[0].server) as session:
            await run(Conversation(api.async_client(), {"desk": session}, model=SONNET))

    asyncio.run(main())
    log = holder[0].log
    assert log[:2] == ["look begins", "see begins"]
    assert log[4:] == ["book begins", "book ends", "pay begins", "pay ends"]
    sent: Any = api.journal[1].body
    ids = [block["tool_use_id"] for block in sent["messages"][-1]["content"]]
    assert ids == ["toolu_00", "toolu_01", "toolu_02", "toolu_03"]


def test_the_iterator_gives_the_same_events_and_the_turn_last() -> None:
    """And an async callback is awaited."""
    api = FakeAPI()
    api.enqueue(uses("look"), "Done.", "Again.")
    pieces: list[str] = []

    async def note(event: Event) -> None:
        if isinstance(event, TextDelta):
            pieces.append(event.text)

    async def run(conversation: Conversation) -> None:
        events = [event async for event in conversation.stream("Go")]
        assert isinstance(events[-1], TurnEnded)
        assert events[-1].turn.text == "Let me see.Done."
        await conversation.send([{"type": "text", "text": "More"}], note)

    talk(api, run)
    assert "".join(pieces) == "Again."


def test_leaving_the_iterator_ends_the_turn_and_keeps_the_history_whole() -> None:
    """The tool may have run, and the history says so; the next question is answered."""
    api = FakeAPI()
    api.enqueue(uses("book", "wait"), "Fine.")

    async def run(conversation: Conversation) -> None:
        async with aclosing(conversation.stream("Go")) as events:
            async for event in events:
                if isinstance(event, ToolStarted) and event.request.tool == "wait":
                    assert conversation.busy
                    break
        assert not conversation.busy
        assert (await conversation.send("Well?")).text == "Fine."

    conversation = talk(api, run)
    assert results(conversation) == [(False, "book done"), (True, "Interrupted; it may have run.")]
    assert shape(conversation)[2] == "user:tool_result+tool_result+text"


def test_a_failing_api_after_a_tool_has_run_loses_nothing_and_can_be_resumed() -> None:
    """Nothing is done twice: the result stays in the history."""
    api = FakeAPI()
    api.enqueue(uses("book"))

    async def run(conversation: Conversation) -> None:
        api.add_faults(Fault.status(529, requests=[2]))
        with pytest.raises(anthropic.APIStatusError):
            await conversation.send("Book it")
        assert shape(conversation) == ["user:text", "assistant:text+tool_use", "user:tool_result"]
        api.enqueue("Booked.")
        assert (await conversation.resume()).text == "Booked."
        with pytest.raises(ValueError, match="nothing to resume"):
            await conversation.resume()

    conversation = talk(api, run)
    assert results(conversation) == [(False, "book done")]


def test_a_turn_in_which_nothing_was_done_leaves_no_trace() -> None:
    """A failed first request, a refusal, an early safe call of an answer that broke off."""
    api = FakeAPI()

    async def run(conversation: Conversation) -> None:
        api.add_faults(Fault.status(500, times=1))
        with pytest.raises(anthropic.APIStatusError):
            await conversation.send("One")
        assert conversation.messages == []
        api.enqueue(Reply(refusal="cyber"))
        assert (await conversation.send("Two")).stop_reason == "refusal"
        assert conversation.messages == []
        api.add_faults(Fault.stream_error(after=9, times=1))
        api.enqueue(uses("look"))
        with pytest.raises(anthropic.AnthropicError):
            await conversation.send("Three")
        assert conversation.messages == []

    talk(api, run)


def test_a_cut_off_tool_call_is_neither_run_nor_remembered() -> None:
    """Its text is kept; an answer that was nothing but the call leaves no trace."""
    api = FakeAPI()
    cut = Reply("I was going to", tool_use=(ToolUse("book", {}),), stop_reason="max_tokens")
    bare = Reply(tool_use=(ToolUse("look", {}),), stop_reason="max_tokens")
    api.enqueue(cut, bare)

    async def run(conversation: Conversation) -> None:
        turn = await conversation.send("Book")
        assert (turn.stop_reason, turn.runs) == ("max_tokens", ())
        assert shape(conversation) == ["user:text", "assistant:text"]
        assert (await conversation.send("Again")).stop_reason == "max_tokens"
        assert shape(conversation) == ["user:text", "assistant:text"]

    talk(api, run)


def test_a_paused_turn_goes_on() -> None:
    """`pause_turn` is answered with what was said so far."""
    api = FakeAPI()
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    told = {"type": "text", "text": "Searching ..."}
    api.enqueue(Reply(content=[told, search], stop_reason="pause_turn"), "Found.")
    tools = [{"type": "web_search_20250305", "name": "web_search"}]

    async def run(conversation: Conversation) -> None:
        turn = await conversation.send("Search")
        assert (turn.text, len(turn.answers)) == ("Searching ...Found.", 2)

    talk(api, run, tools=tools)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [(True, "book done"), (False, "The user declined this call."), ("Too dear.", "Too dear.")],
)
def test_a_person_or_a_rule_is_asked_before_each_call(verdict: bool | str, said: str) -> None:
    """A reason is what Claude reads."""
    api = FakeAPI()
    api.enqueue(uses("book"), "OK.")
    asked: list[ToolRequest] = []

    async def approve(request: ToolRequest) -> bool | str:
        asked.append(request)
        return verdict

    conversation = talk(api, lambda c: c.send("Go"), approve=approve)
    assert results(conversation) == [(verdict is not True, said)]
    assert asked[0].tool == "book"


def test_a_budget_of_calls_ends_the_turn_with_a_result_for_every_call() -> None:
    """The history stays legal, and the user decides how to go on."""
    api = FakeAPI()
    api.enqueue(uses("book", "pay"), "Only booked.")

    async def run(conversation: Conversation) -> None:
        turn = await conversation.send("Go")
        assert turn.stop_reason == "budget"
        assert [ran.outcome for ran in turn.runs] == ["ok", "over budget"]
        assert (await conversation.send("Enough")).text == "Only booked."

    conversation = talk(api, run, budget=Budget(calls=1))
    used_up = "Not run: the 1 tool calls of this turn are used up."
    assert results(conversation) == [(False, "book done"), (True, used_up)]


def test_a_budget_of_seconds_interrupts_a_tool_and_a_budget_of_dollars_stops_asking() -> None:
    """Both leave a history that can be continued."""
    api = FakeAPI()
    api.enqueue(uses("wait"), "Fine.")

    async def run(conversation: Conversation) -> None:
        assert (await conversation.send("Go")).stop_reason == "budget"
        assert (await conversation.send("Well?")).text == "Fine."

    conversation = talk(api, run, budget=Budget(seconds=0.5))
    assert results(conversation) == [(True, "Interrupted; it may have run.")]

    api = FakeAPI()
    api.enqueue(uses("look"), "never asked")

    async def dear(conversation: Conversation) -> None:
        turn = await conversation.send("Go")
        assert (turn.stop_reason, len(turn.answers)) == ("budget", 1)
        assert turn.dollars == cost_usd(HAIKU, turn.answers[0].usage)

    talk(api, dear, budget=Budget(dollars=0.0000001), price=cost_usd, model=HAIKU)
    with pytest.raises(ValueError, match="needs price="):
        Conversation(api.async_client(), {}, model=HAIKU, budget=Budget(dollars=1))


def test_a_timeout_of_the_callers_own_is_not_taken_for_the_budget() -> None:
    """A callback may have limits too."""

    def late(event: Event) -> None:
        raise TimeoutError("mine")

    async def run(conversation: Conversation) -> None:
        with pytest.raises(TimeoutError, match="mine"):
            await conversation.send("Go", late)
        assert conversation.messages == []

    api = FakeAPI()
    api.enqueue("Hello.")
    talk(api, run)


def test_an_unknown_tool_and_a_tool_that_says_no_are_results() -> None:
    """Claude corrects itself."""
    api = FakeAPI()
    calls = (ToolUse("sell", {}), ToolUse("stock", {"tea": "asam"}))
    api.enqueue(Reply("Hm.", tool_use=calls), "Sorry.")
    outcomes: list[str] = []

    async def run(conversation: Conversation) -> None:
        outcomes.extend(ran.outcome for ran in (await conversation.send("Go")).runs)

    conversation = talk(api, run, {"shop": build_shop()})
    (no_such, wrong) = results(conversation)
    assert no_such == (True, "There is no such tool.")
    assert "Teas: assam" in wrong[1]
    assert sorted(outcomes) == ["tool_error", "unknown tool"]


def test_tools_that_come_up_in_a_turn_can_be_used_in_it_and_thinking_is_left_out() -> None:
    """A tool that adds a tool; thinking is bound to the tools that it was thought with."""
    server = MCPServer("growing", log_level="ERROR")

    async def secret() -> str:
        """The new one."""
        return "found"

    @server.tool()
    async def unlock(ctx: Context) -> str:
        """Adds a tool."""
        server.add_tool(secret)
        return "unlocked"

    api = FakeAPI()
    api.enqueue(
        Reply("A", thinking="I need the key.", tool_use=(ToolUse("unlock", {}),)),
        Reply("B", tool_use=(ToolUse("secret", {}),)),
        "C",
    )
    conversation = talk(api, lambda c: c.send("Go"), {"growing": server})
    assert [text for _, text in results(conversation)] == ["unlocked", "found"]
    assert shape(conversation)[1] == "assistant:text+tool_use"
    assert conversation.rejected == {"growing": ()}


def test_a_server_that_is_away_keeps_its_tools_and_costs_no_turn() -> None:
    """Claude reads that it cannot be reached; the other server goes on."""
    api = FakeAPI()
    api.enqueue(uses("desk_look"), "Away.", "Hello.")

    class Away(ToolSession):
        gone = False

        async def list_tools(self, **options: Any) -> Any:
            if self.gone:
                raise ServerUnavailable("desk", "gone")
            return await super().list_tools(**options)

        async def call_tool(self, *args: Any, **options: Any) -> Any:
            raise ServerUnavailable("desk", "gone")

    async def main() -> None:
        async with Away(Desk().server) as desk, ToolSession(build_shop()) as shop:
            servers = {"desk": desk, "shop": shop}
            conversation = Conversation(api.async_client(), servers, model=SONNET)
            turn = await conversation.send("Go")
            assert turn.runs[0].outcome == "tool_error"
            desk.gone = True
            await conversation.send("Hello?")
            assert "cannot be reached" in results(conversation)[0][1]

    asyncio.run(main())
    sent: Any = api.journal[-1].body
    assert {"desk_look", "shop_stock"} <= {tool["name"] for tool in sent["tools"]}


def test_claudes_words_reach_a_client_of_ours_while_they_are_written() -> None:
    """A server of ours with a conversation inside; MCP's channel for that is progress."""
    api = FakeAPI()
    api.enqueue(uses("look"), "All is well. " * 20)
    server = MCPServer("assistant", log_level="ERROR")
    pieces: list[str] = []

    @server.tool()
    async def ask(question: str, ctx: Context) -> str:
        """Ask the assistant."""
        async with ToolSession(Desk().server) as desk:
            conversation = Conversation(api.async_client(), {"desk": desk}, model=SONNET)
            turn = await conversation.send(question, to_progress(ctx.report_progress))
        return turn.text

    async def note(progress: float, total: float | None, message: str | None) -> None:
        pieces.append(message or "")

    async def main() -> None:
        async with ToolSession(server) as session:
            answer = await session.call_tool("ask", {"question": "?"}, progress_callback=note)
            assert "".join(pieces) == (answer.structured_content or {})["result"]

    asyncio.run(main())
    assert "".join(pieces) == "Let me see." + "All is well. " * 20
    assert len(pieces) > 2


def test_blank_text_and_an_empty_last_answer_are_not_sent_back() -> None:
    """The API refuses both in a history."""
    api = FakeAPI()
    blank = {"type": "text", "text": " "}
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    api.enqueue(Reply(content=[blank, call], stop_reason="tool_use"), Reply(content=[]), "Yes.")

    async def run(conversation: Conversation) -> None:
        assert (await conversation.send("Go")).text == " "
        assert shape(conversation) == ["user:text", "assistant:tool_use", "user:tool_result"]
        assert (await conversation.send("Well?")).text == "Yes."

    talk(api, run)


def test_the_registry_forgets_what_is_old_or_too_much_but_nothing_that_is_busy() -> None:
    """One conversation per session id, for as long as it is used."""
    now = [0.0]
    made: list[str] = []

    def make(session_id: str) -> Conversation:
        made.append(session_id)
        return Conversation(
            FakeAPI().async_client(), {}, model=SONNET, context={"user": session_id}
        )

    async def main() -> None:
        registry = Conversations(make, most=2, lifetime=10, clock=lambda: now[0])
        ann = registry.get("ann")
        assert registry.get("ann") is ann
        assert ann.context == {"user": "ann"}
        now[0] = 11.0
        assert registry.get("ann") is not ann
        bob = registry.get("bob")
        registry.get("ann")
        registry.get("cid")  # bob was used longest ago
        assert len(registry) == 2
        assert registry.get("bob") is not bob
        registry.forget("bob")
        registry.forget("bob")
        busy = [registry.get("cid"), registry.get("dan")]
        for conversation in busy:
            await conversation._lock.acquire()
        now[0] = 1_000.0
        with pytest.raises(TooManyConversations, match="2 conversations are running"):
            registry.get("eve")
        assert registry.get("cid") is busy[0]

    asyncio.run(main())
    assert made == ["ann", "ann", "bob", "cid", "bob", "dan"]


def test_a_conversation_without_servers_sends_no_tools() -> None:
    """An empty list would be a list all the same."""
    api = FakeAPI()
    api.enqueue("Hello.")
    turn = asyncio.run(Conversation(api.async_client(), {}, model=SONNET).send("Hi"))
    assert turn.text == "Hello."
    assert "tools" not in api.journal[0].body


def test_thinking_alone_is_no_answer_to_keep() -> None:
    """An answer that was cut off before its first word leaves no trace."""
    api = FakeAPI()
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    api.enqueue(Reply(content=[thought, hidden], stop_reason="max_tokens"))

    async def run(conversation: Conversation) -> None:
        assert (await conversation.send("Go")).stop_reason == "max_tokens"
        assert conversation.messages == []

    talk(api, run)


def test_thinking_stays_as_long_as_the_tools_do() -> None:
    """Also in the turns after it: the API wants it back with the tool call."""
    api = FakeAPI()
    api.enqueue(Reply("A", thinking="I look.", tool_use=(ToolUse("look", {}),)), "B", "C")

    async def run(conversation: Conversation) -> None:
        await conversation.send("Go")
        await conversation.send("And?")

    assert shape(talk(api, run))[1] == "assistant:thinking+text+tool_use"


def test_a_listing_that_may_be_kept_for_an_hour_is_asked_for_in_each_round() -> None:
    """A tool that came up meanwhile would be missed otherwise."""
    tools = [Tool(name="first", input_schema={"type": "object"})]

    async def listed(context: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=list(tools), ttl_ms=3_600_000, cache_scope="private")

    api = FakeAPI()
    api.enqueue("A", "B")

    async def run(conversation: Conversation) -> None:
        await conversation.send("Go")
        tools.append(Tool(name="second", input_schema={"type": "object"}))
        await conversation.send("And?")

    talk(api, run, {"s": Server("s", on_list_tools=listed)})
    sent: Any = [request.body for request in api.journal]
    assert [len(body["tools"]) for body in sent] == [1, 2]


def test_a_budget_counts_each_call_that_began() -> None:
    """Two of three run; a declined one has counted, an unknown one has not."""
    api = FakeAPI()
    api.enqueue(uses("book", "nothing", "pay", "book"))
    outcomes: list[str] = []

    async def approve(request: ToolRequest) -> bool | str:
        return request.tool == "book"

    async def run(conversation: Conversation) -> None:
        turn = await conversation.send("Go")
        outcomes.extend(ran.outcome for ran in turn.runs)

    talk(api, run, budget=Budget(calls=2), approve=approve)
    assert outcomes == ["ok", "unknown tool", "declined", "over budget"]


def test_progress_counts_the_pieces() -> None:
    """From one, one by one, as the protocol wants it; other events are not reported."""
    told: list[tuple[int, str]] = []

    async def report(progress: int, message: str) -> None:
        told.append((progress, message))

    async def run() -> None:
        tell: Any = to_progress(report)
        request = ToolRequest("a", "b", None, "s", "t", {})
        for event in (TextDelta("one"), ToolStarted(request), TextDelta("two")):
            await tell(event)

    asyncio.run(run())
    assert told == [(1, "one"), (2, "two")]


def test_each_call_is_a_line_of_the_log_with_its_three_ids(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Block, MCP call, API request; then the tool, its server and what became of it."""
    caplog.set_level("INFO", "patterns.mcp_session")
    api = FakeAPI()
    api.enqueue(uses("book"), "Done.")
    ids: list[Any] = []

    async def run(conversation: Conversation) -> None:
        ids.extend((await conversation.send("Go")).request_ids)

    talk(api, run)
    line = f"tool_use toolu_00 call c/toolu_00 request {ids[0]}: book of desk: ok"
    assert line in caplog.text


def test_a_tool_that_is_safe_and_unsafe_at_once_runs_alone() -> None:
    """The server calls it read-only and destructive: it is not believed."""
    both = ToolAnnotations(read_only_hint=True, destructive_hint=True)
    tool = Tool(name="t", input_schema={}, annotations=both)
    assert read_only(tool) is False
    assert read_only(tool.model_copy(update={"annotations": None})) is False
    assert read_only(tool.model_copy(update={"annotations": SAFE})) is True
