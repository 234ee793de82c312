"""An audit row for every call, before it is sent and after it has ended, denials included.

The outermost middleware: it sees what every other policy says. A call that cannot be recorded is
not made. Prompts are recorded as keyed fingerprints, so the log proves what was asked to someone
who has the text, and tells nothing to anyone else.

    python -m patterns.policy.audit verify|tail|export FILE --key-file KEY

Taught in chapter 01.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from anthropic import (
    APIRequest,
    APIResponse,
    AsyncAPIResponse,
    AsyncCallNext,
    CallNext,
    Middleware,
)

from patterns.policy.audit_log import (
    AuditLog,
    AuditUnavailable,
    Head,
    Verdict,
    WrongKey,
    canonical,
    export,
)
from patterns.policy.identity import NoPrincipal, current_principal, pseudonym
from patterns.policy.responses import (
    AnyResponse,
    Ending,
    Watch,
    http_of,
    is_open,
    json_of,
    must_read,
    through,
)
from patterns.policy.wire import (
    BATCH,
    Json,
    PolicyDenied,
    bodies_of,
    call_id,
    endpoint_of,
    noting,
    texts_of,
)

__all__ = ["Audit", "AuditLog", "AuditUnavailable", "Head", "Verdict", "WrongKey", "canonical"]

COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_MODEL = re.compile(r"[A-Za-z0-9][\w.:@-]{0,63}\Z", re.ASCII)
_ERROR = re.compile(r"[a-z_]{1,64}\Z")


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
        milliseconds = round((self.timer() - self.started) * 1000, 3)
        return {
            **self.facts,
            **{key: value for key, value in facts.items() if value is not None},
            **({"notes": self.notes} if self.notes else {}),
            "ms": milliseconds,
        }


class Audit(Middleware):
    """Write one `request` row per call, and one row for how each attempt ended.

    The closing row is `response`, `denied` (a policy said no) or `error`. The rows of a call
    share `call`, and only the first names a person. A call that was retried has one `request`
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
        log: AuditLog,
        user_key: str | bytes,
        *,
        text: Callable[[str], str] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        pseudonym("", user_key)  # a weak key is refused here, not at the first call
        self.log, self._user_key, self._text, self._timer = log, user_key, text, timer

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        with noting() as notes:
            call = self._call(request, notes)
            if request.retries_taken == 0:
                self.log.append("request", call.detail, **call.facts)
            try:
                response = call_next(request)
            except BaseException as error:
                event, facts = _failure(error)
                self.log.append_later(event, **call.row(**facts))
                raise
        if must_read(response):
            response.read()
        if is_open(request, response):
            response = through(response, self._watch(call, response, self.log.append_later))
        else:
            event, facts = _outcome(response)
            self.log.append_later(event, **call.row(**facts))
        return response

    async def handle_async(
        self, request: APIRequest, call_next: AsyncCallNext
    ) -> AsyncAPIResponse[Any]:
        with noting() as notes:
            call = self._call(request, notes)
            if request.retries_taken == 0:
                await self.log.append_async("request", call.detail, **call.facts)
            try:
                response = await call_next(request)
            except BaseException as error:
                event, facts = _failure(error)
                self.log.append_later(event, **call.row(**facts))
                raise
        if must_read(response):
            await response.read()
        if is_open(request, response):
            response = through(response, self._watch(call, response, self.log.append_later_async))
        else:
            event, facts = _outcome(response)
            await self.log.append_later_async(event, **call.row(**facts))
        return response

    def _call(self, request: APIRequest, notes: dict[str, Any]) -> _Call:
        facts = {
            "call": call_id(request),
            "attempt": request.retries_taken,
            "endpoint": endpoint_of(request),
            **self._asked(request),
        }
        return _Call(facts, self._detail(request), notes, self._timer(), self._timer)

    def _asked(self, request: APIRequest) -> dict[str, Any]:
        body = request.json
        if not isinstance(body, Mapping):
            return {}
        if endpoint_of(request) == BATCH:
            items = body.get("requests")
            return {"items": len(items) if isinstance(items, Sequence) else 0}
        model = str(body.get("model", ""))
        return {"model": model if _MODEL.match(model) else "not a model id"}

    def _detail(self, request: APIRequest) -> dict[str, Any]:
        detail: dict[str, Any] = {"prompt": self._prompt(request)}
        try:
            principal = current_principal()
        except NoPrincipal:
            return detail
        detail["user"] = pseudonym(principal.id, self._user_key)
        known = {"workspace": principal.workspace, "ip": principal.ip}
        return {**detail, **{key: value for key, value in known.items() if value is not None}}

    def _prompt(self, request: APIRequest) -> str:
        try:
            bodies = [body for _, body in bodies_of(request)]
        except PolicyDenied as error:
            return error.rule
        if self._text is None:
            return self.log.hash(canonical([_prompt_of(body) for body in bodies]))
        runs = (run for body in bodies for run in texts_of(body))
        return self._text("\n".join("".join(slot.text for slot in run) for run in runs))

    def _watch(self, call: _Call, response: AnyResponse, append: Callable[..., Any]) -> Watch:
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

        def report(ending: Ending) -> Any:
            event, row = closing(ending)
            return append(event, **row)

        def dropped(ending: Ending) -> None:
            event, row = closing(ending)
            self.log.append_later(event, **row)

        return Watch(report, dropped)

    def __repr__(self) -> str:
        return "Audit"


def _prompt_of(body: Json) -> Any:
    return {key: body.get(key) for key in ("system", "messages", "tools")}


def _failure(error: BaseException) -> tuple[str, dict[str, Any]]:
    """Event and facts of an exception: its class, never its text, which may quote the prompt."""
    if isinstance(error, PolicyDenied):
        return "denied", {"error": type(error).__name__, "rule": error.rule}
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


def main(arguments: Sequence[str] | None = None) -> int:
    """`verify`, `tail` or `export` a log; 0 when all is well, 1 when it was altered."""
    options = _parser().parse_args(arguments)
    if not options.file.is_file():
        sys.stderr.write(f"{options.file}: no such file\n")
        return 2
    with AuditLog(options.file, options.key_file.read_bytes().strip()) as log:
        if options.command == "verify":
            return _verify(log, options.head)
        rows = log.rows(user=options.user)
        for line in export(rows if options.command == "export" else _last(rows, options.n)):
            sys.stdout.write(line + "\n")
    return 0


def _verify(log: AuditLog, head: Head | None) -> int:
    verdict = log.verify(head=head)
    stand = log.head()
    if verdict.intact:
        sys.stdout.write(f"intact: {verdict.rows} rows, {verdict.erased} erased; ")
        sys.stdout.write(f"head {stand.seq}:{stand.mac}\n")
        return 0
    sys.stdout.write(f"altered at row {verdict.broken_at}: {verdict.problem}\n")
    return 1


def _last(rows: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    found = list(rows)
    return islice(found, max(0, len(found) - count), None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m patterns.policy.audit")
    parser.add_argument("command", choices=("verify", "tail", "export"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--key-file", type=Path, required=True, help="file that holds the key")
    parser.add_argument("--head", type=_head, help="SEQ:MAC, anchored when the log was whole")
    parser.add_argument("--user", help="rows of this pseudonym only")
    parser.add_argument("-n", type=int, default=10, help="rows that tail shows")
    return parser


def _head(text: str) -> Head:
    seq, _, mac = text.partition(":")
    return Head(int(seq), mac)


if __name__ == "__main__":  # pragma: no cover  # the tests call main()
    raise SystemExit(main())
