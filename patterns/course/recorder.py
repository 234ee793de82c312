"""Listen in on API traffic, and write recordings of it.

`TapTransport` sits between the SDK and any upstream (the live API, or `patterns.fake_api`) and
reports each exchange once its body has ended. Use it to record; a production system wants
`patterns.monitoring` instead.

Taught in chapter 00.
"""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import httpx2

from patterns.course.bodies import BOM, Json, is_whole, parse_body
from patterns.course.recordings import (
    CourseError,
    Exchange,
    Recording,
    Source,
    kept_headers,
    request_body,
    request_path,
)
from patterns.course.replay import key_of, request_key, respond

logger = logging.getLogger(__name__)

SIGN_IN: Final = "/v1/oauth/token"
"""What is asked and answered here are credentials."""
_OF_THE_CONNECTION = frozenset(("content-encoding", "content-length", "transfer-encoding"))


class RecordingsReadOnly(CourseError):
    """Recording was asked for where nothing can be written.

    Attributes:
        folder: the recordings folder.
    """

    def __init__(self, folder: Path, why: str) -> None:
        self.folder = folder
        super().__init__(
            f"cannot record into {folder.name}/: {why}. Make the folder writable, or set "
            "PATTERNS_RECORDINGS to one that is."
        )


class LiveCallRefused(CourseError):
    """The live API turned the credential down; a retry would end the same way.

    Attributes:
        status: HTTP status.
        message: the API's own words.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(
            f"the API answered {status} ({message}). Check ANTHROPIC_API_KEY and its credit, or "
            "unset PATTERNS_MODE to replay without a key."
        )


class Recorder:
    """Collects exchanges in the order in which their requests began and keeps a file up to date.

    The file is rewritten whole and atomically after each exchange. Sync and async clients of one
    chapter share one recorder.

    Args:
        path: the recording file.
        source: what the file says about where its answers come from.
        known: exchanges that need not be asked for again; failures and cut answers are. Until they
            are used they stay at the end of the file.

    Raises:
        RecordingsReadOnly: the folder cannot be written to.
    """

    def __init__(self, path: Path, source: Source, *, known: Sequence[Exchange] = ()) -> None:
        self.path, self.source = path, source
        whole = (each for each in known if each.status < 400 and not each.body.get("cut"))
        self._left = [(key_of(each), each) for each in whole]
        self._slots: list[Exchange | None] = []
        self._lock = threading.Lock()
        probe = path.with_suffix(".probe")
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RecordingsReadOnly(path.parent, error.strerror or str(error)) from error

    def recall(self, request: httpx2.Request) -> Exchange | None:
        """A known answer to this request, given once; it takes the next place in the file."""
        body = request_body(request.content)
        key = request_key(request.method, request_path(request.url), body)
        with self._lock:
            entry = next((each for each in self._left if each[0] == key), None)
            if entry is None:
                return None
            self._left.remove(entry)
            self._slots.append(entry[1])
        return entry[1]

    def start(self) -> int:
        """Reserve the next place in the file."""
        with self._lock:
            self._slots.append(None)
            return len(self._slots) - 1

    def finish(self, slot: int, exchange: Exchange) -> None:
        """Put an exchange in its place and rewrite the file."""
        with self._lock:
            self._slots[slot] = exchange
            self.save()

    def save(self) -> None:
        """Write what there is."""
        done = [each for each in self._slots if each is not None]
        left = [each for _, each in self._left]
        Recording(self.path, self.source, (*done, *left)).save()


@dataclass
class _Ticket:
    """One request on its way: when it began, and what has come back so far."""

    request: httpx2.Request
    slot: int
    began: float
    first: float | None = None
    chunks: list[bytes] = field(default_factory=list)


class TapTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Passes requests on to `upstream` and reports each exchange when its body has ended.

    A body that ends before its end, whatever ended it (the connection, a time limit, an interrupt,
    a reader who closes early), is reported at once, with `cut`. Content is decoded. What
    `on_exchange` raises is logged, so that no answer which has been paid for is lost to it.

    The exchange of an identity token for an access token is passed on and not reported.

    Args:
        upstream: an httpx2 transport, sync, async or both.
        on_request: called before a request is sent; returns its number, may raise to stop it.
        on_exchange: called with that number and the exchange.
        on_error: called with each answer of status 400 and above, read; may raise instead.
        clock: seconds, from any starting point.
        recall: gives an exchange that answers the request in place of the upstream, or None.
        hasten: cut the waits that the answers ask the SDK for to a millisecond.
    """

    def __init__(
        self,
        upstream: httpx2.BaseTransport | httpx2.AsyncBaseTransport,
        *,
        on_request: Callable[[], int],
        on_exchange: Callable[[int, Exchange], None],
        on_error: Callable[[httpx2.Request, httpx2.Response], None],
        clock: Callable[[], float],
        recall: Callable[[httpx2.Request], Exchange | None] = lambda request: None,
        hasten: bool = False,
    ) -> None:
        self.upstream, self.hasten = upstream, hasten
        self._on_request, self._on_exchange = on_request, on_exchange
        self._on_error, self._clock, self._recall = on_error, clock, recall

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a sync request and listen to the answer."""
        request.read()
        if known := self._recall(request):
            return respond(known)
        if request.url.path.endswith(SIGN_IN):
            return cast(httpx2.BaseTransport, self.upstream).handle_request(request)
        ticket = _Ticket(request, self._on_request(), self._clock())
        response = cast(httpx2.BaseTransport, self.upstream).handle_request(request)
        if response.status_code >= 400:
            response.read()
            self._on_error(request, response)
        return self._tapped(ticket, response)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send an async request and listen to the answer."""
        await request.aread()
        if known := self._recall(request):
            return respond(known)
        upstream = cast(httpx2.AsyncBaseTransport, self.upstream)
        if request.url.path.endswith(SIGN_IN):
            return await upstream.handle_async_request(request)
        ticket = _Ticket(request, self._on_request(), self._clock())
        response = await upstream.handle_async_request(request)
        if response.status_code >= 400:
            await response.aread()
            self._on_error(request, response)
        return self._tapped(ticket, response)

    def close(self) -> None:
        """Close the upstream."""
        cast(httpx2.BaseTransport, self.upstream).close()

    async def aclose(self) -> None:
        """Close the upstream."""
        await cast(httpx2.AsyncBaseTransport, self.upstream).aclose()

    def _tapped(self, ticket: _Ticket, response: httpx2.Response) -> httpx2.Response:
        kept = response.headers.multi_items()
        headers = [each for each in kept if each[0].lower() not in _OF_THE_CONNECTION]
        if response.status_code >= 400 and self.hasten:
            headers.append(("retry-after-ms", "1"))

        def report(*, ended: bool) -> None:
            try:
                self._on_exchange(ticket.slot, self._exchange(ticket, response, ended=ended))
            except (
                Exception
            ):  # the answer is the reader's all the same, and must not be asked twice
                logger.exception("an answer was not recorded or not charged")

        tap = _Tap(response, ticket, self._clock, report)
        return httpx2.Response(response.status_code, headers=headers, stream=tap)

    def _exchange(self, ticket: _Ticket, response: httpx2.Response, *, ended: bool) -> Exchange:
        body = parse_body(response.headers.get("content-type", ""), b"".join(ticket.chunks))
        first = ticket.first if "events" in body else None
        return Exchange(
            method=ticket.request.method,
            path=request_path(ticket.request.url),
            request=request_body(ticket.request.content),
            status=response.status_code,
            headers=kept_headers(response.headers),
            body=body if is_whole(body, ended=ended) else {**body, "cut": True},
            elapsed_ms=round((self._clock() - ticket.began) * 1000),
            first_event_ms=None if first is None else round((first - ticket.began) * 1000),
        )


