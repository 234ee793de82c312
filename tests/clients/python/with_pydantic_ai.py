"""Pydantic AI, whose agent calls the tool itself."""

import asyncio
from typing import Any

from anthropic import AsyncAnthropic
from judge import ASK, HELLO, MODEL, READ, get_weather
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def model(url: str) -> AnthropicModel:
    client = AsyncAnthropic(base_url=url, api_key="none")
    return AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=client))


def plain(url: str) -> Any:
    return Agent(model(url)).run_sync(HELLO).output


def streamed(url: str) -> Any:
    async def pieces() -> list[str]:
        async with Agent(model(url)).run_stream(HELLO) as stream:
            return [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

    return asyncio.run(pieces())


def tools(url: str) -> Any:
    agent = Agent(model(url), tools=[get_weather])
    done = agent.run_sync(ASK)
    parts = [part for message in done.all_messages() for part in message.parts]
    (call,) = [part for part in parts if isinstance(part, ToolCallPart)]
    return [call.tool_name, call.args_as_dict(), done.output]


def structured(url: str) -> Any:
    """In both of its ways: the API's output format, and a tool for the output."""
    ways = [
        Agent(model(url), output_type=way(Reading)).run_sync(READ).output.model_dump()
        for way in (NativeOutput, ToolOutput)
    ]
    assert ways[0] == ways[1]
    return ways[0]
