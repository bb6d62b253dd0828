"""The probe of a training run: a classifier on frozen embeddings, which are computed where an image lacks one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alctl.database import categories
from alctl.database.training_runs import TrainingRun
from alctl.errors import AlctlError
from alctl.images.decode import Source
from alctl.model import probe as probes
from alctl.model.probe import Probe
from alctl.model.probe_candidates import ProbeCandidates
from alctl.model.score import Collector, Predictions, not_finite
from alctl.model.task import Task
from alctl.model.tensors import Targets
from alctl.progress import Progress
from alctl.project import Project
from alctl.rounds import frozen as embeddings
from alctl.rounds.backbones import Used
from alctl.rounds.model import Answers, Model, weights_of
from alctl.rounds.training_set import Labeled, classes_named, task_of

FLOOR = 1e-7
"""The least probability that a loss is computed from, so that a class without labels gives a large one, not infinity."""


@dataclass(frozen=True)
class ProbeModel(Model):
    """A probe, and the embeddings that it reads."""

    probe: Probe
    used: Used
    device: str
    """Where images that lack an embedding get one."""

    @property
    def predicts_losses(self) -> bool:
        """Tell whether it has a loss prediction module: never."""
        return False

    def candidates(
        self,
        project: Project,
        sources: Sequence[Source],
        progress: Progress,
        targets: Targets | None = None,
    ) -> ProbeCandidates:
        """Return images as a strategy sees them; distances are between the embeddings that the probe reads."""
        vectors = embeddings.vectors(project, self.used, sources, progress, self.device)
        return ProbeCandidates(self.probe, vectors, task=self.task, targets=targets)

    def answers(self, project: Project, some: Labeled, progress: Progress) -> Answers:
        """Return what it says of labeled images; BrokenImages where one cannot be decoded."""
        vectors = embeddings.vectors(project, self.used, some.sources, progress, self.device)
        return Answers(some, said_of(self.task, probes.predict(self.probe, vectors), some.targets))

    def held_out_answers(self, project: Project, some: Labeled, progress: Progress) -> Answers:
        """Return what probes that have not seen an image say of it; without images whose class is then unknown."""
        vectors = embeddings.vectors(project, self.used, some.sources, progress, self.device)
        true = some.targets["class"]
        said = torch.from_numpy(probes.held_out(self.probe, vectors, true)).float()
        known = np.flatnonzero((said[range(len(said)), true] > 0).numpy())
        kept = some.at(known.tolist())
        return Answers(kept, said_of(self.task, said[known], kept.targets))

    def check_finite(self, values: Tensor, what: str) -> None:
        """Refuse what it says of N images if any of it is no finite number."""
        if bad := not_finite(values):
            raise AlctlError(
                f"its {what} no finite numbers for {bad:,} of {len(values):,} images; {self.remedy}"
            )

    @property
    def remedy(self) -> str:
        """What to do about an answer that is no finite number."""
        return "fit it again with `alctl train --head probe`, or use --strategy random"


def said_of(task: Task, probabilities: Tensor, targets: Targets) -> Predictions:
    """Return the probabilities (N, C) of a probe as predictions of a task, with the true losses of ``targets``."""
    collector = Collector(task)
    collector.add(probabilities.log(), targets, None)
    loss = task.loss(probabilities.clamp(min=FLOOR).log(), targets)
    return collector.predictions()._replace(target_loss=loss)


def probe_of(project: Project, run: TrainingRun, device: str = "auto") -> ProbeModel:
    """Load the probe of a recorded training run; AlctlError if its file is gone or not its own."""
    path = weights_of(project, run)
    probe, info = probes.load(path)
    used, task = _read(path, info)
    if used.key.digest != probe.embedding:
        raise AlctlError(f"{path} is damaged or was not written by alctl: it names two tables of embeddings")
    with project.reading() as connection:
        known = categories.class_list(connection)
    names, ids, merged = categories.outputs(known, len(probe.classes))
    made = task_of(task, classes_named(known, names), (0, 0), merged)
    return ProbeModel(run, made, ids, probe, used, device)


def _read(path: Path, info: dict[str, Any]) -> tuple[Used, str]:
    try:
        return Used.of(info["embedding"]), str(info["task"])
    except (KeyError, TypeError) as error:
        raise AlctlError(f"{path} is damaged or was not written by alctl: {error}") from error
