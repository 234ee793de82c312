"""How sure a share is: the Wilson interval, which holds for few trials and near 0 and 1."""

from math import inf, sqrt
from numbers import Real
from statistics import NormalDist


class NotAShare(ValueError):
    """Numbers of which one is not a part of the other."""


def wilson(successes: float, trials: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a success rate, as (low, high), both within 0 to 1.

    Wilson (1927), J. Am. Stat. Assoc. 22, 209-212. No trials give (0, 1): nothing is known.

    Args:
        successes: how often it happened, 0 to `trials`; may be weighted.
        trials: how often it was tried.
        confidence: share of intervals that contain the true rate, between 0 and 1.

    Raises:
        NotAShare: successes outside 0 to trials, or a confidence outside 0 to 1.
    """
    if not (_are_real(successes, trials) and 0 <= successes <= trials < inf):
        raise NotAShare(f"{successes!r:.80} successes in {trials!r:.80} trials; give 0 to all.")
    if not (_are_real(confidence) and 0 < confidence < 1):
        raise NotAShare(f"confidence is {confidence!r:.80}; give a share such as 0.95.")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, width = successes / trials, z * z / trials
    middle = (rate + width / 2) / (1 + width)
    half = sqrt(rate * (1 - rate) * width + width * width / 4) / (1 + width)
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return low, high


def _are_real(*values: object) -> bool:
    return all(isinstance(each, Real) for each in values)
