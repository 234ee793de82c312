"""LiteLLM, which speaks HTTP itself and translates from OpenAI's shapes."""

import json
from typing import Any

import litellm
from judge import ASK, HELLO, MODEL, READ, get_weather
from pydantic import BaseModel

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def ask(url: str, messages: list[Any], **more: Any) -> Any:
    """One call."""
    return litellm.completion(
        f"anthropic/{MODEL}", messages, api_base=url, api_key="none", max_tokens=999, **more
    )


def said(content: str) -> Any:
    return {"role": "user", "content": content}


def plain(url: str) -> Any:
    return ask(url, [said(HELLO)]).choices[0].message.content


def streamed(url: str) -> Any:
    chunks = ask(url, [said(HELLO)], stream=True)
    return [text for chunk in chunks if (text := chunk.choices[0].delta.content)]


def tools(url: str) -> Any:
    pieces = list(ask(url, [said(ASK)], tools=[TOOL], stream=True))
    message = litellm.stream_chunk_builder(pieces).choices[0].message
    (call,) = message.tool_calls
    arguments = json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": get_weather(**arguments)}
    answer = ask(url, [said(ASK), message, result], tools=[TOOL]).choices[0].message.content
    return [call.function.name, arguments, answer]


def structured(url: str) -> Any:
    message = ask(url, [said(READ)], response_format=Reading).choices[0].message
    return Reading.model_validate_json(message.content).model_dump()
