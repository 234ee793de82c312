"""Read the results of a batch into the store: every id once, whatever the stream does.

Lines come in any order, may come twice, may be broken, and may stop in the middle. What is good is
stored at once; while anything is missing, the results are read again, and what is stored already
is passed over. Only when several readings in a row bring nothing new is it given up.

Used by the folder patterns/batching, taught in chapter 08.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpx2
from anthropic import APIConnectionError

from patterns.batching.api import BatchAPI, BatchGone, ResultsError
from patterns.batching.results import lines_of, parse
from patterns.batching.store import BatchShard, JobStore
from patterns.batching.wire import place_of

CHUNK: Final = 2**20
"""Bytes of results in one transaction."""
PASSES: Final = 5
"""How often results are read in a row without a new one."""
EXAMPLES: Final = 10


class ResultsIncomplete(ResultsError):
    """The results ended without all of them, several times.

    Attributes:
        missing: the first ids without a result.
        malformed: number (from 1) and beginning of the first lines that are no results of ours.
    """

    def __init__(
        self, batch_id: str, count: int, missing: list[str], malformed: list[tuple[int, str]]
    ) -> None:
        self.missing, self.malformed = tuple(missing), tuple(malformed)
        bad = f" Line {malformed[0][0]} is malformed: {malformed[0][1]!r}." if malformed else ""
        problem = f"no result for {missing[0]!r} and {count - 1:,} others.{bad} All that is good "
        super().__init__(batch_id, problem + "is stored; wait() reads again.")


@dataclass
class Reading:
    """What reading the results of one batch found.

    Attributes:
        stored: results that were new.
        repeated: lines whose result was there already.
        passes: how often the results were read from the start.
        examples: number (from 1) and beginning of the first lines of the last pass that are no
            results of this batch.
    """

    stored: int = 0
    repeated: int = 0
    passes: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


class Reader:
    """Reads the results of one ended shard into the store."""

    def __init__(self, api: BatchAPI, store: JobStore, shard: BatchShard) -> None:
        self._api, self._store, self._shard = api, store, shard
        self._id = cast(str, shard.batch_id)
        self.report = Reading()

    def run(self) -> Reading:
        """Read until every request has a result.

        Raises:
            ResultsError: it cannot be had, or not all of it; what is good is stored.
        """
        idle, (count, missing) = 0, self._store.missing(self._shard)
        while count:
            if idle == PASSES:
                raise ResultsIncomplete(self._id, count, missing, self.report.examples)
            if self.report.passes:
                self._api.sleep(2.0**idle)
            before = count
            self._read()
            count, missing = self._store.missing(self._shard)
            idle = idle + 1 if count == before else 0
        self._store.mark_collected(self._shard)
        return self.report

    def _read(self) -> None:
        """One pass over the lines."""
        report, chunk, size = self.report, list[tuple[Any, ...]](), 0
        report.passes += 1
        report.examples.clear()
        for number, text in enumerate(_lines(self._api, self._id), 1):
            size += len(text)
            if (row := self._row(text)) is not None:
                chunk.append(row)
            elif len(report.examples) < EXAMPLES:
                report.examples.append((number, text[:80].decode("utf-8", "replace")))
            if size >= CHUNK:
                self._keep(chunk)
                size = 0
        self._keep(chunk)

    def _row(self, text: bytes) -> tuple[Any, ...] | None:
        """A line to store, or None for one that is no result of ours."""
        line = parse(text)
        n = line and place_of(line.custom_id, self._store.nonce, self._shard.number)
        return (n, line.outcome, line.reason, text) if line and n else None

    def _keep(self, chunk: list[tuple[Any, ...]]) -> None:
        fresh = self._store.store(self._shard, chunk)
        self.report.stored += fresh
        self.report.repeated += len(chunk) - fresh
        chunk.clear()


def belongs_to(api: BatchAPI, batch_id: str, nonce: str, shard: int) -> bool | None:
    """Whether an ended batch is that shard's: its first result says so; None if none came."""
    try:
        with closing(_lines(api, batch_id)) as lines:
            first = next(filter(None, map(parse, lines)), None)
    except BatchGone:
        return False
    return None if first is None else place_of(first.custom_id, nonce, shard) is not None


def _lines(api: BatchAPI, batch_id: str) -> Generator[bytes]:
    """The lines of a batch's results, as far as the connection holds.

    Raises:
        BatchGone: there are none any more.
    """
    with closing(api.results(batch_id)) as stream:
        try:
            yield from lines_of(stream.http_response.iter_bytes())
        except (httpx2.HTTPError, APIConnectionError):
            return
