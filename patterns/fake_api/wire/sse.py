"""A message as the API streams it: the events, in their order, and as bytes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from patterns.fake_api.tokens import BYTES_PER_TOKEN
from patterns.fake_api.wire.jsons import compact

Event: TypeAlias = dict[str, Any]

PIECE: Final = 5 * BYTES_PER_TOKEN
"""Characters in one delta."""


def encode(event: Mapping[str, Any]) -> bytes:
    """One event as it is sent."""
    return f"event: {event['type']}\ndata: {compact(event)}\n\n".encode("utf-8", "replace")


def events_of(message: Mapping[str, Any]) -> Iterator[tuple[Event, int]]:
    """The events of a message, each with the characters of output that it carries."""
    usage = message["usage"]
    opening = {**usage, "output_tokens": min(1, usage["output_tokens"])}
    opening.pop("output_tokens_details", None)
    empty: Event = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    yield {"type": "message_start", "message": {**message, **empty, "usage": opening}}, 0
    for index, block in enumerate(message["content"]):
        yield {"type": "content_block_start", "index": index, "content_block": _opened(block)}, 0
        if index == 0:
            yield {"type": "ping"}, 0
        for delta, size in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}, size
        yield {"type": "content_block_stop", "index": index}, 0
    closing: Event = {"type": "message_delta", "delta": _delta(message), "usage": _closing(usage)}
    if "context_management" in message:
        closing["context_management"] = message["context_management"]
    yield closing, 0
    yield {"type": "message_stop"}, 0


def _delta(message: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("stop_reason", "stop_sequence", "stop_details", "container")
    return {key: message[key] for key in keys if key in message}


def _closing(usage: Mapping[str, Any]) -> dict[str, Any]:
    keys = (
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
        "server_tool_use",
        "iterations",
    )
    return {key: usage[key] for key in keys if key in usage}


def _opened(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block before its first delta; kinds that have no deltas come whole."""
    match block["type"]:
        case "text" if block.get("citations"):
            return {"type": "text", "text": "", "citations": []}
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            return {**block, "input": {}}
        case "compaction":
            return {"type": "compaction", "content": None}
        case _:
            return dict(block)


def _deltas(block: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    match block["type"]:
        case "text":
            for piece in _pieces(block["text"]):
                yield {"type": "text_delta", "text": piece}, len(piece)
            for citation in block.get("citations") or ():
                yield {"type": "citations_delta", "citation": citation}, 0
        case "thinking":
            for piece in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": piece}, len(piece)
            yield {"type": "signature_delta", "signature": block["signature"]}, 0
        case "compaction":
            kept = {key: value for key, value in block.items() if key != "type"}
            yield {"type": "compaction_delta", **kept}, len(block["content"] or "")
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}, 0
            for piece in _pieces(compact(block["input"])):
                yield {"type": "input_json_delta", "partial_json": piece}, len(piece)
        case _:
            return


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + PIECE] for at in range(0, len(text), PIECE))
