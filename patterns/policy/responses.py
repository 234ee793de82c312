"""Look at, or rewrite, what comes back: whole answers, streams and batch results.

A middleware sees a stream before it is read. So what has to happen at its end (settle a budget,
write an audit row) or on its way (redact) is put into the body, which the caller reads later.
`ended` hides the difference from policies that only want to know how an answer ended.

Taught in chapter 01.
"""

import copy
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, Literal, Protocol, TypeVar

import httpx2
from anthropic import APIResponse, AsyncAPIResponse
from pydantic_core import from_json

from patterns.policy.flow import Do, Flow
from patterns.policy.texts import named, read_json

AnyResponse = APIResponse[Any] | AsyncAPIResponse[Any]
How = Literal["whole", "read", "closed", "failed", "dropped"]
Kind = Literal["failed", "json", "events", "other"]
Known = TypeVar("Known")


@dataclass
class Ending:
    """What is known of an answer when nothing more of it will come.

    Attributes:
        how: `whole`, or of a stream: `read` to its end, `closed` early, `failed`, or `dropped`
            without being closed.
        message: the answer; of a stream its first message, and what its last event changed.
        error: the type of a failure, an error event or an exception, never its text.
        files: ids of files that came in a stream.
        texts: the pieces of text that came in a stream.
    """

    how: How = "whole"
    message: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    files: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def usage(self) -> dict[str, Any]:
        """Token counts; of a stream that was not read to its end, those of its start."""
        return _object_of(self.message.get("usage"))

    @property
    def stop_reason(self) -> str | None:
        """None when the end was not seen."""
        return self.message.get("stop_reason")

    def see(self, event: Mapping[str, Any]) -> None:
        """Take in one event of a stream."""
        kind, delta = event.get("type"), _object_of(event.get("delta"))
        if kind == "message_start":
            message = _object_of(event.get("message"))
            self.message = {**message, "usage": _given(message.get("usage"))}
        elif kind == "message_delta":
            usage = {**self.usage, **_given(event.get("usage"))}
            self.message = {**self.message, **delta, "usage": usage}
        elif kind == "content_block_delta" and delta.get("type") == "text_delta":
            self.texts.append(str(delta.get("text")))
        elif kind == "content_block_start":
            self.files += files_of(event.get("content_block"))
        elif kind == "error":
            self.error = error_of(event)


_ERROR: Final = re.compile(r"[a-z_]{1,64}\Z")


def error_of(payload: Mapping[str, Any]) -> str:
    """The type of the error that the API reports, never its text."""
    error = payload.get("error")
    kind = error.get("type") if isinstance(error, Mapping) else None
    return kind if isinstance(kind, str) and _ERROR.match(kind) else "unknown"


def files_of(value: Any) -> list[str]:
    """The ids of files in a part of an answer."""
    return [name for _, name in named(value, "file_id") if isinstance(name, str)]


def _given(usage: Any) -> dict[str, Any]:
    return {key: value for key, value in _object_of(usage).items() if value is not None}


def _object_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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


class Body(Protocol):
    """Takes the bytes of a body in turn, and learns how it ended."""

    def feed(self, chunk: bytes) -> bytes:
        """What the caller shall see in place of `chunk`."""
        ...

    def end(self) -> bytes:
        """What remains after the last chunk."""
        ...

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
        """Reading is over; called once or more. What is returned waits as the client does."""
        return None


_TELLING: Final = (b"message_start", b"message_delta", b'"error"', b'"file_id"')


class Watch(Body):
    """A body that passes unchanged and reports once how it ended; for the arguments see `ended`."""

    def __init__(
        self,
        done: Callable[[Ending], Do | None] | None,
        dropped: Callable[[Ending], None] | None = None,
        judge: Callable[[Ending], None] | None = None,
    ) -> None:
        self._done, self._dropped, self._judge = done, dropped, judge
        self._lines, self._ending = Lines(), Ending()

    def feed(self, chunk: bytes) -> bytes:
        for line in self._lines.feed(chunk):
            self._see(line)
        return chunk

    def end(self) -> bytes:
        self._see(self._lines.rest())
        return b""

    def stop(self, how: How, error: BaseException | None = None) -> Do | None:
        done, self._done = self._done, None
        if done is None:
            return None
        self._ending.how = how
        if error is not None:
            self._ending.error = type(error).__name__
        if how != "dropped":
            return done(self._ending)
        if self._dropped is not None:
            self._dropped(self._ending)
        return None

    def _see(self, line: bytes) -> None:
        if self._judge or any(word in line for word in _TELLING):
            event = event_of(line) or {}
            self._ending.see(event)
            if self._judge and event.get("type") == "message_delta":
                self._judge(self._ending)


