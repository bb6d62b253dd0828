"""The cold-start guard: predicted losses choose images only once they have proven themselves.

LL4AL is below random while its module has learned from few labels: on human poses in its own supplement (table 3), and
on CIFAR-100 in the logs of Ji et al. (WACV 2023). So the reserved validation images are asked whether it may choose.
"""

from dataclasses import dataclass

from alctl.database.training_runs import TrainingRun

NEEDED = 0.55
"""What the lower end of the 95 % interval of the ranking accuracy has to reach; guessing gives 0.5."""
FEWEST = 20
"""Labeled validation images below which nothing is proven."""


@dataclass(frozen=True)
class Doubt:
    """Why the guard chose another strategy for a round; recorded with the round's parameters."""

    run: int
    """The training run whose predicted losses are in doubt."""
    images: int
    """Labeled validation images that it was measured on."""
    ranking_accuracy: float | None
    low: float | None
    """The lower end of its 95 % interval."""
    needed: float
    """What that has to reach."""
    reason: str
    instead_of: str
    """The strategy that was asked for."""


def doubt(run: TrainingRun, strategy: str) -> Doubt | None:
    """Return why the predicted losses of a training run should not choose images yet; None if they may.

    ``strategy`` is the one that would choose by them.
    """
    measured = run.metrics.get("validation")
    images = (measured.images if measured else None) or 0
    ranking = measured.ranking if measured else None
    interval = measured.interval if measured else None
    accuracy = ranking.ranking_accuracy if ranking else None
    low = interval.ranking_accuracy_low if interval else None
    high = interval.ranking_accuracy_high if interval else None
    if images >= FEWEST and low is not None and low >= NEEDED:
        return None
    if images < FEWEST:
        reason = f"{images} validation images were labeled for training run {run.id}, and {FEWEST} are needed"
    elif low is None:
        reason = "the true losses of the validation images are all the same"
    else:
        reason = (
            f"on {images} validation images its ranking accuracy is {accuracy:.3f}, with a 95 % interval of "
            f"{low:.3f} to {high:.3f}, which has to lie above {NEEDED}"
        )
    return Doubt(run.id, images, accuracy, low, NEEDED, reason, strategy)
