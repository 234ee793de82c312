"""Claude and the session: tools through the tool runner, clean results, sampling."""

import asyncio
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st
from mcp import MCPError
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    CreateMessageRequestParams,
    CreateMessageResult,
    EmbeddedResource,
    ErrorData,
    ImageContent,
    ResourceLink,
    SamplingMessage,
    TextContent,
    TextResourceContents,
    Tool,
)
from mcp_session_support import QUICK, bare
from servers.shop import build_shop

from patterns.core.models import SONNET
from patterns.fake_api import FakeAPI, Fault, Reply, ToolUse
from patterns.mcp_session import (
    AccessDenied,
    RetryPolicy,
    ServerUnavailable,
    ToolSession,
    as_claude_content,
    claude_name,
    sampling_with,
)
from patterns.mcp_session.claude import told_to_claude


async def converse(client: AsyncAnthropic, tools: list[Any], prompt: str) -> Any:
    """Let the tool runner finish a conversation; returns the last message."""
    runner = client.beta.messages.tool_runner(
        model=SONNET,
        max_tokens=1_000,
        tools=tools,
        thread=False,
        messages=[{"role": "user", "content": prompt}],
    )
    return await runner.until_done()


def results_sent(api: FakeAPI, turn: int = -1) -> list[dict[str, Any]]:
    """The tool results in the last request."""
    body: Any = api.journal[turn].body
    content: list[dict[str, Any]] = body["messages"][-1]["content"]
    return content


def test_claude_calls_a_tool_and_reads_its_result() -> None:
    """Name, schema and description go out; the result comes back as text."""
    api = FakeAPI()
    api.enqueue(Reply(tool_use=(ToolUse("stock", {"tea": "assam"}),)), "500 g of assam.")

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            tools = await session.anthropic_tools()
            last = await converse(api.async_client(), tools, "How much assam?")
            assert last.content[0].text == "500 g of assam."
            assert [call.name for call in session.history] == ["stock"]

    asyncio.run(run())
    sent: Any = api.journal[0].body
    stock = sent["tools"][0]
    assert (stock["name"], stock["input_schema"]["required"]) == ("stock", ["tea"])
    (result,) = results_sent(api)
    assert '"grams": 500' in result["content"][0]["text"]
    assert not result.get("is_error")


def test_an_error_is_a_result_that_claude_can_correct_itself_with() -> None:
    """The shop's own words, marked as an error."""
    api = FakeAPI()
    api.enqueue(
        Reply(tool_use=(ToolUse("stock", {"tea": "asam"}),)),
        Reply(tool_use=(ToolUse("stock", {"tea": "assam"}),)),
        "500 g.",
    )

    async def run() -> None:
        async with ToolSession(build_shop()) as session:
            await converse(api.async_client(), await session.anthropic_tools(), "How much asam?")
            assert [call.outcome for call in session.history] == ["tool_error", "ok"]

    asyncio.run(run())
    (result,) = results_sent(api, 1)
    assert result["is_error"]
    assert "Teas: assam, darjeeling, sencha" in result["content"][0]["text"]


def test_two_servers_with_the_same_tool_are_told_apart_by_prefix() -> None:
    """Both answer, each for itself, in one turn."""
    api = FakeAPI()
    calls = (ToolUse("left_echo", {"text": "L"}), ToolUse("right_echo", {"text": "R"}))
    api.enqueue(Reply(tool_use=calls), "done")

    async def run() -> None:
        async with ToolSession(bare()) as left, ToolSession(bare()) as right:
            tools = [
                *await left.anthropic_tools(prefix="left_"),
                *await right.anthropic_tools(prefix="right_"),
            ]
            await converse(api.async_client(), tools, "Say something")
            assert left.history[0].arguments == {"text": "L"}
            assert right.history[0].arguments == {"text": "R"}

    asyncio.run(run())
    assert [result["content"][0]["text"] for result in results_sent(api)] == ["L", "R"]


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("leave", "it may have run"),
        ("hang", "gave no answer within 1 s"),
        ("liar", "returned an invalid result"),
        ("misshapen", "returned an invalid result"),
    ],
)
def test_what_goes_wrong_in_between_reaches_claude_as_a_sentence(tool: str, said: str) -> None:
    """No repr, no traceback, no path; the conversation goes on."""
    api = FakeAPI()
    api.enqueue(Reply(tool_use=(ToolUse(tool, {}),)), "Sorry.")

    seconds = 1 if tool == "hang" else 30

    async def run() -> None:
        async with ToolSession(bare(), connect_timeout=30, retry=QUICK) as session:
            tools = await session.anthropic_tools()
            session.timeout = seconds
            await converse(api.async_client(), tools, "Go on")

    asyncio.run(run())
    (result,) = results_sent(api)
    content = str(result["content"])
    assert result["is_error"]
    assert said in content
    assert not any(trace in content for trace in ("Traceback", "Error(", "object at", "/work"))


