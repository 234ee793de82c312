"""Results of batches: read as bytes, stored line by line, joined on `custom_id`.

A stream of results comes in any order, may hold a line twice, may hold a broken one, and may stop
in the middle. What was good is stored before anything is raised, so that reading again goes on
where it stopped. Lines are split at newlines only: JSON text may hold U+2028 and its kin.

Taught in chapter 08.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Literal, cast, get_args

import httpx2
from anthropic import Anthropic, AnthropicError, APIConnectionError, APIError, NotFoundError
from anthropic.types import Message, Usage
from pydantic_core import from_json

from patterns.batching.journal import BatchShard, Journal, ResultRow
from patterns.batching.patience import Patience
from patterns.core.pricing import cost_usd

Outcome = Literal["succeeded", "errored", "canceled", "expired"]
OUTCOMES: Final = frozenset(get_args(Outcome))

TRANSIENT: Final = frozenset(("api_error", "overloaded_error", "rate_limit_error", "timeout_error"))
"""Error types that the same request may not meet again."""

CHUNK: Final = 2**20
"""Bytes of results in one transaction."""
PASSES: Final = 5
"""How often a stream may break off in a row without a new result."""


class ResultsError(Exception):
    """Results of a batch that cannot be had, or not all of them. What is good is stored.

    Attributes:
        batch_id: the batch.
    """

    def __init__(self, batch_id: str, problem: str) -> None:
        self.batch_id = batch_id
        super().__init__(f"{batch_id}: {problem}")


class BatchGone(ResultsError):
    """The API knows the batch no more, or keeps its results no more."""

    def __init__(self, batch_id: str, why: str) -> None:
        super().__init__(
            batch_id, f"{why}; resubmit({batch_id!r}) sends its requests again, and pays again."
        )


class MalformedResults(ResultsError):
    """Lines that are no results of this batch.

    Attributes:
        lines: number (from 1) and beginning of the first ones.
    """

    def __init__(self, batch_id: str, count: int, lines: tuple[tuple[int, str], ...]) -> None:
        self.lines = lines
        number, text = lines[0]
        super().__init__(
            batch_id,
            f"{count} malformed line(s), first line {number}: {text!r}; all others are stored. "
            "Collect again, or resubmit what is missing.",
        )


class ResultsIncomplete(ResultsError):
    """The results ended without all of them.

    Attributes:
        missing: the first ids without a result.
    """

    def __init__(self, batch_id: str, missing: list[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            batch_id, f"no result for {missing[0]!r} and perhaps others; collect again later."
        )


class ForeignBatch(Exception):
    """The batch that was taken for ours is somebody else's."""


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
        outcome: `succeeded`, `errored`, `canceled` or `expired`.
        batch_id: the batch that it was in.
    """

    index: int
    custom_id: str
    outcome: Outcome
    batch_id: str
    line: bytes = field(repr=False)

    @classmethod
    def of(cls, row: ResultRow) -> "BatchResult":
        """From the journal."""
        outcome = cast(Outcome, row.outcome)
        return cls(row.n - 1, row.custom_id, outcome, row.batch_id, row.line)

    @cached_property
    def _result(self) -> dict[str, Any]:
        return cast(dict[str, Any], _value(self.line)["result"])

    @cached_property
    def message(self) -> Message | None:
        """The answer, parsed when first asked for; None unless it succeeded."""
        if self.outcome != "succeeded":
            return None
        return Message.construct(**self._result["message"])

    @property
    def error(self) -> BatchError | None:
        """The error; None unless it errored."""
        if self.outcome != "errored":
            return None
        outer = self._result["error"]
        inner = outer["error"]
        return BatchError(inner["type"], inner.get("message", ""), outer.get("request_id"))

    @property
    def usage(self) -> Usage | None:
        """What it used; None where nothing was."""
        return self.message.usage if self.message else None

    @property
    def cost(self) -> Decimal | None:
        """US dollars: by `service_tier`, 0 where nothing was billed, None without a price."""
        if self.message is None:
            return Decimal(0)  # errored, canceled and expired requests are not billed
        return cost_usd(self.message.model, self.message.usage)


@dataclass
class Collected:
    """What one reading of results found.

    Attributes:
        stored: results that were new.
        duplicates: lines whose id had come before in the same pass.
        passes: how often the results were read, from the start or again after a cut.
        lines: lines in the last pass.
    """

    stored: int = 0
    duplicates: int = 0
    passes: int = 0
    lines: int = 0
    malformed: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


class Collector:
    """Reads the results of one ended shard into the journal."""

    def __init__(
        self, client: Anthropic, journal: Journal, patience: Patience, shard: BatchShard
    ) -> None:
        self._batches = client.with_options(max_retries=0).messages.batches
        self._journal, self._patience, self._shard = journal, patience, shard
        self._id = shard.batch_id or ""
        self._pass = journal.last_pass()
        self._checked = shard.sure
        self.report = Collected()

    def run(self) -> Collected:
        """Read until every request has a result.

        Raises:
            ResultsError: it cannot be had, or not all of it; what is good is stored.
            ForeignBatch: the batch is not ours.
        """
        idle = 0
        while True:
            before = self.report.stored
            whole = self._read()
            missing = self._journal.missing(self._shard, 3)
            if not missing:
                self._journal.mark_collected(self._shard)
                return self.report
            if whole and self.report.malformed:
                count, examples = self.report.malformed, tuple(self.report.examples)
                raise MalformedResults(self._id, count, examples)
            idle = 0 if self.report.stored > before else idle + 1
            if idle >= PASSES or (whole and idle):
                raise ResultsIncomplete(self._id, missing)
            self._patience.sleep(min(60.0, 2.0**idle))

    def _read(self) -> bool:
        """One pass over the lines; False where the connection broke off."""
        self._pass += 1
        report = self.report
        report.passes, report.lines, report.malformed = report.passes + 1, 0, 0
        report.examples.clear()
        begun = self._journal.count_missing(self._shard)
        decoder = self._patience(self._open)
        chunk: list[tuple[Any, ...]] = []
        whole, size = True, 0
        try:
            for line in lines_of(decoder.http_response.iter_bytes()):
                report.lines += 1
                size += len(line)
                if (row := self._row(line)) is not None:
                    chunk.append(row)
                if size >= CHUNK:
                    self._store(chunk)
                    size = 0
        except (httpx2.HTTPError, APIConnectionError):
            whole = False
        finally:
            decoder.close()
        self._store(chunk)
        report.stored += begun - self._journal.count_missing(self._shard)
        return whole

    def _open(self) -> Any:
        """The stream of results."""
        try:
            return self._batches.results(self._id)
        except NotFoundError:
            raise BatchGone(self._id, "the API does not know it, or not its results") from None
        except APIError:
            raise
        except AnthropicError:  # how the SDK says that an ended batch names no place of results
            raise BatchGone(self._id, "its results are kept no more (29 days)") from None

    def _row(self, line: bytes) -> tuple[Any, ...] | None:
        """A line to store, or None for one that is no result."""
        parsed = parse(line)
        if parsed is None:
            self._reject(line)
            return None
        custom_id, outcome, error = parsed
        if not self._checked:
            self._check(custom_id)
        return outcome, error, line, custom_id

    def _check(self, custom_id: str) -> None:
        """The first id says whose batch it is."""
        if not self._journal.holds(self._shard, custom_id):
            raise ForeignBatch
        self._journal.mark_sure(self._shard)
        self._checked = True

    def _reject(self, line: bytes) -> None:
        self.report.malformed += 1
        if len(self.report.examples) < 10:
            text = line[:80].decode("utf-8", "replace")
            self.report.examples.append((self.report.lines, text))

    def _store(self, chunk: list[tuple[Any, ...]]) -> None:
        """Keep a chunk; what was not kept is a duplicate or no request of this shard."""
        fresh = self._journal.store(self._shard, self._pass, chunk)
        strangers = []
        if fresh != len({row[3] for row in chunk}):  # equal where an id only came twice in it
            strangers = [row for row in chunk if not self._journal.holds(self._shard, row[3])]
        for row in strangers:
            self._reject(row[2])
        self.report.duplicates += len(chunk) - len(strangers) - fresh
        chunk.clear()


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their newline, blank ones left out; split at newlines and nowhere else."""
    rest: list[bytes] = []
    for piece in pieces:
        head, *others = piece.split(b"\n")
        rest.append(head)
        for other in others:
            if line := b"".join(rest).strip():
                yield line
            rest = [other]
    if line := b"".join(rest).strip():
        yield line


def _value(line: bytes) -> Any:
    """The JSON of a line; the standard library has the last word on what is none."""
    try:
        return from_json(line)
    except ValueError:  # half characters and deep nesting, for instance
        return json.loads(line.decode())


def parse(line: bytes) -> tuple[str, Outcome, str | None] | None:
    """Id, outcome and error type of a line; None where it is no result."""
    try:
        entry = _value(line)
        custom_id, result = entry["custom_id"], entry["result"]
        outcome = result["type"]
        error = result["error"]["error"]["type"] if outcome == "errored" else None
        whole = outcome != "succeeded" or isinstance(result["message"], dict)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    good = isinstance(custom_id, str) and outcome in OUTCOMES and whole
    return (custom_id, outcome, error) if good else None
