"""Haystack's AnthropicChatGenerator."""

import json
import os
from typing import Any

from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
from haystack_integrations.components.generators.anthropic import AnthropicChatGenerator
from judge import ASK, HELLO, MODEL, READ, SCHEMA, get_weather


def ask(url: str, *messages: ChatMessage, settings: Any = None, **more: Any) -> ChatMessage:
    """One call; the base URL is a setting of the SDK below."""
    os.environ["ANTHROPIC_BASE_URL"] = url
    settings = {"max_tokens": 999, **(settings or {})}
    generator = AnthropicChatGenerator(
        Secret.from_token("none"), MODEL, generation_kwargs=settings, **more
    )
    return generator.run(list(messages))["replies"][0]


def plain(url: str) -> Any:
    return ask(url, ChatMessage.from_user(HELLO)).text


def streamed(url: str) -> Any:
    chunks: list[StreamingChunk] = []
    ask(url, ChatMessage.from_user(HELLO), streaming_callback=chunks.append)
    return [chunk.content for chunk in chunks if chunk.content]


def tools(url: str) -> Any:
    tool = create_tool_from_function(get_weather)
    asked = ChatMessage.from_user(ASK)
    first = ask(url, asked, tools=[tool], streaming_callback=lambda chunk: None)
    (call,) = first.tool_calls
    result = ChatMessage.from_tool(get_weather(**call.arguments), origin=call)
    answer = ask(url, asked, first, result, tools=[tool])
    return [call.tool_name, call.arguments, answer.text]


def structured(url: str) -> Any:
    settings = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    return json.loads(ask(url, ChatMessage.from_user(READ), settings=settings).text)