def test_a_lost_server_does_not_end_the_conversation() -> None:
    """Claude reads that the shop is away."""
    api = FakeAPI()
    api.enqueue(Reply(tool_use=(ToolUse("echo", {}),)), "The shop is away.")

    async def run() -> None:
        server = bare()
        session = await ToolSession(server, retry=RetryPolicy(attempts=1)).open()
        tools = await session.anthropic_tools()
        server.parameters.args[-1:] = ["gone.py"]
        with pytest.raises(ServerUnavailable):
            await session.call_tool("leave")
        last = await converse(api.async_client(), tools, "Go on")
        assert last.content[0].text == "The shop is away."
        await session.aclose()

    asyncio.run(run())
    (result,) = results_sent(api)
    assert "cannot be reached" in str(result["content"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AccessDenied("shop", 403, "Bearer scope=x"), "Access to t was denied (HTTP 403)."),
        (MCPError(-32050, "closed today"), "closed today"),
    ],
)
def test_errors_are_told_without_addresses_or_logs(error: MCPError, said: str) -> None:
    """The server's own words are passed on; ours name only the tool."""
    assert told_to_claude("t", error) == said


WAV = AudioContent(type="audio", data="AAAA", mime_type="audio/wav")
NO_PNG = ImageContent(type="image", data="AAAA", mime_type="image/png")
BMP = ImageContent(type="image", data="not base64!", mime_type="image/bmp")
LINK = ResourceLink(type="resource_link", name="menu", uri="shop://menu", description="teas")
BARE_LINK = ResourceLink(type="resource_link", name="menu", uri="shop://menu")
ZIP = EmbeddedResource(
    type="resource",
    resource=BlobResourceContents(uri="shop://all.zip", blob="AAAA", mime_type="application/zip"),
)
NOTE = EmbeddedResource(
    type="resource", resource=TextResourceContents(uri="shop://note", text="hi")
)
LATIN = EmbeddedResource(
    type="resource",
    resource=BlobResourceContents(uri="shop://latin", blob="/w==", mime_type="text/plain"),
)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (WAV, "[audio, audio/wav, 3 bytes, not shown]"),
        (NO_PNG, "[image, image/png, 3 bytes, not shown]"),
        (BMP, "[image, image/bmp, unreadable bytes, not shown]"),
        (LINK, "[resource 'menu' at shop://menu: teas]"),
        (BARE_LINK, "[resource 'menu' at shop://menu]"),
        (ZIP, "[resource at shop://all.zip, application/zip, 3 bytes, not shown]"),
        (LATIN, "[resource at shop://latin, text/plain, 1 bytes, not shown]"),
    ],
)
def test_what_claude_cannot_see_is_described(block: ContentBlock, said: str) -> None:
    """One line of text instead of a Python repr."""
    assert as_claude_content(CallToolResult(content=[block])) == [{"type": "text", "text": said}]


def test_structured_content_alone_becomes_json() -> None:
    """Some servers send no text at all; some send nothing at all."""
    structured = CallToolResult(content=[], structured_content={"tea": "é"})
    assert as_claude_content(structured) == [{"type": "text", "text": '{"tea": "é"}'}]
    assert as_claude_content(CallToolResult(content=[])) == []


def test_a_long_result_is_cut_and_says_so() -> None:
    """A million characters would be a bill, not an answer."""
    long = CallToolResult(content=[TextContent(type="text", text="x" * 1_000)])
    (block,) = as_claude_content(long, limit=10)
    how = "ask for less at a time, by a filter or a page"
    assert block == {
        "type": "text",
        "text": f"xxxxxxxxxx\n[cut: 10 of 1,000 characters shown; {how}]",
    }


@given(st.text(min_size=1))
def test_every_name_becomes_one_that_the_api_takes(name: str) -> None:
    """Good names stay; others are made good, and stay different from each other."""
    clean = claude_name(name)
    assert 1 <= len(clean) <= 128
    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in clean)
    assert claude_name(clean) == clean


