"""Strands Agents, whose agent calls the tool itself."""

from typing import Any

from judge import ASK, HELLO, MODEL, READ, get_weather
from pydantic import BaseModel
from strands import Agent, tool
from strands.models.anthropic import AnthropicModel


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def agent(url: str, **more: Any) -> Agent:
    settings = {"api_key": "none", "base_url": url}
    model = AnthropicModel(client_args=settings, model_id=MODEL, max_tokens=999)
    return Agent(model=model, **{"callback_handler": None, **more})


def plain(url: str) -> Any:
    return str(agent(url)(HELLO)).strip()


def streamed(url: str) -> Any:
    pieces: list[str] = []
    agent(url, callback_handler=lambda **each: pieces.append(each.get("data", "")))(HELLO)
    return [piece for piece in pieces if piece]


def tools(url: str) -> Any:
    asked = agent(url, tools=[tool(get_weather)])
    answer = str(asked(ASK)).strip()
    blocks = [block for message in asked.messages for block in message["content"]]
    (call,) = [block["toolUse"] for block in blocks if "toolUse" in block]
    return [call["name"], call["input"], answer]


def structured(url: str) -> Any:
    return agent(url)(READ, structured_output_model=Reading).structured_output.model_dump()
