"""What can go wrong between a session and its server, one exception per thing a caller can handle.

    MCPError                     (mcp) an error the server answered with: code, message, data
    ├── ServerUnavailable        the server could not be reached, or the connection was lost
    │   └── CallTimeout          the server did not answer in time
    └── AccessDenied             HTTP 401 or 403
    RuntimeError
    ├── ResultValidationError    the answer breaks the tool's own schema, or the protocol
    └── SessionClosed            the session is used before `open` or after `aclose`

Each one subclasses what a bare `mcp.Client` raises, so existing `except` clauses keep working.
"""

from typing import Any

from mcp import MCPError
from mcp.client.auth import OAuthFlowError
from mcp.types import CONNECTION_CLOSED, INTERNAL_ERROR, REQUEST_TIMEOUT
from pydantic import ValidationError


class ServerUnavailable(MCPError):
    """The server could not be reached, or the connection was lost while it was working.

    `maybe_done` is true when the request had been sent: the tool may or may not have run.
    """

    def __init__(
        self, server: str, reason: str, *, maybe_done: bool = False, stderr: str = ""
    ) -> None:
        self.server = server
        self.reason = reason
        self.maybe_done = maybe_done
        self.stderr = stderr
        super().__init__(CONNECTION_CLOSED, self._explain())

    def _explain(self) -> str:
        if self.maybe_done:
            text = f"lost {self.server} during a request ({self.reason}); it may have run: check, "
            return text + "then ask again"
        text = f"cannot reach {self.server}: {self.reason}; start it, then call again"
        return f"{text}\nits stderr ends with: {self.stderr}" if self.stderr else text


class CallTimeout(ServerUnavailable):
    """The server took longer than `seconds` to answer; it was asked to stop."""

    def __init__(self, server: str, request: str, seconds: float) -> None:
        self.request = request
        self.seconds = seconds
        super().__init__(server, f"no answer within {seconds:g} s", maybe_done=True)
        self.error.code = REQUEST_TIMEOUT

    def _explain(self) -> str:
        return (
            f"{self.request!r} had no answer from {self.server} within {self.seconds:g} s; "
            "it may have run: allow more time or check"
        )


class AccessDenied(MCPError):
    """The server answered HTTP 401 (who are you?) or 403 (you may not)."""

    def __init__(self, server: str, status: int, challenge: str) -> None:
        self.server = server
        self.status = status
        self.challenge = challenge
        need = "pass a valid token" if status == 401 else "pass a token with the scope it names"
        told = f" and said {challenge!r}" if challenge else ""
        super().__init__(INTERNAL_ERROR, f"{server} answered HTTP {status}{told}; {need}")


class ResultValidationError(RuntimeError):
    """A result breaks the schema that its tool declares, or the protocol itself."""

    def __init__(self, tool: str, detail: str) -> None:
        self.tool = tool
        self.detail = detail
        super().__init__(f"{tool!r} returned an invalid result: {detail}; report it to the server")


class SessionClosed(RuntimeError):
    """The session is not open."""

    def __init__(self, server: str) -> None:
        super().__init__(f"the session with {server} is not open; call open() or use async with")


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside nested exception groups, depth first."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def access_denied(server: str, error: BaseException) -> AccessDenied | None:
    """A refusal to let us in, in whichever way it arrived, as a typed error."""
    if isinstance(error, OAuthFlowError):
        return AccessDenied(server, 401, str(error))
    data: Any = error.data if isinstance(error, MCPError) else None
    if isinstance(data, dict) and data.get("status") in (401, 403):
        return AccessDenied(server, data["status"], data.get("www_authenticate", ""))
    return None


def sent_before_loss(error: MCPError) -> bool | None:
    """Whether the request may have reached the server before the connection was lost.

    None if the connection was not lost: -32000 is also an ordinary answer of many servers.
    """
    data: Any = error.data
    if error.code != CONNECTION_CLOSED:
        return None
    if isinstance(data, dict) and "sent" in data:
        return bool(data["sent"])
    return True if error.message.startswith(("Connection closed", "SSE stream")) else None


def invalid_result(request: str, error: Exception) -> ResultValidationError | None:
    """The bare errors with which mcp 2.3 reports an unusable result, as one typed error."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][-2:])
        return ResultValidationError(request, f"{where}: {first['msg']}")
    text = str(error)
    if type(error) is RuntimeError and text.startswith(("Invalid s", f"Tool {request} has")):
        return ResultValidationError(request, text.splitlines()[0])
    return None
