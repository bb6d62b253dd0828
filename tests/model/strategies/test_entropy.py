import pytest
import torch

from alctl.model.strategies.entropy import Entropy
from tests.model.strategies.fakes import FakeCandidates, chance, from_probabilities


def test_the_most_certain_image_comes_last():
    pool = from_probabilities([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.8, 0.1, 0.1]])
    assert Entropy().query(pool, pool, 3, chance()).positions.tolist() == [1, 2, 0]


def test_the_entropies_of_all_boxes_of_an_image_are_averaged():
    p = torch.tensor([[[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]]], dtype=torch.float64)
    pool = FakeCandidates(p, torch.zeros(1, 2), torch.zeros(1))
    assert Entropy().query(pool, pool, 1, chance()).scores.item() == pytest.approx(0.7120253528, abs=1e-9)
