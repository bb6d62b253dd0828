import torch

from alctl.model.strategies.core_set import CoreSet
from tests.model.strategies.fakes import chance, from_embeddings, random_candidates


def line(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_each_pick_is_the_farthest_from_labels_and_picks():
    selection = CoreSet().query(
        from_embeddings(line(1, 2, 3, 10, 11, 20)), from_embeddings(line(0)), 3, chance()
    )
    assert selection.positions.tolist() == [5, 3, 2]
    assert selection.scores.tolist() == [20, 10, 3]


def test_equally_far_images_go_by_position():
    selection = CoreSet().query(from_embeddings(line(5, -5, 2)), from_embeddings(line(0)), 2, chance())
    assert selection.positions.tolist() == [0, 1]


def test_without_labels_only_the_first_pick_is_free():
    pool, nothing = from_embeddings(line(0, 4, 5, 20)), from_embeddings(line())
    first, *others = CoreSet().query(pool, nothing, 4, chance()).positions.tolist()
    assert first == 2
    after_first = from_embeddings(line(5))
    assert CoreSet().query(pool, after_first, 3, chance()).positions.tolist() == others


def test_chance_has_no_part_in_it():
    pool, labeled = random_candidates(80, seed=1), random_candidates(5, seed=2)
    picks = {tuple(CoreSet().query(pool, labeled, 20, chance(s)).positions.tolist()) for s in range(3)}
    assert len(picks) == 1


def test_normalised_embeddings_differ_in_direction_only():
    pool = from_embeddings(torch.tensor([[100.0, 1.0], [0.0, 0.1], [50.0, 0.0]]))
    labeled = from_embeddings(torch.tensor([[1.0, 0.0]]))
    assert CoreSet().query(pool, labeled, 1, chance()).positions.tolist() == [0]
    assert CoreSet(normalise=True).query(pool, labeled, 1, chance()).positions.tolist() == [1]
