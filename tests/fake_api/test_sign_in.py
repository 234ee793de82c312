"""Signing in to the fake: what the token exchange takes and refuses, and what a token opens."""

import base64
import json
import re
from typing import Any

import anthropic
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from signing_in import ASK

from patterns.course.issuer import KID, Issuer
from patterns.fake_api import FakeAPI, FederationRule, VirtualClock
from patterns.fake_api.federation import AUDIENCE
from patterns.fake_api.sign_in import DEFAULT_WORKSPACE, GRANT

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P384 = ec.generate_private_key(ec.SECP384R1())


def pem(key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_key().public_bytes(serialization.Encoding.PEM, form), "ascii")


LAB, SHOP = "wrkspc_01Lab", "wrkspc_01Shop"
HEADERS = {"anthropic-version": "2023-06-01", "anthropic-beta": "files-api-2025-04-14"}


class Desk:
    """An issuer and a fake with one rule for it; requests as they go over the wire."""

    def __init__(self, **rule: Any) -> None:
        self.clock = VirtualClock()
        self.issuer = Issuer(clock=self.clock.now)
        self.rule = self.issuer.rule(**rule)
        self.api = FakeAPI(clock=self.clock, federation=[self.rule])
        self.http = httpx2.Client(transport=self.api.transport, base_url="https://api.test")

    def exchange(self, assertion: str | None = None, **changes: Any) -> httpx2.Response:
        body: dict[str, Any] = {
            "grant_type": GRANT,
            "assertion": self.issuer.token() if assertion is None else assertion,
            "federation_rule_id": self.rule.id,
            "organization_id": self.rule.organization_id,
            "service_account_id": self.rule.service_account_id,
            **changes,
        }
        kept = {name: value for name, value in body.items() if value is not None}
        return self.http.post("/v1/oauth/token", json=kept)

    def token(self, **changes: Any) -> str:
        token: str = self.exchange(**changes).json()["access_token"]
        return token

    def ask(self, token: str, **headers: str) -> httpx2.Response:
        signed = {**HEADERS, "authorization": f"Bearer {token}", **headers}
        return self.http.post("/v1/messages", json=ASK, headers=signed)

    def get(self, path: str, token: str) -> httpx2.Response:
        return self.http.get(path, headers={**HEADERS, "authorization": f"Bearer {token}"})

    @property
    def reasons(self) -> list[str | None]:
        return [each.reason for each in self.api.sign_ins]


def error_of(response: httpx2.Response) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["type"], error["message"]


OPAQUE = (401, "authentication_error", "Authentication failed")


def test_an_identity_token_becomes_an_access_token() -> None:
    """With the fields of RFC 6749, neither a version nor a credential needed; and it opens."""
    desk = Desk(seconds=600)
    granted = desk.exchange().json()
    token = granted.pop("access_token")
    assert token.startswith("sk-ant-oat01-")
    assert granted == {"token_type": "Bearer", "expires_in": 600, "scope": "workspace:developer"}
    answer = desk.ask(token)
    assert answer.status_code == 200
    assert answer.headers["anthropic-workspace-id"] == DEFAULT_WORKSPACE
    assert desk.reasons == [None]


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"assertion": ""}, "assertion"),
    ({"federation_rule_id": None}, "federation_rule_id"),
    ({"federation_rule_id": "rule-1"}, "fdrl_"),
    ({"organization_id": None}, "organization_id"),
    ({"organization_id": 7}, "organization_id"),
    ({"grant_type": None}, "grant_type"),
    ({"grant_type": "refresh_token"}, "jwt-bearer"),
    ({"service_account_id": 7}, "service_account_id"),
    ({"workspace_id": ""}, "workspace_id"),
    ({"workspace_id": "lab"}, "wrkspc_.*default"),
]


@pytest.mark.parametrize(("changes", "said"), MALFORMED)
def test_a_malformed_request_is_told_what_is_wrong(changes: dict[str, Any], said: str) -> None:
    """With a 400, and no entry in the authentication history."""
    desk = Desk()
    answer = desk.exchange(**changes)
    assert error_of(answer)[:2] == (400, "invalid_request_error")
    assert re.search(said, error_of(answer)[2])
    assert desk.reasons == []


def test_a_body_that_is_no_object_is_refused() -> None:
    """Also one that is no JSON; neither is kept."""
    desk = Desk()
    for body in ("[1]", "{", "[" * 100_000):
        assert desk.http.post("/v1/oauth/token", content=body).status_code == 400
    assert [entry.body for entry in desk.api.journal] == [None, None, None]


