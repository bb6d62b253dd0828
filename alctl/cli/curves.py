"""Printing learning curves: values of every strategy, differences to a baseline, and what they say."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alctl.simulation.labels_saved import Budget
    from alctl.simulation.paired import Difference
    from alctl.simulation.statistics import Spread, Summary


def show_tables(found: "Summary", ranking: "Summary | None") -> None:
    """Print the learning curves, the differences to the baseline, who beats whom, and the ranking accuracy."""
    from alctl.cli import screen

    trials, what = len(found.trials), found.metric.replace("_", " ")
    counted = f"{trials} trials, mean ± standard deviation" if trials > 1 else "one trial"
    screen.table(f"{what} of {counted}", *values_table(found, area=True))
    if found.differences:
        title = f"\ndifference to {found.baseline} in the same trials, with 95 % t intervals"
        screen.table(title, *differences_table(found))
    if len(found.beats) > 1 and trials > 1:
        rows = [[name, *(f"{share:.2f}" for share in row.values())] for name, row in found.beats.items()]
        title = "\nshare of budgets at which the row beats the column (paired t-test, α = 0.05)"
        screen.table(title, ["", *found.beats], rows)
    if ranking:
        screen.table("\nlosses in the right order (ranking accuracy)", *values_table(ranking))


def values_table(found: "Summary", *, area: bool = False) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of mean ± deviation: labels down, strategies across."""
    names = list(found.mean)
    rows = [
        [f"{labeled:,}", *(spread(found.mean[n][r], found.deviation[n][r]) for n in names)]
        for r, labeled in enumerate(found.labeled)
    ]
    if area and len(found.labeled) > 1:
        rows.append(["area under the curve", *(spread_of(found.area[n]) for n in names)])
    return ["labels", *names], rows


def spread_of(found: "Spread") -> str:
    """Return "0.8764 ± 0.0027"."""
    return spread(found.mean, found.deviation)


def spread(mean: float | None, deviation: float | None) -> str:
    """Return "0.8764 ± 0.0027"."""
    if mean is None:
        return "–"
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def differences_table(found: "Summary") -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of the differences to the baseline."""
    rivals = found.differences
    rows = [
        [f"{labeled:,}", *(difference(rival.budgets[r]) for rival in rivals.values())]
        for r, labeled in enumerate(found.labeled)
    ]
    if len(rows) > 1:
        rows.append(["area under the curve", *(difference(rival.area) for rival in rivals.values())])
    return ["labels", *rivals], rows


def difference(found: "Difference | None") -> str:
    """Return "+0.0337 [+0.0301, +0.0370]"."""
    if found is None:
        return "–"
    interval = "" if found.low is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.mean:+.4f}{interval}"


def show_verdicts(found: "Summary") -> None:
    """Print what the numbers say, in sentences."""
    from alctl.cli import screen

    if not found.differences:
        screen.say(f"nothing to compare: add --strategy {found.baseline} and another one")
    for name, rival in found.differences.items():
        screen.say(rival.verdict)
        if rival.labels:
            screen.say(f"  {labels_saved(name, found.baseline, rival.labels[-1])}")


def labels_saved(name: str, baseline: str, last: "Budget") -> str:
    """Return the sentence on how many labels a strategy needed for what the baseline reached."""
    goal = f"the mean of {baseline} at {last.labeled:,} labels, {last.value:.4f},"
    if last.needed is None or last.saved is None:
        return f"{goal} is more than {name} reached"
    most, least = ("at most ", "at least ") if last.at_most else ("", "")
    between = "" if last.low is None or last.high is None else f" (95 %: {last.low:,.0f} to {last.high:,.0f})"
    some = f"; {last.censored} of {last.trials} trials never got there: medians" if last.censored else ""
    return (
        f"{goal} took {name} {most}{last.needed:,.0f} labels, {least}{last.saved:,.0f} fewer{between}{some}"
    )
