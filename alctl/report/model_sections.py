"""The sections of a report that show how good the models are."""

from collections.abc import Sequence
from typing import NamedTuple

from alctl.report import charts, simulated_section
from alctl.report.blocks import Block, Figure, Gallery, Picture, Table, Text
from alctl.report.charts import Dot, Series
from alctl.report.contents import Facts
from alctl.report.measures import Estimate
from alctl.report.model_contents import JudgedImage
from alctl.report.numbers_as_text import count, day, fraction, hours, interval, points, share, spaced

CLASSES = 30
"""Classes that a table shows; the others are counted."""


def curve(facts: Facts) -> list[Block]:
    """Return the metric against labels, with the random control where there is one."""
    newest = {p.labeled: p for p in facts.curve}
    metric = spaced(facts.metric)
    dots = [
        Dot(p.labeled, p.value, p.low, p.high, f"run {p.run}: {count(p.labeled)} labels, {p.value:.4f}")
        for p in newest.values()
    ]  # fmt: skip
    series = [Series(f"{facts.split} images", dots)]
    caption = (
        f"{metric.capitalize()} of each model on the {count(facts.measured)} labeled {facts.split} images."
    )
    if any(dot.low is not None for dot in dots):
        caption += f" The {_drawn(series[0])} is chance in the choice of these images (95 %, Wilson)."
    if facts.control:
        control = [_Wrong(row.round, row.labeled, row.control, row.control_images) for row in facts.control]
        picked = [_Wrong(row.round, row.labeled, row.picked, row.picked_images) for row in facts.control]
        series += [
            Series("random control images, not learned yet", _right(control), joined=False),
            Series("picks, not learned yet", _right(picked), joined=False),
        ]
        caption += (
            " Control images are random ones of the pool, so the model that had not yet seen them should be as good "
            "on them as on test images; picks should be harder."
        )
    blocks: list[Block] = [Figure(charts.lines(series, "labeled images", metric), caption)]
    if len(newest) < len(facts.curve):
        blocks.append(Text("Of several runs with the same number of labels the newest is drawn."))
    return blocks


def _drawn(series: Series) -> str:
    """Return what a chart shows intervals as."""
    return "band" if series.banded else "bar"


class _Wrong(NamedTuple):
    """How often a round's own model was wrong on some of its images."""

    round: int
    labeled: int
    share: Estimate
    images: int


def _right(arm: Sequence[_Wrong]) -> list[Dot]:
    """Return how often each round's own model was right."""
    found = []
    for row in arm:
        tip = f"round {row.round}: {1 - row.share.value:.3f} of {row.images}"
        found.append(Dot(row.labeled, 1 - row.share.value, 1 - row.share.high, 1 - row.share.low, tip))
    return found


_METRICS = (
    "accuracy", "balanced_accuracy", "target_loss", "ranking_accuracy", "entropy_ranking_accuracy",
    "margin_ranking_accuracy", "spearman", "pearson",
)  # fmt: skip
_ORDERS = {
    "predicted losses": "ranking_accuracy",
    "entropy": "entropy_ranking_accuracy",
    "margin": "margin_ranking_accuracy",
}
"""What is compared in the order that it gives images, and the metric that says how good that is."""


def runs(facts: Facts) -> list[Block]:
    """Return one row for each training run."""
    split = facts.split or "test"
    found = [run.on(split) for run in facts.runs]
    names = [name for name in dict.fromkeys((facts.metric, *_METRICS)) if any(name in m for m in found)]
    rows = [
        [
            str(run.id), count(run.labeled), "–" if run.round is None else str(run.round),
            *(fraction(metrics.get(name)) for name in names), hours(run.seconds), run.config["model"],
            day(run.created_at),
        ]
        for run, metrics in zip(facts.runs, found, strict=True)
    ]  # fmt: skip
    titles = [spaced(name).replace(" ranking accuracy", "'s") for name in names]
    columns = ["run", "labels", "rounds up to", *titles, "training", "model", "finished"]
    said = f"Measured on the {split} images that were labeled when the run finished."
    return [
        Text(said if names else "No reserved image was labeled when these runs finished."),
        Table(columns, rows),
    ]


def ranking(facts: Facts) -> list[Block]:
    """Return how often predicted losses are in the right order, against labels, and beside them entropy and margin."""
    series = [Series(name, _dots(facts, name, metric)) for name, metric in _ORDERS.items()]
    if not series[0].dots:
        return [
            Text("No run has measured it: it takes a loss prediction module, and labeled reserved images.")
        ]
    caption = (
        "The share of pairs of images that the predicted losses put in the right order, and that entropy and margin do, "
        "which cost nothing. The dashed line is a coin: as long as the curve is near it, picks by predicted loss are "
        "random picks; below the others, it is worth less than they are."
    )
    drawn = [some for some in series if some.dots]
    if any(dot.low is not None for dot in series[0].dots):
        caption += f" The {_drawn(series[0])} is chance in the choice of the images (95 %)."
    return [Figure(charts.lines(drawn, "labeled images", "ranking accuracy", level=0.5), caption)]


def _dots(facts: Facts, name: str, metric: str) -> list[Dot]:
    """Return one kind of ranking accuracy of the runs with a loss prediction module, in the order of their labels."""
    dots = []
    for run in sorted(facts.runs, key=lambda run: (run.labeled, run.id)):
        found = run.on(facts.split)
        value = found.get(metric)
        if value is not None and found.get("ranking_accuracy") is not None:
            tip = f"run {run.id}, {name}: {count(run.labeled)} labels, {value:.4f}"
            dots.append(Dot(run.labeled, value, found.get(f"{metric}_low"), found.get(f"{metric}_high"), tip))
    return dots


