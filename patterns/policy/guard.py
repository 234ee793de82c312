"""Put the policies around a client in the order in which they make sense.

Audit sees everything, denials too; permission and ownership are checked before any scan; the scan
sees the raw text; what leaves is redacted; and only a call that will be made takes from the
budget. On the way back the order is reversed. Take the parts one by one if you need only one.

Taught in chapter 01.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypeVar
from urllib.parse import urlsplit

from anthropic import Anthropic, APIRequest, AsyncAnthropic, Middleware

from patterns.core.errors import Portable
from patterns.policy.audit import Audit
from patterns.policy.audit_writer import AuditWriter
from patterns.policy.authorization import Authorize, Decide, Rule
from patterns.policy.flow import Do, Flow, Policy, outward
from patterns.policy.identity import Identify, current_principal
from patterns.policy.rate_limit import Limits, RateLimit, Store
from patterns.policy.response_check import ResponsePolicy
from patterns.policy.screening import ContentPolicy

Client = TypeVar("Client", Anthropic, AsyncAnthropic)


class GuardRemoved(Portable, RuntimeError):
    """A client that must be guarded was about to lose its guard."""

    def __init__(self) -> None:
        super().__init__(
            "with_options(middleware=...) would remove the guard; add to it: "
            "with_options(middleware=[*client.middleware, extra])."
        )


class Guard(Policy):
    """A chain of policies as one; its repr shows the order, outermost first.

    Args:
        chain: outermost first.
        base_url: of the client. The API's answers hold absolute URLs of its own, such as those
            of batch results; these are told from URLs of other hosts, which policies deny.
    """

    def __init__(self, *chain: Policy, base_url: str = "") -> None:
        self.chain, self._base = chain, urlsplit(base_url)

    def flow(self, request: APIRequest) -> Flow:
        begun: list[Flow] = []
        step: Any = self._relative(request)
        while True:
            result, error = None, None
            if type(step) is not Do and len(begun) < len(self.chain):
                begun.append(self.chain[len(begun)].flow(step))
            else:
                try:
                    result = yield step
                except BaseException as raised:
                    error = raised
            step, result = outward(begun, result, error)
            if not begun:
                return result

    def _relative(self, request: APIRequest) -> APIRequest:
        url, own = urlsplit(request.url), self._base
        if (url.scheme, url.netloc) != (own.scheme, own.netloc):
            return request
        path = url.path.removeprefix(own.path.rstrip("/"))
        return request.copy(url=f"{path}?{url.query}" if url.query else path)

    def __repr__(self) -> str:
        return f"Guard({' ▸ '.join(map(repr, self.chain))})"


def per_principal(request: APIRequest) -> str:
    """One budget for each principal: the key of `RateLimit` when users share an API key."""
    return current_principal().key


def guarded(
    client: Client,
    *,
    log: AuditWriter,
    user_key: str | bytes,
    rules: Sequence[Rule] | Decide,
    privacy: Middleware | None,
    content: ContentPolicy | None = None,
    limits: Limits | RateLimit | None = None,
    store: Store | None = None,
    response: ResponsePolicy | None = None,
    ownership: Middleware | None = None,
) -> Client:
    """`client` with every policy around it; `client.middleware[0]` says in which order.

    `with_options(middleware=[...])` of the SDK replaces middleware. On this client it raises
    `GuardRemoved` unless the list holds the guard.

    Args:
        log: the audit log.
        user_key: key of the pseudonyms, for the API and the log; at least 32 bytes.
        rules: authorization rules, or a function that decides, such as
            a call of your policy engine.
        privacy: what keeps identifiers from the API, such as `PIIMiddleware()`; None for nothing.
        content, response: the policies as you want them; their defaults otherwise.
        limits: a budget per principal, or a `RateLimit` of your own; None for none.
        store: where that budget is kept; memory if None.
        ownership: `Ownership(store)`, where ids of batches and files must stay with their owners.
    """
    limit = RateLimit(limits, store, key=per_principal) if isinstance(limits, Limits) else limits
    chain = [
        Audit(log, user_key),
        Authorize(rules),
        ownership,
        content or ContentPolicy(),
        privacy,
        Identify(user_key),
        response or ResponsePolicy(),
        limit,
    ]
    guard: list[Middleware] = []
    for ours, some in groupby(
        (one for one in chain if one is not None), lambda one: isinstance(one, Policy)
    ):
        part: Any = list(some)
        guard += [Guard(*part, base_url=str(client.base_url))] if ours else part
    return _kept(client.with_options(middleware=[*guard, *client.middleware]), guard)


def _kept(client: Client, guard: Sequence[Middleware]) -> Client:
    """The client, whose copies keep the guard or are refused."""
    plain = client.copy

    def copy(**options: Any) -> Client:
        kept = options.get("middleware", guard) or ()
        if any(part not in kept for part in guard):
            raise GuardRemoved
        return _kept(plain(**options), guard)

    client.__dict__.update(copy=copy, with_options=copy)
    return client
