"""Default-deny authorization: which role may use which model, tools and how many tokens.

For services where not everyone may do everything. The first middleware after the audit log, so
that a call that is not allowed costs no scan and no budget. Not a substitute for least privilege
in the tools themselves: a tool has to check again whose data it hands out.

Taught in chapter 01.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf

from anthropic import APIRequest

from patterns.policy.flow import Flow, Policy, PolicyDenied, note
from patterns.policy.identity import Principal, current_principal
from patterns.policy.threads import Threads
from patterns.policy.view import SETTINGS, UNKNOWN, Action, setting, view_of

__all__ = ["Action", "Authorize", "Decide", "Decision", "NotAuthorized", "Rule", "by_rules"]


@dataclass(frozen=True)
class Rule:
    """Allows one role one kind of action. Patterns are shell style: `claude-haiku-*`.

    Attributes:
        role: the role that a principal must have.
        action: pattern of the action's name.
        model: pattern that every model of the call must match.
        max_tokens: the most output tokens; None for no cap.
        tools: pattern that every tool must match; None allows no tool at all.
        settings: patterns for `speed`, `service_tier`, `inference_geo` and the other `SETTINGS`,
            held against the default where a request is silent. Unless it is named here, `speed`
            must be `standard`, and whose bill or workspace it is must not be given.
        images, documents, items: the most of each; None for no cap.
    """

    role: str
    action: str = "messages.create"
    model: str = "*"
    max_tokens: int | None = None
    tools: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    images: int | None = None
    documents: int | None = None
    items: int | None = None

    def __post_init__(self) -> None:
        if unknown := set(self.settings) - set(SETTINGS):
            raise ValueError(f"unknown settings {sorted(unknown)}; choose from {SETTINGS}.")

    def objection(self, principal: Principal, action: Action) -> str | None:
        """Why this rule does not allow the action; None when it does."""
        if not self._names(principal, action):
            return f"no rule allows {action.name} to {sorted(principal.roles)}"
        if not all(fnmatchcase(model, self.model) for model in action.models):
            return f"{self.role} may use {self.model}, not {', '.join(action.models)}"
        asked = inf if action.unbounded else action.max_tokens or 0
        if self.max_tokens is not None and asked > self.max_tokens:
            return f"{self.role} may ask for {self.max_tokens} tokens, not {asked}"
        for tool in action.tools:
            if self.tools is None or not fnmatchcase(tool, self.tools):
                return f"{self.role} may not offer tool {tool}"
        return self._extras(action)

    def _names(self, principal: Principal, action: Action) -> bool:
        return self.role in principal.roles and fnmatchcase(action.name, self.action)

    def _extras(self, action: Action) -> str | None:
        for name in {*self.settings, *action.settings}:
            allowed, asked = self.settings.get(name, _USUAL.get(name, "")), setting(action, name)
            if not fnmatchcase(asked, allowed):
                return f"{self.role} may have {name} {allowed!r}, not {asked!r}"
        for name in ("images", "documents", "items"):
            most, asked_for = getattr(self, name), getattr(action, name)
            if most is not None and asked_for > most:
                return f"{self.role} may send {most} {name}, not {asked_for}"
        return None


_USUAL = {"speed": "standard", "service_tier": "*", "inference_geo": "*"}


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
        self.why = re.split(r", not | tool |'", reason)[0]  # what follows is the request's own
        what = "denied" if action.item is None else f"denied (batch item {action.item!r})"
        super().__init__(f"{what}: {reason}; change the call or ask for a rule.")


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


class Authorize(Policy):
    """Deny a request unless the current principal is allowed every action in it."""

    def __init__(self, decide: Decide | Sequence[Rule]) -> None:
        self.decide = decide if callable(decide) else by_rules(*decide)
        self._threads: Threads[tuple[str, tuple[str, ...]]] = Threads()

    def flow(self, request: APIRequest) -> Flow:
        principal, view = current_principal(), view_of(request)
        begun = self._threads.before(view.body)
        for action in view.actions:
            if begun is not None and begun[0] == principal.key:
                own = tuple(tool for tool in action.tools if tool != UNKNOWN)
                action = action._replace(tools=own + begun[1])  # what its thread began with
            decision = self.decide(principal, action)
            if not decision.allowed:
                raise NotAuthorized(action, decision.reason)
        note("allowed", decision.reason)
        response = yield request
        return (yield from self._threads.keep(view.body, response, (principal.key, action.tools)))

    def __repr__(self) -> str:
        return "Authorize"
