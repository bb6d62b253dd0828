from dataclasses import replace

import pytest
import torch

from alctl.errors import AlctlError
from alctl.model.strategies.bald import Bald
from tests.model.strategies.fakes import FakeCandidates, chance, random_candidates


def test_passes_that_disagree_beat_passes_that_are_unsure_together():
    unsure = [[0.5, 0.5], [0.5, 0.5]]
    disagreeing = [[0.9, 0.1], [0.1, 0.9]]
    said = torch.tensor([unsure, disagreeing], dtype=torch.float64)

    class Passes(FakeCandidates):
        def map(self, fn, *, dropout_passes=0):
            assert dropout_passes == 2
            return super().map(lambda seen: fn(replace(seen, again=lambda: iter(said[:, :, None].unbind(1)))))

    pool = Passes(said.mean(1, keepdim=True), torch.zeros(2, 2), torch.zeros(2))
    positions, scores = Bald(passes=2).query(pool, pool, 2, chance())
    assert positions.tolist() == [1, 0]
    assert scores.tolist() == [pytest.approx(0.3680642072, abs=1e-9), 0]


def test_dropout_that_is_on_gives_real_mutual_information():
    pool = random_candidates(50, seed=1)
    assert Bald().query(pool, pool, 1, chance()).scores.item() > 1e-4


def test_passes_that_never_differ_are_refused():
    pool = replace(random_candidates(50, seed=1), dropout=0.0)
    with pytest.raises(AlctlError, match="nothing to rank"):
        Bald().query(pool, pool, 5, chance())


def test_a_model_without_dropout_is_refused():
    pool = replace(random_candidates(20, seed=1), dropout=None)
    with pytest.raises(AlctlError, match="no dropout"):
        Bald().query(pool, pool, 5, chance())
