"""Agno, whose agent calls the tool itself."""

from typing import Any

from agno.agent import Agent
from agno.models.anthropic import Claude
from judge import ASK, HELLO, MODEL, READ, get_weather
from pydantic import BaseModel


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


def agent(url: str, **more: Any) -> Agent:
    model = Claude(id=MODEL, api_key="none", max_tokens=999, client_params={"base_url": url})
    return Agent(model=model, telemetry=False, **more)


def plain(url: str) -> Any:
    return agent(url).run(HELLO).content


def streamed(url: str) -> Any:
    return [event.content for event in agent(url).run(HELLO, stream=True) if event.content]


def tools(url: str) -> Any:
    done = agent(url, tools=[get_weather]).run(ASK)
    (call,) = done.tools
    return [call.tool_name, call.tool_args, done.content]


def structured(url: str) -> Any:
    return agent(url, output_schema=Reading).run(READ).content.model_dump()
