"""Faults to inject: what goes wrong, for which requests, how often.

    FakeAPI(faults=[Fault.status(529, times=2)])             two overloads, then answers
    FakeAPI(faults=[Fault.disconnect(after=3, requests=1)])  the first stream breaks off
    FakeAPI(faults=[Fault.delay(5.0), Fault.status(500, requests={4, 7})])

Every fault that applies to a request is used, in order; the first error wins. `requests` counts
from 1 among the requests to the fault's `path`: a number, a collection of them, or a function of
the request's body. Without it a fault applies to all, or to the first `times`.

Used by chapters 03, 04 and 08.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from patterns.fake_api.scripting.replies import SPEND_LIMIT, Error
from patterns.fake_api.wire.http import Answer, Cut, Step

Which: TypeAlias = "int | Collection[int] | Callable[[Any], bool] | None"
Damage: TypeAlias = Callable[[Answer], None]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. Use the class methods to make one.

    Attributes:
        damage: what it does to the answer, or None.
        error: the error response that comes in place of an answer, or None.
        requests: to which requests it applies.
        path: only to requests whose path starts so.
        times: how often at most.
    """

    damage: Damage | None = None
    error: Error | None = None
    requests: Which = None
    path: str = "/"
    times: int | None = None

    @classmethod
    def status(
        cls,
        status: int,
        *,
        times: int | None = None,
        requests: Which = None,
        path: str = "/",
        retry_after: float | None = None,
        message: str | None = None,
        error_code: str | None = None,
    ) -> "Fault":
        """An error response, such as 529 for the first two requests."""
        error = Error(status, None, message, retry_after, error_code)
        return cls(None, error, requests, path, times)

    @classmethod
    def spend_limit(cls, **when: Any) -> "Fault":
        """The 429 of a spend cap, which no retry helps with."""
        return cls(None, SPEND_LIMIT, **when)

    @classmethod
    def delay(cls, seconds: float, **when: Any) -> "Fault":
        """The answer comes that much later."""

        def later(answer: Answer) -> None:
            answer.wait += seconds

        return cls(later, **when)

    @classmethod
    def disconnect(cls, *, after: int | None = None, **when: Any) -> "Fault":
        """The connection closes: before any answer, or after so many events, lines or chunks."""
        return cls(_cutter(Cut.CLOSE, after), **when)

    @classmethod
    def hang(cls, *, after: int | None = None, **when: Any) -> "Fault":
        """Nothing more comes: no answer at all, or none after so many events, lines or chunks."""
        return cls(_cutter(Cut.HANG, after), **when)

    @classmethod
    def truncated_json(cls, *, keep: float = 0.5, **when: Any) -> "Fault":
        """A body that ends early: only its first `keep` (0 to 1) is sent."""

        def truncate(answer: Answer) -> None:
            if isinstance(answer.body, bytes):
                answer.body = answer.body[: int(len(answer.body) * keep)]

        return cls(truncate, **when)

    @classmethod
    def malformed(cls, *, after: int = 1, **when: Any) -> "Fault":
        """A stream in which, after so many events or lines, one is not JSON."""
        return cls(_inserter(after, _malformed), **when)

    @classmethod
    def stream_error(cls, *, after: int = 2, status: int = 529, **when: Any) -> "Fault":
        """A stream that turns into an `error` event after so many events."""
        body = Error(status).as_api_error().as_dict("req_fault")
        data = f"event: error\ndata: {json.dumps(body)}\n\n".encode()

        def fail(steps: Iterable[Step]) -> Iterator[Step]:
            yield from _first(steps, after)
            yield data

        return cls(_on_stream(fail), **when)

    @classmethod
    def duplicated(cls, *, every: int = 1, **when: Any) -> "Fault":
        """A stream in which every n-th event or line comes twice."""

        def twice(steps: Iterable[Step]) -> Iterator[Step]:
            n = 0
            for step in steps:
                yield step
                if isinstance(step, bytes):
                    n += 1
                    if n % every == 0:
                        yield step

        return cls(_on_stream(twice), **when)

    @classmethod
    def chunked(cls, size: int, **when: Any) -> "Fault":
        """No fault of the API's: a stream that arrives in pieces of `size` bytes, cut anywhere."""

        def cut(steps: Iterable[Step]) -> Iterator[Step]:
            for step in steps:
                if isinstance(step, bytes):
                    yield from (step[at : at + size] for at in range(0, len(step), size))
                else:
                    yield step

        return cls(_on_stream(cut, whole=False), **when)


def _on_stream(change: Callable[[Iterable[Step]], Iterator[Step]], *, whole: bool = True) -> Damage:
    """Damage that changes the steps of a stream and leaves other answers alone.

    Args:
        change: from the steps to those that are sent.
        whole: whether steps may be sent together.
    """

    def damage(answer: Answer) -> None:
        if not isinstance(answer.body, bytes):
            answer.body = change(answer.body)
            answer.piece = answer.piece if whole else 0

    return damage


def _cutter(cut: Cut, after: int | None) -> Damage:
    def damage(answer: Answer) -> None:
        if after is None:
            answer.cut = cut
            return
        steps = [answer.body] if isinstance(answer.body, bytes) else answer.body
        if isinstance(answer.body, bytes) and after > 0:
            steps = [answer.body[: len(answer.body) // 2]]
        answer.body = _cut_after(steps, after, cut)

    return damage


def _cut_after(steps: Iterable[Step], after: int, cut: Cut) -> Iterator[Step]:
    yield from _first(steps, after)
    yield cut


def _first(steps: Iterable[Step], count: int) -> Iterator[Step]:
    """The steps up to and with the `count`-th piece of data."""
    if count <= 0:
        return
    for step in steps:
        yield step
        if isinstance(step, bytes):
            count -= 1
            if count == 0:
                return


def _malformed(example: bytes) -> bytes:
    if example.startswith(b"event:"):
        return b'event: content_block_delta\ndata: {"type": "content_block_delta", "index\n\n'
    return b'{"custom_id": "broken", "result": {"type": "succ\n'


def _inserter(after: int, make: Callable[[bytes], bytes]) -> Damage:
    def insert(steps: Iterable[Step]) -> Iterator[Step]:
        n = 0
        for step in steps:
            yield step
            if isinstance(step, bytes):
                n += 1
                if n == after:
                    yield make(step)

    return _on_stream(insert)


@dataclass
class FaultScript:
    """The faults of one fake API and how often each has been used."""

    faults: list[Fault]
    seen: dict[int, int] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)

    def for_request(self, path: str, body: Callable[[], Any]) -> list[Fault]:
        """The faults that apply to this request; counts it."""
        applying = []
        for n, fault in enumerate(self.faults):
            if not path.startswith(fault.path):
                continue
            self.seen[n] = self.seen.get(n, 0) + 1
            spent = fault.times is not None and self.used.get(n, 0) >= fault.times
            if not spent and _applies(fault.requests, self.seen[n], body):
                self.used[n] = self.used.get(n, 0) + 1
                applying.append(fault)
        return applying


def _applies(which: Which, number: int, body: Callable[[], Any]) -> bool:
    if which is None:
        return True
    if callable(which):
        return bool(which(body()))
    return number == which if isinstance(which, int) else number in which


def first_error(faults: Iterable[Fault]) -> Error | None:
    """The error of the first fault that has one."""
    return next((fault.error for fault in faults if fault.error is not None), None)
