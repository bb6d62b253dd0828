"""How well scores order images by their true losses, and whether one kind of score does it better than another."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtrit

from alctl.chance import stream
from alctl.metrics import LossRanking, RankingInterval, RankingLead

Verdict = Literal["above", "below", "equal", "not told apart"]
MOST_COMPARED = 5_000
"""Images that are compared at most; the work grows with their square."""
MOST_RESAMPLED = 2_000
"""Images that the bootstrap interval is made of at most; its work grows with their square."""
BLOCK = 500
"""Rows of the table of pairs that are in memory at once."""
EQUAL = 0.05
"""A lead of less than this, either way, makes no difference that anybody would notice."""


def loss_ranking(predicted: np.ndarray, true: np.ndarray) -> LossRanking:
    """Return ranking accuracy, its ties, and the correlations of predicted with true losses, both (N,).

    Ranking accuracy is the share of pairs in the right order (LL4AL section 4.1); pairs of equal true loss do not
    count, pairs of equal predicted loss count half, and in the strict variant nothing. From Kendall's tau-b, in
    O(N log N): ½ (1 + tau · √((n₀ − ties in predicted) / (n₀ − ties in true))).
    """
    every = len(true) * (len(true) - 1) // 2
    ties_predicted, ties_true = _ties(predicted), _ties(true)
    ties_both = _ties(np.stack([predicted, true], axis=1))
    ranked = every - ties_true
    accuracy = strict = None
    if ranked and ties_predicted < every:
        tau = stats.kendalltau(predicted, true).statistic
        accuracy = 0.5 * (1 + float(tau) * math.sqrt((every - ties_predicted) / ranked))
    elif ranked:
        accuracy = 0.5
    if accuracy is not None:
        strict = accuracy - 0.5 * (ties_predicted - ties_both) / ranked
    varies = ranked > 0 and ties_predicted < every
    return LossRanking(
        accuracy,
        strict,
        ties_predicted,
        ties_true,
        _correlation(predicted, true) if varies else None,
        _correlation(stats.rankdata(predicted), stats.rankdata(true)) if varies else None,
    )


def ranking_interval(
    predicted: np.ndarray, true: np.ndarray, *, resamples: int = 1_000, seed: int = 0
) -> RankingInterval:
    """Return the 95 % bootstrap interval of the ranking accuracy of predicted against true losses, both (N,).

    Images are drawn with replacement, not pairs, which depend on each other. How often an image was drawn is its
    weight w, so that every resample is a quotient of two quadratic forms, wᵀRw / wᵀCw: R holds which pairs are in the
    right order, C which ones count. Of more than `MOST_RESAMPLED` images a random part is taken: the interval is wider
    then than it need be. None where no two true losses differ.
    """
    rng = np.random.default_rng(stream(seed, "ranking interval"))
    part = np.sort(rng.permutation(len(true))[:MOST_RESAMPLED])
    guess, loss = predicted[part], true[part]
    order = np.sign(loss[:, None] - loss[None, :])
    counts = np.abs(order).astype(np.float32)
    right = ((1 + order * np.sign(guess[:, None] - guess[None, :])) / 2).astype(np.float32) * counts
    if not counts.any() or not (np.isfinite(guess).all() and np.isfinite(loss).all()):
        return RankingInterval(None, None)
    n = len(part)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)
    above, below = (((weights @ pairs) * weights).sum(axis=1, dtype=np.float64) for pairs in (right, counts))
    if not (below > 0).any():
        return RankingInterval(None, None)
    low, high = np.quantile(above[below > 0] / below[below > 0], (0.025, 0.975))
    return RankingInterval(float(low), float(high))


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return Pearson's correlation; None where it overflows or is undefined."""
    with np.errstate(all="ignore"):
        found = float(np.corrcoef(x, y)[0, 1])
    return found if math.isfinite(found) else None


def _ties(values: np.ndarray) -> int:
    """Return the number of pairs of equal rows."""
    _, counts = np.unique(values, axis=0, return_counts=True)
    return int((counts * (counts - 1) // 2).sum())


def ranking_lead(
    first: np.ndarray, second: np.ndarray, true: np.ndarray, *, seed: int = 0
) -> RankingLead | None:
    """Return by how much the scores ``first`` order images better than ``second`` do, with its 95 % interval.

    All are (N,), and ``true`` holds the true losses. A pair of images counts where its true losses differ, as in
    `loss_ranking`, so the lead is the difference of two ranking accuracies. Pairs that share an image depend on
    each other; the standard error is therefore that of the jackknife, which leaves out one image after the other
    (Efron & Stein 1981), and the interval is Student's with N − 1 degrees of freedom. Of more than `MOST_COMPARED`
    images a random part is taken. None where it cannot be said: no true losses differ, or not without some image.
    """
    rng = np.random.default_rng(stream(seed, "ranking lead"))
    part = np.sort(rng.permutation(len(true))[:MOST_COMPARED])
    better, counted = _sums_per_image(first[part], second[part], true[part])
    n, all_better, all_counted = len(part), better.sum() / 2, counted.sum() / 2  # each pair is in two sums
    if n < 2 or (counted >= all_counted).any():
        return None
    lead = float(all_better / all_counted)
    without = (all_better - better) / (all_counted - counted)
    se = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    reach = float(stdtrit(n - 1, 0.975)) * se
    return RankingLead(lead, se, lead - reach, lead + reach, n)


def _sums_per_image(
    first: np.ndarray, second: np.ndarray, true: np.ndarray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each image over its pairs: by how much ``first`` is right more often, and how many count.

    Signs are whole numbers, so the sums are exact, whatever the size of the blocks.
    """
    n = len(true)
    better, counted = np.zeros(n), np.zeros(n)
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        order = _signs(true, rows)
        counted[rows] = np.abs(order).sum(axis=1, dtype=np.int64)
        better[rows] = (order * (_signs(first, rows) - _signs(second, rows))).sum(axis=1, dtype=np.int64) / 2
    return better, counted


def _signs(values: np.ndarray, rows: slice) -> NDArray[np.int8]:
    """Return the signs of the differences between some of the values and all of them."""
    some = values[rows, None]
    return (some > values).astype(np.int8) - (some < values).astype(np.int8)


def verdict(found: RankingLead) -> Verdict:
    """Return what a lead says: above or below if its 95 % interval leaves out 0.

    Equal if the 90 % interval lies within ± `EQUAL`: two one-sided tests at 5 % (Schuirmann 1987).
    """
    if found.lead_low > 0:
        return "above"
    if found.lead_high < 0:
        return "below"
    reach = float(stdtrit(found.lead_images - 1, 0.95)) * found.lead_se
    return "equal" if abs(found.lead_over_margin) + reach <= EQUAL else "not told apart"


def images_needed(found: RankingLead) -> int:
    """Return how many images would show a lead of `EQUAL` four times in five (two-sided 5 %, power 80 %)."""
    return math.ceil(found.lead_images * ((1.96 + 0.84) * found.lead_se / EQUAL) ** 2)
