"""Read the usage of a streamed answer, and why a call was turned away, while the SDK reads them.

A stream's usage arrives in its first and in its last event, and no response object holds it. An
observed body stands between the wire and the SDK, passes every byte and every failure on untouched
and keeps the facts. Not for reading text: it looks at nothing else. Chapter 4 teaches it.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import httpx2
from pydantic_core import from_json

_CODED: Final = frozenset({"gzip", "deflate"})


class _Reader(ABC):
    """Takes the bytes of a body, and their coding off."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        coded = headers.get("content-encoding") in _CODED
        self._unzip = zlib.decompressobj(47) if coded else None  # 47: either format
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Never raises."""
        try:
            self._read(self._rest + (self._unzip.decompress(chunk) if self._unzip else chunk))
        except Exception:
            self._rest = b""  # a body that is not what it says is the SDK's to report

    @abstractmethod
    def _read(self, data: bytes) -> None:
        """Look at what has come and was not used before; keep in `_rest` what is not complete."""


class ErrorReader(_Reader):
    """Gives `on_code` the API's own name for the cause of a failure, once the body is complete."""

    def __init__(self, on_code: Callable[[str], None], headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self._on_code = on_code

    def _read(self, data: bytes) -> None:
        self._rest = data
        with suppress(ValueError):  # not all of it is there
            code = from_json(data)["error"]["details"]["error_code"]
            if isinstance(code, str):
                self._on_code(code)


class UsageReader(_Reader):
    """Collects usage from the bytes of server-sent events.

    `on_usage` gets the usage as JSON after the first event, with no output yet, and complete
    after the last. Bytes that hold no usage, or that are coded in an unknown way, change nothing.
    """

    def __init__(
        self, on_usage: Callable[[dict[str, Any]], None], headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers)
        self._on_usage = on_usage
        self._usage: dict[str, Any] = {}

    def _read(self, data: bytes) -> None:
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and b'"usage"' in line:
                self._event(from_json(line[5:]))

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

    def __init__(self, body: Any, reader: _Reader) -> None:
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

    def __init__(self, body: Any, reader: _Reader) -> None:
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
