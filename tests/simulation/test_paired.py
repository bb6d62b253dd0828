"""Tests of paired differences: the oracles of SELECTION.md §5, hand-worked numbers, and the definitions by force."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from alctl.simulation.paired import (
    holm,
    interval,
    overlap,
    paired,
    power_of,
    sign_flip,
    significant,
    t_test,
    trials_needed,
    visible,
)

NAN = math.nan
O48 = np.array([0.02, 0.015, -0.003, 0.03, 0.011])


def test_o48_the_t_interval_the_t_test_and_the_sign_flip():
    found = paired(O48, np.zeros(5))
    assert found is not None
    assert found.mean == pytest.approx(0.0146)
    assert (found.low, found.high) == pytest.approx((-0.0004697297, 0.0296697297), abs=1e-10)
    assert found.p == pytest.approx(0.0546636081, abs=1e-10)
    assert found.flipped == pytest.approx(0.125)
    assert (found.trials, found.above) == (5, 4)
    assert found.deviation == pytest.approx(O48.std(ddof=1))


def test_o49_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_difference_has_no_interval_and_no_p():
    assert interval(np.array([0.1])) is None
    assert t_test(np.array([0.1])) is None


def test_the_interval_of_equal_differences_is_a_point():
    assert interval(np.full(5, 0.25)) == (0.25, 0.25)
    assert t_test(np.full(5, 0.25)) == 0
    assert t_test(np.zeros(5)) == 1


def test_the_interval_is_where_the_t_test_turns():
    rng = np.random.default_rng(0)
    for _ in range(20):
        some = rng.normal(0.3, 1, 6)
        low, high = interval(some) or (0, 0)
        assert t_test(some - low) == pytest.approx(0.05)
        assert t_test(some - high) == pytest.approx(0.05)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    for n in (2, 3, 5):
        covered = 0
        for _ in range(2000):
            low, high = interval(rng.normal(size=n)) or (0, 0)
            covered += low <= 0 <= high
        assert 0.935 <= covered / 2000 <= 0.965, n


def test_splits_of_the_same_images_have_the_wider_interval_of_nadeau_and_bengio():
    some = np.random.default_rng(2).normal(0.05, 0.03, 200)
    low, high = interval(some, overlap=overlap(101, 240)) or (0, 0)
    half = stats.t.ppf(0.975, 199) * some.std(ddof=1) * math.sqrt(1 / 200 + 101 / 240)
    assert (low, high) == pytest.approx((some.mean() - half, some.mean() + half))
    found = paired(some[:10], np.zeros(10), overlap=0.4)
    assert found is not None
    assert found.flipped is None  # it takes trials for independent
    assert found.p == pytest.approx(t_test(some[:10], overlap=0.4))


def test_overlapping_splits_that_differ_by_their_images_alone_are_covered():
    """The mean over splits of one data set: the uncorrected interval misses the truth far more often."""
    rng = np.random.default_rng(3)
    missed = {True: 0, False: 0}
    for _ in range(400):
        images = rng.normal(size=90)  # what an image says of the difference, of which the truth is 0
        trials = np.array([images[rng.permutation(90)[:30]].mean() for _ in range(15)])
        for corrected in missed:
            low, high = interval(trials, overlap=overlap(30, 60) if corrected else 0.0) or (0, 0)
            missed[corrected] += not low <= 0 <= high
    assert missed[True] <= 0.08 * 400
    assert missed[False] >= 0.2 * 400


def test_the_sign_flip_is_that_of_all_sign_vectors():
    rng = np.random.default_rng(0)
    for n in (1, 4, 9):
        some = rng.normal(0.4, 1, n)
        means = [np.mean(some * signs) for signs in product([1, -1], repeat=n)]
        expected = np.mean(np.abs(means) >= abs(some.mean()) - 1e-12)
        assert sign_flip(some) == pytest.approx(expected)
    assert sign_flip(np.ones(5)) == 0.0625
    assert sign_flip(np.zeros(3)) == 1
    assert sign_flip(np.ones(21)) is None


def test_differences_are_paired_by_trial_and_skip_what_is_missing():
    found = paired(np.array([0.5, 0.7, NAN]), np.array([0.4, 0.8, 0.1]))
    assert found is not None
    assert (found.trials, found.above) == (2, 1)
    assert found.mean == pytest.approx(0.0)
    assert paired(np.array([NAN]), np.array([0.4])) is None


def test_significance_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ours, theirs = rng.normal(0.1, 0.1, 5), rng.normal(0, 0.1, 5)
        expected = stats.ttest_rel(ours, theirs)
        wins = int(np.sign(expected.statistic)) if expected.pvalue < 0.05 else 0
        assert significant(ours, theirs) == wins


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([0.5, 0.5], [0.5, 0.5], 0),
        ([0.6, 0.7], [0.5, 0.6], 1),
        ([0.5, 0.6], [0.6, 0.7], -1),
        ([0.9], [0.1], 0),
        ([0.9, NAN], [0.1, 0.2], 0),
    ],
)
def test_significance_where_the_t_test_divides_by_zero(ours, theirs, expected):
    assert significant(np.array(ours), np.array(theirs)) == expected


@pytest.mark.parametrize(
    ("difference", "power", "needed"),
    [
        (1, 0.8, [5, 7, 10, 20, 34, 73]),
        (1, 0.9, [5, 9, 13, 26, 44, 97]),
        (2, 0.8, [3, 4, 5, 7, 10, 20]),
    ],
)
def test_the_trials_that_tell_are_those_of_the_handbook(difference, power, needed):
    deviations = [0.5, 0.75, 1, 1.5, 2, 3]
    found = [trials_needed(deviation, difference, power=power) for deviation in deviations]
    assert found == needed


def test_overlapping_splits_may_never_tell():
    assert trials_needed(3.0, 2.0, overlap=0.42) is None
    assert 2.0 < visible(3.0, math.inf, overlap=0.42) < visible(3.0, 10, overlap=0.42)
    enough = trials_needed(3.0, 7.0, overlap=0.42)
    assert enough is not None
    assert power_of(enough, 3.0, 7.0, overlap=0.42) >= 0.8 > power_of(enough - 1, 3.0, 7.0, overlap=0.42)


def test_power_is_how_often_the_test_finds_it():
    rng = np.random.default_rng(0)
    found = [t_test(rng.normal(1, 1.5, 8)) for _ in range(4000)]
    share = np.mean([p is not None and p < 0.05 for p in found])
    assert power_of(8, 1.5, 1.0) == pytest.approx(share, abs=0.025)
