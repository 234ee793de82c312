"""What a policy needs to know about a request: which call it is, and every text it carries.

The shared floor of this folder. Every policy acts on `messages.create`, `count_tokens` and each
item of a batch, so the reading of requests stands here once.

Taught in chapter 01.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from anthropic import APIRequest

Json = Mapping[str, Any]
_OBJECT: Final = (dict, Mapping)
"""Asking for the abstract class alone is five times as slow, and every body is asked often."""
Path = tuple[str | int, ...]


CREATE: Final = "messages.create"
COUNT: Final = "messages.count_tokens"
BATCH: Final = "messages.batches.create"
RESULTS: Final = "messages.batches.results"

_POSTS: Final = {
    "/v1/messages": CREATE,
    "/v1/messages/count_tokens": COUNT,
    "/v1/messages/batches": BATCH,
}

SEALED: Final = frozenset(("thinking", "redacted_thinking", "compaction"))
"""Blocks that must go back to the API as they came: a changed one breaks its signature."""

_NOT_TEXT: Final = frozenset(
    ("type", "id", "role", "name", "model", "media_type", "stop_reason", "cache_control")
) | frozenset(
    ("tool_use_id", "custom_id", "file_id", "signature", "encrypted_content", "encrypted_index")
)
_FREE_FORM: Final = frozenset(("input", "input_schema", "metadata", "output_config"))
_LONG_NUMBER: Final = 10**8


class PolicyDenied(Exception):
    """A policy said no. Nothing of the call was sent, and the SDK does not retry it.

    Attributes:
        rule: short name of the rule that denied; it is what the audit log records.
    """

    rule = "policy"


class NotReadable(PolicyDenied):
    """The request has a body that no policy can read, so none can allow it."""

    rule = "unreadable-body"


@dataclass(frozen=True, slots=True)
class Slot:
    """One string of a request, and where it stands."""

    path: Path
    text: str


Run = list[Slot]
"""Strings that the model reads as one text: neighbouring text blocks and turns of one role."""


def endpoint_of(request: APIRequest) -> str:
    """`messages.create` and its kin, or `"METHOD /path"` for whatever else is asked."""
    return _endpoint(request.method.upper(), request.url)


@lru_cache(maxsize=1_024)
def _endpoint(method: str, url: str) -> str:
    path = urlsplit(url).path
    if method == "POST" and path in _POSTS:
        return _POSTS[path]
    if method == "GET" and path.startswith("/v1/messages/batches/") and path.endswith("/results"):
        return RESULTS
    return f"{method} {path}"


def with_body(request: APIRequest, body: Json) -> APIRequest:
    """The same request with another body; `request.copy` would copy the old one in depth first."""
    return APIRequest(
        options=request.options.model_copy(update={"json_data": body}),
        cast_to=request.cast_to,
        stream=request.stream,
        stream_cls=request.stream_cls,
        retries_taken=request.retries_taken,
    )


def bodies_of(request: APIRequest) -> list[tuple[Path, Json]]:
    """Every message body of the request with its path in the JSON: one, or one per batch item.

    A call that is unknown here but has a JSON body gives that body, so that it is read too.

    Raises:
        NotReadable: the body is not a JSON object, is raw bytes or files, or a batch without items.
    """
    body = request.json
    if request.options.content is not None or request.options.files is not None:
        raise NotReadable(f"{endpoint_of(request)} carries raw bytes or files; send it as JSON.")
    if body is None:
        return []
    if not isinstance(body, _OBJECT):
        raise NotReadable(
            f"the body of {endpoint_of(request)} is {type(body).__name__}, not an object; fix it."
        )
    return _items(body) if endpoint_of(request) == BATCH else [((), body)]


def _items(body: Json) -> list[tuple[Path, Json]]:
    requests = body.get("requests")
    if not isinstance(requests, Sequence) or not requests:
        raise NotReadable("the batch has no list of requests; add at least one item.")
    found: list[tuple[Path, Json]] = []
    for index, item in enumerate(requests):
        if not isinstance(item, Mapping) or not isinstance(item.get("params"), Mapping):
            raise NotReadable(f"batch item {index} has no params object; give it one.")
        found.append((("requests", index, "params"), item["params"]))
    return found


def call_id(request: APIRequest) -> str:
    """What names this call: the same for each of its attempts, different for every call."""
    return request.options.idempotency_key or f"get-{secrets.token_hex(16)}"


def texts_of(body: Json) -> list[Run]:
    """Every text of a Messages body (or of a response), grouped as the model reads it.

    Covers `system`, all turns, text blocks, tool results, text documents, tool descriptions, and
    strings and long numbers inside tool input. Leaves out base64 data and thinking blocks.
    """
    walk = _Walk()
    walk.body(body)
    return [run for run in walk.runs if run]


class _Walk:
    def __init__(self) -> None:
        self.runs: list[Run] = []

    def body(self, body: Json) -> None:
        for key, value in body.items():
            if key in _NOT_TEXT:
                continue
            if key == "messages" and isinstance(value, list):
                self._turns(value)
            elif key in ("system", "content"):
                self._content(value, (key,), self._new_run())
            else:
                self._any(value, (key,), free=key in _FREE_FORM)

    def _turns(self, turns: list[Any]) -> None:
        role, run = None, self._new_run()
        for index, turn in enumerate(turns):
            if not isinstance(turn, _OBJECT):
                continue
            if turn.get("role") != role:
                role, run = turn.get("role"), self._new_run()
            self._content(turn.get("content"), ("messages", index, "content"), run)

    def _new_run(self) -> Run:
        self.runs.append([])
        return self.runs[-1]

    def _content(self, value: Any, path: Path, run: Run) -> None:
        if isinstance(value, str):
            run.append(Slot(path, value))
        elif isinstance(value, list):
            for index, block in enumerate(value):
                self._block(block, (*path, index), run)
        else:
            self._any(value, path)

    def _block(self, block: Any, path: Path, run: Run) -> None:
        if isinstance(block, _OBJECT) and block.get("type") == "text":
            if isinstance(block.get("text"), str):
                run.append(Slot((*path, "text"), block["text"]))
            self._any({key: value for key, value in block.items() if key != "text"}, path)
        else:
            self._any(block, path)

    def _any(self, value: Any, path: Path, *, free: bool = False) -> None:
        if isinstance(value, str):
            self.runs.append([Slot(path, value)])
        elif isinstance(value, int) and abs(value) >= _LONG_NUMBER:
            self.runs.append([Slot(path, str(value))])
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._any(item, (*path, index), free=free)
        elif isinstance(value, _OBJECT):
            self._mapping(value, path, free=free)

    def _mapping(self, value: Json, path: Path, *, free: bool) -> None:
        kind = None if free else value.get("type")
        if isinstance(kind, str) and kind in SEALED:
            return
        for key, item in value.items():
            if free or key in _FREE_FORM:
                self._any(item, (*path, key), free=True)
            elif key == "content":
                self._content(item, (*path, key), self._new_run())
            elif key not in _NOT_TEXT and not (key == "data" and kind == "base64"):
                self._any(item, (*path, key))


def edited(body: Json, edits: Mapping[Path, Any]) -> dict[str, Any]:
    """A copy of `body` with other values at some paths; what is not on a path is shared."""
    fresh: dict[str, Any] = dict(body)
    copies: dict[Path, Any] = {}
    for path, value in edits.items():
        node: Any = fresh
        for depth, step in enumerate(path[:-1], start=1):
            if path[:depth] not in copies:
                child = node[step]
                copies[path[:depth]] = dict(child) if isinstance(child, Mapping) else list(child)
                node[step] = copies[path[:depth]]
            node = copies[path[:depth]]
        node[path[-1]] = value
    return fresh


_notes: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)


@contextmanager
def noting() -> Iterator[dict[str, Any]]:
    """Collect what the policies of one call have to say to the audit log."""
    notes: dict[str, Any] = {}
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def notes() -> dict[str, Any] | None:
    """The notes of the running call; None when nobody keeps them."""
    return _notes.get()


def note(key: str, value: Any) -> None:
    """Say something about the running call to its audit row; never put prompt text in it."""
    kept = _notes.get()
    if kept is not None:
        kept[key] = value
