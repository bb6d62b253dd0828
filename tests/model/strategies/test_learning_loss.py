import torch

from alctl.model.strategies.learning_loss import LearningLoss
from tests.model.strategies.fakes import chance, random_candidates


def test_the_highest_predicted_losses_come_first():
    pool = random_candidates(30, seed=1)
    pool.predicted_loss[:] = torch.arange(30).roll(7)
    positions, scores = LearningLoss().query(pool, pool, 5, chance())
    assert scores.tolist() == [29, 28, 27, 26, 25]
    assert positions.tolist() == [6, 5, 4, 3, 2]


def test_equal_predicted_losses_go_by_position():
    pool = random_candidates(30, seed=1)
    pool.predicted_loss[:] = 1
    assert LearningLoss().query(pool, pool, 4, chance()).positions.tolist() == [0, 1, 2, 3]
