"""Statistics of learning curves: paired trials of several strategies, measured after every round.

Nothing here knows where the numbers come from. Arrays are float64, and NaN is a value that is not there (yet).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.95
ENOUGH = 5
"""With n trials all differences have the same sign by chance in 2^(1-n) of cases: 6 % for 5, far too often below."""
_ALL_RESAMPLES = 50_000
_SOME_RESAMPLES = 10_000


class Point(NamedTuple):
    """One measurement of one model."""

    strategy: str
    trial: int
    round: int
    labeled: int
    """Images that the model learned from."""
    metric: str
    value: float


@dataclass(frozen=True)
class Curves:
    """One metric of every strategy, trial and round."""

    metric: str
    strategies: list[str]
    trials: list[int]
    labeled: list[int]
    """(R,) labeled images after each round."""
    values: Floats
    """(S, T, R)."""

    def of(self, strategy: str) -> Floats:
        """Return the curves of one strategy, (T, R)."""
        values: Floats = self.values[self.strategies.index(strategy)]
        return values


@dataclass(frozen=True)
class Difference:
    """What two strategies differ by in the same trials."""

    mean: float
    low: float | None
    """The interval of the mean; None with fewer than two trials."""
    high: float | None
    trials: int
    above: int
    """Trials in which the difference is above 0."""


@dataclass(frozen=True)
class Spread:
    """A number over the trials; None where there are none, or for the deviation only one."""

    mean: float | None
    deviation: float | None


@dataclass(frozen=True)
class Budget:
    """How many labels a strategy needs for what the baseline reaches with some number of labels."""

    labeled: int
    """Labels of the baseline."""
    value: float
    """What the baseline reaches with them, the mean of the trials."""
    needed: float | None
    """Labels of the strategy; None where it never gets there."""
    at_most: bool
    """Whether it is there from its first point on, so that it may have taken fewer."""
    saved: float | None


@dataclass(frozen=True)
class Comparison:
    """A strategy against the baseline."""

    budgets: list[Difference | None]
    """After each round."""
    area: Difference | None
    """Of the whole curves."""
    verdict: str
    labels: list[Budget]


@dataclass(frozen=True)
class Summary:
    """What the curves of one metric say; by strategy where it is a mapping."""

    metric: str
    labeled: list[int]
    """(R,) labeled images after each round."""
    trials: list[int]
    mean: dict[str, list[float | None]]
    """After each round, as is the deviation."""
    deviation: dict[str, list[float | None]]
    area: dict[str, Spread]
    baseline: str
    differences: dict[str, Comparison]
    beats: dict[str, dict[str, float]]
    """The share of budgets at which the first strategy beats the second: see `penalty_matrix`."""


def curves(points: Sequence[Point], metric: str, strategies: Sequence[str]) -> Curves:
    """Arrange the points of one metric; strategies without any are left out, the others keep their order."""
    found = [point for point in points if point.metric == metric]
    named = [name for name in strategies if any(point.strategy == name for point in found)]
    trials = sorted({point.trial for point in found})
    rounds = sorted({point.round for point in found})
    values = np.full((len(named), len(trials), len(rounds)), np.nan)
    labeled = dict.fromkeys(rounds, 0)
    for point in found:
        if point.strategy in named:
            place = named.index(point.strategy), trials.index(point.trial), rounds.index(point.round)
            values[place] = point.value
            labeled[point.round] = max(labeled[point.round], point.labeled)
    return Curves(metric, named, trials, list(labeled.values()), values)


def mean_and_deviation(values: Floats) -> tuple[Floats, Floats]:
    """Return mean and sample standard deviation (n - 1) over the trials that are there: (T, …) → twice (…)."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=0) / count
        squares = np.where(there, (values - mean) ** 2, 0.0).sum(axis=0)
        deviation = np.sqrt(squares / (count - 1))
    return mean, np.where(count > 1, deviation, np.nan)


def area(labeled: Sequence[int], values: Floats) -> Floats:
    """Return the area under each curve (…, R) → (…), by trapezoids over the range of labels: its mean height."""
    x = np.asarray(labeled, dtype=np.float64)
    if len(x) < 2:
        return np.asarray(values.mean(axis=-1))
    heights = (values[..., 1:] + values[..., :-1]) / 2
    total: Floats = (heights * np.diff(x)).sum(axis=-1) / (x[-1] - x[0])
    return total


