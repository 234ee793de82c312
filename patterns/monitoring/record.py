"""The record of one call to Claude: what happened, how long it took, what it cost. Never content.

Also the two facts that only the application knows, set around its calls:

    with call_context(feature="search", user="u-17"):
        client.messages.create(...)

Use it wherever calls are counted, priced or alerted on. Not for attempts: a call that succeeded
after two overloaded attempts is one successful call. Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from numbers import Integral
from uuid import UUID

from patterns.core.errors import Portable
from patterns.core.usage import Tokens
from patterns.monitoring.outcomes import Outcome


class InvalidLabel(Portable, TypeError):
    """A value that cannot label a call, refused where it is given and before anything is sent.

    Attributes:
        name: of the label.
        value: what was given.
    """

    def __init__(self, name: str, value: object, allowed: str) -> None:
        self.name = name
        self.value = value
        super().__init__(f"{name} is {value!r}; pass {allowed}.")


def label(name: str, value: object) -> str:
    """A text that can be stored and exported as a label.

    Raises:
        InvalidLabel: it is no text, or holds half a character (a lone surrogate).
    """
    if not isinstance(value, str) or value.encode("utf-8", "replace").decode() != value:
        raise InvalidLabel(name, value, "text that UTF-8 can hold, or None")
    return str.__str__(value)  # of an enum that is a str, the str


@dataclass(frozen=True, slots=True)
class CallContext:
    """What the application knows about a call.

    Attributes:
        feature: which part of the product asks.
        user: for whom, in the application's own terms: a text, a whole number or a UUID. It leaves
            the process only as a pseudonym.
        offline: nobody waits for the answer, so it could have been a batch request.

    Raises:
        InvalidLabel: a value of another type.
    """

    feature: str | None = None
    user: str | int | UUID | None = None
    offline: bool = False

    def __post_init__(self) -> None:
        if self.feature is not None:
            object.__setattr__(self, "feature", label("feature", self.feature))
        if self.user is not None:
            if isinstance(self.user, bool) or not isinstance(self.user, str | Integral | UUID):
                raise InvalidLabel("user", self.user, "a text, a whole number, a UUID or None")
            text = self.user if isinstance(self.user, str) else str(self.user)
            object.__setattr__(self, "user", str.__str__(text))
        if not isinstance(self.offline, bool):
            raise InvalidLabel("offline", self.offline, "True or False")


_CONTEXT: ContextVar[CallContext] = ContextVar("call_context", default=CallContext())  # noqa: B039 (frozen)


@contextmanager
def call_context(
    *,
    feature: str | None = None,
    user: str | int | UUID | None = None,
    offline: bool | None = None,
) -> Iterator[CallContext]:
    """Label every call inside the block; an inner block changes only what it names.

    A generator may hold the block. Where a web framework runs each of its steps in a context of
    its own, only the first step has the labels: make the calls there, and stream later.

    Raises:
        InvalidLabel: a value that cannot be a label, before the block begins.
    """
    outer = _CONTEXT.get()
    inner = CallContext(
        feature=outer.feature if feature is None else feature,
        user=outer.user if user is None else user,
        offline=outer.offline if offline is None else offline,
    )
    token = _CONTEXT.set(inner)
    try:
        yield inner
    finally:
        with suppress(ValueError):  # left in another context than entered: nothing to undo there
            _CONTEXT.reset(token)


def current_context() -> CallContext:
    """The labels that hold here and now."""
    return _CONTEXT.get()


class InvalidMoment(Portable, TypeError):
    """Something that is no moment, such as a date, which is a different one in each zone.

    Attributes:
        value: what was given.
    """

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(
            f"the moment is {value!r:.80}; pass a datetime, such as datetime.now(UTC)."
        )


def in_utc(moment: datetime) -> datetime:
    """The same moment with a zone; one without is taken as UTC, on every machine.

    Raises:
        InvalidMoment: it is no datetime.
    """
    if not isinstance(moment, datetime):
        raise InvalidMoment(moment)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """One call, with every retry and the reading of its stream inside.

    Attributes:
        at: when it started, in UTC.
        model: the model that answered; the one asked for when none did.
        feature: from the monitor's closed set.
        outcome: how it ended.
        seconds: how long it took; None in a batch.
        first_chunk_seconds: until the first piece of a streamed answer.
        tokens: by price.
        cost_usd: exact, fees included; None when no published price covers the call.
        fees_usd: the part of the cost that is not for tokens, such as web searches.
        cost_is_lower_bound: the call may have cost more: its output, or its end, was not seen.
        retries: requests sent beyond the first.
        stop_reason: as the API gave it.
        error_type: as the API, or the SDK for failures on our side, named it.
        user: a keyed pseudonym, the same as in the audit log, or None.
        offline: nobody was waiting.
        batch: sent through the Batches API.
        streamed: answered as a stream.
        fast: in fast mode.
        geo: where inference ran, as the API gave it.
        samplings: the tokens of each sampling, when there was more than one; each is priced by
            its own prompt length.
        request_id: of the last attempt.
        response_id: of the message.
        trace_id: 32 hexadecimal digits, the link to a trace.
    """

    at: datetime
    model: str
    feature: str
    outcome: Outcome
    seconds: float | None = None
    first_chunk_seconds: float | None = None
    tokens: Tokens = field(default_factory=Tokens)
    cost_usd: Decimal | None = Decimal(0)
    cost_is_lower_bound: bool = False
    retries: int = 0
    stop_reason: str | None = None
    error_type: str | None = None
    user: str | None = None
    offline: bool = False
    batch: bool = False
    streamed: bool = False
    request_id: str | None = None
    response_id: str | None = None
    trace_id: str | None = None
    fees_usd: Decimal = Decimal(0)
    fast: bool = False
    geo: str | None = None
    samplings: tuple[Tokens, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", in_utc(self.at))
