import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alctl.errors import AlctlError
from alctl.model.strategies.probcover import ProbCover
from tests.model.strategies.fakes import chance, from_embeddings, random_candidates


def directions(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees).mul(math.pi / 180)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


NOTHING = from_embeddings(torch.zeros(0, 2))
NOTHING_8 = random_candidates(0, seed=1)
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
    assert positions.tolist() == [1, 3, 2, 0]
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
        assert score == gain.max() == gain[position]
        near &= ~near[position]


def test_a_radius_that_holds_nothing_is_refused_with_the_way_out():
    pool = random_candidates(100, seed=1)
    with pytest.raises(AlctlError, match=r"holds 0\.00 images beside its own.*set it to auto"):
        ProbCover(delta=1e-5).query(pool, NOTHING, 3, chance())


# --- the oracles of the handbook, on a circle ------------------------------------------------------------------------


def on_a_circle(delta: float) -> tuple[list[int], list[float]]:
    """Return picks and counts for 0, 1, 2, 3, 10, 11, 20 and a radius just short of ``delta``."""
    radians = torch.tensor([0, 1, 2, 3, 10, 11, 20], dtype=torch.float64).mul(math.pi / 180)
    pool = from_embeddings(torch.stack([radians.cos(), radians.sin()], dim=1))
    chord = 2 * math.sin(math.radians(0.999 * delta / 2))
    positions, scores = ProbCover(delta=chord).query(pool, NOTHING, 3, chance())
    return positions.tolist(), scores.tolist()


def test_each_ball_counts_what_it_newly_covers():
    assert on_a_circle(2) == ([1, 4, 2], [3, 2, 1])
    assert on_a_circle(3) == ([1, 4, 6], [4, 2, 1])


# --- the estimated radius --------------------------------------------------------------------------------------------


def test_the_estimated_radius_is_the_median_distance_to_the_image_at_the_edge_of_a_labels_share():
    pool, labeled = random_candidates(400, seed=1), random_candidates(10, seed=2)
    x = torch.nn.functional.normalize(pool.embedding)
    q = round(400 / (10 + 30))
    delta = torch.cdist(x, x).sort(1).values[:, q].median().item()  # itself is at place 0
    expected = ProbCover(delta=delta).query(pool, labeled, 30, chance())
    found = ProbCover().query(pool, labeled, 30, chance())
    assert found.positions.tolist() == expected.positions.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def test_the_estimate_adapts_to_embeddings_that_are_all_far_from_each_other():
    pool = from_embeddings(torch.randn(300, 500, generator=chance(1)))
    nothing = from_embeddings(torch.zeros(0, 500))
    with pytest.raises(AlctlError, match="auto"):
        ProbCover(delta=0.75).query(pool, nothing, 10, chance())
    assert ProbCover().query(pool, nothing, 10, chance()).scores[0] > 1


def test_a_large_pool_is_estimated_from_a_part_of_it():
    pool = random_candidates(2100, seed=1)
    selections = [ProbCover().query(pool, NOTHING_8, 3, chance(seed)).positions.tolist() for seed in (1, 1)]
    assert selections[0] == selections[1]


# --- ties ------------------------------------------------------------------------------------------------------------


def test_of_equal_balls_the_one_with_the_nearest_neighbours_comes_first():
    wide, narrow = [0, 1.7, 3.4, 5.1, 6.8, 8.5, 10], [100, 100.4, 100.8, 101.3, 101.6, 102, 102.4]
    positions, scores = ProbCover(delta=DELTA).query(
        from_embeddings(directions(*wide, *narrow)), NOTHING, 2, chance()
    )
    assert positions[0] >= 7
    assert positions[1] < 7
    assert scores.tolist() == [7, 7]


def test_the_order_of_files_decides_nothing_where_images_differ():
    pool = random_candidates(120, seed=1)
    backwards = replace(pool, embedding=pool.embedding.flip(0))
    forward = ProbCover().query(pool, NOTHING_8, 20, chance())
    backward = ProbCover().query(backwards, NOTHING_8, 20, chance())
    equal = forward.scores.diff() == 0
    assert equal.any()  # there were ties to decide
    assert forward.positions.tolist() == (119 - backward.positions).tolist()
