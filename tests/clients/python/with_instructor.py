"""Instructor, which makes an object of every answer: by a forced tool, or by the output format."""

from typing import Any

import instructor
from anthropic import Anthropic
from judge import ASK, FORCED, HELLO, MODEL, READ, get_weather
from pydantic import BaseModel, create_model


class Reading(BaseModel):
    """A reading of a thermometer."""

    city: str
    degrees: int


Weather = create_model("get_weather", city=str)


def ask(url: str, text: str, how: str, **more: Any) -> Any:
    """One call in one of Instructor's modes."""
    client = instructor.from_anthropic(
        Anthropic(base_url=url, api_key="none"), mode=instructor.Mode[how]
    )
    messages = [{"role": "user", "content": text}]
    model = FORCED if how == "TOOLS" else MODEL
    return client.messages.create(model=model, max_tokens=999, messages=messages, **more)


def plain(url: str) -> Any:
    return ask(url, HELLO, "TOOLS", response_model=None).content[0].text


def streamed(url: str) -> Any:
    events = ask(url, HELLO, "TOOLS", response_model=None, stream=True)
    return [event.delta.text for event in events if event.type == "content_block_delta"]


def tools(url: str) -> Any:
    """A class is the tool; what it returns is ours to say."""
    call = ask(url, ASK, "TOOLS", response_model=Weather)
    return [Weather.__name__, call.model_dump(), f"It is {get_weather(call.city)} in {call.city}."]


def structured(url: str) -> Any:
    """Whole, and as it grows: the last part is the object."""
    whole = ask(url, READ, "TOOLS", response_model=Reading).model_dump()
    *_, last = ask(url, READ, "TOOLS", response_model=instructor.Partial[Reading], stream=True)
    assert last.model_dump() == whole
    return whole