class _Tap(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Hands chunks on and keeps them; reports once, when they end or the reader closes."""

    def __init__(
        self,
        response: httpx2.Response,
        ticket: _Ticket,
        clock: Callable[[], float],
        report: Callable[..., None],
    ) -> None:
        self._response, self._ticket, self._clock = response, ticket, clock
        self._report, self._reported = report, False
        self._head: bytes | None = b""

    def _keep(self, chunk: bytes) -> bytes:
        if self._ticket.first is None:
            self._ticket.first = self._clock()
        self._ticket.chunks.append(chunk)
        if self._head is None:
            return chunk
        self._head += chunk  # a byte order mark would cost the SDK's decoder the first event
        if len(self._head) < len(BOM) and BOM.startswith(self._head):
            return b""
        head, self._head = self._head.removeprefix(BOM), None
        return head

    def _end(self, *, ended: bool = False) -> None:
        if not self._reported:
            self._reported = True
            self._report(ended=ended)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._response.iter_bytes():
                yield self._keep(chunk)
            self._end(ended=True)
        finally:
            self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_bytes():
                yield self._keep(chunk)
            self._end(ended=True)
        finally:
            self._end()

    def close(self) -> None:
        self._end()
        self._response.close()

    async def aclose(self) -> None:
        self._end()
        await self._response.aclose()


def raise_if_refused(request: httpx2.Request, response: httpx2.Response) -> None:
    """Turn an answer about the credential or its credit into an error that names the setting.

    Raises:
        LiveCallRefused: the status is 401, 402 or 403, or a 429 for a spend limit.
    """
    try:
        error: Json = response.json()["error"]
        code: Any = (error.get("details") or {}).get("error_code")
        message = str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code = response.text[:200], None
    spent = response.status_code == 429 and code == "enforced_spend_limit_reached"
    if spent or response.status_code in (401, 402, 403):
        raise LiveCallRefused(response.status_code, message)
