"""How long answers take: a seeded model of time to the first token and speed after it.

The figures are parameters, not measurements of the API: set them to what you see in production.
The same request takes the same time in every run, in whatever order requests come.

Used by chapters 04 and 08.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one answer takes."""

    first: float
    """Seconds to the first byte of a stream."""
    per_token: float
    """Seconds for each output token after that."""

    def total(self, output_tokens: int) -> float:
        """Seconds until the last token."""
        return self.first + self.per_token * output_tokens


NO_TIME = Timing(0.0, 0.0)


@dataclass(frozen=True)
class Latency:
    """Time to the first token and tokens per second, with lognormal jitter.

    Attributes:
        first_token: median seconds to the first token, without reading the prompt.
        tokens_per_second: median speed of writing.
        input_tokens_per_second: speed of reading the part of the prompt that is not cached.
        jitter: sigma of the lognormal factor on both; 0 makes every answer the median.
    """

    first_token: float = 0.6
    tokens_per_second: float = 80.0
    input_tokens_per_second: float = 20_000.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if min(self.tokens_per_second, self.input_tokens_per_second) <= 0:
            raise ValueError("speeds must be above 0 tokens per second.")
        if min(self.first_token, self.jitter) < 0:
            raise ValueError("first_token and jitter must not be negative.")

    def timing(self, draw: bytes, uncached_tokens: int) -> Timing:
        """The times of one answer; `draw` holds at least 8 random bytes."""
        first = self._factor(draw[:4])
        speed = self._factor(draw[4:8])
        reading = uncached_tokens / self.input_tokens_per_second
        return Timing((self.first_token + reading) * first, speed / self.tokens_per_second)

    def _factor(self, draw: bytes) -> float:
        if not self.jitter:
            return 1.0
        uniform = (int.from_bytes(draw, "big") + 0.5) / 2**32
        return math.exp(self.jitter * _NORMAL.inv_cdf(uniform))
