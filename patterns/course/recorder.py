"""Listen in on API traffic: write recordings, add up what it costs, stop at a budget.

`TapTransport` sits between the SDK and any upstream (the live API, or `patterns.fake_api`) and
reports each exchange once its body has been read to the end. Use it to record; a production
system wants `patterns.monitoring` instead.

Taught in chapter 00.
"""

import collections
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import anthropic
import httpx2
from anthropic.types import Usage

from patterns.course.recordings import (
    Exchange,
    Json,
    Recording,
    Source,
    kept_headers,
    parse_body,
    request_body,
    request_path,
)


class RecordingsReadOnly(anthropic.AnthropicError):
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


class BudgetSpent(anthropic.AnthropicError):
    """The budget for live calls is used up; nothing more is sent.

    Attributes:
        spent, budget: US dollars.
    """

    def __init__(self, spent: Decimal, budget: Decimal) -> None:
        self.spent, self.budget = spent, budget
        super().__init__(
            f"live calls have cost ${spent:.4f} of a budget of ${budget:.2f}; nothing more is "
            "sent. Raise PATTERNS_BUDGET_USD and restart the kernel, or go back to replay."
        )


class LiveCallRefused(anthropic.AnthropicError):
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

    Raises:
        RecordingsReadOnly: the folder cannot be written to.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.path, self.source = path, source
        self._slots: list[Exchange | None] = []
        self._lock = threading.Lock()
        probe = path.with_suffix(".probe")
        try:
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RecordingsReadOnly(path.parent, error.strerror or str(error)) from error

    def start(self) -> int:
        """Reserve the next place in the file."""
        with self._lock:
            self._slots.append(None)
            return len(self._slots) - 1

    def finish(self, slot: int, exchange: Exchange) -> None:
        """Put an exchange in its place and rewrite the file."""
        with self._lock:
            self._slots[slot] = exchange
            done = tuple(each for each in self._slots if each is not None)
            Recording(self.path, self.source, done).save()


@dataclass
class Budget:
    """What live calls may cost together, in US dollars.

    `spent` counts answers that were read; calls already under way when it runs out still finish.
    A model without a known price is charged as the dearest that has one.
    """

    limit: Decimal
    spent: Decimal = Decimal(0)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def check(self) -> None:
        """Raises: BudgetSpent: the limit is reached."""
        if self.spent >= self.limit:
            raise BudgetSpent(self.spent, self.limit)

    def charge(self, exchange: Exchange) -> None:
        """Add the cost of one exchange."""
        with self._lock:
            self.spent += exchange_cost(exchange)


def exchange_cost(exchange: Exchange) -> Decimal:
    """US dollars for one exchange, by today's prices; 0 for one that carries no usage."""
    from patterns.core.models import MODELS  # here, so that replay needs no price table
    from patterns.core.pricing import cost_usd

    total = Decimal(0)
    for model, usage in exchange.usage():
        parsed = Usage.construct(**usage)
        cost = cost_usd(model, parsed)
        total += max(cost_usd(each, parsed) or 0 for each in MODELS) if cost is None else cost
    return total


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

    A reader who stops early does not shorten the report: the rest is read first. A connection
    that breaks in the middle of a body is reported with `cut`.

    Args:
        upstream: an httpx2 transport, sync, async or both.
        on_request: called before a request is sent; returns its number, may raise to stop it.
        on_exchange: called with that number and the exchange.
        on_error: called with each answer of status 400 and above, read; may raise instead.
        clock: seconds, from any starting point.
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
        hasten: bool = False,
    ) -> None:
        self.upstream, self.hasten = upstream, hasten
        self._on_request, self._on_exchange = on_request, on_exchange
        self._on_error, self._clock = on_error, clock

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a sync request and listen to the answer."""
        request.read()
        ticket = self._ticket(request)
        response = cast(httpx2.BaseTransport, self.upstream).handle_request(request)
        if response.status_code >= 400:
            response.read()
            self._on_error(request, response)
        return self._tapped(ticket, response)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send an async request and listen to the answer."""
        await request.aread()
        ticket = self._ticket(request)
        upstream = cast(httpx2.AsyncBaseTransport, self.upstream)
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

    def _ticket(self, request: httpx2.Request) -> _Ticket:
        request.headers["accept-encoding"] = "identity"  # a recording holds text, not gzip
        return _Ticket(request, self._on_request(), self._clock())

    def _tapped(self, ticket: _Ticket, response: httpx2.Response) -> httpx2.Response:
        headers = dict(response.headers)
        if response.status_code >= 400 and self.hasten:
            headers["retry-after-ms"] = "1"

        def finish(*, cut: bool) -> None:
            self._on_exchange(ticket.slot, self._exchange(ticket, response, cut=cut))

        tap = _Tap(response, ticket, self._clock, finish)
        return httpx2.Response(response.status_code, headers=headers, stream=tap)

    def _exchange(self, ticket: _Ticket, response: httpx2.Response, *, cut: bool) -> Exchange:
        body = parse_body(response.headers.get("content-type", ""), b"".join(ticket.chunks))
        ended, first = self._clock(), ticket.first
        streamed = "events" in body and first is not None
        return Exchange(
            method=ticket.request.method,
            path=request_path(ticket.request.url),
            request=request_body(ticket.request.content),
            status=response.status_code,
            headers=kept_headers(response.headers),
            body={**body, "cut": True} if cut else body,
            elapsed_ms=round((ended - ticket.began) * 1000),
            first_event_ms=round((first - ticket.began) * 1000) if streamed and first else None,
        )


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


class _Tap(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Hands chunks on and keeps them; the rest is read when the reader stops early."""

    def __init__(
        self,
        response: httpx2.Response,
        ticket: _Ticket,
        clock: Callable[[], float],
        finish: Callable[..., None],
    ) -> None:
        self._response, self._ticket, self._clock = response, ticket, clock
        self._finish, self._finished = finish, False
        self._chunks: Iterator[bytes] | None = None
        self._async_chunks: AsyncIterator[bytes] | None = None

    def _keep(self, chunk: bytes) -> bytes:
        if self._ticket.first is None:
            self._ticket.first = self._clock()
        self._ticket.chunks.append(chunk)
        return chunk

    def _end(self, *, cut: bool = False) -> None:
        self._finished = True
        self._finish(cut=cut)

    def __iter__(self) -> Iterator[bytes]:
        if self._chunks is None:
            read = self._response.is_stream_consumed
            self._chunks = iter([self._response.content]) if read else self._response.iter_raw()
        try:
            for chunk in self._chunks:
                yield self._keep(chunk)
        except httpx2.TransportError:
            self._end(cut=True)
            raise
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._async_chunks is None:
            read = self._response.is_stream_consumed
            whole = _once(self._response.content) if read else None
            self._async_chunks = whole or self._response.aiter_raw()
        try:
            async for chunk in self._async_chunks:
                yield self._keep(chunk)
        except httpx2.TransportError:
            self._end(cut=True)
            raise
        self._end()

    def close(self) -> None:
        with contextlib.suppress(httpx2.TransportError):
            while not self._finished:
                collections.deque(self, maxlen=0)
        self._response.close()

    async def aclose(self) -> None:
        with contextlib.suppress(httpx2.TransportError):
            while not self._finished:
                [_ async for _ in self]
        await self._response.aclose()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
