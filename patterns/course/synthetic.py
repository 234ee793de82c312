"""A week of traffic that nobody sent: records from a seeded generator, with two incidents in it.

For learning, for dashboards before there is traffic, and for load tests of a sink. Every figure in
it is made up, except prices: those come from `patterns.core.pricing`. Not a model of your traffic,
and no measurement of any model's speed; say so wherever you show it. Chapter 4 uses it.

What is hidden in the week: seven features, one loud incident (a model is overloaded for two hours),
one silent one (a change breaks the cached prefix), work that could be batched, a cache that loses
money, prompts that could be cached, and prompts just over a price step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Final

from patterns.core.model_ids import HAIKU, OPUS, SONNET
from patterns.core.pricing import Tokens, cost_usd
from patterns.monitoring.outcomes import Outcome
from patterns.monitoring.record import CallRecord

MONDAY: Final = datetime(2026, 11, 9, tzinfo=UTC)
"""When the week begins."""

LOUD: Final = (timedelta(days=2, hours=14), timedelta(days=2, hours=16))
"""Wednesday afternoon: Sonnet is overloaded."""

SILENT: Final = timedelta(days=4, hours=10)
"""Friday morning: a release puts the time of day in front of the chat's cached prompt."""


@dataclass(frozen=True, slots=True)
class _Feature:
    """How one part of a product uses the API.

    Attributes:
        model: which it asks.
        calls: a day.
        hours: the hours of the day in which they come, from and to.
        prompt: shortest and longest uncached prompt, in tokens.
        output: shortest and longest answer, in tokens.
        prefix: tokens of a cached prefix, 0 for none.
        minutes: how long the prefix is kept: 5 or 60.
        seconds: a middling call.
        offline: nobody waits.
        streamed: the answer is shown as it comes.
    """

    model: str
    calls: int
    hours: tuple[float, float]
    prompt: tuple[int, int]
    output: tuple[int, int]
    prefix: int = 0
    minutes: int = 5
    seconds: float = 2.0
    offline: bool = False
    streamed: bool = False


FEATURES: Final = {
    "chat": _Feature(
        SONNET, 700, (7, 22), (200, 1_500), (150, 600), prefix=6_000, seconds=5.0, streamed=True
    ),
    "search": _Feature(HAIKU, 800, (6, 23), (150, 480), (40, 120), seconds=0.9),
    "assistant": _Feature(OPUS, 200, (8, 19), (3_200, 6_000), (300, 900), seconds=9.0),
    "report": _Feature(OPUS, 60, (1, 3), (9_000, 14_000), (1_200, 2_000), seconds=22, offline=True),
    "triage": _Feature(
        SONNET, 12, (0, 24), (300, 900), (50, 150), prefix=20_000, minutes=60, seconds=2.5
    ),
    "contracts": _Feature(HAIKU, 30, (9, 17), (93_000, 118_000), (400, 900), seconds=6.0),
    "judge": _Feature(SONNET, 40, (7, 22), (800, 2_000), (60, 140), seconds=2.2),
}


def week(seed: int = 4, *, start: datetime = MONDAY, scale: float = 1.0) -> list[CallRecord]:
    """Seven days of synthetic calls, oldest first; the same for the same arguments.

    Args:
        seed: another seed is another week with the same story.
        start: when it begins.
        scale: how much traffic; 1.0 is about 13,000 calls.
    """
    rng = Random(seed)
    calls = [
        call for name in FEATURES for call in _feature_week(name, FEATURES[name], rng, start, scale)
    ]
    calls.sort(key=lambda call: call.at)
    return [replace(call, response_id=f"msg_synthetic_{n}") for n, call in enumerate(calls)]


def _feature_week(
    name: str, feature: _Feature, rng: Random, start: datetime, scale: float
) -> Iterator[CallRecord]:
    written = timedelta(days=-1)  # when the cached prefix was last written or read
    for since in sorted(_moments(feature, rng, scale)):
        kept = since - written <= timedelta(minutes=feature.minutes)
        broken = name == "chat" and since >= SILENT
        tokens = _tokens(feature, rng, warm=kept and not broken)
        record = _call(name, feature, rng, start + since, tokens)
        if feature.model == SONNET and LOUD[0] <= since < LOUD[1]:
            record = _overloaded(record, rng)
        if record.outcome == "ok":
            written = since
        yield record


