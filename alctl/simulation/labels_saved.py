"""How many labels a strategy needs for what the baseline reaches with some number of labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from alctl.simulation.paired import LEVEL, interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """How many labels a strategy needs for what the baseline reaches with some number of labels."""

    labeled: int
    """Labels of the baseline."""
    value: float
    """What the baseline reaches with them, the mean of the trials."""
    needed: float | None
    """Labels of the strategy: the mean of the trials, or the median where some never get there; None if that neither."""
    at_most: bool
    """Whether most trials are there from their first point on, so that it may have taken fewer."""
    saved: float | None
    low: float | None
    """The 95 % interval of ``saved``; None where the trials do not bound it."""
    high: float | None
    trials: int
    censored: int
    """Trials that never get there."""


def labels_at(labeled: Sequence[int], curve: Floats, height: float) -> tuple[float, bool] | None:
    """Return the labels from which on the curve (R,) is at a height or above, between its points by a straight line.

    None if its end is below. The second value tells whether it is there from its first point on, so that it may have
    taken fewer.
    """
    below = np.flatnonzero(~(curve >= height))
    if not len(below):
        return float(labeled[0]), True
    r = int(below[-1]) + 1
    if r == len(curve):
        return None
    step = (height - curve[r - 1]) / (curve[r] - curve[r - 1])
    return float(labeled[r - 1] + step * (labeled[r] - labeled[r - 1])), False


def saved(labeled: Sequence[int], ours: Floats, theirs: Floats, *, overlap: float = 0.0) -> list[Budget]:
    """Return for each of the budgets (R,) of the baseline ``theirs`` (T, R) what the strategy ``ours`` (T, R) needs.

    The height to reach is the baseline's mean over the trials that both have finished; each of the strategy's trials
    reaches it on a curve of its own (SELECTION.md §5.3).
    """
    whole = np.isfinite(ours + theirs).all(axis=1)
    if not whole.any():
        return []
    heights = theirs[whole].mean(axis=0)
    return [
        _budget(labeled, ours[whole], budget, float(height), overlap)
        for budget, height in zip(labeled, heights, strict=True)
    ]


def _budget(labeled: Sequence[int], curves: Floats, budget: int, height: float, overlap: float) -> Budget:
    reached = [labels_at(labeled, curve, height) for curve in curves]
    there = [one for one in reached if one is not None]
    censored = len(reached) - len(there)
    at_most = 2 * sum(first for _, first in there) > len(reached)
    counts = np.array([np.inf if one is None else one[0] for one in reached])
    low: float | None
    high: float | None
    if not censored:
        needed = float(counts.mean())
        low, high = interval(budget - counts, overlap=overlap) or (None, None)
    else:
        needed = float(np.median(counts))
        ends = (
            (np.inf, -np.inf) if overlap else _of_median(counts)[::-1]
        )  # which takes trials for independent
        low, high = (budget - end if np.isfinite(end) else None for end in ends)
    reached_at = needed if np.isfinite(needed) else None
    spared = None if reached_at is None else budget - reached_at
    return Budget(budget, height, reached_at, at_most, spared, low, high, len(reached), censored)


def _of_median(values: Floats) -> tuple[float, float]:
    """Return the interval of the median by order statistics (the sign test's); infinite where too few are known."""
    k = int(stats.binom.ppf((1 - LEVEL) / 2, len(values), 0.5)) - 1
    if k < 0:
        return -np.inf, np.inf
    ordered = np.sort(values)
    return float(ordered[k]), float(ordered[-1 - k])
