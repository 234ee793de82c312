"""Authorization by Cedar policies instead of rules: `Authorize(cedar(policies))`.

For teams that keep their policies in one language for all services. Needs `cedarpy`.

Taught in chapter 01.
"""

from patterns.policy.authorization import Decide, Decision
from patterns.policy.identity import Principal
from patterns.policy.view import Action


def cedar(policies: str) -> Decide:
    """Decide with Cedar policies; what they do not permit is denied.

    Entities: `User::"<id>"` in `Role::"<role>"`, `Action::"<name>"`, `Model::"<first model>"`;
    the context holds `max_tokens`, `tools`, `models`, `workspace`, `unbounded` and `speed`.
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
                "unbounded": action.unbounded,
                "speed": action.settings.get("speed", "standard"),
            },
        }
        entities = [{"uid": user, "attrs": {}, "parents": parents}]
        result = cedarpy.is_authorized(request, parsed, entities)
        found = ", ".join(result.diagnostics.reasons) or "no policy permits it"
        return Decision(result.allowed, f"cedar: {found}")

    return decide
