"""Is one strategy better than another? Tests of differences that were measured in the same trials.

Of n paired trials there are n differences. What a test of them says is about the trials: those that share images, as
random splits of one small data set do, know less than as many independent ones, and ``overlap`` widens their intervals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.95
ALPHA = 1 - LEVEL
ENOUGH = 5
"""With n trials all differences have the same sign by chance in 2^(1-n) of cases: 6 % for 5, far too often below."""
ENUMERATED = 20
"""Trials up to which all their sign vectors are tried: a million."""
POWER = 0.8
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Difference:
    """What two strategies differ by in the same trials."""

    mean: float
    low: float | None
    """The 95 % t interval of the mean; None with fewer than two trials."""
    high: float | None
    trials: int
    above: int
    """Trials in which the difference is above 0."""
    deviation: float | None = None
    """The sample standard deviation of one trial's difference."""
    p: float | None = None
    """Of the two-sided paired t-test."""
    flipped: float | None = None
    """Of the exact sign-flip test, which asks for no distribution; None where it is not made."""


def overlap(test: int, pool: int) -> float:
    """Return what the variance of a mean gains by trials that are random splits of the same images, in units of s².

    The corrected resampled t-test of Nadeau & Bengio (Machine Learning, 2003): 1/n becomes 1/n + test/pool.
    """
    return test / pool


def interval(
    differences: Floats, level: float = LEVEL, *, overlap: float = 0.0
) -> tuple[float, float] | None:
    """Return the t interval of the mean of (n,) differences; None for fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    mean = float(differences.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * _error(differences, overlap)
    return mean - half, mean + half


def _error(differences: Floats, overlap: float) -> float:
    """Return the standard error of the mean of (n,) differences; 0 where they are all the same but for rounding."""
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * abs(float(differences.mean())):
        return 0.0
    return spread * math.sqrt(1 / len(differences) + overlap)


def t_test(differences: Floats, *, overlap: float = 0.0) -> float | None:
    """Return p, two-sided, of the mean of (n,) differences being 0; None for fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    error, mean = _error(differences, overlap), float(differences.mean())
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))


def sign_flip(differences: Floats) -> float | None:
    """Return the share of all 2ⁿ choices of signs whose sum is as far from 0 as that of the (n,) differences.

    It is exact for differences that are as likely as their opposites. None above `ENUMERATED`. With 5 trials it cannot
    be below 0.0625.
    """
    if not 0 < len(differences) <= ENUMERATED:
        return None
    sums = np.zeros(1)
    for value in differences:
        sums = np.concatenate([sums + value, sums - value])
    far = abs(float(differences.sum())) - 1e-12 * float(np.abs(differences).sum())
    return float((np.abs(sums) >= far).mean())


def paired(ours: Floats, theirs: Floats, *, overlap: float = 0.0) -> Difference | None:
    """Return by how much (T,) values exceed those of the same trials; None where no trial has both."""
    both = ours - theirs
    both = both[np.isfinite(both)]
    if not len(both):
        return None
    low, high = interval(both, overlap=overlap) or (None, None)
    return Difference(
        float(both.mean()),
        low,
        high,
        len(both),
        int((both > 0).sum()),
        float(both.std(ddof=1)) if len(both) > 1 else None,
        t_test(both, overlap=overlap),
        None if overlap else sign_flip(both),
    )


def significant(ours: Floats, theirs: Floats, alpha: float = ALPHA) -> int:
    """Return 1, -1 or 0: the paired t-test finds (T,) ``ours`` higher, lower, or neither."""
    both = ours - theirs
    both = both[np.isfinite(both)]
    p = t_test(both)
    return 0 if p is None or p >= alpha else int(np.sign(both.mean()))


def holm(p: Sequence[float]) -> list[float]:
    """Return each p as it is when all are tested together (Holm, 1979): below α, it stays so in a family."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, (len(p) - rank) * p[i])
        adjusted[i] = min(1.0, highest)
    return adjusted


def power_of(n: int, deviation: float, difference: float, *, overlap: float = 0.0) -> float:
    """Return how likely n trials tell a true difference from 0 (5 %, two-sided t), by the noncentral t."""
    away = difference / (deviation * math.sqrt(1 / n + overlap))
    edge = float(stats.t.ppf(1 - ALPHA / 2, n - 1))
    if away > edge + 10:  # where SciPy's noncentral t is not a number
        return 1.0
    return float(stats.nct.sf(edge, n - 1, away) + stats.nct.cdf(-edge, n - 1, away))


def trials_needed(
    deviation: float, difference: float, *, overlap: float = 0.0, power: float = POWER
) -> int | None:
    """Return the trials that tell a true ``difference`` with this power, its deviation over trials being known.

    None where `MOST_TRIALS` do not: with overlapping splits the trials run out of images before they run out.
    """
    low, high = 1, 2
    while power_of(high, deviation, difference, overlap=overlap) < power:  # which rises with n
        if high >= MOST_TRIALS:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(middle, deviation, difference, overlap=overlap) >= power:
            high = middle
        else:
            low = middle
    return high


def visible(deviation: float, n: float, *, overlap: float = 0.0, power: float = POWER) -> float:
    """Return about the smallest true difference that n trials tell with this power; n may be infinite."""
    known = stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(power)
    return float(known * deviation * math.sqrt(1 / n + overlap))
