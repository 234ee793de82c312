"""Whether the messages of a request make a conversation: who says what, where, and what answers it.

Shapes are checked before (`shapes`). Rules and quoted messages: api/errors, build-with-claude/
{mid-conversation-system-messages, thinking} and agents-and-tools/tool-use/handle-tool-calls of
August 2026, and issues that quote the API (`tests/evidence`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from patterns.fake_api.wire.errors import APIError, bad
from patterns.fake_api.wire.signatures import is_changed, is_ours

Message: TypeAlias = Mapping[str, Any]
Turn: TypeAlias = tuple[int, list[Message]]
"""The number of its first message, and its messages: neighbours of one role are one turn."""

MOST_MESSAGES: Final = 100_000
OF_USER: Final = frozenset(("image", "search_result", "tool_result", "container_upload"))
ANYWHERE: Final = frozenset(("text", "document", "compaction"))
THINKING: Final = ("thinking", "redacted_thinking")


def blocks_of(message: Message) -> list[dict[str, Any]]:
    """A message's content blocks; none where its content is a string."""
    content = message.get("content")
    return content if isinstance(content, list) else []


def check_turns(messages: list[Message], thinking: str) -> None:
    """Raise the 400 for messages that are no conversation.

    Args:
        messages: as they came, of the right shape.
        thinking: the request's thinking mode.
    """
    if not messages:
        raise bad("messages", "at least one message is required")
    if len(messages) > MOST_MESSAGES:
        raise bad("messages", f"at most {MOST_MESSAGES} messages are allowed")
    for n, message in enumerate(messages):
        _check_message(f"messages.{n}", message, last=n == len(messages) - 1)
    _check_first(messages[0])
    _check_system_places(messages)
    if any(blocks_of(message) for message in messages):
        turns = list(turns_of(messages))
        _check_results(turns)
        _check_server_results(turns)
        if thinking == "enabled":
            _check_thinking_first(turns)


def _check_message(path: str, message: Message, *, last: bool) -> None:
    role, content = message["role"], message.get("content", "")
    if role == "system" and not content:
        if not message.get("output_config"):
            raise bad(path, "a system message needs non-empty content or an output_config")
        return
    started = last and role == "assistant"
    if isinstance(content, str):
        if not content.strip() and not started:
            raise bad(
                path,
                "all messages must have non-empty content except for the optional final assistant "
                "message: it holds nothing but whitespace",
            )
    elif not content and not started:
        raise bad(path, "all messages must have non-empty content")
    else:
        for n, block in enumerate(content):
            _check_block(f"{path}.content.{n}", block, role)
    if started and _text_at_end(message) != _text_at_end(message).rstrip():
        raise APIError(400, f"{path}: final assistant content cannot end with trailing whitespace")


