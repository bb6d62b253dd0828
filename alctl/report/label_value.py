"""Did the chosen images teach more than random ones would have? Two probes tell, on the same held-out images.

What is compared is labels alone: one probe learns what was labeled before a round and the images that its strategy chose,
the other the same and the round's random control images, as many of both (SELECTION.md §4.5).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from alctl.chance import stream
from alctl.model import probe as probes
from alctl.model.distances import unit
from alctl.progress import Progress
from alctl.project import Project
from alctl.report import measures
from alctl.report.ask_models import Truth, truth_of
from alctl.report.contents import RoundFacts
from alctl.report.evaluation import RoundItems
from alctl.report.measures import Bools
from alctl.report.model_contents import LabelValue
from alctl.rounds import frozen

DRAWS = 20
"""Random parts of the chosen images, as large as the control, whose results are averaged."""
ROUNDS = 5
"""Newest rounds that are compared: each takes some twenty probes."""
LEARNED = 2_000
"""Labels that a probe learns at most; of more before a round a random part."""


_Arms = tuple[list[int], list[int]]
"""Labeled items of a round: those that its strategy chose, and random ones."""


def value_of_labels(
    project: Project,
    root: str,
    rounds: Sequence[tuple[RoundFacts, RoundItems]],
    labeled: Mapping[int, int],
    held_out: Mapping[int, int],
    progress: Progress,
) -> LabelValue | None:
    """Compare chosen with random labels by McNemar's test; None without answered control images or embeddings.

    ``labeled`` are the classes of the labeled items of the pool, ``held_out`` those of the images that are measured on.
    """
    arms = [_arms(row, sent, labeled) for row, sent in rounds]
    compared = [i for i, (picked, control) in enumerate(arms) if picked and control][-ROUNDS:]
    if not compared or not held_out:
        return None
    learned, test = truth_of(project, root, labeled), truth_of(project, root, held_out)
    vectors = frozen.stored(project, [learned.sources, test.sources])
    if vectors is None:
        return None
    probe = _Probes(learned, vectors[0], test, vectors[1])
    gained = lost = 0.0
    for done, i in enumerate(compared):
        progress("comparing labels", done, len(compared))
        row = rounds[i][0]
        later = {item for _, sent in rounds[i:] for item in (*sent.picked, *sent.control)}
        before = [item for item in labeled if item not in later]
        b, c = _of_round(probe, before, *arms[i], row)
        gained, lost = gained + b, lost + c
    return _tested([rounds[i][0] for i in compared], [arms[i] for i in compared], len(held_out), gained, lost)


def _tested(
    rounds: Sequence[RoundFacts], arms: Sequence[_Arms], images: int, gained: float, lost: float
) -> LabelValue:
    """Return what the counts of these rounds say together."""
    asked = images * len(rounds)
    difference, p = measures.mcnemar(gained, lost, asked)
    return LabelValue(
        rounds=[row.id for row in rounds],
        strategies=sorted({row.strategy for row in rounds}),
        labels=sum(min(len(picked), len(control)) for picked, control in arms),
        images=images,
        gained=gained,
        lost=lost,
        difference=difference,
        p=p,
        needed=measures.images_needed((gained + lost) / asked, 0.05),
        needed_2=measures.images_needed((gained + lost) / asked, 0.02),
    )


def _arms(row: RoundFacts, sent: RoundItems, labeled: Mapping[int, int]) -> _Arms:
    """Return the labeled items of both arms of a round; none of one without random images or without a strategy."""
    picked, control = ([item for item in arm if item in labeled] for arm in (sent.picked, sent.control))
    return (picked, control) if row.strategy != "random" else ([], [])


def _of_round(
    probe: "_Probes", before: list[int], picked: list[int], control: list[int], row: RoundFacts
) -> tuple[float, float]:
    """Return how many held-out images only the chosen labels get right, and only the random ones: means of draws."""
    rng = np.random.default_rng(stream(row.seed, "label value", row.id))
    size = min(len(picked), len(control))
    if len(before) > LEARNED:
        before = rng.choice(before, LEARNED, replace=False).tolist()
    draws = DRAWS if len(picked) > size or len(control) > size else 1
    counts = np.zeros((draws, 2))
    for draw in range(draws):
        ours, theirs = (
            probe.right([*before, *rng.choice(arm, size, replace=False).tolist()])
            for arm in (picked, control)
        )
        counts[draw] = (ours & ~theirs).sum(), (theirs & ~ours).sum()
    gained, lost = counts.mean(axis=0)
    return float(gained), float(lost)


class _Probes:
    """Probes on some of the labeled images, measured on the same held-out ones."""

    def __init__(self, learned: Truth, vectors: Tensor, test: Truth, test_vectors: Tensor) -> None:
        self.place = {source.id: i for i, source in enumerate(learned.sources)}
        self.vectors, self.test_vectors = vectors, test_vectors
        self.classes, self.truth = learned.classes, test.classes
        self.mean = unit(vectors).mean(dim=0)
        self.names = [str(c) for c in range(int(max(learned.classes.max(), test.classes.max())) + 1)]
        self.known: dict[tuple[int, ...], Bools] = {}

    def right(self, items: Sequence[int]) -> Bools:
        """Return whether the probe that learned these items is right on each held-out image."""
        key = tuple(sorted(items))
        if key not in self.known:
            rows = [self.place[item] for item in key]
            probe = probes.fit(
                self.vectors[torch.tensor(rows)], self.classes[rows], self.names,
                pool_mean=self.mean, embedding="", calibrate=False,
            )  # fmt: skip
            self.known[key] = probes.predict(probe, self.test_vectors).argmax(1).numpy() == self.truth
        return self.known[key]