def interval(differences: Floats, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the bootstrap interval of the mean of (n,) differences; None for fewer than two.

    The percentiles are widened for small n, where the plain ones are too narrow by about the factor √((n-1)/n) and
    by that of normal to t (the expanded percentile interval of Hesterberg, The American Statistician, 2015). Where
    all resamples can be enumerated they are, so that no chance is left in the answer.
    """
    n = len(differences)
    if n < 2:
        return None
    if n**n <= _ALL_RESAMPLES:
        drawn = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        drawn = np.random.default_rng(0).integers(n, size=(_SOME_RESAMPLES, n))
    t = stats.t.ppf((1 - level) / 2, n - 1)
    tail = float(stats.norm.cdf(math.sqrt(n / (n - 1)) * t))
    low, high = np.quantile(differences[drawn].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def paired(ours: Floats, theirs: Floats) -> Difference | None:
    """Return by how much (T,) values exceed those of the same trials; None where no trial has both."""
    both = ours - theirs
    both = both[np.isfinite(both)]
    if not len(both):
        return None
    low, high = interval(both) or (None, None)
    return Difference(float(both.mean()), low, high, len(both), int((both > 0).sum()))


def significant(ours: Floats, theirs: Floats, alpha: float = 0.05) -> int:
    """Return 1, -1 or 0: the paired t-test finds (T,) ``ours`` higher, lower, or neither."""
    both = ours - theirs
    both = both[np.isfinite(both)]
    if len(both) < 2:
        return 0
    mean, error = both.mean(), both.std(ddof=1) / math.sqrt(len(both))
    if error <= 1e-12 * abs(mean):  # the same difference in every trial
        return int(np.sign(mean))
    p = 2 * stats.t.sf(abs(mean / error), len(both) - 1)
    return int(np.sign(mean)) if p < alpha else 0


def penalty_matrix(c: Curves) -> Floats:
    """Return (S, S): the share of budgets at which the row's strategy beats the column's (Ji et al., WACV 2023)."""
    size = len(c.strategies)
    matrix = np.zeros((size, size))
    for i, j in itertools.permutations(range(size), 2):
        wins = [significant(c.values[i, :, r], c.values[j, :, r]) > 0 for r in range(len(c.labeled))]
        matrix[i, j] = float(np.mean(wins)) if wins else 0.0
    return matrix


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


def saved(c: Curves, strategy: str, baseline: str) -> list[Budget]:
    """Return for each budget of the baseline how many labels the strategy needs for the baseline's mean value.

    Means are over the trials that both have finished.
    """
    whole = np.isfinite(c.of(strategy) + c.of(baseline)).all(axis=1)
    if not whole.any():
        return []
    ours, theirs = c.of(strategy)[whole].mean(axis=0), c.of(baseline)[whole].mean(axis=0)
    rows = []
    for budget, height in zip(c.labeled, theirs, strict=True):
        reached = labels_at(c.labeled, ours, float(height))
        needed, at_most = reached or (None, False)
        spared = None if needed is None else budget - needed
        rows.append(Budget(budget, float(height), needed, at_most, spared))
    return rows


def verdict(strategy: str, baseline: str, metric: str, difference: Difference | None) -> str:
    """Return one plain sentence on the area under the curve."""
    if difference is None:
        return f"{strategy} and {baseline} have no finished trial in common yet"
    mean, low, high, trials = difference.mean, difference.low, difference.high, difference.trials
    counted = f"{trials} trial{'s' if trials > 1 else ''}, {difference.above} of them above {baseline}"
    if low is None or high is None:
        return f"{strategy}: {mean:+.4f} mean {metric}; one trial is too few to tell from chance"
    measured = f"{mean:+.4f} mean {metric}, 95 % interval {low:+.4f} to {high:+.4f}, {counted}"
    if low <= 0 <= high:
        return f"{strategy} is equal to {baseline} so far: {measured}"
    if trials < ENOUGH:
        return f"{strategy}: {measured}; fewer than {ENOUGH} trials are too few to tell from chance"
    return f"{strategy} is {'above' if low > 0 else 'below'} {baseline}: {measured}"


def summary(c: Curves, baseline: str) -> Summary:
    """Return everything that the numbers say; None where there is nothing to say."""
    mean, deviation = np.array([mean_and_deviation(values) for values in c.values]).swapaxes(0, 1)
    areas = area(c.labeled, c.values)
    rivals = [name for name in c.strategies if name != baseline] if baseline in c.strategies else []
    comparisons = {}
    for name in rivals:
        ours, theirs = c.of(name), c.of(baseline)
        whole = paired(area(c.labeled, ours), area(c.labeled, theirs))
        comparisons[name] = Comparison(
            [paired(ours[:, r], theirs[:, r]) for r in range(len(c.labeled))],
            whole,
            verdict(name, baseline, c.metric, whole),
            saved(c, name, baseline),
        )
    spreads = [Spread(*_numbers(np.array(mean_and_deviation(a)))) for a in areas]
    beats = [dict(zip(c.strategies, map(float, row), strict=True)) for row in penalty_matrix(c)]
    return Summary(
        c.metric,
        c.labeled,
        c.trials,
        dict(zip(c.strategies, map(_numbers, mean), strict=True)),
        dict(zip(c.strategies, map(_numbers, deviation), strict=True)),
        dict(zip(c.strategies, spreads, strict=True)),
        baseline,
        comparisons,
        dict(zip(c.strategies, beats, strict=True)),
    )


def _numbers(values: Floats) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
