from dataclasses import replace

import pytest
import torch

from alctl.model.strategies.badge import Badge
from tests.model.strategies.fakes import FakeCandidates, chance, random_candidates


def three_images() -> FakeCandidates:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.34, 0.33, 0.33]], dtype=torch.float64)
    h = torch.tensor([[1, 2, 2], [2, 0, 1], [0, 1, 0]], dtype=torch.float64)
    return FakeCandidates(p[:, None], h, torch.zeros(3))


def gradients(pool: FakeCandidates, *, bias: bool = False) -> torch.Tensor:
    """Return the gradient of each image in full, (N, C·d): what the strategy must never build."""
    p = pool.probabilities[:, 0]
    h = torch.cat([pool.embedding, torch.ones(len(pool), 1)], 1) if bias else pool.embedding
    residual = p - torch.nn.functional.one_hot(p.argmax(1), p.shape[1])
    return (residual[:, :, None] * h[:, None]).flatten(1).double()


def test_the_first_pick_has_the_largest_gradient():
    positions, scores = Badge().query(three_images(), three_images(), 1, chance())
    assert positions.tolist() == [1]
    assert scores.sqrt().item() == pytest.approx(1.1401754251, abs=1e-9)


def test_the_bias_adds_to_the_gradient():
    scores = Badge(bias=True).query(three_images(), three_images(), 1, chance()).scores
    assert scores.sqrt().item() == pytest.approx(1.2489995997, abs=1e-9)


def test_the_second_pick_is_drawn_by_squared_distance():
    pool = three_images()
    g = chance()
    seconds = []
    for _ in range(2000):
        positions, scores = Badge().query(pool, pool, 2, g)
        seconds.append(int(positions[1]))
        assert scores[1].item() == pytest.approx({0: 3.2, 2: 1.9534}[seconds[-1]], abs=1e-9)
    assert seconds.count(0) / 2000 == pytest.approx(0.6209492762, abs=0.035)


@pytest.mark.parametrize("bias", [False, True])
def test_distances_are_those_of_the_gradients_in_full(bias):
    pool = random_candidates(60, seed=1)
    positions, scores = Badge(bias=bias).query(pool, pool, 20, chance())
    g = gradients(pool, bias=bias)[positions]
    distances = torch.cdist(g, g, compute_mode="donot_use_mm_for_euclid_dist").square()
    expected = [g[0].square().sum().item()] + [distances[i, :i].min().item() for i in range(1, 20)]
    assert scores.tolist() == pytest.approx(expected, rel=1e-4)


def test_gradients_that_are_almost_parallel_keep_their_distances():
    pool = random_candidates(300, seed=1)
    p = torch.rand(300, 1, 1, dtype=torch.float64, generator=chance()) / 2
    h = torch.linspace(1, 2, 300, dtype=torch.float64)[:, None] * torch.ones(8, dtype=torch.float64)
    pool = replace(pool, probabilities=torch.cat([p, 1 - p], dim=2), embedding=h)
    positions, scores = Badge().query(pool, pool, 60, chance())
    g = gradients(pool)[positions]
    distances = torch.cdist(g, g, compute_mode="donot_use_mm_for_euclid_dist").square()
    expected = [distances[i, :i].min().item() for i in range(1, 60)]
    assert scores[1:].tolist() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_labeled_images_are_no_centres():
    pool = random_candidates(60, seed=1)
    first = Badge().query(pool, random_candidates(0, seed=2), 20, chance())
    second = Badge().query(pool, random_candidates(30, seed=3), 20, chance())
    assert first.positions.tolist() == second.positions.tolist()


def test_images_without_any_gradient_are_drawn_evenly():
    pool = replace(random_candidates(6, seed=1), embedding=torch.zeros(6, 8))
    g = chance()
    seconds = torch.tensor([int(Badge().query(pool, pool, 2, g).positions[1]) for _ in range(1000)])
    assert seconds.bincount(minlength=6)[1:].min().item() > 1000 / 5 * 0.8
