"""Multinomial logistic regression, followed to its minimum: what a linear probe is fitted with.

The objective is strictly convex in what a prediction depends on, so there is one minimum: no seed, no order of rows, no
number of epochs. Searched by SciPy's L-BFGS. scikit-learn's class is as quick, but penalises two classes half as much as
this formula does, refuses a single one, and does not tell how far from the minimum it stopped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOLERANCE = 1e-9
"""Where the search stops: the largest component of the gradient, columns scaled. Probabilities are right to 1e-7 then."""
ROUGH = 1e-5
"""The same for a fit that only scores held-out labels: their loss is right to the fourth digit, in a third of the steps."""
ACCEPTED = 1e-6
"""Length of the unscaled gradient above which a search has not reached the minimum (SELECTION.md §2.1)."""
STEPS = 10_000
"""Most steps of a search; about 50 are usual, and 1,000 for a penalty of 1e-6."""


class Linear(NamedTuple):
    """A linear classifier: the logits of a row x are W x + b."""

    weight: Floats
    """(C, d); zeros for a class without labels."""
    bias: Floats
    """(C,), its mean 0 over the classes with labels; minus infinity for the others."""


def minimum(rows: Floats, labels: Ints, classes: int, l2: float, *, tolerance: float = TOLERANCE) -> Linear:
    """Return the W, b that minimise (1/n) Σ CE(W x + b, y) + (l2/2)‖W‖² over ``rows`` (n, d), ``labels`` (n,).

    The bias is not penalised. scikit-learn's LogisticRegression has the same minimum at C = 1/(n·l2), and of two classes
    at C = 2/(n·l2). Raises FloatingPointError if the search ends before the minimum, which rows of about length 1 and a
    penalty of 1e-6 or more rule out.
    """
    present, index = np.unique(labels, return_inverse=True)
    centre = rows.mean(axis=0)  # a shift of all rows moves the bias alone, and centred rows take fewer steps
    centred = rows - centre
    even = (1 - 1 / len(present)) / len(
        present
    )  # p(1 − p) of even odds: curvature is this much of the variance
    scale = 1 / np.sqrt(
        even * np.square(centred).mean(axis=0) + l2
    )  # then no direction is steeper than others
    shape = (len(present), rows.shape[1] + 1)
    found = minimize(
        _objective,
        np.zeros(shape).ravel(),
        args=(centred * scale, index, l2 * scale**2),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": tolerance, "ftol": 0, "maxcor": 20, "maxiter": STEPS, "maxfun": 2 * STEPS},
    )
    steepness = np.linalg.norm(found.jac.reshape(shape) / np.append(scale, 1))
    if not steepness <= max(ACCEPTED, tolerance * found.x.size**0.5):
        raise FloatingPointError(f"the search for a minimum stopped where the gradient is {steepness:.1e}")
    parts = found.x.reshape(shape)
    weight, bias = np.zeros((classes, rows.shape[1])), np.full(classes, -np.inf)
    weight[present] = parts[:, :-1] * scale
    bias[present] = parts[:, -1] - weight[present] @ centre
    bias[present] -= bias[present].mean()
    return Linear(weight, bias)


def _objective(flat: Floats, rows: Floats, index: Ints, penalty: Floats) -> tuple[float, Floats]:
    """Return the objective and its gradient at W and b, side by side in ``flat``; a penalty (d,) for each column."""
    n = len(rows)
    both = flat.reshape(-1, rows.shape[1] + 1)
    weight, bias = both[:, :-1], both[:, -1]
    logits = rows @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    own = logits[np.arange(n), index]
    error = np.exp(logits, out=logits)  # by hand: scipy's logsumexp takes longer than all else here
    total = error.sum(axis=1, keepdims=True)
    value = float((np.log(total[:, 0]) - own).mean() + (penalty * np.square(weight)).sum() / 2)
    error /= total
    error[np.arange(n), index] -= 1
    error /= n
    return value, np.column_stack([error.T @ rows + penalty * weight, error.sum(axis=0)]).ravel()


def principal_axes(rows: Floats) -> Floats:
    """Return orthonormal columns (d, min(n, d)): the directions in which the ``rows`` (n, d) vary, one by one.

    At the minimum W is a sum of rows, so with Q these columns the minimum for ``rows`` is that for ``rows @ Q``, its
    weight times Qᵀ. It is the same minimum and found in a quarter of the steps, because scaling the columns helps where
    they do not vary together; and with n < d there are fewer of them.
    """
    n, d = rows.shape
    if n < d:
        return np.linalg.svd(rows, full_matrices=False).Vh.T
    return np.linalg.eigh(rows.T @ rows).eigenvectors
