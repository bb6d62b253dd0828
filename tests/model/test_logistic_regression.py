import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from alctl.model.logistic_regression import ROUGH, Linear, minimum, principal_axes
from tests.examples import examples

ROWS = np.array([[1.0, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]])
LABELS = np.array([0, 0, 1, 1])


def overlapping(n, d, classes, seed=0):
    """Return rows whose classes overlap, as embeddings of photos do, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    latent = rng.normal(size=(classes, 8))[labels] + rng.normal(size=(n, 8))
    rows = np.maximum(latent @ rng.normal(size=(8, d)) + rng.normal(size=(n, d)), 0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) - 0.02, labels


def probabilities(found: Linear, rows):
    return softmax(rows @ found.weight.T + found.bias, axis=1)


def gradient(found: Linear, rows, labels, l2):
    """Return the gradient of the objective by its definition, without the classes that have no labels."""
    error = (probabilities(found, rows) - np.eye(len(found.bias))[labels]) / len(rows)
    return np.column_stack([error.T @ rows + l2 * found.weight, error.sum(0)])[np.isfinite(found.bias)]


def test_the_minimum_of_four_points():
    found = minimum(ROWS, LABELS, 2, 1e-2)
    loss = -log_softmax(ROWS @ found.weight.T + found.bias, axis=1)[range(4), LABELS].mean()
    assert loss + 1e-2 / 2 * np.square(found.weight).sum() == pytest.approx(0.1188757884, abs=1e-10)
    assert found.weight == pytest.approx(np.array([[2.277151, -1.138576], [-2.277151, 1.138576]]), abs=1e-6)
    assert found.bias == pytest.approx(np.zeros(2), abs=1e-6)
    assert probabilities(found, np.array([0.5, 0.5])[None])[0] == pytest.approx(
        [0.7574180, 0.2425820], abs=1e-7
    )


@settings(max_examples=examples(40))
@given(
    st.integers(1, 25),
    st.integers(1, 6),
    st.integers(1, 5),
    st.sampled_from([1e-1, 1e-2, 1e-4]),
    st.integers(0, 99),
)
def test_at_the_minimum_the_gradient_is_zero(n, d, classes, l2, seed):
    rng = np.random.default_rng(seed)
    rows, labels = rng.normal(size=(n, d)), rng.integers(classes, size=n)
    found = minimum(rows, labels, classes, l2)
    assert np.linalg.norm(gradient(found, rows, labels, l2)) <= 1e-6
    assert np.isfinite(found.bias).tolist() == [c in labels for c in range(classes)]


@pytest.mark.parametrize(("n", "d"), [(60, 128), (400, 24)])
@pytest.mark.parametrize("l2", [1e-2, 1e-4])
def test_scikit_learn_finds_the_same_minimum(n, d, l2):
    rows, labels = overlapping(n, d, 5)
    theirs = LogisticRegression(C=1 / (n * l2), solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(
        rows, labels
    )
    others, _ = overlapping(200, d, 5, seed=1)
    found = minimum(rows, labels, 5, l2)
    assert probabilities(found, others) == pytest.approx(theirs.predict_proba(others), abs=1e-6)


@pytest.mark.parametrize(("n", "d", "axes"), [(40, 200, 50), (240, 30, 30)])
def test_along_the_principal_axes_the_minimum_is_the_same(n, d, axes):
    rows, labels = overlapping(n, d, 5)
    rows = np.concatenate([rows, rows[:10]])  # the same image twice: the rows are not independent
    labels = np.concatenate([labels, labels[:10]])
    basis = principal_axes(rows)
    assert basis.shape == (d, axes)
    assert basis.T @ basis == pytest.approx(np.eye(axes), abs=1e-12)
    direct, along = minimum(rows, labels, 5, 1e-4), minimum(rows @ basis, labels, 5, 1e-4)
    assert along.weight @ basis.T == pytest.approx(direct.weight, abs=1e-4)
    others, _ = overlapping(200, d, 5, seed=1)
    assert probabilities(along, others @ basis) == pytest.approx(probabilities(direct, others), abs=1e-6)


def test_a_rough_fit_is_near_the_minimum():
    rows, labels = overlapping(100, 12, 4)
    rough = minimum(rows, labels, 4, 1e-3, tolerance=ROUGH)
    assert probabilities(rough, rows) == pytest.approx(
        probabilities(minimum(rows, labels, 4, 1e-3), rows), abs=1e-3
    )


def test_a_shift_of_all_rows_changes_no_probability():
    rows, labels = overlapping(100, 12, 4)
    here, there = minimum(rows, labels, 4, 1e-3), minimum(rows + 5, labels, 4, 1e-3)
    assert probabilities(there, rows + 5) == pytest.approx(probabilities(here, rows), abs=1e-6)


def test_scikit_learn_finds_the_same_minimum_of_two_classes():
    rows, labels = overlapping(80, 12, 2)
    theirs = LogisticRegression(C=2 / (80 * 1e-3), solver="newton-cholesky", tol=1e-10).fit(rows, labels)
    found = minimum(rows, labels, 2, 1e-3)
    assert probabilities(found, rows) == pytest.approx(theirs.predict_proba(rows), abs=1e-6)


def test_a_search_that_rounding_stops_before_the_minimum_is_an_error():
    rows, labels = overlapping(60, 8, 3)
    with pytest.raises(FloatingPointError, match="stopped where the gradient is"):
        minimum(1e12 * rows, labels, 3, 1e-4)
