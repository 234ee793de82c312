"""A session with an MCP server that survives the server.

For: calling tools, resources and prompts of MCP servers from notebooks, services and agents, with
reconnection, timeouts, retries where they are safe, a history with correlation ids, and Claude in
the loop. Not for: a public https server whose tools only Claude uses, where the API's own MCP
connector needs no client at all; or a single call in a script, where a bare `mcp.Client` will do.
Chapter: notebooks/02_mcp.ipynb.
"""

from patterns.mcp_session.boundary import claude_name
from patterns.mcp_session.connect import (
    Connect,
    http_server,
    serve_http,
    serving,
    stdio_server,
)
from patterns.mcp_session.connection import ClientOptions
from patterns.mcp_session.errors import (
    AccessDenied,
    CallTimeout,
    ResultValidationError,
    ServerUnavailable,
    SessionClosed,
)
from patterns.mcp_session.history import CORRELATION_KEY, ToolCall
from patterns.mcp_session.results import as_claude_content
from patterns.mcp_session.retry import RetryPolicy, declared_safe
from patterns.mcp_session.sampling import sampling_with
from patterns.mcp_session.session import ToolSession

__all__ = [
    "CORRELATION_KEY",
    "AccessDenied",
    "CallTimeout",
    "ClientOptions",
    "Connect",
    "ResultValidationError",
    "RetryPolicy",
    "ServerUnavailable",
    "SessionClosed",
    "ToolCall",
    "ToolSession",
    "as_claude_content",
    "claude_name",
    "declared_safe",
    "http_server",
    "sampling_with",
    "serve_http",
    "serving",
    "stdio_server",
]
