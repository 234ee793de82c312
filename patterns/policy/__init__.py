"""Chapter 01: who may ask Claude what, with which data, how often, and how that is proved later.

Each policy is one SDK middleware and works without the others; `guarded` puts them together.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from patterns.policy.audit_log import AuditLog as AuditLog
    from patterns.policy.authorization import Rule as Rule
    from patterns.policy.flow import PolicyDenied as PolicyDenied
    from patterns.policy.guard import guarded as guarded
    from patterns.policy.identity import Principal as Principal
    from patterns.policy.identity import acting_as as acting_as
    from patterns.policy.identity import acting_for as acting_for
    from patterns.policy.ownership import Ownership as Ownership
    from patterns.policy.privacy import PIIMiddleware as PIIMiddleware
    from patterns.policy.rate_limit import Limits as Limits
    from patterns.policy.rate_limit import RateLimit as RateLimit
    from patterns.policy.redaction import redact as redact
    from patterns.policy.screening import ContentPolicy as ContentPolicy

_HOME: Final = {
    "AuditLog": "audit_log",
    "ContentPolicy": "screening",
    "Limits": "rate_limit",
    "Ownership": "ownership",
    "PIIMiddleware": "privacy",
    "PolicyDenied": "flow",
    "Principal": "identity",
    "RateLimit": "rate_limit",
    "Rule": "authorization",
    "acting_as": "identity",
    "acting_for": "identity",
    "guarded": "guard",
    "redact": "redaction",
}
__all__ = [
    "AuditLog",
    "ContentPolicy",
    "Limits",
    "Ownership",
    "PIIMiddleware",
    "PolicyDenied",
    "Principal",
    "RateLimit",
    "Rule",
    "acting_as",
    "acting_for",
    "guarded",
    "redact",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
