"""Summaries and insights against arithmetic by hand, and against the synthetic week's story."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from monitoring_support import NOW, a_record

from patterns.core.models import HAIKU, OPUS, SONNET
from patterns.core.pricing import Tokens
from patterns.course.synthetic import FEATURES, MONDAY, SILENT, feedback_on, labelled, week
from patterns.monitoring.calibration import Estimate, judge_agreement
from patterns.monitoring.event_log import EventLog
from patterns.monitoring.insights import Insight, insights
from patterns.monitoring.record import CallRecord, InvalidMoment
from patterns.monitoring.slo import ErrorBudget, burn_rate
from patterns.monitoring.summary import InvalidStep, Quantiles, summarize, timeline


def logged(*records: CallRecord) -> EventLog:
    """A log that holds these."""
    log = EventLog()
    log.extend(records)
    return log


def named(log: EventLog, name: str) -> list[Insight]:
    """The insights of one kind, however small."""
    return [i for i in insights(log, minimum_usd_per_day=Decimal(0)) if i.name == name]


def test_summary_adds_up() -> None:
    """By model, by feature and in all."""
    log = logged(
        a_record(tokens=Tokens(10, 1, cache_read=30)),
        a_record(feature="search", model=HAIKU, cost_usd=None, seconds=0.5),
        a_record(outcome="timeout", cost_usd=Decimal("0.02"), first_chunk_seconds=0.2),
    )
    summary = summarize(log)
    assert (summary.total.calls, summary.total.unpriced) == (3, 1)
    assert summary.total.cost_usd == Decimal("0.03")
    assert summary.total.outcomes == {"ok": 2, "timeout": 1}
    assert summary.by_feature["chat"].calls == 2
    assert summary.by_feature["chat"].tokens.cache_read == 30
    assert summary.by_model[HAIKU].cost_usd == 0
    assert summary.latency == Quantiles(3, 1.5, 1.5, 1.5)
    assert summary.first_chunk == Quantiles(1, 0.2, 0.2, 0.2)


def test_summary_of_nothing_is_empty() -> None:
    """No traffic, no percentiles, no ratio."""
    summary = summarize(EventLog())
    assert (summary.total.calls, summary.latency) == (0, None)
    assert summary.total.cache_hit_ratio is None
    assert insights(EventLog()) == []


def test_summary_keeps_to_its_period() -> None:
    """From the first moment to just before the last."""
    log = logged(a_record(), a_record(at=NOW + timedelta(hours=1)))
    until = NOW + timedelta(hours=1)
    assert summarize(log, since=NOW, until=until).total.calls == 1
    assert summarize(log, since=until).total.calls == 1


@pytest.mark.parametrize("moment", [date(2026, 11, 21), "2026-11-21", 0])
def test_moment_is_a_datetime(moment: Any) -> None:
    """A day begins at another moment in each zone."""
    with pytest.raises(InvalidMoment, match="pass a datetime"):
        insights(EventLog(), since=moment)


def test_quantiles_are_nearest_ranks() -> None:
    """Of a hundred values from 1 to 100."""
    log = logged(*(a_record(seconds=float(n)) for n in range(1, 101)))
    assert summarize(log).latency == Quantiles(100, 50.0, 95.0, 99.0)


def test_timeline_has_a_step_per_hour_with_calls() -> None:
    """Gaps are left out."""
    log = logged(
        a_record(),
        a_record(outcome="overloaded", seconds=4.0),
        a_record(at=NOW + timedelta(hours=5), seconds=None),
    )
    first, last = timeline(log)
    assert (first.at, first.calls, first.outcomes) == (NOW, 2, {"ok": 1, "overloaded": 1})
    assert first.latency == Quantiles(2, 1.5, 4.0, 4.0)
    assert (last.latency, last.cost_usd) == (None, Decimal("0.01"))


@pytest.mark.parametrize("days", [1, 7])
def test_timeline_has_the_days_and_weeks_of_a_calendar(days: int) -> None:
    """A week begins on Monday, and not on the weekday of 1 January 1970."""
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    ends = (monday - timedelta(seconds=1), monday, monday + timedelta(days=days, seconds=-1))
    steps = timeline(logged(*(a_record(at=each) for each in ends)), step=timedelta(days=days))
    assert [(step.at, step.calls) for step in steps] == [
        (monday - timedelta(days=days), 1),
        (monday, 2),
    ]


@pytest.mark.parametrize("step", [timedelta(0), timedelta(hours=-1), 3_600, None])
def test_step_that_divides_no_time_is_refused(step: Any) -> None:
    """By name, before anything is read."""
    with pytest.raises(InvalidStep, match="a timedelta above zero"):
        timeline(logged(a_record()), step=step)


def test_offline_calls_could_be_half_the_price() -> None:
    """Exactly, since a batch halves every kind of token."""
    offline = a_record(offline=True, tokens=Tokens(input=1_500_000))
    log = logged(offline, a_record(), replace(offline, batch=True))
    (insight,) = named(log, "batch")
    assert (insight.usd_per_day, insight.bound, insight.feature) == (
        Decimal("1.5"),
        "exact",
        "chat",
    )
    assert "1 calls" in insight.finding
    assert log.query(insight.query, (0, 2e9))


def test_offline_calls_of_an_unknown_model_promise_nothing() -> None:
    """Without a price there is no saving to compute."""
    assert named(logged(a_record(offline=True, model="claude-quartz-9")), "batch") == []


def test_cache_that_is_written_and_rarely_read_loses_money() -> None:
    """Writing 500,000 tokens cost 25 cents more; reading 50,000 saved 9.5 cents."""
    tokens = Tokens(cache_write_5m=50_000, cache_read=5_000)
    (insight,) = named(logged(*[a_record(tokens=tokens)] * 10), "losing_cache")
    assert insight.usd_per_day == Decimal("0.25") - Decimal("0.095")
    assert "9.1%" in insight.finding
    assert insight.threshold == "hit rate < 20.8%"


def test_break_even_of_an_hour_is_higher() -> None:
    """An hour costs twice the input price to write."""
    tokens = Tokens(cache_write_1h=10_000, cache_read=10_000)
    (insight,) = named(logged(a_record(tokens=tokens)), "losing_cache")
    assert insight.threshold == "hit rate < 51.3%"


def test_cache_that_pays_is_no_insight() -> None:
    """Nor is one of a model without a price."""
    paying = a_record(tokens=Tokens(cache_write_5m=10_000, cache_read=90_000))
    unknown = a_record(model="claude-quartz-9", tokens=Tokens(cache_write_5m=9))
    assert named(logged(paying, unknown), "losing_cache") == []


def test_long_prompts_in_close_order_could_share_a_cache() -> None:
    """At most: if all that the shortest prompt holds is shared. One write, then reads."""
    calls = [
        a_record(at=NOW + timedelta(minutes=n), tokens=Tokens(input=100_000 - n, output=1))
        for n in range(10)
    ]
    (insight,) = named(logged(*calls), "cache")
    shared, million = 99_991, Decimal(1_000_000)
    saved = 10 * Decimal(2) - 9 * Decimal("0.10") - Decimal("2.50")
    assert insight.usd_per_day == shared * saved / million
    assert insight.bound == "at most"
    assert "90% come within 5 minutes" in insight.finding


def test_prompts_under_the_minimum_cannot_be_cached() -> None:
    """511 tokens are too few, and an unknown model has no minimum."""
    calls = [a_record(tokens=Tokens(input=511)), a_record(model="claude-quartz-9")]
    assert named(logged(*calls), "cache") == []


def test_prompts_just_over_a_price_step_are_dear() -> None:
    """Five times the price for every token of the request."""
    over = a_record(model=HAIKU, tokens=Tokens(input=100_001, output=99_999))
    far = replace(over, tokens=Tokens(input=200_000))
    flat = replace(over, model=SONNET)
    (insight,) = named(logged(over, far, flat), "long_prompts")
    cheap = (100_001 * Decimal("0.10") + 99_999 * Decimal("0.50")) / 1_000_000
    assert (insight.usd_per_day, insight.bound) == (4 * cheap, "at least")


def test_truncated_answers_were_paid_for() -> None:
    """However many there are."""
    unlisted = a_record(outcome="truncated", model="claude-quartz-9")
    found = named(logged(a_record(outcome="truncated"), unlisted), "truncated")
    assert [insight.usd_per_day for insight in found] == [Decimal("0.01")] * 2


def test_small_change_is_not_worth_a_sentence() -> None:
    """The least amount is a parameter."""
    log = logged(a_record(outcome="truncated"))
    assert insights(log, minimum_usd_per_day=Decimal("0.02")) == []
    assert len(insights(log, minimum_usd_per_day=Decimal("0.01"))) == 1


def test_savings_are_per_day() -> None:
    """Ten days of traffic, a tenth of the saving a day."""
    early = a_record(outcome="truncated", cost_usd=Decimal("1"))
    late = replace(early, at=NOW + timedelta(days=10), outcome="ok")
    assert insights(logged(early, late))[0].usd_per_day == Decimal("0.1")
    half = insights(logged(early, late), until=NOW + timedelta(days=5))
    assert half[0].usd_per_day == Decimal("0.2")


@pytest.fixture(scope="module")
def synthetic() -> list[CallRecord]:
    """The week that the chapter looks at."""
    return week()


def test_week_is_the_same_for_the_same_seed(synthetic: list[CallRecord]) -> None:
    """And another for another."""
    assert week(scale=0.02) == week(scale=0.02)
    assert week(5, scale=0.02) != week(scale=0.02)
    assert [call.at for call in synthetic] == sorted(call.at for call in synthetic)


def test_week_hides_what_its_docstring_says(synthetic: list[CallRecord]) -> None:
    """Each finding of the chapter is in there."""
    log = logged(*synthetic)
    found = {(insight.name, insight.feature) for insight in insights(log)}
    assert found >= {
        ("batch", "report"),
        ("cache", "assistant"),
        ("long_prompts", "contracts"),
        ("losing_cache", "triage"),
    }
    assert {call.feature for call in synthetic} == FEATURES.keys()


def test_week_has_a_loud_incident(synthetic: list[CallRecord]) -> None:
    """Two hours in which a page goes out, and a budget that does not survive them."""
    log = logged(*synthetic)
    rates = {
        step.at: burn_rate(step.outcomes, objective=0.99, minimum_calls=20)
        for step in timeline(log)
    }
    loud = [at - MONDAY for at, rate in rates.items() if rate is not None and rate > 14.4]
    assert loud == [timedelta(days=2, hours=14), timedelta(days=2, hours=15)]
    assert -0.5 < ErrorBudget.of(summarize(log).total.outcomes, objective=0.99).left < 0


def test_week_has_a_silent_incident(synthetic: list[CallRecord]) -> None:
    """From Friday morning the chat's cache is written and never read."""
    after = [c for c in synthetic if c.feature == "chat" and c.at >= MONDAY + SILENT]
    assert sum(call.tokens.cache_read for call in after) == 0
    assert all(call.model == OPUS for call in synthetic if call.feature == "report")


def test_feedback_and_labels_are_seeded(synthetic: list[CallRecord]) -> None:
    """Few enough that the interval matters."""
    thumbs = [helpful for _, helpful in feedback_on(synthetic)]
    rate = Estimate.of(sum(thumbs), len(thumbs))
    assert rate.high - rate.low > 0.1
    assert judge_agreement(labelled()).items == 120


def test_call_that_used_nothing_could_not_have_been_cheaper() -> None:
    """Neither is it counted, nor does it make a bound of an exact amount."""
    offline = a_record(offline=True, tokens=Tokens(input=1_500_000))
    nothing = replace(offline, tokens=Tokens(), outcome="timeout", cost_is_lower_bound=True)
    (insight,) = named(logged(offline, nothing), "batch")
    assert (insight.usd_per_day, insight.bound) == (Decimal("1.5"), "exact")
    assert insight.finding.startswith("1 calls")
