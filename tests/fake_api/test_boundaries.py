"""The last size that passes and the first that does not, for each limit that the API documents."""

from typing import Any

import anthropic
import pytest

from patterns.core.models import OPUS, SONNET
from patterns.fake_api import FakeAPI, Latency, VirtualClock

ASK: dict[str, Any] = {
    "model": SONNET,
    "max_tokens": 9_999,
    "messages": [{"role": "user", "content": "hi"}],
}
CODE = {"type": "code_execution_20250825", "name": "code_execution"}
SKILL = {"type": "anthropic", "skill_id": "xlsx", "version": "latest"}
OLD = "claude-haiku-4-5"


def schema_of(**properties: Any) -> dict[str, Any]:
    """An output format with these properties, none of them required."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def optional(count: int) -> dict[str, Any]:
    """So many parameters that may be left out."""
    return schema_of(**{f"p{n}": {"type": "string"} for n in range(count)})


def unions(count: int) -> dict[str, Any]:
    """So many parameters of one type or another, all required."""
    either = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    made = schema_of(**{f"p{n}": either for n in range(count)})
    made["output_config"]["format"]["schema"]["required"] = [f"p{n}" for n in range(count)]
    return made


def strict_tools(count: int) -> dict[str, Any]:
    """So many strict tools."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    return {
        "tools": [{"name": f"t{n}", "strict": True, "input_schema": schema} for n in range(count)]
    }


def skills(count: int) -> dict[str, Any]:
    """So many skills in a container."""
    return {
        "betas": ["skills-2025-10-02"],
        "container": {"skills": [SKILL | {"skill_id": f"s{n}"} for n in range(count)]},
        "tools": [CODE],
    }


def breakpoints(count: int) -> dict[str, Any]:
    """So many cache breakpoints."""
    mark = {"cache_control": {"type": "ephemeral"}}
    return {"system": [{"type": "text", "text": f"t{n}", **mark} for n in range(count)]}


def budget(count: int) -> dict[str, Any]:
    """A thinking budget of so many tokens below the least."""
    return {"model": OLD, "thinking": {"type": "enabled", "budget_tokens": 2_048 - count}}


LIMITS: list[tuple[Any, int, str]] = [
    (optional, 24, "optional"),
    (unions, 16, "union"),
    (strict_tools, 20, "strict"),
    (skills, 20, "at most 20 skills"),
    (breakpoints, 4, "maximum of 4 blocks"),
    (budget, 1_024, "budget_tokens"),
]


@pytest.mark.parametrize(("make", "most", "said"), LIMITS, ids=lambda v: getattr(v, "__name__", ""))
def test_the_limit_itself_passes_and_one_more_does_not(make: Any, most: int, said: str) -> None:
    """Counted from the figure that is documented."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    assert client.beta.messages.create(**ASK | make(most)).content
    with pytest.raises(anthropic.BadRequestError, match=said):
        client.beta.messages.create(**ASK | make(most + 1))


def test_an_answer_schema_in_its_old_place_is_named_by_that_place() -> None:
    """So that what the error names is found in the request that was sent."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
    old: Any = {"headers": {"anthropic-beta": "structured-outputs-2025-11-13"}}
    with pytest.raises(anthropic.BadRequestError, match=r"['\"]output_format\.schema"):
        client.post(
            "/v1/messages", body={**ASK, "output_format": form}, cast_to=object, options=old
        )
    body = {**ASK, "output_config": {"format": form}}
    with pytest.raises(anthropic.BadRequestError, match=r"['\"]output_config\.format\.schema"):
        client.post("/v1/messages", body=body, cast_to=object)


def test_warming_the_cache_does_not_go_with_a_thinking_budget() -> None:
    """Nothing is thought where nothing may be said."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    thinking: Any = {"type": "enabled", "budget_tokens": 1_024}
    body: Any = {**ASK, "model": OLD, "max_tokens": 0, "thinking": thinking}
    with pytest.raises(anthropic.BadRequestError, match=r"max_tokens|budget_tokens"):
        client.messages.create(**body)


def test_the_tool_that_joins_in_the_middle_may_say_that_it_is_custom() -> None:
    """Or leave it out: the same name twice is the same kind of tool, another kind is a conflict."""
    betas = ["mid-conversation-tool-changes-2026-07-01", "inline-tools-2026-09-15"]
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    tool: Any = {"name": "look", "input_schema": {"type": "object"}}

    def ask(**definition: Any) -> Any:
        defined = {"type": "tool_definition", "definition": {**tool, **definition}}
        change = {"type": "tool_addition", "tool": defined}
        turns = [*ASK["messages"], {"role": "system", "content": [change]}]
        body: Any = {**ASK, "model": OPUS, "messages": turns, "tools": [tool], "betas": betas}
        return client.beta.messages.create(**body)

    assert ask().content
    assert ask(type="custom").content


def test_sampling_while_thinking_has_one_edge() -> None:
    """`top_p` may be .95 and more; nothing else may be set."""
    client = FakeAPI(clock=VirtualClock()).client(max_retries=0)
    thinking: Any = {"type": "enabled", "budget_tokens": 1_024}
    body: Any = {**ASK, "model": OLD, "thinking": thinking}
    dated: Any = {"headers": {"anthropic-version": "2023-06-01"}}
    assert client.post("/v1/messages", body={**body, "top_p": 0.95}, cast_to=object, options=dated)
    for wrong in ({"top_p": 0.94}, {"temperature": 0.9}, {"top_k": 5}):
        with pytest.raises(anthropic.BadRequestError, match=next(iter(wrong))):
            client.post("/v1/messages", body={**body, **wrong}, cast_to=object, options=dated)


def test_the_time_of_an_answer_is_told_in_milliseconds() -> None:
    """In the header that the API's own gateway sets."""
    clock = VirtualClock()
    latency = Latency(first_token=2, tokens_per_second=1_000_000, jitter=0)
    client = FakeAPI(clock=clock, latency=latency).client(max_retries=0)
    answer = client.messages.with_raw_response.create(**ASK)
    told = int(answer.headers["x-envoy-upstream-service-time"])
    assert told == pytest.approx(1_000 * clock.now() - 1_000 * VirtualClock().now(), abs=20)
    assert told == pytest.approx(2_000, abs=20)
