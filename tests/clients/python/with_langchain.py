"""LangChain's ChatAnthropic."""

from typing import Any

from judge import ASK, HELLO, MODEL, READ, get_weather
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def chat(url: str) -> ChatAnthropic:
    return ChatAnthropic(model=MODEL, base_url=url, api_key="none", max_tokens=999)


def plain(url: str) -> Any:
    return chat(url).invoke(HELLO).text


def streamed(url: str) -> Any:
    return [chunk.text for chunk in chat(url).stream(HELLO) if chunk.text]


def tools(url: str) -> Any:
    model = chat(url).bind_tools([tool(get_weather)])
    first, *rest = model.stream(ASK)
    for chunk in rest:
        first += chunk
    (call,) = first.tool_calls
    result = ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"])
    answer = model.invoke([HumanMessage(ASK), first, result])
    return [call["name"], call["args"], answer.text]


def structured(url: str) -> Any:
    """In both of its ways: the API's output format, and a forced tool."""
    ways = [
        chat(url).with_structured_output(Reading, method=method).invoke(READ).model_dump()
        for method in ("json_schema", "function_calling")
    ]
    assert ways[0] == ways[1]
    return ways[0]
