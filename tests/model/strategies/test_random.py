import torch

from alctl.model.strategies.random import Random
from tests.model.strategies.fakes import chance, random_candidates


def test_every_image_is_as_likely_as_the_next():
    pool, g = random_candidates(5, seed=1), chance()
    drawn = torch.cat([Random().query(pool, pool, 2, g).positions for _ in range(2000)])
    assert (drawn.bincount(minlength=5) / 2000 - 0.4).abs().max().item() < 0.05
