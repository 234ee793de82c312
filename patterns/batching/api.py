"""The endpoints of the Batches API as a job of hours needs them: patient, and sure of what came.

The SDK's retries sleep on the machine's clock and give up after two; a job gets over an outage of
an hour. A 404 right after a create, or from one of many servers, is not yet the truth, so it is
asked again for a while. A page of HTML with status 200, as proxies send, is no answer.

Used by the folder patterns/batching.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import takewhile
from typing import Any, Final, TypeVar

from anthropic import (
    Anthropic,
    AnthropicError,
    APIConnectionError,
    APIError,
    APIRequest,
    APIResponse,
    AsyncAnthropic,
    BadRequestError,
    CallNext,
    Middleware,
    NotFoundError,
)
from anthropic.pagination import SyncPage
from anthropic.types.messages import MessageBatch

from patterns.core.errors import Portable
from patterns.core.retrying import backoff, headers_of, is_transient, retry_after

T = TypeVar("T")

SHORTEST: Final = 0.001
"""Seconds that are no more worth waiting: below that, a clock of 1970's seconds stands still."""


class NoBatch(ConnectionError):
    """An answer with status 200 that does not hold what was asked for; the next one may."""


class _NoPages(Middleware):
    """A proxy's page is a failed connection, whatever its status."""

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        response = call_next(request)
        kind = response.headers.get("content-type", "")
        if response.http_response.is_success and kind.startswith("text/"):
            what = f"{kind} came with status {response.status_code}, perhaps from a proxy."
            raise APIConnectionError(message=what, request=response.http_request)
        return response


class ResultsError(Portable, Exception):
    """Results of a batch that cannot be had, or not all of them. What is good is stored.

    Attributes:
        batch_id: the batch.
    """

    def __init__(self, batch_id: str, problem: str) -> None:
        self.batch_id = batch_id
        super().__init__(f"{batch_id}: {problem}")


class BatchGone(ResultsError):
    """The API knows the batch no more, or keeps its results no more."""

    def __init__(self, batch_id: str, why: str) -> None:
        super().__init__(
            batch_id, f'{why}; resume({{"gone"}}) sends its requests again, and pays again.'
        )


@dataclass(frozen=True)
class BatchAPI:
    """How a job calls the API; a worker of `fleet` is given one as its service.

    Attributes:
        client: its middleware applies, its own retries do not.
        clock: seconds since 1970.
        sleep: waits that many seconds.
        patience: seconds for which the API may fail in a row.
        settle: how long in seconds to look for something that the API may not show yet: the
            batch of a create whose answer was lost before sending again, or a batch that it just
            said it does not know. Longer than the API takes; 60 is a guess on the safe side.
        every: seconds between two such looks.
        draw: a number from 0 to 1 for the jitter of retries.

    Raises:
        TypeError: an async client.
        ValueError: seconds that make no sense.
    """

    client: Anthropic
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    patience: float = 3_600.0
    settle: float = 60.0
    every: float = 5.0
    draw: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if isinstance(self.client, AsyncAnthropic):
            raise TypeError("a batch job takes Anthropic(), also in async code; this one is async.")
        if not (self.patience >= 0 and self.settle >= 0 and self.every > 0):
            raise ValueError(
                f"patience is {self.patience}, settle {self.settle}, every {self.every}; "
                "they are seconds, and every is above 0."
            )

    @cached_property
    def _own(self) -> Anthropic:
        return self.client.with_options(
            max_retries=0, middleware=[*self.client.middleware, _NoPages()]
        )

    def until_it_works(self, call: Callable[[], T]) -> T:
        """The result of `call`, called again while its failures pass by themselves.

        Raises:
            Exception: what it raised, if that does not pass, or goes on for `patience`, or for
                `settle` in case of a 404.
        """
        began, attempt = self.clock(), 0
        while True:
            try:
                return call()
            except Exception as error:
                unknown, attempt = isinstance(error, NotFoundError), attempt + 1
                if not unknown and not is_transient(error):
                    raise
                left = (self.settle if unknown else self.patience) - (self.clock() - began)
                if left <= SHORTEST:
                    raise
                asked = retry_after(headers_of(error), now=self.clock())
                pause = self.every if unknown else backoff(attempt, asked, self.draw())
                self.sleep(min(pause, left))

    def batch(self, batch_id: str) -> MessageBatch:
        """A batch.

        Raises:
            BatchGone: the API does not know it, for `settle` seconds.
        """
        return self._of(batch_id, lambda: _whole(self._own.messages.batches.retrieve(batch_id)))

    def _of(self, batch_id: str, call: Callable[[], T]) -> T:
        try:
            return self.until_it_works(call)
        except NotFoundError:
            raise BatchGone(batch_id, "the API does not know it") from None

    def newest(self) -> str | None:
        """The id of the newest batch."""
        page = self.until_it_works(lambda: self._list())
        return next((_whole(batch).id for batch in page.data), None)

    def since(self, batch_id: str | None) -> list[MessageBatch]:
        """The batches that were created after that one, newest first."""

        def look() -> list[MessageBatch]:
            newer = takewhile(lambda batch: _whole(batch).id != batch_id, self._list())
            return list(newer)

        return self.until_it_works(look)

    def _list(self) -> SyncPage[MessageBatch]:
        with suppress(AttributeError):  # the SDK does not check what a 200 holds
            page = self._own.messages.batches.list()
            if isinstance(page.data, list):
                return page
        raise NoBatch("the API's answer is no list of batches.")

    def create(self, size: int, body: Iterator[bytes]) -> MessageBatch:
        """Create a batch from a body of exactly `size` bytes; one try, since it may have worked.

        It goes out as it is stored, a piece at a time; where the client has middleware, which may
        have to read it, as JSON.
        """
        if self.client.middleware:
            requests = json.loads(b"".join(body))["requests"]
            return _whole(self._own.messages.batches.create(requests=requests))
        options: Any = {"headers": {"content-length": str(size)}}
        post, path = self._own.post, "/v1/messages/batches"
        return _whole(post(path, content=body, cast_to=MessageBatch, options=options))

    def cancel(self, batch_id: str) -> None:
        """Ask the API to stop a batch; it may have ended meanwhile, or be gone."""
        with suppress(BadRequestError, NotFoundError):
            self.until_it_works(lambda: self._own.messages.batches.cancel(batch_id))

    def results(self, batch_id: str) -> Any:
        """The SDK's stream of results.

        Raises:
            BatchGone: the API does not know it, for `settle` seconds, or keeps them no more.
        """

        def look() -> Any:
            batches = self._own.messages.batches
            if _whole(batches.retrieve(batch_id)).results_url is None:
                raise BatchGone(batch_id, "its results are kept no more (29 days)")
            try:
                return batches.results(batch_id)
            except APIError:
                raise
            except (AnthropicError, AttributeError) as error:  # it looks at the batch once more
                raise NoBatch(f"the API's answer is no batch: {error}") from error

        return self._of(batch_id, look)


def _whole(batch: MessageBatch) -> MessageBatch:
    """The batch, if it is one: the SDK does not check what a 200 holds.

    Raises:
        NoBatch: it is something else.
    """
    times = (getattr(batch, name, None) for name in ("created_at", "expires_at"))
    if isinstance(getattr(batch, "id", None), str) and all(isinstance(t, datetime) for t in times):
        return batch
    raise NoBatch(f"the API's answer is no batch: {batch!r}"[:200])
