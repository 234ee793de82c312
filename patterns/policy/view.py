"""What a request would do, read once and checked: the one view that every policy goes by.

Which endpoint, which models may answer, how much output, which tools, what costs extra, whose ids.
What cannot be read is denied, since a rule on a field that is not what it seems is no rule: a
`max_tokens` of `"64000"`, a path with two slashes, another host.

Taught in chapter 01.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from functools import lru_cache, reduce
from operator import getitem
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from anthropic import APIRequest

from patterns.policy.texts import Json, NotReadable, Path, Slot, Texts, named

CREATE: Final = "messages.create"
COUNT: Final = "messages.count_tokens"
BATCH: Final = "messages.batches.create"
RESULTS: Final = "messages.batches.results"

_NAMED: Final = {
    "POST /v1/messages": CREATE,
    "POST /v1/messages/count_tokens": COUNT,
    "POST /v1/messages/batches": BATCH,
    "GET /v1/messages/batches": "messages.batches.list",
    "GET /v1/messages/batches/*": "messages.batches.retrieve",
    "DELETE /v1/messages/batches/*": "messages.batches.delete",
    "POST /v1/messages/batches/*/cancel": "messages.batches.cancel",
    "GET /v1/messages/batches/*/results": RESULTS,
}
_FAMILIES: Final = frozenset(
    ("messages", "models", "files", "skills", "agents", "environments", "sessions")
) | frozenset(
    ("deployments", "deployment_runs", "dreams", "memory_stores", "vaults", "tunnels")
) | frozenset(("user_profiles", "organizations", "compliance"))  # fmt: skip
"""First parts of the paths that the SDK knows; what begins otherwise is denied until it is here."""

_PATH: Final = re.compile(r"/v1(?:/[A-Za-z0-9_~:@-][A-Za-z0-9_.~:@-]*)+\Z")
_API_HOST: Final = ("https", "api.anthropic.com")
_PLAIN: Final = {"speed": "standard", "service_tier": "auto"}
"""What a setting is when a request is silent about it; otherwise it counts as empty."""
SETTINGS: Final = (
    *("speed", "service_tier", "inference_geo", "billing_policy", "user_profile_id"),
    *("workspace_id", "fallback_credit_token"),
)
UNKNOWN: Final = "?"
"""Stands for a model or a tool that the request does not show; only a rule for `*` covers it."""


_NAMES: Final = ("mcp_server_name", "server_name", "name")
"""What a tool is named by, the first that it has: those of a remote server by the server."""


class Action(NamedTuple):
    """What somebody wants to do, as far as a rule can see it.

    Attributes:
        name: `messages.create`, `messages.batches.create` and kin, or `"METHOD /path"`.
        models: every model that may answer: the one asked for, fallbacks, and models of tools.
        max_tokens: the output the call may produce, None where the endpoint has none.
        tools: names of the tools offered; those of a remote server as `mcp:<server>`, skills as
            `skill:<id>`, and `?` where they are not in the request, as in a continued thread.
        item: the `custom_id` of a batch item, else None.
        settings: what costs extra or says where it runs: `speed`, `service_tier`,
            `inference_geo` and what else of `SETTINGS` was given.
        images, documents: how many are attached.
        items: how many items the batch has; 1 for a single call.
        unbounded: it may run models, and the request does not say for how much.
    """

    name: str
    models: tuple[str, ...] = ()
    max_tokens: int | None = None
    tools: tuple[str, ...] = ()
    item: str | None = None
    settings: Mapping[str, str] = MappingProxyType({})
    images: int = 0
    documents: int = 0
    items: int = 1
    unbounded: bool = False


class Item(NamedTuple):
    """One message body of a request: the call itself, or an item of a batch."""

    path: Path
    body: Json
    action: Action
    texts: Texts


def endpoint_of(request: APIRequest) -> str:
    """`messages.create` and its kin, or `"METHOD /path"` for whatever else the SDK calls.

    Raises:
        NotReadable: another host, a path that is not written plainly, or one nobody knows.
    """
    return _endpoint(request.method.upper(), request.url)


@lru_cache(maxsize=1_024)
def _endpoint(method: str, url: str) -> str:
    parts = urlsplit(url)
    foreign = (parts.scheme or parts.netloc) and (parts.scheme, parts.netloc) != _API_HOST
    if foreign or not _PATH.match(parts.path) or parts.path.split("/")[2] not in _FAMILIES:
        raise NotReadable(
            f"{method} {parts.path[:80]!r} is no endpoint of the API that policies know; "
            "call it as the SDK does."
        )
    pieces = parts.path.split("/")
    if pieces[2:4] == ["messages", "batches"] and len(pieces) > 4:
        pieces[4] = "*"
    return _NAMED.get(f"{method} {'/'.join(pieces)}", f"{method} {parts.path}")


def runs_models(endpoint: str) -> bool:
    """Whether the call may spend tokens or give power; what is not known to be harmless may."""
    return endpoint in (CREATE, COUNT, BATCH) or endpoint.startswith(("POST ", "PUT ", "PATCH "))


class View:
    """A request as policies see it; `view_of` makes it once per body.

    Attributes:
        endpoint: see `endpoint_of`.
        items: the message bodies with what they would do; empty for calls without a body.
    """

    def __init__(self, endpoint: str, items: list[Item]) -> None:
        self.endpoint, self.items = endpoint, items

    @property
    def body(self) -> Json:
        """The message body of a single call; empty for batches and whatever else has none."""
        return self.items[0].body if self.items and not self.items[0].path else {}

    @property
    def actions(self) -> list[Action]:
        """What the request would do: one action, or one per batch item."""
        return [one.action for one in self.items] or [_other(self.endpoint, {})]


def _items(request: APIRequest, endpoint: str) -> list[Item]:
    body = request.json
    if request.options.content is not None or request.options.files is not None:
        raise NotReadable(f"{endpoint} carries raw bytes or files; send it as JSON.")
    if body is None:
        if endpoint in (CREATE, COUNT, BATCH):
            raise NotReadable(f"{endpoint} has no body; give it one.")
        return []
    if not isinstance(body, Mapping):
        raise NotReadable(f"the body of {endpoint} is no JSON object; fix it.")
    if endpoint == BATCH:
        return _batch(body)
    texts = Texts(body)
    return [Item((), body, _action(endpoint, body, texts), texts)]


_OURS: Final = re.compile(
    r"(?:x-stainless-.*|anthropic-.*|authorization|x-api-key|idempotency-key|accept|user-agent"
    r"|content-type|traceparent|tracestate|baggage|before_id|after_id|limit|page|beta)\Z",
    re.IGNORECASE,
)


def outside(request: APIRequest) -> Iterator[Slot]:
    """Texts beside the body: of headers and query parameters that the caller added."""
    for pairs in (request.headers or {}, request.options.params or {}):
        for key, value in pairs.items():
            if not _OURS.match(key):
                yield Slot((), str(value), label=key, kind="fixed")


_KEPT: Final = "_view"


def view_of(request: APIRequest) -> View:
    """The view of a request, made once for each body.

    Raises:
        NotReadable: the request is not what it seems; see the message.
    """
    kept = request.__dict__.get(_KEPT)
    if kept is None or kept[0] is not request.json:
        endpoint = endpoint_of(request)
        kept = request.json, View(endpoint, _items(request, endpoint))
        request.__dict__[_KEPT] = kept
    view: View = kept[1]
    return view


def with_body(request: APIRequest, body: Json, *, same_action: bool = False) -> APIRequest:
    """The same request with another body; `request.copy` would copy the old one in depth first.

    `same_action` spares a second look at a body that wants the same in other words; its view
    keeps the texts that were read at first.
    """
    fresh = APIRequest(
        options=request.options.model_copy(update={"json_data": body}),
        cast_to=request.cast_to,
        stream=request.stream,
        stream_cls=request.stream_cls,
        retries_taken=request.retries_taken,
    )
    if same_action:
        view = view_of(request)
        items = [one._replace(body=_at(body, *one.path)) for one in view.items]
        fresh.__dict__[_KEPT] = (body, View(view.endpoint, items))
    return fresh


def _at(body: Any, *path: Any) -> Json:
    return reduce(getitem, path, body)


def call_id(request: APIRequest) -> str:
    """What names this call: the same for each of its attempts, different for every call."""
    return request.options.idempotency_key or f"get-{secrets.token_hex(16)}"


def _batch(body: Json) -> list[Item]:
    requests = body.get("requests")
    if not isinstance(requests, list | tuple) or not requests:
        raise NotReadable("the batch has no list of requests; add at least one item.")
    found: list[Item] = []
    for index, item in enumerate(requests):
        if not isinstance(item, Mapping) or not isinstance(item.get("params"), Mapping):
            raise NotReadable(f"batch item {index} has no params object; give it one.")
        name, params = item.get("custom_id"), item["params"]
        if not isinstance(name, str):
            raise NotReadable(f"batch item {index} has no custom_id; give it a string.")
        texts = Texts(params)
        texts.runs.append([Slot((), name, kind="fixed")])
        action = _action(BATCH, params, texts, name, len(requests))
        found.append(Item(("requests", index, "params"), params, action, texts))
    return found


def _action(name: str, body: Json, texts: Texts, item: str | None = None, items: int = 1) -> Action:
    if name not in (CREATE, COUNT, BATCH):
        return _other(name, body)
    offered = _offered(body, texts)
    bodies = (body, *_objects(body, "fallbacks"))
    caps = [_cap(one, name != COUNT and one is body) for one in bodies]
    return Action(
        name,
        tuple(_models(body, offered)),
        max((cap for cap in caps if cap is not None), default=None),
        tuple(_tools(body, offered)),
        item,
        _settings(body),
        texts.images,
        texts.documents,
        items,
    )


def _other(name: str, body: Json) -> Action:
    """A call of another kind: what it may run is in the request only as far as it names models."""
    if not runs_models(name):
        return Action(name)
    models = sorted({_model(value) for _, value in named(body, "model")}) or [UNKNOWN]
    most, settings = _cap(body, False), _settings(body)
    return Action(name, tuple(models), most, (UNKNOWN,), None, settings, unbounded=True)


def _model(value: Any) -> str:
    found = value.get("id") if isinstance(value, Mapping) else value
    return found if isinstance(found, str) else UNKNOWN


def _cap(body: Json, needed: bool) -> int | None:
    value = body.get("max_tokens")
    if value is None and not needed:
        return None
    if type(value) is not int or value < 0:
        raise NotReadable(f"max_tokens is {value!r}; give a whole number from 0.")
    return value


def _string(body: Json, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise NotReadable(f"{key} is {str(value)[:60]!r}; give a string.")
    return value


def _offered(body: Json, texts: Texts) -> list[Json]:
    """The tools that a request lists, and those that its turns add."""
    added = [one.get("definition", one) for one in _objects({"tools": texts.tools}, "tools")]
    return [*_objects(body, "tools"), *_objects({"tools": added}, "tools")]


def _models(body: Json, offered: list[Json]) -> Iterator[str]:
    yield _string(body, "model")
    if isinstance(body.get("fallbacks"), str):
        yield f"fallbacks:{body['fallbacks']}"  # the API picks: only a rule for "*" covers that
    for other in (*_objects(body, "fallbacks"), *offered):
        if "model" in other:
            yield _string(other, "model")


def _tools(body: Json, offered: list[Json]) -> Iterator[str]:
    for tool in offered:
        key = next((one for one in _NAMES if one in tool), "type")
        yield f"{'mcp:' if key in _NAMES[:2] else ''}{_string(tool, key)}"
    for server in _objects(body, "mcp_servers"):
        yield f"mcp:{_string(server, 'name')}"
    container = body.get("container")
    if isinstance(container, Mapping):
        for skill in _objects(container, "skills"):
            yield f"skill:{skill.get('skill_id', UNKNOWN)}"
    thread = body.get("thread")
    if thread is not None and not (isinstance(thread, Mapping) and thread.get("type") == "create"):
        yield UNKNOWN


def _objects(body: Json, key: str) -> list[Json]:
    found = body.get(key)
    if found is None or (key == "fallbacks" and isinstance(found, str)):
        return []
    listed = [found] if isinstance(found, Mapping) else found
    if not isinstance(listed, list | tuple) or not all(isinstance(one, Mapping) for one in listed):
        raise NotReadable(f"{key} is not a list of objects; fix it.")
    return list(listed)


def _settings(body: Json) -> dict[str, str]:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise NotReadable(f"stream is {stream!r}; give true or false.")
    found = {}
    for key in SETTINGS:
        value = body.get(key)
        if value is not None:
            found[key] = value if isinstance(value, str) else _first(value, key)
    return found


def _first(value: Any, key: str) -> str:
    """A setting that is an object counts by its first field, as `billing_policy.bill_to` does."""
    if isinstance(value, Mapping) and value and all(isinstance(one, str) for one in value.values()):
        return str(next(iter(value.values())))
    raise NotReadable(f"{key} is {str(value)[:60]!r}; give a string.")


def setting(action: Action, name: str) -> str:
    """A setting of the action, or what it is when the request is silent."""
    return action.settings.get(name, _PLAIN.get(name, ""))


def wants_json(body: Json) -> bool:
    """Whether the request asks for an answer that fits a JSON schema."""
    config = body.get("output_config")
    kind = config.get("format") if isinstance(config, Mapping) else None
    return isinstance(kind, Mapping) and kind.get("type") == "json_schema"
