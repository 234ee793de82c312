"""A server's question to a model, answered by Claude on your account."""

from collections.abc import Awaitable, Callable
from typing import Any

from anthropic import AnthropicError, APIStatusError, AsyncAnthropic
from anthropic.types import Message
from mcp.client import ClientRequestContext
from mcp.client.session import SamplingFnT
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    CreateMessageRequestParams,
    CreateMessageResult,
    ErrorData,
    TextContent,
)

from patterns.core.answers import Refused, Truncated, text_of
from patterns.mcp_session.results import claude_blocks

USER_REJECTED = -1  # the code that the specification shows for a declined sampling request
STOP_REASONS = {"stop_sequence": "stopSequence", "max_tokens": "maxTokens"}

Approve = Callable[[CreateMessageRequestParams], Awaitable[bool]]


def sampling_with(
    client: AsyncAnthropic, *, model: str, approve: Approve | None = None
) -> SamplingFnT:
    """A `sampling_callback` that lets a server's question be answered by Claude, on your account.

    The server's `maxTokens` and stop sequences are obeyed; an answer that they cut short is
    returned as such. A refusal or an error of the API is an error for the server, in one sentence.

    Args:
        client: Makes the call; its middleware sees it like any other.
        model: Model that answers; the server's own preference is only a hint and not followed.
        approve: Asked before each call, for a person or a rule to say no.
    """

    async def sample(
        context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult | ErrorData:
        if getattr(params, "tools", None):
            return ErrorData(code=INVALID_PARAMS, message="tools are not offered in sampling")
        if approve is not None and not await approve(params):
            return ErrorData(code=USER_REJECTED, message="the user declined the request")
        try:
            # Streamed, because the SDK refuses to wait for a long answer in one piece.
            async with client.messages.stream(**_request(params, model)) as stream:
                message = await stream.get_final_message()
            return CreateMessageResult(
                role="assistant",
                content=TextContent(type="text", text=_text(message)),
                model=message.model,
                stop_reason=STOP_REASONS.get(str(message.stop_reason), "endTurn"),
            )
        except Refused as error:
            return ErrorData(code=INVALID_REQUEST, message=str(error))
        except AnthropicError as error:
            return ErrorData(code=INTERNAL_ERROR, message=_in_a_sentence(error))

    return sample


def _request(params: CreateMessageRequestParams, model: str) -> dict[str, Any]:
    """What the Messages API is asked; sampling parameters that it no longer has are left out."""
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": params.max_tokens,
        "messages": [turn for message in params.messages for turn in _turn(message)],
    }
    if params.system_prompt:
        request["system"] = params.system_prompt
    if stops := [stop for stop in params.stop_sequences or () if stop.strip()]:
        request["stop_sequences"] = stops
    return request


def _turn(message: Any) -> list[dict[str, Any]]:
    parts = message.content if isinstance(message.content, list) else [message.content]
    blocks = claude_blocks(parts, only_text=message.role != "user")
    return [{"role": message.role, "content": blocks}] if blocks else []


def _text(message: Message) -> str:
    try:
        return text_of(message)
    except Truncated as cut:
        return cut.partial


def _in_a_sentence(error: AnthropicError) -> str:
    """What a server may know of our side: that it failed and how, without ids or addresses."""
    if isinstance(error, APIStatusError):
        return f"the model could not be asked: HTTP {error.status_code} ({error.type or 'error'})"
    return f"the model could not be asked: {type(error).__name__}"
