"""Statistics of learning curves against numbers that were worked out by hand or by another program."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.simulation.figures import draw_classes, draw_curves, draw_scatter
from alctl.simulation.paired import Difference, holm
from alctl.simulation.statistics import (
    Point,
    area,
    comparisons,
    curves,
    mean_and_deviation,
    penalty_matrix,
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


def test_the_penalty_matrix_holds_the_share_of_budgets_that_the_row_wins():
    better, worse = [[0.5, 0.80], [0.5, 0.91], [0.5, 1.00]], [[0.5, 0.10], [0.5, 0.20], [0.5, 0.31]]
    matrix = penalty_matrix(curves_of({"a": better, "b": worse}))
    assert matrix.tolist() == [[0, 0.5], [0, 0]]


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(0.01, -0.01, 0.03, 5, 4), "ours is not told apart from random so far"),
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


def test_rivals_are_tested_together():
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.02, (6, 3))
    values = {"random": base.tolist()}
    values |= {f"rival {i}": (base + 0.02 + rng.normal(0, 0.02, (6, 3))).tolist() for i in range(4)}
    found = comparisons(curves_of(values), "random")
    raw = [one.area.p for one in found.values() if one.area and one.area.p is not None]
    assert [one.p for one in found.values()] == pytest.approx(holm(raw))
    for name, one in found.items():
        assert one.p is not None
        assert one.area is not None
        assert ("is above random" in one.verdict) == (one.p < 0.05 and (one.area.low or 0) > 0), name


def test_what_only_a_test_alone_would_find_is_not_told_apart():
    found = Difference(0.02, 0.001, 0.04, 6, 6, 0.01, 0.04, 0.03)
    assert "among so many rivals (Holm p 0.120)" in verdict("ours", "random", "accuracy", found, 0.12)
    assert "ours is above random" in verdict("ours", "random", "accuracy", found, 0.04)
