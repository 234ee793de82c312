"""Reasoning that a reader can check: think in private, justify in tags.

For questions whose answer somebody has to be able to follow. Thinking itself stays with the
model: steer it with `effort`, look at it through the API's own summary, and do not ask for it in
the text, which current models may refuse. When code consumes the answer, use
`patterns.prompting.structured` instead of tags.

Taught in chapter 05.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, StopReason, Usage

from patterns.core.answers import text_of
from patterns.core.errors import Portable
from patterns.core.model_ids import SONNET, Effort
from patterns.core.tags import read_tag, tag

SECTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "given": "the facts that you use, with their units",
        "steps": "numbered steps, each of which a reader can check alone",
        "answer": "the final answer and nothing else",
    }
)
"""What `chain_of_thought` asks for, as tag name to content; `answer` has to be among them."""


@dataclass(frozen=True)
class Reasoned:
    """An answer with the justification that it was given."""

    answer: str
    sections: Mapping[str, str]
    """Every section that was asked for, the answer included."""
    thinking: str
    """The API's summary of the model's thinking; empty unless it was asked for."""
    usage: Usage
    stop_reason: StopReason | None
    request_id: str | None


class MissingSection(Portable, Exception):
    """The answer does not hold a section that it was asked for.

    Attributes:
        name: the tag that is missing.
        text: the answer as it came.
        message: the answer's message.
    """

    def __init__(self, name: str, text: str, message: Message) -> None:
        self.name, self.text, self.message = name, text, message
        super().__init__(
            f"no <{name}> in an answer of {len(text)} characters; ask again or drop the section."
        )


def chain_of_thought(
    client: Anthropic,
    question: str,
    *,
    sections: Mapping[str, str] = SECTIONS,
    model: str = SONNET,
    effort: Effort = "medium",
    max_tokens: int = 8192,
    summary: bool = False,
) -> Reasoned:
    """Let the model think in private, and ask for steps that a reader can check.

    Args:
        client: the SDK's client.
        question: the task; escaped, so it may hold anything.
        sections: see `SECTIONS`.
        model: model id.
        effort: how much the model thinks before it writes.
        max_tokens: ceiling for thinking and text together.
        summary: ask the API for a summary of the thinking as well.

    Raises:
        Refused: category `reasoning_extraction` when a section asks for the model's own
            reasoning rather than for a justification.
        Truncated: thinking or text ran into `max_tokens`.
        MissingSection: a section is absent.
    """
    request = _reasoning_request(question, sections, model, effort, max_tokens, summary)
    return _reasoned(client.messages.create(**request), sections)


async def chain_of_thought_async(
    client: AsyncAnthropic,
    question: str,
    *,
    sections: Mapping[str, str] = SECTIONS,
    model: str = SONNET,
    effort: Effort = "medium",
    max_tokens: int = 8192,
    summary: bool = False,
) -> Reasoned:
    """The same as `chain_of_thought`, with an `AsyncAnthropic`."""
    request = _reasoning_request(question, sections, model, effort, max_tokens, summary)
    return _reasoned(await client.messages.create(**request), sections)


def _reasoning_request(
    question: str,
    sections: Mapping[str, str],
    model: str,
    effort: Effort,
    max_tokens: int,
    summary: bool,
) -> dict[str, Any]:
    if "answer" not in sections:
        raise ValueError(f"sections are {', '.join(sections)}; one has to be 'answer'.")
    wanted = "\n".join(f"<{name}>{content}</{name}>" for name, content in sections.items())
    request: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "output_config": {"effort": effort},
        "system": f"Answer the question in these tags, each once, nothing outside:\n{wanted}",
        "messages": [{"role": "user", "content": tag("question", question)}],
    }
    if summary:
        request["thinking"] = {"type": "adaptive", "display": "summarized"}
    return request


def _reasoned(message: Message, sections: Mapping[str, str]) -> Reasoned:
    found = read_sections(message, sections)
    thinking = (block.thinking for block in message.content if block.type == "thinking")
    return Reasoned(
        answer=found["answer"],
        sections=found,
        thinking="\n".join(thinking),
        usage=message.usage,
        stop_reason=message.stop_reason,
        request_id=message._request_id,
    )


def read_sections(message: Message, names: Iterable[str]) -> dict[str, str]:
    """Every named section of a complete answer; raises as `chain_of_thought` does."""
    text = text_of(message)
    found: dict[str, str] = {}
    for name in names:
        content = read_tag(text, name)
        if content is None:
            raise MissingSection(name, text, message)
        found[name] = content
    return found
