"""Statistics of learning curves: paired trials of several strategies, measured after every round.

Nothing here knows where the numbers come from. Arrays are float64, and NaN is a value that is not there (yet).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alctl.simulation.labels_saved import Budget, saved
from alctl.simulation.paired import ALPHA, ENOUGH, Difference, Floats, holm, paired, significant


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
class Spread:
    """A number over the trials; None where there are none, or for the deviation only one."""

    mean: float | None
    deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """A strategy against the baseline."""

    budgets: list[Difference | None]
    """After each round."""
    area: Difference | None
    """Of the whole curves."""
    p: float | None
    """Of the area, as it is when all rivals of the baseline are tested together (Holm)."""
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


def penalty_matrix(c: Curves) -> Floats:
    """Return (S, S): the share of budgets at which the row's strategy beats the column's (Ji et al., WACV 2023)."""
    size = len(c.strategies)
    matrix = np.zeros((size, size))
    for i, j in itertools.permutations(range(size), 2):
        wins = [significant(c.values[i, :, r], c.values[j, :, r]) > 0 for r in range(len(c.labeled))]
        matrix[i, j] = float(np.mean(wins)) if wins else 0.0
    return matrix


def verdict(
    strategy: str, baseline: str, metric: str, difference: Difference | None, p: float | None = None
) -> str:
    """Return one plain sentence on the area under the curve; ``p`` is that of the test among all rivals (Holm)."""
    if difference is None:
        return f"{strategy} and {baseline} have no finished trial in common yet"
    mean, low, high, trials = difference.mean, difference.low, difference.high, difference.trials
    counted = f"{trials} trial{'s' if trials > 1 else ''}, {difference.above} of them above {baseline}"
    if low is None or high is None:
        return f"{strategy}: {mean:+.4f} mean {metric}; one trial is too few to tell from chance"
    measured = f"{mean:+.4f} mean {metric}, 95 % interval {low:+.4f} to {high:+.4f}, {counted}"
    if low <= 0 <= high:
        return f"{strategy} is not told apart from {baseline} so far: {measured}"
    if trials < ENOUGH:
        return f"{strategy}: {measured}; fewer than {ENOUGH} trials are too few to tell from chance"
    if p is not None and p >= ALPHA:
        return (
            f"{strategy} is not told apart from {baseline} among so many rivals (Holm p {p:.3f}): {measured}"
        )
    return f"{strategy} is {'above' if low > 0 else 'below'} {baseline}: {measured}"


def summary(c: Curves, baseline: str, *, overlap: float = 0.0) -> Summary:
    """Return everything that the numbers say; None where there is nothing to say.

    ``overlap`` is that of trials which are splits of the same images: see `paired.overlap`.
    """
    mean, deviation = np.array([mean_and_deviation(values) for values in c.values]).swapaxes(0, 1)
    spreads = [Spread(*_numbers(np.array(mean_and_deviation(a)))) for a in area(c.labeled, c.values)]
    beats = [dict(zip(c.strategies, map(float, row), strict=True)) for row in penalty_matrix(c)]
    return Summary(
        c.metric,
        c.labeled,
        c.trials,
        dict(zip(c.strategies, map(_numbers, mean), strict=True)),
        dict(zip(c.strategies, map(_numbers, deviation), strict=True)),
        dict(zip(c.strategies, spreads, strict=True)),
        baseline,
        comparisons(c, baseline, overlap=overlap),
        dict(zip(c.strategies, beats, strict=True)),
    )


def comparisons(c: Curves, baseline: str, *, overlap: float = 0.0) -> dict[str, Comparison]:
    """Return how every other strategy compares with the baseline, tested together; none without the baseline."""
    if baseline not in c.strategies:
        return {}
    theirs, found = c.of(baseline), {}
    rivals = [name for name in c.strategies if name != baseline]
    areas = [paired(area(c.labeled, c.of(name)), area(c.labeled, theirs), overlap=overlap) for name in rivals]
    tested = [name for name, whole in zip(rivals, areas, strict=True) if whole and whole.p is not None]
    raw = [whole.p for whole in areas if whole and whole.p is not None]
    adjusted = dict(zip(tested, holm(raw), strict=True))
    for name, whole in zip(rivals, areas, strict=True):
        ours, p = c.of(name), adjusted.get(name)
        found[name] = Comparison(
            [paired(ours[:, r], theirs[:, r], overlap=overlap) for r in range(len(c.labeled))],
            whole,
            p,
            verdict(name, baseline, c.metric, whole, p),
            saved(c.labeled, ours, theirs, overlap=overlap),
        )
    return found


def _numbers(values: Floats) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
