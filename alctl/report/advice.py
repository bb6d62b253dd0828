"""Is another round worth it? Sentences for people, from the facts, and "equal to nothing" where that is the truth."""

from collections.abc import Sequence

import numpy as np

from alctl.labels.annotation import one_class_each
from alctl.report import measures
from alctl.report.ask_models import Judged
from alctl.report.contents import Advice, Facts, Gain, Run
from alctl.report.numbers_as_text import hours, interval, points
from alctl.rounds.own_simulation import FEWEST
from alctl.status import ROUND, NextStep

_HOW = frozenset({"device", "precision", "checkpoint_every"})
"""Settings that do not change what is learned."""


def earlier(runs: Sequence[Run]) -> Run | None:
    """Return the newest run before the last one that had fewer labels."""
    return next((run for run in runs[-2::-1] if run.labeled < runs[-1].labeled), None)


def gain(
    facts: Facts, before: Run | None, after: Run | None, was: Judged | None, is_: Judged | None
) -> Gain | None:
    """Return by how much the metric rose from one run to the other; None where there are no two to compare.

    Asked on the same images now, if both models can be; else from what was recorded when they were trained.
    """
    if before is None or after is None or not facts.split:
        return None
    if was is not None and is_ is not None:
        same = np.intersect1d(was.ids, is_.ids)
        n = len(same)
        rise = measures.paired_gain(was.right[np.isin(was.ids, same)], is_.right[np.isin(is_.ids, same)])
    else:
        first, last = before.on(facts.split), after.on(facts.split)
        old, new = first.get(facts.metric), last.get(facts.metric)
        if old is None or new is None:
            return None
        n = int(min(metrics.get("images", facts.measured) for metrics in (first, last)))
        rise = measures.unpaired_gain(old, new, n)
    settings = sorted({*before.config, *after.config} - _HOW)
    return Gain(
        from_run=before.id,
        to_run=after.id,
        from_labeled=before.labeled,
        to_labeled=after.labeled,
        images=n,
        how="paired" if was is not None and is_ is not None else "unpaired",
        gain=rise,
        per_100=rise.times(100 / (after.labeled - before.labeled)),
        changed=[name for name in settings if before.config.get(name) != after.config.get(name)],
    )


def advise(facts: Facts, next_: NextStep | None = None) -> Advice:
    """Return a verdict in one sentence, the reasons for it, what comes next, and what can be done instead."""
    reasons = [*_of_gain(facts), *_of_cost(facts), *_of_control(facts), *_of_ranking(facts)]
    others = [step for step in _others(facts) if next_ is None or _verb(step) != _verb(next_)]
    return Advice(_verdict(facts), reasons, next_, others)


def _verb(step: NextStep) -> tuple[str, bool]:
    """Return what a step does, without its numbers."""
    return step.command.split()[1], "--relabel" in step.command


