"""The part of a report that says whether choosing pays: strategies replayed on own labels, chosen against random ones."""

from alctl.report import charts
from alctl.report.blocks import Block, Figure, List, Table, Text
from alctl.report.charts import Dot, Series
from alctl.report.contents import Facts
from alctl.report.model_contents import LabelValue
from alctl.report.numbers_as_text import count, day, points
from alctl.rounds.own_simulation import Measured, OwnSimulation, Rival

SURE = 0.05


def simulated(facts: Facts) -> list[Block]:
    """Return the curves of `simulate --mine`, each strategy against random, and what that tells."""
    found = facts.own_simulation
    if found is None:
        return []
    return [
        Text(
            f"{count(found.images)} labeled images were split {found.trials} times into a pool of {count(found.pool)}, whose labels "
            f"were hidden, and {count(found.test)} to measure on; rounds were replayed with embeddings of {found.backbone} and "
            f"the probe ({day(found.created_at)}). Random is the mean of several arms in each split."
        ),
        Figure(charts.lines(_series(found), "labeled images", "accuracy"), "Mean accuracy over the splits."),
        Table(
            [
                "strategy",
                "mean accuracy minus random, points",
                "p",
                "labels for what random reached",
                "saved",
            ],
            [_row(rival, found) for rival in found.rivals],
        ),
        List([_verdict(rival) for rival in found.rivals]),
        Text(_caution(found)),
    ]


def _series(found: OwnSimulation) -> list[Series]:
    return [
        Series(
            name,
            [
                Dot(labeled, value, tip=f"{name}: {count(labeled)} labels, {value:.4f}")
                for labeled, value in zip(found.budgets, curve, strict=True)
            ],
        )
        for name, curve in found.curves.items()
    ]


def _row(rival: Rival, found: OwnSimulation) -> list[str]:
    saved = rival.labels
    if saved is None:
        needed, spared = f"more than {count(found.budgets[-1])}", "–"
    else:
        needed = f"{'at most ' if saved.at_most else ''}{saved.needed:,.0f} instead of {count(saved.of)}"
        spared = _around(saved.saved, ",.0f")
    return [rival.strategy, _around(rival.area, "+.1f", 100), f"{rival.p:.3f}", needed, spared]


def _around(found: Measured, form: str, unit: float = 1) -> str:
    """Return a number with its interval, if it has one."""
    value, low, high = (
        None if v is None else format(unit * v, form) for v in (found.value, found.low, found.high)
    )
    return f"{value}" if low is None or high is None else f"{value} ({low} to {high})"


def _verdict(rival: Rival) -> str:
    """Return a sentence that says no more than is known."""
    smallest = f"{100 * rival.visible:.1f} points"
    if rival.p >= SURE:
        return (
            f"{rival.strategy} is not told apart from random: with so many images and splits only a true difference of about "
            f"{smallest} or more would be, four times of five."
        )
    return f"{rival.strategy} is {'above' if rival.area.value > 0 else 'below'} random on these labels."


def _caution(found: OwnSimulation) -> str:
    """Return what stands between these numbers and the pool."""
    said = (
        "Intervals and p allow for splits that share their images (Nadeau & Bengio, 2003), for all strategies being tested "
        f"together (Holm), and for {len(found.looks)} look{'s' if len(found.looks) != 1 else ''} at the numbers."
    )
    if found.chosen:
        said += (
            f" A strategy chose {count(found.chosen)} of these images, so they are no random part of the pool, and what pays "
            "among them need not pay in it."
        )
    return said


def value_words(facts: Facts) -> str:
    """Return whether chosen labels taught more than random ones, or what it takes to say so."""
    found = facts.label_value
    if found is None:
        return (
            "Whether the picks also taught more than random images would have can be asked once all labeled images have "
            "embeddings: `alctl embed`."
        )
    names = " and ".join(found.strategies)
    said = (
        f"Did the picks also teach more? Two probes learned what was labeled before, and as many picks of {names} or control "
        f"images ({count(found.labels)} of each, {len(found.rounds)} round{'s' if len(found.rounds) > 1 else ''}). On "
        f"{count(found.images)} {facts.split} images only the first was right {found.gained:.1f} times and only the second "
        f"{found.lost:.1f} times: {points(found.difference)}, McNemar p {found.p:.3f}."
    )
    return f"{said} {_value_verdict(found)}"


def _value_verdict(found: LabelValue) -> str:
    if found.p < SURE:
        return f"Picks taught {'more' if found.difference.value > 0 else 'less'} than random images."
    return (
        f"They are not told apart: a true difference of 5 points would take about {count(found.needed)} such answers and one of "
        f"2 points {count(found.needed_2)}; there are {count(found.asked)}."
    )
