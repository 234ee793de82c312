"""Put the policies around a client in the order in which they make sense, and check the answers.

Audit sees everything, denials too; permission is checked before any scan; the scan sees the raw
text; what leaves is redacted; and only a call that will be made takes from the budget. On the way
back the order is reversed. Take the parts one by one if you need only one of them.

Taught in chapter 01.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from anthropic import (
    Anthropic,
    APIRequest,
    APIResponse,
    AsyncAnthropic,
    AsyncAPIResponse,
    AsyncCallNext,
    CallNext,
    Middleware,
)

from patterns.policy.audit import Audit, AuditLog
from patterns.policy.authorization import Authorize, Decide, Rule
from patterns.policy.buckets import Limits, Store
from patterns.policy.identity import Identify, current_principal
from patterns.policy.privacy import PIIMiddleware
from patterns.policy.rate_limit import RateLimit
from patterns.policy.responses import (
    How,
    Lines,
    Reply,
    event_of,
    http_of,
    is_open,
    json_of,
    must_read,
    through,
)
from patterns.policy.screening import ContentPolicy
from patterns.policy.wire import CREATE, PolicyDenied, endpoint_of, notes

Client = TypeVar("Client", Anthropic, AsyncAnthropic)


class InvalidResponse(PolicyDenied):
    """The answer is not what was asked for, so the caller does not get it.

    Attributes:
        reason: `refusal`, `truncated-json`, `not-json`, or what the check objects to.
        usage: what the answer cost all the same.
    """

    rule = "invalid-response"

    def __init__(self, reason: str, usage: Mapping[str, Any] | None = None) -> None:
        self.reason, self.usage = reason, dict(usage or {})
        super().__init__(f"the answer is not usable ({reason}); ask again, or ask otherwise.")


class ResponsePolicy(Middleware):
    """Hold answers to what was asked for: JSON where a schema was given, and no refusal if wanted.

    Args:
        on_refusal: `pass` leaves a refusal to the caller (`text_of` raises), `raise` stops it here.
        check: called with the text of a complete answer; an exception makes the answer invalid.
            `Model.model_validate_json` is one.
    """

    def __init__(
        self,
        *,
        on_refusal: Literal["pass", "raise"] = "pass",
        check: Callable[[str], Any] | None = None,
    ) -> None:
        self.on_refusal, self.check = on_refusal, check

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        response = call_next(request)
        if must_read(response):
            response.read()
        return self._inspect(request, response)

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        response = await call_next(request)
        if must_read(response):
            await response.read()
        return self._inspect(request, response)

    def _inspect(self, request: APIRequest, response: Reply) -> Reply:
        if endpoint_of(request) != CREATE or not http_of(response).is_success:
            return response
        judge = partial(self.judge, wants_json=_wants_json(request))
        if is_open(request, response):
            return through(response, _Judged(judge))
        if (payload := json_of(response)) is not None:
            blocks = [one for one in payload.get("content", ()) if one.get("type") == "text"]
            text = "".join(one["text"] for one in blocks)
            judge(text, payload.get("stop_reason"), payload.get("usage"), notes())
        return response

    def judge(
        self,
        text: str,
        stop_reason: str | None,
        usage: Mapping[str, Any] | None,
        kept: dict[str, Any] | None,
        *,
        wants_json: bool = False,
    ) -> None:
        """Accept a complete answer, or say why not.

        Raises:
            InvalidResponse: with the reason; the audit row gets reason and usage.
        """
        reason = self._objection(text, stop_reason, wants_json)
        if reason is None:
            return
        if kept is not None:
            kept.update({"response": reason, "usage": dict(usage or {})})
        raise InvalidResponse(reason, usage)

    def _objection(self, text: str, stop_reason: str | None, wants_json: bool) -> str | None:
        if stop_reason == "refusal":
            return "refusal" if self.on_refusal == "raise" else None
        if stop_reason not in ("end_turn", "stop_sequence", "max_tokens"):
            return None  # a tool call or a pause: the answer is still to come
        if wants_json and not _is_json(text):
            return "truncated-json" if stop_reason == "max_tokens" else "not-json"
        if self.check is not None:
            try:
                self.check(text)
            except Exception as error:
                return type(error).__name__
        return None

    def __repr__(self) -> str:
        return "ResponsePolicy"


def _wants_json(request: APIRequest) -> bool:
    body = request.json
    config = body.get("output_config") if isinstance(body, Mapping) else None
    kind = config.get("format") if isinstance(config, Mapping) else None
    return isinstance(kind, Mapping) and kind.get("type") == "json_schema"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class _Judged:
    """A stream that is judged when its stop reason has arrived, before the caller sees its end."""

    def __init__(self, judge: Callable[..., None]) -> None:
        self._judge, self._kept, self._lines = judge, notes(), Lines()
        self._texts: list[str] = []
        self._usage: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        for line in self._lines.feed(chunk):
            self._see(event_of(line) or {})
        return chunk

    def end(self) -> bytes:
        """What remains after the last chunk."""
        return b""

    def stop(self, how: How, error: BaseException | None = None) -> Any:
        """Reading is over; called once or more."""
        return None

    def _see(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "content_block_delta" and event["delta"]["type"] == "text_delta":
            self._texts.append(event["delta"]["text"])
        elif kind == "message_start":
            self._usage.update(event["message"].get("usage") or {})
        elif kind == "message_delta":
            self._usage.update(event.get("usage") or {})
            text, reason = "".join(self._texts), event["delta"].get("stop_reason")
            self._judge(text, reason, self._usage, self._kept)


class Guard(Middleware):
    """A chain of middleware as one; its repr shows the order, outermost first."""

    def __init__(self, *chain: Middleware) -> None:
        self.chain = chain

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        for middleware in reversed(self.chain):
            call_next = partial(_then, middleware.handle, call_next)
        return call_next(request)

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        for middleware in reversed(self.chain):
            call_next = partial(_then, middleware.handle_async, call_next)
        return await call_next(request)

    def __repr__(self) -> str:
        return f"Guard({' ▸ '.join(map(repr, self.chain))})"


def _then(handle: Callable[..., Any], call_next: Callable[..., Any], request: APIRequest) -> Any:
    return handle(request, call_next)


def per_principal(request: APIRequest) -> str:
    """One budget for each principal: the key of `RateLimit` when users share an API key."""
    return current_principal().id


def guarded(
    client: Client,
    *,
    log: AuditLog,
    user_key: str | bytes,
    rules: Sequence[Rule] | Decide,
    content: ContentPolicy | None = None,
    privacy: PIIMiddleware | None = None,
    limits: Limits | RateLimit | None = None,
    store: Store | None = None,
    response: ResponsePolicy | None = None,
) -> Client:
    """`client` with every policy around it; `client.middleware[0]` says in which order.

    Args:
        log: the audit log.
        user_key: key of the pseudonyms, for the API and the log; at least 32 bytes.
        rules: authorization rules, or a `decide` function such as `cedar(...)`.
        content, privacy, response: the policies as you want them; their defaults otherwise.
        limits: a budget per principal, or a `RateLimit` of your own; None for none.
        store: where that budget is kept; memory if None.
    """
    limit = RateLimit(limits, store, key=per_principal) if isinstance(limits, Limits) else limits
    guard = Guard(
        Audit(log, user_key),
        response or ResponsePolicy(),
        Authorize(rules),
        content or ContentPolicy(),
        privacy or PIIMiddleware(),
        Identify(user_key),
        *([limit] if limit is not None else []),
    )
    return client.with_options(middleware=[guard, *client.middleware])
