"""Sessions with MCP servers that survive their servers, and conversations over their tools.

For: calling tools, resources and prompts of MCP servers from notebooks, services and agents, with
reconnection, timeouts, retries where they are safe, a history with correlation ids, and Claude in
the loop. Not for: a public https server whose tools only Claude uses, where the API's own MCP
connector needs no client at all; or a single call in a script, where a bare `mcp.Client` will do.
`boundary`, `schemas`, `results`, `media` and `visible` make tools and results of strangers fit for
Claude without any session. Chapter: notebooks/02_mcp.ipynb.
"""

from patterns.mcp_session.boundary import claude_name as claude_name
from patterns.mcp_session.boundary import offer
from patterns.mcp_session.claude import ToolSession
from patterns.mcp_session.connect import Connect as Connect
from patterns.mcp_session.connect import http_server, stdio_server
from patterns.mcp_session.conversation import Conversation
from patterns.mcp_session.errors import AccessDenied, ServerUnavailable
from patterns.mcp_session.errors import CallTimeout as CallTimeout
from patterns.mcp_session.errors import ResultValidationError as ResultValidationError
from patterns.mcp_session.errors import SessionClosed as SessionClosed
from patterns.mcp_session.events import Budget
from patterns.mcp_session.history import CORRELATION_KEY as CORRELATION_KEY
from patterns.mcp_session.history import ToolCall as ToolCall
from patterns.mcp_session.registry import Conversations
from patterns.mcp_session.results import as_claude_content
from patterns.mcp_session.retry import RetryPolicy, declared_safe
from patterns.mcp_session.sampling import sampling_with

__all__ = [
    "AccessDenied",
    "Budget",
    "Conversation",
    "Conversations",
    "RetryPolicy",
    "ServerUnavailable",
    "ToolSession",
    "as_claude_content",
    "declared_safe",
    "http_server",
    "offer",
    "sampling_with",
    "stdio_server",
]
