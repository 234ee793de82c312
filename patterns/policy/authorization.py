"""Default-deny authorization: which role may use which model, tools and how many tokens.

For services where not everyone may do everything. The first middleware after the audit log, so
that a call that is not allowed costs no scan and no budget. Not a substitute for least privilege
in the tools themselves: a tool has to check again whose data it hands out.

Taught in chapter 01.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from anthropic import APIRequest, APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext, Middleware

from patterns.policy.identity import Principal, current_principal
from patterns.policy.wire import Json, PolicyDenied, bodies_of, endpoint_of


@dataclass(frozen=True)
class Action:
    """What somebody wants to do, as far as a rule can see it.

    Attributes:
        name: `messages.create`, `messages.count_tokens`, `messages.batches.create`, or
            `"METHOD /path"` for other calls.
        models: every model that may answer: the one asked for, fallbacks, and models of tools.
        max_tokens: the output the call may produce, None where the endpoint has none.
        tools: names of the tools offered; those of a remote server as `mcp:<server>`.
        item: the `custom_id` of a batch item, else None.
    """

    name: str
    models: tuple[str, ...] = ()
    max_tokens: int | None = None
    tools: tuple[str, ...] = ()
    item: str | None = None


@dataclass(frozen=True)
class Rule:
    """Allows one role one kind of action. Patterns are shell style: `claude-haiku-*`.

    Attributes:
        role: the role that a principal must have.
        action: pattern of the action's name.
        model: pattern that every model of the call must match.
        max_tokens: the most output tokens; None for no cap.
        tools: pattern that every tool must match; None allows no tool at all.
    """

    role: str
    action: str = "messages.create"
    model: str = "*"
    max_tokens: int | None = None
    tools: str | None = None

    def objection(self, principal: Principal, action: Action) -> str | None:
        """Why this rule does not allow the action; None when it does."""
        if self.role not in principal.roles or not fnmatchcase(action.name, self.action):
            return f"no rule allows {action.name} to {sorted(principal.roles)}"
        if not all(fnmatchcase(model, self.model) for model in action.models):
            return f"{self.role} may use {self.model}, not {', '.join(action.models)}"
        if self.max_tokens is not None and (action.max_tokens or 0) > self.max_tokens:
            return f"{self.role} may ask for {self.max_tokens} tokens, not {action.max_tokens}"
        for tool in action.tools:
            if self.tools is None or not fnmatchcase(tool, self.tools):
                return f"{self.role} may not offer tool {tool}"
        return None


@dataclass(frozen=True)
class Decision:
    """Yes or no, and why: `reason` is for the caller and the audit log."""

    allowed: bool
    reason: str


Decide = Callable[[Principal, Action], Decision]


class NotAuthorized(PolicyDenied):
    """The principal may not do this.

    Attributes:
        action: what was asked for; its `item` names the batch item at fault.
        reason: the nearest rule's objection.
    """

    rule = "not-authorized"

    def __init__(self, action: Action, reason: str) -> None:
        self.action, self.reason = action, reason
        where = f" (batch item {action.item!r})" if action.item is not None else ""
        super().__init__(f"denied{where}: {reason}; change the call or ask for a rule.")


def by_rules(*rules: Rule) -> Decide:
    """Allow what at least one rule allows, deny everything else."""

    def decide(principal: Principal, action: Action) -> Decision:
        objections = [rule.objection(principal, action) for rule in rules]
        if None in objections:
            return Decision(True, f"rule {objections.index(None)}")
        nearest = [one for one in objections if one and not one.startswith("no rule allows")]
        if nearest:
            return Decision(False, nearest[0])
        return Decision(False, f"no rule allows {action.name} to {sorted(principal.roles)}")

    return decide


def cedar(policies: str) -> Decide:
    """Decide with Cedar policies instead of rules; what they do not permit is denied.

    Entities: `User::"<id>"` in `Role::"<role>"`, `Action::"<name>"`, `Model::"<first model>"`;
    the context holds `max_tokens`, `tools`, `models` and `workspace`.
    """
    import cedarpy

    parsed = cedarpy.PolicySet.from_str(policies)

    def decide(principal: Principal, action: Action) -> Decision:
        user = {"type": "User", "id": principal.id}
        parents = [{"type": "Role", "id": role} for role in sorted(principal.roles)]
        request = {
            "principal": user,
            "action": {"type": "Action", "id": action.name},
            "resource": {"type": "Model", "id": next(iter(action.models), "")},
            "context": {
                "max_tokens": action.max_tokens or 0,
                "tools": list(action.tools),
                "models": list(action.models),
                "workspace": principal.workspace or "",
            },
        }
        entities = [{"uid": user, "attrs": {}, "parents": parents}]
        result = cedarpy.is_authorized(request, parsed, entities)
        found = ", ".join(result.diagnostics.reasons) or "no policy permits it"
        return Decision(result.allowed, f"cedar: {found}")

    return decide


def actions_of(request: APIRequest) -> list[Action]:
    """What a request would do: one action, or one per batch item."""
    name = endpoint_of(request)
    if not name.startswith("messages.") or request.json is None:
        return [Action(name)]
    bodies = bodies_of(request)
    items = [None] * len(bodies) if bodies[0][0] == () else _custom_ids(request)
    return [_action(name, body, item) for (_, body), item in zip(bodies, items, strict=True)]


def _custom_ids(request: APIRequest) -> list[str | None]:
    assert isinstance(request.json, Mapping)  # bodies_of has refused anything else
    return [str(item.get("custom_id", "")) for item in request.json["requests"]]


def _action(name: str, body: Json, item: str | None) -> Action:
    caps = [one.get("max_tokens") for one in (body, *_objects(body, "fallbacks"))]
    most = max((cap for cap in caps if isinstance(cap, int)), default=None)
    return Action(name, tuple(_models(body)), most, tuple(_tools(body)), item)


def _models(body: Json) -> Iterator[str]:
    yield str(body.get("model", ""))
    if isinstance(body.get("fallbacks"), str):
        yield f"fallbacks:{body['fallbacks']}"  # the API picks: only a rule for "*" covers that
    for other in (*_objects(body, "fallbacks"), *_objects(body, "tools")):
        if "model" in other:
            yield str(other["model"])


def _tools(body: Json) -> Iterator[str]:
    for tool in _objects(body, "tools"):
        if "mcp_server_name" in tool:
            yield f"mcp:{tool['mcp_server_name']}"
        else:
            yield str(tool.get("name") or tool.get("type") or "")
    for server in _objects(body, "mcp_servers"):
        yield f"mcp:{server.get('name', '')}"


def _objects(body: Json, key: str) -> list[Json]:
    found = body.get(key)
    if isinstance(found, Mapping):
        return [found]
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


class Authorize(Middleware):
    """Deny a request unless the current principal is allowed every action in it."""

    def __init__(self, decide: Decide | Sequence[Rule]) -> None:
        self.decide = decide if callable(decide) else by_rules(*decide)

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        self._check(request)
        return call_next(request)

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        self._check(request)
        return await call_next(request)

    def _check(self, request: APIRequest) -> None:
        principal = current_principal()
        for action in actions_of(request):
            decision = self.decide(principal, action)
            if not decision.allowed:
                raise NotAuthorized(action, decision.reason)

    def __repr__(self) -> str:
        return "Authorize"
