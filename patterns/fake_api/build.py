"""From a reply to the message that the API would send: blocks, ids, stop reason, usage.

Ids come from a hash of the request and its ordinal, so that the same run gives the same ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

from patterns.core.models import MODELS, ModelFacts
from patterns.fake_api.binding import bonds
from patterns.fake_api.catalogue import snapshot_of
from patterns.fake_api.clock import day_of
from patterns.fake_api.extras import caller_of, server_tools_of
from patterns.fake_api.scripting.replies import Reply, ToolUse
from patterns.fake_api.tokens import block_tokens, cut_to_tokens
from patterns.fake_api.validation.settings import shows_thinking, speed_of, thinks
from patterns.fake_api.wire.jsons import compact
from patterns.fake_api.wire.signatures import bonds_of, sign, sign_omitted

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LETTERS: Final = bytes(ord(ALPHABET[n % len(ALPHABET)]) for n in range(256))
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
EXPLANATIONS: Final[Mapping[str, str]] = {
    "reasoning_extraction": "The request asks for the model's internal reasoning.",
}


def make_id(prefix: str, *parts: bytes | str | int) -> str:
    """An id such as `msg_01AbC…` that depends on nothing but its parts."""
    text = "|".join([part.hex() if isinstance(part, bytes) else str(part) for part in parts])
    digest = blake2b(f"{prefix}|{text}".encode(), digest_size=22).digest()
    return f"{prefix}_01{digest.translate(_LETTERS).decode()}"


@dataclass(frozen=True, slots=True)
class Input:
    """How a request's input tokens were counted."""

    uncached: int
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def written(self) -> int:
        """Tokens written to the cache, with either TTL."""
        return self.written_5m + self.written_1h

    @property
    def total(self) -> int:
        """All of the request's input tokens."""
        return self.uncached + self.read + self.written


@dataclass(frozen=True, slots=True)
class Built:
    """A message and what streaming it needs to know."""

    message: dict[str, Any]
    output_tokens: int


def build(
    body: Mapping[str, Any],
    reply: Reply,
    message_id: str,
    tokens: Input,
    *,
    tier: str = "standard",
    extras: Mapping[str, Any] = NOTHING,
    at: float = 0.0,
    sent: Mapping[str, Any] | None = None,
) -> Built:
    """The message that answers `body` with `reply`.

    Args:
        body: a checked request.
        reply: what to answer with.
        message_id: the message's id.
        tokens: how the input was counted.
        tier: the service tier.
        extras: further fields of the message.
        at: when, in seconds since 1970; some features end on a day.
        sent: the body as it came, where blocks that the model cannot use were taken out.
    """
    facts = MODELS[body["model"]]
    blocks = _blocks(body, reply, message_id, facts, sent or body)
    room = facts.context_tokens - tokens.total
    kept, natural = _within(blocks, body, room)
    stop_reason, stop_sequence = _stop(reply, kept, natural)
    sizes = [(block["type"], block_tokens(block)) for block in kept]
    thinking = sum([size for kind, size in sizes if kind == "thinking"])
    output = _output_tokens(body, reply, sum([size for _, size in sizes]))
    if thinking and reply.content is None and not shows_thinking(body, facts):
        kept = [_omitted(block) for block in kept]
    usage = usage_of(tokens, output, thinking, tier, _where(body, facts, at))
    if used := server_tools_of(kept):
        usage["server_tool_use"] = used
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": snapshot_of(body["model"]),
        "content": kept,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "stop_details": _stop_details(reply, stop_reason),
        "usage": usage,
    }
    if extras:
        message |= extras
    return Built(message, output)


def _where(body: Mapping[str, Any], facts: ModelFacts, at: float) -> dict[str, Any]:
    """How and where the request ran, as `usage` says it."""
    default = "global" if facts.inference_geo else "not_available"
    ran = {"inference_geo": body.get("inference_geo") or default}
    if body.get("speed") is not None:
        ran["speed"] = speed_of(body, facts, day_of(at))
    return ran


def usage_of(
    tokens: Input, output: int, thinking: int, tier: str, ran: Mapping[str, Any]
) -> dict[str, Any]:
    """The usage of a message."""
    usage: dict[str, Any] = {
        "input_tokens": tokens.uncached,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.written_5m,
            "ephemeral_1h_input_tokens": tokens.written_1h,
        },
        "output_tokens": output,
        "service_tier": tier,
        **ran,
    }
    if thinking:
        usage["output_tokens_details"] = {"thinking_tokens": min(thinking, output)}
    return usage


