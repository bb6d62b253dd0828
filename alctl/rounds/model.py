"""What every trained model can do for a round, be it a network or a probe: choose, and say what it thinks of labels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.images.decode import BrokenImages, Source
from alctl.model.score import Predictions
from alctl.model.strategy import Scored
from alctl.model.task import Task
from alctl.model.tensors import Targets
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.pool import quarantine
from alctl.rounds.training_set import Labeled


class Answers(NamedTuple):
    """What a model says of labeled images: those of them that it can be asked about."""

    labeled: Labeled
    said: Predictions


@dataclass(frozen=True)
class Model(ABC):
    """A finished training run, ready to score."""

    run: TrainingRun
    task: Task
    """With the class list as it is now, as far as the model knows it."""
    ids: Sequence[int]
    """The class that each output stands for; 0 where it only adds to another one, since a merge."""

    @property
    @abstractmethod
    def predicts_losses(self) -> bool:
        """Tell whether it has a loss prediction module."""

    @abstractmethod
    def candidates(
        self,
        project: Project,
        sources: Sequence[Source],
        progress: Progress,
        targets: Targets | None = None,
    ) -> Scored:
        """Return images as a strategy sees them, with their ``targets`` if they are labeled."""

    @abstractmethod
    def answers(self, project: Project, some: Labeled, progress: Progress) -> Answers:
        """Return what it says of labeled images, all of them; BrokenImages where one cannot be decoded."""

    def held_out_answers(self, project: Project, some: Labeled, progress: Progress) -> Answers:
        """Return what it says of the images that it learned from; a model that knows them by heart leaves each out."""
        return self.answers(project, some, progress)

    @abstractmethod
    def check_finite(self, values: Tensor, what: str) -> None:
        """Refuse what it says of N images, (N, …), if any of it is no finite number; ``what`` is its name with "are"."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What to do about an answer that is no finite number."""


def asked(project: Project, some: Labeled, ask: Callable[[Labeled], Answers]) -> Answers | None:
    """Return the answers about the images that can be decoded; quarantine the others. None where no image is left."""
    while some.sources:
        try:
            return ask(some)
        except BrokenImages as broken:
            quarantine(project, broken)
            some = some.without(broken.reasons)
    return None


def has_weights(project: Project, run: TrainingRun) -> bool:
    """Tell whether the weights of a training run are still there, and its own."""
    try:
        weights_of(project, run)
    except AlctlError:
        return False
    return True


def weights_of(project: Project, run: TrainingRun) -> Path:
    """Return the file of weights of a training run; AlctlError if it is gone or another."""
    file: Path = project.folder / run.file
    if not file.is_file():
        raise AlctlError(f"the weights of training run {run.id} are gone: {file}; run `alctl train` again")
    if file_digest(file) != run.digest:
        raise AlctlError(f"{file} is not the file that training run {run.id} wrote; run `alctl train` again")
    return file
