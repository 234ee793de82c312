"""Find out why the cache missed: what the API says, and the place where two prompts part.

The API's `diagnostics` name the part that changed (system, tools, messages, model). They do not
name the place: `first_difference` compares the two requests on your side and does.

Taught in chapter 07.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from anthropic.types import Message

from patterns.core.model_ids import HAIKU, OPUS

from .blocks import Request, as_sent, blocks_of


@dataclass(frozen=True)
class Difference:
    """The first place at which a later prompt departs from an earlier one."""

    path: str
    before: str
    """Text around the place in the earlier request; empty when there is nothing there."""
    after: str


@dataclass(frozen=True)
class Miss:
    """Why the cache could not reuse the whole prefix of an earlier request."""

    reason: str
    """The API's `cache_miss_reason.type`, or "pending" while it is still comparing."""
    tokens: int | None
    """About how many tokens would have been read otherwise, where the API says so."""
    advice: str


_ADVICE: Final = {
    "model_changed": "Entries belong to one model and speed: keep both within a conversation.",
    "system_changed": "Move what varies (time, user, ids) out of system, behind the breakpoint.",
    "tools_changed": "Send the same tools in the same order, serialised the same way.",
    "messages_changed": "Append to messages only; never edit, trim or re-serialise earlier turns.",
    "previous_message_not_found": "Pass the id of a recent response of the same workspace.",
    "unavailable": "Compare thinking, effort, tool_choice, output format: the prompt is the same.",
    "pending": "The comparison was not finished in time: look at the next call's diagnostics.",
}


def explain_miss(message: Message) -> Miss | None:
    """What a response's `diagnostics` say; None without a divergence or without having asked.

    Ask with `diagnostics={"previous_message_id": earlier.id}`, or None as id on the first turn.
    An entry that has merely expired is not a divergence: compare the gap with the lifetime.
    """
    if message.diagnostics is None:
        return None
    found = message.diagnostics.cache_miss_reason
    reason = "pending" if found is None else found.type
    tokens = getattr(found, "cache_missed_input_tokens", None)
    return Miss(reason, tokens, _ADVICE.get(reason, "See the API's cache diagnostics guide."))


def first_difference(earlier: Request, later: Request) -> Difference | None:
    """Where the later prompt stops being a continuation of the earlier one; None if it is one.

    Compares what the SDK sends, in the order in which the cache keys it and without
    `cache_control`: model and speed, tools, output format, system, the settings that belong to the
    messages (tool choice, thinking, effort), messages. The order of keys counts, and so does 10
    against "10"; leaving a setting out is the same as its default. Only messages may have grown.
    """
    for path, before, after in _paired(earlier, later):
        if before != after:
            at = _common(before, after)
            return Difference(path, _around(before, at), _around(after, at))
    return None


# In the order of the prompt; the output format is explained to the model in the system prompt.
_KEYED: Final = (
    *("model", "speed", "tools", "format", "system", "citations"),
    *("images", "tool_choice", "thinking", "effort"),
)


def _paired(earlier: Request, later: Request) -> Iterator[tuple[str, str, str]]:
    """The leaves of two prompts side by side: (path, earlier text, later text)."""
    for name in _KEYED:
        if name in ("tools", "system"):
            before, after = blocks_of(earlier.get(name)), blocks_of(later.get(name))
            yield from _pair(name, before, after, until=max(len(before), len(after)))
        else:
            yield from _leaves(name, _setting(earlier, name), _setting(later, name))
    before, after = _turns(earlier), _turns(later)
    yield from _pair("messages", before, after, until=len(before))


def _setting(request: Request, name: str) -> Any:
    """A setting that is part of the cache's key; left out, the default of `core.models`."""
    given = as_sent(request.get(name))
    if name in ("citations", "images"):  # one block that has them changes the key of all
        blocks = [each for turn in _turns(request) for each in turn["content"]]
        return any(_uses(name, each) for each in blocks)
    model = str(request.get("model"))
    if name in ("effort", "format"):
        default = None if name == "format" else "medium" if model in (OPUS, HAIKU) else "high"
        return (as_sent(request.get("output_config")) or {}).get(name) or default
    if name == "thinking" and not given:
        return {"type": "disabled" if "-4-" in model else "adaptive"}
    if name == "thinking":  # how thinking is shown is no part of the prompt
        return {key: value for key, value in given.items() if key != "display"}
    return given or {"speed": "standard", "tool_choice": {"type": "auto"}}.get(name)


def _uses(name: str, block: Mapping[str, Any]) -> bool:
    if name == "images":
        return bool(block["type"] == "image")
    return bool((block.get("citations") or {}).get("enabled"))


def _turns(request: Request) -> list[Mapping[str, Any]]:
    turns = [as_sent(each) for each in request.get("messages", ())]
    return [{"role": each["role"], "content": blocks_of(each["content"])} for each in turns]


def _pair(path: str, before: Any, after: Any, until: int) -> Iterator[tuple[str, str, str]]:
    for index in range(until):
        one = before[index] if index < len(before) else None
        two = after[index] if index < len(after) else None
        yield from _leaves(f"{path}[{index}]", one, two)


def _leaves(path: str, before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        mine, theirs = ([key for key in each if key != "cache_control"] for each in (before, after))
        if mine != theirs and sorted(mine) == sorted(theirs):
            yield f"{path} (order of keys)", ", ".join(mine), ", ".join(theirs)
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            yield from _leaves(f"{path}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _pair(path, before, after, until=max(len(before), len(after)))
    elif isinstance(before, str) and isinstance(after, str):
        yield path, before, after
    else:
        yield path, _json(before), _json(after)


def _json(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _common(one: str, two: str) -> int:
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(two)))


def _around(text: str, at: int, width: int = 24) -> str:
    return text[max(0, at - width) : at + width]
