"""The usage is found in any cut of the bytes, and reading it never gets in the way."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.monitoring.stream_usage import (
    AsyncObservedBody,
    ErrorReader,
    ObservedBody,
    UsageReader,
)

START = {
    "type": "message_start",
    "message": {"usage": {"input_tokens": 7, "output_tokens": 3, "inference_geo": "us"}},
}
TEXT = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": '"usage" \u2028 é'}}
END = {"type": "message_delta", "usage": {"input_tokens": None, "output_tokens": 42}}
BODY = b"".join(
    f"event: {event['type']}\r\ndata: {json.dumps(event, ensure_ascii=False)}\r\n\r\n".encode()
    for event in (START, TEXT, END)
)


def read(chunks: list[bytes], coding: str = "") -> list[dict[str, Any]]:
    """Every usage that a reader reports."""
    seen: list[dict[str, Any]] = []
    reader = UsageReader(lambda usage: seen.append(dict(usage)), {"content-encoding": coding})
    for chunk in chunks:
        reader.feed(chunk)
    return seen


@given(st.lists(st.integers(0, len(BODY)), max_size=20))
def test_usage_is_found_in_any_cut_of_the_bytes(cuts: list[int]) -> None:
    """Chunks end where the network likes."""
    edges = [0, *sorted(cuts), len(BODY)]
    first, last = read([BODY[a:b] for a, b in pairwise(edges)])
    assert (first["input_tokens"], first["output_tokens"]) == (7, 0)
    assert (last["input_tokens"], last["output_tokens"], last["inference_geo"]) == (7, 42, "us")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_streams_are_read(coding: str) -> None:
    """With what the standard library has."""
    window = 31 if coding == "gzip" else 15
    packer = zlib.compressobj(wbits=window)
    packed = packer.compress(BODY) + packer.flush()
    assert [usage["output_tokens"] for usage in read([packed[:40], packed[40:]], coding)] == [0, 42]


@given(st.lists(st.binary(), max_size=10), st.sampled_from(["", "gzip", "br"]))
def test_nonsense_is_ignored(chunks: list[bytes], coding: str) -> None:
    """Whatever arrives, reading it is the SDK's business."""
    assert read(chunks, coding) == []


@pytest.mark.parametrize(
    "line",
    [
        b'data: {"usage": 1}\n',
        b'data: {"usage"\n',
        b'data: "usage"\n',
        b'data: {"type": "news", "usage": {}}\n',
    ],
)
def test_line_that_only_looks_like_usage_is_skipped(line: bytes) -> None:
    """And the stream goes on."""
    assert [usage["output_tokens"] for usage in read([line, BODY])] == [0, 42]


class Body:
    """A body on the wire that measures itself."""

    elapsed = timedelta(seconds=1)
    closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield BODY

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield BODY

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class BareAsyncBody:
    """An iterator that is no generator and cannot be closed."""

    def __init__(self) -> None:
        self.chunks = [BODY]

    def __aiter__(self) -> BareAsyncBody:
        return self

    async def __anext__(self) -> bytes:
        if not self.chunks:
            raise StopAsyncIteration
        return self.chunks.pop()


def test_observed_body_passes_everything_on() -> None:
    """Bytes, closing and the time that the body took."""
    body, seen = Body(), list[dict[str, Any]]()
    body_read = ObservedBody(body, UsageReader(seen.append, {}))
    assert list(body_read) == [BODY]
    body_read.close()
    assert body.closed
    assert (body_read.elapsed, len(seen)) == (timedelta(seconds=1), 2)


def test_async_observed_body_passes_everything_on() -> None:
    """The same for a body that is awaited."""
    body, seen = Body(), list[dict[str, Any]]()

    async def main() -> list[bytes]:
        body_read = AsyncObservedBody(body, UsageReader(seen.append, {}))
        chunks = [chunk async for chunk in body_read]
        await body_read.aclose()
        assert body_read.elapsed == timedelta(seconds=1)
        return chunks

    assert asyncio.run(main()) == [BODY]
    assert body.closed
    assert len(seen) == 2


def test_async_observed_body_reads_any_iterator() -> None:
    """A transport of one's own need not be a generator."""

    async def main() -> list[bytes]:
        body_read = AsyncObservedBody(BareAsyncBody(), UsageReader(lambda usage: None, {}))
        assert body_read.elapsed is None
        return [chunk async for chunk in body_read]

    assert asyncio.run(main()) == [BODY]


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"error_code": "enforced_spend_limit_reached"}, ["enforced_spend_limit_reached"]),
        ({"error_code": 7}, []),
        ({}, []),
        (None, []),
    ],
)
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_code_of_an_error_is_read_once_its_body_is_complete(
    details: Any, code: list[str], coding: str
) -> None:
    """Byte by byte, coded or not; what has no code has none."""
    body = json.dumps({"type": "error", "error": {"details": details}}).encode()
    sent = gzip.compress(body) if coding else body
    found: list[str] = []
    reader = ErrorReader(found.append, {"content-encoding": coding})
    for at in range(len(sent)):
        reader.feed(sent[at : at + 1])
    assert list(dict.fromkeys(found)) == code