NOW = int(VirtualClock().now())
DENIED: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://issuer.example/"}, "issuer"),
    ({"aud": "https://api.anthropic.com/"}, "match_audience"),
    ({"aud": None}, "match_audience"),
    ({"aud": ["a", "b"]}, "match_audience"),
    ({"sub": "Desk"}, "match_subject_prefix"),
    ({"sub": "desk-2"}, "match_subject_prefix"),
    ({"sub": None}, "match_subject_prefix"),
    ({"sub": ""}, "match_subject_prefix"),
    ({"env": "test"}, "match_claims"),
    ({"exp": NOW - 30}, "expired"),
    ({"iat": NOW + 31}, "not_yet_valid"),
    ({"nbf": NOW + 31}, "not_yet_valid"),
    ({"iat": None}, "times"),
    ({"exp": None}, "times"),
    ({"exp": True}, "times"),
    ({"exp": "tomorrow"}, "times"),
    ({"nbf": -1}, "times"),
    ({"exp": NOW + 3_601}, "lifetime"),
    ({"text": "x" * 16_384}, "too_large"),
]


@pytest.mark.parametrize(("claims", "reason"), DENIED)
def test_a_denied_identity_token_learns_nothing(claims: dict[str, Any], reason: str) -> None:
    """Every reason has the same answer; which it was stands in the authentication history."""
    desk = Desk(claims={"env": "live"})
    assertion = desk.issuer.token(**{"env": "live", **claims})
    assert error_of(desk.exchange(assertion)) == OPAQUE
    assert desk.reasons == [reason]


ACCEPTED: list[dict[str, Any]] = [
    {"aud": ["other", AUDIENCE]},
    {"exp": NOW - 29},
    {"iat": NOW + 30},
    {"nbf": NOW + 30},
    {"exp": NOW + 3_600},
]


@pytest.mark.parametrize("claims", ACCEPTED)
def test_clocks_may_differ_by_half_a_minute(claims: dict[str, Any]) -> None:
    """And one audience of several is enough."""
    desk = Desk()
    assert desk.exchange(desk.issuer.token(**claims)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"service_account_id": "svac_01Other"}, "service_account"),
        ({"organization_id": "00000000-0000-0000-0000-000000000000"}, "organization"),
        ({"workspace_id": LAB}, "workspace_not_enabled"),
    ],
)
def test_a_request_for_something_else_is_denied(changes: dict[str, Any], reason: str) -> None:
    """A service account, organisation or workspace that the rule does not name."""
    desk = Desk()
    assert error_of(desk.exchange(**changes)) == OPAQUE
    assert desk.reasons == [reason]
    assert desk.exchange(service_account_id=None).status_code == 200  # optional in the SDK


def test_an_unknown_or_archived_rule_is_not_told_apart() -> None:
    """And leaves nothing in the history."""
    desk = Desk()
    assert error_of(desk.exchange(federation_rule_id="fdrl_01Other")) == OPAQUE
    desk.api.revoke(desk.rule.id)
    assert error_of(desk.exchange()) == OPAQUE
    assert desk.reasons == []


def test_an_identity_token_is_taken_once() -> None:
    """Unless it has no `jti`, or the issuer's rule says otherwise."""
    desk = Desk()
    once = desk.issuer.token()
    assert [desk.exchange(once).status_code for _ in range(2)] == [200, 401]
    assert desk.reasons == [None, "jti_reused"]
    lax = Desk(single_use=False)
    again = lax.issuer.token()
    assert [lax.exchange(again).status_code for _ in range(2)] == [200, 200]
    plain = Desk(keys={"k": pem(RSA)})
    claims = {"iss": Issuer.url, "sub": "desk", "aud": AUDIENCE, "iat": NOW, "exp": NOW + 600}
    anonymous = jwt.encode(claims, RSA, "RS256", headers={"kid": "k"})
    assert [plain.exchange(anonymous).status_code for _ in range(2)] == [200, 200]


def test_another_issuers_signature_is_denied() -> None:
    """The same claims and the same key id, signed with another key."""
    desk = Desk()
    assert error_of(desk.exchange(Issuer(clock=desk.clock.now).token())) == OPAQUE
    assert desk.reasons == ["signature"]


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS512"), (P384, "ES384")], ids=["RS", "PS", "ES"]
)
def test_rsa_and_elliptic_curves_are_accepted(key: Any, algorithm: str) -> None:
    """Public keys may be given as PEM."""
    desk = Desk(keys={"k": pem(key)})
    claims = jwt.decode(desk.issuer.token(), options={"verify_signature": False})
    assert desk.exchange(jwt.encode(claims, key, algorithm, headers={"kid": "k"})).is_success


