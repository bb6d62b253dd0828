"""Pictures of a simulation: learning curves, predicted against true losses, classes chosen."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from alctl.files import whole_file
from alctl.simulation.paired import Floats
from alctl.simulation.statistics import Curves, mean_and_deviation


def draw_curves(c: Curves, title: str, file: Path) -> None:
    """Draw the mean of every strategy, with a band of one standard deviation to each side."""
    figure, axes = _figure()
    for name, values in zip(c.strategies, c.values, strict=True):
        mean, deviation = mean_and_deviation(values)
        trials = int(np.isfinite(values).any(axis=1).sum())
        line = axes.plot(c.labeled, mean, marker="o", markersize=3, label=f"{name} ({trials} trials)")[0]
        axes.fill_between(c.labeled, mean - deviation, mean + deviation, alpha=0.2, color=line.get_color())
    axes.set(xlabel="labeled images", ylabel=c.metric.replace("_", " "), title=title)
    axes.legend()
    _save(figure, file)


def draw_scatter(predicted: Floats, true: Floats, title: str, file: Path) -> None:
    """Draw the predicted against the true loss of (N,) images, the fifth with the highest predictions marked.

    Of more than 2,000 images every n-th is drawn (LL4AL, figure 8, shows 2,000); the correlations are of all.
    """
    varied = len(predicted) > 1 and np.ptp(predicted) > 0 and np.ptp(true) > 0
    pearson = stats.pearsonr(predicted, true).statistic if varied else math.nan
    spearman = stats.spearmanr(predicted, true).statistic if varied else math.nan
    top = predicted >= np.quantile(predicted, 0.8)
    shown = np.arange(len(predicted)) % math.ceil(len(predicted) / 2000) == 0
    figure, axes = _figure()
    for part, label in ((~top, "other 80 %"), (top, "top 20 % by predicted loss")):
        axes.scatter(predicted[part & shown], true[part & shown], s=6, alpha=0.5, label=label)
    axes.set(
        xlabel="predicted loss (only its order means anything)",
        ylabel="true loss",
        title=f"{title}\nPearson {pearson:.3f}, Spearman {spearman:.3f}, {len(predicted):,} test images",
    )
    axes.legend()
    _save(figure, file)


def draw_classes(counts: Mapping[str, Sequence[Mapping[str, float]]], title: str, file: Path) -> None:
    """Draw for every strategy how many images of each class each round brought; ``counts`` is by strategy and round."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(counts) + 1, 4), layout="constrained")
    grid: Any = figure.subplots(1, len(counts), squeeze=False, sharey=True)
    names = sorted({name for rounds in counts.values() for seen in rounds for name in seen})
    highest = max(
        (value for rounds in counts.values() for seen in rounds for value in seen.values()), default=1
    )
    for axes, (strategy, rounds) in zip(grid[0], counts.items(), strict=True):
        table = np.array([[seen.get(name, 0) for seen in rounds] for name in names])
        image = axes.imshow(table, aspect="auto", vmin=0, vmax=highest, cmap="viridis")
        axes.set(title=strategy, xlabel="round")
        axes.set_xticks(range(len(rounds)), [str(r + 1) for r in range(len(rounds))])
    if len(names) <= 100:
        grid[0][0].set_yticks(range(len(names)), names)
    figure.colorbar(image, ax=list(grid[0]), label="images, mean of the trials")
    figure.suptitle(title)
    _save(figure, file)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes: Any = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, file: Path) -> None:
    with whole_file(file) as partial:
        figure.savefig(partial, dpi=150)
