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
from patterns.policy.responses import (
    How,
    Lines,
    event_of,
    http_of,
    is_open,
    json_of,
    through,
    whole,
)
from patterns.policy.view import CREATE, RESULTS, View, view_of

_FREE: Final = ("models", "organizations")
"""Families whose ids belong to the account."""
_MADE: Final = ("id", "container_id", "file_id")


class NotOwner(PolicyDenied):
    """An id that this principal did not get from the API.

    Attributes:
        name: the id.
    """

    rule = "not-owner"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name[:80]} is not this principal's; use an id that it was given.")


def by_principal() -> str:
    """Each principal owns what it made. For a whole workspace: `current_principal().workspace`."""
    return current_principal().key


class Ownership(Policy):
    """Record who made an id, and let nobody else use it.

    Args:
        store: of the limiter, or another `Store`.
        owner: who owns what is made now: a principal, or its workspace.
    """

    def __init__(self, store: Store, owner: Callable[[], str] = by_principal) -> None:
        self._store, self._owner = store, owner

    def flow(self, request: APIRequest) -> Flow:
        view, owner, store = view_of(request), self._owner(), self._store
        for name in _used(view, request):
            found = yield Do(
                lambda name=name: store.owner(name),  # type: ignore[misc]
                lambda name=name: store.owner_async(name),  # type: ignore[misc]
            )
            if found != owner:
                raise NotOwner(name)
        response = yield request
        yield from whole(response)
        if not http_of(response).is_success or view.endpoint == RESULTS:
            return response
        if is_open(response):
            return through(response, _Ids(store, owner)) if view.endpoint == CREATE else response
        for name in _made(json_of(response) or {}):
            yield self._claim(name, owner)
        return response

    def _claim(self, name: str, owner: str) -> Do:
        store = self._store
        return Do(lambda: store.claim(name, owner), lambda: store.claim_async(name, owner))

    def __repr__(self) -> str:
        return "Ownership"


def _used(view: View, request: APIRequest) -> Iterator[str]:
    """The ids that a request names: in its path, its files, container and thread."""
    method, _, path = request.method.upper(), "", request.url.partition("?")[0]
    pieces = path.split("/")[2:]
    if pieces[0] in _FREE:
        return
    ids = pieces[2::2] if pieces[:2] == ["messages", "batches"] else pieces[1::2]
    yield from (one for one in ids if "_" in one and one != "count_tokens")
    if method == "GET" and not ids:
        yield f"list of {path}"
    for item in view.items:
        yield from item.texts.files
        yield from _named(item.body)


def _named(body: Mapping[str, Any]) -> Iterator[str]:
    container, thread = body.get("container"), body.get("thread")
    for holder, key in ((container, "id"), (thread, "previous_message_id")):
        if isinstance(holder, str):
            yield holder
        elif isinstance(holder, Mapping) and holder.get(key) is not None:
            yield str(holder[key])
    for key in ("agent", "agent_id", "environment_id", "session_id", "vault_ids", "deployment_id"):
        value = body.get(key)
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Mapping):
                one = one.get("id")
            if isinstance(one, str):
                yield one


def _made(payload: Mapping[str, Any]) -> Iterator[str]:
    """The ids that an answer gives out: its own, its container's, and those of files it made."""
    if isinstance(payload.get("id"), str):
        yield payload["id"]
    if isinstance(payload.get("container"), Mapping):
        yield str(payload["container"].get("id"))
    yield from _files(payload.get("content"))


def _files(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("file_id"), str):
            yield value["file_id"]
        for one in value.values():
            yield from _files(one)
    elif isinstance(value, list):
        for one in value:
            yield from _files(one)


class _Ids:
    """A stream that passes unchanged, and whose ids are claimed when it is over."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store, self._owner, self._lines = store, owner, Lines()
        self._names: list[str] = []

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        for line in self._lines.feed(chunk):
            if b"_id" in line or b"message" in line or b"container" in line:
                event = event_of(line) or {}
                self._names += _made(event.get("message") or {})
                self._names += _made(event.get("delta") or {})
                self._names += _files(event.get("content_block"))
        return chunk

    def end(self) -> bytes:
        """What remains after the last chunk."""
        return b""

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
        """Reading is over; called once or more."""
        names, self._names = self._names, []
        if not names or how == "dropped":
            return None
        store, owner = self._store, self._owner

        def sync() -> None:
            for name in names:
                store.claim(name, owner)

        async def other() -> None:
            for name in names:
                await store.claim_async(name, owner)

        return Do(sync, other)
