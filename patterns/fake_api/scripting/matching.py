"""What a script can match on: a request's last turn, its strings, schema, tools and results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patterns.fake_api.validation.tools import output_format


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as a script sees it."""

    path: str
    body: Mapping[str, Any]
    digest: bytes
    last_text: str
    """Text of the last user turn, tool results included."""


def test_of(key: str, wanted: Any) -> Callable[[Seen], bool]:
    """The test that a match key stands for."""
    words: Sequence[str] = (wanted,) if isinstance(wanted, str) else wanted
    match key:
        case "contains":
            return lambda seen: all(word in seen.last_text for word in words)
        case "anywhere":
            return lambda seen: _all_in(words, "\n".join(_strings(seen.body)))
        case "system":
            return lambda seen: _all_in(words, text_of_content(seen.body.get("system")))
        case "model":
            return lambda seen: seen.body.get("model") in words
        case "path":
            return lambda seen: seen.path in words
        case "schema":
            return lambda seen: set(words) <= _schema_names(seen.body)
        case "tools":
            return lambda seen: set(words) <= _tool_names(seen.body)
        case "turn":
            return lambda seen: wanted == sum(m["role"] == "user" for m in seen.body["messages"])
        case _ if isinstance(wanted, bool):
            return lambda seen: bool(_tool_results(seen.body)) == wanted
        case _:
            return lambda seen: _all_in(words, "\n".join(_tool_results(seen.body)))


def _all_in(words: Sequence[str], text: str) -> bool:
    return all(word in text for word in words)


def _strings(value: object) -> Iterator[str]:
    """Every string in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _schema_names(body: Mapping[str, Any]) -> set[str]:
    schema = (output_format(body) or {}).get("schema") or {}
    names = set(schema.get("properties") or ())
    return names | {schema["title"]} if isinstance(schema.get("title"), str) else names


def _tool_names(body: Mapping[str, Any]) -> set[str]:
    return {tool["name"] for tool in body.get("tools") or () if "name" in tool}


def text_of_content(content: object) -> str:
    """The text in a message's content or in a system prompt; "" where there is none."""
    if isinstance(content, str):
        return content
    parts = []
    for block in content if isinstance(content, list) else ():
        if block.get("type") == "text":
            parts.append(block["text"])
        elif block.get("type") == "tool_result":
            parts.append(text_of_content(block.get("content")))
    return "\n".join(parts)


def last_user_turn(body: Mapping[str, Any]) -> list[Any]:
    """The contents of the user messages at the end of the conversation, in order."""
    contents: list[Any] = []
    for message in reversed(body["messages"]):
        if message["role"] == "assistant" and contents:
            break
        if message["role"] == "user":
            contents.insert(0, message["content"])
    return contents


def _tool_results(body: Mapping[str, Any]) -> list[str]:
    """The texts of the tool results in the last user turn."""
    return [
        text_of_content([block])
        for content in last_user_turn(body)
        if isinstance(content, list)
        for block in content
        if block.get("type") == "tool_result"
    ]


def see(path: str, body: Mapping[str, Any], digest: bytes) -> Seen:
    """A request as a script sees it."""
    content = body["messages"][-1]["content"]
    if len(body["messages"]) > 1 or not isinstance(content, str):
        content = "\n".join(map(text_of_content, last_user_turn(body)))
    return Seen(path, body, digest, content)
