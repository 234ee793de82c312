"""Forecast, check and diagnosis, each held to what the fake API's cache really does."""

import copy
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from anthropic.types import TextBlock
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.caching import first_difference, will_cache
from patterns.caching.prefix import TooManyBreakpoints, TTLConflict, TTLOrder, check_breakpoints
from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.fake_api import FakeAPI

MARK = {"type": "ephemeral"}
LONG = "word " * 1_500
TOOL = {
    "name": "look",
    "description": "Looks.",
    "input_schema": {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "s": {"type": "string"}},
    },
}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"n": 10, "s": "x"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}
FORMAT = {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}
ANSWER = TextBlock(type="text", text="Here it is.", citations=None)


def base(model: str = SONNET) -> dict[str, Any]:
    """A request with something of everything, marked at its end."""
    return {
        "model": model,
        "max_tokens": 100,
        "system": [{"type": "text", "text": LONG}],
        "tools": [TOOL, {**TOOL, "name": "other"}],
        "messages": [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [RESULT]},
            {"role": "assistant", "content": [ANSWER]},
            {"role": "user", "content": "Thanks."},
        ],
        "cache_control": MARK,
    }


Change = Callable[[dict[str, Any]], Any]


def _reorder(request: dict[str, Any]) -> None:
    tool = request["tools"][0]
    request["tools"][0] = dict(reversed(tool.items()))


def _set(*path: Any, to: Any) -> Change:
    def change(request: dict[str, Any]) -> None:
        at: Any = request
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return change


CHANGES: dict[str, Change] = {
    "nothing": lambda request: None,
    "keys of a tool in another order": _reorder,
    "keys of an input in another order": _set(
        "messages", 1, "content", 0, "input", to={"s": "x", "n": 10}
    ),
    "a number as text": _set("messages", 1, "content", 0, "input", "n", to="10"),
    "an edited object of the SDK": _set(
        "messages", 3, "content", 0, to=TextBlock(type="text", text="There it is.", citations=None)
    ),
    "the same block as a dict": _set(
        "messages", 3, "content", 0, to={"type": "text", "text": "Here it is.", "citations": None}
    ),
    "text as one block": _set("messages", 0, "content", to=[{"type": "text", "text": "Look."}]),
    "a breakpoint elsewhere": _set("tools", 0, to={**TOOL, "cache_control": MARK}),
    "another tool choice": _set("tool_choice", to={"type": "none"}),
    "the tool choice that is the default": _set("tool_choice", to={"type": "auto"}),
    "low effort": _set("output_config", to={"effort": "low"}),
    "medium effort": _set("output_config", to={"effort": "medium"}),
    "high effort": _set("output_config", to={"effort": "high"}),
    "an output format": _set("output_config", to={"format": FORMAT}),
    "an output format that says the effort, too": _set(
        "output_config", to={"effort": "high", "format": FORMAT}
    ),
    "thinking said aloud": _set("thinking", to={"type": "adaptive"}),
    "thinking shown": _set("thinking", to={"type": "adaptive", "display": "summarized"}),
    "another system prompt": _set("system", to=f"{LONG}!"),
    "the system prompt as text": _set("system", to=LONG),
    "fewer tools": _set("tools", to=[TOOL]),
    "max_tokens": _set("max_tokens", to=99),
}


