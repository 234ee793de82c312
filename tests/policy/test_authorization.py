"""Default-deny rules, a function in their place, and batch items one by one."""

import asyncio
import contextlib
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIRequest, AsyncAnthropic, CallNext
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.models import HAIKU, OPUS
from patterns.policy.authorization import (
    Action,
    Authorize,
    Decide,
    Decision,
    NotAuthorized,
    Rule,
    by_rules,
)
from patterns.policy.flow import noting
from patterns.policy.identity import NoPrincipal, Principal, acting_as
from patterns.policy.texts import NotReadable
from patterns.policy.view import view_of, with_body

ANALYST = Principal("ada", frozenset({"analyst"}), "lab")
STRANGER = Principal("eve", frozenset({"guest"}))
RULES = [Rule("analyst", "messages.*", "claude-haiku-*", max_tokens=1_000, tools="search_*")]
ASK: dict[str, Any] = {"model": HAIKU, "max_tokens": 100, "messages": []}


class Api:
    """Counts what reaches the API."""

    def __init__(self, decide: Decide | list[Rule]) -> None:
        self.sent = 0
        self.transport = httpx2.MockTransport(self.answer)
        self.middleware = [Authorize(decide)]
        self.client = Anthropic(
            api_key="test",
            http_client=httpx2.Client(transport=self.transport),
            middleware=self.middleware,
        )

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.sent += 1
        return httpx2.Response(200, json={})

    def ask(self, principal: Principal, path: str = "/v1/messages", **changes: Any) -> None:
        with acting_as(principal):
            self.client.post(path, cast_to=object, body={**ASK, **changes})


def test_what_a_rule_allows_is_sent() -> None:
    """The analyst may ask Haiku, and count tokens, which has no cap to check."""
    api = Api(RULES)
    api.ask(ANALYST, tools=[{"name": "search_papers"}], max_tokens=1_000)
    api.ask(ANALYST, "/v1/messages/count_tokens")
    assert api.sent == 2


@pytest.mark.parametrize(
    ("principal", "changes", "reason"),
    [
        (STRANGER, {}, "no rule allows messages.create"),
        (Principal("x"), {}, "no rule allows"),
        (ANALYST, {"model": OPUS}, "claude-haiku-\\*, not claude-opus"),
        (ANALYST, {"max_tokens": 1_001}, "1000 tokens, not 1001"),
        (ANALYST, {"tools": [{"name": "delete_all"}]}, "may not offer tool delete_all"),
        (ANALYST, {"tools": [{"type": "bash_20250124"}]}, "bash_20250124"),
        (ANALYST, {"tools": [{"name": "search_x", "model": OPUS}]}, OPUS),
        (ANALYST, {"tools": [{"type": "mcp_toolset", "mcp_server_name": "crm"}]}, "mcp:crm"),
        (ANALYST, {"mcp_servers": [{"name": "crm", "url": "https://crm"}]}, "mcp:crm"),
        (ANALYST, {"fallbacks": [{"model": OPUS}]}, OPUS),
        (ANALYST, {"fallbacks": "default"}, "fallbacks:default"),
        (ANALYST, {"fallbacks": {"model": HAIKU, "max_tokens": 5_000}}, "not 5000"),
    ],
)
def test_what_no_rule_allows_is_not_sent_and_not_retried(
    principal: Principal, changes: dict[str, Any], reason: str
) -> None:
    """A denial reaches the caller at once: it is neither sent nor tried again."""
    api = Api(RULES)
    with pytest.raises(NotAuthorized, match=f"^denied: .*{reason}") as caught:
        api.ask(principal, **changes)
    assert api.sent == 0
    assert caught.value.rule == "not-authorized"


def test_tools_are_denied_where_a_rule_does_not_mention_them() -> None:
    """Least privilege is what you get by writing nothing."""
    api = Api([Rule("analyst")])
    api.ask(ANALYST)
    with pytest.raises(NotAuthorized, match="tool search_papers"):
        api.ask(ANALYST, tools=[{"name": "search_papers"}])


def test_one_rule_of_several_is_enough() -> None:
    """Rules add up; their order does not matter."""
    api = Api([Rule("writer"), Rule("analyst", model=OPUS), Rule("analyst")])
    with noting() as told:
        api.ask(ANALYST)
    assert (api.sent, told) == (1, {"allowed": "rule 2"})


