"""Draw the learning curves of the photographs, the picture in README.md, from E2's results.

Command:  python -m benchmarks.selection.chart
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from alctl.files import whole_file
from benchmarks.selection.experiments import DEFAULT, EVERY, RANDOMS
from benchmarks.selection.lines import RESULTS, read

PICTURE = Path(__file__).parents[2] / "docs" / "photos.svg"
COLOURS = {"random": "#6b7280", DEFAULT: "#2563eb"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the learning curves of the photographs.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args()
    experiment = next(one for one in EVERY if one.name == "E2")
    lines = read(given.results / "E2.jsonl")
    arms = {"random": RANDOMS, DEFAULT: (DEFAULT,)}
    curves = {
        name: np.array([line.accuracy for line in lines if line.arm in own]) for name, own in arms.items()
    }
    with whole_file(given.out) as partial:
        draw(experiment.budgets, curves).savefig(
            partial,
            format=given.out.suffix[1:],
            metadata={"Date": None} if given.out.suffix == ".svg" else None,
        )


def draw(budgets: Sequence[int], curves: dict[str, np.ndarray]) -> Figure:
    """Draw the mean of each strategy's (T, R) curves, over the middle 80 % of its trials."""
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = "alctl"  # else the same picture differs from run to run
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, found in curves.items():
        low, high = np.quantile(found, [0.1, 0.9], axis=0)
        axes.fill_between(budgets, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
        axes.plot(budgets, found.mean(axis=0), color=COLOURS[name], marker="o", markersize=4, label=name)
    trials = len(curves[DEFAULT])
    axes.set(
        xlabel="labeled photos",
        ylabel="accuracy on held-out photos",
    )
    axes.set_title(f"341 photos of clothes: mean and middle 80 % over {trials} random splits", fontsize=11)
    axes.set_xticks(budgets, [str(n) if n != 30 else "" for n in budgets])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
