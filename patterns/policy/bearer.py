"""How a caller of your service proves who it is: a bearer token, or a signed request.

Not a login page, and not for the key that goes to the API: the SDK looks after that one. Needs
PyJWT for tokens.

Taught in chapter 01.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from patterns.core.pseudonym import strong_key
from patterns.policy.flow import PolicyDenied
from patterns.policy.identity import Principal


class BadToken(PolicyDenied):
    """A bearer token that is not accepted; `reason` is a class name, never the token."""

    rule, status = "bad-token", 401

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the bearer token is not accepted ({reason}); ask for a new one.")


class BadSignature(PolicyDenied):
    """A request of one of our callers that is not signed as agreed."""

    rule, status = "bad-signature", 401

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the request signature is {reason}; sign it again with the shared key.")


def verify_token(
    token: str, key: str | bytes, *, audience: str, algorithm: str = "HS256", leeway: float = 0
) -> Principal:
    """The principal that a signed bearer token of ours names.

    Claims read: `sub`, `roles` (list of strings), `workspace`; `exp` and `aud` are required too.
    One algorithm is fixed by us; what the token says about it never counts.

    Raises:
        BadToken: forged, expired, meant for another audience, or malformed.
        WeakKey: a shared key under 32 bytes.
    """
    import jwt

    if algorithm.startswith("HS"):
        strong_key(key)
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            leeway=leeway,
            options={"require": ["exp", "sub", "aud"]},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise BadToken(type(error).__name__) from None
    return _principal(claims)


def _principal(claims: Mapping[str, Any]) -> Principal:
    roles, workspace = claims.get("roles", []), claims.get("workspace")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise BadToken("RolesNotAList")
    if not claims["sub"] or not isinstance(workspace, str | None):
        raise BadToken("MalformedClaims")
    return Principal(claims["sub"], frozenset(roles), workspace)


def sign_request(key: str | bytes, method: str, path: str, body: bytes, at: int) -> str:
    """The header value with which one of our callers signs a request.

    `at` is the caller's time in whole seconds since 1970.
    """
    content = hashlib.sha256(body).hexdigest()
    signed = "\n".join((str(at), method.upper(), path, content)).encode()
    return f"t={at},v1={hmac.new(strong_key(key), signed, hashlib.sha256).hexdigest()}"


def verify_signature(
    header: str,
    key: str | bytes,
    method: str,
    path: str,
    body: bytes,
    *,
    now: float,
    age: int = 300,
) -> None:
    """Accept a request only if it was signed with our key, at most `age` seconds before `now`.

    Within that window a captured request can be sent again: make its effect idempotent.

    Raises:
        BadSignature: malformed, too old or from the future, or not signed with this key.
    """
    stamp = header.removeprefix("t=").partition(",")[0]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadSignature("malformed")
    if abs(now - int(stamp)) > age:
        raise BadSignature(f"more than {age} s old or ahead")
    if not same_secret(header, sign_request(key, method, path, body, int(stamp))):
        raise BadSignature("wrong")


def same_secret(given: str | bytes, expected: str | bytes) -> bool:
    """Compare two secrets in a time that does not say where, or in which length, they differ."""
    return hmac.compare_digest(
        hashlib.sha256(_bytes(given)).digest(), hashlib.sha256(_bytes(expected)).digest()
    )


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
