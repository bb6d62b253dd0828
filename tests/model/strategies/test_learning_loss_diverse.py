import math
from dataclasses import replace

import pytest
import torch

from alctl.model.strategies.core_set import CoreSet
from alctl.model.strategies.learning_loss import LearningLoss
from alctl.model.strategies.learning_loss_diverse import LearningLossDiverse
from tests.model.strategies.fakes import FakeCandidates, chance, random_candidates

POOL = random_candidates(120, seed=1)
LABELED = random_candidates(10, seed=2)


def test_with_no_more_candidates_than_picks_it_is_learning_loss():
    plain = LearningLoss().query(POOL, LABELED, 20, chance()).positions
    diverse = LearningLossDiverse(beta=1).query(POOL, LABELED, 20, chance()).positions
    assert set(plain.tolist()) == set(diverse.tolist())


def test_without_predicted_loss_it_is_core_set():
    strategy = LearningLossDiverse(alpha=0, beta=math.inf, cover_labeled=True, sample=False)
    expected = CoreSet(normalise=True).query(POOL, LABELED, 40, chance()).positions
    assert strategy.query(POOL, LABELED, 40, chance()).positions.tolist() == expected.tolist()


def test_the_first_pick_has_the_highest_predicted_loss():
    for seed in range(5):
        positions = LearningLossDiverse().query(POOL, LABELED, 20, chance(seed)).positions
        assert positions[0] == POOL.predicted_loss.argmax()


def test_picks_come_from_the_candidates_only():
    candidates = set(POOL.predicted_loss.topk(40).indices.tolist())
    positions = LearningLossDiverse(beta=4).query(POOL, LABELED, 10, chance()).positions
    assert set(positions.tolist()) <= candidates


def test_of_two_equal_images_the_second_waits():
    directions = torch.eye(4).repeat_interleave(2, dim=0)
    pool = FakeCandidates(torch.full((8, 1, 2), 0.5), directions, torch.arange(8.0, 0, -1))
    positions = LearningLossDiverse(beta=2, sample=False).query(pool, pool, 4, chance()).positions
    assert positions.tolist() == [0, 2, 4, 6]


def test_a_higher_alpha_prefers_higher_predicted_losses():
    loss = [
        POOL.predicted_loss[
            LearningLossDiverse(alpha=alpha, sample=False).query(POOL, LABELED, 20, chance()).positions
        ].mean()
        for alpha in (0.0, 1.0, 8.0)
    ]
    assert loss[0] < loss[1] < loss[2]


def test_covering_the_labeled_images_avoids_what_is_labeled():
    pool = replace(POOL, predicted_loss=torch.zeros(120))
    labeled = FakeCandidates(pool.probabilities[:60], pool.embedding[:60], pool.predicted_loss[:60])
    strategy = LearningLossDiverse(beta=math.inf, cover_labeled=True, sample=False)
    assert strategy.query(pool, labeled, 60, chance()).positions.min() >= 60


CIRCLE = torch.tensor([0, 2, 4, 6, 90, 92, 180, 270], dtype=torch.float64).mul(math.pi / 180)
AROUND = FakeCandidates(
    torch.full((8, 1, 2), 0.5), torch.stack([CIRCLE.cos(), CIRCLE.sin()], dim=1), torch.arange(9.0, 1, -1)
)


@pytest.mark.parametrize(
    ("alpha", "rank", "expected"),
    [(1, "whole", [0, 6, 4]), (1, "within", [0, 4, 6]), (4, "whole", [0, 4, 6]), (4, "within", [0, 4, 2])],
)
def test_ranks_within_the_kept_part_weigh_more_than_ranks_among_all(alpha, rank, expected):
    strategy = LearningLossDiverse(alpha=alpha, beta=2.5, sample=False, rank=rank)
    assert strategy.query(AROUND, LABELED, 3, chance()).positions.tolist() == expected


@pytest.mark.parametrize(("alpha", "mean"), [(0, 0.5), (1, 0.667), (2, 0.75), (4, 0.833)])
def test_alpha_moves_the_mean_rank_of_images_that_are_all_equally_far(alpha, mean):
    n, kept = 400, 100
    pool = FakeCandidates(torch.full((n, 1, 2), 0.5), torch.eye(n, kept), torch.arange(float(n), 0, -1))
    strategy = LearningLossDiverse(alpha=alpha, beta=kept / 2)
    draws = [int(strategy.query(pool, LABELED, 2, chance(seed)).positions[1]) for seed in range(300)]
    assert 1 - sum(draws) / len(draws) / kept == pytest.approx(mean, abs=0.05)


def test_distances_are_those_of_a_frozen_backbone_where_there_is_one():
    other = torch.randn(120, 20, generator=chance(9))
    strategy = LearningLossDiverse(cover_labeled=True)
    found = strategy.query(replace(POOL, frozen=other), replace(LABELED, frozen=other[:10]), 20, chance())
    pool, labeled = replace(POOL, embedding=other), replace(LABELED, embedding=other[:10])
    expected = strategy.query(pool, labeled, 20, chance())
    assert found.positions.tolist() == expected.positions.tolist()
    assert found.positions.tolist() != strategy.query(POOL, LABELED, 20, chance()).positions.tolist()