def _others(facts: Facts) -> list[NextStep]:
    """Return what a project can do at any time, as far as it can now."""
    labeled, free = (facts.states["pool"][state] for state in ("labeled", "unlabeled"))
    found = []
    if free:
        n = min(ROUND, free)
        found.append(NextStep(f"alctl select --k {n}", f"another round: have {n:,} more images labeled"))
    if labeled and facts.runs and one_class_each(facts.task):
        n = min(ROUND // 2, labeled)
        why = f"a second look at the {n:,} labels that are most likely wrong, instead of new ones"
        found.append(NextStep(f"alctl select --relabel --k {n}", why))
    if labeled >= FEWEST and facts.own_simulation is None and one_class_each(facts.task):
        why = "whether choosing images beats drawing them at random here, from the labels that there are"
        found.append(NextStep("alctl simulate --mine", why))
    if labeled:
        found.append(
            NextStep("alctl export-labels labels.json --format coco", "stop here, and take the labels along")
        )
    return found


def _verdict(facts: Facts) -> str:
    """Return what to do, in one sentence."""
    found = facts.gain
    if found is None:
        return _too_early(facts)
    rise = found.gain
    if rise.low > 0:
        free = facts.states["pool"]["unlabeled"]
        return (
            f"Another round is worth it: the last labels helped, and {free:,} images are unlabeled."
            if free
            else "The last labels helped, but no unlabeled image is left."
        )
    if rise.high < 0:
        return (
            "The last labels made the model worse: look at them, and at the settings, before you label more."
        )
    return "The last labels are equal to nothing so far: what they brought cannot be told from chance."


def _too_early(facts: Facts) -> str:
    """Return what is missing before anything can be judged."""
    labeled = facts.states["pool"]["labeled"]
    if not labeled:
        return "Nothing is labeled yet: there is nothing to judge."
    if not facts.runs:
        return f"{labeled:,} images are labeled, and nothing is trained yet: train before you label more."
    if not facts.split:
        return "No reserved image is labeled, so nobody can tell what labels bring: label those first."
    return "One point is no curve: after another round this page says whether labels still help."


def _of_gain(facts: Facts) -> list[str]:
    found = facts.gain
    if found is None:
        return []
    rise, per_100 = found.gain, found.per_100
    metric = facts.metric.replace("_", " ")
    on = f"{found.images:,} {facts.split} images"
    sentences = [
        f"From {found.from_labeled:,} to {found.to_labeled:,} labels {metric} changed by {points(rise)}, that "
        f"is {points(per_100)} per 100 labels"
        + (f", compared image by image on the same {on}." if found.how == "paired" else f", on {on}.")
    ]
    if found.how == "unpaired":
        sentences.append(
            "One of the two models could not be asked again, so the interval is wider than it need be: it takes the "
            "images for different ones."
        )
    if rise.low <= 0 <= rise.high:
        width = 100 * (rise.high - rise.low) / 2
        sentences.append(f"With {on} a change of less than about {width:.1f} points cannot be seen at all.")
    if found.changed:
        names = ", ".join(found.changed)
        sentences.append(
            f"The two models also differ in their settings ({names}), so the labels alone did not do it."
        )
    sentences.append(
        "The interval is that of the images only: training again with another seed moves it too."
    )
    return sentences


def _of_cost(facts: Facts) -> list[str]:
    """Return what the next round would take, and bring at the last pace."""
    time, found = facts.time, facts.gain
    count = facts.rounds[-1].images if facts.rounds else 0
    if not count:
        return []
    said = []
    if time is not None:
        said.append(f"takes about {hours(count * time.mean_seconds)}")
        if time.cost_per_label is not None:
            said.append(f"costs about {count * time.cost_per_label:,.2f}")
    if found is not None and found.gain.low > 0:
        said.append(f"brings, at the last pace, at most {points(found.per_100.times(count / 100))}")
    if not said:
        return []
    shown = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    because = ", because curves flatten" if found is not None and found.gain.low > 0 else ""
    return [f"Another round of {count:,} labels {shown}{because}."]


def _of_control(facts: Facts) -> list[str]:
    found = facts.control_all
    if found is None:
        return []
    names, more = " and ".join(found.strategies), found.excess
    of = (
        f"{points(more)} more often wrong on {found.picked_images:,} picks than on "
        f"{found.control_images:,} random control images of the same rounds"
    )
    if more.low <= 0 <= more.high:
        return [
            f"Picks of {names} are not told apart from random so far: the model that chose them was {of}."
        ]
    if more.high < 0:
        return [f"Picks of {names} are easier than random ones: the model that chose them was {of}."]
    return [
        f"Picks of {names} are harder than random ones: the model that chose them was {of}. That they also teach more "
        "is not shown by this; `alctl simulate --mine` may."
    ]


def _of_ranking(facts: Facts) -> list[str]:
    losses = facts.losses
    around = losses and losses.spearman_interval
    if not around:
        return []
    if around.low <= 0:
        return [
            f"Predicted losses do not follow the true ones (Spearman {interval(around)}; 1 would be the same "
            "order, 0 is none): picks by predicted loss are no better than random ones now. Choose another strategy for the "
            "next round."
        ]
    return [
        f"Predicted losses still follow the true ones: Spearman {interval(around)}, where 1 would be the same order and 0 none."
    ]
