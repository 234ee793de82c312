"""Which failures pass by themselves, and how to wait for that with a clock of one's own.

The SDK's retries sleep on the machine's clock and give up after two; a job that runs for hours
must get over an outage of minutes. Not for creating a batch: a second create may make a second
batch (see `submission`).

Used by the folder patterns/batching.
"""

import json
from collections.abc import Callable
from typing import Final, TypeVar

from anthropic import APIConnectionError, APIStatusError

T = TypeVar("T")

SPENT: Final = "enforced_spend_limit_reached"
"""The error code of a 429 that no waiting helps with."""


def passes(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, APIStatusError):
        spent = error.error_code == SPENT
        return error.status_code >= 500 or (error.status_code in (408, 429) and not spent)
    return isinstance(error, APIConnectionError | json.JSONDecodeError)


def retry_after(error: Exception) -> float:
    """Seconds that the answer asks to wait; 0 where it asks for none."""
    if not isinstance(error, APIStatusError):
        return 0.0
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 1_000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return 0.0


class Patience:
    """Calls again while failures are of the passing kind.

    Args:
        clock: seconds.
        sleep: waits that many seconds.
        seconds: how long a row of failures may last.
        most: longest pause between two calls, unless the API asks for more.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        seconds: float,
        most: float = 60.0,
    ) -> None:
        self.clock, self.sleep, self.seconds, self.most = clock, sleep, seconds, most

    def __call__(self, call: Callable[[], T]) -> T:
        """The result of `call`.

        Raises:
            Exception: what it raised, if that does not pass or goes on for too long.
        """
        began, pause = self.clock(), 1.0
        while True:
            try:
                return call()
            except Exception as error:
                if not passes(error) or self.clock() - began >= self.seconds:
                    raise
                self.sleep(max(pause, retry_after(error)))
                pause = min(2 * pause, self.most)
