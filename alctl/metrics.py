"""What a model is measured at on one split, by name. No torch, so that the database can read it back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

Number = float | None
"""None: it cannot be said, such as a correlation of constants."""


@dataclass(frozen=True)
class LossRanking:
    """How well predicted losses put images into the order of their true losses."""

    ranking_accuracy: Number
    """Share of the pairs in the right order, 0.5 is guessing (LL4AL section 4.1); equal predictions count half."""
    ranking_accuracy_strict: Number
    """The same, with equal predictions counted as wrong."""
    ties_predicted: int | None
    """Pairs of images with the same predicted loss."""
    ties_true: int | None
    """Pairs of images with the same true loss; they count nowhere."""
    pearson: Number
    spearman: Number


@dataclass(frozen=True)
class UncertaintyRanking:
    """How well a model's own doubt puts images into the order of their true losses: what predicted losses must beat.

    It costs nothing, because entropy and margin follow from the probabilities. None where no two true losses differ.
    """

    entropy_ranking_accuracy: Number
    """Ranking accuracy of the entropy of the classes' probabilities."""
    margin_ranking_accuracy: Number
    """That of a small margin between the two most probable classes."""


@dataclass(frozen=True)
class RankingLead:
    """By how much predicted losses order images better than the margin does, on the same images (`model/ranking.py`)."""

    lead_over_margin: float
    """Ranking accuracy of predicted losses minus that of the margin; below 0 the margin is better."""
    lead_se: float
    """Its standard error, from the jackknife over images."""
    lead_low: float
    """The lower end of its 95 % interval."""
    lead_high: float
    lead_images: int
    """Images that were compared."""


@dataclass(frozen=True)
class RankingInterval:
    """The 95 % bootstrap interval of the ranking accuracy; None where no two true losses differ."""

    ranking_accuracy_low: Number
    ranking_accuracy_high: Number


@dataclass(frozen=True)
class Metrics:
    """What a model is measured at on the labeled images of one split."""

    of_task: Mapping[str, Number]
    """The task's own metrics, such as accuracy."""
    target_loss: Number = None
    """The mean of the true losses."""
    ranking: LossRanking | None = None
    """None without a loss prediction module, as is the interval."""
    images: int | None = None
    """Images that the interval is from."""
    interval: RankingInterval | None = None
    uncertainty: UncertaintyRanking | None = None
    """None in runs of before it was measured."""
    lead: RankingLead | None = None
    """None also where it cannot be said: without a module, or where no true losses differ."""

    def by_name(self) -> dict[str, Number]:
        """Return every number by the name that it has in the database, in JSON and in tables."""
        found = dict(self.of_task)
        if self.target_loss is not None:
            found["target_loss"] = self.target_loss
        for part in (self.ranking, self.uncertainty):
            if part is not None:
                found |= asdict(part)
        if self.images is not None:
            found["images"] = self.images
        for measured in (self.interval, self.lead):
            if measured is not None:
                found |= asdict(measured)
        return found


OF_CLASS = ": "
"""What stands in the name of a task's metric of one class, such as "AP: cat"."""


def of_task(by_name: Mapping[str, object]) -> list[str]:
    """Return the names that are of the task's own metrics."""
    kinds = (LossRanking, RankingInterval, UncertaintyRanking, RankingLead)
    known = {"target_loss", "images"}.union(*({field.name for field in fields(kind)} for kind in kinds))
    return [name for name in by_name if name not in known]


def metrics_of(by_name: Mapping[str, Number]) -> Metrics:
    """Return the metrics with these names and numbers: the inverse of `Metrics.by_name`."""
    ranking = LossRanking(
        by_name.get("ranking_accuracy"),
        by_name.get("ranking_accuracy_strict"),
        _whole(by_name.get("ties_predicted")),
        _whole(by_name.get("ties_true")),
        by_name.get("pearson"),
        by_name.get("spearman"),
    )
    interval = RankingInterval(by_name.get("ranking_accuracy_low"), by_name.get("ranking_accuracy_high"))
    uncertainty = UncertaintyRanking(
        by_name.get("entropy_ranking_accuracy"), by_name.get("margin_ranking_accuracy")
    )
    kinds = (LossRanking, RankingInterval, UncertaintyRanking, RankingLead)
    parts = [{field.name for field in fields(kind)} for kind in kinds]
    return Metrics(
        {name: by_name[name] for name in of_task(by_name)},
        by_name.get("target_loss"),
        ranking if parts[0] & by_name.keys() else None,
        _whole(by_name.get("images")),
        interval if parts[1] & by_name.keys() else None,
        uncertainty if parts[2] & by_name.keys() else None,
        _lead(by_name),
    )


def _lead(by_name: Mapping[str, Number]) -> RankingLead | None:
    lead, se, low, high, images = (by_name.get(field.name) for field in fields(RankingLead))
    if lead is None or se is None or low is None or high is None or images is None:
        return None
    return RankingLead(lead, se, low, high, int(images))


def _whole(number: Number) -> int | None:
    return None if number is None else int(number)
