"""Statistics of learning curves against numbers that were worked out by hand or by another program."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from alctl.simulation.figures import draw_classes, draw_curves, draw_scatter
from alctl.simulation.statistics import (
    Difference,
    Point,
    area,
    curves,
    interval,
    labels_at,
    mean_and_deviation,
    paired,
    penalty_matrix,
    saved,
    significant,
    summary,
    verdict,
)

NAN = math.nan
LABELED = [1000, 2000, 3000, 4000, 5000]
LEARNING_LOSS = [0.5103, 0.6513, 0.7650, 0.8193, 0.8496]
RANDOM = [0.5122, 0.6225, 0.7032, 0.7602, 0.8046]
"""The supplement's Table 1, CIFAR-10."""


def points_of(values: dict[str, list[list[float]]], metric: str = "accuracy") -> list[Point]:
    """Turn trials of rounds into points, 10 labels a round; NaN is left out."""
    return [
        Point(strategy, trial, number, 10 * number, metric, value)
        for strategy, trials in values.items()
        for trial, curve in enumerate(trials, start=1)
        for number, value in enumerate(curve, start=1)
        if not math.isnan(value)
    ]


def curves_of(values: dict[str, list[list[float]]]):
    return curves(points_of(values), "accuracy", list(values))


def test_the_area_under_the_papers_curves_is_the_known_one():
    found = area(LABELED, np.array([LEARNING_LOSS, RANDOM]))
    assert found == pytest.approx([0.7288875, 0.686075], abs=1e-12)


def test_the_area_weighs_by_the_distance_of_the_budgets():
    assert area([0, 1, 4], np.array([0.0, 1.0, 0.0])) == pytest.approx((0.5 + 1.5) / 4)


def test_of_one_budget_the_area_is_its_value():
    assert area([10], np.array([[0.5], [0.7]])).tolist() == [0.5, 0.7]


def test_mean_and_deviation_are_over_the_trials_that_are_there():
    mean, deviation = mean_and_deviation(np.array([[1.0, 5.0, NAN], [3.0, NAN, NAN]]))
    assert mean[:2].tolist() == [2, 5]
    assert deviation[0] == pytest.approx(math.sqrt(2))
    assert np.isnan([mean[2], deviation[1], deviation[2]]).all()


def test_curves_keep_the_order_of_the_strategies_and_leave_out_those_without_the_metric():
    points = [*points_of({"b": [[0.1, 0.2]], "a": [[0.3, NAN]]}), Point("c", 1, 1, 10, "other", 1.0)]
    found = curves(points, "accuracy", ["c", "b", "a"])
    assert found.strategies == ["b", "a"]
    assert found.labeled == [10, 20]
    assert found.of("b").tolist() == [[0.1, 0.2]]
    assert np.isnan(found.of("a")[0, 1])


def test_the_interval_of_two_differences_spans_both():
    assert interval(np.array([0.1, 0.3])) == pytest.approx((0.1, 0.3))


def test_one_difference_has_no_interval():
    assert interval(np.array([0.1])) is None


def test_the_interval_of_equal_differences_is_a_point():
    assert interval(np.full(5, 0.25)) == (0.25, 0.25)


def test_the_interval_of_five_differences_is_that_of_all_their_resamples():
    differences = np.array([0.01, 0.05, -0.02, 0.04, 0.03])
    means = sorted(float(np.mean(drawn)) for drawn in product(differences, repeat=5))
    tail = stats.norm.cdf(-math.sqrt(5 / 4) * 2.7764451052)
    place = tail * (len(means) - 1)
    low = means[int(place)] + (place % 1) * (means[int(place) + 1] - means[int(place)])
    found = interval(differences)
    assert found is not None
    assert found[0] == pytest.approx(low, abs=1e-12)
    assert found[0] < np.quantile(means, 0.025) < np.quantile(means, 0.975) < found[1]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        low, high = interval(rng.normal(size=5)) or (0, 0)
        covered += low <= 0 <= high
    assert 0.9 <= covered / 300 <= 1


