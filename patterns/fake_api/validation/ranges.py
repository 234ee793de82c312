"""Bounds and patterns of single fields, which the SDK's types do not say.

From the API reference (platform.claude.com/docs/en/api/beta/messages/create and count_tokens,
fields with minimum, maxLength, pattern, September 2026). Keys are the SDK's type without `Beta`,
`Request` and `Param`, and the field.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Bound: TypeAlias = Callable[[Any], str | None]
"""From a value of the right type to what is wrong with it, or None."""


def least(minimum: float, most: float | None = None) -> Bound:
    """A number not below `minimum` and not above `most`."""

    def check(value: float) -> str | None:
        if value < minimum:
            return f"Input should be greater than or equal to {minimum}, got {value}"
        if most is not None and value > most:
            return f"Input should be less than or equal to {most}, got {value}"
        return None

    return check


def sized(shortest: int, longest: int | None = None) -> Bound:
    """A text or list of a length within bounds."""

    def check(value: Any) -> str | None:
        unit = "characters" if isinstance(value, str) else "items"
        if len(value) < shortest:
            return f"should have at least {shortest} {unit}, got {len(value)}"
        if longest is not None and len(value) > longest:
            return f"should have at most {longest} {unit}, got {len(value)}"
        return None

    return check


def matching(pattern: str) -> Bound:
    """A text that matches a pattern as a whole."""
    compiled = re.compile(pattern)

    def check(value: str) -> str | None:
        fits = compiled.search(value) is not None and not value.endswith("\n")
        return None if fits else f"String should match pattern '{pattern}', got {value[:60]!r}"

    return check


def not_empty(value: str) -> str | None:
    """A text of at least one character."""
    return None if value else "text content blocks must be non-empty"


def no_contact(value: str) -> str | None:
    """An opaque id: no e-mail address, no telephone number."""
    if re.search(r"[^\s@]+@[^\s@]+\.[^\s@]+", value):
        return "appears to contain an email address; use an opaque identifier"
    if re.fullmatch(r"\+[\d\s().-]{7,20}", value):
        return "appears to contain a phone number; use an opaque identifier"
    return sized(0, 512)(value)


def country(value: str) -> str | None:
    """An ISO 3166 code of two letters; those that no country ever gets are refused."""
    known = re.fullmatch(r"[A-Za-z]{2}", value) and not re.fullmatch(
        r"AA|OO|Q[M-Z]|X[A-JL-Z]|ZZ", value, re.IGNORECASE
    )
    return None if known else f"unsupported country code {value[:60]!r}; use ISO 3166-1 alpha-2"


ID: Final = matching(r"^[a-zA-Z0-9_-]+$")
SERVER_ID: Final = matching(r"^srvtoolu_[a-zA-Z0-9_]+$")
POSITIVE: Final = least(1)
NOT_NEGATIVE: Final = least(0)
TITLE: Final = sized(1, 500)
SERVER_RESULTS: Final = (
    "WebSearch",
    "WebFetch",
    "Advisor",
    "CodeExecution",
    "BashCodeExecution",
    "TextEditorCodeExecution",
    "ToolSearch",
)
COMPUTERS: Final = ("20241022", "20250124", "20251124")
SEARCHES: Final = ("20250305", "20260209", "20260318")
FETCHES: Final = ("20250910", "20260209", "20260309", "20260318")

RANGES: Final[Mapping[str, Bound]] = {
    "CreateParams.temperature": least(0, 1),
    "CreateParams.top_p": least(0, 1),
    "CreateParams.top_k": NOT_NEGATIVE,
    "CreateParams.mcp_servers": sized(0, 20),
    "Metadata.user_id": no_contact,
    "TextBlock.text": not_empty,
    "DocumentBlock.title": TITLE,
    "DocumentBlock.context": sized(1),
    "CitationCharLocation.document_title": TITLE,
    "CitationPageLocation.document_title": TITLE,
    "CitationContentBlockLocation.document_title": TITLE,
    "CitationCharLocation.document_index": NOT_NEGATIVE,
    "CitationPageLocation.document_index": NOT_NEGATIVE,
    "CitationContentBlockLocation.document_index": NOT_NEGATIVE,
    "CitationCharLocation.start_char_index": NOT_NEGATIVE,
    "CitationPageLocation.start_page_number": POSITIVE,
    "CitationContentBlockLocation.start_block_index": NOT_NEGATIVE,
    "CitationSearchResultLocation.search_result_index": NOT_NEGATIVE,
    "CitationSearchResultLocation.start_block_index": NOT_NEGATIVE,
    "CitationWebSearchResultLocation.title": sized(1, 512),
    "CitationWebSearchResultLocation.url": sized(1),
    "ToolUseBlock.id": ID,
    "ToolUseBlock.name": sized(1, 200),
    "ToolResultBlock.tool_use_id": ID,
    "ServerToolUseBlock.id": SERVER_ID,
    "ServerToolCaller.tool_id": SERVER_ID,
    "ServerToolCaller20260120.tool_id": SERVER_ID,
    "MCPToolUseBlock.id": ID,
    "MCPToolResultBlock.tool_use_id": ID,
    **{f"{each}ToolResultBlock.tool_use_id": SERVER_ID for each in SERVER_RESULTS},
    "ToolReferenceBlock.tool_name": matching(r"^[a-zA-Z0-9_-]{1,256}$"),
    "ToolChangeToolReference.name": matching(r"^[a-zA-Z0-9_-]{1,128}$"),
    "Tool.name": matching(r"^[a-zA-Z0-9_-]{1,128}$"),
    "ToolTextEditor20250728.max_characters": POSITIVE,
    **{f"ToolComputerUse{v}.display_width_px": POSITIVE for v in COMPUTERS},
    **{f"ToolComputerUse{v}.display_height_px": POSITIVE for v in COMPUTERS},
    **{f"ToolComputerUse{v}.display_number": NOT_NEGATIVE for v in COMPUTERS},
    **{f"WebSearchTool{v}.max_uses": POSITIVE for v in SEARCHES},
    **{f"WebFetchTool{v}.max_uses": POSITIVE for v in FETCHES},
    **{f"WebFetchTool{v}.max_content_tokens": POSITIVE for v in FETCHES},
    "AdvisorTool20260301.max_uses": POSITIVE,
    "AdvisorTool20260301.max_tokens": least(1_024),
    "UserLocation.city": sized(1, 255),
    "UserLocation.region": sized(1, 255),
    "UserLocation.timezone": sized(1, 255),
    "UserLocation.country": country,
    "TokenTaskBudget.total": least(20_000),
    "TokenTaskBudget.remaining": NOT_NEGATIVE,
    "InputTokensClearAtLeast.value": NOT_NEGATIVE,
    "InputTokensTrigger.value": POSITIVE,
    "ToolUsesTrigger.value": POSITIVE,
    "ToolUsesKeep.value": NOT_NEGATIVE,
    "ThinkingTurns.value": POSITIVE,
}
"""The smallest task budget is the task-budgets page's 20,000; the reference says 1,024."""
