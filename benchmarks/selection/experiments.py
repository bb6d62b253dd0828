"""The experiments as they were registered: README.md in words, this file for the machine. Both before any run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alctl.chance import stream
from alctl.model.strategies.centroids import Centroids
from alctl.model.strategies.random import Random
from alctl.model.strategies.uherding import UHerding
from alctl.model.strategy import STRATEGIES
from alctl.simulation.replay import Arm, Ints, Known, Split, split
from benchmarks.selection import data

SEED = 20_261_130
RANDOMS = ("random", "random 2", "random 3", "random 4")


@dataclass(frozen=True)
class Experiment:
    """One table."""

    name: str
    question: str
    data: str
    """``clothing``: pool and test are a new split in every trial; else the test images are always the same."""
    pool: int
    """Images of a trial's pool."""
    budgets: tuple[int, ...]
    arms: tuple[Arm, ...]
    trials: int
    areas: tuple[int, ...]
    """Labels up to which areas are compared; the first is what is tested."""
    baseline: tuple[str, ...] = RANDOMS
    """The arms whose mean is compared with, trial by trial."""
    rare: float = 1.0
    """A random half of the classes has this share of the others' images in the pool."""
    metric: str = "accuracy"
    gate: float | None = None
    """What the lower end of the interval of `DEFAULT`'s area should reach, in points."""

    @property
    def overlap(self) -> float:
        """The correction for trials that are splits of the same images."""
        return (341 - self.pool) / self.pool if self.data == "clothing" else 0.0

    def trial(self, number: int, found: "Images") -> tuple[Known, Split, int]:
        """Return the images of a trial, how they are split, and its seed."""
        seed = stream(SEED, self.data, number)
        if self.data == "clothing":
            return found.all, split(len(found.all.classes), len(found.all.classes) - self.pool, seed), seed
        order = np.random.default_rng(stream(seed, "pool")).permutation(found.train)
        classes = found.all.classes[order]
        rng = np.random.default_rng(stream(seed, "rare"))
        rare = rng.permutation(len(found.all.names))[: len(found.all.names) // 2]
        weights = np.where(np.isin(np.arange(len(found.all.names)), rare), self.rare, 1.0)
        if self.rare < 1:
            counts = (self.pool * weights / weights.sum()).round().astype(int)
            kept = [np.flatnonzero(classes == c)[: counts[c]] for c in range(len(weights))]
            order = order[np.sort(np.concatenate(kept))]
        return found.all, Split(order[: self.pool], found.test), seed


@dataclass(frozen=True, eq=False)
class Images:
    """A data set, and which of its images may be in a pool and which are for the test."""

    all: Known
    train: Ints
    test: Ints


def images(name: str, folder: Path, cache: Path) -> Images:
    """Return a data set with its embeddings; of MNIST's test images 2,000 are the test here."""
    if name == "cifar10":
        parts = [data.known(f"cifar10-{part}", folder, cache) for part in ("train", "test")]
        n = len(parts[0].classes)
        return Images(data.joined(parts), np.arange(n), np.arange(n, n + len(parts[1].classes)))
    found = data.known(name, folder, cache)
    order = np.random.default_rng(SEED).permutation(len(found.classes))
    return Images(found, order[2_000:], order[:2_000])


def arm(name: str, strategy: str = "", start: str | None = None, **params: object) -> Arm:
    """Return an arm; several random ones have chance of their own."""
    made = STRATEGIES.load(strategy or name)(**params)
    return Arm(name, made, None if start is None else STRATEGIES.load(start)())


DEFAULT = "uherding"
RANDOM_ARMS = tuple(Arm(name, Random(), draw=i) for i, name in enumerate(RANDOMS))
CENTROIDS_FIRST = Arm("centroids, then uherding", UHerding(), Centroids())
RIVALS = (
    arm(DEFAULT), arm("margin"), arm("maxherding"), CENTROIDS_FIRST, arm("switch"), arm("dropquery"), arm("entropy"),
    arm("typiclust"), arm("badge"), arm("core-set"),
)  # fmt: skip
TO_400 = (20, 40, 60, 100, 150, 200, 300, 400)
SIGMAS: tuple[float | str, ...] = (0.7, 1.0, 1.4, "nearest", "least")


def _uherdings() -> Sequence[Arm]:
    """Return the arms of E7: σ × temperature, and the first rounds of others."""
    found = [
        Arm(f"σ={sigma}, T {'fitted' if fitted else '= 1'}", UHerding(sigma=sigma), calibrated=fitted)  # type: ignore[arg-type]
        for sigma in SIGMAS
        for fitted in (True, False)
    ]
    starts = [arm(f"{start} first", DEFAULT, start) for start in ("random", "centroids", "typiclust")]
    return [*found, *starts]


EVERY = [
    Experiment(
        "E1", "Does the default beat random on CIFAR-10?", "cifar10", 5_000, (*TO_400, 600, 1_000),
        (*RANDOM_ARMS, *RIVALS), 20, (400, 100, 1_000), gate=1.5,
    ),
    Experiment(
        "E2", "Does the default beat random on real photos?", "clothing", 240, (10, 20, 30, 40, 60, 80, 120, 160),
        (*RANDOM_ARMS, *RIVALS), 200, (160, 40), gate=2.0,
    ),
    Experiment(
        "E3-10", "And with half of the classes ten times rarer?", "cifar10", 1_650, TO_400,
        (*RANDOM_ARMS, *RIVALS), 10, (400, 100), rare=1 / 10,
    ),
    Experiment(
        "E3-20", "And twenty times rarer?", "cifar10", 1_575, TO_400,
        (*RANDOM_ARMS, *RIVALS), 10, (400, 100), rare=1 / 20,
    ),
    Experiment(
        "E4", "And on digits, which the backbone has never seen?", "mnist", 2_000, TO_400,
        (*RANDOM_ARMS, *RIVALS), 10, (400, 100),
    ),
    Experiment(
        "E7", "Do radius, temperature and first round matter?", "cifar10", 1_500, TO_400,
        (*RANDOM_ARMS, *_uherdings()), 10, (400, 100, 20), baseline=("σ=1.0, T fitted",),
    ),
    Experiment(
        "E8", "How often is random told apart from random?", "cifar10", 1_500, (20, 40, 60, 100, 150, 200),
        RANDOM_ARMS[:2], 500, (200,), baseline=RANDOMS[:1],
    ),
]  # fmt: skip
