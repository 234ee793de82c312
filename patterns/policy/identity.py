"""Who is calling us, and what the API may know of it: a pseudonym, nothing else.

For a service that calls Claude on behalf of its own users. `acting_as` puts the caller where the
other policies look for it; tokens and signatures are how a caller proves who it is. Not a login
page, and not for the key that goes to the API: the SDK looks after that one.

Taught in chapter 01.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from anthropic import APIRequest, APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext, Middleware

from patterns.policy.wire import (
    BATCH,
    CREATE,
    PolicyDenied,
    bodies_of,
    edited,
    endpoint_of,
    with_body,
)

SHORTEST_KEY: Final = 32
"""Bytes that a signing key needs at least: the size of a SHA-256 digest (RFC 7518, 3.2)."""


@dataclass(frozen=True)
class Principal:
    """Someone on whose behalf we call Claude.

    Attributes:
        id: stable name in our own systems; it never leaves them.
        roles: what the authorization rules go by.
        workspace: our tenant, or None.
        ip: where the request came from, for the audit log only.
    """

    id: str
    roles: frozenset[str] = frozenset()
    workspace: str | None = None
    ip: str | None = None


class NoPrincipal(PolicyDenied):
    """Nobody is acting, so nobody may."""

    rule = "no-principal"

    def __init__(self) -> None:
        super().__init__("no principal is acting; make the call inside `with acting_as(...)`.")


class BadToken(PolicyDenied):
    """A bearer token that is not accepted; `reason` is a class name, never the token."""

    rule = "bad-token"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the bearer token is not accepted ({reason}); ask for a new one.")


class BadSignature(PolicyDenied):
    """A request of one of our callers that is not signed as agreed."""

    rule = "bad-signature"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the request signature is {reason}; sign it again with the shared key.")


class WeakKey(ValueError):
    """A key that is too short to sign with."""

    def __init__(self, length: int) -> None:
        super().__init__(
            f"the key has {length} bytes, at least {SHORTEST_KEY} are needed; "
            "take one from secrets.token_bytes(32)."
        )


_acting: ContextVar[Principal | None] = ContextVar("principal", default=None)


@contextmanager
def acting_as(principal: Principal) -> Iterator[Principal]:
    """Every call inside the block is made for `principal`, in this thread or task alone."""
    token = _acting.set(principal)
    try:
        yield principal
    finally:
        _acting.reset(token)


def current_principal() -> Principal:
    """The principal of the running thread or task.

    Raises:
        NoPrincipal: none was named.
    """
    principal = _acting.get()
    if principal is None:
        raise NoPrincipal
    return principal


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
        _strong(key)
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


@lru_cache(maxsize=8_192)
def pseudonym(user_id: str, key: str | bytes) -> str:
    """A name for `user_id` that is stable, opaque, and meaningless without the key.

    An HMAC, because a plain hash of an e-mail address is undone with a list of addresses.

    Raises:
        WeakKey: a key under 32 bytes; there is no default.
    """
    digest = hmac.new(_strong(key), user_id.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"user_{digest.hexdigest()[:32]}"


def sign_request(key: str | bytes, method: str, path: str, body: bytes, at: int) -> str:
    """The header value with which one of our callers signs a request.

    `at` is the caller's time in whole seconds since 1970.
    """
    content = hashlib.sha256(body).hexdigest()
    signed = "\n".join((str(at), method.upper(), path, content)).encode()
    return f"t={at},v1={hmac.new(_strong(key), signed, hashlib.sha256).hexdigest()}"


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


def _strong(key: str | bytes) -> bytes:
    if len(_bytes(key)) < SHORTEST_KEY:
        raise WeakKey(len(_bytes(key)))
    return _bytes(key)


class Identify(Middleware):
    """Send the principal's pseudonym as `metadata.user_id`, whatever the caller put there."""

    def __init__(self, key: str | bytes) -> None:
        self._key = _strong(key)

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        return call_next(self._identified(request))

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        return await call_next(self._identified(request))

    def _identified(self, request: APIRequest) -> APIRequest:
        if endpoint_of(request) not in (CREATE, BATCH):
            return request
        metadata = {"user_id": pseudonym(current_principal().id, self._key)}
        edits = {(*path, "metadata"): metadata for path, _ in bodies_of(request)}
        assert isinstance(request.json, Mapping)  # bodies_of has refused anything else
        return with_body(request, edited(request.json, edits))

    def __repr__(self) -> str:
        return "Identify"
