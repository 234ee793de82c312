"""Claude's side: tools and prompts in, results out as clean blocks, sampling answered by Claude."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from anthropic import AsyncAnthropic
from anthropic.lib.tools import BetaAsyncFunctionTool, ToolError, beta_async_tool
from anthropic.lib.tools.mcp import UnsupportedMCPValueError, mcp_content
from anthropic.types import Message, MessageParam
from anthropic.types.beta.beta_tool_result_block_param import Content
from mcp import MCPError
from mcp.client import ClientRequestContext
from mcp.client.session import SamplingFnT
from mcp.types import (
    INVALID_REQUEST,
    AudioContent,
    CallToolResult,
    ContentBlock,
    CreateMessageRequestParams,
    CreateMessageResult,
    EmbeddedResource,
    ErrorData,
    ImageContent,
    ResourceLink,
    SamplingMessage,
    TextContent,
    Tool,
)

from patterns.core.messages import Refused, Truncated, text_of
from patterns.mcp_session.errors import (
    AccessDenied,
    CallTimeout,
    ResultValidationError,
    ServerUnavailable,
)

if TYPE_CHECKING:
    from patterns.mcp_session.session import ToolSession

DEFAULT_RESULT_LIMIT = 50_000
NAME_LIMIT = 64
USER_REJECTED = -1  # the code that the specification shows for a declined sampling request


def as_claude_tools(
    session: "ToolSession", tools: Sequence[Tool], prefix: str, limit: int
) -> list[BetaAsyncFunctionTool[Any]]:
    """One runnable tool per MCP tool; a failure becomes an `is_error` result that Claude reads."""
    return [_runnable(session, tool, claude_name(prefix + tool.name), limit) for tool in tools]


def _runnable(
    session: "ToolSession", tool: Tool, name: str, limit: int
) -> BetaAsyncFunctionTool[Any]:
    async def call(**arguments: Any) -> list[Content]:
        try:
            result = await session.call_tool(tool.name, arguments)
        except (MCPError, ResultValidationError) as error:
            raise ToolError(told_to_claude(tool.name, error)) from error
        blocks = as_claude_content(result, limit=limit)
        if result.is_error:
            raise ToolError(blocks)
        return blocks

    return beta_async_tool(
        call, name=name, description=tool.description or "", input_schema=tool.input_schema
    )


def told_to_claude(tool: str, error: MCPError | ResultValidationError) -> str:
    """An error as Claude reads it: what happened, without commands, addresses or server logs."""
    match error:
        case CallTimeout():
            return f"{tool} gave no answer within {error.seconds:g} s; it may have run."
        case ServerUnavailable(maybe_done=True):
            return f"{tool} gave no usable answer; it may have run."
        case ServerUnavailable():
            return f"The server of {tool} cannot be reached at the moment."
        case AccessDenied():
            return f"Access to {tool} was denied (HTTP {error.status})."
        case ResultValidationError():
            return f"{tool} has run, and returned an invalid result: {error.detail}."
    return error.message


def claude_name(name: str) -> str:
    """An MCP tool name as the Messages API accepts it: letters, digits, `_`, `-`, 64 at most."""
    clean = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    if clean == name and len(name) <= NAME_LIMIT:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{clean[: NAME_LIMIT - 9]}_{mark}"


def as_claude_content(
    result: CallToolResult, *, limit: int = DEFAULT_RESULT_LIMIT
) -> list[Content]:
    """A tool result as content blocks: what Claude cannot see is described in one line of text."""
    if not result.content and result.structured_content is not None:
        return [_text(json.dumps(result.structured_content, ensure_ascii=False), limit)]
    return [_block(item, limit) for item in result.content]


def _block(item: ContentBlock, limit: int) -> Content:
    if isinstance(item, TextContent):
        return _text(item.text, limit)
    try:
        return mcp_content(item)
    except (UnsupportedMCPValueError, ValueError):
        return _text(_described(item), limit)


def _text(text: str, limit: int) -> Content:
    if len(text) > limit:
        text = f"{text[:limit]}\n[cut: {limit:,} of {len(text):,} characters shown]"
    return {"type": "text", "text": text}


def _described(item: ContentBlock) -> str:
    if isinstance(item, ResourceLink):
        about = f": {item.description}" if item.description else ""
        return f"[resource {item.name!r} at {item.uri}{about}]"
    if isinstance(item, AudioContent | ImageContent):
        return f"[{item.type}, {item.mime_type}, {_size(item.data)} bytes, not shown]"
    assert isinstance(item, EmbeddedResource)
    resource = item.resource
    size = _size(getattr(resource, "blob", ""))
    return f"[resource at {resource.uri}, {resource.mime_type}, {size} bytes, not shown]"


def _size(data: str) -> str:
    try:
        return f"{len(base64.b64decode(data)):,}"
    except binascii.Error:
        return "unreadable"


Approve = Callable[[CreateMessageRequestParams], Awaitable[bool]]


def sampling_with(
    client: AsyncAnthropic, *, model: str, approve: Approve | None = None
) -> SamplingFnT:
    """A `sampling_callback` that lets a server's question be answered by Claude, on your account.

    Args:
        client: Makes the call; its middleware sees it like any other.
        model: Model that answers; the server's own preference is only a hint and not followed.
        approve: Asked before each call, for a person or a rule to say no.
    """

    async def sample(
        context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | ErrorData:
        if approve is not None and not await approve(params):
            return ErrorData(code=USER_REJECTED, message="the user declined the request")
        message = await client.messages.create(**_request(params, model))
        try:
            text = text_of(message)
        except (Refused, Truncated) as error:
            return ErrorData(code=INVALID_REQUEST, message=str(error))
        return _sampled(message, text)

    return sample


def _request(params: CreateMessageRequestParams, model: str) -> dict[str, Any]:
    """What the Messages API is asked; sampling parameters that it no longer has are left out."""
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": params.max_tokens,
        "messages": [_turn(message) for message in params.messages],
    }
    if params.system_prompt:
        request["system"] = params.system_prompt
    if params.stop_sequences:
        request["stop_sequences"] = params.stop_sequences
    return request


def _turn(message: SamplingMessage) -> MessageParam:
    parts = message.content if isinstance(message.content, list) else [message.content]
    blocks = [_block(cast(ContentBlock, part), DEFAULT_RESULT_LIMIT) for part in parts]
    return cast(MessageParam, {"role": message.role, "content": blocks})


def _sampled(message: Message, text: str) -> CreateMessageResult:
    reason = "stopSequence" if message.stop_reason == "stop_sequence" else "endTurn"
    return CreateMessageResult(
        role="assistant",
        content=TextContent(type="text", text=text),
        model=message.model,
        stop_reason=reason,
    )