def test_no_principal_is_denied() -> None:
    """Nobody acting means nobody may."""
    api = Api(RULES)
    with pytest.raises(NoPrincipal):
        api.client.post("/v1/messages", cast_to=object, body=ASK)
    assert api.sent == 0


@pytest.mark.parametrize("path", ["/v1/files", "/v1/agents", "/v1/messages/batches/b_1/x"])
def test_an_endpoint_that_no_rule_names_is_denied(path: str) -> None:
    """What is new in the API is not allowed by old rules."""
    api = Api(RULES)
    with pytest.raises(NotAuthorized, match=f"POST {path}"):
        api.ask(ANALYST, path)
    assert api.sent == 0


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/messages/", "/v1/./messages", "/v1//messages", "/v1/%6dessages", "/v1/complete"),
        *("/v1/new_thing", "//evil.example/v1/messages", "https://evil.example/v1/messages"),
        *("http://api.anthropic.com/v1/messages", "/v2/messages", "/v1/messages/../messages"),
    ],
)
def test_a_path_that_is_not_as_the_sdk_writes_it_is_denied_whatever_the_rules(path: str) -> None:
    """Another host, other spellings, and endpoints that nobody has looked at."""
    api = Api([Rule("analyst", "*", tools="*"), Rule("analyst", "POST /v1/*", tools="*")])
    with pytest.raises(NotReadable):
        api.ask(ANALYST, path)
    assert api.sent == 0


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/sessions", "/v1/dreams", "/v1/agents/a/run"])
def test_a_rule_for_one_model_does_not_let_another_through_elsewhere(path: str) -> None:
    """Where a call may run models, all it names must match; what it does not name may be any."""
    narrow = Api([Rule("analyst", "POST /v1/*", HAIKU, tools="*")])
    for body in ({"model": OPUS}, {"model": {"id": OPUS}}, {"model": None}):
        with pytest.raises(NotAuthorized):
            narrow.ask(ANALYST, path, **body)
    capped = Api([Rule("analyst", "POST /v1/*", max_tokens=500, tools="*")])
    with pytest.raises(NotAuthorized, match="500 tokens"):
        capped.ask(ANALYST, path)
    toolless = Api([Rule("analyst", "POST /v1/*")])
    with pytest.raises(NotAuthorized, match="tool"):
        toolless.ask(ANALYST, path)
    wide = Api([Rule("analyst", "POST /v1/*", tools="*")])
    wide.ask(ANALYST, path)
    assert (narrow.sent, capped.sent, toolless.sent, wide.sent) == (0, 0, 0, 1)


STRANGE_CAPS = [64_000.0, "64000", "500", -1, -100_000, True, None, [1], float("nan"), 10.0]


