"""Mirascope."""

import json
from typing import Any

from judge import ASK, HELLO, MODEL, READ, get_weather
from mirascope import llm
from pydantic import BaseModel


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def model(url: str) -> llm.Model:
    llm.register_provider("anthropic", base_url=url, api_key="none")
    return llm.Model(f"anthropic/{MODEL}", max_tokens=999)


def plain(url: str) -> Any:
    return model(url).call(HELLO).text()


def streamed(url: str) -> Any:
    return list(model(url).stream(HELLO).text_stream())


def tools(url: str) -> Any:
    first = model(url).stream(ASK, tools=[llm.tool(get_weather)])
    first.finish()
    (call,) = first.tool_calls
    answer = first.resume(first.execute_tools())
    answer.finish()
    return [call.name, json.loads(call.args), answer.text()]


def structured(url: str) -> Any:
    return model(url).call(READ, format=Reading).parse().model_dump()
