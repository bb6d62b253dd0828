"""Estimate how often each annotator is right without knowing the truth (Dawid & Skene, Applied Statistics 28, 1979).

Their EM algorithm: from the truth as far as it is known follows how each annotator answers each true class, and from
that the truth. It begins with the shares of votes. Where an annotator saw few items of a class, `SMOOTHING` answers as
all annotators together would give them are added, so that nobody is perfect or hopeless by two items.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMOOTHING = 1.0
STEPS = 100
ENOUGH = 1e-6
"""Change of every accuracy below which it ends."""
BLOCK = 4_000_000
"""Probabilities that are held at once, so that memory does not grow with the items."""


def accuracies(
    items: Ints, people: Ints, said: Ints, *, smoothing: float = SMOOTHING, block: int = BLOCK
) -> Floats:
    """Return the share of right answers of each annotator, (J,), from answers: item, annotator and class, each (n,).

    All three are numbered from 0.
    """
    n, crowd, classes = (int(numbers.max()) + 1 for numbers in (items, people, said))
    cells = people * classes + said
    gave = csr_array((np.ones(len(items)), (items, cells)), shape=(n, crowd * classes))
    step = max(1, block // classes)
    blocks = [gave[start : start + step] for start in range(0, n, step)]
    before = np.zeros(crowd)
    given = prior = None
    for _ in range(STEPS):
        counts, mass = np.zeros((crowd * classes, classes)), np.zeros(classes)
        for some in blocks:
            truth = _truth(some, classes, given, prior)
            counts += some.T @ truth
            mass += truth.sum(axis=0)
        given = _given(counts.reshape(crowd, classes, classes), smoothing)
        prior = (mass + smoothing / classes) / (mass.sum() + smoothing)
        now: Floats = np.einsum("jcc,c->j", given, prior)
        if float(np.abs(now - before).max()) < ENOUGH:
            break
        before = now
    return now


def _truth(block: csr_array, classes: int, given: Floats | None, prior: Floats | None) -> Floats:
    """Return the probability of each class for each item of a block of answers."""
    if given is None or prior is None:
        votes: Floats = block @ np.tile(np.eye(classes), (block.shape[1] // classes, 1))
        votes /= votes.sum(axis=1, keepdims=True)
        return votes
    logs = np.log(prior) + block @ np.log(given.reshape(-1, classes))
    likely = np.exp(logs - logs.max(axis=1, keepdims=True))
    found: Floats = likely / likely.sum(axis=1, keepdims=True)
    return found


def _given(counts: Floats, smoothing: float) -> Floats:
    """Return the probability of each answer (axis 1) to each true class (axis 2) for each annotator (axis 0)."""
    everybody = counts.sum(axis=0)
    everybody = (everybody + smoothing / len(everybody)) / (everybody.sum(axis=0) + smoothing)
    found: Floats = (counts + smoothing * everybody) / (counts.sum(axis=1, keepdims=True) + smoothing)
    return found
