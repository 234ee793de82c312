"""Whose identity tokens may act as a service account: federation rules, and what they verify.

Where a platform (Kubernetes, a cloud, a CI system) signs an identity token for each workload, a
service needs no API key. `patterns.fake_api.sign_in` exchanges such a token for an access token.

Source: manage-claude/wif-reference, August 2026, and the Admin API's pages on federation rules and
issuers. Needs PyJWT with cryptography (`pyjwt[crypto]`).

Used by chapter 01.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

ORGANIZATION: Final = "00000000-0000-4000-8000-00000000fa4e"
"""The organisation that every response names."""
AUDIENCE: Final = "https://api.anthropic.com"
ALGORITHMS: Final = [f"{family}{size}" for family in ("ES", "RS", "PS") for size in (256, 384, 512)]
MOST_ASSERTION_BYTES: Final = 16 * 1024
LEEWAY: Final = 30
"""Seconds by which the clocks may differ."""
CLAIMS: Final = ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
UNCHECKED: Final[Any] = {f"verify_{claim}": False for claim in CLAIMS}
"""PyJWT compares times with the machine's clock; here the fake's counts."""


@dataclass(frozen=True, kw_only=True)
class FederationRule:
    """Which identity tokens may act as a service account, and for how long.

    Attributes:
        issuer: the exact `iss`.
        keys: the issuer's public keys by `kid`, as PEM or as objects of `cryptography`.
        subject: the exact `sub`; with `*` at its end, what it begins with.
        audience: what `aud` must hold.
        claims: further claims and their exact values.
        workspaces: where the rule is enabled; `"default"` is the default workspace.
        scope: of the access token, such as `workspace:developer` or `workspace:inference`.
        seconds: the access token's lifetime, 60 to 86,400.
        most_seconds: the longest lifetime of an identity token.
        single_use: whether an identity token with a `jti` is taken once only.

    Raises:
        ValueError: the lifetime is out of range, or the rule would take every token.
    """

    issuer: str
    keys: Mapping[str, Any] = field(repr=False)
    subject: str
    audience: str = AUDIENCE
    claims: Mapping[str, str] = field(default_factory=dict)
    id: str = "fdrl_01FakeRule"
    service_account_id: str = "svac_01FakeServiceAccount"
    organization_id: str = ORGANIZATION
    workspaces: Sequence[str] = ("default",)
    scope: str = "workspace:developer"
    seconds: int = 3_600
    most_seconds: int = 3_600
    single_use: bool = True

    def __post_init__(self) -> None:
        if not 60 <= self.seconds <= 86_400:
            raise ValueError(f"a token lives 60 to 86400 s, not {self.seconds}.")
        if self.subject.strip("*") == "" and not self.claims:
            raise ValueError(f"subject {self.subject!r} takes every token; name one, or claims.")


class Denied(Exception):
    """Stays inside: the caller learns that it was denied, and never why."""


def verified(rule: FederationRule, assertion: str, now: float) -> Mapping[str, Any]:
    """The claims of an identity token that a rule accepts."""
    import jwt

    if len(assertion.encode("utf-8", "replace")) > MOST_ASSERTION_BYTES:
        raise Denied("too_large")
    try:
        key = rule.keys.get(jwt.get_unverified_header(assertion).get("kid", ""))
        if key is None:
            raise Denied("unknown_kid")
        claims = jwt.decode(assertion, key, algorithms=ALGORITHMS, options=UNCHECKED)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise Denied("signature") from None
    if problem := _mismatch(rule, claims) or _untimely(rule, claims, now):
        raise Denied(problem)
    return claims


def _mismatch(rule: FederationRule, claims: Mapping[str, Any]) -> str | None:
    """Which of the rule's conditions does not hold."""
    subject, audience = claims.get("sub"), claims.get("aud")
    if claims.get("iss") != rule.issuer:
        return "issuer"
    if not isinstance(subject, str) or not subject or not _fits(subject, rule.subject):
        return "match_subject_prefix"
    if rule.audience not in (audience if isinstance(audience, list) else [audience]):
        return "match_audience"
    if any(claims.get(name) != value for name, value in rule.claims.items()):
        return "match_claims"
    return None


def _fits(subject: str, wanted: str) -> bool:
    return subject.startswith(wanted[:-1]) if wanted.endswith("*") else subject == wanted


def _untimely(rule: FederationRule, claims: Mapping[str, Any], now: float) -> str | None:
    """Whether an identity token is no more, not yet, or too long valid."""
    times: list[Any] = [claims.get("iat"), claims.get("exp"), claims.get("nbf", 0)]
    if not all(map(_is_time, times)):
        return "times"
    begins, ends, not_before = times
    if ends + LEEWAY <= now:
        return "expired"
    if max(begins, not_before) - LEEWAY > now:
        return "not_yet_valid"
    return "lifetime" if ends - begins > rule.most_seconds else None


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