@pytest.mark.parametrize("cap", STRANGE_CAPS)
@pytest.mark.parametrize("way", ["call", "extra_body", "batch", "fallback"])
def test_a_cap_is_held_whatever_max_tokens_looks_like(cap: Any, way: str) -> None:
    """Only a whole number from 0 is one; anything else is not sent."""
    api = Api([Rule("analyst", "messages.*", max_tokens=500)])
    body: dict[str, Any] = {**ASK, "max_tokens": cap}
    with acting_as(ANALYST), pytest.raises(NotReadable, match="max_tokens"):
        if way == "extra_body":
            api.client.messages.create(**ASK, extra_body={"max_tokens": cap})
        elif way == "batch":
            items = [{"custom_id": "a", "params": ASK}, {"custom_id": "b", "params": body}]
            api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items})
        elif way == "fallback" and cap is not None:
            fallbacks = [{"model": HAIKU, "max_tokens": cap}]
            api.client.post("/v1/messages", cast_to=object, body={**ASK, "fallbacks": fallbacks})
        else:
            api.client.post("/v1/messages", cast_to=object, body=body)
    assert api.sent == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None}, {"model": ["x"]}, {"model": ""}, {"tools": "all"}, {"tools": [1]},
        {"tools": [{}]}, {"tools": [{"name": 7}]}, {"mcp_servers": [{"url": "x"}]},
        {"messages": ["text"]}, {"stream": "yes"}, {"speed": 3}, {"service_tier": []},
        {"fallbacks": [1]}, {"system": b"bytes"}, {"messages": [{"role": "user", "content": {1}}]},
        {"metadata": {7: "key"}}, {"billing_policy": {"bill_to": 3}},
    ],
)  # fmt: skip
def test_a_field_that_is_not_what_it_seems_is_denied(changes: dict[str, Any]) -> None:
    """No policy can judge what it cannot parse."""
    seen: list[APIRequest] = []

    def spy(request: APIRequest, call_next: CallNext) -> Any:
        seen.append(request)
        return call_next(request)

    client = Api([]).client.with_options(middleware=[spy])
    client.post("/v1/messages", cast_to=object, body=ASK)
    request = with_body(seen[0], {**ASK, **changes})
    with pytest.raises(NotReadable):
        view_of(request)


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ({}, {"speed": "fast"}),
        ({"settings": {"service_tier": "standard_only"}}, {}),
        ({"settings": {"service_tier": "standard_only"}}, {"service_tier": "auto"}),
        ({"settings": {"inference_geo": "eu"}}, {}),
        ({"settings": {"inference_geo": "eu"}}, {"inference_geo": "us"}),
        ({}, {"billing_policy": {"bill_to": "user_profile"}}),
        ({"images": 0}, {"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
        ({"documents": 0}, {"messages": [{"role": "user", "content": [{"type": "document"}]}]}),
        ({}, {"thread": {"type": "continue", "previous_message_id": "msg_1"}}),
        ({}, {"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}}),
        ({}, {"messages": [{"role": "user", "content": [
            {"type": "tool_addition", "tool": {"type": "tool_definition", "definition":
             {"name": "pay"}}}]}]}),
    ],
)  # fmt: skip
def test_what_costs_extra_or_gives_power_can_be_ruled_on(
    rule: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Fast mode, tiers, places, bills, attachments, and tools that no list shows."""
    api = Api([Rule("analyst", **rule)])
    with pytest.raises(NotAuthorized):
        api.ask(ANALYST, **changes)
    assert api.sent == 0


ADDED: list[tuple[Any, str]] = [
    ({"type": "tool_reference", "name": "pay"}, "pay"),
    ({"type": "mcp_tool_reference", "server_name": "crm", "name": "pay"}, "mcp:crm"),
    ({"type": "mcp_toolset_reference", "server_name": "crm"}, "mcp:crm"),
    ({"type": "tool_definition", "definition": {"name": "pay", "input_schema": {
        "type": "object", "properties": {"name": {"type": "string"}}}}}, "pay"),
    ({"type": "tool_definition", "definition": {"type": "bash_20250124"}}, "bash_20250124"),
    ({"type": "tool_definition", "definition": {"type": "mcp_toolset",
                                                "mcp_server_name": "crm"}}, "mcp:crm"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "name"), ADDED)
def test_a_tool_that_a_turn_adds_is_ruled_on_like_one_in_the_list(tool: Any, name: str) -> None:
    """By the same name; and so is the model that it may run."""
    turn = {"role": "user", "content": [{"type": "tool_addition", "tool": tool}]}
    narrow, other = Api([Rule("analyst", "*", HAIKU, tools=name)]), Api([Rule("analyst")])
    narrow.ask(ANALYST, messages=[turn])
    with pytest.raises(NotAuthorized, match=f"tool {name};"):
        other.ask(ANALYST, messages=[turn])
    if "definition" in tool:
        tool = {**tool, "definition": {**tool["definition"], "model": OPUS}}
        turn = {"role": "user", "content": [{"type": "tool_addition", "tool": tool}]}
        with pytest.raises(NotAuthorized, match=OPUS):
            narrow.ask(ANALYST, messages=[turn])
    assert (narrow.sent, other.sent) == (1, 0)


@pytest.mark.parametrize("tool", [None, "pay", {}, {"definition": None}, {"definition": {}}])
def test_a_tool_that_a_turn_adds_and_that_cannot_be_read_is_denied(tool: Any) -> None:
    """Whatever the rules."""
    api = Api([Rule("analyst", "*", tools="*")])
    turn = {"role": "user", "content": [{"type": "tool_addition", "tool": tool}]}
    with pytest.raises(NotReadable):
        api.ask(ANALYST, messages=[turn])
    assert api.sent == 0


def test_settings_that_a_rule_names_pass() -> None:
    """And a new thread, whose tools are all in the request."""
    settings = {"speed": "fast", "service_tier": "*", "inference_geo": "us", "billing_policy": "*"}
    api = Api([Rule("analyst", settings=settings)])
    bill = {"bill_to": "user_profile"}
    given: dict[str, Any] = {"speed": "fast", "inference_geo": "us", "billing_policy": bill}
    api.ask(ANALYST, **given, thread={"type": "create"})
    silent = Api([Rule("analyst", settings={"inference_geo": "", "user_profile_id": ""})])
    silent.ask(ANALYST)
    assert (api.sent, silent.sent) == (1, 1)
    with pytest.raises(ValueError, match="unknown settings"):
        Rule("analyst", settings={"sped": "fast"})


@pytest.mark.parametrize(
    ("most", "kind"), [("images", "image"), ("documents", "document"), ("items", "")]
)
def test_as_many_as_a_rule_allows_pass_and_not_one_more(most: str, kind: str) -> None:
    """Attachments of a call, and items of a batch, which has the attachments of each."""
    api = Api([Rule("analyst", "messages.*", **{most: 2})])  # type: ignore[arg-type]
    for count in (2, 3):
        turns = [{"role": "user", "content": [{"type": kind or "image"}] * (count if kind else 1)}]
        body = {**ASK, "messages": turns}
        items = [{"custom_id": str(one), "params": body} for one in range(1 if kind else count)]
        with acting_as(ANALYST), contextlib.suppress(NotAuthorized):
            if kind:
                api.client.post("/v1/messages", cast_to=object, body=body)
            api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items})
        assert api.sent == (2 if kind else 1)


def test_the_items_of_a_batch_can_be_capped() -> None:
    """One more than the cap denies the batch."""
    api = Api([Rule("analyst", "messages.*", items=2)])
    items = [{"custom_id": f"q{index}", "params": ASK} for index in range(3)]
    with acting_as(ANALYST):
        api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items[:2]})
        with pytest.raises(NotAuthorized, match="2 items, not 3"):
            api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items})
        api.client.post("/v1/messages/batches/b_1/cancel", cast_to=object)
    assert api.sent == 2


def test_an_unknown_endpoint_can_be_allowed_by_name() -> None:
    """Listing the models, for example."""
    api = Api([Rule("analyst", "GET /v1/models")])
    with acting_as(ANALYST):
        api.client.get("/v1/models", cast_to=object)
    assert api.sent == 1


def test_a_forbidden_model_inside_a_batch_item_denies_the_batch() -> None:
    """Every item is checked, and the one at fault is named."""
    api = Api(RULES)
    items = [
        {"custom_id": f"q{index}", "params": {**ASK, "model": model}}
        for index, model in enumerate([HAIKU, HAIKU, OPUS])
    ]
    with acting_as(ANALYST), pytest.raises(NotAuthorized) as caught:
        api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items})
    assert (caught.value.action.item, api.sent) == ("q2", 0)
    assert str(caught.value).startswith(
        "denied (batch item 'q2'): analyst may use claude-haiku-*, "
    )
    with acting_as(ANALYST):
        api.client.post("/v1/messages/batches", cast_to=object, body={"requests": items[:2]})
    assert api.sent == 1


def test_the_async_client_is_checked_by_the_same_rules() -> None:
    """One decision, two thin twins."""
    api = Api(RULES)

    async def ask(model: str) -> None:
        client = AsyncAnthropic(
            api_key="test",
            http_client=httpx2.AsyncClient(transport=api.transport),
            middleware=api.middleware,
        )
        with acting_as(ANALYST):
            await client.post("/v1/messages", cast_to=object, body={**ASK, "model": model})

    asyncio.run(ask(HAIKU))
    with pytest.raises(NotAuthorized):
        asyncio.run(ask(OPUS))
    assert (api.sent, repr(api.middleware[0])) == (1, "Authorize")


def test_a_function_of_yours_decides_in_place_of_rules() -> None:
    """A policy engine, for example; its reason is what the caller reads."""
    api = Api(lambda who, action: Decision(action.models == (HAIKU,), "the engine said so"))
    api.ask(ANALYST)
    with pytest.raises(NotAuthorized, match="the engine said so"):
        api.ask(ANALYST, model=OPUS)


roles = st.frozensets(st.sampled_from(["analyst", "guest", "admin"]))
names = st.sampled_from(["messages.create", "messages.count_tokens", "GET /v1/models"])


@given(roles, names, st.sampled_from([HAIKU, OPUS]), st.integers(0, 3_000))
def test_without_a_matching_role_nothing_is_ever_allowed(
    held: frozenset[str], name: str, model: str, cap: int
) -> None:
    """Default deny, whatever is asked."""
    decision = by_rules(*RULES)(Principal("x", held), Action(name, (model,), cap))
    expected = "analyst" in held and model == HAIKU and cap <= 1_000 and "messages" in name
    assert decision.allowed is expected
    assert not by_rules()(Principal("x", held), Action(name)).allowed
