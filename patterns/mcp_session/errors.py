"""What can go wrong between a session and its server, one exception per thing a caller can handle.

    MCPError                     (mcp) an error the server answered with: code, message, data
    ├── ServerUnavailable        the server could not be reached, or the connection was lost
    │   └── CallTimeout          the server did not answer in time
    └── AccessDenied             HTTP 401 or 403
    RuntimeError
    ├── ResultValidationError    the answer breaks the tool's own schema, or the protocol
    └── SessionClosed            the session is not open, or was opened in another event loop

Each one subclasses what a bare `mcp.Client` raises, so existing `except` clauses keep working.
"""

import uuid
from dataclasses import dataclass
from typing import Any, Final

from mcp import MCPError
from mcp.client.auth import OAuthFlowError
from mcp.types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    REQUEST_TIMEOUT,
)
from pydantic import ValidationError

from patterns.core.errors import Portable
from patterns.mcp_session.naming import without_secrets

EXPLAINED: Final = uuid.uuid4().hex
"""Key of our own facts in an error's data; drawn anew, so that no server can forge them."""

DENIED: Final = frozenset({401, 403})


class ServerUnavailable(Portable, MCPError):
    """The server could not be reached, or gave no usable answer to a request.

    Attributes:
        maybe_done: The request had been sent: the tool may or may not have run.
        status: The HTTP status that came instead of an answer, else None.
        retry_after: Seconds that the server asked to wait, else None.
        stderr: The last words of a child process that could not be reached.
    """

    def __init__(
        self,
        server: str,
        reason: str,
        *,
        maybe_done: bool = False,
        stderr: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        code: int = CONNECTION_CLOSED,
    ) -> None:
        self.server = server
        self.reason = without_secrets(reason)
        self.maybe_done = maybe_done
        self.stderr = stderr
        self.status = status
        self.retry_after = retry_after
        super().__init__(code, self._explain())

    def _explain(self) -> str:
        if self.maybe_done:
            text = f"no answer from {self.server} to a request ({self.reason}); it may have run: "
            return text + "check, then ask again"
        text = f"cannot reach {self.server}: {self.reason}; start it, then call again"
        return f"{text}\nits stderr ends with: {self.stderr}" if self.stderr else text


class CallTimeout(ServerUnavailable):
    """The server took longer than `seconds` to answer; it was asked to stop."""

    def __init__(self, server: str, request: str, seconds: float) -> None:
        self.request = request
        self.seconds = seconds
        why = f"no answer within {seconds:g} s"
        super().__init__(server, why, maybe_done=True, code=REQUEST_TIMEOUT)

    def _explain(self) -> str:
        return (
            f"{self.request!r} had no answer from {self.server} within {self.seconds:g} s; "
            "it may have run: allow more time or check"
        )


class AccessDenied(Portable, MCPError):
    """The server answered HTTP 401 (who are you?) or 403 (you may not)."""

    def __init__(self, server: str, status: int, challenge: str) -> None:
        self.server = server
        self.status = status
        self.challenge = challenge
        need = "pass a valid token" if status == 401 else "pass a token with the scope it names"
        told = f" and said {challenge!r}" if challenge else ""
        super().__init__(INTERNAL_ERROR, f"{server} answered HTTP {status}{told}; {need}")


class ResultValidationError(Portable, RuntimeError):
    """An answer breaks the schema that its tool declares, or the protocol. A tool *has* run."""

    def __init__(self, request: str, detail: str) -> None:
        self.tool = request
        self.detail = detail
        super().__init__(
            f"{request!r} ran and returned an invalid result: {detail}; report it to the server"
        )


class SessionClosed(Portable, RuntimeError):
    """The session is not open in the running event loop."""

    def __init__(self, server: str, *, elsewhere: bool = False) -> None:
        what = "is not open; call open() or use async with"
        if elsewhere:
            what = (
                "was opened in another event loop; open one session per loop, "
                "and use and close it there"
            )
        super().__init__(f"the session with {server} {what}")


def leaves(error: BaseException | None) -> list[BaseException]:
    """The exceptions inside nested exception groups, depth first."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error] if error else []


def access_denied(server: str, error: BaseException) -> AccessDenied | None:
    """A refusal to let us in, in whichever way it arrived, as a typed error."""
    if isinstance(error, OAuthFlowError):
        return AccessDenied(server, 401, str(error))
    known = no_answer(error)
    if known is not None and known.status in DENIED:
        return AccessDenied(server, known.status, known.challenge)
    return None


@dataclass(frozen=True)
class NoAnswer:
    """What is known of a request that got no answer of the protocol.

    Attributes:
        sent: The request may have reached the server.
        lost: The connection is of no further use.
        status: HTTP status, if there was one.
        retry_after: Seconds to wait, if the server named them.
        challenge: The `WWW-Authenticate` header of a refusal.
        forgotten: The answer says that the server does not know the session any more.
    """

    sent: bool
    lost: bool
    status: int | None = None
    retry_after: float | None = None
    challenge: str = ""
    forgotten: bool = False


LOST_CONNECTION: Final = NoAnswer(sent=True, lost=True)
LOST: Final = ("Connection closed", "SSE stream")
UNUSABLE: Final = (
    "Failed to parse",
    "Unexpected content type",
    "server answered a request with 202",
    "Redirect to ",
)
"""How the transports of mcp 2.3 begin the errors that they make up themselves."""


def no_answer(error: BaseException | None) -> NoAnswer | None:
    """What is known if `error` was made on our side of the wire; None if the server sent it.

    A code alone does not tell: -32000 is also an ordinary answer of many servers.
    """
    if not isinstance(error, MCPError):
        return None
    data: Any = error.data
    if isinstance(data, dict) and EXPLAINED in data:
        return NoAnswer(**data[EXPLAINED])
    if error.code == CONNECTION_CLOSED and error.message.startswith(LOST):
        return LOST_CONNECTION
    if error.code in (PARSE_ERROR, INVALID_REQUEST) and error.message.startswith(UNUSABLE):
        return NoAnswer(sent=True, lost=False)
    return None


def invalid_result(request: str, error: Exception) -> ResultValidationError | None:
    """The bare errors with which mcp 2.3 reports an unusable result, as one typed error."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ResultValidationError(request, f"{first['loc'][-1]}: {first['msg']}")
    text = str(error)
    if type(error) is RuntimeError and text.startswith(("Invalid s", f"Tool {request} has")):
        return ResultValidationError(request, text.splitlines()[0])
    return None
