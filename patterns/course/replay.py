"""The transport that answers API requests from a recording.

The real SDK builds, retries, streams and parses; only the last step, the network, is replaced.
So a notebook or a test runs the code that goes live. Use it for courses, demos and regression
tests of your own prompts; not for load or faults (`patterns.fake_api` makes those).

Taught in chapter 00.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from patterns.course.bodies import render_body
from patterns.course.recordings import (
    CourseError,
    Exchange,
    Recording,
    Source,
    canonical,
    request_body,
    request_path,
)
from patterns.course.turns import Turns

REPLAY_LOG: Final = "PATTERNS_REPLAY_LOG"
"""Environment variable naming a folder; each replaying process notes there what it used."""


class RecordingMissing(CourseError):
    """No recorded exchange answers this request.

    Attributes:
        path: the recording file.
        difference: where the request first differs from the nearest recorded one.
    """

    def __init__(self, path: Path, request: str, difference: str, price: str = "") -> None:
        self.path, self.difference = path, difference
        super().__init__(
            f"{path.name} holds no answer to this {request}.\n{difference}\n"
            "Set the cell back, or go live: set ANTHROPIC_API_KEY and PATTERNS_MODE=live, "
            f"then restart the kernel{price}."
        )


def request_key(method: str, path: str, body: Any) -> bytes:
    """What equal requests have in common."""
    text = f"{method} {path}\n{canonical(body)}"
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()


def key_of(exchange: Exchange) -> bytes:
    """The key of the request in an exchange."""
    return request_key(exchange.method, exchange.path, exchange.request)


class Answers:
    """Recorded exchanges, found by request: method, path and canonical body.

    Args:
        exchanges: what there is.
        ignore: body fields that do not count, such as `metadata.user_id` or `messages.content`
            (of every message).
    """

    def __init__(self, exchanges: Iterable[Exchange], *, ignore: Sequence[str] = ()) -> None:
        self.exchanges = tuple(exchanges)
        self._ignored = [each.split(".") for each in ignore]
        self._places: dict[bytes, list[int]] = {}
        for index, each in enumerate(self.exchanges):
            self._places.setdefault(self.key(each.method, each.path, each.request), []).append(
                index
            )

    def key(self, method: str, path: str, body: Any) -> bytes:
        """What equal requests have in common."""
        for field in self._ignored:
            body = _without(body, field)
        return request_key(method, path, body)

    def places(self, key: bytes) -> Sequence[int]:
        """Where the answers to such a request are, in order; empty if there is none."""
        return self._places.get(key, ())


def _without(body: Any, field: Sequence[str]) -> Any:
    if isinstance(body, list):
        return [_without(each, field) for each in body]
    if not isinstance(body, dict) or field[0] not in body:
        return body
    rest = {name: value for name, value in body.items() if name != field[0]}
    return rest if len(field) == 1 else {**rest, field[0]: _without(body[field[0]], field[1:])}


class ReplayTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Answers requests from a recording; hand it to `httpx2.Client` or `httpx2.AsyncClient`.

    A request matches on method, path and canonical body. Equal requests are answered in the order
    of the file and then from the start again, so N samples stay N; a notebook cell that runs again
    gets what it got the first time. Answers come at once: recorded waits (`retry-after`) are cut to
    a millisecond for the SDK's retry loop, while the header itself stays readable.

    Args:
        recording: what to answer from.
        log: called with the index of each exchange used, and with None for a request that none
            answers.
        price: gives, for path and body of a request, a phrase with the cost of sending it live.
        ignore: body fields that do not count, as for `Answers`.
        turns: shared by the clients of one notebook; its own if not given.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        log: Callable[[int | None], None] | None = None,
        price: Callable[[str, Any], str] | None = None,
        ignore: Sequence[str] = (),
        turns: Turns | None = None,
    ) -> None:
        self.recording = recording
        self._log = log or (lambda index: None)
        self._price = price or (lambda path, body: "")
        self._answers = Answers(recording.exchanges, ignore=ignore)
        self._turns = turns or Turns()

    @property
    def source(self) -> Source:
        """Where the answers come from."""
        return self.recording.source

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a sync request."""
        request.read()
        return self._answer(request)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer an async request."""
        await request.aread()
        return self._answer(request)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        return respond(self.find(request.method, request_path(request.url), request.content))

    def find(self, method: str, path: str, content: bytes) -> Exchange:
        """The exchange whose turn it is.

        Raises:
            RecordingMissing: none answers this request.
        """
        body = request_body(content)
        key = self._answers.key(method, path, body)
        places = self._answers.places(key)
        if not places:
            self._log(None)
            raise self._missing(method, path, body)
        index = places[self._turns.take(key) % len(places)]
        self._log(index)
        return self.recording.exchanges[index]

    def _missing(self, method: str, path: str, body: Any) -> RecordingMissing:
        alike = [
            each.request
            for each in self.recording.exchanges
            if (each.method, each.path) == (method, path)
        ]
        difference = first_difference(body, alike)
        price = self._price(path, body)
        return RecordingMissing(self.recording.path, f"{method} {path}", difference, price)


def respond(exchange: Exchange) -> httpx2.Response:
    """A recorded exchange as a response that streams its chunks one by one."""
    stream = _Chunks(render_body(exchange.body), cut=bool(exchange.body.get("cut")))
    return httpx2.Response(exchange.status, headers=headers_of(exchange), stream=stream)


def headers_of(exchange: Exchange) -> dict[str, str]:
    """The headers to answer with; a failure asks the SDK to wait for a millisecond only."""
    hastened = {"retry-after-ms": "1"} if exchange.status >= 400 else {}
    return {**exchange.headers, **hastened}


class _Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, chunks: Iterable[bytes], *, cut: bool) -> None:
        self._chunks, self._cut = chunks, cut

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._cut:
            raise httpx2.RemoteProtocolError(
                "peer closed connection without sending the whole body"
            )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def first_difference(body: Any, recorded: Iterable[Any]) -> str:
    """Say where `body` first departs from the most similar of the recorded bodies."""
    mine = dict(_leaves(body))
    nearest = max(
        (dict(_leaves(each)) for each in recorded),
        key=lambda theirs: sum(mine.get(where) == value for where, value in theirs.items()),
        default=None,
    )
    if nearest is None:
        return "Nothing is recorded for this path."
    for where in [*mine, *nearest]:
        here, there = mine.get(where, _ABSENT), nearest.get(where, _ABSENT)
        if here != there:
            here, there = _around(here, there)
            return f"Nearest recording: {where or 'body'} was {there}, this request has {here}."
    return "Nearest recording: the same values in another structure."


_ABSENT = object()


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{where}.{key}" if where else key)
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _leaves(each, f"{where}[{index}]")
    else:
        yield where, value


def _around(here: Any, there: Any, width: int = 40) -> tuple[str, str]:
    start = 0
    if isinstance(here, str) and isinstance(there, str):
        pairs = enumerate(zip(here, there, strict=False))
        same = next((at for at, (a, b) in pairs if a != b), min(len(here), len(there)))
        start = max(0, same - width // 2) if len(max(here, there, key=len)) > width else 0
    return _clip(here, start, width), _clip(there, start, width)


def _clip(value: Any, start: int, width: int) -> str:
    if value is _ABSENT:
        return "absent"
    if not isinstance(value, str):
        return canonical(value)
    piece = value[start : start + width]
    return repr(("…" if start else "") + piece + ("…" if start + width < len(value) else ""))


class ReplayLog:
    """Appends what a process used of a recording to a file of its own in a folder.

    `make test` reads the folder afterwards: an exchange that no cell uses, and a request that no
    exchange answers, are failures.
    """

    def __init__(self, folder: Path, chapter: str) -> None:
        self._path = folder / f"{chapter}.{os.getpid()}.log"

    def __call__(self, index: int | None) -> None:
        """Note one use (an index) or one miss (None)."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{'miss' if index is None else index}\n")


if __name__ == "__main__":  # pragma: no cover  # the command itself is tested in process
    from patterns.course.runner import main

    raise SystemExit(main(["serve", *__import__("sys").argv[1:]]))
