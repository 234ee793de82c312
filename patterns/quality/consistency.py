"""Ask the same question several times and take the answer that most samples give.

For questions with one checkable answer on which single samples differ. It cannot repair a
question that the model misreads in the same way each time: all samples then agree, and are wrong.
Not for long free text. Measure one call with a higher effort first: it may be the cheaper way.

Taught in chapter 06.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeVar, Unpack, get_origin, overload

import anthropic
from pydantic import BaseModel, create_model

from patterns.core.fan_out import Outcome
from patterns.prompting.structured import output_format
from patterns.quality.asking import Ask, Reply, Settings, Steps, calls_of, run, run_async
from patterns.quality.calls import Call, InvalidInput, Lost, check_said, check_whole
from patterns.quality.losses import AllLost
from patterns.quality.losses import lost as lost_call
from patterns.quality.vote import Vote, counted, same, still_needed, vote

T = TypeVar("T")


class Sampling(Settings, total=False):
    """The keywords of `self_consistent` that may be left out; it says what they do."""

    concurrency: int
    stop_early: bool
    key: Callable[[Any], Any]
    system: str | None


@overload
def self_consistent(
    client: anthropic.Anthropic,
    question: str,
    *,
    n: int,
    answer: type[T],
    **options: Unpack[Sampling],
) -> Vote[T]: ...


@overload
def self_consistent(
    client: anthropic.Anthropic,
    question: str,
    *,
    n: int,
    answer: object,
    **options: Unpack[Sampling],
) -> Vote[Any]: ...


def self_consistent(
    client: anthropic.Anthropic,
    question: str,
    *,
    n: int,
    answer: Any,
    concurrency: int = 4,
    stop_early: bool = True,
    key: Callable[[Any], Any] = same,
    system: str | None = None,
    **settings: Unpack[Settings],
) -> Vote[Any]:
    """Ask up to `n` times and count the answers.

    Args:
        client: the SDK's client.
        question: the prompt, sent as it is; put material from elsewhere in it with `tag`.
        n: samples at most. An odd number avoids ties between two answers.
        answer: what an answer is: a pydantic model, or a type such as `int`, `date`, an enum or
            `Literal["yes", "no"]`.
        concurrency: calls at the same time, at most; above 1 the sync client uses threads.
        stop_early: end as soon as the lead cannot be overtaken. It never asks for a sample that
            could turn out superfluous, so several short rounds may replace one long one.
        key: what makes two answers the same, such as `lambda solved: solved.total`; left out, text
            is compared in its `plain` form, all else by `==`. A sample on which it fails is lost.
        system: system prompt.
        settings: see `Settings`.

    Raises:
        InvalidInput: `n` or `concurrency` is below 1, the question is blank, or `answer` is
            nothing that can be asked for or counted.
        AllLost: no sample brought an answer.
    """
    steps = sampling(question, n, answer, stop_early, key, system, settings)
    return run(client, steps, concurrency=concurrency)


@overload
async def self_consistent_async(
    client: anthropic.AsyncAnthropic,
    question: str,
    *,
    n: int,
    answer: type[T],
    **options: Unpack[Sampling],
) -> Vote[T]: ...


@overload
async def self_consistent_async(
    client: anthropic.AsyncAnthropic,
    question: str,
    *,
    n: int,
    answer: object,
    **options: Unpack[Sampling],
) -> Vote[Any]: ...


async def self_consistent_async(
    client: anthropic.AsyncAnthropic,
    question: str,
    *,
    n: int,
    answer: Any,
    concurrency: int = 4,
    stop_early: bool = True,
    key: Callable[[Any], Any] = same,
    system: str | None = None,
    **settings: Unpack[Settings],
) -> Vote[Any]:
    """The same as `self_consistent`, with an `AsyncAnthropic`."""
    steps = sampling(question, n, answer, stop_early, key, system, settings)
    return await run_async(client, steps, concurrency=concurrency)


def sampling(
    question: str,
    n: int,
    answer: Any,
    stop_early: bool,
    key: Callable[[Any], Any],
    system: str | None,
    settings: Settings,
) -> Steps[Vote[Any]]:
    """The pattern itself, without I/O: yields rounds of calls, is sent their outcomes."""
    check_whole("n", n)
    check_said("question", question)
    ask = Ask(question, _output(answer), system, **settings)
    key = _itself if key is same and get_origin(answer) is Literal else key
    answers: list[Any] = []
    lost: list[Lost] = []
    calls: list[Call] = []
    while more := _next_round(answers, key, n - len(answers) - len(lost), stop_early):
        for outcome in (yield [ask] * more):
            calls += calls_of(outcome)
            value, error = _voted(answer, outcome, key)
            if error is None:
                answers.append(value)
            else:
                lost.append(lost_call(f"sample {len(answers) + len(lost) + 1}", error))
    if not answers:
        raise AllLost(f"all {n} samples were lost", {}, lost, calls) from lost[0].error
    skipped = n - len(answers) - len(lost)
    return replace(vote(answers, key=key), lost=tuple(lost), skipped=skipped, calls=tuple(calls))


def _next_round(answers: list[Any], key: Callable[[Any], Any], left: int, stop_early: bool) -> int:
    """How many samples to ask for at once."""
    if not stop_early:
        return left
    return still_needed((count for _, count in counted(answers, key)), left)


def _output(answer: Any) -> type[BaseModel]:
    """The model to ask for: the caller's own, or one with the single field `answer`.

    Raises:
        InvalidInput: pydantic or the API can make nothing of it.
    """
    try:
        output = answer if _is_model(answer) else create_model("Answer", answer=(answer, ...))
        output_format(output)
    except Exception as error:  # pydantic raises whatever evaluating an annotation raises
        raise InvalidInput(f"answer={answer!r} cannot be asked for: {error}") from error
    return output


def _voted(
    answer: Any, outcome: Outcome[Ask, Reply], key: Callable[[Any], Any]
) -> tuple[Any, Exception | None]:
    """What a sample votes for, or why it has no vote."""
    try:
        value = _bare(answer, outcome.unwrap().value)
        key(value)
    except Exception as error:  # a key is the caller's code, and the samples are paid for
        return None, error
    return value, None


def _itself(value: Any) -> Any:
    return value


def _bare(answer: Any, value: Any) -> Any:
    return value if _is_model(answer) else value.answer


def _is_model(answer: Any) -> bool:
    return isinstance(answer, type) and issubclass(answer, BaseModel)
