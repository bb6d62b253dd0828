"""What a report holds of models: what the last one says of reserved images, and what chosen images were worth."""

from collections.abc import Sequence
from dataclasses import dataclass

from alctl.report.measures import Estimate


@dataclass(frozen=True)
class Losses:
    """How well the predicted losses of the last model follow the true ones."""

    ranking_accuracy: float | None
    ranking_accuracy_strict: float | None
    ties_predicted: float | None
    ties_true: float | None
    pearson: float | None
    spearman: float | None
    images: int
    spearman_interval: Estimate | None
    predicted: Sequence[float]
    """Those that are drawn; ``true`` is of the same images."""
    true: Sequence[float]


@dataclass(frozen=True)
class Mistake:
    """A class that is taken for another one."""

    true: str
    said: str
    images: int


@dataclass(frozen=True)
class Confusion:
    """What the last model takes for what."""

    table: Sequence[Sequence[int]]
    """Images by true class (rows) and by what the model says (columns)."""
    worst: Sequence[Mistake]
    """Most images first."""


@dataclass(frozen=True)
class ClassAccuracy:
    """How good the last model is at one class."""

    name: str
    images: int
    """That are of the class."""
    right: int
    """Those of them that the model calls so."""
    recall: Estimate | None
    """The same as a share; None where no image is of the class."""
    precision: Estimate | None
    """The share of what the model calls so that is of the class; None where it calls nothing so."""
    taken_for: str | None
    """What it calls most of the others; None where it is always right."""


@dataclass(frozen=True)
class JudgedImage:
    """What the last model says of one image."""

    item: int
    true: str
    said: str
    probability: float
    """Of what it says."""
    predicted_loss: float | None
    path: str


@dataclass(frozen=True)
class Certain:
    """The images that the last model is most and least certain of."""

    least: Sequence[JudgedImage]
    most: Sequence[JudgedImage]
    mistakes: Sequence[JudgedImage]
    """Wrong, and most certain of it first."""

    @property
    def images(self) -> list[JudgedImage]:
        """All of them."""
        return [*self.least, *self.most, *self.mistakes]


@dataclass(frozen=True)
class Control:
    """How often a round's own model was wrong on the round's picks, and on its random control images."""

    round: int
    strategy: str
    run: int
    labeled: int
    picked: Estimate
    """The share that it was wrong on."""
    picked_images: int
    control: Estimate
    control_images: int
    excess: Estimate
    """By how much more often it was wrong on picks."""


@dataclass(frozen=True)
class ControlTogether:
    """What all rounds with control images say together."""

    strategies: Sequence[str]
    excess: Estimate
    picked_images: int
    control_images: int


@dataclass(frozen=True)
class LabelValue:
    """What chosen labels taught, against as many random ones: McNemar's test of two probes on the same images."""

    rounds: Sequence[int]
    strategies: Sequence[str]
    labels: int
    """Of each kind, over the rounds."""
    images: int
    """Held-out images that both were asked about."""
    gained: float
    """Times that only the probe with chosen labels was right, over the rounds; a mean of several random parts."""
    lost: float
    difference: Estimate
    """In accuracy, the mean of the rounds."""
    p: float
    """Of the exact test."""
    needed: int
    """Answers, images times rounds, that would tell a true difference of 5 points four times of five."""
    needed_2: int
    """And one of 2 points."""

    @property
    def asked(self) -> int:
        """Answers that there are: images times rounds."""
        return self.images * len(self.rounds)
