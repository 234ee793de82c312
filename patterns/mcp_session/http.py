"""Streamable HTTP that says what went wrong.

The transport of mcp 2.3 turns each refusal into the same -32603, and a refused connection into the
end of every request that shares it. It does pass on a JSON-RPC error that it finds in a response
body, so `ExplainingClient` puts one there: with the HTTP status, the challenge, and whether the
message can have reached the server.
"""

from typing import Any

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.types import CONNECTION_CLOSED, INTERNAL_ERROR, JSONRPCError, jsonrpc_message_adapter

DENIED = frozenset({401, 403})
BUSY = frozenset({429, 503})
GATEWAY = frozenset({502, 504})
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class ExplainingClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` whose failed POSTs carry their reason as a JSON-RPC error."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        try:
            response = await super().send(request, **options)
        except (httpx2.TransportError, OAuthFlowError) as error:
            if not _explainable(request):
                raise
            return _failed(request, error)
        if request.method == "POST" and response.status_code >= 400:
            await response.aread()
            return _refused(request, response) or response
        return response


def _explainable(request: httpx2.Request) -> bool:
    """A failed probe must stay an exception: it is no verdict on the server's protocol era."""
    return request.method == "POST" and request.headers.get("mcp-method") != "server/discover"


def _failed(
    request: httpx2.Request, error: httpx2.TransportError | OAuthFlowError
) -> httpx2.Response:
    reason = str(error) or type(error).__name__
    if isinstance(error, OAuthFlowError):
        return _explained(request, 401, INTERNAL_ERROR, reason, www_authenticate=reason)
    sent = not isinstance(error, NEVER_SENT)
    return _explained(request, 503, CONNECTION_CLOSED, reason, sent=sent)


def _refused(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response | None:
    """The response with its reason inside; None if its own body explains it better."""
    status = response.status_code
    own = _json_rpc_error(response)
    if "mcp-session-id" in request.headers and (
        status == 404 or (own and own.error.code == CONNECTION_CLOSED)
    ):
        return _explained(request, status, CONNECTION_CLOSED, "the server forgot the session")
    if own or status not in DENIED | BUSY | GATEWAY:
        return None
    return _explained(
        request,
        status,
        INTERNAL_ERROR if status in DENIED else CONNECTION_CLOSED,
        f"HTTP {status} {response.reason_phrase}",
        sent=status in GATEWAY,
        www_authenticate=response.headers.get("www-authenticate", ""),
    )


def _json_rpc_error(response: httpx2.Response) -> JSONRPCError | None:
    try:
        message = jsonrpc_message_adapter.validate_json(response.content, by_name=False)
    except ValueError:
        return None
    return message if isinstance(message, JSONRPCError) else None


def _explained(
    request: httpx2.Request,
    status: int,
    code: int,
    message: str,
    *,
    sent: bool = False,
    www_authenticate: str = "",
) -> httpx2.Response:
    data = {"status": status, "sent": sent, "www_authenticate": www_authenticate}
    error = {"code": code, "message": message, "data": data}
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return httpx2.Response(status, json=body, request=request)
