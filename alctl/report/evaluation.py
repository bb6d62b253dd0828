"""How good the last model is on reserved images, and how good the model of each round was on the round's images."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alctl.chance import stream
from alctl.database import items
from alctl.model.ranking import loss_ranking
from alctl.project import Project
from alctl.report import measures
from alctl.report.ask_models import Judged, Judges, truth_of
from alctl.report.contents import RoundFacts, Run
from alctl.report.measures import Bools, Reliability
from alctl.report.model_contents import (
    Certain,
    ClassAccuracy,
    Confusion,
    Control,
    ControlTogether,
    JudgedImage,
    Losses,
    Mistake,
)

CERTAIN = 12
"""Images that are shown of the most certain, the least certain and the surest mistakes."""
DOTS = 1_500
"""Images that are drawn in the scatter plot."""
ARM = 500
"""Picks of a round that are compared with its control images: more would not narrow the interval much."""
WORST = 15
"""Confusions that are listed one by one."""


def as_ids(values: Iterable[int]) -> NDArray[np.int64]:
    """Return distinct ids, ascending."""
    return np.array(sorted(set(values)), dtype=np.int64)


class Evaluation(NamedTuple):
    """What the last model says of reserved images; None where it could not be asked."""

    losses: Losses | None = None
    calibration: Reliability | None = None
    confusion: Confusion | None = None
    class_accuracy: Sequence[ClassAccuracy] = ()
    certain: Certain | None = None


class RoundItems(NamedTuple):
    """The items of a round, and their classes."""

    picked: Sequence[int]
    """Those that the strategy chose."""
    control: Sequence[int]
    """Those that are random, to compare with."""
    answers: Mapping[int, int]
    """The class id of each item that has one by now."""


class Wrong(NamedTuple):
    """Whether a round's own model was wrong on each image."""

    picked: Bools
    control: Bools


def of_model(
    project: Project, judged: Judged | None, classes: Sequence[str], merged: Collection[int]
) -> Evaluation:
    """Return what the last model says, in the words of ``classes``, merged ones included."""
    if judged is None:
        return Evaluation()
    said = [int(c) for c in judged.said]
    table = measures.confusion([int(c) for c in judged.truth], said, len(classes))
    found = _confusion(table, classes, merged)
    return Evaluation(
        _losses(judged),
        measures.reliability(judged.confidence, judged.right),
        found,
        class_accuracy(found.table, [classes[place] for place in living(len(classes), merged)]),
        _certain(project, judged, classes),
    )


