"""A pydantic object out of one prompt, with the stop reason read first and one re-ask at most.

For answers that code consumes: the API holds the reply to the model's JSON schema, and this
module validates what the API does not (bounds, patterns, your own validators). Prefer the
SDK's `messages.parse` while a bare `ValidationError` is good enough for you: it forgets the
stop reason, the usage and the request id. Not for long free text (tags read better), not with
tools (finish the tool loop, then structure its last answer).

Taught in chapter 05; chapters 03 and 06 use it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack

import anthropic
from anthropic.types import (
    CacheControlEphemeralParam,
    JSONOutputFormatParam,
    Message,
    MessageParam,
    MetadataParam,
    StopReason,
    TextBlockParam,
    Usage,
)
from anthropic.types.thinking_config_param import ThinkingConfigParam
from pydantic import BaseModel, PydanticUserError, ValidationError

from patterns.core.answers import Refused, Truncated, sendable, text_of
from patterns.core.errors import NotText, Portable
from patterns.core.model_ids import SONNET, Effort
from patterns.prompting.schema_limits import why_refused, with_nulls

T = TypeVar("T", bound=BaseModel)

SCHEMA_WORDS: Final = ("schema", "grammar", "output_config.format")
"""What a 400 about the schema speaks of. The API has no error code for it (November 2026)."""


class Options(TypedDict, total=False):
    """Further arguments of `messages.create` that go out unchanged."""

    cache_control: CacheControlEphemeralParam
    metadata: MetadataParam
    service_tier: Literal["auto", "standard_only"]
    thinking: ThinkingConfigParam
    extra_headers: Mapping[str, str]
    timeout: float


@dataclass(frozen=True)
class Structured(Generic[T]):
    """A validated answer, and what it took to get it."""

    value: T
    usage: tuple[Usage, ...]
    """Tokens of each call in order; with a re-ask there are two, and both are billed."""
    stop_reason: StopReason | None
    request_ids: tuple[str | None, ...]
    """One per call, as the response header gave it; `None` where a proxy dropped it."""
    message: Message
    """The reply that `value` was read from."""

    @property
    def repaired(self) -> bool:
        """Whether the first answer was invalid and the second one was taken."""
        return len(self.usage) > 1


class InvalidOutput(Portable, Exception):
    """The answer does not fit the output model, and there was no re-ask left.

    Attributes:
        errors: one line per problem, `field: what is wrong`.
        text: the reply as it came.
        message: the reply's message.
        usage: tokens of each call that was made.
        request_ids: one per call.
    """

    def __init__(
        self,
        output: type[BaseModel],
        errors: tuple[str, ...],
        text: str,
        calls: tuple[Message, ...],
    ) -> None:
        self.errors = errors
        self.text = text
        self.message = calls[-1]
        self.usage = tuple(call.usage for call in calls)
        self.request_ids = tuple(call._request_id for call in calls)
        super().__init__(
            f"answer {len(calls)} does not fit {output.__name__}: {'; '.join(errors)}. "
            "Say the rule in the prompt or loosen the model."
        )


class BrokenValidator(InvalidOutput):
    """A validator of the output model failed with an error of its own; asking again cannot help.

    Every call that was made is kept, as `InvalidOutput` does.
    """


class SchemaRefused(Portable, Exception):
    """An output model whose JSON schema structured output cannot express.

    Attributes:
        output: the pydantic model.
        reason: the API's own words, or what was found before asking.
    """

    def __init__(self, output: type[BaseModel], reason: str) -> None:
        self.output = output
        self.reason = reason
        name = getattr(output, "__name__", repr(output))
        super().__init__(f"the schema of {name} cannot be used: {reason}")


def structured(
    client: anthropic.Anthropic,
    prompt: str | Sequence[MessageParam],
    output: type[T],
    *,
    model: str = SONNET,
    max_tokens: int = 4096,
    system: str | Sequence[TextBlockParam] | None = None,
    effort: Effort | None = None,
    repairs: int = 1,
    nulls: bool = False,
    **options: Unpack[Options],
) -> Structured[T]:
    """Ask for an answer that is an `output`, and re-ask once with the errors when it is not.

    Args:
        client: the SDK's client.
        prompt: the user's text, or a whole conversation that ends with a user turn.
        output: a pydantic model; every rule of it is checked here, also those that the API
            takes for a mere description (`ge`, `le`, `pattern`, `max_length`).
        model: model id.
        max_tokens: ceiling of one call, thinking included.
        system: system prompt, as text or as blocks with `cache_control`.
        effort: how much work goes into the answer; left out, the API decides.
        repairs: 1 re-asks once when validation fails, 0 never does.
        nulls: ask for every field that is None by default, as null where there is nothing; such
            a field does not count among the 24 optional ones that the API compiles.
        options: see `Options`.

    Raises:
        Refused: the model declined; nothing was parsed.
        Truncated: the answer ran into `max_tokens` or the context window.
            When the re-ask ends so, or in an `anthropic.APIError`, the first answer is kept on
            the exception as `earlier`: it was billed.
        InvalidOutput: the last answer does not validate.
        SchemaRefused: `output` cannot be put as a schema, or the API answered so with a 400.
        NotText: the prompt is neither text nor a list of turns.
    """
    sent = {**options, "model": model, "max_tokens": max_tokens, "system": system}
    request = _request(prompt, output, effort, repairs, nulls, sent)
    with _schema_errors(output):
        first: Message = client.messages.create(**request)
    result = _first_answer(output, request, first, repairs)
    if isinstance(result, Structured):
        return result
    with _keeping(first):
        return _read(output, first, client.messages.create(**result))


async def structured_async(
    client: anthropic.AsyncAnthropic,
    prompt: str | Sequence[MessageParam],
    output: type[T],
    *,
    model: str = SONNET,
    max_tokens: int = 4096,
    system: str | Sequence[TextBlockParam] | None = None,
    effort: Effort | None = None,
    repairs: int = 1,
    nulls: bool = False,
    **options: Unpack[Options],
) -> Structured[T]:
    """The same as `structured`, with an `AsyncAnthropic`."""
    sent = {**options, "model": model, "max_tokens": max_tokens, "system": system}
    request = _request(prompt, output, effort, repairs, nulls, sent)
    with _schema_errors(output):
        first: Message = await client.messages.create(**request)
    result = _first_answer(output, request, first, repairs)
    if isinstance(result, Structured):
        return result
    with _keeping(first):
        return _read(output, first, await client.messages.create(**result))


def output_format(output: type[BaseModel], *, nulls: bool = False) -> JSONOutputFormatParam:
    """The `output_config["format"]` that asks for an `output`; `nulls` as in `structured`.

    Raises:
        SchemaRefused: it is no pydantic model, a field has no type or is a mapping with free
            keys, the model refers to itself, or has more optional or union fields than the API
            compiles.
    """
    if not (isinstance(output, type) and issubclass(output, BaseModel)):
        raise SchemaRefused(output, "it is no pydantic model; pass a subclass of BaseModel.")
    return _format(output, nulls)


@lru_cache(maxsize=512)
def _format(output: type[BaseModel], nulls: bool) -> JSONOutputFormatParam:
    try:
        schema = output.model_json_schema()
        asked = with_nulls(schema) if nulls else schema
        if problem := why_refused(asked):
            raise SchemaRefused(output, problem)
        return {"type": "json_schema", "schema": anthropic.transform_schema(asked)}
    except (ValueError, PydanticUserError) as error:
        raise SchemaRefused(output, str(error)) from error


def _request(
    prompt: str | Sequence[MessageParam],
    output: type[BaseModel],
    effort: Effort | None,
    repairs: int,
    nulls: bool,
    sent: dict[str, Any],
) -> dict[str, Any]:
    """The arguments of `messages.create`."""
    if repairs not in (0, 1):
        raise ValueError(f"repairs is {repairs!r}; it is 0 (never) or 1 (re-ask once).")
    config: dict[str, Any] = {"format": output_format(output, nulls=nulls)}
    if effort is not None:
        config["effort"] = effort
    if sent["system"] is None:
        del sent["system"]
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(turns, list | tuple) or not all(isinstance(t, Mapping) for t in turns):
        raise NotText("prompt", prompt)
    return {**sent, "messages": [*turns], "output_config": config}


@contextmanager
def _schema_errors(output: type[BaseModel]) -> Iterator[None]:
    """Name the model that is at fault when the API rejects a request because of its schema."""
    try:
        yield
    except anthropic.BadRequestError as error:
        reason = error.api_message or error.message
        if not any(word in reason.lower() for word in SCHEMA_WORDS):
            raise
        raise SchemaRefused(output, reason) from error


@contextmanager
def _keeping(first: Message) -> Iterator[None]:
    """Leave the first answer, which was billed, on whatever ends the second call."""
    try:
        yield
    except (Refused, Truncated, anthropic.APIError) as error:
        setattr(error, "earlier", (first,))  # noqa: B010  # the SDK's errors have no field for it
        raise


def _read(output: type[T], *calls: Message) -> Structured[T]:
    """The last reply as an `output`; `text_of` looks at the stop reason first."""
    message = calls[-1]
    text = text_of(message)
    try:
        value = output.model_validate_json(text)
    except ValidationError as error:
        raise InvalidOutput(output, _lines(error), text, calls) from error
    except Exception as error:  # whatever a validator of the caller's raises
        problem = f"a validator raised {type(error).__name__}: {error}"
        raise BrokenValidator(output, (problem,), text, calls) from error
    return Structured(
        value=value,
        usage=tuple(call.usage for call in calls),
        stop_reason=message.stop_reason,
        request_ids=tuple(call._request_id for call in calls),
        message=message,
    )


def _first_answer(
    output: type[T], request: Mapping[str, Any], first: Message, repairs: int
) -> Structured[T] | dict[str, Any]:
    """The first reply as an `output`, or the request that asks for a better one."""
    try:
        return _read(output, first)
    except BrokenValidator:
        raise
    except InvalidOutput as invalid:
        if not repairs:
            raise
        return _ask_again(request, invalid)


def _lines(error: ValidationError) -> tuple[str, ...]:
    return tuple(
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg']}"
        for problem in error.errors()
    )


def _ask_again(request: Mapping[str, Any], invalid: InvalidOutput) -> dict[str, Any]:
    """The same request, its invalid answer replayed untouched, and the errors as a user turn.

    Thinking blocks are signed for the prefix that they stand in, so the content goes back as
    it came. A blank answer cannot go back at all and is left out.
    """
    problems = "\n".join(f"- {line}" for line in invalid.errors)
    correction = f"That answer breaks these rules:\n{problems}\nGive the whole answer again."
    content = sendable(invalid.message)
    answer = [{"role": "assistant", "content": content}] if content else []
    turns = [*request["messages"], *answer, {"role": "user", "content": correction}]
    return {**request, "messages": turns}
