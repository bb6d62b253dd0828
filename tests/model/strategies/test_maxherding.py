import math

import torch
from torch import Tensor

from alctl.model.strategies.maxherding import MaxHerding
from tests.model.strategies.fakes import chance, from_embeddings, random_candidates


def directions(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees, dtype=torch.float64).mul(math.pi / 180)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


NOTHING = from_embeddings(torch.zeros(0, 2))
NOTHING_8 = random_candidates(0, seed=1)


def test_each_pick_stands_for_most_of_the_others():
    pool = from_embeddings(directions(0, 5, 10, 90, 95, 180, 200))
    assert MaxHerding().query(pool, NOTHING, 4, chance()).positions.tolist() == [2, 5, 3, 6]


def test_what_is_near_a_labeled_image_waits():
    pool = from_embeddings(directions(0, 5, 10, 90, 95))
    labeled = from_embeddings(directions(4))
    assert MaxHerding().query(pool, labeled, 1, chance()).positions.tolist() == [3]


def test_predictions_are_not_looked_at():
    strategy = MaxHerding()
    assert not strategy.needs_model
    pool = random_candidates(50, seed=1)
    other = random_candidates(50, seed=3)
    other.embedding = pool.embedding
    picks = [strategy.query(p, NOTHING_8, 10, chance()).positions.tolist() for p in (pool, other)]
    assert picks[0] == picks[1]


def test_a_part_of_a_large_pool_stands_for_it():
    pool = random_candidates(300, seed=1)
    for seed in range(3):
        picks = MaxHerding(references=40).query(pool, NOTHING_8, 100, chance(seed)).positions
        assert len(picks.unique()) == 100
