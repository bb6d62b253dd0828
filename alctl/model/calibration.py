"""Is a model as often right as it says? How far its probabilities are off, and the temperature that mends them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDEST = 3.0
"""The temperature is looked for between e⁻³ and e³."""


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by to be neither too sure nor too unsure (Guo et al., ICML 2017)."""

    value: float = 1.0
    """Where the loss is lowest; 1 leaves the logits as they are."""
    at_bound: bool = False
    """It is one of the two ends of the search: the loss still falls there, so nothing says how far to go."""
    images: int = 0
    """How many images it is from; none of them was learned from by the model that scored it."""

    @property
    def used(self) -> float:
        """What to divide by: ``value``, and 1 where that is only an end of the search.

        An end tells of too few mistakes (or right answers) to measure by. Dividing by e⁻³ then would turn all
        probabilities into 0 and 1, between which no strategy can choose.
        """
        return 1.0 if self.at_bound else self.value


def mean_loss(logits: Floats, labels: Ints, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood, in nats, of ``labels`` (n,) by ``logits`` (n, C) / ``temperature``."""
    return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean())


def best_temperature(logits: Floats, labels: Ints) -> Temperature:
    """Return the temperature with the lowest `mean_loss` for held-out ``logits`` (n, C) of ``labels`` (n,).

    The loss has one valley over ln T, which is searched in [−3, 3] to 1e-6. Never give it logits of images that the
    model has learned from: those are too sure. A logit of minus infinity is a class that the model does not know.
    Of no images, 1.
    """
    if not len(labels):
        return Temperature()

    def loss(log: float) -> float:
        return mean_loss(logits, labels, float(np.exp(log)))

    found = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-6})
    best = min([0.0, -WIDEST, WIDEST, float(found.x)], key=loss)  # the first of equals: a loss can round to 0
    return Temperature(float(np.exp(best)), abs(best) == WIDEST, len(labels))


def calibration_error(probabilities: Floats, labels: Ints, bins: int = 15) -> float:
    """Return the expected calibration error of ``probabilities`` (n, C) for ``labels`` (n,), between 0 and 1.

    The highest probability of each image falls into one of ``bins`` equal bins, open on the left; the error is the
    mean distance between a bin's mean probability and its share of right answers, by images (Guo et al., ICML 2017).
    """
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.digitize(sure, np.arange(1, bins) / bins, right=True)
    gap = np.bincount(places, weights=sure - right, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))
