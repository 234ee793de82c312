"""How the fake API counts tokens: a deterministic estimate, good for arithmetic, not for a bill.

The rule, so that a test can do it by hand: four UTF-8 bytes of text are one token, rounded up per
block; each message costs 3 more and each tool 10 more (its definition counted as compact JSON);
an image is 1,600 and a PDF 3,000, whatever they show. The real tokenizer differs by some tens of
per cent either way; ask `client.messages.count_tokens` of the real API before you rely on a size.

Used by chapters 07 and 08.
"""

from collections.abc import Mapping
from typing import Any, Final

from patterns.fake_api.validation.tools import output_format
from patterns.fake_api.wire.jsons import compact

BYTES_PER_TOKEN: Final = 4
PER_MESSAGE: Final = 3
PER_TOOL: Final = 10
IMAGE: Final = 1_600
PDF: Final = 3_000


def text_tokens(text: str) -> int:
    """Tokens of a piece of text: a quarter of its UTF-8 bytes, rounded up."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return (size + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN


def json_tokens(value: object) -> int:
    """Tokens of a value that the model sees as JSON."""
    return text_tokens(compact(value))


def block_tokens(block: Mapping[str, Any]) -> int:
    """Tokens of one content block of a request or a response."""
    match block.get("type"):
        case "text":
            return text_tokens(block["text"])
        case "thinking":
            return text_tokens(block["thinking"])
        case "image":
            return IMAGE
        case "document":
            return document_tokens(block)
        case "tool_use":
            return PER_TOOL + text_tokens(block["name"]) + json_tokens(block["input"])
        case "tool_result":
            return PER_TOOL + content_tokens(block.get("content") or "")
        case _:
            return json_tokens({key: block[key] for key in block if key != "cache_control"})


def document_tokens(block: Mapping[str, Any]) -> int:
    """Tokens of a document: its text where it has one, a flat number for a PDF."""
    source = block.get("source") or {}
    head = text_tokens(str(block.get("title") or "") + str(block.get("context") or ""))
    match source.get("type"):
        case "text":
            return head + text_tokens(str(source.get("data", "")))
        case "content":
            return head + content_tokens(source.get("content") or "")
        case _:
            return head + PDF


def content_tokens(content: str | list[Mapping[str, Any]]) -> int:
    """Tokens of a message's content in either of its forms."""
    if isinstance(content, str):
        return text_tokens(content)
    return sum(map(block_tokens, content))


def tool_tokens(tool: Mapping[str, Any]) -> int:
    """Tokens of one tool definition."""
    return PER_TOOL + json_tokens({key: tool[key] for key in tool if key != "cache_control"})


def input_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a whole request: tools, system prompt and messages, and an output schema."""
    total = sum(map(tool_tokens, body.get("tools") or ()))
    total += content_tokens(body.get("system") or "")
    for message in body["messages"]:
        total += PER_MESSAGE + content_tokens(message["content"])
    return total + schema_tokens(body)


def schema_tokens(body: Mapping[str, Any]) -> int:
    """Tokens that an output schema adds to the request."""
    form = output_format(body)
    return json_tokens(form) if form else 0


def cut_to_tokens(text: str, limit: int) -> str:
    """The longest beginning of `text` that is at most `limit` tokens, on a character boundary."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit * BYTES_PER_TOKEN:
        return text
    return raw[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")
