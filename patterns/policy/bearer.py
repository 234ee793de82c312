"""How a caller of your service proves who it is: a bearer token.

Not a login page, and not for the key that goes to the API: the SDK looks after that one. Needs
PyJWT.

Taught in chapter 01.
"""

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


def verify_token(
    token: str, key: str | bytes, *, audience: str, algorithm: str = "HS256"
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
