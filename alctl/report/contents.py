"""What a report holds: `Facts`, with one frozen dataclass per section. What is not there yet is None or empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from alctl.agreement.measures import PairKappa
from alctl.database.counts import State
from alctl.database.history import AnnotatorTime, RoundTime
from alctl.database.items import Unusable
from alctl.labels.annotation import Split
from alctl.report.measures import Estimate, Reliability
from alctl.report.model_contents import (
    Certain,
    ClassAccuracy,
    Confusion,
    Control,
    ControlTogether,
    LabelValue,
    Losses,
)
from alctl.rounds.own_simulation import OwnSimulation
from alctl.status import NextStep


@dataclass(frozen=True)
class Run:
    """A training run."""

    id: int
    labeled: int
    """Images that it learned from."""
    metrics: Mapping[str, Any]
    """By split, as they were measured when the run finished."""
    config: Mapping[str, Any]
    seconds: float
    seed: int
    created_at: str
    environment: Mapping[str, Any]
    """Versions and device."""
    file: str
    """The weights, relative to the project."""
    digest: str
    round: int | None
    """The newest round that it learned from."""

    def on(self, split: str | None) -> Mapping[str, Any]:
        """Return the metrics on a split; empty where none were measured."""
        return (self.metrics.get(split) if split else None) or {}


@dataclass(frozen=True)
class ShownPick:
    """An image of a round that is shown."""

    item: int
    path: str
    rank: int | None
    score: float | None
    why: str
    answer: str | None
    """What holds for it, in words."""


@dataclass(frozen=True)
class ShownPair:
    """Two images that are much alike."""

    item: int
    path: str
    like: int
    """The other image, which stands for it if it was left out."""
    like_path: str
    cosine: float
    """Of their embeddings."""
    labeled: bool
    """Whether that image was labeled already."""
    apart: bool
    """Whether they are not near-duplicates, so that neither was left out for the other."""


@dataclass(frozen=True)
class RoundFacts:
    """A round with its counts."""

    id: int
    strategy: str
    params: Mapping[str, Any]
    seed: int
    requested: int
    candidates: int
    """Unlabeled images that it could choose from."""
    run_id: int | None
    """The training run whose model chose it."""
    created_at: str
    due_at: str | None
    images: int
    """Training candidates."""
    control: int
    """Those of them that are random, to compare with."""
    picked: int
    """Those of them that the strategy chose."""
    reserved: int
    """Validation and test images that went out with it."""
    answered: int
    quarantined: int
    """Those that cannot be used, and that nobody has answered."""
    out: int
    shown: Sequence[ShownPick]
    pairs: Sequence[ShownPair] = ()
    """The candidates that were most alike, the closest first."""


@dataclass(frozen=True)
class ClassBalance:
    """How many labeled images a class has."""

    name: str
    pool: int
    validation: int
    test: int
    rounds: Mapping[int, int]
    """By the number of the round that brought them."""

    def of_split(self, split: Split) -> int:
        """Return the images of a split."""
        return {"pool": self.pool, "validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True)
class AnnotatorAgreement:
    """How far annotators agree about classes."""

    pairs: Sequence[PairKappa]
    alpha: float | None
    """Krippendorff's, of all annotators together."""


@dataclass(frozen=True)
class TimeAndCost:
    """How long annotators took, and what that cost."""

    annotators: Sequence[AnnotatorTime]
    rounds: Sequence[RoundTime]
    answers: int
    timed: int
    """Answers that say how long they took."""
    mean_seconds: float
    """Of these."""
    hours: float
    """Of all answers, if the others took as long."""
    cost_per_hour: float | None
    cost_per_label: float | None
    cost: float | None


@dataclass(frozen=True)
class CurvePoint:
    """A model's metric; the interval is that of chance in the choice of the images."""

    run: int
    labeled: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Gain:
    """By how much the metric rose from one run to a later one."""

    from_run: int
    to_run: int
    from_labeled: int
    to_labeled: int
    images: int
    """Images that it was measured on."""
    how: Literal["paired", "unpaired"]
    """Paired: both models were asked about the same images."""
    gain: Estimate
    per_100: Estimate
    """Per 100 labels."""
    changed: Sequence[str]
    """Settings in which the runs differ."""


@dataclass(frozen=True)
class Advice:
    """Whether another round is worth it."""

    verdict: str
    reasons: Sequence[str]
    next: NextStep | None = None
    """What `alctl status` says comes next."""
    others: Sequence[NextStep] = ()
    """What can be done instead."""


@dataclass(frozen=True)
class Facts:
    """Everything that a report says."""

    project: str
    folder: str
    root: str
    """The folder of its images."""
    task: str
    metric: str
    """The name of the task's metric; empty for a task that cannot be trained."""
    created_at: str
    generated_at: str
    classes: Sequence[str]
    """Those that are there now, without merged ones."""
    items: int
    states: Mapping[Split, Mapping[State, int]]
    runs: Sequence[Run]
    """Oldest first."""
    imports: int
    balance: Sequence[ClassBalance]
    rounds: Sequence[RoundFacts]
    """Oldest first."""
    agreement: AnnotatorAgreement | None
    time: TimeAndCost | None
    unusable: Sequence[Unusable]
    split: Split | None
    """The reserved images that models are measured on."""
    measured: int
    """How many of them are labeled."""
    gain: Gain | None = None
    losses: Losses | None = None
    calibration: Reliability | None = None
    confusion: Confusion | None = None
    class_accuracy: Sequence[ClassAccuracy] = ()
    """In the order of the class list."""
    certain: Certain | None = None
    control: Sequence[Control] = ()
    control_all: ControlTogether | None = None
    label_value: LabelValue | None = None
    own_simulation: OwnSimulation | None = None
    """What `simulate --mine` found last."""
    curve: Sequence[CurvePoint] = ()
    """In the order of labels, the newest last."""
    problems: Sequence[str] = ()
    """Why some models, or some images, could not be asked."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """For each section that has nothing to show what it waits for."""
    advice: Advice = Advice("", ())