def control(facts: Facts) -> list[Block]:
    """Return how often models were wrong on their picks and on random images, and which of the two taught more."""
    value = Text(simulated_section.value_words(facts))
    if not facts.control:
        return [value]
    rows = [
        [
            f"{row.round} ({row.strategy})", count(row.labeled), share(row.picked),
            count(row.picked_images), share(row.control), count(row.control_images), points(row.excess),
        ]
        for row in facts.control
    ]  # fmt: skip
    together = facts.control_all
    columns = ["round", "labels before", "picks wrong", "picks", "control wrong", "control", "difference"]
    return [
        Text(
            "Some images of these rounds were random. The model that chose the round had learned from none of its "
            "images: how often was it wrong on its picks, and how often on random ones?"
        ),
        Table(columns, rows),
        *([Text(f"All rounds together: {points(together.excess)}.")] if together else []),
        value,
    ]


def losses(facts: Facts) -> list[Block]:
    """Return predicted against true losses of the last model."""
    found = facts.losses
    if found is None:
        return []
    around = found.spearman_interval
    said = [
        f"Pearson {fraction(found.pearson)}",
        f"Spearman {interval(around) if around else fraction(found.spearman)} (1: the same order, 0: none)",
        f"ranking accuracy {fraction(found.ranking_accuracy)}",
    ]
    shown = len(found.true)
    part = "" if shown == found.images else f" {count(shown)} of them are drawn."
    caption = (
        f"{'; '.join(said)}, on {count(found.images)} {facts.split} images.{part} "
        "Only the order of predicted losses means anything."
    )
    return [Figure(charts.scatter(found.predicted, found.true, "predicted loss", "true loss"), caption)]


def calibration(facts: Facts) -> list[Block]:
    """Return the reliability diagram of the last model."""
    found = facts.calibration
    if found is None:
        return []
    bars = [(b.from_, b.to, b.accuracy, b.images) for b in found.bins]
    caption = (
        f"When the model gives its answer a probability, how often is it right? On the dashed line it is honest, below "
        f"it too sure; a bar's number is how many images it stands for. Expected calibration error {found.ece:.3f} (10 bins)."
    )
    return [Figure(charts.shares(bars, "probability it gives its answer", "share that is right"), caption)]


def per_class(facts: Facts) -> list[Block]:
    """Return how good the last model is at each class, the worst first."""
    known = sorted(
        (found for found in facts.class_accuracy if found.recall),
        key=lambda found: found.right / found.images,
    )
    rows = [
        [
            found.name, count(found.images), count(found.right), share(found.recall) if found.recall else "–",
            share(found.precision) if found.precision else "–", found.taken_for or "–",
        ]
        for found in known[:CLASSES]
    ]  # fmt: skip
    columns = [
        "class",
        "images",
        "right",
        "right of its images",
        "right of what is called so",
        "most often taken for",
    ]
    said = f"Of the labeled {facts.split} images, by the last model, the worst class first; in brackets 95 % intervals (Wilson)."
    blocks: list[Block] = [Text(said), Table(columns, rows)]
    if len(known) > CLASSES:
        blocks.append(Text(f"The {CLASSES} worst of {count(len(known))} classes are shown."))
    if lacking := [found.name for found in facts.class_accuracy if not found.recall]:
        names = ", ".join(lacking[:CLASSES]) + (" …" if len(lacking) > CLASSES else "")
        blocks.append(Text(f"Without a {facts.split} image nothing can be said of: {names}."))
    return blocks


def confusion(facts: Facts) -> list[Block]:
    """Return what the last model takes for what."""
    found, names = facts.confusion, facts.classes
    if found is None:
        return []
    blocks: list[Block] = []
    if len(names) <= CLASSES:
        most = [max(1, sum(row)) for row in found.table]
        rows = [[n, *(count(c) if c else "" for c in row)] for n, row in zip(names, found.table, strict=True)]
        shades = [[0.0, *(c / m for c in row)] for m, row in zip(most, found.table, strict=True)]
        blocks += [
            Text(f"Rows are the true class, columns what the last model says, on {facts.split} images."),
            Table(["", *names], rows, shades),
        ]
    if found.worst:
        rows = [[f"{w.true} → {w.said}", count(w.images)] for w in found.worst]
        blocks.append(Table(["most frequent mistakes: true → said", "images"], rows))
    else:
        blocks.append(Text("The last model makes no mistake."))
    return blocks


def certain(facts: Facts) -> list[Block]:
    """Return the images that the last model is most and least certain of."""
    found = facts.certain
    if found is None:
        return []
    galleries = [
        (
            "Surest mistakes",
            found.mistakes,
            "Wrong, and sure of it: often a label that deserves a second look.",
        ),
        ("Least certain", found.least, ""),
        ("Most certain", found.most, ""),
    ]
    blocks: list[Block] = [
        Text(f"Of the labeled {facts.split} images, by the last model's probability for its answer.")
    ]
    for title, images, note in galleries:
        pictures = [_certain_picture(image) for image in images]
        blocks.append(Gallery(title, pictures, note if pictures else "None."))
    return blocks


def _certain_picture(entry: JudgedImage) -> Picture:
    wrong = entry.said != entry.true
    lines = [f"{entry.said} {entry.probability:.0%}"]
    if wrong:
        lines.append(f"is: {entry.true}")
    if entry.predicted_loss is not None:
        lines.append(f"predicted loss {entry.predicted_loss:.3g}")
    return Picture(entry.item, entry.path, lines, wrong)