def _confusion(table: Sequence[Sequence[int]], classes: Sequence[str], merged: Collection[int]) -> Confusion:
    """Return the table without merged classes, which nothing is called any more, and its largest mistakes."""
    worst = sorted(
        ((table[t][s], t, s) for t in range(len(table)) for s in range(len(table)) if t != s and table[t][s]),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    keep = living(len(classes), merged)
    return Confusion(
        [[table[true][said] for said in keep] for true in keep],
        [Mistake(classes[t], classes[s], n) for n, t, s in worst[:WORST]],
    )


def class_accuracy(table: Sequence[Sequence[int]], names: Sequence[str]) -> list[ClassAccuracy]:
    """Return how good a model is at each class, from the images by true class (rows) and by what it says (columns)."""
    found = []
    for place, (name, row) in enumerate(zip(names, table, strict=True)):
        right = row[place]
        wrong = [0 if said == place else images for said, images in enumerate(row)]
        found.append(
            ClassAccuracy(
                name=name,
                images=sum(row),
                right=right,
                recall=measures.share(right, sum(row)),
                precision=measures.share(right, sum(column[place] for column in table)),
                taken_for=names[wrong.index(max(wrong))] if any(wrong) else None,
            )
        )
    return found


def living(classes: int, merged: Collection[int]) -> list[int]:
    """Return the places, from 0, of the classes that were not merged into others."""
    return [place for place in range(classes) if place + 1 not in merged]


def _losses(judged: Judged) -> Losses | None:
    """Return predicted and true losses with their correlations; None without a loss prediction module."""
    known = np.isfinite(judged.true)
    if judged.predicted is None or not known.any():
        return None
    predicted, true = judged.predicted[known], judged.true[known]
    ranking = loss_ranking(predicted, true)
    spearman = ranking.spearman
    shown = np.linspace(0, len(true) - 1, min(DOTS, len(true))).astype(np.int64)
    return Losses(
        **vars(ranking),
        images=len(true),
        spearman_interval=None if spearman is None else measures.spearman_interval(spearman, len(true)),
        predicted=[round(float(value), 5) for value in predicted[shown]],
        true=[round(float(value), 5) for value in true[shown]],
    )


def _certain(project: Project, judged: Judged, classes: Sequence[str]) -> Certain:
    """Return the images that the model is most and least certain of, and its surest mistakes."""
    order = np.lexsort((judged.ids, judged.confidence)).tolist()
    wrong = [i for i in order[::-1] if not judged.right[i]]
    least, most, mistakes = order[:CERTAIN], order[::-1][:CERTAIN], wrong[:CERTAIN]
    with project.reading() as connection:
        ids = as_ids(int(judged.ids[i]) for i in [*least, *most, *mistakes])
        paths = {item.id: item.path for item in items.fetch(connection, ids)}

    def image(i: int) -> JudgedImage:
        return JudgedImage(
            item=int(judged.ids[i]),
            true=classes[judged.truth[i]],
            said=classes[judged.said[i]],
            probability=round(float(judged.confidence[i]), 6),
            predicted_loss=None if judged.predicted is None else round(float(judged.predicted[i]), 5),
            path=paths[int(judged.ids[i])],
        )

    return Certain([*map(image, least)], [*map(image, most)], [*map(image, mistakes)])


def against_random(
    project: Project,
    root: str,
    runs: Iterable[Run],
    rounds: Iterable[tuple[RoundFacts, RoundItems]],
    judges: Judges,
) -> list[tuple[Control, Wrong]]:
    """Return for each round with control images how often its own model was wrong on them, and on its picks.

    The model that chose the round had learned from neither, so both are honest; of many picks a random part is asked.
    """
    by_number = {run.id: run for run in runs}
    found = []
    for row, sent in rounds:
        run = by_number.get(row.run_id or 0)
        wrong = None if run is None else _wrong(project, root, run, row, sent, judges)
        if run is None or wrong is None:
            continue
        picked, control = (measures.share(int(arm.sum()), len(arm)) for arm in wrong)
        excess = measures.excess([wrong])
        if picked and control and excess:
            control_ = Control(
                round=row.id,
                strategy=row.strategy,
                run=run.id,
                labeled=run.labeled,
                picked=picked,
                picked_images=len(wrong.picked),
                control=control,
                control_images=len(wrong.control),
                excess=excess,
            )
            found.append((control_, wrong))
    return found


def _wrong(
    project: Project, root: str, run: Run, row: RoundFacts, sent: RoundItems, judges: Judges
) -> Wrong | None:
    """Return where the round's own model is wrong; None where one arm has no answer, or the model cannot be asked."""
    arms = [[item for item in arm if item in sent.answers] for arm in (sent.picked, sent.control)]
    if not all(arms):
        return None
    arms = [_some(arm, ARM, stream(row.seed, "report", row.id)) for arm in arms]
    judged = judges.judge(run, truth_of(project, root, {i: sent.answers[i] for arm in arms for i in arm}))
    if judged is None:
        return None
    wrong = dict(zip(judged.ids.tolist(), (~judged.right).tolist(), strict=True))
    return Wrong(*(np.array([wrong[i] for i in arm if i in wrong], dtype=bool) for arm in arms))


def together(arms: Sequence[tuple[Control, Wrong]]) -> ControlTogether | None:
    """Return what all rounds with control images say together."""
    excess = measures.excess([wrong for _, wrong in arms])
    if excess is None:
        return None
    return ControlTogether(
        strategies=sorted({found.strategy for found, _ in arms}),
        excess=excess,
        picked_images=sum(found.picked_images for found, _ in arms),
        control_images=sum(found.control_images for found, _ in arms),
    )


def _some(ids: list[int], n: int, seed: int) -> list[int]:
    """Return up to ``n`` random ones."""
    if len(ids) <= n:
        return ids
    return sorted(np.random.default_rng(seed).choice(ids, n, replace=False).tolist())