def forged(algorithm: str, kid: str | None) -> str:
    """A token whose "signature" needs nothing but the public key, or nothing at all."""
    header = {"alg": algorithm, "typ": "JWT", **({} if kid is None else {"kid": kid})}
    claims = {"iss": Issuer.url, "sub": "desk", "aud": AUDIENCE, "iat": NOW, "exp": NOW + 600}
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()) for each in (header, claims)]
    return b".".join([*(part.rstrip(b"=") for part in parts), b""]).decode()


@pytest.mark.parametrize(
    ("algorithm", "kid", "reason"),
    [
        ("none", KID, "signature"),
        ("HS256", KID, "signature"),
        ("ES256", KID, "signature"),
        ("ES256", "other", "unknown_kid"),
        ("ES256", None, "unknown_kid"),
    ],
)
def test_only_the_issuers_signature_counts(algorithm: str, kid: str | None, reason: str) -> None:
    """No token without a signature, with a shared secret, or without the key's id."""
    desk = Desk()
    assert error_of(desk.exchange(forged(algorithm, kid))) == OPAQUE
    assert desk.reasons == [reason]


DESK = Desk()


@given(st.text(min_size=1, max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{1,40}(\.[\w-]{0,40}){2}"))
def test_what_is_no_token_is_denied(assertion: str) -> None:
    """Whatever is shown, nothing but a 401 comes of it."""
    assert error_of(DESK.exchange(assertion)) == OPAQUE


@pytest.mark.parametrize("seconds", [60, 600, 3_600, 86_400])
@pytest.mark.parametrize("left", [-29, 10, 31, 400, 3_600])
def test_a_token_lives_as_the_documentation_says(seconds: int, left: int) -> None:
    """The rule's lifetime, twice what is left of the identity token, never under a minute."""
    desk = Desk(seconds=seconds)
    granted = desk.exchange(desk.issuer.token(iat=NOW, exp=NOW + left)).json()
    assert granted["expires_in"] == max(60, min(seconds, 2 * left))
    for wait, status in ((granted["expires_in"] - 1, 200), (1, 401)):
        desk.clock.advance(wait)
        assert desk.ask(granted["access_token"]).status_code == status


@pytest.mark.parametrize("rule", [{"seconds": 59}, {"seconds": 86_401}, {"subject": "*"}])
def test_a_rule_that_the_api_refuses_is_refused(rule: dict[str, Any]) -> None:
    """A lifetime out of range, or a rule that would take every token of the issuer."""
    with pytest.raises(ValueError, match=r"lives|every"):
        Desk(**rule)


def test_a_star_at_the_end_takes_a_beginning() -> None:
    """As with the branches of a repository; `*` alone needs a claim beside it."""
    desk = Desk(subject="repo:tea/*")
    assert desk.exchange(desk.issuer.token(sub="repo:tea/shop:main")).status_code == 200
    assert desk.exchange(desk.issuer.token(sub="repo:teapot")).status_code == 401
    anybody = Desk(subject="*", claims={"org": "tea"})
    for subject, status in (("who", 200), ("", 401), (None, 401)):
        signed = anybody.issuer.token(sub=subject, org="tea")
        assert anybody.exchange(signed).status_code == status


def test_two_issuers_may_use_the_same_token_id() -> None:
    """A `jti` is unique for its issuer only."""
    desk = Desk()
    other = FederationRule(
        id="fdrl_01Other", issuer="https://b.example", keys=desk.rule.keys, subject="desk"
    )
    api = FakeAPI(clock=desk.clock, federation=[desk.rule, other])
    desk.http = httpx2.Client(transport=api.transport, base_url="https://api.test")
    second = desk.issuer.token(iss=other.issuer, jti="one")
    assert desk.exchange(desk.issuer.token(jti="one")).status_code == 200
    assert desk.exchange(second, federation_rule_id=other.id).status_code == 200


def test_without_rules_a_token_is_a_key_like_any_other() -> None:
    """A test that brings its own access token needs no federation."""
    assert FakeAPI().client(auth_token="sk-ant-oat01-mine").messages.create(**ASK).id


def test_a_token_stays_in_its_workspace() -> None:
    """What one workspace's token made, another's does not see; a header changes nothing."""
    desk = Desk(workspaces=(LAB, SHOP))
    assert error_of(desk.exchange()) == OPAQUE
    assert desk.reasons == ["workspace_id_required"]
    lab, shop = desk.token(workspace_id=LAB), desk.token(workspace_id=SHOP)
    client = desk.api.client(auth_token=lab)
    made = client.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}])
    path = f"/v1/messages/batches/{made.id}"
    assert [desk.get(path, token).status_code for token in (lab, shop)] == [200, 404]
    answer = desk.ask(shop, **{"anthropic-workspace-id": LAB})
    assert answer.headers["anthropic-workspace-id"] == SHOP
    assert desk.get(path, desk.token(workspace_id=LAB)).status_code == 200  # after a refresh


