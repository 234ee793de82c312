"""How far to trust a rate: of thumbs up, of a judge's verdicts, of what the verdicts stand for.

A rate without its interval is a rumour: 8 of 10 is anything from 49 to 94 %. A judge that is wrong
sometimes shifts every rate it reports; two numbers measured on labelled items, how often it sees a
bad answer and how often it lets a good one pass, take the shift out again. Not a reason to let a
model judge what a deterministic check can decide.

Sources: Wilson 1927; Cohen 1960; Rogan and Gladen 1978, with the interval of Lang and Reiczigel
2014. Chapter 4 teaches it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Final

from patterns.core.statistics import NotAShare, wilson

_Z: Final = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with its 95 % interval, all three between 0 and 1."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, successes: int, trials: int) -> Estimate:
        """A success rate with its Wilson interval, which holds near 0, 1 and for few trials.

        Raises:
            NotAShare: successes outside 0 to trials, or no trials.
        """
        interval = wilson(successes, trials)
        if not trials:
            raise NotAShare(f"{successes} of no trials is no rate; give at least 1 trial.")
        return cls(successes / trials, *interval)

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge against labels, where "bad" is what it looks for.

    Attributes:
        both_bad: label and judge say bad.
        missed: labelled bad, passed by the judge.
        false_alarm: labelled good, called bad by the judge.
        both_good: label and judge say good.
    """

    both_bad: int
    missed: int
    false_alarm: int
    both_good: int

    @property
    def items(self) -> int:
        """How many items were labelled."""
        return self.both_bad + self.missed + self.false_alarm + self.both_good

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance; 0 is chance, 1 is perfect."""
        n = self.items
        observed = (self.both_bad + self.both_good) / n
        label_bad, judge_bad = self.both_bad + self.missed, self.both_bad + self.false_alarm
        chance = (label_bad * judge_bad + (n - label_bad) * (n - judge_bad)) / n**2
        return 1.0 if chance == 1 else (observed - chance) / (1 - chance)

    @property
    def sensitivity(self) -> Estimate:
        """Of the bad answers, the share that the judge calls bad."""
        return Estimate.of(self.both_bad, self.both_bad + self.missed)

    @property
    def specificity(self) -> Estimate:
        """Of the good answers, the share that the judge passes."""
        return Estimate.of(self.both_good, self.both_good + self.false_alarm)


def judge_agreement(pairs: Iterable[tuple[bool, bool]]) -> Agreement:
    """Count (label is bad, judge says bad) pairs.

    Raises:
        ValueError: no bad or no good labels, so that half of the judge is untested; or a label or
            a verdict that is none, such as None for an answer of the judge that was lost.
    """
    counted = list(pairs)
    both = Agreement(
        both_bad=counted.count((True, True)),
        missed=counted.count((True, False)),
        false_alarm=counted.count((False, True)),
        both_good=counted.count((False, False)),
    )
    if both.items != len(counted):
        raise ValueError(
            f"{len(counted) - both.items} of {len(counted)} pairs are no two of True and False; "
            "leave out what was not judged, and say how many that were."
        )
    bad = both.both_bad + both.missed
    if bad == 0 or bad == both.items:
        raise ValueError(
            f"{bad} of {both.items} labelled items are bad; calibration needs some of each kind."
        )
    return both


def corrected_rate(flagged: int, judged: int, agreement: Agreement) -> Estimate | None:
    """The share of bad answers behind a judge's verdicts, with what the calibration leaves open.

    None when the judge is no better than chance on the labels: then its verdicts say nothing.

    Args:
        flagged: answers that the judge called bad.
        judged: answers that it judged.
        agreement: the same judge against labels.
    """
    raw = Estimate.of(flagged, judged)  # checks the counts
    bad = agreement.both_bad + agreement.missed
    good = agreement.both_good + agreement.false_alarm
    se, sp = (agreement.both_bad + 1) / (bad + 2), (agreement.both_good + 1) / (good + 2)
    power = agreement.both_bad / bad + agreement.both_good / good - 1
    if min(power, se + sp - 1) <= 0:
        return None
    point = _share((raw.value + agreement.both_good / good - 1) / power)
    low, high = _lang_reiczigel(flagged, judged, se, sp, bad, good)
    return Estimate(point, min(point, _share(low)), max(point, _share(high)))


def _lang_reiczigel(
    flagged: int, judged: int, se: float, sp: float, bad: int, good: int
) -> tuple[float, float]:
    n = judged + _Z**2
    apparent = (flagged + _Z**2 / 2) / n
    power = se + sp - 1
    rate = (apparent + sp - 1) / power
    se_var, sp_var = se * (1 - se) / (bad + 2), sp * (1 - sp) / (good + 2)
    shift = 2 * _Z**2 * (rate * se_var - (1 - rate) * sp_var)
    variance = apparent * (1 - apparent) / n + rate**2 * se_var + (1 - rate) ** 2 * sp_var
    half = _Z * sqrt(variance) / power
    return rate + shift - half, rate + shift + half


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))