def _text_at_end(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return str(content[-1].get("text", "")) if content else ""


def _check_block(path: str, block: Mapping[str, Any], role: str) -> None:
    kind = block["type"]
    if role != "system" and kind not in ANYWHERE:
        right = "user" if kind in OF_USER else "assistant"
        if role != right:
            raise bad(path, f"`{kind}` blocks can only be in `{right}` messages, not in {role!r}")
    if kind == "text" and not block["text"].strip():
        raise bad(path, "text content blocks must contain non-whitespace text")
    if kind == "thinking" and not is_ours(block["signature"]):
        raise bad(path, "Invalid `signature` in `thinking` block")
    if kind == "thinking" and is_changed(block["thinking"], block["signature"]):
        raise bad(
            path,
            "`thinking` or `redacted_thinking` blocks cannot be modified: a thinking block must "
            "come back exactly as it was received",
        )


def _check_first(message: Message) -> None:
    summary = any(block["type"] == "compaction" for block in blocks_of(message))
    if message["role"] != "user" and not summary:
        raise bad(
            "messages.0.role", f"first message must use the 'user' role, not {message['role']!r}"
        )


def _check_system_places(messages: list[Message]) -> None:
    """A system turn follows a user turn or a server tool's result, and goes before an answer."""
    for n, message in enumerate(messages):
        if message["role"] != "system":
            continue
        before = next((m for m in reversed(messages[:n]) if m["role"] != "system"), None)
        after = next((m for m in messages[n + 1 :] if m["role"] != "system"), None)
        answered = before is not None and (
            before["role"] == "user" or _ends_in_server_result(before)
        )
        if not answered or (after is not None and after["role"] != "assistant"):
            raise bad(
                f"messages.{n}",
                "a system message must follow a user turn (tool_result blocks included) and go "
                "before an assistant turn or at the end",
            )


def _ends_in_server_result(message: Message) -> bool:
    blocks = blocks_of(message)
    return bool(blocks) and is_server_result(blocks[-1])


def is_server_result(block: Mapping[str, Any]) -> bool:
    """Whether a block is the result of a tool that the API runs."""
    return str(block["type"]).endswith("_tool_result")


def turns_of(messages: list[Message]) -> Iterator[Turn]:
    """The turns of a conversation, system messages left out."""
    turn: list[Message] = []
    start = 0
    for n, message in enumerate(messages):
        if message["role"] == "system":
            continue
        if turn and turn[0]["role"] != message["role"]:
            yield start, turn
            turn = []
        if not turn:
            start = n
        turn.append(message)
    yield start, turn


def _blocks(turn: list[Message], *kinds: str) -> list[dict[str, Any]]:
    return [block for message in turn for block in blocks_of(message) if block["type"] in kinds]


def _check_results(turns: list[Turn]) -> None:
    """Every tool call is answered at the start of the next user turn, and nothing else is."""
    seen: set[str] = set()
    asked: list[str] = []
    for n, turn in turns:
        if turn[0]["role"] == "user":
            _check_answers(f"messages.{n}", turn, asked)
            asked = []
            continue
        asked = [block["id"] for block in _blocks(turn, "tool_use")]
        for each in asked:
            if each in seen:
                raise bad(f"messages.{n}", f"`tool_use` ids must be unique, {each!r} comes twice")
            seen.add(each)
    if asked:
        raise _unanswered(f"messages.{turns[-1][0]}", asked)


def _unanswered(path: str, missing: list[str]) -> APIError:
    return bad(
        path,
        "`tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` "
        "block in the next message.",
    )


def _check_answers(path: str, turn: list[Message], asked: list[str]) -> None:
    answered = [block["tool_use_id"] for block in _blocks(turn, "tool_result")]
    for each in answered:
        if each not in asked:
            raise bad(
                path,
                f"unexpected `tool_use_id` found in `tool_result` blocks: {each}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous "
                "message.",
            )
    if missing := [each for each in asked if each not in answered]:
        raise _unanswered(path, missing)
    if len(set(answered)) < len(answered):
        raise bad(path, "each tool_use must have a single result; found multiple `tool_result`")
    kinds = [block["type"] for message in turn for block in blocks_of(message)]
    if answered and "tool_result" not in kinds[: len(answered)][-1:]:
        raise bad(
            path,
            "`tool_result` blocks must come first, before any text; `tool_use` ids were found "
            "without `tool_result` blocks immediately after",
        )
    for block in _blocks(turn, "tool_result"):
        if block.get("is_error") and block.get("content") in ([], ""):
            raise bad(path, "content cannot be empty if `is_error` is true")


def _check_server_results(turns: list[Turn]) -> None:
    """A server tool's result stands after its call, and only the last turn may lack one."""
    called: dict[str, tuple[int, str]] = {}
    for n, turn in turns:
        for block in (block for message in turn for block in blocks_of(message)):
            kind = block["type"]
            if kind in ("server_tool_use", "mcp_tool_use"):
                called[block["id"]] = (n, block["name"])
            elif is_server_result(block) and called.pop(block["tool_use_id"], None) is None:
                call = "mcp_tool_use" if kind == "mcp_tool_result" else "server_tool_use"
                raise bad(
                    f"messages.{n}",
                    f"unexpected `tool_use_id` found in `{kind}` blocks: {block['tool_use_id']}. "
                    f"Each `{kind}` block must have a corresponding `{call}` block before it.",
                )
    last = max((n for n, turn in turns if turn[0]["role"] == "assistant"), default=0)
    for each, (n, name) in called.items():
        if n < last:
            raise bad(
                f"messages.{n}",
                f"`{name}` tool use with id `{each}` was found without a corresponding result "
                "block",
            )


def _check_thinking_first(turns: list[Turn]) -> None:
    """With thinking enabled, a tool loop's assistant turn begins with its thinking."""
    answers = [(n, turn) for n, turn in turns if turn[0]["role"] == "assistant"]
    if not answers or not _blocks(answers[-1][1], "tool_use"):
        return
    n, turn = answers[-1]
    first = next(block["type"] for message in turn for block in blocks_of(message))
    if first not in THINKING:
        raise bad(
            f"messages.{n}.content.0.type",
            f"Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is "
            "enabled, a final `assistant` message must start with a thinking block.",
        )
