"""Threads, compaction, encodings and other features where one request is not enough."""

import gzip
import json
import zlib
from typing import Any

import anthropic
import pytest

from patterns.core.models import OPUS, SONNET
from patterns.fake_api import FakeAPI, Reply, VirtualClock
from patterns.fake_api.wire.encoding import decoded
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.http import Request
from patterns.fake_api.wire.signatures import sign

HI: list[Any] = [{"role": "user", "content": "hi"}]
ASK: dict[str, Any] = {"model": SONNET, "max_tokens": 99, "messages": HI}
THREADS = ["message-threads-2026-08-12"]


def beta(api: FakeAPI, **body: Any) -> Any:
    """A message of the beta endpoint."""
    return api.client(max_retries=0).beta.messages.create(**{**ASK, **body})


def test_a_thread_goes_on_from_its_last_answer_with_what_was_said() -> None:
    """Three turns; each request sends its own turn only, and the tokens of all are counted."""
    api = FakeAPI()
    api.enqueue("One.", "Two.", "Three.")
    first = beta(api, betas=THREADS, thread={"type": "create"}, system="Be brief.")
    goes_on = {"type": "continue", "previous_message_id": first.id}
    second = beta(
        api, betas=THREADS, thread=goes_on, messages=[{"role": "user", "content": "more"}]
    )
    goes_on = {"type": "continue", "previous_message_id": second.id}
    third = beta(api, betas=THREADS, thread=goes_on)
    tokens = [message.usage.input_tokens for message in (first, second, third)]
    plain = FakeAPI().client()
    turns = [
        *HI,
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "Two."},
        *HI,
    ]
    counted = plain.messages.count_tokens(model=SONNET, messages=turns, system="Be brief.")
    assert tokens[0] < tokens[1] < tokens[2] == counted.input_tokens


def test_a_thread_belongs_to_a_workspace() -> None:
    """Another one gets the same 404 as for an id that never was."""
    api = FakeAPI()
    first = beta(api, betas=THREADS, thread={"type": "create"})
    goes_on: Any = {"type": "continue", "previous_message_id": first.id}
    other = api.client(api_key="other", max_retries=0)
    with pytest.raises(anthropic.NotFoundError, match="no thread was found"):
        other.beta.messages.create(**ASK, betas=THREADS, thread=goes_on)


def test_a_failed_turn_leaves_the_thread_where_it_was() -> None:
    """A refused request has not continued anything."""
    api = FakeAPI()
    first = beta(api, betas=THREADS, thread={"type": "create"})
    goes_on = {"type": "continue", "previous_message_id": first.id}
    with pytest.raises(anthropic.BadRequestError, match="non-empty"):
        beta(api, betas=THREADS, thread=goes_on, messages=[{"role": "user", "content": ""}])
    assert beta(api, betas=THREADS, thread=goes_on)


def test_no_thread_is_no_thread() -> None:
    """`null` is the same as leaving it out."""
    assert beta(FakeAPI(), betas=THREADS, thread=None)


def test_null_diagnostics_are_answered_with_null() -> None:
    """The field is there because it was asked for."""
    body = {**ASK, "diagnostics": None}
    answer: Any = FakeAPI().client().post("/v1/messages", body=body, cast_to=object)
    assert answer["diagnostics"] is None


LEFT: list[tuple[dict[str, Any], list[str], str]] = [
    (
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}] * 2}},
        ["context-management-2025-06-27"],
        "comes twice",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "compaction", "content": ""}]}]},
        ["compact-2026-01-12"],
        "compaction.content: must not be empty",
    ),
    (
        {"model": "claude-fable-5-2", "fallbacks": [{"model": "claude-none"}]},
        ["server-side-fallback-2026-07-01"],
        "model: claude-none",
    ),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": ["object"]}}}},
        [],
        "'additionalProperties' must be explicitly set to false",
    ),
]


@pytest.mark.parametrize(("body", "betas", "said"), LEFT, ids=[said for _, _, said in LEFT])
def test_what_else_is_refused(body: dict[str, Any], betas: list[str], said: str) -> None:
    """Each with its reason."""
    with pytest.raises(anthropic.APIStatusError, match=said):
        beta(FakeAPI(), **body, betas=betas)


def test_an_mcp_call_and_its_result_are_a_pair() -> None:
    """As with server tools, in the same turn."""
    call = {"type": "mcp_tool_use", "id": "m1", "name": "a", "server_name": "s", "input": {}}
    result = {"type": "mcp_tool_result", "tool_use_id": "m1", "content": "ok"}
    text = {"type": "text", "text": "Done."}
    betas = ["mcp-client-2025-11-20"]

    def send(*blocks: Any) -> Any:
        return beta(
            FakeAPI(),
            betas=betas,
            messages=[*HI, {"role": "assistant", "content": list(blocks)}, *HI],
        )

    assert send(call, result, text)
    with pytest.raises(anthropic.BadRequestError, match="corresponding `mcp_tool_use` block"):
        send(result, text)


