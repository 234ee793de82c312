"""LlamaIndex."""

from typing import Any

from judge import ASK, FORCED, HELLO, MODEL, READ, get_weather
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from pydantic import BaseModel


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def llm(url: str, model: str = MODEL) -> Anthropic:
    return Anthropic(model=model, base_url=url, api_key="none", max_tokens=999)


def said(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]


def plain(url: str) -> Any:
    return llm(url).chat(said(HELLO)).message.content


def streamed(url: str) -> Any:
    return [piece.delta for piece in llm(url).stream_chat(said(HELLO)) if piece.delta]


def tools(url: str) -> Any:
    tool = FunctionTool.from_defaults(get_weather)
    *_, first = llm(url).stream_chat_with_tools([tool], chat_history=said(ASK))
    (call,) = llm(url).get_tool_calls_from_response(first)
    result = ChatMessage(
        role=MessageRole.TOOL,
        content=get_weather(**call.tool_kwargs),
        additional_kwargs={"tool_call_id": call.tool_id},
    )
    history = [*said(ASK), first.message, result]
    answer = llm(url).chat_with_tools([tool], chat_history=history)
    return [call.tool_name, call.tool_kwargs, answer.message.content]


def structured(url: str) -> Any:
    return llm(url, FORCED).as_structured_llm(Reading).chat(said(READ)).raw.model_dump()
