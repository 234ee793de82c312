"""Who may use the fake: API keys, and workload identity federation, where a service shows a signed
identity token of its platform and gets an access token for an hour or less.

    rule = FederationRule(issuer=..., keys={"kid": public_key}, subject="desk")
    api = FakeAPI(federation=[rule])
    api.sign_ins[-1].reason                 # why, as the Console's authentication history says it
    api.revoke("sk-ant-...")                # a key, a token, or a rule's id

Sources: manage-claude/{wif-reference, workload-identity-federation, workspaces}, August 2026;
`anthropic.lib.credentials` of SDK 2.14. No source says what a revoked access token gets (here 401,
as a revoked key), whether batches are inference (here 403), or whether a stream that has begun is
cut when its token ends (here it goes on). Conditions in CEL and refresh tokens are not here.
Needs PyJWT with cryptography (`pyjwt[crypto]`).

Used by chapter 01.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from patterns.fake_api.build import make_id
from patterns.fake_api.federation import Denied, FederationRule, verified
from patterns.fake_api.wire.answers import json_answer
from patterns.fake_api.wire.errors import APIError, bad
from patterns.fake_api.wire.http import Answer
from patterns.fake_api.wire.jsons import from_bytes, to_bytes
from patterns.fake_api.wire.routes import Call, parse

DEFAULT_WORKSPACE: Final = "wrkspc_01FakeDefaultWorkspace"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REQUIRED: Final = ("grant_type", "assertion", "federation_rule_id", "organization_id")
TOKEN: Final = "sk-ant-oat01-"
INFERENCE: Final = frozenset(("message", "count_tokens", "models", "model"))


@dataclass(frozen=True)
class SignIn:
    """One attempt to exchange an identity token, as the authentication history has it.

    Attributes:
        reason: why it was denied, or None. `match_subject_prefix`, `workspace_id_required` and
            `jti_reused` are the API's own words; the others are ours.
    """

    at: float
    rule: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Token:
    ends: float
    workspace: str
    scopes: frozenset[str]


class Access:
    """The credentials that a fake accepts.

    Args:
        keys: API keys, or a mapping from them to their workspaces; None for all.
        rules: the federation rules.
        seed: changes the access tokens.
    """

    def __init__(
        self, keys: Collection[str] | None, rules: Collection[FederationRule], seed: int
    ) -> None:
        self._workspaces = dict(keys) if isinstance(keys, Mapping) else {}
        self._keys = None if keys is None else frozenset(keys)
        self._rules = {rule.id: rule for rule in rules}
        self._seed = seed
        self._tokens: dict[str, _Token] = {}
        self._used: set[tuple[str, str]] = set()
        self.revoked: set[str] = set()
        self.sign_ins: list[SignIn] = []

    def workspace_of(self, credential: str, handler: str, at: float, *, bearer: bool) -> str | None:
        """The workspace that a credential is bound to, or None.

        Raises:
            APIError: 401 for a credential that is not accepted, or no more; 403 for a token whose
                scope has not got this endpoint.
        """
        if credential in self.revoked:
            raise APIError(401, "the credential was revoked; use another one")
        if self._rules and credential.startswith(TOKEN):
            return self._of_token(self._tokens.get(credential) if bearer else None, handler, at)
        if self._keys is not None and credential not in self._keys:
            raise APIError(401, "invalid x-api-key")
        return self._workspaces.get(credential)

    def _of_token(self, token: _Token | None, handler: str, at: float) -> str:
        if token is None:
            raise APIError(401, "invalid access token; send one of ours as Authorization: Bearer")
        if at >= token.ends:
            raise APIError(401, "the access token has expired; exchange an identity token again")
        allowed = "workspace:developer" in token.scopes or (
            "workspace:inference" in token.scopes and handler in INFERENCE
        )
        if not allowed:
            scopes = " ".join(sorted(token.scopes))
            raise APIError(403, f"the token's scope {scopes!r} does not grant this endpoint")
        return token.workspace

    def exchange(self, call: Call) -> Answer:
        """Answer `POST /v1/oauth/token`.

        Raises:
            APIError: 400 for a request that is not well formed; the same 401 for all others.
        """
        body = _checked(parse(call.request))
        rule = self._rules.get(body["federation_rule_id"])
        if rule is None or rule.id in self.revoked:
            raise APIError(401, "Authentication failed")
        try:
            claims = verified(rule, body["assertion"], call.at)
            workspace = self._granted(rule, claims, body)
        except Denied as denied:
            self.sign_ins.append(SignIn(call.at, rule.id, str(denied)))
            raise APIError(401, "Authentication failed") from None
        self.sign_ins.append(SignIn(call.at, rule.id, None))
        seconds = max(60, min(rule.seconds, int(2 * (claims["exp"] - call.at))))
        token = TOKEN + make_id("oat", self._seed, call.digest, call.ordinal)
        scopes = frozenset(rule.scope.split())
        self._tokens[token] = _Token(call.at + seconds, workspace, scopes)
        granted = {"token_type": "Bearer", "expires_in": seconds, "scope": rule.scope}
        return json_answer({"access_token": token, **granted})

    def _granted(
        self, rule: FederationRule, claims: Mapping[str, Any], body: Mapping[str, Any]
    ) -> str:
        """The workspace of a token for what a rule has verified."""
        if body["organization_id"] != rule.organization_id:
            raise Denied("organization")
        if body.get("service_account_id", rule.service_account_id) != rule.service_account_id:
            raise Denied("service_account")
        named = body.get("workspace_id") or _only(rule.workspaces)
        if named not in rule.workspaces:
            raise Denied("workspace_not_enabled")
        if rule.single_use and "jti" in claims:
            use = (rule.issuer, str(claims["jti"]))
            if use in self._used:
                raise Denied("jti_reused")
            self._used.add(use)
        return DEFAULT_WORKSPACE if named == "default" else named


def _only(workspaces: Sequence[str]) -> str:
    """The workspace where the request names none."""
    if len(workspaces) > 1 and "default" not in workspaces:
        raise Denied("workspace_id_required")
    return "default" if "default" in workspaces else workspaces[0]


def _checked(body: Any) -> Mapping[str, Any]:
    """The request for a token, if it is well formed."""
    if not isinstance(body, dict):
        raise APIError(400, "the body must be a JSON object")
    for name in (*REQUIRED, *body.keys() & {"service_account_id", "workspace_id"}):
        if not isinstance(body.get(name), str) or not body[name]:
            raise bad(name, "a string is required")
    if body["grant_type"] != GRANT:
        raise bad("grant_type", f"only {GRANT} is supported")
    if not re.fullmatch(r"fdrl_[0-9A-Za-z]+", body["federation_rule_id"]):
        raise APIError(400, "federation_rule_id is not a well-formed fdrl_ tagged ID")
    if not re.fullmatch(r"wrkspc_[0-9A-Za-z]+|default", body.get("workspace_id", "default")):
        raise bad("workspace_id", "expected a wrkspc_ tagged ID or 'default'")
    return body


def without_secrets(body: bytes) -> bytes:
    """A request for a token without what it shows; nothing where it is not readable."""
    secret = {"assertion", "refresh_token"}
    try:
        shown = from_bytes(body)
    except (ValueError, RecursionError):
        return b""
    if not isinstance(shown, dict):
        return b""
    return to_bytes({name: shown[name] for name in shown if name not in secret})
