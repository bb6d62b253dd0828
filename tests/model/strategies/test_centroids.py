import torch
from torch import Tensor

from alctl.model.strategies.centroids import Centroids
from tests.model.strategies.fakes import chance, from_embeddings, random_candidates

NOTHING = random_candidates(0, seed=1)


def bunches(*sizes: int) -> Tensor:
    """Return bunches of directions, of these sizes, at right angles to each other."""
    centres = torch.eye(len(sizes), 8).repeat_interleave(torch.tensor(sizes), dim=0)
    return centres + 0.05 * torch.randn(len(centres), 8, generator=chance(5))


def test_the_middle_of_each_cluster_is_chosen_the_largest_first():
    points = torch.nn.functional.normalize(bunches(20, 40, 10))
    positions, scores = Centroids().query(from_embeddings(points), NOTHING, 3, chance())
    expected = []
    for part in (slice(20, 60), slice(0, 20), slice(60, 70)):
        apart = (points[part] - points[part].mean(0)).norm(dim=1)
        expected.append(part.start + int(apart.argmin()))
    assert positions.tolist() == expected
    assert scores.tolist() == [40 / 70, 20 / 70, 10 / 70]


def test_labels_are_not_looked_at_and_no_model_is_needed():
    assert not Centroids().needs_model
    pool = random_candidates(60, seed=1)
    chosen = [Centroids().query(pool, labeled, 9, chance()).positions.tolist() for labeled in (NOTHING, pool)]
    assert chosen[0] == chosen[1]


def test_where_duplicates_leave_clusters_empty_the_farthest_images_follow():
    pool = from_embeddings(torch.eye(3).repeat_interleave(4, dim=0))
    positions, scores = Centroids().query(pool, NOTHING, 5, chance())
    assert sorted(position // 4 for position in positions[:3].tolist()) == [0, 1, 2]
    assert scores.tolist() == [4 / 12] * 3 + [0, 0]
    assert len(set(positions.tolist())) == 5
