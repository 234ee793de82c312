"""An audit row for every call, before it is sent and after it has ended, denials included.

The outermost middleware: it sees what every other policy says. A call that cannot be recorded is
not made. Prompts are recorded as keyed fingerprints, so the log proves what was asked to someone
who has the text, and tells nothing to anyone else. The fields of a row: `audit_export`.

Taught in chapter 01.
"""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from anthropic import APIRequest

from patterns.core.pseudonym import strong_key
from patterns.policy.audit_writer import AuditWriter, Row, canonical
from patterns.policy.flow import Do, Flow, Policy, PolicyDenied, noting
from patterns.policy.identity import NoPrincipal, current_principal
from patterns.policy.responses import AnyResponse, Ending, ended, headers_of, whole
from patterns.policy.texts import Json
from patterns.policy.view import View, call_id, view_of

COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_NAME = re.compile(r"[A-Za-z0-9?*][\w.:?*@-]{0,63}\Z", re.ASCII)
_MOST_NAMES: Final = 20


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
        log, started, (facts, detail) = self.log, self._timer(), self._asked(request)

        def closing(event: str, **told: Any) -> Row:
            known = {key: value for key, value in told.items() if value is not None}
            more = {**known, "notes": notes} if notes else known
            return log.row(event, **facts, **more, ms=round((self._timer() - started) * 1e3, 3))

        def close(row: Row) -> Do:
            return Do(partial(log.write, row, keep=True), partial(log.write_async, row, keep=True))

        with noting() as notes:
            if request.retries_taken == 0:
                row = log.row("request", detail, **facts)
                yield Do(partial(log.write, row), partial(log.write_async, row))
            try:
                response = yield request
                yield from whole(response)
            except BaseException as error:
                yield close(closing(**_failure(error)))
                raise
        return (
            yield from ended(
                response,
                lambda ending: close(closing(**_outcome(response, ending))),
                lambda ending: log.queue(closing(**_outcome(response, ending))),
            )
        )

    def _asked(self, request: APIRequest) -> tuple[dict[str, Any], dict[str, Any]]:
        facts: dict[str, Any] = {"call": call_id(request), "attempt": request.retries_taken}
        try:
            view = view_of(request)
            facts |= {"endpoint": view.endpoint, **_asked(view)}
            prompt = self._prompt(view)
        except PolicyDenied as error:
            facts["endpoint"], prompt = "unreadable", error.rule
        return facts, {"prompt": prompt, **self._who()}

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
        return self._text("\n".join(text for one in view.items for text in one.texts.joined))

    def __repr__(self) -> str:
        return "Audit"


def _asked(view: View) -> dict[str, Any]:
    """What was asked for: names and numbers, none of them free text."""
    actions = view.actions
    models = _names([model for one in actions for model in one.models])
    asked = {
        "model": models[0] if models else None,
        "models": models if len(models) > 1 else None,
        "tools": _names([tool for one in actions for tool in one.tools]),
        "max_tokens": sum([one.max_tokens or 0 for one in actions]),
        "images": sum([one.images for one in actions]),
        "documents": sum([one.documents for one in actions]),
        "items": actions[0].items if actions[0].item is not None else 0,
    }
    return {key: value for key, value in asked.items() if value}


def _names(found: list[str]) -> list[str]:
    """Each once; what does not look like a name may be a prompt, and is not written down."""
    names = dict.fromkeys([name if _NAME.match(name) else "not a name" for name in found])
    return list(names)[:_MOST_NAMES]


def _prompt_of(body: Json) -> Any:
    return {key: body.get(key) for key in ("system", "messages", "tools")}


def _failure(error: BaseException) -> dict[str, Any]:
    """Event and facts of an exception: its class, never its text, which may quote the prompt."""
    if isinstance(error, PolicyDenied):
        why = {"rule": error.rule, "reason": error.why or None}
        return {"event": "denied", "error": type(error).__name__, **why}
    return {"event": "error", "error": type(error).__name__}


def _outcome(response: AnyResponse, ending: Ending) -> dict[str, Any]:
    return {
        "event": "response" if ending.error is None else "error",
        "status": response.status_code,
        "request_id": headers_of(response).get(b"request-id", b"").decode("latin-1") or None,
        "stream": None if ending.how == "whole" else ending.how,
        "error": ending.error,
        "usage": _usage(ending.usage),
        "stop_reason": ending.stop_reason,
    }


def _usage(usage: dict[str, Any]) -> dict[str, int] | None:
    return {kind: usage.get(kind) or 0 for kind in COUNTED} if usage else None
