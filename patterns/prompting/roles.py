"""An answer in a role: who speaks, to whom, within which rules.

For fixing tone, depth and limits of free text. A role adds no knowledge, and "cite your sources"
without sources to cite invites invented ones, so every role here ends with `CANDOUR`.

Taught in chapter 05.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, StopReason, Usage

from patterns.core.answers import text_of
from patterns.core.model_ids import SONNET

CANDOUR: Final = "Say what you do not know. Name a source only if the question gives it to you."
"""Closes every role: "cite your sources" without sources to cite gets invented ones."""


@dataclass(frozen=True)
class Answer:
    """A complete answer in plain text."""

    text: str
    usage: Usage
    stop_reason: StopReason | None
    request_id: str | None


def expert(
    client: Anthropic,
    question: str,
    *,
    role: str,
    audience: str,
    rules: Sequence[str] = (),
    model: str = SONNET,
    max_tokens: int = 4096,
) -> Answer:
    """Answer as `role` for `audience`, within `rules`.

    Args:
        client: the SDK's client.
        question: the user's turn, sent as it is.
        role: who answers, as in "You are a …".
        audience: who reads it, and what they know already.
        rules: one sentence each: a length, a unit, what to leave out.
        model: model id.
        max_tokens: ceiling for thinking and text together.

    Raises:
        Refused, Truncated: as `text_of` does.
    """
    message = client.messages.create(
        model=model,
        max_tokens=max_tokens,
        system=role_prompt(role, audience, rules),
        messages=[{"role": "user", "content": question}],
    )
    return _answer(message)


async def expert_async(
    client: AsyncAnthropic,
    question: str,
    *,
    role: str,
    audience: str,
    rules: Sequence[str] = (),
    model: str = SONNET,
    max_tokens: int = 4096,
) -> Answer:
    """The same as `expert`, with an `AsyncAnthropic`."""
    message = await client.messages.create(
        model=model,
        max_tokens=max_tokens,
        system=role_prompt(role, audience, rules),
        messages=[{"role": "user", "content": question}],
    )
    return _answer(message)


def role_prompt(role: str, audience: str, rules: Sequence[str] = ()) -> str:
    """The system prompt of `expert`: one sentence of role, the rules, and `CANDOUR`."""
    return "\n".join([f"You are a {role}. You answer {audience}.", *rules, CANDOUR])


def _answer(message: Message) -> Answer:
    return Answer(text_of(message), message.usage, message.stop_reason, message._request_id)
