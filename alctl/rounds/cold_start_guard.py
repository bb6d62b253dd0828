"""The cold-start guard: predicted losses choose images only once they have proven themselves.

LL4AL is below random while its module has learned from few labels: on human poses in its own supplement (table 3), and
on CIFAR-100 in the logs of Ji et al. (WACV 2023). So the reserved validation images are asked whether it may choose.
"""

from collections.abc import Mapping
from typing import Any

NEEDED = 0.55
"""What the lower end of the 95 % interval of the ranking accuracy has to reach; guessing gives 0.5."""
FEWEST = 20
"""Labeled validation images below which nothing is proven."""


def doubt(run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return why the predicted losses of a training run should not choose images yet; None if they may."""
    measured = run["metrics"].get("validation") or {}
    images = measured.get("images") or 0
    low = measured.get("ranking_accuracy_low")
    if images >= FEWEST and low is not None and low >= NEEDED:
        return None
    if images < FEWEST:
        reason = (
            f"{images} validation images were labeled for training run {run['id']}, and {FEWEST} are needed"
        )
    elif low is None:
        reason = "the true losses of the validation images are all the same"
    else:
        accuracy, high = measured["ranking_accuracy"], measured["ranking_accuracy_high"]
        reason = (
            f"on {images} validation images its ranking accuracy is {accuracy:.3f}, with a 95 % interval of "
            f"{low:.3f} to {high:.3f}, which has to lie above {NEEDED}"
        )
    return {
        "run": run["id"], "images": images, "ranking_accuracy": measured.get("ranking_accuracy"),
        "low": low, "needed": NEEDED, "reason": reason,
    }  # fmt: skip
