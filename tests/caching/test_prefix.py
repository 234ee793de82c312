"""Reading a request before it is sent: its breakpoints, and whether its prefix is long enough."""

import asyncio
from typing import Any

import pytest
from anthropic import BadRequestError

from patterns.caching import will_cache, will_cache_async
from patterns.caching.limits import UnknownTTL
from patterns.caching.prefix import TooManyBreakpoints, TTLOrder, check_breakpoints
from patterns.core.models import SONNET, UnknownModel
from patterns.fake_api import FakeAPI


def control(ttl: str | None = None) -> dict[str, Any]:
    """A breakpoint."""
    return {"type": "ephemeral"} | ({} if ttl is None else {"ttl": ttl})


def block(tokens: int, ttl: str | None = None, *, mark: bool = True) -> dict[str, Any]:
    """A text block of that many tokens by the fake's rule, with a breakpoint or without."""
    text: dict[str, Any] = {"type": "text", "text": "abcd" * tokens}
    return text | ({"cache_control": control(ttl)} if mark else {})


def request(**parts: Any) -> dict[str, Any]:
    """A request with a short question, unless told otherwise."""
    asked = {"role": "user", "content": "And now?"}
    return {"model": SONNET, "max_tokens": 100, "messages": [asked], **parts}


def tool(name: str, **more: Any) -> dict[str, Any]:
    """A small tool definition."""
    return {"name": name, "input_schema": {"type": "object"}, **more}


def test_breakpoints_are_found_in_prompt_order() -> None:
    """Tools, system, messages, nested tool results, and the automatic one last."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block(9)]}
    marks = check_breakpoints(
        request(
            tools=[tool("a"), tool("b", cache_control=control("1h"))],
            system=[block(9)],
            messages=[{"role": "user", "content": [result]}],
            cache_control=control(),
        )
    )
    places = ["tools[1]", "system[0]", "messages[0].content[0]", "messages[0].content[0]"]
    assert [mark.place for mark in marks] == places
    assert [mark.ttl for mark in marks] == ["1h", "5m", "5m", "5m"]


def test_request_without_breakpoints_has_none() -> None:
    """Plain strings are blocks without a mark."""
    assert check_breakpoints(request(system="Be brief.")) == ()


def test_fifth_breakpoint_is_refused_before_sending() -> None:
    """The message lists where they are; the API would answer 400."""
    crowded = request(system=[block(600) for _ in range(4)], cache_control=control())
    with pytest.raises(TooManyBreakpoints, match=r"5 cache breakpoints \(system\[0\]") as caught:
        check_breakpoints(crowded)
    assert caught.value.places[-1] == "messages[0].content[0]"
    with pytest.raises(BadRequestError):
        FakeAPI().client().messages.create(**crowded)


def test_unknown_ttl_is_refused_before_sending() -> None:
    """Lifetimes are 5m and 1h, nothing between."""
    odd = request(system=[block(600, "10m")])
    with pytest.raises(UnknownTTL, match="'10m'"):
        check_breakpoints(odd)
    with pytest.raises(BadRequestError):
        FakeAPI().client().messages.create(**odd)


def test_hour_after_five_minutes_is_refused_before_sending() -> None:
    """Longer lifetimes come first."""
    swapped = request(system=[block(600), block(600, "1h")])
    with pytest.raises(TTLOrder, match=r"system\[1\] has ttl 1h after a 5m") as caught:
        check_breakpoints(swapped)
    assert caught.value.place == "system[1]"
    with pytest.raises(BadRequestError):
        FakeAPI().client().messages.create(**swapped)


@pytest.mark.parametrize(("tokens", "caches"), [(511, False), (512, True)])
def test_forecast_counts_the_marked_prefix_of_system(tokens: int, caches: bool) -> None:
    """To the token: what stands after the breakpoint does not count."""
    asked = request(system=[block(tokens), block(5_000, mark=False)])
    forecast = will_cache(FakeAPI().client(), asked)
    assert (forecast.tokens, forecast.caches, forecast.minimum) == (tokens, caches, 512)
    assert ("uncached, without an error" in forecast.reason) is not caches


def test_forecast_of_tools_leaves_system_out() -> None:
    """A breakpoint on a tool ends the prefix there."""
    tools = [tool("a", description="abcd" * 600, cache_control=control()), tool("b")]
    with_system = will_cache(FakeAPI().client(), request(tools=tools, system=[block(5_000)]))
    only_tools = request(tools=tools, system=[block(5_000, mark=False)])
    forecast = will_cache(FakeAPI().client(), only_tools)
    assert 600 < forecast.tokens < 700
    assert with_system.tokens > 5_600


def test_forecast_of_a_conversation_counts_up_to_the_marked_block() -> None:
    """Blocks and turns after the breakpoint are left out, turns before it are in."""
    turns = [
        {"role": "user", "content": "abcd" * 300},
        {"role": "assistant", "content": "abcd" * 300},
        {"role": "user", "content": [block(100), block(4_000, mark=False)]},
    ]
    assert 700 <= will_cache(FakeAPI().client(), request(messages=turns)).tokens < 720


def test_forecast_without_a_breakpoint_asks_nobody() -> None:
    """There is nothing to count."""
    api = FakeAPI()
    forecast = will_cache(api.client(), request(system="abcd" * 600))
    assert (forecast.caches, forecast.breakpoints, api.journal) == (False, 0, [])
    assert "No cache_control" in forecast.reason


def test_async_forecast_is_the_same() -> None:
    """Two clients, one decision."""
    asked = request(system=[block(600)], cache_control=control())
    sync = will_cache(FakeAPI().client(), asked)
    assert asyncio.run(will_cache_async(FakeAPI().async_client(), asked)) == sync
    assert sync.reason == "The marked prefix has 605 tokens, at least 512: cached."


def test_forecast_for_an_unknown_model_is_an_error() -> None:
    """Without its minimum there is nothing to compare with."""
    with pytest.raises(UnknownModel):
        will_cache(FakeAPI().client(), request(system=[block(9)], model="claude-9"))


def test_prefix_ends_with_the_marked_block_of_a_message() -> None:
    """Not before it, and not after it."""
    text = {"type": "text", "text": "word " * 800}
    marked = {**text, "cache_control": {"type": "ephemeral"}}
    lengths = []
    for at in range(3):
        content = [marked if n == at else text for n in range(3)]
        asked = {"model": SONNET, "max_tokens": 9}
        asked |= {"messages": [{"role": "user", "content": content}]}
        lengths.append(will_cache(FakeAPI().client(), asked).tokens)
    one = lengths[0]
    assert lengths == [one, pytest.approx(2 * one, rel=0.02), pytest.approx(3 * one, rel=0.02)]
