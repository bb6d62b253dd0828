"""The statistics of a report against oracles worked by hand or taken from the literature."""

import numpy as np
import pytest

from alctl.report import measures
from alctl.report.measures import Estimate


def verdicts(n: int, right: int) -> np.ndarray:
    return np.arange(n) < right


# --- gains ------------------------------------------------------------------------------------------------------------


def test_a_gain_on_the_same_images_has_the_interval_of_images_drawn_one_by_one():
    rng = np.random.default_rng(0)
    before = rng.random(300) < 0.6
    after = np.where(rng.random(300) < 0.3, rng.random(300) < 0.9, before)
    steps = after.astype(float) - before
    drawn = steps[rng.integers(300, size=(20_000, 300))].mean(axis=1)
    got = measures.paired_gain(before, after)
    assert got.value == pytest.approx(steps.mean())
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.006)
    assert got == measures.paired_gain(before, after)


def test_the_same_answers_are_equal_to_nothing():
    right = verdicts(400, 300)
    got = measures.paired_gain(right, right)
    assert got.value == 0
    assert got.low < 0 < got.high


@pytest.mark.parametrize(("gained", "certain"), [(3, False), (4, False), (12, True)])
def test_a_handful_of_gained_images_is_not_certain_even_if_none_is_lost(gained, certain):
    got = measures.paired_gain(verdicts(400, 200), verdicts(400, 200 + gained))
    assert (got.low > 0) == certain


def test_without_pairs_the_interval_is_wider():
    before, after = verdicts(400, 300), verdicts(400, 320)
    paired = measures.paired_gain(before, after)
    apart = measures.unpaired_gain(300 / 400, 320 / 400, 400)
    assert apart.value == pytest.approx(paired.value)
    assert apart.high - apart.low > paired.high - paired.low


def test_an_unpaired_gain_is_that_of_two_binomials():
    got = measures.unpaired_gain(0.5, 0.7, 100)
    assert got == pytest.approx((0.2, 0.2 - 1.96 * 0.0678233, 0.2 + 1.96 * 0.0678233), abs=1e-4)


def test_arms_that_are_equally_often_wrong_are_equal_and_others_are_not():
    even = measures.excess([(verdicts(100, 30), verdicts(20, 6)), (verdicts(100, 50), verdicts(20, 10))])
    harder = measures.excess([(verdicts(100, 80), verdicts(20, 6)), (verdicts(100, 70), verdicts(20, 4))])
    assert even is not None
    assert harder is not None
    assert even.low < 0 < even.high
    assert even.value == pytest.approx(0)
    assert harder.value == pytest.approx(0.5)
    assert harder.low > 0


def test_no_arm_says_nothing():
    assert measures.excess([]) is None
    assert measures.excess([(verdicts(5, 2), verdicts(0, 0))]) is None
    assert measures.share(0, 0) is None


def test_a_share_has_wilsons_interval():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263
    assert measures.share(81, 263) == pytest.approx((0.3080, 0.2553, 0.3662), abs=5e-5)


def test_an_estimate_in_another_unit():
    assert Estimate(1, 0, 2).times(10) == Estimate(10, 0, 20)


def test_the_interval_of_spearman_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        x = rng.normal(size=80)
        y = x + rng.normal(size=80)
        ranks = np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1]
        got = measures.spearman_interval(float(ranks), 80)
        assert got is not None
        covered += got.low <= 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2) <= got.high
    assert 370 <= covered <= 392


def test_the_interval_of_spearman_is_unknown_for_few_pairs_and_for_a_perfect_order():
    assert measures.spearman_interval(0.3, 3) is None
    assert measures.spearman_interval(1.0, 30) is None


# --- what a model says ------------------------------------------------------------------------------------------------


def test_reliability_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.6, 0.35])
    right = np.array([True, True, True, False, False])
    got = measures.reliability(confidence, right)
    assert [(b.from_, b.images, b.accuracy) for b in got.bins] == [
        (0.3, 1, 0),
        (0.5, 2, 0.5),
        (0.9, 2, 1),
    ]
    assert got.ece == pytest.approx((1 * 0.35 + 2 * (0.575 - 0.5) + 2 * 0.05) / 5)


def test_a_confusion_matrix_has_a_row_for_each_true_class():
    assert measures.confusion([0, 0, 1, 2], [0, 2, 1, 1], 3) == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


# --- two models on the same images ------------------------------------------------------------------------------------


def test_mcnemar_is_the_exact_test_of_those_that_only_one_gets_right():
    difference, p = measures.mcnemar(8, 2, 100)
    assert p == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    error = 1.959964 * np.sqrt(10 - 36 / 100) / 100
    assert difference == pytest.approx((0.06, 0.06 - error, 0.06 + error), abs=1e-6)
    assert measures.mcnemar(0, 0, 50) == (Estimate(0, 0, 0), 1.0)
    assert measures.mcnemar(4.4, 4.6, 50)[1] == 1  # means of draws


def test_the_images_that_mcnemar_needs_are_those_of_the_handbook():
    assert measures.images_needed(0.15, 0.05) == pytest.approx(470, abs=1)
    assert measures.images_needed(0.15, 0.02) == pytest.approx(2940, rel=0.002)