def test_thinking_stands_first_in_a_tool_loop_while_it_is_enabled() -> None:
    """With it the loop goes on; a turn without tools needs none."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": sign("Hm.")}
    call = {"type": "tool_use", "id": "t1", "name": "a", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
    turns: list[Any] = [
        *HI,
        {"role": "assistant", "content": [thought, call]},
        {"role": "user", "content": [result]},
    ]
    body: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "a", "input_schema": {"type": "object"}}],
    }
    assert FakeAPI().client().messages.create(**body, messages=turns)
    said: Any = {"role": "assistant", "content": [{"type": "text", "text": "x"}]}
    assert FakeAPI().client().messages.create(**body, messages=[*HI, said, *HI])


def test_an_unpacked_body_may_not_be_larger_than_allowed() -> None:
    """A small file can hold a large one."""
    bomb = gzip.compress(bytes(1000))
    request = Request("POST", "/", {}, {"content-encoding": "gzip"}, bomb)
    assert decoded(request, 1000).body == bytes(1000)
    with pytest.raises(APIError, match="once decoded") as caught:
        decoded(request, 999)
    assert (caught.value.status, caught.value.error_code) == (
        413,
        "request_body_too_large_after_decoding",
    )


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP", "deflate", "identity", ""])
def test_encodings_that_are_taken(name: str) -> None:
    """The request is the one that was packed, and the journal has it as it was."""
    body = json.dumps(ASK).encode()
    packers: dict[str, Any] = {"deflate": zlib.compress, "identity": bytes, "": bytes}
    packed = packers.get(name, gzip.compress)(body)
    api = FakeAPI()
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-encoding": name}
    assert api.handle(Request("POST", "/v1/messages", {}, headers, packed)).status == 200
    assert api.journal[0].body == ASK


def test_a_cut_off_body_is_not_what_its_header_says() -> None:
    """Half a gzip file is none."""
    packed = gzip.compress(json.dumps(ASK).encode())[:-9]
    with pytest.raises(APIError, match="not valid for its content-encoding"):
        decoded(Request("POST", "/", {}, {"content-encoding": "gzip"}, packed), 9999)


def test_a_forced_tool_is_called_with_an_example_of_its_schema() -> None:
    """So that libraries whose structured output is a forced tool work on the fake."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools: list[Any] = [
        {"name": "first", "input_schema": {"type": "object"}},
        {"name": "second", "input_schema": schema},
    ]
    body = {**ASK, "model": "claude-opus-5", "tools": tools}
    client = FakeAPI().client()
    named: Any = {"type": "tool", "name": "second"}
    message = client.messages.create(**body, tool_choice=named)
    assert message.stop_reason == "tool_use"
    block: Any = message.content[0]
    assert (block.name, block.input) == ("second", {"n": 0})
    either: Any = client.messages.create(**body, tool_choice={"type": "any"}).content[0]
    assert (either.name, either.input) == ("first", {})


def test_a_compaction_is_an_answer_of_its_own() -> None:
    """The block alone, streamed as well, and taken back in place of what it sums up."""
    api = FakeAPI()
    api.enqueue("They greeted each other.")
    betas = ["compact-2026-09-04"]
    message = beta(api, model=OPUS, betas=betas, compaction={"type": "summarize"})
    assert [block.type for block in message.content] == ["compaction"]
    assert message.stop_reason == "compaction"
    turns = [{"role": "user", "content": [message.content[0].model_dump(exclude_none=True)]}]
    assert beta(api, model=OPUS, betas=betas, messages=turns)


def test_what_code_ran_in_is_named_where_code_ran() -> None:
    """A container by id, or one that a tool's call implies."""
    api = FakeAPI(clock=VirtualClock())
    api.enqueue("x", Reply(content=[{"type": "text", "text": "x"}]))
    call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {}}
    client = api.client()
    named = client.messages.create(**ASK, container="container_7")
    assert named.container is not None
    assert named.container.id == "container_7"
    assert client.messages.create(**ASK).container is None
    api.enqueue(Reply(content=[call]))
    implied = client.messages.create(**ASK, container={"id": "container_8"})
    assert implied.container is not None
    assert implied.container.id == "container_8"
    api.enqueue(Reply(content=[call]))
    assert client.messages.create(**ASK).container is not None


def test_tools_that_a_search_found_are_among_the_tools() -> None:
    """A search result that points elsewhere is refused, as a tool result that does."""
    search: Any = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    tool: Any = {"name": "late", "input_schema": {"type": "object"}, "defer_loading": True}

    def found(name: str) -> list[Any]:
        names = {"type": "tool_reference", "tool_name": name}
        content = {"type": "tool_search_tool_search_result", "tool_references": [names]}
        call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": search["name"], "input": {}}
        result = {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1"}
        return [*HI, {"role": "assistant", "content": [call, {**result, "content": content}]}, *HI]

    client = FakeAPI().client()
    assert client.messages.create(**{**ASK, "messages": found("late")}, tools=[search, tool])
    with pytest.raises(anthropic.BadRequestError, match="'other' not found in available tools"):
        client.messages.create(**{**ASK, "messages": found("other")}, tools=[search, tool])


def test_a_reference_that_leads_nowhere_is_no_circle() -> None:
    """Tools that code may call are searched for circles only; bare domains are fine."""
    schema = {"type": "object", "properties": {"x": {"$ref": "https://example.com/s.json"}}}
    tools: list[Any] = [
        {"type": "code_execution_20260120", "name": "code_execution"},
        {"name": "a", "input_schema": schema, "allowed_callers": ["code_execution_20260120"]},
        {
            "type": "web_search_20260318",
            "name": "web_search",
            "allowed_domains": ["a.org", "b.org"],
        },
    ]
    assert FakeAPI().client().messages.create(**ASK, tools=tools)
