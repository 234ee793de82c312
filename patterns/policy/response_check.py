"""Hold answers to what was asked for: JSON where a schema was given, a refusal where it counts.

Inside the privacy step, so that it judges what the model wrote and not what was cut out of it.

Taught in chapter 01.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal

from anthropic import APIRequest

from patterns.core.answers import TRUNCATING
from patterns.policy.flow import Flow, Policy, PolicyDenied, notes
from patterns.policy.responses import Ending, ended
from patterns.policy.texts import read_json
from patterns.policy.view import CREATE, view_of, wants_json

_STILL_TO_COME: Final = (None, "tool_use", "pause_turn", "compaction")
"""Reasons to stop after which the answer goes on; whatever else there is ends it."""


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
        response, view = (yield request), view_of(request)
        if view.endpoint != CREATE:
            return response
        judge = partial(self._judge, wants_json(view.body), notes())
        return (yield from ended(response, judge=judge))

    def _judge(self, as_json: bool, kept: dict[str, Any] | None, ending: Ending) -> None:
        """Accept a complete answer, or say why not; the audit row gets reason and usage."""
        reason = self._objection(ending, as_json)
        if reason is not None:
            if kept is not None:
                kept.update({"response": reason, "usage": dict(ending.usage)})
            raise InvalidResponse(reason, ending.usage)

    def _objection(self, ending: Ending, as_json: bool) -> str | None:
        if ending.stop_reason == "refusal":
            return "refusal" if self.on_refusal == "raise" else None
        if ending.stop_reason in _STILL_TO_COME:
            return None
        blocks = ending.message.get("content") or []
        whole = [one["text"] for one in blocks if one.get("type") == "text"]
        text = "".join([*ending.texts, *whole])
        try:
            if as_json:
                read_json(text)
        except ValueError:
            return "truncated-json" if ending.stop_reason in TRUNCATING else "not-json"
        try:
            if self.check is not None:
                self.check(text)
        except Exception as error:
            return type(error).__name__
        return None

    def __repr__(self) -> str:
        return "ResponsePolicy"
