"""Threads: conversations whose earlier turns the API holds (beta `message-threads-2026-08-12`).

`{"type": "create"}` keeps a conversation under the response's id; `{"type": "continue"}` goes on
from it with the new messages only. Held in memory, per workspace. Sources: the types and the error
classes of anthropic 2.14.0; which fields must stay the same, from public notes of October 2026.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from patterns.fake_api.wire.errors import APIError

SAME: Final = ("model", "system", "tools", "output_config")
"""Fields that a continuation may leave out but not change."""
UNSUPPORTED: Final = ("cache_control", "context_management", "fallbacks")
"""Fields of the body that a thread does not go with."""


@dataclass(slots=True)
class _Held:
    workspace: str
    body: Mapping[str, Any]
    """The whole request, without `thread`."""
    answer: list[dict[str, Any]]
    continued: bool = False


class Threads:
    """The threads of one fake API."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def whole(self, body: Mapping[str, Any], workspace: str) -> Mapping[str, Any]:
        """The request with the turns that its thread holds, and the fields that it left out.

        Raises:
            APIError: the thread is not there, has gone on, or does not go with the request.
        """
        thread = body.get("thread")
        if thread is None:
            return body
        _check_supported(body)
        if thread["type"] == "create":
            return body
        held = self._find(thread["previous_message_id"], workspace)
        _check_same(held.body, body)
        answer = {"role": "assistant", "content": held.answer}
        messages = [*held.body["messages"], answer, *body["messages"]]
        return {**held.body, **body, "messages": messages}

    def _find(self, message_id: str, workspace: str) -> _Held:
        held = self._held.get(message_id)
        if held is None or held.workspace != workspace:
            raise APIError(
                404,
                f"no thread was found for previous_message_id {message_id!r}; replay the full "
                'conversation with thread {"type": "create"}',
                error_code="thread_not_found",
            )
        if held.continued:
            raise APIError(
                400,
                f"{message_id!r} has already been continued; go on from the thread's latest "
                "response",
                error_code="thread_already_continued",
            )
        return held

    def hold(self, body: Mapping[str, Any], workspace: str, message: Mapping[str, Any]) -> None:
        """Keep a conversation under its answer's id, and mark the answer before it as continued."""
        thread = body.get("thread")
        if thread is None:
            return
        if thread["type"] == "continue":
            self._held[thread["previous_message_id"]].continued = True
        kept = {key: value for key, value in body.items() if key not in ("thread", "stream")}
        self._held[message["id"]] = _Held(workspace, kept, message["content"])


def _check_supported(body: Mapping[str, Any]) -> None:
    names = [name for name in UNSUPPORTED if body.get(name) is not None]
    if (body.get("thinking") or {}).get("type") == "enabled":
        names.append("thinking")
    if names:
        raise APIError(
            400,
            f"thread does not go with {', '.join(names)}; send the full conversation without "
            "`thread`",
            error_code="thread_unsupported_request",
            details={"unsupported": names},
        )


def _check_same(held: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    differing = [key for key in SAME if key in body and body[key] != held.get(key)]
    if differing:
        raise APIError(
            400,
            f"the request does not fit its thread; differing field(s): {', '.join(differing)}",
            error_code="thread_fingerprint_mismatch",
        )
