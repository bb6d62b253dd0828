"""The statistics of a report: pure functions of arrays, None where nothing can be said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RESAMPLES = 10_000
BINS = 10
LEVEL = 0.95
POWER = 0.8
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """Return the estimate in another unit; ``factor`` is positive."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Bin:
    """The images whose answer has a probability within a range."""

    from_: float
    to: float
    images: int
    confidence: float
    """The mean probability of their answers."""
    accuracy: float
    """The share of their answers that is right."""


@dataclass(frozen=True)
class Reliability:
    """How far a model is as often right as it says."""

    bins: Sequence[Bin]
    ece: float
    """Expected calibration error (Guo et al., ICML 2017)."""


def share(right: int, n: int) -> Estimate | None:
    """Return ``right`` of ``n`` as a share with Wilson's interval."""
    if not n:
        return None
    found = stats.binomtest(right, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(right / n, float(found.low), float(found.high))


def paired_gain(before: Bools, after: Bools) -> Estimate:
    """Return by how much accuracy rose on the same (N,) images, with a bootstrap interval over the images.

    Of N images some were gained and some lost; resampling images is resampling those two counts, so N may be large.
    Each count gets half an image more, as Agresti & Min (Statistics in Medicine, 2005) do for matched pairs: else
    three gained and none lost would pass for certain.
    """
    n = len(before)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    counts = np.array([gained + 0.5, lost + 0.5, n - gained - lost + 1.0])
    drawn = np.random.default_rng(0).multinomial(n + 2, counts / (n + 2), RESAMPLES)
    low, high = _interval((drawn[:, 0] - drawn[:, 1]) / (n + 2))
    return Estimate((gained - lost) / n, low, high)


def unpaired_gain(before: float, after: float, n: int) -> Estimate:
    """Return the difference of two accuracies on ``n`` images each as if the images were not the same ones."""
    error = _Z * math.sqrt((before * (1 - before) + after * (1 - after)) / n)
    return Estimate(after - before, after - before - error, after - before + error)


def excess(pairs: Sequence[tuple[Bools, Bools]]) -> Estimate | None:
    """Return by how much more often the first of two arms is true than the second, over (arm, arm) of several rounds.

    Rounds weigh as their smaller arm; the bootstrap resamples within each arm of each round, both half an image wider.
    """
    pairs = [(ours, theirs) for ours, theirs in pairs if len(ours) and len(theirs)]
    if not pairs:
        return None
    rng = np.random.default_rng(0)
    weights = np.array([min(len(ours), len(theirs)) for ours, theirs in pairs], dtype=np.float64)
    weights /= weights.sum()
    value = sum(w * (a.mean() - b.mean()) for w, (a, b) in zip(weights, pairs, strict=True))
    drawn = sum(
        w * (_resampled(a, rng) - _resampled(b, rng)) for w, (a, b) in zip(weights, pairs, strict=True)
    )
    return Estimate(float(value), *_interval(np.asarray(drawn)))


def _resampled(arm: Bools, rng: np.random.Generator) -> Floats:
    n = len(arm) + 1
    means: Floats = rng.binomial(n, (arm.sum() + 0.5) / n, RESAMPLES) / n
    return means


def _interval(drawn: Floats) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def spearman_interval(r: float, n: int) -> Estimate | None:
    """Return Spearman's correlation of ``n`` pairs with its interval (Bonett & Wright, Psychometrika, 2000)."""
    if n < 4 or abs(r) >= 1:
        return None
    error = _Z * math.sqrt((1 + r * r / 2) / (n - 3))
    return Estimate(r, math.tanh(math.atanh(r) - error), math.tanh(math.atanh(r) + error))


def reliability(confidence: Floats, right: Bools) -> Reliability:
    """Return the reliability diagram of (N,) confidences in bins of equal width.

    A bin holds the confidences above its lower edge up to its upper one.
    """
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    bins = []
    for b in range(BINS):
        inside = place == b
        if inside.any():
            means = float(confidence[inside].mean()), float(right[inside].mean())
            bins.append(Bin(b / BINS, (b + 1) / BINS, int(inside.sum()), *means))
    error = sum(found.images * abs(found.accuracy - found.confidence) for found in bins) / max(1, len(right))
    return Reliability(bins, error)


def confusion(truth: Sequence[int], said: Sequence[int], classes: int) -> list[list[int]]:
    """Return how many images of each true class (rows) were taken for each class (columns)."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (np.asarray(truth, dtype=np.int64), np.asarray(said, dtype=np.int64)), 1)
    return [[int(n) for n in row] for row in table]


def images_needed(discordant: float, difference: float) -> int:
    """Return the images on which McNemar's test (5 %) tells a true difference four times of five.

    ``discordant`` is the share of images that only one of the two models gets right.
    """
    known = _Z + float(stats.norm.ppf(POWER))
    return math.ceil(known**2 * discordant / difference**2)


def mcnemar(gained: float, lost: float, n: int) -> tuple[Estimate, float]:
    """Return by how much the share of right answers differs on the same ``n`` images, and p of the exact test.

    ``gained`` are the images that only the first model gets right, ``lost`` those that only the second does; means of
    several such counts are rounded for the test.
    """
    value = (gained - lost) / n
    error = _Z * math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / n)) / n
    both = round(gained) + round(lost)
    p = float(stats.binomtest(round(gained), both).pvalue) if both else 1.0
    return Estimate(value, value - error, value + error), p