def _blocks(
    body: Mapping[str, Any],
    reply: Reply,
    message_id: str,
    facts: ModelFacts,
    sent: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The content blocks of a reply, uncut."""
    if body.get("compaction") is not None:
        summary = reply.text or ""
        return [{"type": "compaction", "content": summary, "signature": sign(summary)}]
    if reply.content is not None:
        return [_signed(block, sent) for block in reply.content]
    blocks: list[dict[str, Any]] = []
    if reply.thinking is not None and thinks(body, facts):
        signature = sign(reply.thinking, *bonds(sent))
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": signature})
    text = compact(reply.json) if reply.json is not None else reply.text
    if text:
        blocks.append({"type": "text", "text": text})
    caller = caller_of(body) if reply.calls else {}
    blocks += [{**_call(call, message_id, n), **caller} for n, call in enumerate(reply.calls)]
    return blocks


def _signed(block: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """A scripted block; thinking gets a signature that holds when it comes back."""
    if block["type"] != "thinking":
        return dict(block)
    signature = sign(block["thinking"], *bonds(sent))
    return {**block, "signature": signature if block["thinking"] else sign_omitted(signature)}


def _omitted(block: dict[str, Any]) -> dict[str, Any]:
    """A thinking block without its text; others as they are."""
    if block["type"] != "thinking":
        return block
    return {**block, "thinking": "", "signature": sign_omitted(block["signature"])}


def _call(call: ToolUse, message_id: str, n: int) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.id or make_id("toolu", message_id, n),
        "name": call.name,
        "input": dict(call.input),
    }


def _within(
    blocks: list[dict[str, Any]], body: Mapping[str, Any], room: int
) -> tuple[list[dict[str, Any]], tuple[str, str | None] | None]:
    """The blocks that fit `max_tokens` and the window and end before a stop sequence, and why."""
    left: int = min(body["max_tokens"], room)
    full = "max_tokens" if left == body["max_tokens"] else "model_context_window_exceeded"
    sequences = body.get("stop_sequences")
    kept: list[dict[str, Any]] = []
    for block in blocks:
        stopped = _stop_at(block, sequences) if sequences else None
        size = block_tokens(block)
        if size > left:
            _keep_part(kept, block, left)
            return kept, (full, None)
        if stopped is None or block["text"]:
            kept.append(block)
        if stopped is not None:
            return kept, ("stop_sequence", stopped)
        left -= size
    return kept, None


def _stop_at(block: dict[str, Any], sequences: list[str]) -> str | None:
    """Cut a text block before the first stop sequence in it, and say which that is."""
    if block["type"] != "text":
        return None
    found = [(at, word) for word in sequences if (at := block["text"].find(word)) >= 0]
    if not found:
        return None
    at, word = min(found)
    block["text"] = block["text"][:at]
    return word


def _keep_part(kept: list[dict[str, Any]], block: dict[str, Any], tokens: int) -> None:
    """Keep as much of a text or thinking block as fits; other blocks are kept whole or not."""
    key = block["type"]
    if key in ("text", "thinking") and tokens > 0:
        block[key] = cut_to_tokens(block[key], tokens)
        if key == "thinking":
            block["signature"] = sign(block[key], *bonds_of(block["signature"]))
        kept.append(block)


def _stop(
    reply: Reply, kept: list[dict[str, Any]], natural: tuple[str, str | None] | None
) -> tuple[str, str | None]:
    """Stop reason and stop sequence."""
    if natural is not None:
        return natural
    if reply.refusal is not None:
        return "refusal", None
    if reply.stop_reason is not None:
        return reply.stop_reason, None
    if "compaction" in [block["type"] for block in kept]:
        return "compaction", None
    if "tool_use" in [block["type"] for block in kept]:
        return "tool_use", None
    return "end_turn", None


def _stop_details(reply: Reply, stop_reason: str) -> dict[str, Any] | None:
    if stop_reason != "refusal":
        return None
    explanation = EXPLANATIONS.get(reply.refusal or "")
    return {"type": "refusal", "category": reply.refusal, "explanation": explanation}


def _output_tokens(body: Mapping[str, Any], reply: Reply, counted: int) -> int:
    if body["max_tokens"] == 0:
        return 0
    if reply.output_tokens is not None:
        return min(reply.output_tokens, int(body["max_tokens"]))
    return max(1, counted)
