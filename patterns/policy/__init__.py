"""Chapter 01: who may ask Claude what, with which data, how often, and how that is proved later.

Each policy is one SDK middleware and works without the others; `guarded` puts them together.
"""

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
