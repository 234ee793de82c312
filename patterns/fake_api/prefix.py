"""A request as the prompt cache sees it: blocks in prefix order, their sizes, and a key for each.

The order is tools, system, messages. A block's key is a hash of everything before and with it,
byte for byte, so a change anywhere changes every later key. What else invalidates a section is
hashed in where the section begins: speed, citations and the output format before the system prompt,
tool choice, images, thinking and effort before the messages.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

from patterns.core.models import MODELS
from patterns.fake_api.tokens import PER_MESSAGE, block_tokens, tool_tokens
from patterns.fake_api.validation.settings import effort_of, thinking_of
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.jsons import compact, to_bytes

MOST_BREAKPOINTS: Final = 4
NOT_CACHEABLE: Final = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class Block:
    """One step of the prefix."""

    path: str
    section: str
    data: str
    """What is hashed."""
    tokens: int
    control: Any
    """The block's own `cache_control`, or None."""
    cacheable: bool = True
    """Whether automatic caching may put its breakpoint here."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys and sizes of every prefix of a request, and its breakpoints."""

    keys: tuple[bytes, ...]
    totals: tuple[int, ...]
    """Tokens up to and with each block."""
    breakpoints: tuple[tuple[int, str], ...]
    """Block numbers with their TTLs, in order."""
    sections: Mapping[str, bytes]
    """A hash of each part by itself, for diagnostics."""
    messages: tuple[bytes, ...]
    """A hash of each message by itself."""


def prefix_of(body: Mapping[str, Any], workspace: str) -> Prefix:
    """Walk over a checked request.

    Raises:
        APIError: 400 for more than four breakpoints, a 5-minute one before a 1-hour one, or a
            malformed `cache_control`.
    """
    blocks = list(_blocks(body))
    state = blake2b(f"{workspace}|{body['model']}".encode("utf-8", "replace"), digest_size=16)
    keys, totals, total, section = [], [], 0, "tools"
    seeds = {"system": _system_seed(body), "messages": _messages_seed(body)}
    for block in blocks:
        for entered in _entered(section, block.section):
            state.update(seeds[entered].encode())
        section = block.section
        state.update(f"{len(block.data)}:{block.data}".encode("utf-8", "replace"))
        total += block.tokens
        keys.append(state.copy().digest())
        totals.append(total)
    breakpoints = _breakpoints(body, blocks)
    return Prefix(tuple(keys), tuple(totals), breakpoints, _sections(body), _messages(body))


SECTIONS: Final = ("tools", "system", "messages")


def _entered(old: str, new: str) -> tuple[str, ...]:
    """The sections that begin on the way from one to the other."""
    return SECTIONS[SECTIONS.index(old) + 1 : SECTIONS.index(new) + 1]


def _blocks(body: Mapping[str, Any]) -> Iterator[Block]:
    for n, tool in enumerate(body.get("tools") or ()):
        control = tool.get("cache_control")
        yield Block(f"tools.{n}", "tools", _bare(tool), tool_tokens(tool), control)
    for n, part in enumerate(_parts(body.get("system"))):
        control = part.get("cache_control")
        yield Block(f"system.{n}", "system", _bare(part), block_tokens(part), control)
    for m, message in enumerate(body["messages"]):
        extra = PER_MESSAGE
        for n, part in enumerate(_parts(message["content"])):
            yield Block(
                f"messages.{m}.content.{n}",
                "messages",
                f"{message['role']}:{_bare(part)}",
                extra + block_tokens(part),
                part.get("cache_control"),
                part["type"] not in NOT_CACHEABLE,
            )
            extra = 0


def _parts(content: Any) -> list[dict[str, Any]]:
    """Content as blocks: a string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content or []


def _bare(block: Mapping[str, Any]) -> str:
    """A block without its breakpoint, which is no part of the prompt."""
    kept = {key: block[key] for key in block if key != "cache_control"}
    return compact(kept)


def _system_seed(body: Mapping[str, Any]) -> str:
    cited = any(
        isinstance(part.get("citations"), dict) and part["citations"].get("enabled")
        for message in body["messages"]
        for part in _parts(message["content"])
    )
    return f"|system|{body.get('speed') or 'standard'}|{cited}|{_format(body)}|"


def _format(body: Mapping[str, Any]) -> str:
    """The output format, which the API explains to the model in a system prompt of its own."""
    return compact((body.get("output_config") or {}).get("format"))


def _messages_seed(body: Mapping[str, Any]) -> str:
    images = any(part["type"] == "image" for m in body["messages"] for part in _parts(m["content"]))
    return f"|messages|{images}|{_settings(body)}|"


def _settings(body: Mapping[str, Any]) -> str:
    """Tool choice, thinking and effort; left out is the same as the default."""
    facts = MODELS[body["model"]]
    choice = body.get("tool_choice") or {"type": "auto"}
    thinking = [thinking_of(body, facts), (body.get("thinking") or {}).get("budget_tokens")]
    return json.dumps([choice, thinking, effort_of(body, facts)], sort_keys=True)


def _breakpoints(body: Mapping[str, Any], blocks: list[Block]) -> tuple[tuple[int, str], ...]:
    found = {n: block.control for n, block in enumerate(blocks) if block.control is not None}
    if (control := body.get("cache_control")) is not None:
        _add_automatic(found, blocks, control)
    if len(found) > MOST_BREAKPOINTS:
        raise APIError(
            400,
            f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided, found "
            f"{len(found)}",
        )
    marks = tuple((n, found[n].get("ttl", "5m")) for n in sorted(found))
    for (_, earlier), (n, later) in pairwise(marks):
        if (earlier, later) == ("5m", "1h"):
            raise APIError(
                400,
                f"{blocks[n].path}.cache_control.ttl: a breakpoint of 1h must not come after one "
                "of 5m; put the longer ones first (tools, system, messages)",
            )
    return marks


def _add_automatic(found: dict[int, Any], blocks: list[Block], control: Any) -> None:
    """Top-level `cache_control` marks the last cacheable block."""
    last = max(n for n, block in enumerate(blocks) if block.cacheable)  # the user's turn is
    ttl = control.get("ttl", "5m")
    if last in found and found[last].get("ttl", "5m") != ttl:
        raise APIError(
            400,
            f"cache_control: the last block has a breakpoint of its own, of another ttl than {ttl}",
        )
    found[last] = control


def _digest(value: object) -> bytes:
    return blake2b(to_bytes(value), digest_size=8).digest()


def _sections(body: Mapping[str, Any]) -> dict[str, bytes]:
    tools = [_bare(tool) for tool in body.get("tools") or ()]
    system = [_bare(part) for part in _parts(body.get("system"))]
    return {
        "model": _digest([body["model"], body.get("speed") or "standard"]),
        "tools": _digest(tools),
        "system": _digest(system),
        "settings": _digest([_settings(body), _format(body)]),
    }


def _messages(body: Mapping[str, Any]) -> tuple[bytes, ...]:
    return tuple(
        _digest([m["role"], [_bare(part) for part in _parts(m["content"])]])
        for m in body["messages"]
    )
