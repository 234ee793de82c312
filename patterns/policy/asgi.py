"""A service's front door: who is calling, and what each denial is over HTTP. Plain ASGI.

`app.add_middleware(Denials, authenticate=...)` of FastAPI and Starlette puts it where the app's own
500 does not come first. Every handler, sync or async, then acts for the caller, which a sync
`yield` dependency cannot do; a service whose callers differ within one request ties each to a
client with `acting_for`.

Taught in chapter 01.
"""

import json
import math
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from patterns.policy.flow import PolicyDenied
from patterns.policy.identity import Principal, acting_as

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Denials:
    """Name the caller of a request, and answer with a status where a policy says no.

    400 for what cannot be read, 401 for nobody or a bad token, 403 for what is not allowed, 422 for
    what must be changed before it passes, 429 with `retry-after` for a budget that refills, and 503
    where the service itself cannot decide. The body is `{"error": {"type": rule, "message": ...}}`,
    as the API's own. A denial after the answer has begun ends the stream.

    Args:
        app: the ASGI application.
        authenticate: the principal of a bearer token, such as `verify_token` with your key, or
            None; what comes without one acts for nobody, and so may not call Claude.
    """

    def __init__(self, app: App, authenticate: Callable[[str], Principal | None]) -> None:
        self.app, self.authenticate = app, authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            principal = self._principal(scope)
            with acting_as(principal) if principal else nullcontext():
                await self.app(scope, receive, watched)
        except PolicyDenied as denied:
            if begun or scope["type"] != "http":
                raise
            for message in _answer(denied):
                await send(message)

    def _principal(self, scope: Scope) -> Principal | None:
        found = [value for name, value in scope.get("headers", ()) if name == b"authorization"]
        header = found[0] if len(found) == 1 else b""  # of two, a proxy may have checked the other
        kind, _, token = header.decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            return None
        principal = self.authenticate(token.strip())
        client = scope.get("client")
        if principal is None or principal.ip or not client:
            return principal
        return replace(principal, ip=client[0])


def _answer(denied: PolicyDenied) -> list[Message]:
    headers = [(b"content-type", b"application/json")]
    wait = getattr(denied, "wait", None)
    if wait is not None and wait < math.inf:
        headers.append((b"retry-after", str(math.ceil(wait)).encode()))
    if denied.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    told = (
        "the service cannot decide now; ask again later." if denied.status == 503 else str(denied)
    )
    body = json.dumps({"error": {"type": denied.rule, "message": told}}).encode()
    return [
        {"type": "http.response.start", "status": denied.status, "headers": headers},
        {"type": "http.response.body", "body": body},
    ]
