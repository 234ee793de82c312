"""Who is calling us, and what the API may know of it: a pseudonym, nothing else.

For a service that calls Claude on behalf of its own users. `acting_as` puts the caller where the
other policies look for it, for one thread or task; `acting_for` ties it to a client, which holds
where code is interleaved, as in generators. How a caller proves who it is: `bearer`.

Taught in chapter 01.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from anthropic import Anthropic, APIRequest, AsyncAnthropic

from patterns.core.pseudonym import WeakKey as WeakKey
from patterns.core.pseudonym import pseudonym as pseudonym
from patterns.core.pseudonym import strong_key
from patterns.policy.flow import Flow, Policy, PolicyDenied
from patterns.policy.texts import Path, edited
from patterns.policy.view import BATCH, CREATE, view_of, with_body

Client = TypeVar("Client", Anthropic, AsyncAnthropic)


@dataclass(frozen=True)
class Principal:
    """Someone on whose behalf we call Claude: an id within a workspace.

    Attributes:
        id: stable name in our own systems; it never leaves them.
        roles: what the authorization rules go by.
        workspace: our tenant, or None. Equal ids in two workspaces are two principals.
        ip: where the request came from, for the audit log only.
        team: for budgets that a team shares, or None.
    """

    id: str
    roles: frozenset[str] = frozenset()
    workspace: str | None = None
    ip: str | None = None
    team: str | None = None

    @property
    def key(self) -> str:
        """Tenant and id as one string, unambiguous: what budgets and owners are kept under."""
        return f"{len(self.workspace or '')}:{self.workspace or ''}:{self.id}"

    def pseudonym(self, key: str | bytes) -> str:
        """The name under which the API and the audit log know this principal."""
        return _pseudonym(self.id, key, self.workspace or "")


@lru_cache(maxsize=1_000)
def _pseudonym(name: str, key: str | bytes, tenant: str) -> str:
    return pseudonym(name, key, tenant=tenant)


class NoPrincipal(PolicyDenied):
    """Nobody is acting, so nobody may."""

    rule, status = "no-principal", 401

    def __init__(self) -> None:
        super().__init__("no principal is acting; make the call inside `with acting_as(...)`.")


class PrincipalClash(PolicyDenied):
    """Two principals would act at once, as in two interleaved generators of one task."""

    rule, status = "principal-clash", 503

    def __init__(self) -> None:
        super().__init__(
            "another principal is acting here; end its `with` first, or tie each one to a client "
            "with acting_for(client, principal)."
        )


_acting: ContextVar[Principal | None] = ContextVar("principal", default=None)


@contextmanager
def acting_as(principal: Principal) -> Iterator[Principal]:
    """Every call inside the block is made for `principal`, in this thread or task alone.

    Raises:
        PrincipalClash: another principal is acting. A generator that is left in the middle keeps
            its principal acting, and a call must never be made for the wrong one.
    """
    before = _acting.get()
    if before is not None and before != principal:
        raise PrincipalClash
    _acting.set(principal)
    try:
        yield principal
    finally:
        if _acting.get() == principal:
            _acting.set(before)


def current_principal() -> Principal:
    """The principal of the running thread or task.

    Raises:
        NoPrincipal: none was named.
    """
    principal = _acting.get()
    if principal is None:
        raise NoPrincipal
    return principal


class _For(Policy):
    """Names the principal for the time of each call, whoever is acting around it."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    def flow(self, request: APIRequest) -> Flow:
        token = _acting.set(self.principal)
        try:
            return (yield request)
        finally:
            _acting.reset(token)


def acting_for(client: Client, principal: Principal) -> Client:
    """A client whose calls are all made for `principal`: for generators and dependencies."""
    return client.with_options(middleware=[_For(principal), *client.middleware])


class Identify(Policy):
    """Send the principal's pseudonym as `metadata.user_id`, whatever the caller put there."""

    def __init__(self, key: str | bytes) -> None:
        self._key = strong_key(key)

    def flow(self, request: APIRequest) -> Flow:
        view = view_of(request)
        if view.endpoint not in (CREATE, BATCH):
            return (yield request)
        metadata = {"user_id": current_principal().pseudonym(self._key)}
        edits: dict[Path, object] = {(*one.path, "metadata"): metadata for one in view.items}
        body = edited(request.json, edits)  # type: ignore[arg-type]  # the view has checked it
        return (yield with_body(request, body, same_action=True))

    def __repr__(self) -> str:
        return "Identify"
