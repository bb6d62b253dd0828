import math

import pytest
import torch
from torch import Tensor

from alctl.model.strategies.probcover import ProbCover
from tests.model.strategies.fakes import chance, from_embeddings, random_candidates


def directions(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees).mul(math.pi / 180)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


NOTHING = from_embeddings(torch.zeros(0, 2))
DELTA = 2 * math.sin(math.radians(11 / 2))  # the chord of 11 degrees


def test_the_ball_with_the_most_uncovered_images_comes_first():
    pool = from_embeddings(directions(0, 100, 110, 120, 200, 205))
    positions, scores = ProbCover(delta=DELTA).query(pool, NOTHING, 3, chance())
    assert positions.tolist() == [2, 4, 0]
    assert scores.tolist() == [3, 2, 1]


def test_images_near_a_labeled_one_count_no_more():
    pool = from_embeddings(directions(0, 100, 110, 120, 200, 205))
    labeled = from_embeddings(directions(110))
    positions, scores = ProbCover(delta=DELTA).query(pool, labeled, 2, chance())
    assert positions.tolist() == [4, 0]
    assert scores.tolist() == [2, 1]


def test_the_last_image_of_the_pool_can_be_the_best():
    lonely = torch.arange(961) * 0.2 + 100  # many, but covered by labels
    around = torch.linspace(-10.8, 10.8, 40)
    pool = from_embeddings(directions(*lonely.tolist(), *around.tolist(), 0.0))
    positions = ProbCover(delta=DELTA).query(
        pool, from_embeddings(directions(*lonely.tolist())), 1, chance()
    )[0]
    assert len(pool) == 1002
    assert positions.tolist() == [1001]


def test_once_all_is_covered_the_farthest_images_follow():
    pool = from_embeddings(directions(0, 3, 10, 180))
    positions, scores = ProbCover(delta=DELTA).query(pool, NOTHING, 4, chance())
    assert positions.tolist() == [0, 3, 2, 1]
    assert scores.tolist() == [3, 1, 0, 0]


def test_labels_that_cover_everything_leave_the_farthest_images():
    pool = from_embeddings(directions(1, 9, 5))
    positions, scores = ProbCover(delta=DELTA).query(pool, from_embeddings(directions(0)), 2, chance())
    assert positions.tolist() == [1, 2]
    assert scores.tolist() == [0, 0]


@pytest.mark.parametrize("delta", [0.75, 0.95])
def test_the_counts_are_those_of_the_graph_in_full(delta):
    pool = random_candidates(400, seed=1)
    positions, scores = ProbCover(delta=delta).query(pool, NOTHING, 12, chance())
    x = torch.nn.functional.normalize(pool.embedding.double())
    near = torch.cdist(x, x) < delta
    for position, score in zip(positions.tolist(), scores.tolist(), strict=True):
        gain = near.sum(1)
        assert (position, score) == (int(gain.argmax()), int(gain.max()))
        near &= ~near[position]


def test_a_radius_smaller_than_rounding_still_gives_distinct_images():
    pool = random_candidates(100, seed=1)
    positions = ProbCover(delta=1e-5).query(pool, NOTHING, 100, chance()).positions
    assert sorted(positions.tolist()) == list(range(100))
