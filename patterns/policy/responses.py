"""Look at, or rewrite, what comes back: whole answers, streams and batch results.

A middleware sees a stream before it is read. So what has to happen at its end (settle a budget,
write an audit row) or on its way (redact) is put into the body, which the caller reads later.

Taught in chapter 01.
"""

import copy
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx2
from anthropic import APIResponse, AsyncAPIResponse
from pydantic_core import from_json

from patterns.policy.flow import Do, Flow

AnyResponse = APIResponse[Any] | AsyncAPIResponse[Any]
How = Literal["read", "closed", "failed", "dropped"]


@dataclass
class Ending:
    """What is known of an answer when nothing more of it will come.

    Attributes:
        how: `read` to its end, `closed` early, `failed`, or `dropped` without being closed.
        usage: token counts seen; of a stream that was not read to its end, those of its start.
        stop_reason: None when the end was not seen.
        error: the type of an error event or exception, never its text.
    """

    how: How = "read"
    usage: dict[str, Any] = field(default_factory=dict)
    stop_reason: str | None = None
    error: str | None = None


class Body(Protocol):
    """Something that takes the bytes of a body in turn, and learns how it ended."""

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        ...

    def end(self) -> bytes:
        """What remains after the last chunk."""
        ...

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
        """Reading is over; called once or more. What is returned waits as the client does."""
        ...


class Lines:
    """Cuts bytes into lines at `\\n` alone: U+2028 and its kin may stand inside JSON."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, each with its line end."""
        if b"\n" not in chunk:
            self._rest += chunk
            return []
        *lines, last = (self._rest + chunk).split(b"\n")
        self._rest = last
        return [line + b"\n" for line in lines]

    def rest(self) -> bytes:
        """What came after the last line end."""
        rest, self._rest = self._rest, b""
        return rest


def event_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a `data:` line of an event stream; None for any other line."""
    return _object(line[5:]) if line.startswith(b"data:") else None


class Watch:
    """A body that passes unchanged and reports once how it ended."""

    def __init__(
        self,
        report: Callable[[Ending], Do | None],
        dropped: Callable[[Ending], None] | None = None,
    ) -> None:
        self._report, self._dropped = report, dropped
        self._lines, self._ending, self._done = Lines(), Ending(), False

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        for line in self._lines.feed(chunk):
            self._see(line)
        return chunk

    def end(self) -> bytes:
        """What remains after the last chunk."""
        self._see(self._lines.rest())
        return b""

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
        """Reading is over; called once or more."""
        if self._done:
            return None
        self._done, self._ending.how = True, how
        if error is not None:
            self._ending.error = type(error).__name__
        if how != "dropped":
            return self._report(self._ending)
        if self._dropped is not None:
            self._dropped(self._ending)
        return None

    def _see(self, line: bytes) -> None:
        if b'"usage"' not in line and b'"error"' not in line:
            return
        event = event_of(line) or {}
        kind, ending = event.get("type"), self._ending
        if kind == "message_start":
            ending.usage.update(_given((event.get("message") or {}).get("usage")))
        elif kind == "message_delta":
            ending.usage.update(_given(event.get("usage")))
            ending.stop_reason = (event.get("delta") or {}).get("stop_reason")
        elif kind == "error":
            ending.error = str(event.get("error", {}).get("type"))


def _given(usage: Any) -> dict[str, Any]:
    return {key: value for key, value in (usage or {}).items() if value is not None}


class _Read:
    """What the sync and the async body share."""

    def __init__(self, response: httpx2.Response, body: Body) -> None:
        self._response, self._body = response, body

    @property
    def elapsed(self) -> Any:
        """`httpx2.Response.elapsed` reads it from here."""
        return getattr(self._response.stream, "elapsed", None)

    def __del__(self) -> None:
        self._body.stop("dropped")


class _Stream(_Read, httpx2.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._response.iter_bytes():
                if out := self._body.feed(chunk):
                    yield out
            if out := self._body.end():
                yield out
        except Exception as error:
            _wait(self._body.stop("failed", error))
            raise
        _wait(self._body.stop("read"))

    def close(self) -> None:
        self._response.close()
        _wait(self._body.stop("closed"))


class _AsyncStream(_Read, httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_bytes():
                if out := self._body.feed(chunk):
                    yield out
            if out := self._body.end():
                yield out
        except Exception as error:
            await _finish(self._body.stop("failed", error))
            raise
        await _finish(self._body.stop("read"))

    async def aclose(self) -> None:
        await self._response.aclose()
        await _finish(self._body.stop("closed"))


class _EitherStream(_Stream, _AsyncStream):
    """For both kinds of client: `httpx2.Response` asks which kind a stream is."""


def _wait(step: Do | None) -> None:
    if step is not None:
        step.sync()


async def _finish(step: Do | None) -> None:
    if step is not None:
        await step.other()


def http_of(response: AnyResponse) -> httpx2.Response:
    """The HTTP response; the SDK gives middleware nothing else where a caller asked for that."""
    if isinstance(response, httpx2.Response):
        return response  # the annotation of `CallNext` does not say so
    return response.http_response


def _with_http(response: AnyResponse, http: httpx2.Response) -> AnyResponse:
    if not hasattr(response, "http_response"):
        return http  # type: ignore[return-value]  # what came in was one, see http_of
    fresh = copy.copy(response)
    fresh.http_response = http
    fresh._parsed_by_type = {}  # a middleware further in may have parsed the old body
    return fresh


def whole(response: AnyResponse) -> Flow:
    """A step of a flow: read an answer that has arrived and is not a stream, if that is due."""
    http = http_of(response)
    if not http.is_closed and (not http.is_success or kind_of(response) == "json"):
        yield Do(http.read, http.aread)
    return response


def kind_of(response: AnyResponse) -> Literal["json", "events", "lines", "other"]:
    """What an answer is by its own word, whatever was asked for."""
    kind = str(http_of(response).headers.get("content-type", "")).partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return "events"
    if kind.endswith(("jsonl", "x-ndjson")):
        return "lines"
    return "json" if kind.endswith("json") else "other"


def is_open(response: AnyResponse) -> bool:
    """Whether the body is a success that comes bit by bit: an event stream, or batch results."""
    return http_of(response).is_success and (
        kind_of(response) in ("events", "lines") or not http_of(response).is_closed
    )


def through(response: AnyResponse, body: Body) -> AnyResponse:
    """The same response, decompressed, as `body` lets it through; at once if it has been read."""
    old = http_of(response)
    if not old.is_closed:
        return _with_http(response, _like(old, stream=_EitherStream(old, body)))
    fresh = _like(old, content=body.feed(old.content) + body.end())
    _wait(body.stop("read"))
    return _with_http(response, fresh)


def json_of(response: AnyResponse) -> dict[str, Any] | None:
    """The body as a JSON object, None if it is something else; it must have been read."""
    return _object(http_of(response).content)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = from_json(text)
    except ValueError:
        try:
            value = json.loads(text)  # slower, and as lenient as the SDK: half surrogate pairs
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def with_json(response: AnyResponse, payload: Mapping[str, Any]) -> AnyResponse:
    """The same response with another JSON body, also for callers that ask for it raw."""
    body = json.dumps(payload).encode()
    return _with_http(response, _like(http_of(response), content=body))


def _like(old: httpx2.Response, **body: Any) -> httpx2.Response:
    gone = ("content-encoding", "content-length", "transfer-encoding")
    headers = [(key, value) for key, value in old.headers.multi_items() if key.lower() not in gone]
    return httpx2.Response(
        old.status_code,
        headers=headers,
        request=old.request,
        extensions=old.extensions,
        **body,
    )
