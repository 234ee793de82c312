"""Preserved thinking: a block that comes back is bound to its model and to what stood before it.

Blocks that the model cannot read are dropped. On newer models a block whose prefix (system, tools
and messages before it) has changed since is refused with a 400, or dropped with those after it
where the request says so (`thinking.block_binding`) or is part of a batch. The account of this fake
is a new one: since 31 August 2026 they are checked on every request.

Sources: build-with-claude/preserved-thinking, September 2026; models/{opus,sonnet,haiku}-5-5 and
fable-5-2 (whats-new), October and November 2026. A swap by on-demand compaction is not known here:
what is kept beside a `compaction` block is checked from that block on.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from patterns.core.models import ModelFacts
from patterns.fake_api.validation.turns import THINKING, blocks_of
from patterns.fake_api.wire.errors import APIError
from patterns.fake_api.wire.jsons import to_bytes
from patterns.fake_api.wire.signatures import bonds_of

Message: TypeAlias = Mapping[str, Any]
Place: TypeAlias = tuple[int, int]
"""A message's number, and a block's within it."""

Found: TypeAlias = tuple[Place, Mapping[str, Any], list[str]]
"""A block of thinking: where, what, and what it is bound to, where it is one of ours."""

CONTROLS: Final = "thinking-binding-controls-2026-08-01"
CHECKED: Final = re.compile(r"claude-((opus|sonnet|haiku)-5-5|fable-5-1|(fable|mythos)-5-2)")
"""Models that check the prefix."""
AGES: Final = (
    re.compile(r"claude-(opus|fable|mythos)-5\Z"),
    re.compile(r"claude-(sonnet|haiku)-5-5"),
    re.compile(r"claude-opus-5-5"),
    re.compile(r"claude-(fable|mythos)-5-1"),
    re.compile(r"claude-(fable|mythos)-5-2"),
)
"""From old to new; what is in none is older. Twins of Fable and Mythos read each other's blocks."""


def bonds(body: Mapping[str, Any]) -> tuple[str, str, str]:
    """What the thinking of the answer to a request is bound to."""
    messages = body["messages"]
    earlier = [block for _, block in _thinking(messages)]
    return body["model"], _prefix(body, messages), _mark(earlier[-1] if earlier else None)


def bound(
    body: Mapping[str, Any], facts: ModelFacts, betas: frozenset[str], *, batched: bool = False
) -> tuple[Mapping[str, Any], list[dict[str, str]]]:
    """The request without the thinking that the model cannot use, and what was taken out.

    Raises:
        APIError: 400 for a block whose prefix has changed, unless it is to be dropped.
    """
    messages = body["messages"]
    found = [(place, block, bonds_of(_sign(block))) for place, block in _thinking(messages)]
    dropped = {
        place: "model_binding_mismatch"
        for place, _, bonds in found
        if bonds and not _reads(facts.id, bonds[0])
    }
    broken = _first_broken(body, found) if CHECKED.match(facts.id) else None
    if broken is not None:
        binding = (body.get("thinking") or {}).get("block_binding") or {}
        wish = binding.get("prefix_mismatch_behavior") or ("drop_block" if batched else "error")
        if wish != "drop_block":
            raise _mismatch(found[broken][0], betas)
        for place, _, _ in found[broken:]:
            dropped.setdefault(place, "prefix_binding_mismatch")
    return _without(body, dropped), [
        {"type": "thinking_dropped", "path": f"messages.{n}.content.{m}", "reason": dropped[n, m]}
        for n, m in sorted(dropped)
    ]


def _thinking(messages: Sequence[Message]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for n, message in enumerate(messages):
        for m, block in enumerate(blocks_of(message)):
            if block["type"] in THINKING:
                yield (n, m), block


def _sign(block: Mapping[str, Any]) -> str:
    return str(block.get("signature", ""))


def _reads(reader: str, writer: str) -> bool:
    """Whether one model can use the thinking of another: its own, or that of older ones."""
    ages = [
        next((n for n, models in enumerate(AGES, 1) if models.match(model)), 0)
        for model in (reader, writer)
    ]
    if reader == writer:
        return True
    if ages[0] == 2:  # Sonnet and Haiku 5.5 do not read Opus 5 and its generation
        return ages[1] == 0
    return ages[0] >= max(3, ages[1])


def _first_broken(body: Mapping[str, Any], found: Sequence[Found]) -> int | None:
    """The first block with another prefix than before, or with a gap before it."""
    for k, ((n, _), _, bonds) in enumerate(found):
        if not bonds:
            continue
        if bonds[1] != _prefix(body, body["messages"][:n]):
            return k
        if k and bonds[2] != _mark(found[k - 1][1]):
            return k
    return None


def _mark(block: Mapping[str, Any] | None) -> str:
    return "first" if block is None else _digest(_sign(block)[4:] or block.get("data"))


def _prefix(body: Mapping[str, Any], messages: Sequence[Message]) -> str:
    """The digest of what stands before a block, as it was sent; thinking and breakpoints apart."""
    start = max(
        (n for n, m in enumerate(messages) if any(b["type"] == "compaction" for b in blocks_of(m))),
        default=0,
    )
    tools = [tool for tool in body.get("tools") or () if not tool.get("defer_loading")]
    kept = [_plain([m["role"], _texts(m.get("content"))]) for m in messages[start:]]
    return _digest([_plain(_texts(body.get("system") or [])), _plain(tools), kept])


def _texts(content: Any) -> Any:
    """Content as blocks, without thinking."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if block["type"] not in THINKING]


def _plain(value: Any) -> Any:
    """A value without what does not count as an edit: nulls, breakpoints, the order of keys."""
    if isinstance(value, Mapping):
        return {
            key: _plain(value[key])
            for key in sorted(value)
            if value[key] is not None and key != "cache_control"
        }
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _digest(value: Any) -> str:
    return blake2b(to_bytes(value), digest_size=8).hexdigest()


def _mismatch(place: Place, betas: frozenset[str]) -> APIError:
    said = (
        f"messages.{place[0]}.content.{place[1]}: Invalid `signature` in `thinking` block. The "
        "block is bound to a different conversation. Remove the block, or set "
        '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
    )
    if CONTROLS not in betas:
        said += f" That setting requires the `{CONTROLS}` value in the `anthropic-beta` header."
    return APIError(400, said)


def _without(body: Mapping[str, Any], places: Mapping[Place, str]) -> Mapping[str, Any]:
    if not places:
        return body
    messages = [
        {**m, "content": [b for k, b in enumerate(m["content"]) if (n, k) not in places]}
        if isinstance(m.get("content"), list)
        else m
        for n, m in enumerate(body["messages"])
    ]
    return {**body, "messages": messages}
