import torch

from alctl.model.strategies.cluster_margin import ClusterMargin, in_turns
from alctl.model.strategies.margin import Margin
from tests.model.strategies.fakes import FakeCandidates, chance, random_candidates

NOTHING = random_candidates(0, seed=1)


def with_margins(embedding: torch.Tensor, *margins: float) -> FakeCandidates:
    """Return images whose two probabilities differ by so much."""
    m = torch.tensor(margins, dtype=torch.float64)
    return FakeCandidates(
        torch.stack([(1 + m) / 2, (1 - m) / 2], dim=1)[:, None], embedding, torch.zeros(len(m))
    )


def test_clusters_take_turns_small_ones_first_with_the_smallest_margin_of_each():
    corners = torch.eye(3)[[0, 0, 0, 1, 1, 2]]
    pool = with_margins(corners, 0.05, 0.02, 0.5, 0.1, 0.3, 0.9)
    positions, scores = ClusterMargin(clusters=3).query(pool, NOTHING, 4, chance())
    assert positions.tolist() == [5, 3, 1, 4]
    assert torch.allclose(scores, -torch.tensor([0.9, 0.1, 0.02, 0.3], dtype=torch.float64))


def test_only_the_smallest_margins_are_candidates():
    corners = torch.eye(3)[[0, 0, 0, 1, 1, 2]]
    pool = with_margins(corners, 0.05, 0.02, 0.5, 0.1, 0.3, 0.9)
    positions = ClusterMargin(clusters=3, beta=2).query(pool, NOTHING, 2, chance()).positions
    assert positions.tolist() == [1, 3]  # the image alone in its cluster is too certain


def test_with_one_candidate_per_pick_it_chooses_what_margin_chooses():
    pool = random_candidates(90, seed=1)
    found = ClusterMargin(beta=1).query(pool, NOTHING, 12, chance()).positions.tolist()
    assert sorted(found) == sorted(Margin().query(pool, NOTHING, 12, chance()).positions.tolist())


def test_clusters_of_the_same_size_go_by_their_first_member():
    assert in_turns(torch.tensor([7, 3, 3, 7, 5]), 5).tolist() == [4, 0, 1, 3, 2]
