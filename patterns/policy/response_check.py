"""Hold answers to what was asked for: JSON where a schema was given, a refusal where it counts.

Inside the privacy step, so that it judges what the model wrote and not what was cut out of it.

Taught in chapter 01.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from anthropic import APIRequest

from patterns.policy.flow import Do, Flow, Policy, PolicyDenied, notes
from patterns.policy.responses import (
    AnyResponse,
    How,
    Lines,
    event_of,
    http_of,
    is_open,
    json_of,
    through,
    whole,
)
from patterns.policy.view import CREATE, view_of


class InvalidResponse(PolicyDenied):
    """The answer is not what was asked for, so the caller does not get it.

    Attributes:
        reason: `refusal`, `truncated-json`, `not-json`, or what the check objects to.
        usage: what the answer cost all the same.
    """

    rule, status = "invalid-response", 422

    def __init__(self, reason: str, usage: Mapping[str, Any] | None = None) -> None:
        self.reason = self.why = reason
        self.usage = dict(usage or {})
        super().__init__(f"the answer is not usable ({reason}); ask again, or ask otherwise.")


class ResponsePolicy(Policy):
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

    def flow(self, request: APIRequest) -> Flow:
        response = yield request
        yield from whole(response)
        return self._inspect(request, response)

    def _inspect(self, request: APIRequest, response: AnyResponse) -> AnyResponse:
        view = view_of(request)
        if view.endpoint != CREATE or not http_of(response).is_success:
            return response
        judge = partial(self.judge, wants_json=wants_json(view.items[0].body))
        if is_open(response):
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
        if wants_json and not is_json(text):
            return "truncated-json" if stop_reason == "max_tokens" else "not-json"
        if self.check is not None:
            try:
                self.check(text)
            except Exception as error:
                return type(error).__name__
        return None

    def __repr__(self) -> str:
        return "ResponsePolicy"


def wants_json(body: Mapping[str, Any]) -> bool:
    """Whether the request asks for an answer that fits a JSON schema."""
    config = body.get("output_config")
    kind = config.get("format") if isinstance(config, Mapping) else None
    return isinstance(kind, Mapping) and kind.get("type") == "json_schema"


def is_json(text: str) -> bool:
    """Whether the text is one JSON value."""
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

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
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
