import numpy as np
import pytest
import torch

from alctl.errors import AlctlError
from alctl.model.probe import fit, predict
from alctl.model.probe_candidates import DROPPED, ProbeCandidates
from alctl.model.strategy import STRATEGIES, Prediction
from tests.model.test_probe import TEN, digits


def candidates(n: int = 200, *, seed: int = 0) -> ProbeCandidates:
    vectors, labels, mean = digits(n + 60)
    probe = fit(vectors[:60], labels[:60], TEN, pool_mean=mean, embedding="key")
    return ProbeCandidates(probe, torch.from_numpy(vectors[60:]), seed=seed)


def test_its_predictions_are_the_probes():
    some = candidates()
    said = some.map(lambda seen: seen.distributions.p)
    assert said.shape == (200, 1, 10)
    assert said.dtype == torch.float32
    assert torch.equal(said[:, 0], predict(some.probe, some.vectors))
    assert torch.equal(some.map(lambda seen: seen.embedding), some.embeddings().float())


def test_targets_come_with_their_images():
    vectors, labels, mean = digits(60)
    probe = fit(vectors, labels, TEN, pool_mean=mean, embedding="key")
    some = ProbeCandidates(probe, torch.from_numpy(vectors), targets={"class": torch.from_numpy(labels)})

    def target(seen: Prediction) -> torch.Tensor:
        assert seen.target is not None
        return seen.target["class"]

    assert torch.equal(some.map(target), torch.from_numpy(labels))


def test_dropout_is_repeatable_and_follows_the_seed():
    passes = [
        candidates(seed=seed).map(
            lambda seen: torch.cat([d.p for d in seen.dropout()], dim=1), dropout_passes=4
        )
        for seed in (0, 0, 1)
    ]
    assert passes[0].shape == (200, 4, 10)
    assert torch.equal(passes[0], passes[1])
    assert not torch.equal(passes[0], passes[2])
    assert not torch.equal(passes[0][:, 0], passes[0][:, 1])


def test_dropout_keeps_the_mean_of_what_the_probe_reads():
    from alctl.model.probe_candidates import _with_dropout

    dropped = _with_dropout(np.ones((4_000, 5)), torch.Generator().manual_seed(0))
    assert set(np.unique(dropped)) == {0, 1 / (1 - DROPPED)}
    assert abs(dropped.mean() - 1) < 0.02


@pytest.mark.parametrize(
    "name", ["uherding", "margin", "entropy", "dropquery", "badge", "cluster-margin", "typiclust"]
)
def test_strategies_choose_by_it(name):
    some = candidates()
    chosen = STRATEGIES.load(name)().query(some, candidates(0), 10, torch.Generator().manual_seed(0))
    assert len(set(chosen.positions.tolist())) == 10


def test_predicted_losses_are_refused_with_what_to_do():
    with pytest.raises(AlctlError, match="uherding or margin"):
        STRATEGIES.load("learning-loss")().query(candidates(), candidates(0), 5, torch.Generator())


def test_no_images_are_none():
    assert candidates(0).map(lambda seen: seen.distributions.p).numel() == 0
