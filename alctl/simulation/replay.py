"""Query strategies replayed in memory on images whose labels are known, with frozen embeddings and the probe.

A trial splits the images into a pool, whose labels are hidden, and a test. In every round an arm chooses from what is
left of the pool, gets the labels, and its probe is fitted and measured: nothing is written, so a trial takes seconds.
All arms of a trial have the same pool, test and streams of chance.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alctl.chance import stream
from alctl.model import probe as probes
from alctl.model.distances import unit
from alctl.model.probe import Probe
from alctl.model.probe_candidates import ProbeCandidates
from alctl.model.score import Unscored
from alctl.model.strategies.random import Random
from alctl.model.strategy import Candidates, Prediction, QueryStrategy

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Known:
    """Images with their frozen embeddings and their true classes."""

    vectors: Tensor
    """(N, D) float32, not normalised."""
    classes: Ints
    """(N,) places in ``names``."""
    names: tuple[str, ...]


class Split(NamedTuple):
    """The images of a trial, as positions."""

    pool: Ints
    """In random order, so that a strategy that decides by position decides by chance."""
    test: Ints


@dataclass(frozen=True)
class Arm:
    """One way to choose."""

    name: str
    strategy: QueryStrategy
    start: QueryStrategy | None = None
    """What chooses the first round; None: the strategy itself, or random if it needs a model."""
    draw: int = 0
    """Arms with another number have chance of their own, such as several random arms of one trial."""
    calibrated: bool = True
    """Whether the probe's temperature is fitted; if not it is 1."""

    @property
    def first(self) -> QueryStrategy:
        """What chooses the first round."""
        return self.start or (Random() if self.strategy.needs_model else self.strategy)


class Measured(NamedTuple):
    """How good an arm's probe is on the test images after a round."""

    labeled: int
    accuracy: float
    adjusted: float
    """The mean of the classes' accuracies, if it answers as if all classes were equally frequent (`probe.predict`)."""


def split(n: int, test: int, seed: int) -> Split:
    """Split ``n`` images at random: ``test`` of them are for the test, the others are the pool."""
    order = np.random.default_rng(stream(seed, "split")).permutation(n)
    return Split(order[test:], order[:test])


def replay(known: Known, parts: Split, arm: Arm, budgets: Sequence[int], seed: int) -> Iterator[Measured]:
    """Yield how good the probe is after each round; ``budgets`` are the labels in all, ascending.

    The pool's mean is that of the trial's pool, so that the test has no part in what is learned.
    """
    pool, vectors = torch.from_numpy(parts.pool), known.vectors[torch.from_numpy(parts.pool)]
    test = known.vectors[torch.from_numpy(parts.test)]
    truth, classes = known.classes[parts.test], torch.from_numpy(known.classes)[pool]
    mean = unit(vectors).mean(dim=0)
    chosen = torch.zeros(0, dtype=torch.int64)

    def fitted(*, calibrate: bool) -> Probe:
        return probes.fit(
            vectors[chosen], classes[chosen], known.names, pool_mean=mean, embedding="", calibrate=calibrate
        )

    for number, budget in enumerate(budgets, start=1):
        rest = torch.ones(len(pool), dtype=torch.bool)
        rest[chosen] = False
        left = rest.nonzero()[:, 0]
        rng = torch.Generator().manual_seed(stream(seed, "choose", number, arm.draw))
        if number == 1:
            strategy, unlabeled, labeled = arm.first, *_without_model(vectors)
        else:
            strategy = arm.strategy
            probe = cache(lambda: fitted(calibrate=arm.calibrated))
            unlabeled, labeled = (
                _Asked(probe, vectors[rows], classes[rows], stream(seed, "dropout", number))
                for rows in (left, chosen)
            )
        picks = strategy.query(unlabeled, labeled, budget - len(chosen), rng).positions.cpu()
        chosen = torch.cat([chosen, left[picks]])
        yield _measure(fitted(calibrate=False), test, truth, len(chosen))


def _without_model(vectors: Tensor) -> tuple[Candidates, Candidates]:
    """Return what there is to choose from before any label, and the labeled images: none."""
    return Unscored(len(vectors), vectors), Unscored(0, vectors[:0])


class _Asked:
    """The `Candidates` of a round: the probe with its temperature is fitted only if a strategy asks for predictions."""

    def __init__(self, probe: Callable[[], Probe], vectors: Tensor, targets: Tensor, seed: int) -> None:
        self.made = cache(lambda: ProbeCandidates(probe(), vectors, targets={"class": targets}, seed=seed))
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def map(self, fn: Callable[[Prediction], Tensor], *, dropout_passes: int = 0) -> Tensor:
        return self.made().map(fn, dropout_passes=dropout_passes)

    def embeddings(self) -> Tensor:
        return self.vectors

    def images(self) -> Iterator[Tensor]:
        return self.made().images()


def _measure(probe: Probe, test: Tensor, truth: Ints, labeled: int) -> Measured:
    right = probes.predict(probe, test).argmax(1).numpy() == truth
    adjusted = probes.predict(probe, test, balance=1.0).argmax(1).numpy() == truth
    by_class = [float(adjusted[truth == c].mean()) for c in np.unique(truth)]
    return Measured(labeled, float(right.mean()), float(np.mean(by_class)))
