import pytest
import torch
from torch import Tensor

from alctl.model import distances
from alctl.model.clusters import k_means, typicality
from alctl.model.strategies.typiclust import TypiClust
from tests.model.strategies.fakes import chance, from_embeddings


def bunches(*sizes: int) -> Tensor:
    """Return tight bunches of directions, of these sizes, at right angles to each other."""
    centres = torch.eye(len(sizes), 8).repeat_interleave(torch.tensor(sizes), dim=0)
    return centres + 0.02 * torch.randn(len(centres), 8, generator=chance(5))


def test_typicality_is_the_inverse_mean_distance_to_the_neighbours():
    found = typicality(torch.tensor([0.0, 1.0, 2.0, 10.0])[:, None], 20)
    assert found.tolist() == pytest.approx([0.6666622, 0.9999900, 0.6666622, 0.1176469], abs=1e-7)


def test_one_image_alone_is_typical_of_nothing():
    assert typicality(torch.ones(1, 3), 20).tolist() == [0]


def test_typicality_is_the_same_across_blocks():
    points = torch.arange(4200.0)[:, None]
    found = typicality(points, 2)
    assert found[1:-1].tolist() == pytest.approx([1 / 1.00001] * 4198)
    assert found[[0, -1]].tolist() == pytest.approx([1 / 1.50001] * 2)


def test_large_clusters_without_labels_come_first():
    pool = from_embeddings(bunches(10, 30, 20))
    labeled = from_embeddings(bunches(0, 1, 0))
    positions = TypiClust(most_clusters=3).query(pool, labeled, 4, chance()).positions
    bunch = torch.bucketize(positions, torch.tensor([10, 40]), right=True)
    assert bunch.tolist() == [2, 0, 1, 2]


def test_the_pick_of_a_cluster_is_its_most_typical_image():
    points = torch.cat([bunches(12), torch.tensor([[1.0, 0.3] + [0.0] * 6])])
    positions, scores = TypiClust().query(from_embeddings(points), from_embeddings(points[:0]), 1, chance())
    found = typicality(distances.unit(points), 20)
    assert positions.item() == found.argmax()
    assert positions.item() != 12
    assert scores.item() == pytest.approx(found.max().item())


def test_small_clusters_wait_until_the_others_are_empty():
    pool = from_embeddings(bunches(8, 3, 7))
    positions = (
        TypiClust(most_clusters=3).query(pool, from_embeddings(bunches(0, 0, 0)), 18, chance()).positions
    )
    assert set(positions[:15].tolist()) == {*range(8), *range(11, 18)}
    assert set(positions[15:].tolist()) == {8, 9, 10}


@pytest.mark.parametrize("count", [3, 60])
def test_clusters_repeat_for_a_seed_and_follow_the_data(count):
    points = bunches(80, 90, 70)
    clusters = k_means(points, count, chance(4))
    assert clusters.tolist() == k_means(points, count, chance(4)).tolist()
    if count == 3:
        assert clusters.bincount().sort().values.tolist() == [70, 80, 90]


def test_clusters_are_sought_in_the_first_principal_components():
    pool = from_embeddings(bunches(30, 40, 20))
    nothing = from_embeddings(bunches(0, 0, 0))
    whole, few, all_of_them = (
        TypiClust(components=components).query(pool, nothing, 3, chance()) for components in (0, 2, 8)
    )
    assert whole.positions.tolist() == all_of_them.positions.tolist()
    assert few.positions.tolist() == whole.positions.tolist()  # two components tell three bunches apart
    assert few.scores.tolist() == whole.scores.tolist()  # typicality is that of the whole embeddings
