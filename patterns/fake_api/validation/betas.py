"""Which beta opens which field, block, tool or value. Everything else is open to all.

A beta opens its own fields and nothing else, and a name that nobody knows is refused. Keys are the
SDK's type without `Beta`, `Request` and `Param`: a field of it, a value of a field, or `type=` with
the tag by which a union knows it. Sources: docstrings of anthropic 2.14.0, the pages that the
betas' names lead to (August to October 2026), build-with-claude/preserved-thinking.
"""

from collections.abc import Mapping
from typing import Final, get_args

from anthropic.types import AnthropicBetaParam

from patterns.fake_api.wire.errors import APIError

CONTEXT: Final = ("context-management-2025-06-27",)
COMPACT: Final = ("compact-2026-01-12",)
COMPACTION: Final = ("compact-2026-09-04",)
MCP: Final = ("mcp-client-2025-04-04", "mcp-client-2025-11-20", "mcp-client-2026-09-15")
TOOLSETS: Final = ("mcp-client-2025-11-20", "mcp-client-2026-09-15")
FALLBACK: Final = ("server-side-fallback-2026-06-01", "server-side-fallback-2026-07-01")
CREDIT: Final = ("fallback-credit-2026-06-01", "fallback-credit-2026-07-01")
TOOL_CHANGES: Final = ("mid-conversation-tool-changes-2026-07-01", "inline-tools-2026-09-15")
UPDATES: Final = ("thinking-display-updates-2026-08-18",)
BINDING: Final = ("thinking-binding-controls-2026-08-01",)
COMPUTER_2024: Final = ("computer-use-2024-10-22",)

TOP_LEVEL: Final[Mapping[str, tuple[str, ...]]] = {
    "billing_policy": ("user-profiles-billing-2026-10-01",),
    "compaction": COMPACTION,
    "context_management": (*CONTEXT, *COMPACT),
    "fallback_credit_token": CREDIT,
    "fallbacks": FALLBACK,
    "mcp_servers": MCP,
    "output_format": ("structured-outputs-2025-11-13",),
    "thread": ("message-threads-2026-08-12",),
}
"""Fields of the body, for a message and for a count."""

OPENED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    **{f"CreateParams.{field}": betas for field, betas in TOP_LEVEL.items()},
    **{f"CountParams.{field}": betas for field, betas in TOP_LEVEL.items()},
    "OutputConfig.task_budget": ("task-budgets-2026-03-13",),
    "SystemMessage.clear_at": ("mid-conversation-system-clear-at-2026-08-21",),
    "SystemMessage.output_config": ("mid-conversation-output-config-2026-07-01",),
    "ThinkingConfigAdaptive.block_binding": BINDING,
    "ThinkingConfigEnabled.block_binding": BINDING,
    "ClearToolUses20250919Edit.type=clear_tool_uses_20250919": CONTEXT,
    "ClearThinking20251015Edit.type=clear_thinking_20251015": CONTEXT,
    "Compact20260112Edit.type=compact_20260112": COMPACT,
    "CompactionBlock.type=compaction": (*COMPACT, *COMPACTION),
    "FallbackBlock.type=fallback": FALLBACK,
    "MCPToolset.type=mcp_toolset": TOOLSETS,
    "MCPToolset.tools": ("mcp-client-2026-09-15",),
    "MCPToolUseBlock.type=mcp_tool_use": MCP,
    "MCPToolResultBlock.type=mcp_tool_result": MCP,
    "MCPToolListingBlock.type=mcp_tool_listing": ("mcp-client-2026-09-15",),
    "ToolAdditionBlock.type=tool_addition": TOOL_CHANGES,
    "ToolRemovalBlock.type=tool_removal": TOOL_CHANGES,
    "ToolChangeToolDefinition.type=tool_definition": ("inline-tools-2026-09-15",),
    "ThinkingConfigAdaptive.display=updates": UPDATES,
    "ThinkingConfigEnabled.display=updates": UPDATES,
    "ServerToolUseBlock.name=advisor": ("advisor-tool-2026-03-01",),
    "AdvisorTool20260301.type=advisor_20260301": ("advisor-tool-2026-03-01",),
    "AdvisorToolResultBlock.type=advisor_tool_result": ("advisor-tool-2026-03-01",),
    "ToolBash20241022.type=bash_20241022": COMPUTER_2024,
    "ToolTextEditor20241022.type=text_editor_20241022": COMPUTER_2024,
    "ToolComputerUse20241022.type=computer_20241022": COMPUTER_2024,
    "ToolComputerUse20250124.type=computer_20250124": ("computer-use-2025-01-24",),
    "ToolComputerUse20251124.type=computer_20251124": ("computer-use-2025-11-24",),
}
"""Of several betas any one does."""


ELSEWHERE: Final = (
    "advanced-tool-use-2025-11-20", "afk-mode-2026-01-31", "claude-code-20250219",
    "code-execution-2025-08-25", "dangerous-tool-use-2026-09-03", "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14", "mid-conversation-system-2026-04-07",
    "oauth-2025-04-20", "per-turn-control-2026-07-01", "prompt-caching-scope-2026-01-05",
    "redact-thinking-2026-02-12", "search-results-2025-06-09", "structured-outputs-2025-12-15",
    "tool-examples-2025-10-29", "tool-search-tool-2025-10-19", "web-fetch-2025-09-10",
    "web-search-2025-03-05",
)  # fmt: skip
"""Names that the SDK's list lacks and that public code sends to the API (to October 2026)."""
KNOWN: Final = frozenset(
    (*ELSEWHERE, *(name for part in get_args(AnthropicBetaParam) for name in get_args(part)))
)


def betas_of(header: str) -> frozenset[str]:
    """The betas that a request asks for.

    Raises:
        APIError: 400 for a name that the API does not know.
    """
    betas = frozenset(name for part in header.split(",") if (name := part.strip()))
    if unknown := sorted(betas - KNOWN):
        raise APIError(
            400,
            f"Unexpected value(s) `{'`, `'.join(unknown)}` for the `anthropic-beta` header. "
            "See the documentation's page on beta headers, or try again without the header.",
        )
    return betas


def opening(shape: str, field: str) -> frozenset[str] | None:
    """The betas of which one opens a field or a tag; None where it is open to all."""
    betas = OPENED_BY.get(f"{shape}.{field}")
    return None if betas is None else frozenset(betas)
