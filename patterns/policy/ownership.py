"""What one principal made, no other may use: ids of batches, files, threads and containers.

For services in which several tenants share an API key: the API knows one organisation, and takes
any of its ids from anyone. An id is recorded when the API gives it out and checked when it comes
back, in the store that the limiter uses; one that nobody is known to own is denied, and so is a
list of everybody's.

Taught in chapter 01.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from anthropic import APIRequest

from patterns.policy.budgets import Store
from patterns.policy.flow import Do, Flow, Policy, PolicyDenied
from patterns.policy.identity import current_principal
from patterns.policy.responses import Ending, ended, files_of
from patterns.policy.texts import named
from patterns.policy.view import BATCH, COUNT, CREATE, View, view_of

_FREE: Final = ("models", "organizations")
"""Families whose ids belong to the account."""


_IDS: Final = (
    *("agent", "agent_id", "container", "deployment_id", "environment_id", "memory_store_id"),
    *("previous_message_id", "session_id", "skill_id", "vault_id", "vault_ids"),
)
"""Fields that hold an id; those of files are among the texts of a request."""


class NotOwner(PolicyDenied):
    """An id that this principal did not get from the API.

    Attributes:
        name: the id.
    """

    rule = "not-owner"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name[:80]} is not this principal's; use an id that it was given.")


class Ownership(Policy):
    """Record who made an id, and let nobody else use it.

    Args:
        store: of the limiter, or another `Store`.
        owner: who owns what is made now: a principal, or with
            `lambda: current_principal().workspace` all of a workspace.
    """

    def __init__(
        self, store: Store, owner: Callable[[], str] = lambda: current_principal().key
    ) -> None:
        self._store, self._owner = store, owner

    def flow(self, request: APIRequest) -> Flow:
        view, owner, store = view_of(request), self._owner(), self._store
        used = list(_used(view, request))
        if used:
            owners = yield Do(lambda: store.owners(used))
            for name, found in zip(used, owners, strict=True):
                if found != owner:
                    raise NotOwner(name)
        response = yield request

        def done(ending: Ending) -> Do | None:
            made = [*_made(ending.message), *ending.files]
            return Do(lambda: store.claim(made, owner)) if made else None

        return (yield from ended(response, done))

    def __repr__(self) -> str:
        return "Ownership"


def _used(view: View, request: APIRequest) -> Iterator[str]:
    """The ids that a request names: in its path, its files, container and thread."""
    path = request.url.partition("?")[0]
    pieces = path.split("/")[2:]
    if pieces[0] in _FREE:
        return
    ids = pieces[2::2] if pieces[:2] == ["messages", "batches"] else pieces[1::2]
    yield from (one for one in ids if "_" in one and one != "count_tokens")
    if request.method.upper() == "GET" and not ids:
        yield f"list of {path}"
    for item in view.items:
        yield from item.texts.files
        ours = {key: item.body.get(key) for key in ("container", "thread")}
        yield from _named(ours if view.endpoint in (CREATE, COUNT, BATCH) else item.body)


def _named(body: Mapping[str, Any]) -> Iterator[str]:
    for _, value in named(body, *_IDS):
        for one in value if isinstance(value, list | tuple) else [value]:
            name = one.get("id") if isinstance(one, Mapping) else one
            if isinstance(name, str) and "_" in name:  # a skill of the API's own is `pptx`
                yield name


def _made(payload: Mapping[str, Any]) -> Iterator[str]:
    """The ids that an answer gives out: its own, its container's, and those of files it made."""
    if isinstance(payload.get("id"), str):
        yield payload["id"]
    if isinstance(payload.get("container"), Mapping):
        yield str(payload["container"].get("id"))
    yield from files_of(payload.get("content"))