def ended(
    response: AnyResponse,
    done: Callable[[Ending], Do | None] | None = None,
    dropped: Callable[[Ending], None] | None = None,
    judge: Callable[[Ending], None] | None = None,
) -> Flow:
    """A step of a flow: learn how an answer ends, at once or when the caller has read it.

    Args:
        response: what came; returned, with a body that watches if it streams.
        done: called once; the work that it returns is waited for.
        dropped: called instead for a stream that nobody closed, maybe by garbage collection.
        judge: called when the answer is complete, before the caller sees its end; may raise.
    """
    yield from whole(response)
    if is_open(response):
        return (yield from through(response, Watch(done, dropped, judge)))
    ending = Ending(message=json_of(response) or {})
    if kind_of(response) == "failed":
        ending.error = error_of(ending.message)
    if judge is not None:
        judge(ending)
    step = done and done(ending)
    if step is not None:
        yield step
    return response


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
            self._wait("failed", error)
            raise
        self._wait("read")

    def close(self) -> None:
        self._response.close()
        self._wait("closed")

    def _wait(self, how: How, error: Exception | None = None) -> None:
        if step := self._body.stop(how, error):
            step.now()


class _AsyncStream(_Read, httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_bytes():
                if out := self._body.feed(chunk):
                    yield out
            if out := self._body.end():
                yield out
        except Exception as error:
            await self._finish("failed", error)
            raise
        await self._finish("read")

    async def aclose(self) -> None:
        await self._response.aclose()
        await self._finish("closed")

    async def _finish(self, how: How, error: Exception | None = None) -> None:
        if step := self._body.stop(how, error):
            await step.awaited()


class _EitherStream(_Stream, _AsyncStream):
    """For both kinds of client: `httpx2.Response` asks which kind a stream is."""


def http_of(response: AnyResponse | httpx2.Response) -> httpx2.Response:
    """The HTTP response; the SDK gives middleware nothing else where a caller asked for that."""
    found: httpx2.Response = getattr(response, "http_response", response)  # type: ignore[arg-type]
    return found


def _with_http(response: AnyResponse, http: httpx2.Response) -> AnyResponse:
    if not hasattr(response, "http_response"):
        return http  # type: ignore[return-value]  # what came in was one, see http_of
    fresh = copy.copy(response)
    fresh.http_response = http
    fresh._parsed_by_type = {}  # a middleware further in may have parsed the old body
    return fresh


def _once(
    read: Callable[[httpx2.Response], Known],
) -> Callable[[AnyResponse | httpx2.Response], Known]:
    """Read from a response what every policy asks for, and remember it there."""
    name = read.__name__

    @wraps(read)
    def known(response: AnyResponse | httpx2.Response) -> Known:
        http = http_of(response)
        kept: dict[str, Known] = http.__dict__
        if name not in kept:
            kept[name] = read(http)
        return kept[name]

    return known


@_once
def headers_of(http: httpx2.Response) -> dict[bytes, bytes]:
    """The headers by their names in lower case; `httpx2.Headers` reads them all at each look."""
    return {name.lower(): value for name, value in http.headers.raw}


@_once
def kind_of(http: httpx2.Response) -> Kind:
    """A failure, or what a success is by its own word, whatever was asked for."""
    told = headers_of(http).get(b"content-type", b"").decode("latin-1")
    told = told.partition(";")[0].strip().lower()
    if not http.is_success:
        return "failed"
    return "events" if told == "text/event-stream" else "json" if told.endswith("json") else "other"


@_once
def json_of(http: httpx2.Response) -> dict[str, Any] | None:
    """The body as a JSON object, None if it is something else; it must have been read."""
    return _object(http.content)


def whole(response: AnyResponse) -> Flow:
    """A step of a flow: read an answer that has arrived and is not a stream, if that is due."""
    http = http_of(response)
    if not http.is_closed and kind_of(response) in ("failed", "json"):
        yield Do(http.read, http.aread)


def is_open(response: AnyResponse) -> bool:
    """Whether the body is a success that comes bit by bit: an event stream, or batch results."""
    kind = kind_of(response)
    return kind == "events" or (kind == "other" and not http_of(response).is_closed)


def through(response: AnyResponse, body: Body) -> Flow:
    """A step of a flow: the same response, decompressed, as `body` lets it through."""
    old = http_of(response)
    if not old.is_closed:
        return _with_http(response, _like(old, stream=_EitherStream(old, body)))
    fresh = _like(old, content=body.feed(old.content) + body.end())
    if step := body.stop("read"):
        yield step
    return _with_http(response, fresh)


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = from_json(text)
    except ValueError:
        try:
            value = read_json(text)  # slower, and as lenient as the SDK: half surrogate pairs
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
