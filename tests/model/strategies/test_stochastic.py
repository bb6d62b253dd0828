import math
from collections import Counter

import pytest
import torch

from alctl.errors import AlctlError
from alctl.model.strategies.stochastic import Stochastic, log_weights
from tests.model.strategies.fakes import FakeCandidates, chance, random_candidates


def shares(weights: torch.Tensor) -> list[float]:
    found: list[float] = weights.exp().div(weights.exp().sum()).tolist()
    return found


def predicted(*losses: float) -> FakeCandidates:
    n = len(losses)
    return FakeCandidates(torch.full((n, 1, 2), 0.5), torch.zeros(n, 2), torch.tensor(losses))


def test_the_weights_are_those_of_the_score_or_of_its_rank():
    scores = torch.tensor([4, 1, 2, 0.5], dtype=torch.float64)
    assert shares(log_weights(scores, "power")) == pytest.approx(
        [0.53333, 0.13333, 0.26667, 0.06667], abs=1e-5
    )
    assert shares(log_weights(scores, "rank")) == pytest.approx([0.48, 0.16, 0.24, 0.12])


def test_first_picks_come_as_often_as_their_weight_says():
    pool, g = predicted(4, -1, 2, -5), chance()
    firsts = Counter(int(Stochastic().query(pool, pool, 2, g).positions[0]) for _ in range(4000))
    assert [firsts[i] / 4000 for i in range(4)] == pytest.approx([0.48, 0.16, 0.24, 0.12], abs=0.03)


def test_a_low_temperature_takes_the_top_and_a_high_one_anything():
    pool = random_candidates(300, seed=1)
    top = set(pool.predicted_loss.topk(30).indices.tolist())
    cold = Stochastic(temperature=1e-6).query(pool, pool, 30, chance()).positions.tolist()
    hot = Stochastic(temperature=1e6).query(pool, pool, 30, chance()).positions.tolist()
    assert cold == pool.predicted_loss.topk(30).indices.tolist()
    assert len(top & set(hot)) < 12


@pytest.mark.parametrize("score", ["entropy", "least-confidence", "margin", "bald"])
def test_every_score_can_be_a_power(score):
    pool = random_candidates(300, seed=1)
    positions, keys = Stochastic(score=score, weight="power").query(pool, pool, 25, chance())
    assert len(set(positions.tolist())) == 25
    assert bool(torch.isfinite(keys).all())


@pytest.mark.parametrize("score", ["entropy", "least-confidence", "margin"])
def test_the_unsure_are_drawn_and_the_certain_only_when_nothing_else_is_left(score):
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0], [0.9, 0.1]])[:, None]
    pool = FakeCandidates(p, torch.zeros(4, 2), torch.zeros(4))
    for seed in range(20):
        strategy = Stochastic(score=score, weight="power")
        assert set(strategy.query(pool, pool, 4, chance(seed)).positions[:2].tolist()) == {1, 3}


def test_a_power_of_the_predicted_loss_is_refused():
    with pytest.raises(AlctlError, match="no scale"):
        Stochastic(weight="power")


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(AlctlError, match="above 0"):
        Stochastic(temperature=temperature)


def test_ranks_of_equal_scores_go_by_position():
    ranks = log_weights(torch.zeros(3, dtype=torch.float64), "rank")
    assert ranks.tolist() == pytest.approx([0, -math.log(2), -math.log(3)])