def test_the_interval_of_many_differences_is_about_the_normal_one():
    differences = np.random.default_rng(0).normal(size=200)
    low, high = interval(differences) or (0, 0)
    half = 1.972 * differences.std(ddof=1) / math.sqrt(200)
    assert low == pytest.approx(differences.mean() - half, abs=0.01)
    assert high == pytest.approx(differences.mean() + half, abs=0.01)


def test_differences_are_paired_by_trial_and_skip_what_is_missing():
    found = paired(np.array([0.5, 0.7, NAN]), np.array([0.4, 0.8, 0.1]))
    assert found is not None
    assert (found.trials, found.above) == (2, 1)
    assert found.mean == pytest.approx(0.0)
    assert (found.low, found.high) == pytest.approx((-0.1, 0.1))
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


def test_the_penalty_matrix_holds_the_share_of_budgets_that_the_row_wins():
    better, worse = [[0.5, 0.80], [0.5, 0.91], [0.5, 1.00]], [[0.5, 0.10], [0.5, 0.20], [0.5, 0.31]]
    matrix = penalty_matrix(curves_of({"a": better, "b": worse}))
    assert matrix.tolist() == [[0, 0.5], [0, 0]]


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


def test_saved_labels_compare_the_means_of_the_trials_that_both_finished():
    c = curves_of({"random": [[0.2, 0.4], [0.9, NAN]], "ours": [[0.2, 0.6], [0.1, 0.1]]})
    first, last = saved(c, "ours", "random")
    assert (first.needed, first.at_most, first.saved) == (10, True, 0)
    assert (last.value, last.needed, last.saved) == pytest.approx((0.4, 15, 5))


def test_a_value_that_is_never_reached_saves_nothing():
    c = curves_of({"random": [[0.2, 0.4]], "ours": [[0.1, 0.3]]})
    assert saved(c, "ours", "random")[-1].needed is None


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(0.01, -0.01, 0.03, 5, 4), "ours is equal to random so far"),
        (Difference(0.02, 0.01, 0.03, 5, 5), "ours is above random"),
        (Difference(-0.02, -0.03, -0.01, 6, 0), "ours is below random"),
        (Difference(0.02, 0.01, 0.03, 4, 4), "fewer than 5 trials are too few"),
        (Difference(0.02, None, None, 1, 1), "one trial is too few"),
        (None, "no finished trial in common"),
    ],
)
def test_the_verdict_says_no_more_than_the_numbers_do(difference, words):
    assert words in verdict("ours", "random", "accuracy", difference)


def test_the_summary_has_nothing_where_nothing_is_known():
    found = summary(curves_of({"random": [[0.2, NAN]], "ours": [[0.3, 0.4]]}), "random")
    assert found.mean == {"random": [0.2, None], "ours": [0.3, 0.4]}
    assert found.deviation == {"random": [None, None], "ours": [None, None]}
    assert found.area["random"].mean is None
    assert found.area["ours"].mean == pytest.approx(0.35)
    assert found.differences["ours"].area is None
    first = found.differences["ours"].budgets[0]
    assert first is not None
    assert first.mean == pytest.approx(0.1)
    assert found.beats["ours"] == {"random": 0, "ours": 0}


def test_without_the_baseline_there_are_no_differences():
    assert summary(curves_of({"ours": [[0.3, 0.4]]}), "random").differences == {}


def test_pictures_are_drawn_of_whatever_there_is(tmp_path: Path):
    c = curves_of({"random": [[0.2, NAN]], "ours": [[0.3, 0.4], [0.3, 0.5]]})
    draw_curves(c, "a title", tmp_path / "curves.png")
    draw_scatter(np.zeros(3), np.arange(3.0), "constant", tmp_path / "constant.png")
    rng = np.random.default_rng(0)
    draw_scatter(rng.normal(size=5000), rng.normal(size=5000), "many", tmp_path / "many.png")
    draw_classes(
        {"random": [{"cat": 1, "dog": 2}], "ours": [{"cat": 3}, {"dog": 1}]}, "t", tmp_path / "c.png"
    )
    for name in ("curves", "constant", "many", "c"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 400
    assert len(list(tmp_path.iterdir())) == 4
