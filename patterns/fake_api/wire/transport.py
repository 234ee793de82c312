"""The fake API as an httpx2 transport: the real SDK talks to it without a socket.

One object serves sync and async clients. Streams are handed over piece by piece. Waits and read
timeouts run on the fake's clock.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Protocol

import httpx2

from patterns.fake_api.clock import Clock
from patterns.fake_api.wire.http import Answer, Cut, Request, Step, query_of


class Handler(Protocol):
    """What the transport needs of the fake."""

    clock: Clock

    def handle(self, request: Request) -> Answer:
        """Answer a request."""
        ...


class FakeTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Sends every request to the fake API, whatever its host."""

    def __init__(self, api: Handler) -> None:
        self._api = api

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a sync client."""
        request.read()
        answer = self._api.handle(_incoming(request))
        player = _Player(self._api.clock, request)
        for seconds in player.before_head(answer):
            self._api.clock.sleep(seconds)
        player.refuse(answer)
        return _response(answer, player)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer an async client."""
        await request.aread()
        answer = self._api.handle(_incoming(request))
        player = _Player(self._api.clock, request)
        for seconds in player.before_head(answer):
            await self._api.clock.asleep(seconds)
        player.refuse(answer)
        return _response(answer, player)


def _incoming(request: httpx2.Request) -> Request:
    url = request.url
    return Request(
        request.method,
        url.path,
        query_of(url.params.multi_items()) if url.query else {},
        {name.lower(): value for name, value in request.headers.items()},
        request.content,
        f"{url.scheme}://{url.netloc.decode('ascii')}",
    )


def _response(answer: Answer, player: "_Player") -> httpx2.Response:
    if isinstance(answer.body, bytes):
        return httpx2.Response(answer.status, headers=answer.headers, content=answer.body)
    stream = _Stream(answer.body, player)
    return httpx2.Response(answer.status, headers=answer.headers, stream=stream)


class _Player:
    """Waits as long as the client would, and fails as a connection does."""

    def __init__(self, clock: Clock, request: httpx2.Request) -> None:
        self.clock = clock
        self.request = request
        timeout = request.extensions.get("timeout", {}).get("read")
        self.patience = float("inf") if timeout is None else float(timeout)

    def before_head(self, answer: Answer) -> Iterator[float]:
        """Seconds to wait before the head; raises where the client gives up first."""
        wait = float("inf") if answer.cut is Cut.HANG else answer.wait
        yield from self.waits(wait)

    def waits(self, seconds: float) -> Iterator[float]:
        """The wait, or the client's patience and then its timeout."""
        if seconds > self.patience:
            yield self.patience
            raise httpx2.ReadTimeout("the fake API kept silent", request=self.request)
        if seconds == float("inf"):
            raise httpx2.ReadTimeout("the fake API hangs for ever", request=self.request)
        if seconds > 0:
            yield seconds

    def refuse(self, answer: Answer) -> None:
        """Fail where the connection closes without an answer."""
        if answer.cut is Cut.CLOSE:
            raise httpx2.RemoteProtocolError(
                "Server disconnected without sending a response.", request=self.request
            )

    def step(self, step: Step) -> tuple[float, bytes]:
        """Seconds to wait for a step, and the bytes that it brings."""
        if isinstance(step, bytes):
            return 0.0, step
        if step is Cut.CLOSE:
            raise httpx2.RemoteProtocolError(
                "peer closed connection without sending complete message body",
                request=self.request,
            )
        return (float("inf") if isinstance(step, Cut) else step), b""


class _Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that is produced while it is read."""

    def __init__(self, steps: Iterable[Step], player: _Player) -> None:
        self._steps = steps
        self._player = player

    def __iter__(self) -> Iterator[bytes]:
        for step in self._steps:
            wait, data = self._player.step(step)
            for seconds in self._player.waits(wait):
                self._player.clock.sleep(seconds)
            if data:
                yield data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            wait, data = self._player.step(step)
            for seconds in self._player.waits(wait):
                await self._player.clock.asleep(seconds)
            if data:
                yield data
