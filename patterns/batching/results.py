"""How each request of a batch ended: one line of JSON, read when somebody asks for it.

Used by the folder patterns/batching, taught in chapter 08.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from anthropic.types import Message, Usage

from patterns.core.pricing import InvalidUsage, cost_usd

CREDIT: Final = "credit balance"
"""What the message of an `invalid_request_error` says that is really about money."""
BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BatchError:
    """Why a request was not answered."""

    type: str
    message: str
    request_id: str | None = None


@dataclass(frozen=True)
class BatchResult:
    """How one request ended.

    Attributes:
        index: its place among the job's requests, from 0.
        custom_id: its id.
        outcome: `succeeded`, `errored`, `canceled` or `expired`; or what a later API calls it.
        batch_id: the batch that it was in; None for one that was never sent.
    """

    index: int
    custom_id: str
    outcome: str
    batch_id: str | None
    line: bytes = field(repr=False)

    @cached_property
    def _result(self) -> dict[str, Any]:
        return dict(json.loads(self.line)["result"])

    @cached_property
    def message(self) -> Message | None:
        """The answer, parsed when first asked for; None unless it succeeded."""
        if self.outcome != "succeeded":
            return None
        return Message.construct(**self._result["message"])

    @property
    def error(self) -> BatchError | None:
        """The error; None unless it errored."""
        return _error_of(self._result) if self.outcome == "errored" else None

    @property
    def usage(self) -> Usage | None:
        """What it used; None where nothing was."""
        return self.message.usage if self.message else None

    @property
    def cost(self) -> Decimal | None:
        """US dollars: by `service_tier`, 0 where nothing was billed, None without a price.

        A usage that cannot be read, as of some proxies, has none.
        """
        if self.message is None:
            return Decimal(0)  # errored, canceled and expired requests are not billed
        try:
            return cost_usd(self.message.model, self.message.usage)
        except InvalidUsage:
            return None


@dataclass(frozen=True)
class Line:
    """A line of results, as far as a job must know it.

    Attributes:
        custom_id: the id that was sent.
        outcome: the type of the result.
        reason: the type of the error where it errored, else the outcome.
    """

    custom_id: str
    outcome: str
    reason: str


def parse(text: bytes) -> Line | None:
    """A line of results; None where it is none."""
    try:
        entry = json.loads(text)
        custom_id, result = entry["custom_id"], entry["result"]
        outcome = result["type"]
        whole = outcome != "succeeded" or isinstance(result["message"], dict)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not (isinstance(custom_id, str) and isinstance(outcome, str) and whole):
        return None
    return Line(custom_id, *map(_storable, (outcome, _reason(outcome, result))))


def _storable(text: str) -> str:
    """A word that any database can hold: no NUL and no half characters."""
    return text if text.isprintable() else ascii(text)


def _reason(outcome: str, result: dict[str, Any]) -> str:
    if outcome != "errored":
        return outcome
    error = _error_of(result)
    return "billing_error" if CREDIT in error.message else error.type


def _error_of(result: dict[str, Any]) -> BatchError:
    """The error of a result, which may have less to it than the API promises."""
    outer = result.get("error")
    outer = outer if isinstance(outer, dict) else {}
    inner = outer.get("error")
    inner = inner if isinstance(inner, dict) else {}
    kind, message = str(inner.get("type") or "unknown_error"), str(inner.get("message") or "")
    return BatchError(kind, message, outer.get("request_id"))


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their newline, blank ones left out; split at newlines and nowhere else.

    JSON text may hold U+2028 and its kin, and a proxy may put a byte order mark before it all.
    """
    rest: list[bytes] = []
    for piece in pieces:
        head, *others = piece.split(b"\n")
        rest.append(head)
        for other in others:
            yield from _line(rest)
            rest = [other]
    yield from _line(rest)


def _line(parts: list[bytes]) -> Iterator[bytes]:
    if line := b"".join(parts).removeprefix(BOM).strip():
        yield line
