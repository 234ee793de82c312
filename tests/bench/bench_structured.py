"""structured() beside messages.parse, instructor and pydantic-ai on one mocked transport.

Every candidate gets the same valid answer from the same `httpx2.MockTransport`, so what is
compared is the library's own cost of one call. Run with the environment that holds the peers.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import anthropic
import httpx2
import instructor
from harness import interleaved, write_results
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from patterns.core.models import SONNET
from patterns.prompting.structured import structured

PROMPT = "Sort this complaint: the screen arrived cracked."
ANSWER = {"summary": "Screen cracked", "severity": 4, "team": "returns"}


class Ticket(BaseModel):
    """A complaint, sorted."""

    summary: str
    severity: int = Field(ge=1, le=5)
    team: Literal["returns", "billing"]


def answer(request: httpx2.Request) -> httpx2.Response:
    """The same valid answer every time: as text, or as a tool call where tools were sent."""
    body = json.loads(request.content)
    block: dict[str, Any] = {"type": "text", "text": json.dumps(ANSWER)}
    if body.get("tools"):
        block = {"type": "tool_use", "id": "t1", "name": body["tools"][0]["name"], "input": ANSWER}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": SONNET,
        "content": [block],
        "stop_reason": "tool_use" if body.get("tools") else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 30, "output_tokens": 30},
    }
    return httpx2.Response(200, json=message)


def candidates(loop: asyncio.AbstractEventLoop) -> dict[str, Callable[[], object]]:
    """Each way of asking for a Ticket, as a call without arguments."""
    transport = httpx2.MockTransport(answer)
    client = anthropic.Anthropic(api_key="test", http_client=httpx2.Client(transport=transport))
    async_client = anthropic.AsyncAnthropic(
        api_key="test", http_client=httpx2.AsyncClient(transport=transport)
    )
    turns: list[Any] = [{"role": "user", "content": PROMPT}]
    common: dict[str, Any] = {"model": SONNET, "max_tokens": 4096, "messages": turns}
    tools = instructor.from_anthropic(client, mode=instructor.Mode.ANTHROPIC_TOOLS)
    native = instructor.from_anthropic(client, mode=instructor.Mode.ANTHROPIC_JSON)
    model = AnthropicModel(SONNET, provider=AnthropicProvider(anthropic_client=async_client))
    agent = Agent(model, output_type=NativeOutput(Ticket), model_settings={"max_tokens": 4096})
    return {
        "messages.create": lambda: client.messages.create(**common),
        "messages.parse": lambda: client.messages.parse(**common, output_format=Ticket),
        "structured": lambda: structured(client, PROMPT, Ticket),
        "instructor (tools)": lambda: tools.create(**common, response_model=Ticket),
        "instructor (json)": lambda: native.create(**common, response_model=Ticket),
        "pydantic-ai": lambda: loop.run_until_complete(agent.run(PROMPT)),
    }


def main() -> None:
    """Measure, print and write `results/structured.json`."""
    loop = asyncio.new_event_loop()
    seconds = interleaved(candidates(loop), rounds=31, calls=20)
    loop.close()
    ratio = seconds["structured"] / seconds["messages.parse"]
    write_results(
        "structured",
        {
            "milliseconds_per_call": {name: round(1e3 * each, 3) for name, each in seconds.items()},
            "structured_over_parse": round(ratio, 2),
        },
        packages=["anthropic", "pydantic", "httpx2", "instructor", "pydantic-ai-slim"],
        targets={"structured() at most 1.4 times messages.parse": ratio <= 1.4},
    )


if __name__ == "__main__":
    main()
