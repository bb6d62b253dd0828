"""A probe and the vectors of some images, as a strategy sees them: predictions without a network, in seconds."""

import math
from collections.abc import Callable, Iterator
from functools import partial

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
from alctl.model.tensors import Distributions, Raw, Targets, of_whole_images, rows

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
        targets: Targets | None = None,
        seed: int = 0,
    ) -> None:
        """Take the vectors (N, D) of N images, with ``targets`` if they are labeled; ``seed`` is for dropout only.

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
        results = [fn(said) for said in self.each(dropout_passes=dropout_passes)]
        result = torch.cat(results) if results else torch.empty(0)
        if bool(torch.isnan(result).any()):
            raise AlctlError(NO_LOSSES)
        return result

    def each(self, *, dropout_passes: int = 0) -> Iterator[Prediction]:
        """Yield what the probe says of each batch, in order."""
        rng = torch.Generator().manual_seed(stream(self.seed, "dropout"))
        for some in blocks(len(self)):
            z = probes.centred(self.probe, self.vectors, some)
            yield Prediction(
                self._said(z),
                self.vectors[some].float(),
                torch.full((len(z),), math.nan),
                _as_they_are if self.task is None else self.task.distributions,
                None if self.targets is None else rows(self.targets, some),
                partial(self._again, z, dropout_passes, rng) if dropout_passes else None,
            )

    def _again(self, z: Floats, passes: int, rng: torch.Generator) -> Iterator[Raw]:
        for _ in range(passes):
            yield self._said(_with_dropout(z, rng))

    def _said(self, z: Floats) -> Tensor:
        """Return the probabilities (n, C), or for a task their logarithms, which are a probe's logits."""
        said = torch.from_numpy(probes.probabilities(self.probe, z)).float()
        return said if self.task is None else said.log()


def _as_they_are(probabilities: Raw, _like: Distributions | None) -> Distributions:
    assert isinstance(probabilities, Tensor)
    return of_whole_images(probabilities)


NO_LOSSES = (
    "a probe predicts no losses: choose --strategy uherding or margin, or train the network with its loss prediction "
    "module: `alctl train --head network`"
)


def _with_dropout(z: Floats, rng: torch.Generator) -> Floats:
    """Return the rows (n, d) with some numbers left out and the others scaled up, so that the mean stays."""
    kept = torch.rand(z.shape, generator=rng) >= DROPPED
    dropped: Floats = z * kept.numpy() / (1 - DROPPED)
    return dropped