def _moments(feature: _Feature, rng: Random, scale: float) -> Iterator[timedelta]:
    opens, closes = feature.hours
    for day in range(7):
        weekend = 0.5 if day >= 5 and not feature.offline else 1.0
        for _ in range(round(feature.calls * scale * weekend)):
            # Two throws make a busy middle of the day.
            hour = opens + (closes - opens) * (rng.random() + rng.random()) / 2
            yield timedelta(days=day, seconds=round(hour * 3_600, 3))


def _tokens(feature: _Feature, rng: Random, *, warm: bool) -> Tokens:
    cold = 0 if warm else feature.prefix
    return Tokens(
        input=rng.randint(*feature.prompt),
        output=rng.randint(*feature.output),
        cache_write_5m=cold if feature.minutes == 5 else 0,
        cache_write_1h=cold if feature.minutes == 60 else 0,
        cache_read=feature.prefix if warm else 0,
    )


def _call(name: str, feature: _Feature, rng: Random, at: datetime, tokens: Tokens) -> CallRecord:
    cut = rng.random() < 0.01
    seconds = feature.seconds * rng.lognormvariate(0, 0.45)
    record = CallRecord(
        at=at,
        model=feature.model,
        feature=name,
        outcome="truncated" if cut else "ok",
        stop_reason="max_tokens" if cut else "end_turn",
        seconds=seconds,
        first_chunk_seconds=seconds * rng.uniform(0.08, 0.2) if feature.streamed else None,
        tokens=tokens,
        cost_usd=cost_usd(feature.model, _usage(tokens), at=at),
        user=None if feature.offline else f"{int(200 * rng.random() ** 3):016x}",
        offline=feature.offline,
        streamed=feature.streamed,
        trace_id=f"{rng.getrandbits(128):032x}",
    )
    chance = rng.random()
    if chance < 0.002:
        return _failed(record, "api_error", "api_error", seconds)
    if chance < 0.004:
        return _failed(record, "timeout", "client_timeout_error", 60.0)
    return record


def _overloaded(record: CallRecord, rng: Random) -> CallRecord:
    slow = (record.seconds or 0.0) * rng.uniform(2, 4)
    if rng.random() < 0.42:
        return _failed(record, "overloaded", "overloaded_error", slow, 2)
    return replace(record, seconds=slow, retries=rng.choice((0, 1, 2)))


def _failed(
    record: CallRecord, outcome: Outcome, error_type: str, seconds: float, retries: int = 0
) -> CallRecord:
    return CallRecord(
        at=record.at,
        model=record.model,
        feature=record.feature,
        outcome=outcome,
        error_type=error_type,
        seconds=seconds,
        retries=retries,
        user=record.user,
        offline=record.offline,
        streamed=record.streamed,
        trace_id=record.trace_id,
        cost_is_lower_bound=outcome == "timeout",
    )


def _usage(tokens: Tokens) -> SimpleNamespace:
    """A usage with these tokens, as the API would report them."""
    return SimpleNamespace(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_input_tokens=tokens.cache_read,
        cache_creation_input_tokens=tokens.cache_write_5m + tokens.cache_write_1h,
        cache_creation=SimpleNamespace(
            ephemeral_5m_input_tokens=tokens.cache_write_5m,
            ephemeral_1h_input_tokens=tokens.cache_write_1h,
        ),
    )


def feedback_on(
    calls: list[CallRecord], seed: int = 4, *, answers: float = 0.03
) -> Iterator[tuple[CallRecord, bool]]:
    """Synthetic thumbs on some of the chat's answers: (call, was it helpful).

    Args:
        calls: a week.
        seed: who clicks.
        answers: the share of answers that get a thumb.
    """
    rng = Random(seed)
    for call in calls:
        if call.feature == "chat" and call.outcome == "ok" and rng.random() < answers:
            waited = (call.seconds or 0.0) > 12
            yield call, rng.random() < (0.45 if waited else 0.86)


def labelled(seed: int = 4, *, items: int = 120) -> list[tuple[bool, bool]]:
    """Synthetic (label is bad, judge says bad) pairs, from a judge that sees 80 % of the bad.

    It also calls 10 % of the good answers bad.
    """
    rng = Random(seed)
    labels = [rng.random() < 0.3 for _ in range(items)]
    return [(bad, rng.random() < (0.8 if bad else 0.1)) for bad in labels]
