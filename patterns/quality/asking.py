"""Write a pattern of several calls once, and run it with a sync or an async client.

A pattern of this chapter is a generator: it yields the calls that may run side by side, gets
their outcomes back, and returns its result. It does no I/O, so the decisions are the same for
both kinds of client and can be tested without one. `run` and `run_async` do the calls. Not for
tools or streams; for tasks that depend on each other see `patterns.agents`.

Taught in chapter 06.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict, TypeVar

import anthropic
from anthropic.types import Message, TextBlockParam, Usage
from pydantic import BaseModel

from patterns.core.answers import Refused, Truncated, text_of
from patterns.core.fan_out import Outcome, fan_out
from patterns.core.model_ids import SONNET, Effort
from patterns.prompting.structured import (
    InvalidOutput,
    Structured,
    structured,
    structured_async,
)
from patterns.quality.calls import Call, check_whole
from patterns.quality.losses import LOSSES

R = TypeVar("R")


class Settings(TypedDict, total=False):
    """What every pattern passes on to each of its calls.

    Keys:
        model: model id; SONNET when left out.
        max_tokens: ceiling of one call, thinking included; 4096 when left out.
        effort: how much work goes into one answer; the API decides when left out.
    """

    model: str
    max_tokens: int
    effort: Effort | None


@dataclass(frozen=True)
class Ask:
    """One call to make."""

    prompt: str
    output: type[BaseModel] | None = None
    """What the answer has to be; None asks for text."""
    system: str | tuple[TextBlockParam, ...] | None = None
    model: str = SONNET
    max_tokens: int = 4096
    effort: Effort | None = None


@dataclass(frozen=True)
class Reply:
    """What one `Ask` brought: text or an object, and the calls behind it (two after a re-ask)."""

    value: Any
    calls: tuple[Call, ...]


Outcomes = Sequence[Outcome[Ask, Reply]]
Steps = Generator[Sequence[Ask], Outcomes, R]
"""A pattern: yields calls that may run side by side, is sent their outcomes, returns its result."""


def run(client: anthropic.Anthropic, steps: Steps[R], *, concurrency: int) -> R:
    """Run a pattern, at most `concurrency` calls at a time, in threads when there are several."""
    check_whole("concurrency", concurrency)
    outcomes: Outcomes | None = None
    while True:
        try:
            asks = steps.send(outcomes)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's return value
        outcomes = _side_by_side(client, asks, concurrency)


async def run_async(client: anthropic.AsyncAnthropic, steps: Steps[R], *, concurrency: int) -> R:
    """The same as `run`, with an `AsyncAnthropic` and without threads."""
    check_whole("concurrency", concurrency)
    one = partial(answer_async, client)
    outcomes: Outcomes | None = None
    while True:
        try:
            asks = steps.send(outcomes)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # the generator's return value
        running = fan_out(asks, one, limit=concurrency, ordered=True)
        outcomes = [_lost_at_worst(outcome) async for outcome in running]


def answer(client: anthropic.Anthropic, ask: Ask) -> Reply:
    """Do one call.

    Raises:
        Refused, Truncated: see `text_of`.
        InvalidOutput: an object was asked for, and the re-ask did not bring it either.
    """
    if ask.output is not None:
        return _object(structured(client, ask.prompt, ask.output, **_arguments(ask)))
    return _text(client.messages.create(messages=_turn(ask), **_text_arguments(ask)))


async def answer_async(client: anthropic.AsyncAnthropic, ask: Ask) -> Reply:
    """The same as `answer`, with an `AsyncAnthropic`."""
    if ask.output is not None:
        return _object(await structured_async(client, ask.prompt, ask.output, **_arguments(ask)))
    return _text(await client.messages.create(messages=_turn(ask), **_text_arguments(ask)))


def calls_of(outcome: Outcome[Ask, Reply]) -> tuple[Call, ...]:
    """What an outcome cost: an answer that was cut, refused or invalid is billed as well."""
    if outcome.value is not None:
        return outcome.value.calls
    match outcome.error:
        case InvalidOutput(message=message, usage=usage, request_ids=ids):
            return _calls(message, usage, ids)
        case Refused(message=Message() as message) | Truncated(message=Message() as message):
            return (*map(_call, _earlier(outcome.error)), _call(message))
        case _:
            return tuple(map(_call, _earlier(outcome.error)))


def _side_by_side(client: anthropic.Anthropic, asks: Sequence[Ask], concurrency: int) -> Outcomes:
    if concurrency == 1:
        return [_outcome(client, index, ask) for index, ask in enumerate(asks)]
    with ThreadPoolExecutor(min(concurrency, len(asks))) as pool:
        # A copy of the context for each, so that middleware sees the caller's principal.
        futures = [
            pool.submit(copy_context().run, _outcome, client, index, ask)
            for index, ask in enumerate(asks)
        ]
    return [future.result() for future in futures]


def _outcome(client: anthropic.Anthropic, index: int, ask: Ask) -> Outcome[Ask, Reply]:
    try:
        return Outcome(index, ask, value=answer(client, ask))
    except LOSSES as error:
        return Outcome(index, ask, error=error)


def _lost_at_worst(outcome: Outcome[Ask, Reply]) -> Outcome[Ask, Reply]:
    """The outcome, unless it failed in a way that would fail every other call as well."""
    if outcome.error is not None and not isinstance(outcome.error, LOSSES):
        raise outcome.error
    return outcome


def _turn(ask: Ask) -> Any:
    return [{"role": "user", "content": ask.prompt}]


def _arguments(ask: Ask) -> dict[str, Any]:
    return {
        "model": ask.model,
        "max_tokens": ask.max_tokens,
        "system": ask.system,
        "effort": ask.effort,
    }


def _text_arguments(ask: Ask) -> dict[str, Any]:
    sent = {"model": ask.model, "max_tokens": ask.max_tokens, "system": ask.system}
    config = {"output_config": {"effort": ask.effort}} if ask.effort else {}
    return {name: value for name, value in sent.items() if value is not None} | config


def _text(message: Message) -> Reply:
    return Reply(text_of(message), (_call(message),))


def _object(answer: Structured[Any]) -> Reply:
    return Reply(answer.value, _calls(answer.message, answer.usage, answer.request_ids))


def _earlier(error: Exception | None) -> tuple[Message, ...]:
    """What a failed re-ask had been told before: `structured` leaves it on the error."""
    return getattr(error, "earlier", ())


def _call(message: Message) -> Call:
    return Call(message.model, message.usage, message._request_id)


def _calls(message: Message, usage: Sequence[Usage], ids: Sequence[str | None]) -> tuple[Call, ...]:
    return tuple(Call(message.model, *pair) for pair in zip(usage, ids, strict=True))
