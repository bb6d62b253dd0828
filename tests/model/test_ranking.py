"""Two rankings of the same images, compared (the paired jackknife)."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from alctl.metrics import RankingLead
from alctl.model import ranking
from alctl.model.ranking import images_needed, loss_ranking, ranking_lead, verdict

TRUE = np.array([0.1, 0.9, 0.4, 1.6, 0.2, 2.2])
FIRST = np.array([0.2, 0.7, 0.5, 1.1, 0.1, 1.9])
SECOND = np.array([0.5, 0.4, 0.1, 0.9, 0.3, 0.8])


def lead_of(first, second, true) -> RankingLead:
    found = ranking_lead(np.asarray(first, float), np.asarray(second, float), np.asarray(true, float))
    assert found is not None
    return found


def by_pairs(first, second, true) -> float:
    """Return the lead as it is defined, pair by pair."""
    better = counted = 0.0
    for i, j in combinations(range(len(true)), 2):
        order = np.sign(true[i] - true[j])
        if order:
            counted += 1
            right = [(1 + order * np.sign(s[i] - s[j])) / 2 for s in (first, second)]
            better += right[0] - right[1]
    return better / counted


def accuracy_of(scored, true) -> float:
    found = loss_ranking(scored, true).ranking_accuracy
    assert found is not None
    return found


def scores(n: int, seed: int, noise: float = 1.0, decimals: int = 1) -> np.ndarray:
    """Return true losses and two scores that follow them, (3, n), with ties."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n)
    return np.stack([true, true + rng.normal(size=n), true + noise * rng.normal(size=n)]).round(decimals)


def test_six_images_have_the_lead_and_the_interval_that_follow_by_hand():
    assert accuracy_of(FIRST, TRUE) == pytest.approx(0.9333333333)
    assert accuracy_of(SECOND, TRUE) == pytest.approx(0.6666666667)
    found = lead_of(FIRST, SECOND, TRUE)
    assert found.lead_over_margin == pytest.approx(0.2666666667)
    assert found.lead_se == pytest.approx(0.1054092553)
    assert (found.lead_low, found.lead_high) == pytest.approx((-0.0042964504, 0.5376297837))
    assert found.lead_images == 6
    assert verdict(found) == "not told apart"


@pytest.mark.parametrize("seed", range(20))
def test_the_lead_and_its_error_are_those_of_leaving_out_one_image_after_the_other(seed):
    n = int(np.random.default_rng(seed).integers(5, 25))
    true, first, second = scores(n, seed)
    found = lead_of(first, second, true)
    without = [by_pairs(*(np.delete(values, i) for values in (first, second, true))) for i in range(n)]
    se = math.sqrt((n - 1) * float(np.var(without)))
    reach = stats.t.ppf(0.975, n - 1) * se
    assert found.lead_over_margin == pytest.approx(by_pairs(first, second, true))
    assert found.lead_se == pytest.approx(se)
    assert (found.lead_low, found.lead_high) == pytest.approx(
        (found.lead_over_margin - reach, found.lead_over_margin + reach)
    )


def test_the_lead_is_the_difference_of_the_two_ranking_accuracies():
    true, first, second = scores(300, 1)
    expected = accuracy_of(first, true) - accuracy_of(second, true)
    assert lead_of(first, second, true).lead_over_margin == pytest.approx(expected)


def test_the_two_change_places_and_the_lead_its_sign():
    true, first, second = scores(60, 2, noise=3.0)
    one, other = lead_of(first, second, true), lead_of(second, first, true)
    assert one.lead_over_margin == -other.lead_over_margin > 0
    assert one.lead_se == other.lead_se
    assert (one.lead_low, one.lead_high) == pytest.approx((-other.lead_high, -other.lead_low))


def test_the_same_order_is_equal_and_the_opposite_one_is_told_apart():
    true, first, second = scores(50, 3, noise=5.0)
    assert verdict(lead_of(first, np.exp(first), true)) == "equal"
    assert verdict(lead_of(true, second, true)) == "above"
    assert verdict(lead_of(second, true, true)) == "below"


def test_more_images_than_a_block_are_compared_all_with_all():
    n = 2 * ranking.BLOCK + 3
    true, first, second = scores(n, 4)
    order, one, other = (np.sign(values[:, None] - values) for values in (true, first, second))
    better, counted = (order * (one - other) / 2).sum(axis=1), np.abs(order).sum(axis=1)
    without = (better.sum() / 2 - better) / (counted.sum() / 2 - counted)
    found = lead_of(first, second, true)
    assert found.lead_over_margin == pytest.approx(better.sum() / counted.sum())
    assert found.lead_se == pytest.approx(np.sqrt((n - 1) * without.var()))


def test_of_many_images_a_fixed_random_part_is_compared():
    true, first, second = scores(ranking.MOST_COMPARED + 700, 5, decimals=3)
    found = lead_of(first, second, true)
    assert found == lead_of(first, second, true)
    assert found.lead_images == ranking.MOST_COMPARED
    of_all = accuracy_of(first, true) - accuracy_of(second, true)
    assert found.lead_low < of_all < found.lead_high


@pytest.mark.parametrize("true", [[], [1], [1, 2], [1, 1, 1, 1], [1, 1, 1, 2]])
def test_too_little_to_compare_is_none(true):
    values = np.arange(len(true), dtype=float)
    assert ranking_lead(values, -values, np.array(true, float)) is None


@pytest.mark.parametrize(
    ("lead", "se", "images", "said"),
    [
        (0.05, 0.02, 200, "above"),
        (-0.05, 0.02, 200, "below"),
        (0.01, 0.02, 200, "equal"),  # 0.01 + 1.65 × 0.02 is within 0.05
        (-0.01, 0.02, 200, "equal"),
        (0.02, 0.02, 200, "not told apart"),
        (0.03, 0.03, 50, "not told apart"),
        (0.0, 0.0, 50, "equal"),
    ],
)
def test_the_verdict_follows_from_the_two_intervals(lead, se, images, said):
    reach = stats.t.ppf(0.975, images - 1) * se
    assert verdict(RankingLead(lead, se, lead - reach, lead + reach, images)) == said


def test_the_images_that_would_do_are_those_of_a_power_of_80_percent():
    assert images_needed(RankingLead(0.01, 0.03, -0.05, 0.07, 100)) == 283  # 100 · 2.8² · 0.03² / 0.05²
    assert images_needed(RankingLead(0.0, 0.0, 0.0, 0.0, 100)) == 0
