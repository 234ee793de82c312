"""Read the usage of a streamed answer while the application reads the stream.

A stream's usage arrives in its first and in its last event, and no response object holds it. An
observed body stands between the wire and the SDK, passes every byte on untouched and keeps the
counts. Not for reading text: it looks at nothing but `usage`. Chapter 4 teaches it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

import httpx2

_CODED: Final = frozenset({"gzip", "deflate"})


class UsageReader:
    """Collects usage from the bytes of server-sent events.

    `on_usage` gets the usage as JSON after the first event, with no output yet, and complete
    after the last. Bytes that hold no usage, or that are coded in an unknown way, change nothing.
    """

    def __init__(self, on_usage: Callable[[dict[str, Any]], None], *, coding: str = "") -> None:
        self._on_usage = on_usage
        self._unzip = zlib.decompressobj(47) if coding in _CODED else None  # 47: either format
        self._line = b""
        self._usage: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Never raises."""
        try:
            *lines, self._line = (self._line + self._plain(chunk)).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and b'"usage"' in line:
                    self._event(json.loads(line[5:]))
        except Exception:
            self._line = b""  # a body that is not what it says is the SDK's to report

    def _plain(self, chunk: bytes) -> bytes:
        return self._unzip.decompress(chunk) if self._unzip else chunk

    def _event(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "message_start":
            # The first event carries a placeholder as output.
            self._usage = {**event["message"]["usage"], "output_tokens": 0}
        elif event["type"] == "message_delta":
            final = event["usage"].items()
            self._usage |= {name: value for name, value in final if value is not None}
        if self._usage:  # without a first event there is nothing to complete
            self._on_usage(self._usage)


class ObservedBody(httpx2.SyncByteStream):
    """A body that a sync client reads, with a reader listening."""

    def __init__(self, body: Any, reader: UsageReader) -> None:
        self._body = body
        self._reader = reader

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._reader.feed(chunk)
            yield chunk

    def close(self) -> None:
        self._body.close()

    @property
    def elapsed(self) -> timedelta | None:
        """What `response.elapsed` reads off a body that measures itself."""
        return getattr(self._body, "elapsed", None)


class AsyncObservedBody(httpx2.AsyncByteStream):
    """A body that an async client reads, with a reader listening."""

    def __init__(self, body: Any, reader: UsageReader) -> None:
        self._body = body
        self._reader = reader

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = self._body.__aiter__()
        try:
            async for chunk in chunks:
                self._reader.feed(chunk)
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()  # in the task that read it, when reading stops early

    async def aclose(self) -> None:
        await self._body.aclose()

    @property
    def elapsed(self) -> timedelta | None:
        """What `response.elapsed` reads off a body that measures itself."""
        return getattr(self._body, "elapsed", None)
