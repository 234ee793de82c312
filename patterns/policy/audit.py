"""An audit row for every call, before it is sent and after it has ended, denials included.

The outermost middleware: it sees what every other policy says. A call that cannot be recorded is
not made. Prompts are recorded as keyed fingerprints, so the log proves what was asked to someone
who has the text, and tells nothing to anyone else. The fields of a row: `audit_export`.

Taught in chapter 01.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from anthropic import APIRequest

from patterns.core.pseudonym import strong_key
from patterns.policy.audit_writer import AuditWriter, canonical
from patterns.policy.flow import Do, Flow, Policy, PolicyDenied, noting
from patterns.policy.identity import NoPrincipal, current_principal
from patterns.policy.responses import (
    AnyResponse,
    Ending,
    Watch,
    http_of,
    is_open,
    json_of,
    through,
    whole,
)
from patterns.policy.texts import Json
from patterns.policy.view import View, call_id, view_of

COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_NAME = re.compile(r"[A-Za-z0-9?*][\w.:?*@-]{0,63}\Z", re.ASCII)
_ERROR = re.compile(r"[a-z_]{1,64}\Z")
_MOST_NAMES: Final = 20


@dataclass(frozen=True)
class _Call:
    """What is known of an attempt before it is made."""

    facts: dict[str, Any]
    detail: dict[str, Any]
    notes: dict[str, Any]
    started: float
    timer: Callable[[], float]

    def row(self, **facts: Any) -> dict[str, Any]:
        """The arguments of its closing row."""
        return {
            **self.facts,
            **{key: value for key, value in facts.items() if value is not None},
            **({"notes": self.notes} if self.notes else {}),
            "ms": round((self.timer() - self.started) * 1000, 3),
        }


class Audit(Policy):
    """Write one `request` row per call, and one row for how each attempt ended.

    The closing row is `response`, `denied` (a policy said no, and why) or `error`. The rows of a
    call share `call`, and only the first names a person. A call that was retried has one `request`
    row, an `error` row per failed attempt, and one `response` row with the usage.

    Args:
        log: where the rows go.
        user_key: key of the pseudonyms, at least 32 bytes; the same as for `Identify`.
        text: how to record prompts instead of fingerprints: a function that makes text harmless,
            such as `lambda text: redact(text).text`.
        timer: monotonic seconds, for the latency.
    """

    def __init__(
        self,
        log: AuditWriter,
        user_key: str | bytes,
        *,
        text: Callable[[str], str] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.log, self._user_key, self._text, self._timer = log, strong_key(user_key), text, timer

    def flow(self, request: APIRequest) -> Flow:
        with noting() as notes:
            call = self._call(request, notes)
            if request.retries_taken == 0:
                yield self._first(call)
            try:
                response = yield request
                yield from whole(response)
            except BaseException as error:
                event, facts = _failure(error)
                yield self._closing(event, call.row(**facts))
                raise
        if is_open(response):
            return through(response, self._watch(call, response))
        event, facts = _outcome(response)
        yield self._closing(event, call.row(**facts))
        return response

    def _first(self, call: _Call) -> Do:
        log, row = self.log, call.facts
        return Do(
            lambda: log.append("request", call.detail, **row),
            lambda: log.append_async("request", call.detail, **row),
        )

    def _closing(self, event: str, row: dict[str, Any]) -> Do:
        log = self.log
        return Do(
            lambda: log.append_later(event, **row), lambda: log.append_later_async(event, **row)
        )

    def _call(self, request: APIRequest, notes: dict[str, Any]) -> _Call:
        facts: dict[str, Any] = {"call": call_id(request), "attempt": request.retries_taken}
        detail: dict[str, Any] = {}
        try:
            view = view_of(request)
            facts.update({"endpoint": view.endpoint, **_asked(view)})
            detail["prompt"] = self._prompt(view)
        except PolicyDenied as error:
            facts["endpoint"], detail["prompt"] = "unreadable", error.rule
        detail.update(self._who())
        return _Call(facts, detail, notes, self._timer(), self._timer)

    def _who(self) -> dict[str, Any]:
        try:
            principal = current_principal()
        except NoPrincipal:
            return {}
        known = {"workspace": principal.workspace, "team": principal.team, "ip": principal.ip}
        return {
            "user": principal.pseudonym(self._user_key),
            **{key: value for key, value in known.items() if value is not None},
        }

    def _prompt(self, view: View) -> str:
        if self._text is None:
            return self.log.hash(canonical([_prompt_of(one.body) for one in view.items]))
        runs = (run for one in view.items for run in one.texts.runs)
        return self._text("\n".join("".join(slot.text for slot in run) for run in runs))

    def _watch(self, call: _Call, response: AnyResponse) -> Watch:
        facts = _arrived(response)

        def closing(ending: Ending) -> tuple[str, dict[str, Any]]:
            failed = ending.error is not None or ending.how == "failed"
            told = {
                "stream": ending.how,
                "error": ending.error,
                "usage": _usage(ending.usage),
                "stop_reason": ending.stop_reason,
            }
            return ("error" if failed else "response"), call.row(**facts, **told)

        def dropped(ending: Ending) -> None:
            event, row = closing(ending)
            self.log.drop(event, **row)

        return Watch(lambda ending: self._closing(*closing(ending)), dropped)

    def __repr__(self) -> str:
        return "Audit"


def _asked(view: View) -> dict[str, Any]:
    """What was asked for: names and numbers, none of them free text."""
    actions = view.actions
    caps = [one.max_tokens for one in actions if one.max_tokens is not None]
    counts = {
        "max_tokens": sum(caps) if caps else None,
        "images": sum(one.images for one in actions),
        "documents": sum(one.documents for one in actions),
        "items": actions[0].items if actions[0].item is not None else 0,
    }
    models = _names(model for one in actions for model in one.models)
    tools = _names(tool for one in actions for tool in one.tools)
    return {
        **({"model": models[0]} if models else {}),
        **({"models": models} if len(models) > 1 else {}),
        **({"tools": tools} if tools else {}),
        **{key: count for key, count in counts.items() if count},
    }


def _names(found: Any) -> list[str]:
    """Each once; what does not look like a name may be a prompt, and is not written down."""
    names = dict.fromkeys(name if _NAME.match(name) else "not a name" for name in found)
    return list(names)[:_MOST_NAMES]


def _prompt_of(body: Json) -> Any:
    return {key: body.get(key) for key in ("system", "messages", "tools")}


def _failure(error: BaseException) -> tuple[str, dict[str, Any]]:
    """Event and facts of an exception: its class, never its text, which may quote the prompt."""
    if isinstance(error, PolicyDenied):
        reason = error.why or None
        return "denied", {"error": type(error).__name__, "rule": error.rule, "reason": reason}
    return "error", {"error": type(error).__name__}


def _outcome(response: AnyResponse) -> tuple[str, dict[str, Any]]:
    payload = json_of(response) or {}
    if not http_of(response).is_success:
        error = payload.get("error")
        kind = error.get("type") if isinstance(error, dict) else None
        known = kind if isinstance(kind, str) and _ERROR.match(kind) else "unknown"
        return "error", {**_arrived(response), "error": known}
    return "response", {
        **_arrived(response),
        "usage": _usage(payload.get("usage")),
        "stop_reason": payload.get("stop_reason"),
    }


def _arrived(response: AnyResponse) -> dict[str, Any]:
    return {
        "status": response.status_code,
        "request_id": http_of(response).headers.get("request-id"),
    }


def _usage(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, Mapping) or not usage:
        return None
    return {kind: usage.get(kind) or 0 for kind in COUNTED}
