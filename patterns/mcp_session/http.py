"""Streamable HTTP that says what went wrong.

The transport of mcp 2.3 turns each refusal into the same -32603, and a refused connection into the
end of every request that shares it. It does pass on a JSON-RPC error that it finds in a response
body, so `ExplainingClient` puts one there, with the facts of `errors.NoAnswer`. No status proves
that nothing happened: a proxy answers 503 after delivery all the time.
"""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict
from inspect import isawaitable
from typing import Any

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.types import CONNECTION_CLOSED, INTERNAL_ERROR, JSONRPCError, jsonrpc_message_adapter

from patterns.core.errors import Portable
from patterns.core.retrying import TRANSIENT, retry_after
from patterns.mcp_session.errors import DENIED, EXPLAINED, NoAnswer
from patterns.mcp_session.naming import HideSecrets, without_secrets

NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

Token = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function that gives the one that is valid now."""


for _name in ("httpx2", "mcp.client.streamable_http", "mcp.client.sse"):
    logging.getLogger(_name).addFilter(HideSecrets())


class CurrentToken(httpx2.Auth):
    """Asks for the token before every request, so that a rotated one is used at once."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        token = self._token if isinstance(self._token, str) else self._token()
        if isawaitable(token):
            token = await token
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


class Busy(Portable, httpx2.TransportError):
    """A probe was answered 429 or 503, which says nothing about the server's protocol era."""

    def __init__(self, reason: str, retry_after: float | None) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


def direct(url: str) -> httpx2.AsyncHTTPTransport | None:
    """For a server on this machine, a transport that asks no proxy that the environment names."""
    host = httpx2.URL(url).host
    here = host in ("localhost", "::1") or host.startswith("127.")
    return httpx2.AsyncHTTPTransport() if here else None


class ExplainingClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` whose failed POSTs carry their reason as a JSON-RPC error.

    The handshake finds the endpoint, by redirects too. A redirect after that is an answer like any
    other: what was sent may have run, so it is not sent once more.
    """

    _endpoint: httpx2.URL | None = None

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        if request.method == "POST":
            request.url = self._endpoint or request.url
        try:
            response = await super().send(request, **options)
        except (httpx2.TransportError, OAuthFlowError) as error:
            if not _explainable(request):
                raise
            return _failed(request, error)
        if request.method == "POST" and response.status_code >= (300 if self._endpoint else 400):
            await request.aread()  # one that was redirected has its content in a stream
            await response.aread()
            return _refused(request, response) or response
        if request.method == "POST" and response.is_success:
            self._endpoint = request.url
        return response


def _explainable(request: httpx2.Request) -> bool:
    """A failed probe must stay an exception: it is no verdict on the server's protocol era."""
    return request.method == "POST" and request.headers.get("mcp-method") != "server/discover"


def _failed(
    request: httpx2.Request, error: httpx2.TransportError | OAuthFlowError
) -> httpx2.Response:
    reason = without_secrets(str(error) or type(error).__name__)
    if isinstance(error, OAuthFlowError):
        denied = NoAnswer(sent=False, lost=True, status=401, challenge=reason)
        return _explained(request, INTERNAL_ERROR, reason, denied)
    sent = not isinstance(error, NEVER_SENT)
    return _explained(request, CONNECTION_CLOSED, reason, NoAnswer(sent=sent, lost=True))


def _refused(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response | None:
    """The response with its reason inside; None if its own body explains it better."""
    status = response.status_code
    own = _json_rpc_error(response)
    in_session = "mcp-session-id" in request.headers
    refused = own is not None and own.error.code == CONNECTION_CLOSED
    forgotten = in_session and (status == 404 or refused)
    no_such_method = status == 404 and b'"tools/call"' not in request.content
    elsewhere = status < 400
    if not (forgotten or elsewhere) and (own or no_such_method):
        return None
    known = NoAnswer(
        sent=True,
        lost=forgotten or elsewhere or status in DENIED,
        status=status,
        retry_after=retry_after(response.headers, now=time.time()),
        challenge=response.headers.get("www-authenticate", ""),
        forgotten=forgotten,
    )
    reason = "the server forgot the session" if forgotten else response.reason_phrase
    if status in (429, 503) and not _explainable(request):
        raise Busy(f"HTTP {status} {reason}", known.retry_after)
    passing = forgotten or elsewhere or status >= 500 or status in TRANSIENT
    code = CONNECTION_CLOSED if passing else INTERNAL_ERROR
    return _explained(request, code, f"HTTP {status} {reason}".strip(), known)


def _json_rpc_error(response: httpx2.Response) -> JSONRPCError | None:
    try:
        message = jsonrpc_message_adapter.validate_json(response.content)
    except ValueError:
        return None
    return message if isinstance(message, JSONRPCError) else None


def _explained(
    request: httpx2.Request, code: int, message: str, known: NoAnswer
) -> httpx2.Response:
    error = {"code": code, "message": message, "data": {EXPLAINED: asdict(known)}}
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return httpx2.Response(max(known.status or 503, 400), json=body, request=request)
