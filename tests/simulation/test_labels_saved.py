"""Labels saved: the oracle of SELECTION.md §5.3, the paper's table, and trials that never get there."""

import math

import numpy as np
import pytest

from alctl.simulation.labels_saved import labels_at, saved
from alctl.simulation.paired import interval

LABELED = [1000, 2000, 3000, 4000, 5000]
LEARNING_LOSS = [0.5103, 0.6513, 0.7650, 0.8193, 0.8496]
BASE, OURS = [0.50, 0.60, 0.66, 0.70], [0.55, 0.66, 0.70, 0.72]


def test_labels_at_a_height_lie_on_the_line_between_two_points():
    found = labels_at(LABELED, np.array(LEARNING_LOSS), 0.8046)
    assert found is not None
    assert found[0] == pytest.approx(3000 + 1000 * (0.8046 - 0.7650) / (0.8193 - 0.7650))
    assert not found[1]
    assert labels_at(LABELED, np.array(LEARNING_LOSS), 0.5) == (1000, True)
    assert labels_at(LABELED, np.array(LEARNING_LOSS), 0.9) is None


def test_a_curve_that_falls_back_counts_from_where_it_stays():
    found = labels_at([10, 20, 30, 40], np.array([0.1, 0.5, 0.2, 0.6]), 0.4)
    assert found is not None
    assert found[0] == pytest.approx(35)


def test_o50_labels_saved():
    found = saved([100, 200, 300, 400], np.array([OURS]), np.array([BASE]))
    assert [one.needed for one in found] == pytest.approx([100, 145.4545, 200, 300], abs=1e-4)
    assert [one.saved for one in found] == pytest.approx([0, 54.5455, 100, 100], abs=1e-4)
    assert [one.at_most for one in found] == [True, False, False, False]
    assert all(one.low is None for one in found)  # one trial has no interval


def test_the_height_is_the_mean_of_the_baseline_and_each_trial_reaches_it_on_its_own():
    ours = np.array([OURS, [0.50, 0.62, 0.68, 0.74], [0.52, 0.64, 0.66, 0.73]])
    base = np.array([BASE, [0.48, 0.58, 0.64, 0.70], [0.52, 0.62, 0.68, 0.70]])
    last = saved([100, 200, 300, 400], ours, base)[-1]
    needed = np.array([300, 300 + 100 * 2 / 6, 300 + 100 * 4 / 7])
    assert last.value == pytest.approx(0.70)
    assert last.needed == pytest.approx(needed.mean())
    assert (last.low, last.high) == pytest.approx(interval(400 - needed))
    assert (last.trials, last.censored) == (3, 0)


def test_a_trial_that_is_not_finished_is_left_out():
    ours, base = np.array([[0.2, 0.6], [0.1, 0.1]]), np.array([[0.2, 0.4], [0.9, math.nan]])
    first, last = saved([10, 20], ours, base)
    assert (first.needed, first.at_most, first.saved) == (10, True, 0)
    assert (last.value, last.needed, last.saved) == pytest.approx((0.4, 15, 5))
    assert saved([10, 20], ours[1:], base[1:]) == []


def test_trials_that_never_get_there_leave_a_median_and_the_interval_of_the_sign_test():
    ends = np.array([0.50, 0.52, 0.55, 0.60, 0.65, 0.70, 0.75, 0.39])
    ours = np.column_stack([np.full(8, 0.2), ends])
    (_, last) = saved([0, 100], ours, np.full((8, 2), 0.4))
    needed = np.sort(np.where(ends >= 0.4, 100 * 0.2 / (ends - 0.2), np.inf))
    assert (last.censored, last.trials) == (1, 8)
    assert last.needed == pytest.approx(np.median(needed))
    # of 8 trials the first and the last bound the median in 99.2 % of cases, the second and seventh in 93 %
    assert last.low is None  # the last one never got there
    assert last.high == pytest.approx(100 - needed[0])


def test_where_most_trials_never_get_there_nothing_is_said():
    (_, last) = saved([10, 20], np.array([[0.1, 0.3]] * 3), np.array([[0.2, 0.4]] * 3))
    assert (last.needed, last.saved, last.censored, last.at_most) == (None, None, 3, False)


def test_an_interval_that_takes_trials_for_independent_is_not_given_for_splits_of_the_same_images():
    ours = np.array([[0.2, 0.6]] * 7 + [[0.2, 0.3]])
    (_, last) = saved([10, 20], ours, np.full((8, 2), 0.4), overlap=0.4)
    assert last.needed is not None
    assert (last.low, last.high) == (None, None)
