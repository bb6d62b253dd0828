from dataclasses import replace

import pytest
import torch

from alctl.errors import AlctlError
from alctl.model.strategies.mc_dropout import McDropout
from alctl.model.uncertainty import entropy
from tests.model.strategies.fakes import chance, random_candidates


def test_the_score_is_the_entropy_of_the_mean_probabilities():
    pool = random_candidates(20, seed=1)
    passes = pool.map(lambda said: torch.cat([d.p for d in said.dropout()], dim=1), dropout_passes=10)
    mean = passes.mean(1)
    assert mean.sum(-1).tolist() == pytest.approx([1.0] * 20)
    positions, scores = McDropout().query(pool, pool, 20, chance())
    assert scores.tolist() == pytest.approx(entropy(mean)[positions].tolist(), abs=1e-6)


def test_more_passes_can_be_asked_for():
    pool = random_candidates(200, seed=1)
    few = McDropout(passes=2).query(pool, pool, 50, chance()).positions
    assert few.tolist() != McDropout(passes=30).query(pool, pool, 50, chance()).positions.tolist()


def test_a_model_without_dropout_is_refused():
    pool = replace(random_candidates(20, seed=1), dropout=None)
    with pytest.raises(AlctlError, match="no dropout"):
        McDropout().query(pool, pool, 5, chance())
