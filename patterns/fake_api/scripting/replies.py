"""What the fake API answers: replies, errors, and the two ways of saying which comes when.

A `Reply` is a message, an `Error` an error response. `FakeAPI.enqueue` takes either for the next
request, whatever that is; a script (`scripts.Replies`) matches requests.

    Reply("Four.")                                           text
    Reply(json={"label": "spam"})                            text that is JSON
    Reply("Four.", thinking="2 + 2 ...")                     a signed thinking block first
    Reply(tool_use=[ToolUse("add", {"a": 2, "b": 2})])       stop reason tool_use
    Reply(refusal="reasoning_extraction")                    stop reason refusal, with its category
    Reply("Half an ans", stop_reason="max_tokens")           any stop reason by name
    Error(529), Error(429, retry_after=2.5)                  an error response

Taught in chapter 00.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_args

from anthropic.types import StopReason

from patterns.fake_api.wire.errors import APIError, type_of

STOP_REASONS: Final[tuple[str, ...]] = get_args(StopReason)
CATEGORIES: Final = ("cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms")
"""The refusal categories of anthropic 2.12.0 (`RefusalStopDetails.category`)."""


@dataclass(frozen=True)
class ToolUse:
    """A tool call in a reply; its id is made from the request when none is given."""

    name: str
    input: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True)
class Reply:
    """A message to answer with.

    Attributes:
        text: the text block.
        json: a value whose JSON is the text block, for requests with an output schema.
        thinking: a thinking block before the text.
        tool_use: tool calls after the text, as `ToolUse` or mappings with `name` and `input`.
        stop_reason: overrides the one that follows from the rest. Whatever it says, text that is
            longer than `max_tokens` is cut, and stop sequences are honoured.
        refusal: the policy category of a refusal.
        content: raw content blocks in place of all of the above, sent as they are.
        output_tokens: counted tokens, in place of the estimate.
        seconds: how long this answer takes, in place of the latency model's figure.
    """

    text: str | None = None
    json: Any = None
    thinking: str | None = None
    tool_use: Sequence[ToolUse | Mapping[str, Any]] = ()
    stop_reason: str | None = None
    refusal: str | None = None
    content: Sequence[Mapping[str, Any]] | None = None
    output_tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.json is not None:
            raise ValueError("a Reply has text or json, not both.")
        if self.stop_reason is not None and self.stop_reason not in STOP_REASONS:
            raise ValueError(
                f"stop_reason is {self.stop_reason!r}; it is one of {', '.join(STOP_REASONS)}."
            )
        if self.refusal is not None and self.refusal not in CATEGORIES:
            raise ValueError(
                f"refusal is {self.refusal!r}; the categories are {', '.join(CATEGORIES)}."
            )
        if self.content is not None and not all("type" in block for block in self.content):
            raise ValueError("each content block of a Reply needs a type.")
        if self.tool_use != ():
            calls = [
                call if isinstance(call, ToolUse) else ToolUse(**call) for call in self.tool_use
            ]
            object.__setattr__(self, "tool_use", tuple(calls))

    @property
    def calls(self) -> tuple[ToolUse, ...]:
        """The tool calls."""
        return self.tool_use  # type: ignore[return-value]  # made so in __post_init__


@dataclass(frozen=True)
class Error:
    """An error response to answer with.

    Attributes:
        status: HTTP status, 400 to 599.
        type: the API's error type; follows from the status when left out.
        message: what a person reads.
        retry_after: seconds in `retry-after` (fractions also in `retry-after-ms`).
        error_code: the stable code in `error.details`.
        headers: further response headers.
        seconds: how long this answer takes.
    """

    status: int
    type: str | None = None
    message: str | None = None
    retry_after: float | None = None
    error_code: str | None = None
    headers: Mapping[str, str] | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status is {self.status}; an error's is 400 to 599.")

    def as_api_error(self) -> APIError:
        """The error that the fake raises for it."""
        return APIError(
            self.status,
            self.message,
            type=self.type or type_of(self.status),
            error_code=self.error_code,
            retry_after=self.retry_after,
            headers=self.headers,
        )


Answering: TypeAlias = "str | Reply | Error | Callable[[Mapping[str, Any]], str | Reply | Error]"
"""What can be enqueued: an answer, or a function from the request's body to one."""

SPEND_LIMIT: Final = Error(
    429,
    message="the organization has reached its monthly spend limit",
    error_code="enforced_spend_limit_reached",
)
"""The 429 that no retry helps with."""


def answer_of(answering: Answering, body: Mapping[str, Any]) -> Reply | Error:
    """The reply or error that an enqueued value stands for."""
    value = answering(body) if callable(answering) else answering
    return Reply(value) if isinstance(value, str) else value
