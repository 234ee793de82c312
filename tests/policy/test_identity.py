"""Principals, tokens, signatures and pseudonyms."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from typing import Any

import httpx2
import jwt
import pytest
from anthropic import Anthropic, AsyncAnthropic

from patterns.core.pseudonym import WeakKey, pseudonym
from patterns.policy.bearer import (
    BadToken,
    verify_token,
)
from patterns.policy.identity import Identify, NoPrincipal, Principal, acting_as, current_principal

KEY = "k" * 32
ADA, BOB = Principal("ada"), Principal("bob")
LATER, LONG_AGO = 4102444800, 1
CLAIMS = {"sub": "ada", "aud": "claude", "exp": LATER, "roles": ["analyst"], "workspace": "lab"}


def token(**changes: Any) -> str:
    claims = {key: value for key, value in {**CLAIMS, **changes}.items() if value is not ...}
    return jwt.encode(claims, KEY, algorithm="HS256")


def unsigned() -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, CLAIMS)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def test_a_good_token_names_its_principal() -> None:
    """Subject, roles and workspace come from the signed claims."""
    expected = Principal("ada", frozenset({"analyst"}), "lab")
    assert verify_token(token(), KEY, audience="claude") == expected


@pytest.mark.parametrize(
    "forged",
    [
        unsigned(),
        token(aud="elsewhere"),
        token(aud=...),
        token(exp=LONG_AGO),
        token(exp=...),
        token(sub=...),
        token(sub=""),
        token(roles="admin"),
        token(roles=[1]),
        token(workspace=7),
        jwt.encode(CLAIMS, "x" * 32, algorithm="HS256"),
        jwt.encode(CLAIMS, "k" * 64, algorithm="HS512"),
        token()[:-4] + "AAAA",
        "",
        "a.b.c",
        "\udcff.\udcff.\udcff",
    ],
)
def test_forged_tokens_are_refused(forged: str) -> None:
    """alg none, another key or algorithm, wrong audience, expired, malformed."""
    with pytest.raises(BadToken) as caught:
        verify_token(forged, KEY, audience="claude")
    assert caught.value.__cause__ is None
    assert not forged or forged not in str(caught.value)


def test_a_short_key_is_refused_before_it_signs_anything() -> None:
    """There is no default key, and no weak one."""
    for use in (
        lambda: verify_token(token(), "short", audience="claude"),
        lambda: pseudonym("ada", "short"),
        lambda: Identify("short"),
    ):
        with pytest.raises(WeakKey, match="5 bytes"):
            use()


def test_an_asymmetric_key_is_not_measured_in_bytes() -> None:
    """A public key is checked by the library; a token with HS256 does not pass for RS256."""
    with pytest.raises(BadToken):
        verify_token(token(), KEY, audience="claude", algorithm="RS256")


def test_no_principal_in_context_is_denied() -> None:
    """Before, and again after, somebody acted."""
    with acting_as(ADA):
        assert current_principal() is ADA
    with pytest.raises(NoPrincipal):
        current_principal()


def test_a_pseudonym_is_a_keyed_hash_and_a_tenants_own() -> None:
    """Without a tenant it is the plain formula, which others can compute."""
    digest = hmac.new(KEY.encode(), b"ada", hashlib.sha256).hexdigest()
    assert Principal("ada").pseudonym(KEY) == f"user_{digest[:32]}"
    names = {Principal("ada", workspace=one).pseudonym(KEY) for one in (None, "lab", "shop")}
    assert len(names) == 3
    keys = [
        Principal(*one).key
        for one in (("b", frozenset[str](), "a:"), (":b", frozenset[str](), "a"))
    ]
    assert len(set(keys)) == 2


def test_threads_do_not_share_a_principal() -> None:
    """A thread starts with nobody acting."""
    seen: list[object] = []

    def other() -> None:
        try:
            seen.append(current_principal())
        except NoPrincipal as error:
            seen.append(error.rule)

    with acting_as(ADA):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == ["no-principal"]


def test_tasks_do_not_share_a_principal() -> None:
    """Interleaved tasks each see their own."""

    async def who(principal: Principal) -> Principal:
        with acting_as(principal):
            await asyncio.sleep(0)
            return current_principal()

    async def both() -> tuple[Principal, Principal]:
        one, other = await asyncio.gather(who(ADA), who(BOB))
        return one, other

    assert asyncio.run(both()) == (ADA, BOB)


def test_a_pseudonym_is_stable_and_cannot_be_reversed_without_the_key() -> None:
    """Another key gives another name, so a dictionary of addresses does not help."""
    name = pseudonym("ada@example.com", KEY)
    assert name == pseudonym("ada@example.com", KEY.encode())
    assert name != pseudonym("ada@example.com", "x" * 32)
    assert "ada" not in name
    assert len(name) == len("user_") + 32


MESSAGE = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": []}


def bodies_sent() -> tuple[list[Any], httpx2.MockTransport]:
    sent: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content) if request.content else None)
        return httpx2.Response(200, json={})

    return sent, httpx2.MockTransport(answer)


def test_the_api_sees_a_pseudonym_in_place_of_what_the_caller_put_there() -> None:
    """In a message and in every item of a batch; token counting takes no metadata."""
    sent, transport = bodies_sent()
    client = Anthropic(
        api_key="test", http_client=httpx2.Client(transport=transport), middleware=[Identify(KEY)]
    )
    item = {"custom_id": "a", "params": MESSAGE}
    with acting_as(ADA):
        client.post(
            "/v1/messages", cast_to=object, body={**MESSAGE, "metadata": {"user_id": "ada"}}
        )
        client.post("/v1/messages/batches", cast_to=object, body={"requests": [item, item]})
        client.post("/v1/messages/count_tokens", cast_to=object, body=MESSAGE)
    expected = {"user_id": pseudonym("ada", KEY)}
    assert sent[0]["metadata"] == expected
    assert [one["params"]["metadata"] for one in sent[1]["requests"]] == [expected, expected]
    assert sent[2] == MESSAGE


def test_without_a_principal_the_async_client_sends_nothing() -> None:
    """Nobody acting is a denial, not an anonymous call."""
    sent, transport = bodies_sent()

    async def ask() -> None:
        client = AsyncAnthropic(
            api_key="test",
            http_client=httpx2.AsyncClient(transport=transport),
            middleware=[Identify(KEY)],
        )
        with acting_as(ADA):
            await client.post("/v1/messages", cast_to=object, body=MESSAGE)
        await client.post("/v1/messages", cast_to=object, body=MESSAGE)

    with pytest.raises(NoPrincipal):
        asyncio.run(ask())
    assert len(sent) == 1
    assert repr(Identify(KEY)) == "Identify"
