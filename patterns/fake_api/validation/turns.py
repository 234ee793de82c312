"""Whether the messages of a request make a conversation: roles, content, tool calls and results."""

from collections.abc import Mapping
from typing import Any, Final

from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.signatures import is_changed

ROLES: Final = ("user", "assistant", "system")
MOST_MESSAGES: Final = 100_000
NEEDS: Final[Mapping[str, tuple[tuple[str, type], ...]]] = {
    "text": (("text", str),),
    "image": (("source", dict),),
    "document": (("source", dict),),
    "search_result": (("source", str), ("title", str), ("content", list)),
    "thinking": (("thinking", str), ("signature", str)),
    "redacted_thinking": (("data", str),),
    "tool_use": (("id", str), ("name", str), ("input", dict)),
    "tool_result": (("tool_use_id", str),),
}
"""Required fields of the content blocks that a client writes; other kinds pass unseen."""
OF_ASSISTANT: Final = frozenset(("thinking", "redacted_thinking", "tool_use"))
OF_USER: Final = frozenset(("image", "document", "search_result", "tool_result"))


def _bad(path: str, problem: str) -> APIError:
    return APIError(400, f"{path}: {problem}")


def check_messages(messages: object) -> None:
    """Raise the 400 for messages that the API would not take."""
    if not isinstance(messages, list):
        raise _bad("messages", "must be an array")
    if not messages:
        raise _bad("messages", "at least one message is required")
    if len(messages) > MOST_MESSAGES:
        raise _bad("messages", f"at most {MOST_MESSAGES} messages are allowed")
    for n, message in enumerate(messages):
        _check_message(f"messages.{n}", message, last=n == len(messages) - 1)
    if messages[0]["role"] != "user":
        raise _bad("messages.0.role", "the first message must have the role 'user'")
    _check_tools_paired(messages)


def _check_message(path: str, message: object, *, last: bool) -> None:
    if not isinstance(message, dict):
        raise _bad(path, "must be an object")
    for key in message:
        if key not in ("role", "content"):
            raise _bad(f"{path}.{key}", "this field is not permitted here")
    role = message.get("role")
    if role not in ROLES:
        raise _bad(f"{path}.role", f"must be 'user' or 'assistant', got {role!r}")
    content = message.get("content")
    if isinstance(content, str):
        if not content.strip() and not (last and role == "assistant"):
            raise _bad(f"{path}.content", "must hold something other than whitespace")
        return
    if not isinstance(content, list):
        raise _bad(f"{path}.content", "must be a string or an array of content blocks")
    if not content and not (last and role == "assistant"):
        raise _bad(f"{path}.content", "must not be empty")
    for n, block in enumerate(content):
        _check_block(f"{path}.content.{n}", block, role)


def _check_block(path: str, block: object, role: object) -> None:
    """One block of a message: its shape, and whether it may stand there."""
    checked = _check_shape(path, block)
    kind = checked["type"]
    if (kind in OF_ASSISTANT and role != "assistant") or (kind in OF_USER and role != "user"):
        raise _bad(path, f"a block of type {kind!r} may not stand in a message of role {role!r}")
    if kind == "text" and not checked["text"].strip():
        raise _bad(f"{path}.text", "text must hold something other than whitespace")
    if kind == "thinking" and is_changed(checked["thinking"], checked["signature"]):
        raise _bad(path, "a thinking block must come back exactly as it was received")
    if checked.get("cache_control") is not None and kind in ("thinking", "redacted_thinking"):
        raise _bad(f"{path}.cache_control", f"a block of type {kind!r} cannot be a breakpoint")


def _check_shape(path: str, block: object) -> Mapping[str, Any]:
    """A block with a type and the fields that this type needs, and so within it."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise _bad(path, "must be a content block with a type")
    kind = block["type"]
    for key, wanted in NEEDS.get(kind, ()):
        if not isinstance(block.get(key), wanted):
            raise _bad(f"{path}.{kind}.{key}", f"this field is required ({wanted.__name__})")
    if not isinstance(block.get("citations"), dict | list | None):
        raise _bad(f"{path}.{kind}.citations", "must be an object")
    if kind == "tool_result":
        _check_inner(f"{path}.content", block.get("content"))
    if kind == "document" and block["source"].get("type") == "content":
        _check_inner(f"{path}.source.content", block["source"].get("content"))
    return block


def _check_inner(path: str, content: object) -> None:
    """Content within a block."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _bad(path, "must be a string or an array of content blocks")
    for n, block in enumerate(content):
        _check_shape(f"{path}.{n}", block)


def _ids(messages: list[Any], kind: str, key: str) -> list[str]:
    return [
        block[key]
        for message in messages
        if not isinstance(message["content"], str)
        for block in message["content"]
        if block["type"] == kind
    ]


def _check_tools_paired(messages: list[Any]) -> None:
    """Every tool call is answered in the next user turn, and nothing else is."""
    if all(isinstance(message["content"], str) for message in messages):
        return
    asked: list[str] = []
    for n, turn in _turns(messages):
        role = turn[0]["role"]
        answered = _ids(turn, "tool_result", "tool_use_id")
        for each in answered:
            if each not in asked:
                raise _bad(
                    f"messages.{n}.content",
                    f"a tool_result answers {each!r}, which is no tool_use of the turn before it",
                )
        if role == "user" and (missing := [each for each in asked if each not in answered]):
            raise _bad(
                f"messages.{n}",
                f"no tool_result for the tool_use {missing[0]!r} of the turn before; "
                "every tool_use needs one in the next message",
            )
        if role == "user" and len(set(answered)) < len(answered):
            raise _bad(f"messages.{n}.content", "each tool_use may have one tool_result only")
        asked = _ids(turn, "tool_use", "id") if role == "assistant" else []


def _turns(messages: list[Any]) -> list[tuple[int, list[Any]]]:
    """Consecutive messages of one role are one turn, as the API joins them."""
    turns: list[tuple[int, list[Any]]] = []
    for n, message in enumerate(messages):
        if message["role"] == "system":
            continue
        if turns and turns[-1][1][0]["role"] == message["role"]:
            turns[-1][1].append(message)
        else:
            turns.append((n, [message]))
    return turns
