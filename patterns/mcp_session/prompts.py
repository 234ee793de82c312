"""Resources and prompts of a server, as content and messages that the Messages API takes."""

from typing import cast

from anthropic.types.beta import BetaMessageParam
from anthropic.types.beta.beta_tool_result_block_param import Content
from mcp.types import EmbeddedResource, GetPromptResult, ReadResourceResult

from patterns.mcp_session.results import DEFAULT_RESULT_LIMIT, claude_blocks


def as_claude_resource(
    result: ReadResourceResult, *, limit: int = DEFAULT_RESULT_LIMIT
) -> list[Content]:
    """Every content of a resource that was read, as `as_claude_content` has it."""
    items = [EmbeddedResource(type="resource", resource=content) for content in result.contents]
    return claude_blocks(items, limit=limit)


def as_claude_messages(
    prompt: GetPromptResult, *, limit: int = DEFAULT_RESULT_LIMIT
) -> list[BetaMessageParam]:
    """The messages of a prompt; empty ones are left out, and an assistant's files described."""
    turns = (
        (m.role, claude_blocks([m.content], limit=limit, only_text=m.role != "user"))
        for m in prompt.messages
    )
    return [cast(BetaMessageParam, {"role": r, "content": blocks}) for r, blocks in turns if blocks]