@pytest.mark.parametrize("model", [SONNET, OPUS, HAIKU])
@pytest.mark.parametrize("name", CHANGES)
def test_a_difference_is_named_exactly_where_the_cache_misses(name: str, model: str) -> None:
    """The cache is the judge: it reads all of the earlier prompt, or there is a difference."""
    client = FakeAPI().client()
    earlier = base(model)
    written = client.messages.create(**earlier).usage
    total = written.input_tokens + (written.cache_creation_input_tokens or 0)
    later = copy.deepcopy(earlier)
    CHANGES[name](later)
    later["messages"].append({"role": "assistant", "content": "You are welcome."})
    later["messages"].append({"role": "user", "content": "Bye."})
    read = client.messages.create(**later).usage.cache_read_input_tokens or 0
    difference = first_difference(earlier, later)
    assert (difference is None) == (read >= total), (difference, read, total)
    if difference:
        assert difference.before != difference.after


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (["a number as text", "low effort"], "effort"),
        (["low effort", "another tool choice"], "tool_choice.type"),
        (["another tool choice", "another system prompt"], "system[0].text"),
        (["another system prompt", "an output format"], "format"),
        (["another system prompt", "keys of a tool in another order"], "tools[0] (order of keys)"),
    ],
)
def test_of_several_changes_the_first_in_the_caches_order_is_named(
    names: list[str], path: str
) -> None:
    """Whatever else changed behind it: tools, system, settings, messages."""
    later = base()
    for name in names:
        CHANGES[name](later)
    difference = first_difference(base(), later)
    assert difference is not None
    assert difference.path == path


PLACES = [
    ("tools", 0),
    ("tools", 1),
    ("system", 0),
    ("messages", 0),
    ("messages", 1),
    ("messages", 2),
    ("messages", 3),
    ("messages", 4),
]


def marked(places: dict[int, str], automatic: str | None) -> dict[str, Any]:
    """The base request as plain dicts, with breakpoints of these lifetimes."""
    request: dict[str, Any] = json.loads(json.dumps(base(), default=lambda block: block.to_dict()))
    request["system"] = [{"type": "text", "text": LONG}]
    del request["cache_control"]
    for at, ttl in places.items():
        section, index = PLACES[at]
        block = request[section][index]
        if section == "messages":
            if isinstance(block["content"], str):
                block["content"] = [{"type": "text", "text": block["content"]}]
            block = block["content"][-1]
        block["cache_control"] = {"type": "ephemeral", "ttl": ttl}
    if automatic:
        request["cache_control"] = {"type": "ephemeral", "ttl": automatic}
    return request


TTLS = st.sampled_from(["5m", "1h"])


@settings(max_examples=300)
@given(st.dictionaries(st.integers(0, len(PLACES) - 1), TTLS, max_size=6), st.none() | TTLS)
def test_the_check_and_the_api_agree(places: dict[int, str], automatic: str | None) -> None:
    """Four of your own and the automatic one on the same block are four."""
    request = marked(places, automatic)
    try:
        check_breakpoints(request)
    except (TooManyBreakpoints, TTLOrder, TTLConflict):
        with pytest.raises(anthropic.BadRequestError):
            FakeAPI().client().messages.create(**request)
    else:
        FakeAPI().client().messages.create(**request)


@settings(max_examples=60)
@given(st.integers(0, len(PLACES) - 1), st.integers(0, 2))
def test_a_forecast_is_the_length_that_is_written(at: int, parallel: int) -> None:
    """Wherever the breakpoint is, also on an answer or between two results."""
    request = marked({at: "5m"}, None)
    for n in range(parallel):
        use, result = {**USE, "id": f"toolu_p{n}"}, {**RESULT, "tool_use_id": f"toolu_p{n}"}
        request["messages"][1]["content"].append(use)
        request["messages"][2]["content"].append(result)
    client = FakeAPI().client()
    usage = client.messages.create(**request).usage
    forecast = will_cache(client, request)
    written = usage.cache_creation_input_tokens or 0
    assert forecast.caches == (written > 0)
    if written:
        assert forecast.tokens == pytest.approx(written, abs=60)


def test_two_lifetimes_on_one_block_are_named() -> None:
    """With what to do."""
    request = marked({7: "1h"}, "5m")
    with pytest.raises(TTLConflict, match="ttl 1h and the request's cache_control 5m") as caught:
        check_breakpoints(request)
    assert (caught.value.own, caught.value.automatic) == ("1h", "5m")
