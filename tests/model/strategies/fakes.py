"""Images that exist only as predictions, for tests of query strategies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.strategy import Prediction
from alctl.model.tensors import Distributions, Raw


@dataclass
class FakeCandidates:
    """Candidates out of tensors; a dropout pass shifts each logit by noise that belongs to the image and the pass."""

    probabilities: Tensor
    embedding: Tensor
    predicted_loss: Tensor
    batch_size: int = 128
    dropout: float | None = 1.0
    frozen: Tensor | None = None
    """Vectors of a frozen backbone, in place of the model's."""

    def __len__(self) -> int:
        return len(self.predicted_loss)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        return torch.cat([fn(self._predict(rows, dropout_passes)) for rows in self._batches()])

    def embeddings(self) -> Tensor:
        return self.map(lambda seen: seen.embedding) if self.frozen is None else self.frozen

    def images(self) -> Iterator[Tensor]:
        return (torch.zeros(len(rows), 3, 4, 4, dtype=torch.uint8) for rows in self._batches())

    def _batches(self) -> Iterator[Tensor]:
        return iter(torch.arange(len(self)).split(self.batch_size))

    def _predict(self, rows: Tensor, passes: int) -> Prediction:
        if passes and self.dropout is None:
            raise AlctlError("the model has no dropout")
        return Prediction(
            self.probabilities[rows],
            self.embedding[rows],
            self.predicted_loss[rows],
            evenly,
            again=partial(self._again, rows, passes) if passes else None,
        )

    def _again(self, rows: Tensor, passes: int) -> Iterator[Tensor]:
        n, m, c = self.probabilities.shape
        noise = torch.randn(n, passes, m, c, generator=torch.Generator().manual_seed(0))[rows]
        assert self.dropout is not None
        return iter((self.probabilities[rows][:, None].log() + self.dropout * noise).softmax(-1).unbind(1))


def evenly(p: Raw, _like: Distributions | None) -> Distributions:
    """Read (B, M, C) probabilities as distributions that count the same."""
    assert isinstance(p, Tensor)
    n, m, _ = p.shape
    return Distributions(p, torch.full((n, m), 1 / m), torch.arange(m).expand(n, m))


def random_candidates(n: int, seed: int, *, batch_size: int = 128) -> FakeCandidates:
    """Return ``n`` images with 5 classes and 8 embedding dimensions."""
    rng = torch.Generator().manual_seed(seed)
    return FakeCandidates(
        torch.randn(n, 1, 5, generator=rng).softmax(-1),
        torch.randn(n, 8, generator=rng),
        torch.randn(n, generator=rng),
        batch_size,
    )


def from_probabilities(rows: list[list[float]]) -> FakeCandidates:
    """Return images with these class probabilities, one distribution each, in float64."""
    p = torch.tensor(rows, dtype=torch.float64)[:, None]
    return FakeCandidates(p, torch.zeros(len(p), 2), torch.zeros(len(p)))


def from_embeddings(rows: Tensor) -> FakeCandidates:
    """Return images with these embeddings (N, d), all as uncertain as each other."""
    return FakeCandidates(torch.full((len(rows), 1, 2), 0.5), rows, torch.zeros(len(rows)))


def chance(seed: int = 0) -> torch.Generator:
    """Return a fresh CPU generator."""
    return torch.Generator().manual_seed(seed)
