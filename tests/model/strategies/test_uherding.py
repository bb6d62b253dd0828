import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.score import Unscored
from alctl.model.strategies.maxherding import MaxHerding
from alctl.model.strategies.uherding import UHerding
from alctl.model.uncertainty import margin
from tests.model.strategies.fakes import FakeCandidates, chance, from_embeddings, random_candidates

POOL = random_candidates(80, seed=1)
LABELED = random_candidates(6, seed=2)


def directions(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees, dtype=torch.float64).mul(math.pi / 180)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def weighed(embedding: Tensor, weights: list[float]) -> FakeCandidates:
    """Return images whose two probabilities differ by 1 - weight."""
    w = torch.tensor(weights, dtype=torch.float64)
    p = torch.stack([1 - w / 2, w / 2], dim=1)[:, None]
    return FakeCandidates(p, embedding, torch.zeros(len(w)))


def picks(strategy: UHerding, pool: FakeCandidates = POOL, labeled: FakeCandidates = LABELED) -> list[int]:
    chosen: list[int] = strategy.query(pool, labeled, 12, chance()).positions.tolist()
    return chosen


def test_uncertain_regions_are_covered_first():
    pool = weighed(directions(0, 5, 10, 180, 185), [0.05, 0.05, 0.05, 0.9, 0.8])
    labeled = from_embeddings(directions(91))
    assert MaxHerding().query(pool, labeled, 1, chance()).positions.tolist() == [1]
    assert UHerding().query(pool, labeled, 1, chance()).positions.tolist() == [3]


def test_a_tiny_radius_leaves_the_most_uncertain_images():
    unsure = (1 - margin(POOL.probabilities)[:, 0]).sort(descending=True, stable=True).indices
    assert picks(UHerding(sigma=0.001)) == unsure[:12].tolist()


def test_without_a_model_it_is_maxherding():
    pool = Unscored(80, POOL.embedding)
    labeled = Unscored(6, LABELED.embedding)
    assert not UHerding().needs_model
    expected = MaxHerding().query(POOL, LABELED, 12, chance()).positions.tolist()
    assert UHerding().query(pool, labeled, 12, chance()).positions.tolist() == expected
    assert picks(UHerding()) != expected


def test_a_model_that_is_certain_of_everything_is_not_listened_to():
    certain = torch.nn.functional.one_hot(torch.zeros(80, dtype=torch.int64), 5).double()[:, None]
    expected = MaxHerding().query(POOL, LABELED, 12, chance()).positions.tolist()
    assert picks(UHerding(), replace(POOL, probabilities=certain)) == expected


def test_frozen_vectors_take_the_place_of_the_models():
    other = torch.randn(80, 20, generator=chance(9))
    pool, labeled = replace(POOL, frozen=other), replace(LABELED, frozen=other[:6])
    expected = picks(UHerding(), replace(POOL, embedding=other), replace(LABELED, embedding=other[:6]))
    assert picks(UHerding(), pool, labeled) == expected


def test_one_pass_over_the_images_is_enough_for_an_unlabeled_pool():
    passes: list[int] = []

    class Counting(FakeCandidates):
        def map(self, fn: Callable[..., Tensor], *, dropout_passes: int = 0) -> Tensor:
            passes.append(dropout_passes)
            return super().map(fn, dropout_passes=dropout_passes)

    pool = Counting(POOL.probabilities, POOL.embedding, POOL.predicted_loss, frozen=POOL.embedding)
    UHerding().query(pool, replace(LABELED, frozen=LABELED.embedding), 5, chance())
    assert passes == [0]


@pytest.mark.parametrize("uncertainty", ["entropy", "least-confidence", "predicted-loss"])
def test_other_measures_of_uncertainty_weigh_otherwise(uncertainty):
    strategy = UHerding(uncertainty=uncertainty)
    assert picks(strategy) != picks(UHerding())
    assert strategy.uses_predicted_loss == (uncertainty == "predicted-loss")


def test_predicted_losses_count_by_their_order_only():
    strategy = UHerding(uncertainty="predicted-loss")
    stretched = replace(POOL, predicted_loss=POOL.predicted_loss.exp())
    assert picks(strategy) == picks(strategy, stretched)


def test_a_temperature_softens_all_probabilities():
    soft = (POOL.probabilities.double().log() / 3).softmax(-1)
    assert picks(UHerding(temperature=3)) == picks(UHerding(), replace(POOL, probabilities=soft))
    assert picks(UHerding(temperature=30)) != picks(UHerding())


# --- the radius -------------------------------------------------------------------------------------------------------


def same_as(sigma: float, strategy: UHerding, labeled: Tensor) -> bool:
    """Tell whether a strategy weighs as one of this radius does, to ten digits of the gains."""
    pool = weighed(directions(*range(100, 180, 2)), [0.1 + 0.02 * i for i in range(40)])
    known = from_embeddings(labeled)
    found, expected = (s.query(pool, known, 10, chance()) for s in (strategy, UHerding(sigma=sigma)))
    return found.positions.tolist() == expected.positions.tolist() and torch.allclose(
        found.scores, expected.scores, rtol=1e-10, atol=0
    )


NEAR, FAR = 2 * math.sin(math.radians(2.5)), 2 * math.sin(math.radians(45))


def test_the_radius_is_the_median_distance_of_labeled_images_to_the_nearest_other():
    assert pytest.approx(0.0872387747, abs=1e-10) == NEAR
    labeled = directions(0, 5, 90)
    assert same_as(NEAR, UHerding(sigma="nearest", duplicates=0), labeled)
    assert same_as(FAR, UHerding(sigma="nearest", duplicates=0.92), labeled)
    assert not same_as(NEAR, UHerding(sigma="nearest", duplicates=0.92), labeled)


def test_the_least_radius_is_the_smallest_distance_between_two_labeled_images():
    assert same_as(NEAR, UHerding(sigma="least"), directions(0, 5, 90))
    assert same_as(NEAR, UHerding(sigma="least"), directions(0, 0, 5, 90))


def test_two_similar_labeled_images_switch_off_the_least_radius_only():
    labeled = directions(0, 0.001, 5, 90)
    tiny = 2 * math.sin(math.radians(0.0005))
    assert same_as(FAR, UHerding(sigma="nearest"), labeled)
    assert same_as(tiny, UHerding(sigma="least"), labeled)


def test_the_radius_is_not_below_what_separates_candidates():
    labeled = directions(0, 0.5, 90, 90.5)
    between_candidates = 2 * math.sin(math.radians(1))
    assert same_as(between_candidates, UHerding(sigma="nearest", duplicates=0), labeled)


@pytest.mark.parametrize("sigma", ["nearest", "least"])
@pytest.mark.parametrize("degrees", [(), (7.0,), (7.0, 7.0)], ids=["none", "one", "the same"])
def test_without_two_labeled_images_that_differ_the_radius_is_one(sigma, degrees):
    labeled = directions(*degrees)
    assert same_as(1.0, UHerding(sigma=sigma), labeled)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"sigma": 0.0}, {"sigma": -1.0}])
def test_what_has_no_meaning_is_refused(options):
    with pytest.raises(AlctlError, match="must be above 0"):
        UHerding(**options)
