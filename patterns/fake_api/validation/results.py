"""What a turn that answers tool calls may hold: who called decides, and what is not finished.

Sources: agents-and-tools/tool-use/{programmatic-tool-calling, computer-use-tool, handle-tool-calls,
server-tools}, build-with-claude/{search-results, handling-stop-reasons} and the release notes on
`cache_control` in tool results, August 2026.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

from patterns.fake_api.validation.turns import (
    Message,
    Turn,
    blocks_of,
    is_server_result,
    turns_of,
)
from patterns.fake_api.wire.errors import bad

Block: TypeAlias = Mapping[str, Any]
CODE: Final = "code_execution"
MEMBER_RESULTS: Final = frozenset(("text", "image", "browser_state"))
"""What a member of a computer or browser toolset may give back."""


def check_results(body: Mapping[str, Any]) -> None:
    """Raise the 400 for results that do not fit the calls they answer."""
    turns = list(turns_of(body["messages"]))
    for (_, asking), (n, answering) in pairwise(turns):
        calls = {block["id"]: block for block in _blocks(asking) if block["type"] == "tool_use"}
        for block in _blocks(answering):
            if block["type"] == "tool_result":
                _check_result(f"messages.{n}", block, calls[block["tool_use_id"]])
    for n, message in enumerate(body["messages"]):
        for m, block in enumerate(blocks_of(message)):
            _check_breakpoints(f"messages.{n}.content.{m}", block)
    _check_unfinished(body, turns)


def _blocks(turn: Sequence[Message]) -> list[dict[str, Any]]:
    return [block for message in turn for block in blocks_of(message)]


def _check_result(path: str, block: Block, call: Block) -> None:
    content = block.get("content")
    kinds = {part["type"] for part in content} if isinstance(content, list) else {"text"}
    if "search_result" in kinds and len(kinds) > 1:
        raise bad(path, "a tool_result with a `search_result` block may hold nothing else")
    toolset = call.get("toolset_name")
    if block.get("toolset_name") != toolset:
        raise bad(path, f"toolset_name must be that of its `tool_use` block, {toolset!r}")
    if toolset is not None and (other := kinds - MEMBER_RESULTS):
        raise bad(path, f"the result of a {toolset} tool holds text and image, not {min(other)}")
    if _by_code(call) and (other := kinds - {"text"}):
        raise bad(path, f"the tool_result of a programmatic call holds text, not {min(other)}")


def _by_code(call: Block) -> bool:
    return str((call.get("caller") or {}).get("type")).startswith(CODE)


def _check_breakpoints(path: str, block: Block) -> None:
    """Within a result or a document, the last block alone may be marked."""
    inner = block.get("content") if block["type"] == "tool_result" else None
    if block["type"] == "document" and block["source"]["type"] == "content":
        inner = block["source"]["content"]
    for part in inner[:-1] if isinstance(inner, list) else ():
        if part.get("cache_control") is not None:
            raise bad(
                path, f"cache_control goes on the {block['type']} block, not on blocks inside it"
            )


def _check_unfinished(body: Mapping[str, Any], turns: list[Turn]) -> None:
    """What the last answer has begun: code that waits, and server tools that have not run."""
    asking = next((turn for _, turn in reversed(turns) if turn[0]["role"] == "assistant"), [])
    ended = turns[-1][1] is not asking and _says_more(turns[-1][1])
    if turns[-1][1] is not asking and any(map(_by_code, _blocks(asking))):
        if ended:
            raise bad(
                f"messages.{turns[-1][0]}",
                "only tool_result blocks may answer a programmatic tool call, no text",
            )
        if body.get("container") is None:
            raise bad("container", "is required while a programmatic tool call waits for results")
    names = {tool.get("name") for tool in body.get("tools") or ()}
    for call in _open_calls(asking):
        missing = f"`{call['name']}` tool use with id `{call['id']}` was found without a "
        missing += f"corresponding `{call['name']}_tool_result` block"
        if ended:
            raise bad(f"messages.{turns[-1][0] - 1}", missing)
        if call["name"] not in names and CODE not in call["name"]:
            raise bad("messages", f"{missing}, but no `{call['name']}` tool was provided")


def _says_more(turn: Sequence[Message]) -> bool:
    return any(not blocks_of(message) for message in turn) or any(
        block["type"] != "tool_result" for block in _blocks(turn)
    )


def _open_calls(turn: Sequence[Message]) -> Iterator[Block]:
    """Calls of server tools that the model made itself and that have no result yet."""
    blocks = _blocks(turn)
    done = {block["tool_use_id"] for block in blocks if is_server_result(block)}
    for block in blocks:
        if block["type"] == "server_tool_use" and block["id"] not in done and not _by_code(block):
            yield block