def test_names_that_differ_stay_different() -> None:
    """`a.b` and `a_b` are two tools; so are two long names with one beginning."""
    names = ["a.b", "a_b", "a/b", "x" * 140, "x" * 141]
    assert len({claude_name(name) for name in names}) == 5


def _question(**options: Any) -> CreateMessageRequestParams:
    text = TextContent(type="text", text="One sentence about assam.")
    message = SamplingMessage(role="user", content=options.pop("content", text))
    options.setdefault("max_tokens", 500)
    return CreateMessageRequestParams(messages=[message], **options)


async def _sample(api: FakeAPI, params: CreateMessageRequestParams, **options: Any) -> Any:
    callback = sampling_with(api.async_client(), model=SONNET, **options)
    context: Any = None
    return await callback(context, params)


def test_a_servers_question_is_answered_by_claude() -> None:
    """What the server may choose goes out; what the API no longer takes does not."""
    api = FakeAPI()
    api.enqueue("Malty and strong.")
    params = _question(system_prompt="Be brief.", stop_sequences=["END"], temperature=0.5)
    result = asyncio.run(_sample(api, params))
    assert isinstance(result, CreateMessageResult)
    assert (result.content, result.stop_reason, result.model) == (
        TextContent(type="text", text="Malty and strong."),
        "endTurn",
        SONNET,
    )
    sent: Any = api.journal[0].body
    assert sent == {
        "model": SONNET,
        "max_tokens": 500,
        "stream": True,
        "system": "Be brief.",
        "stop_sequences": ["END"],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "One sentence about assam."}]}
        ],
    }


def test_a_list_of_contents_is_one_turn() -> None:
    """Text and a picture together."""
    api = FakeAPI()
    api.enqueue("Green.! And more.")
    content = [TextContent(type="text", text="What colour?"), WAV]
    result = asyncio.run(_sample(api, _question(content=content, stop_sequences=["!"])))
    assert result.stop_reason == "stopSequence"
    sent: Any = api.journal[0].body
    assert "audio/wav" in sent["messages"][0]["content"][1]["text"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.status(529), "HTTP 529 (overloaded_error)"),
        (Fault.status(400), "HTTP 400 (invalid_request_error)"),
        (Fault.disconnect(), "APIConnectionError"),
    ],
)
def test_what_goes_wrong_on_our_side_is_one_sentence_for_the_server(
    fault: Fault, said: str
) -> None:
    """No exception group, no repr, no advice on streaming, no request id."""
    api = FakeAPI()
    api.add_faults(fault)
    result = asyncio.run(_sample(api, _question()))
    assert isinstance(result, ErrorData)
    assert said in result.message
    assert "req_" not in result.message


def test_a_refusal_is_an_error_for_the_server() -> None:
    """Never presented as an answer."""
    api = FakeAPI()
    api.enqueue(Reply(refusal="cyber"))
    result = asyncio.run(_sample(api, _question()))
    assert isinstance(result, ErrorData)
    assert "refused" in result.message


def test_an_answer_that_the_servers_limit_cuts_is_returned_as_cut() -> None:
    """MCP has a stop reason for it; a very high limit needs no advice either."""
    api = FakeAPI()
    api.enqueue(Reply("Mal", stop_reason="max_tokens"), "Malty.")
    cut = asyncio.run(_sample(api, _question()))
    assert (cut.content.text, cut.stop_reason) == ("Mal", "maxTokens")
    assert asyncio.run(_sample(api, _question(max_tokens=60_000))).stop_reason == "endTurn"


def test_a_server_that_wants_tools_is_told_that_there_are_none() -> None:
    """Nothing is sent."""
    api = FakeAPI()
    wants: Any = {"tools": [Tool(name="t", input_schema={"type": "object"})]}
    result = asyncio.run(_sample(api, _question(**wants)))
    assert "tools are not offered" in result.message
    assert api.journal == []


@pytest.mark.parametrize("allowed", [True, False])
def test_a_person_may_decline_a_servers_question(allowed: bool) -> None:
    """Then nothing is sent and nothing is paid."""
    api = FakeAPI()
    api.enqueue("Malty.")

    async def approve(params: CreateMessageRequestParams) -> bool:
        return allowed

    result = asyncio.run(_sample(api, _question(), approve=approve))
    assert isinstance(result, CreateMessageResult if allowed else ErrorData)
    assert len(api.journal) == int(allowed)
