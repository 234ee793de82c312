"""Every method of the installed SDK is driven through the guard, and somebody has decided on it."""

import contextlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIRequest, CallNext
from anthropic._models import FinalRequestOptions

from patterns.core.models import HAIKU
from patterns.policy import AuditLog, PIIMiddleware, Principal, Rule, acting_as, guarded
from patterns.policy.flow import PolicyDenied
from patterns.policy.texts import NotReadable
from patterns.policy.view import runs_models, view_of

KEY = b"k" * 32
DECIDED = Path(__file__).with_name("sdk_endpoints.txt")
"""Every endpoint of the SDK, as method, parts of the path, and how it is seen.

`message` is judged field by field; `spends` may run models or change something, so that only a rule
for any model and any tool covers it; `reads` sends no body; `raw` carries files and is denied.
"""
_SILENT = {
    "beta.messages.thread",  # begins nothing before its first turn, which is a create
    "beta.organization.plugin_marketplaces.validate_archive",  # takes an archive: a raw body
    "beta.webhooks.parse_unverified",
    "beta.webhooks.unwrap",
}
"""Methods that make no request when called without real arguments."""
_HELPERS = {
    "stream",
    "parse",
    "tool_runner",
}  # built on `create`; they are tested where they are used


class Reached(Exception):
    """The call got to the transport."""


def resources(found: Any, name: str, seen: set[type]) -> Iterator[tuple[str, Any]]:
    """Each resource of a client with its dotted name."""
    for part in sorted(dir(type(found))):
        if part.startswith(("_", "with_")) or part in ("copy",):
            continue
        inner = inspect.getattr_static(type(found), part)
        if not hasattr(inner, "func") and not isinstance(inner, property):
            continue
        try:
            value = getattr(found, part)
        except Exception:
            continue
        if type(value).__module__.startswith("anthropic.resources") and type(value) not in seen:
            seen.add(type(value))
            yield f"{name}{part}", value
            yield from resources(value, f"{name}{part}.", seen)


def methods(client: Anthropic) -> Iterator[tuple[str, Any]]:
    """Each public method of each resource."""
    for name, resource in resources(client, "", set()):
        for method, _ in inspect.getmembers(type(resource), inspect.isfunction):
            if not method.startswith(("_", "with_")) and method not in _HELPERS:
                yield f"{name}.{method}", getattr(resource, method)


def arguments(function: Any) -> dict[str, Any]:
    """Something for each required parameter."""
    made: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or not required:
            continue
        known = {
            "messages": [{"role": "user", "content": "x"}], "model": HAIKU, "max_tokens": 5_000,
            "requests": [{"custom_id": "a", "params": {"model": HAIKU, "max_tokens": 5_000,
                          "messages": []}}], "file": b"x", "files": [b"x"], "body": {},
        }  # fmt: skip
        text = str(parameter.annotation)
        plural = re.search(r"Iterable|Sequence|List", text) and "str |" not in text
        if name == "target" and text != "str":
            made[name] = {}  # an object in one place, a part of the path in another
        else:
            made[name] = known.get(name, [] if plural else "id_1")
    return made


class Api:
    """A client that notes each request, and never sends one."""

    def __init__(self) -> None:
        self.requests: list[APIRequest] = []
        http = httpx2.Client(transport=httpx2.MockTransport(self._reached))
        self.plain = Anthropic(api_key="t", http_client=http, max_retries=0)
        self.client = self.plain.with_options(middleware=[self._note])

    def _note(self, request: APIRequest, call_next: CallNext) -> Any:
        self.requests.append(request)
        raise Reached

    def _reached(self, request: httpx2.Request) -> httpx2.Response:
        raise Reached


def template(request: APIRequest) -> str:
    """Method and path, with stars for ids."""
    path = request.url.partition("?")[0]
    return f"{request.method.upper()} {path.replace('/id_1', '/*')}"


def kind(request: APIRequest) -> str:
    """How the policies see a request."""
    try:
        endpoint = view_of(request).endpoint
    except NotReadable:
        return "raw" if request.options.files or request.options.content else "unreadable"
    if endpoint.startswith("messages.") and endpoint.endswith(("create", "count_tokens")):
        return "message"
    return "spends" if runs_models(endpoint) else "reads"


def calls() -> dict[str, tuple[str, APIRequest]]:
    """Each endpoint that the SDK can reach, with how it is seen and a request to it."""
    api, found = Api(), dict[str, tuple[str, APIRequest]]()
    for name, method in methods(api.client):
        api.requests.clear()
        with contextlib.suppress(Exception):  # what could not be called is missed below
            next(iter(method(**arguments(method))))  # some only ask when they are read
        if not api.requests:
            assert name in _SILENT, f"{name} made no request; see what it does"
        for request in api.requests:
            found[template(request)] = kind(request), request
    return found


CALLS = calls()


def test_every_endpoint_of_the_sdk_was_decided_on() -> None:
    """A new one in a new SDK fails here, until somebody has looked at it and written it down."""
    found = {f"{name} {how}".replace("/", " ") for name, (how, _) in CALLS.items()}
    decided = set(DECIDED.read_text("utf-8").splitlines())
    assert len(found) > 200
    assert sorted(found - decided) == []
    assert not [line for line in decided if line.endswith("unreadable")]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_no_endpoint_gets_around_a_narrow_rule(name: str, tmp_path: Path) -> None:
    """A rule for one model, no tools and 500 tokens, whatever action it names."""
    how, request = CALLS[name]
    passes = (how == "reads" and not name.endswith("/content")) or name.endswith("count_tokens")
    bare: Any = {"method": request.method, "url": request.url, "json_data": request.json}
    options = FinalRequestOptions.construct(**bare, files=request.options.files)
    sent: list[httpx2.Request] = []

    def answer(got: httpx2.Request) -> httpx2.Response:
        sent.append(got)
        return httpx2.Response(200, json={})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    rules = [Rule("analyst", "*", HAIKU, max_tokens=500), Rule("analyst", "POST *", HAIKU)]
    with AuditLog(tmp_path / "audit.db", KEY) as log:
        plain = Anthropic(api_key="t", http_client=http, max_retries=0)
        client = guarded(plain, log=log, user_key=KEY, rules=rules, privacy=PIIMiddleware())
        with acting_as(Principal("ada", frozenset({"analyst"}))):
            if passes:
                client.request(object, options)
            else:
                with pytest.raises(PolicyDenied):
                    client.request(object, options)
        events = [row["event"] for row in log.rows()]
    assert (len(sent), events) == (int(passes), ["request", "response" if passes else "denied"])
