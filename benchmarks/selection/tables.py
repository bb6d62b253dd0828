"""Turn the results of experiments into the tables that are committed beside them, and into those of docs/selection.md.

Command:  python -m benchmarks.selection.tables
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alctl.files import write_whole
from alctl.simulation import paired, statistics
from alctl.simulation.paired import Difference, Floats
from alctl.simulation.statistics import Comparison, Curves
from benchmarks.selection.experiments import DEFAULT, EVERY, Experiment
from benchmarks.selection.lines import RESULTS, Line, read

DOCS = Path(__file__).parents[2] / "docs" / "selection.md"
GROUPS = (2, 3, 4, 5, 10)
"""Trials of one false alarm or none, in E8."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tables of the experiments that have results.")
    parser.add_argument("--results", type=Path, default=RESULTS)
    folder = parser.parse_args().results
    text = DOCS.read_text(encoding="utf-8")
    for experiment in EVERY:
        lines = read(folder / f"{experiment.name}.jsonl")
        if lines:
            write_whole(folder / f"{experiment.name}.md", page(experiment, lines))
            text = replaced(text, experiment, lines)
    write_whole(DOCS, text)


def replaced(text: str, experiment: Experiment, lines: Sequence[Line]) -> str:
    """Return the page with a new table between the marks of an experiment, if it has them."""
    before, mark, rest = text.partition(f"<!-- {experiment.name} -->\n")
    if not mark:
        return text
    after = rest.partition(f"<!-- end of {experiment.name} -->")[2]
    return f"{before}{mark}{short(experiment, lines)}\n<!-- end of {experiment.name} -->{after}"


def short(experiment: Experiment, lines: Sequence[Line]) -> str:
    """Return the table of an experiment without its tests."""
    if experiment.name == "E8":
        return false_alarms(experiment, lines)
    heads, *rows = section_rows(experiment, values_of(experiment, lines, "accuracy"))
    kept = range(2 + len(experiment.budgets) + 1)
    return table([heads[i] for i in kept], [[row[i] if i < len(row) else "" for i in kept] for row in rows])


def page(experiment: Experiment, lines: Sequence[Line]) -> str:
    """Return the tables of one experiment as Markdown."""
    trials = len({line.trial for line in lines})
    parts = [
        f"# {experiment.name}: {experiment.question}",
        f"`python -m benchmarks.selection.run {experiment.name} --cache FOLDER`, then `python -m benchmarks.selection.tables`. "
        f"{trials} of {experiment.trials} registered trials; what they are is registered in "
        "[benchmarks/selection](../../selection/README.md).",
    ]
    if experiment.name == "E8":
        return "\n\n".join([*parts, false_alarms(experiment, lines)]) + "\n"
    for metric in ("accuracy", "adjusted") if experiment.rare < 1 else ("accuracy",):
        parts += section(experiment, lines, metric)
    seconds = sum(line.seconds for line in lines)
    return "\n\n".join([*parts, f"{seconds / 3600:.1f} hours of one processor."]) + "\n"


def section(experiment: Experiment, lines: Sequence[Line], metric: str) -> list[str]:
    """Return the tables of one metric: the baseline, and each arm against it."""
    by_arm, base = values_of(experiment, lines, metric), base_of(experiment)
    title = (
        "accuracy, answers as if all classes were equally frequent" if metric == "adjusted" else "accuracy"
    )
    heads, *rows = section_rows(experiment, by_arm)
    found = [f"## {title.capitalize()}, minus {base} in the same trials, in points", table(heads, rows)]
    if metric == "accuracy":
        found += gate(experiment, by_arm)
        if base == "random" and len(by_arm) > 2 and DEFAULT in by_arm:
            found += [f"## {DEFAULT} minus each other arm, area, in points", against(experiment, by_arm)]
    return found


def base_of(experiment: Experiment) -> str:
    """Return the name of what is compared with."""
    return "random" if len(experiment.baseline) > 1 else experiment.baseline[0]


def section_rows(experiment: Experiment, by_arm: dict[str, dict[int, Floats]]) -> list[list[str]]:
    """Return head and rows: of the baseline its accuracy, of each arm its differences."""
    base = base_of(experiment)
    mean = ", mean of four" if len(experiment.baseline) > 1 else ""
    heads = ["arm", "trials", *(f"{n:,}" for n in experiment.budgets)]
    heads += [f"area to {end:,}" for end in experiment.areas] + ["p (Holm)", "flip", "sd", "labels saved"]
    compared = {end: compare(experiment, by_arm, base, end) for end in experiment.areas}
    height = np.mean(list(by_arm[base].values()), axis=0)
    first = [f"**{base}**{mean}, %", str(len(by_arm[base])), *(f"{100 * one:.1f}" for one in height)]
    rows = [heads, first + [""] * (len(heads) - len(first))]
    rows += [
        row(name, [compared[end].get(name) for end in experiment.areas], experiment)
        for name in by_arm
        if name != base
    ]
    return rows


