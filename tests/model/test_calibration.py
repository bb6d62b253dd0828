import math

import numpy as np
import pytest
from scipy.special import softmax

from alctl.model.calibration import Temperature, best_temperature, calibration_error, mean_loss

LOGITS = np.array([[4.0, 0], [3, 0], [0, 2], [1, 0], [0, 5]])
LABELS = np.array([0, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("temperature", "loss", "error"),
    [
        (1, 1.7027284653, 0.4632078819),
        (2, 1.0389139390, 0.4537990929),
        (5, 0.7666008851, 0.3836335417),
        (10, 0.7167966021, 0.2749031939),
    ],
)
def test_loss_and_calibration_error_at_a_temperature(temperature, loss, error):
    assert mean_loss(LOGITS, LABELS, temperature) == pytest.approx(loss, abs=1e-10)
    assert calibration_error(softmax(LOGITS / temperature, axis=1), LABELS) == pytest.approx(error, abs=1e-10)


def test_an_end_of_the_search_is_reported_and_not_used():
    found = best_temperature(LOGITS, LABELS)
    assert found == Temperature(math.exp(3), at_bound=True, images=5)
    assert found.used == 1
    right = best_temperature(LOGITS, LOGITS.argmax(1))
    assert (right.value, right.at_bound, right.used) == (math.exp(-3), True, 1)


def test_the_temperature_that_the_labels_were_drawn_at_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 3
    labels = (logits / 2.5 + rng.gumbel(size=logits.shape)).argmax(1)
    found = best_temperature(logits, labels)
    assert found.used == found.value == pytest.approx(2.5, rel=0.03)
    assert not found.at_bound
    step = 1e-4
    around = [mean_loss(logits, labels, found.value * factor) for factor in (1 - step, 1, 1 + step)]
    assert around[1] == min(around)
    assert calibration_error(softmax(logits / found.value, axis=1), labels) < 0.02


def test_without_images_the_logits_stay_as_they_are():
    assert best_temperature(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) == Temperature(1.0)


def test_where_no_temperature_changes_anything_it_is_1():
    only = np.array([[2.0, -np.inf], [3.0, -np.inf]])
    assert best_temperature(only, np.array([0, 0])) == Temperature(1.0, images=2)


def test_a_probability_on_the_edge_of_a_bin_belongs_to_the_bin_below():
    edge = np.array(
        [[0.5, 0.5], [0.625, 0.375]]
    )  # (¼, ½] and (½, ¾] of four bins: both binary fractions are exact
    assert calibration_error(edge, np.array([1, 0]), bins=4) == pytest.approx((0.5 + 0.375) / 2)
    assert calibration_error(edge, np.array([1, 0]), bins=2) == pytest.approx((0.5 + 0.375) / 2)
    assert calibration_error(np.array([[1.0, 0], [0.75, 0.25]]), np.array([0, 1]), bins=2) == pytest.approx(
        0.375
    )
