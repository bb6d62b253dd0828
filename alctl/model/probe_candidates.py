"""A probe and the vectors of some images, as a strategy sees them: predictions without a network, in seconds."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from alctl.chance import stream
from alctl.errors import AlctlError
from alctl.model import probe as probes
from alctl.model.calibration import Floats
from alctl.model.distances import blocks
from alctl.model.probe import Probe
from alctl.model.strategy import Prediction
from alctl.model.task import Task

DROPPED = 0.5
"""Share of the numbers of an embedding that a dropout pass leaves out (SELECTION.md §3.5)."""


class ProbeCandidates:
    """The `Candidates` of a project whose model is a probe on frozen embeddings."""

    def __init__(
        self,
        probe: Probe,
        vectors: Tensor,
        *,
        task: Task | None = None,
        targets: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        """Take the vectors (N, D) of N images, with ``targets`` (N,) if labeled; ``seed`` is for dropout only.

        A ``task`` knows which classes were merged since the probe was fitted.
        """
        self.probe = probe
        self.vectors = vectors
        self.task = task
        self.targets = targets
        self.seed = seed

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.vectors)

    def embeddings(self) -> Tensor:
        """Return the frozen vectors (N, D), not normalised."""
        return self.vectors

    def images(self) -> Iterator[Tensor]:
        """Refuse: a probe has no input size to read images at."""
        raise AlctlError(
            "this strategy trains a model of its own on the images, and a probe reads their embeddings only; "
            "train the network with `alctl train --head network`, or use --strategy uherding"
        )

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to each batch and concatenate, as `Candidates.map` promises.

        Dropout leaves out half of the numbers of an embedding; what is left out depends on the image's position only.
        """
        rng = torch.Generator().manual_seed(stream(self.seed, "dropout"))
        results = [fn(self._prediction(rows, dropout_passes, rng)) for rows in blocks(len(self))]
        result = torch.cat(results) if results else torch.empty(0)
        if bool(torch.isnan(result).any()):
            raise AlctlError(NO_LOSSES)
        return result

    def _prediction(self, rows: slice, passes: int, rng: torch.Generator) -> Prediction:
        z = probes.centred(self.probe, self.vectors, rows)
        said = torch.stack(
            [self._said(_with_dropout(z, rng)) for _ in range(passes)] if passes else [self._said(z)], dim=1
        )
        no_loss = torch.full((len(z),), math.nan)
        target = None if self.targets is None else self.targets[rows]
        return Prediction(said, self.vectors[rows].float(), no_loss, target)

    def _said(self, z: Floats) -> Tensor:
        said = torch.from_numpy(probes.probabilities(self.probe, z)).float()
        return said if self.task is None else self.task.probabilities(said.log())[:, 0]


NO_LOSSES = (
    "a probe predicts no losses: choose --strategy uherding or margin, or train the network with its loss prediction "
    "module: `alctl train --head network`"
)


def _with_dropout(z: Floats, rng: torch.Generator) -> Floats:
    """Return the rows (n, d) with some numbers left out and the others scaled up, so that the mean stays."""
    kept = torch.rand(z.shape, generator=rng) >= DROPPED
    dropped: Floats = z * kept.numpy() / (1 - DROPPED)
    return dropped
