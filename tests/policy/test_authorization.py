"""Default-deny rules, Cedar in their place, and batch items one by one."""

import asyncio
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from hypothesis import given
from hypothesis import strategies as st

from patterns.core.models import HAIKU, OPUS
from patterns.policy.authorization import (
    Action,
    Authorize,
    Decide,
    NotAuthorized,
    Rule,
    by_rules,
    cedar,
)
from patterns.policy.identity import NoPrincipal, Principal, acting_as

ANALYST = Principal("ada", frozenset({"analyst"}), "lab")
STRANGER = Principal("eve", frozenset({"guest"}))
RULES = [Rule("analyst", "messages.*", "claude-haiku-*", max_tokens=1_000, tools="search_*")]
CEDAR = """
permit(principal in Role::"analyst", action, resource)
when { resource == Model::"claude-haiku-5-5" && context.max_tokens <= 1000
       && context.tools.isEmpty() && context.workspace == "lab" };
"""
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
    api.ask(ANALYST, tools=[{"name": "search_papers"}])
    api.ask(ANALYST, "/v1/messages/count_tokens")
    assert api.sent == 2


@pytest.mark.parametrize(
    ("principal", "changes", "reason"),
    [
        (STRANGER, {}, "no rule allows messages.create"),
        (Principal("x"), {}, "no rule allows"),
        (ANALYST, {"model": OPUS}, "claude-haiku-\\*, not claude-opus"),
        (ANALYST, {"model": None}, "claude-haiku"),
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
    with pytest.raises(NotAuthorized, match=reason) as caught:
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
    api.ask(ANALYST)
    assert api.sent == 1


def test_no_principal_is_denied() -> None:
    """Nobody acting means nobody may."""
    api = Api(RULES)
    with pytest.raises(NoPrincipal):
        api.client.post("/v1/messages", cast_to=object, body=ASK)
    assert api.sent == 0


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages/", "/v1/complete"])
def test_an_unknown_endpoint_is_denied(path: str) -> None:
    """A rule has to name it: what is new in the API is not allowed by old rules."""
    api = Api(RULES)
    with pytest.raises(NotAuthorized, match=f"POST {path}"):
        api.ask(ANALYST, path)


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


@pytest.mark.parametrize(
    ("principal", "changes", "allowed"),
    [
        (ANALYST, {}, True),
        (ANALYST, {"max_tokens": 1_001}, False),
        (ANALYST, {"model": OPUS}, False),
        (ANALYST, {"tools": [{"name": "search_papers"}]}, False),
        (STRANGER, {}, False),
        (Principal('x"in Role::"analyst'), {}, False),
    ],
)
def test_cedar_policies_decide_in_place_of_rules(
    principal: Principal, changes: dict[str, Any], allowed: bool
) -> None:
    """The same middleware, another decision function."""
    api = Api(cedar(CEDAR))
    if allowed:
        api.ask(principal, **changes)
    else:
        with pytest.raises(NotAuthorized, match="cedar: no policy permits it"):
            api.ask(principal, **changes)
    assert api.sent == int(allowed)


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
