"""The jointly trained network of a training run: it predicts classes, and its module predicts its own losses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from alctl.database import categories
from alctl.database.training_runs import TrainingRun
from alctl.images.decode import Source
from alctl.model import checkpoint, score
from alctl.model.device import check_device, resolve
from alctl.model.loss_prediction import Trained
from alctl.model.score import Scorer
from alctl.model.tensors import Targets
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds.model import Answers, Model, weights_of
from alctl.rounds.training_set import Labeled, cache_of, classes_named, task_of


@dataclass(frozen=True)
class NetworkModel(Model):
    """A network and its loss prediction module, if it has one."""

    trained: Trained

    @property
    def predicts_losses(self) -> bool:
        """Tell whether it has a loss prediction module."""
        return self.trained.module is not None

    def candidates(
        self,
        project: Project,
        sources: Sequence[Source],
        progress: Progress,
        targets: Targets | None = None,
    ) -> Scorer:
        """Return images as a strategy sees them; their pixels come through the project's cache."""
        cache = cache_of(project, self.task)
        batches = partial(cache.batches, sources, progress)
        return Scorer(self.trained, self.task, batches, len(sources), targets=targets)

    def answers(self, project: Project, some: Labeled, progress: Progress) -> Answers:
        """Return what it says of labeled images; BrokenImages where one cannot be decoded."""
        cache = cache_of(project, self.task)
        pixels = cache.load(some.sources, progress)
        return Answers(some, score.predict(self.trained, self.task, pixels, some.targets))

    def check_finite(self, values: Tensor, what: str) -> None:
        """Refuse what it says of N images if any of it is no finite number: its training diverged."""
        score.check_finite(values, what, self.trained)

    @property
    def remedy(self) -> str:
        """What to do about an answer that is no finite number."""
        lr = self.trained.config.lr
        return f"its training diverged: train with a lower learning rate than --lr {lr:g}, or use --strategy random"


def network_of(project: Project, run: TrainingRun, device: str = "auto") -> NetworkModel:
    """Load the network of a recorded training run; AlctlError if its weights are gone or not its own."""
    trained, info = checkpoint.load_model(weights_of(project, run), task_of)
    config = resolve(replace(trained.config, device=device, precision="auto"))
    check_device(config.device)
    trained.config = replace(trained.config, device=config.device, precision=config.precision)
    trained.to(config.device)
    with project.reading() as connection:
        known = categories.class_list(connection)
    names, ids, merged = categories.outputs(known, len(info["categories"]))
    task = task_of(info["task"], classes_named(known, names), config.frame, merged)
    return NetworkModel(run, task, ids, trained)
