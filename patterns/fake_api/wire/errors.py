"""The errors of the API in the API's own shape.

`APIError` is raised inside the fake and becomes a response; a caller never sees it. The types and
status codes are those of the API's errors page; the messages are ours.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from patterns.core.errors import Portable

TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

MESSAGES: Final[Mapping[int, str]] = {
    401: "the credential is not valid",
    402: "there is a problem with billing or payment",
    403: "this credential may not use the resource",
    404: "Not found",
    413: "Request exceeds the maximum size",
    429: "this request would exceed a rate limit",
    500: "an internal error happened",
    504: "the request took too long",
    529: "Overloaded",
}


def type_of(status: int) -> str:
    """The error type that goes with a status code."""
    return TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


class APIError(Portable, Exception):
    """An error response.

    Attributes:
        status: HTTP status code.
        type: the API's error type.
        message: what a person reads.
        error_code: the stable code in `error.details`, where there is one.
        details: what else `error.details` holds.
        headers: response headers that this error adds.
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the API's own name for it
        error_code: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.type = type or type_of(status)
        self.message = message or MESSAGES.get(status, "the request failed")
        self.error_code = error_code
        self.details = dict(details or {})
        self.headers = {**(headers or {}), **retry_headers(retry_after)}
        super().__init__(self.message)

    def as_dict(self, request_id: str) -> dict[str, Any]:
        """The body of the response."""
        error: dict[str, Any] = {"type": self.type, "message": self.message}
        if self.error_code is not None:
            error["details"] = {"error_code": self.error_code, **self.details}
        return {"type": "error", "error": error, "request_id": request_id}


def retry_headers(seconds: float | None) -> dict[str, str]:
    """`retry-after` in whole seconds, and in milliseconds where those would be lost."""
    if seconds is None:
        return {}
    headers = {"retry-after": str(math.ceil(seconds))}
    if seconds != math.ceil(seconds):
        headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
    return headers


def bad(path: str, problem: str) -> APIError:
    """A 400 that names the field at fault."""
    return APIError(400, f"{path}: {problem}")
