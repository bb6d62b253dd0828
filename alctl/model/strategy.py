"""The contract of a query strategy: which of these images should a person label next?

A strategy speaks in positions (row i of what it was given) and never learns ids, paths or labels of the pool;
`rounds/select.py` turns positions into items, once. Higher score always means "label this first".
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.tensors import Distributions, Raw, Targets
from alctl.plugins import Plugins


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the trained model says of one batch of B images; distributions are made when they are asked for."""

    raw: Raw
    """What the task's own functions read."""
    embedding: Tensor
    """(B, D) in float32: the input of the last linear layer."""
    predicted_loss: Tensor
    """(B,) in float32, from the loss prediction module; only its order means anything."""
    read: Callable[[Raw, Distributions | None], Distributions]
    """The task's `distributions`."""
    target: Targets | None = None
    """The labels of labeled images, as `Task.stack` gives them.

    None for unlabeled ones, and for all where the model has never seen the class of one.
    """
    again: Callable[[], Iterator[Raw]] | None = None
    """Goes through the images once more for each dropout pass that was asked for."""

    @cached_property
    def distributions(self) -> Distributions:
        """The class distributions of each image: one of the whole image, or those of its boxes, joints or pixels."""
        return self.read(self.raw, None)

    def dropout(self) -> Iterator[Distributions]:
        """Yield the distributions of each pass with dropout, at the places of `distributions`.

        They are those that `Candidates.map` was asked for with ``dropout_passes``.
        """
        if self.again is None:
            raise ValueError("no pass with dropout was asked for: map(fn, dropout_passes=T)")
        for raw in self.again():
            yield self.read(raw, self.distributions)


class Candidates(Protocol):
    """What a strategy may ask of a set of images; a fake for tests is twenty lines."""

    def __len__(self) -> int:
        """Return how many images there are."""
        ...

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        """Apply ``fn`` to each batch and concatenate: row i belongs to image i; the result stays on the model's device.

        One pass over the images, model in eval mode, no augmentation, no gradient. With ``dropout_passes=T``
        `Prediction.dropout` makes T passes more in which only the dropout layers are stochastic; a model without
        dropout raises AlctlError, because identical passes would rank rounding noise.
        """
        ...

    def embeddings(self) -> Tensor:
        """Return the vector of each image, (N, D) in float32 on the CPU or the model's device.

        The frozen backbone's vectors where the project has them, else the input of the model's last layer. AlctlError
        where there is neither, naming `alctl embed` and `--strategy random`.
        """
        ...

    def images(self) -> Iterator[Tensor]:
        """Yield the images in batches of (B, 3, H, W) uint8, in order, for strategies that train their own model."""
        ...


class Scored(Candidates, Protocol):
    """Candidates that a trained model can be asked about batch by batch."""

    def each(self, *, dropout_passes: int = 0) -> Iterator[Prediction]:
        """Yield what the model says of each batch, in order: the one pass that `map` is made of."""
        ...


class Selection(NamedTuple):
    """What a strategy chose, best first."""

    positions: Tensor
    """(n,) int64, distinct."""
    scores: Tensor
    """(n,) float64: the utility of each pick; higher was wanted more."""


class UntrainedError(AlctlError):
    """Predictions were asked for, and no model is trained yet."""


@dataclass(frozen=True)
class QueryStrategy(ABC):
    """Choose images to label. A subclass is a frozen dataclass: its fields are its hyper-parameters."""

    @property
    def needs_model(self) -> bool:
        """Tell whether it reads predictions; if not, embeddings are enough for it, and it can choose a first round."""
        return True

    @property
    def uses_predicted_loss(self) -> bool:
        """Tell whether it reads predicted losses; if not, it can be compared without training the module for them."""
        return False

    @property
    def one_distribution(self) -> bool:
        """Tell whether it needs exactly one class distribution for an image; boxes, joints and pixels have many."""
        return False

    @abstractmethod
    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return min(n, len(unlabeled)) distinct positions of ``unlabeled``, best first.

        All chance comes from ``rng`` (a CPU generator); the same seed gives the same selection, whatever the batch size.
        """


class Room(Protocol):
    """Which images may be picked next, where the picks so far may have filled a group."""

    def free(self) -> Tensor:
        """Return which of N images may be picked, (N,) bool on the CPU."""
        ...

    def take(self, position: int) -> None:
        """Take note of a pick."""
        ...


@dataclass(frozen=True)
class Greedy(QueryStrategy):
    """A strategy that picks one image after the other, and passes over those that may not be picked any more."""

    def query(self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator) -> Selection:
        """Return min(n, N) picks, best first."""
        return self.query_within(unlabeled, labeled, n, rng, None)

    @abstractmethod
    def query_within(
        self, unlabeled: Candidates, labeled: Candidates, n: int, rng: torch.Generator, room: Room | None
    ) -> Selection:
        """Return up to n picks, best first, each free when it is picked; images without room count all the same."""


class Ranking(QueryStrategy):
    """A strategy that scores each image for itself: its n picks are the first n of one order of all images."""


def top_k(scores: Tensor, n: int) -> Selection:
    """Return the ``n`` highest of ``scores`` (N,), ties by lowest position; a score that is not finite is a bug.

    The check matters: NaN sorts as the highest value, so one 0·log 0 would select the most certain image first.
    """
    scores = scores.double()
    if not bool(torch.isfinite(scores).all()):
        first = int((~torch.isfinite(scores)).nonzero()[0])
        raise FloatingPointError(f"the score at position {first} is {scores[first].item()}")
    order = torch.sort(scores, descending=True, stable=True).indices[:n]
    return Selection(order, scores[order])


STRATEGIES = Plugins("alctl.model.strategies", QueryStrategy)
