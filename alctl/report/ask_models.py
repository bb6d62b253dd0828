"""Asking recorded models about labeled images: the part of a report that takes a network."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from alctl.database import items
from alctl.errors import AlctlError
from alctl.images.decode import BrokenImages, MissingImages, Source, allow_missing
from alctl.progress import Progress
from alctl.project import Project
from alctl.report.contents import Run
from alctl.report.measures import Bools, Floats
from alctl.rounds import pool, trained_model
from alctl.rounds.model import Answers, Model
from alctl.rounds.training_set import Labeled


@dataclass(frozen=True)
class Truth:
    """Labeled images and their classes."""

    sources: list[Source]
    classes: NDArray[np.int64]
    """(N,) places in the class list, from 0."""

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.sources)


@dataclass(frozen=True)
class Judged:
    """What a model says of N labeled images. It knows the classes that there were when it was trained."""

    ids: NDArray[np.int64]
    truth: NDArray[np.int64]
    said: NDArray[np.int64]
    confidence: Floats
    """(N,) the probability of the class that it says."""
    predicted: Floats | None
    """(N,) predicted losses; None without a loss prediction module."""
    true: Floats
    """(N,) cross entropies; NaN for an image of a class that the model does not know."""

    @property
    def right(self) -> Bools:
        """Return (N,) whether the model says the true class."""
        right: Bools = self.truth == self.said
        return right


def truth_of(project: Project, root: str, answers: Mapping[int, int]) -> Truth:
    """Return the images of these items with their class ids, by item."""
    ids = np.array(sorted(answers), dtype=np.int64)
    with project.reading() as connection:
        found = items.fetch(connection, ids)
    classes = np.array([answers[int(i)] - 1 for i in ids], dtype=np.int64)
    return Truth([pool.source_of(root, item) for item in found], classes)


class Judges:
    """The recorded models of a project, asked about labeled images; what is in the way is noted, not raised."""

    def __init__(self, project: Project, device: str, progress: Progress) -> None:
        self.project = project
        self.device = device
        self.progress = progress
        self.problems: list[str] = []
        """Why some models, or some images, could not be asked."""

    def judge(self, run: Run, truth: Truth) -> Judged | None:
        """Return what the run's model says; None, and a problem, where its weights or the images are gone."""
        if not len(truth):
            return None
        try:
            model = trained_model.model_number(self.project, run.id, self.device)
            return _judge(self.project, model, truth, self.progress)
        except AlctlError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None


def _judge(project: Project, model: Model, truth: Truth, progress: Progress) -> Judged | None:
    place_of = {id_ - 1: output for output, id_ in enumerate(model.ids) if id_}
    targets = np.array([place_of.get(int(c), -1) for c in truth.classes], dtype=np.int64)
    known = np.where(targets >= 0, targets, 0)  # an older model has never seen the classes that came after it
    some = Labeled(truth.sources, {"class": torch.from_numpy(known)}, known.tolist())
    answers = _asked_without_the_broken(project, model, some, progress)
    if answers is None:
        return None
    sources, said = answers.labeled.sources, answers.said
    place = {source.id: i for i, source in enumerate(truth.sources)}
    kept = [place[source.id] for source in sources]
    classes = truth.classes[kept]
    loss, predicted = said.target_loss, said.predicted_loss
    return Judged(
        np.array([source.id for source in sources], dtype=np.int64),
        classes,
        np.array(model.ids, dtype=np.int64)[said.likeliest.numpy()] - 1,
        said.confidence.double().numpy(),
        None if predicted is None else predicted.double().numpy(),
        np.where(targets[kept] >= 0, np.nan if loss is None else loss.double().numpy(), np.nan),
    )


def _asked_without_the_broken(
    project: Project, model: Model, some: Labeled, progress: Progress
) -> Answers | None:
    """Return the answers about the images that can be decoded; a report leaves the others where they are.

    MissingImages where more than a tenth are not there.
    """
    every = len(some.sources)
    while some.sources:
        try:
            return model.answers(project, some, progress)
        except BrokenImages as broken:
            some = some.without(broken.reasons)
        except MissingImages as gone:
            allow_missing(gone.reasons, every)
            some = some.without(gone.reasons)
    return None