def gate(experiment: Experiment, by_arm: dict[str, dict[int, Floats]]) -> list[str]:
    """Return whether the default is as far above random as it should be, where that was registered."""
    base, end = base_of(experiment), experiment.areas[0]
    found = compare(experiment, by_arm, base, end).get(DEFAULT)
    if experiment.gate is None or found is None or found.area is None or found.area.low is None:
        return []
    low = 100 * found.area.low
    return [
        f"Gate: {DEFAULT} minus {base}, area to {end:,} labels, lower end of the 95 % interval at least "
        f"{experiment.gate:+.1f} points: {low:+.2f}, {'passed' if low >= experiment.gate else '**missed**'}."
    ]


def values_of(experiment: Experiment, lines: Sequence[Line], metric: str) -> dict[str, dict[int, Floats]]:
    """Return the curves by arm and trial; the baseline's is the mean of its arms, in trials that have all of them."""
    found: dict[str, dict[int, Floats]] = {arm.name: {} for arm in experiment.arms}
    for line in lines:
        found[line.arm][line.trial] = np.array(getattr(line, metric))
    if len(experiment.baseline) > 1:
        arms = [found.pop(name) for name in experiment.baseline]
        whole = set.intersection(*(set(one) for one in arms))
        base = {trial: np.mean([one[trial] for one in arms], axis=0) for trial in sorted(whole)}
        found = {"random": base, **found}
    return {name: one for name, one in found.items() if one}


def curves_of(experiment: Experiment, by_arm: dict[str, dict[int, Floats]], end: int) -> Curves:
    """Return the curves up to some number of labels; NaN where an arm has not finished a trial."""
    trials = sorted(set().union(*by_arm.values()))
    size = sum(n <= end for n in experiment.budgets)
    nothing = np.full(size, np.nan)
    values = [[of[t][:size] if t in of else nothing for t in trials] for of in by_arm.values()]
    return Curves("accuracy", list(by_arm), trials, list(experiment.budgets[:size]), np.array(values))


def compare(
    experiment: Experiment, by_arm: dict[str, dict[int, Floats]], base: str, end: int
) -> dict[str, Comparison]:
    return statistics.comparisons(curves_of(experiment, by_arm, end), base, overlap=experiment.overlap)


def row(name: str, found: Sequence[Comparison | None], experiment: Experiment) -> list[str]:
    """Return the cells of an arm: budgets of the widest area, all areas, and the tests of the first."""
    widest = found[experiment.areas.index(max(experiment.areas))]
    first = found[0]
    if widest is None or first is None or first.area is None:
        return [name, "0"]
    budgets = [f"{100 * one.mean:+.1f}" if one else "–" for one in widest.budgets]
    budgets += [""] * (len(experiment.budgets) - len(budgets))
    areas = [estimate(one.area if one else None) for one in found]
    deviation = "–" if first.area.deviation is None else f"{100 * first.area.deviation:.1f}"
    flip = "–" if first.area.flipped is None else f"{first.area.flipped:.3f}"
    p = "–" if first.p is None else f"{first.p:.3f}"
    last = first.labels[-1]
    saved = "–" if last.saved is None else f"{last.saved:.0f} of {last.labeled}"
    if last.low is not None and last.high is not None:
        saved += f" ({last.low:.0f} to {last.high:.0f})"
    if last.censored:
        saved += f", {last.censored} of {last.trials} censored"
    return [name, str(first.area.trials), *budgets, *areas, p, flip, deviation, saved]


def against(experiment: Experiment, by_arm: dict[str, dict[int, Floats]]) -> str:
    """Return the default against each other arm in the same trials."""
    rows = []
    for name, curves in by_arm.items():
        if name in {DEFAULT, "random"}:
            continue
        pair = {name: curves, DEFAULT: by_arm[DEFAULT]}
        cells = [estimate(compare(experiment, pair, name, end)[DEFAULT].area) for end in experiment.areas]
        rows.append([name, *cells])
    return (
        table(["other", *(f"area to {end:,}" for end in experiment.areas)], rows)
        + "\n\nNot tested: described."
    )


def estimate(found: Difference | None) -> str:
    """Return "+4.83 [+2.10, +7.56]" in points."""
    if found is None:
        return "–"
    ends = (
        ""
        if found.low is None or found.high is None
        else f" [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    )
    return f"{100 * found.mean:+.2f}{ends}"


def false_alarms(experiment: Experiment, lines: Sequence[Line]) -> str:
    """Return how often random is told from random, in groups of several trials."""
    by_arm = values_of(experiment, lines, "accuracy")
    curves = curves_of(experiment, by_arm, experiment.areas[0])
    areas = [statistics.area(curves.labeled, curves.of(name)) for name in curves.strategies]
    differences = areas[1] - areas[0]
    differences = differences[np.isfinite(differences)]
    rows = []
    for n in GROUPS:
        groups = [differences[i : i + n] for i in range(0, len(differences) - n + 1, n)]
        if not groups:
            continue
        alarms = [
            sum((test(group) or 0.0) < paired.ALPHA for group in groups)
            for test in (paired.t_test, paired.sign_flip)
        ]
        rows.append([str(n), str(len(groups)), *(f"{one} ({one / len(groups):.0%})" for one in alarms)])
    spread = 100 * float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return "\n\n".join([
        table(["trials of a group", "groups", "t-test below 0.05", "sign-flip test below 0.05"], rows),
        f"{len(differences)} paired differences of the area to {experiment.areas[0]} labels; their mean is "
        f"{100 * float(differences.mean()):+.2f} points, their standard deviation {spread:.2f}.",
    ])  # fmt: skip


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