def test_the_default_workspace_is_chosen_where_none_is_named() -> None:
    """If the rule covers it; it can be named too."""
    desk = Desk(workspaces=("default", LAB))
    for named in (None, "default"):
        answer = desk.ask(desk.token(workspace_id=named))
        assert answer.headers["anthropic-workspace-id"] == DEFAULT_WORKSPACE
    only = Desk(workspaces=(SHOP,))
    assert only.ask(only.token()).headers["anthropic-workspace-id"] == SHOP


@pytest.mark.parametrize(
    ("scope", "opened"),
    [
        ("workspace:developer", ["models", "files", "batches"]),
        ("workspace:inference", ["models"]),
        ("workspace:manage_tunnels workspace:inference", ["models"]),
        ("org:admin", []),
    ],
)
def test_a_scope_opens_its_endpoints(scope: str, opened: list[str]) -> None:
    """The others answer 403."""
    desk = Desk(scope=scope)
    token = desk.token()
    paths = {"models": "/v1/models", "files": "/v1/files", "batches": "/v1/messages/batches"}
    answers = {name: desk.get(path, token) for name, path in paths.items()}
    assert [name for name, answer in answers.items() if answer.is_success] == opened
    closed = {error_of(answer)[:2] for answer in answers.values() if not answer.is_success}
    assert closed <= {(403, "permission_error")}


def test_a_token_counts_as_a_bearer_of_this_api_only() -> None:
    """Not as an API key, not if somebody made it up, and not once it was revoked."""
    desk = Desk()
    token = desk.token()
    headers = {**HEADERS, "x-api-key": token}
    assert desk.http.post("/v1/messages", json=ASK, headers=headers).status_code == 401
    assert desk.ask("sk-ant-oat01-made-up").status_code == 401
    assert desk.ask("an-api-key").status_code == 200
    desk.api.revoke(token)
    assert error_of(desk.ask(token))[:2] == (401, "authentication_error")


def test_two_keys_of_a_workspace_see_the_same() -> None:
    """So that a key can be replaced; a revoked one is a 401."""
    api = FakeAPI(keys={"old": LAB, "new": LAB, "other": SHOP})
    clients = {key: api.client(api_key=key) for key in ("old", "new", "other")}
    made = clients["old"].messages.batches.create(requests=[{"custom_id": "a", "params": ASK}])
    api.revoke("old")
    assert clients["new"].messages.batches.retrieve(made.id).id == made.id
    with pytest.raises(anthropic.NotFoundError):
        clients["other"].messages.batches.retrieve(made.id)
    with pytest.raises(anthropic.AuthenticationError):
        clients["old"].messages.batches.retrieve(made.id)
    with pytest.raises(anthropic.AuthenticationError):
        api.client(api_key="unknown").models.list()


def test_the_journal_keeps_no_credential() -> None:
    """Neither the identity token nor the access token; the rest of the request is there."""
    desk = Desk()
    assertion = desk.issuer.token()
    token = desk.exchange(assertion).json()["access_token"]
    desk.ask(token)
    desk.exchange(grant_type="refresh_token", refresh_token="sk-ant-ort01-long-lived")
    kept = repr(desk.api.journal) + "".join(repr(entry.body) for entry in desk.api.journal)
    assert desk.api.journal[0].body["federation_rule_id"] == desk.rule.id
    assert not [secret for secret in (assertion, token, "sk-ant-ort01") if secret in kept]
    assert "EllipticCurve" not in repr(desk.rule)


def test_equal_runs_give_equal_tokens() -> None:
    """They depend on the request and the seed, like every id of the fake."""
    desk = Desk(single_use=False)
    assertion = desk.issuer.token()
    again = FakeAPI(clock=desk.clock, federation=[desk.rule])
    first = desk.exchange(assertion).json()["access_token"]
    desk.http = httpx2.Client(transport=again.transport, base_url="https://api.test")
    second = [desk.exchange(assertion).json()["access_token"] for _ in range(2)]
    assert first == second[0] != second[1]
