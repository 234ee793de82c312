"""Batch, fan-out or one by one: what each costs, how long each takes, and which fits.

Arithmetic on the price list, on your rate limits and on three assumptions that are parameters:
set them to what you have measured. Not a forecast of the API's queue: a batch usually ends within
an hour, and is only sure to have ended after a day.

Needs: pip install genai-prices. Taught in chapter 08.
"""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from patterns.core.errors import Portable
from patterns.core.pricing import Tokens, rates

Way = Literal["batch", "fan-out", "one by one"]

DAY: Final = 86_400.0
"""Seconds after which a batch has ended, if only by expiry."""


@dataclass(frozen=True)
class Allowance:
    """What your organisation may use per minute of one model.

    Attributes:
        requests: calls.
        input_tokens: input that is not read from the cache.
        output_tokens: output.
    """

    requests: int = 4_000
    input_tokens: int = 2_000_000
    output_tokens: int = 400_000

    def seconds(self, n: int, tokens: Tokens) -> float:
        """How long `n` calls take at the full rate, from an empty allowance."""
        fresh = tokens.prompt - tokens.cache_read
        minutes = max(
            n / self.requests, n * fresh / self.input_tokens, n * tokens.output / self.output_tokens
        )
        return 60 * minutes


@dataclass(frozen=True)
class Option:
    """One way of doing it.

    Attributes:
        way: `batch`, `fan-out` or `one by one`.
        usd: US dollars for all requests.
        seconds: how long it usually takes.
        at_most: how long it takes at worst; the same as `seconds` but for batches.
    """

    way: Way
    usd: Decimal
    seconds: float
    at_most: float

    def fits(self, deadline: float) -> Literal["surely", "usually", "no"]:
        """Whether it is done by then."""
        if self.at_most <= deadline:
            return "surely"
        return "usually" if self.seconds <= deadline else "no"


@dataclass(frozen=True)
class Choice:
    """The ways compared.

    Attributes:
        best: the cheapest that surely fits; where none does, the cheapest that usually does;
            where none does that either, the fastest.
        options: all three, cheapest first.
        fits: how surely `best` is done by the deadline.
    """

    best: Option
    options: tuple[Option, ...]
    fits: Literal["surely", "usually", "no"]


class NoPrice(Portable, LookupError):
    """There is no published price for this model, or none for its batches."""

    def __init__(self, model: str) -> None:
        super().__init__(f"no published price for {model!r}; choose a model of the price list.")


def choose(
    n: int,
    deadline: float,
    tokens: Tokens,
    *,
    model: str,
    limits: Allowance = Allowance(),  # frozen, so safe to share
    call_seconds: float = 8.0,
    batch_seconds: float = 3_600.0,
    batch_cache_hits: float = 0.6,
) -> Choice:
    """Compare the three ways of making `n` requests until `deadline`.

    Args:
        n: requests.
        deadline: seconds from now.
        tokens: of one request, as a plain call would count them; its cache reads are hits.
        model: whose prices apply.
        limits: per minute, for the two ways that use plain calls.
        call_seconds: one plain call.
        batch_seconds: how long a batch usually takes; measure yours.
        batch_cache_hits: share of the cache reads that a batch hits too, 0 to 1; the rest are
            written anew, for an hour.

    Raises:
        ValueError: `n` is below 1.
        NoPrice: the model has no published price.
    """
    if n < 1:
        raise ValueError(f"n is {n}; there is something to choose from 1 request on.")
    plain = rates(model, prompt_tokens=tokens.prompt)
    half = rates(model, prompt_tokens=tokens.prompt, batch=True)
    if plain is None or half is None:
        raise NoPrice(model)
    limited = limits.seconds(n, tokens)
    spread, queue = max(call_seconds, limited), max(n * call_seconds, limited)
    batched = half.usd(in_batch(tokens, batch_cache_hits))
    options = (
        Option("batch", n * batched, batch_seconds, DAY),
        Option("fan-out", n * plain.usd(tokens), spread, spread),
        Option("one by one", n * plain.usd(tokens), queue, queue),
    )
    # Of two that cost the same the simpler one, if it is in time: one by one needs no limit.
    order = sorted(options, key=lambda option: (option.usd, -option.seconds))
    for wanted in ("surely", "usually"):
        for option in order:
            if option.fits(deadline) == wanted:
                return Choice(option, tuple(order), option.fits(deadline))
    fastest = min(order, key=lambda option: option.seconds)
    return Choice(fastest, tuple(order), "no")


def in_batch(tokens: Tokens, hits: float) -> Tokens:
    """The tokens of one request in a batch, where only some of the cache reads hit."""
    read = math.floor(tokens.cache_read * hits)
    missed = tokens.cache_read - read
    return replace(tokens, cache_read=read, cache_write_1h=tokens.cache_write_1h + missed)
