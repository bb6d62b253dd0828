import math

import pytest
import torch
from torch import Tensor

from alctl.model import distances as geometry
from alctl.model.distances import (
    blocks,
    draw,
    k_center,
    nearest,
    nearest_other,
    spread,
    squared_distances,
    unit,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def plain_k_center(points: Tensor, centres: Tensor, n: int) -> list[int]:
    """Return what the definition says, from the squares of all differences in float64."""
    points, centres = points.double(), centres.double()
    distance = (points[:, None] - centres).square().sum(-1).amin(1)
    picks: list[int] = []
    for _ in range(n):
        distance[picks] = -1
        picks.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[picks[-1]]).square().sum(1))
    return picks


def clustered(n: int, d: int, seed: int) -> Tensor:
    """Return rectified features of 10 classes with few degrees of freedom, as a trained network's are."""
    g = rng(seed)
    classes = torch.randn(10, 6, generator=g)[torch.randint(10, (n,), generator=g)]
    latent = classes + 0.3 * torch.randn(n, 6, generator=g)
    return (latent @ torch.randn(6, d, generator=g)).relu()


def test_blocks_cover_every_row_once():
    for n in (0, 1, 4096, 4097, 10_000):
        assert [i for rows in blocks(n) for i in range(rows.start, rows.stop)] == list(range(n))
    assert max(rows.stop - rows.start for rows in blocks(10_000, 100_000)) * 100_000 <= geometry.BLOCK**2


def test_squared_distances_are_never_negative():
    x = 1000 + 1e-3 * torch.rand(50, 512, generator=rng())
    assert bool((squared_distances(x, x) >= 0).all())


def test_the_nearest_centre_is_found_across_blocks():
    x, centres = torch.rand(4100, 3, generator=rng()).double(), torch.rand(4099, 3, generator=rng(1)).double()
    expected = torch.cdist(x, centres).min(1)
    assert torch.allclose(nearest(x, centres).sqrt(), expected.values)
    assert expected.indices.max() >= geometry.BLOCK


def test_a_row_of_zeros_has_no_direction():
    assert unit(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [
        [0, 0],
        [pytest.approx(0.6), pytest.approx(0.8)],
    ]


def test_k_center_takes_the_farthest_each_time():
    points = line(0, 1, 2, 3, 10, 11, 20)
    picks, distances = k_center(points[1:], points[:1], 3)
    assert (picks + 1).tolist() == [6, 4, 3]
    assert distances.tolist() == [20, 10, 3]
    assert nearest(points, points[[0, 6, 4, 3]]).max().sqrt() == 1


def test_k_center_takes_the_lowest_of_equally_far_points():
    points = line(0, 5, -5, 2)
    picks, _ = k_center(points[1:], points[:1], 2)
    assert (picks + 1).tolist() == [1, 2]
    assert nearest(points, points[[0, 1, 2]]).max().sqrt() == 2


def test_k_center_without_centres_begins_in_the_middle():
    picks, distances = k_center(line(0, 4, 5, 20), line(), 3)
    assert picks.tolist() == [2, 3, 0]
    assert distances.tolist() == [15, 15, 5]


@pytest.mark.parametrize("d", [2, 64, 300])
@pytest.mark.parametrize("kind", ["clustered", "isotropic", "duplicated whole numbers"])
def test_k_center_picks_what_the_definition_says(kind, d):
    if kind == "clustered":
        points = clustered(1540, d, seed=1)
    elif kind == "isotropic":
        points = torch.randn(1540, d, generator=rng(1))
    else:
        points = torch.randint(-3, 4, (1540, d), generator=rng(1)).float()[torch.arange(1540) // 2]
    picks, _ = k_center(points[40:], points[:40], 300)
    distinct = len(
        {tuple(row) for row in points[40:].tolist()} - {tuple(row) for row in points[:40].tolist()}
    )
    expected = plain_k_center(points[40:], points[:40], min(300, distinct))
    assert picks[: len(expected)].tolist() == expected
    assert len(set(picks.tolist())) == 300


def test_k_center_survives_a_large_common_offset():
    points = torch.rand(300, 16, generator=rng())
    assert k_center(points + 4096, points[:3] + 4096, 20)[0].tolist() == plain_k_center(
        points + 4096, points[:3] + 4096, 20
    )


def test_spread_without_chance_is_k_center():
    points = torch.randn(200, 4, generator=rng()).double()

    def squared_to(pick: int, _: Tensor) -> Tensor:
        return (points - points[pick]).square().sum(1)

    picks, squares = spread(squared_to, squared_to(0, points), 50)
    expected, distances = k_center(points, points[:1], 50)
    assert picks.tolist() == expected.tolist()
    assert squares.sqrt().tolist() == pytest.approx(distances.tolist())


def test_a_pick_is_not_drawn_again_though_rounding_leaves_it_some_distance():
    start = torch.full((50,), torch.inf)
    picks, _ = spread(lambda *_: torch.full((50,), 1e-7), start, 50, first=3, rng=rng())
    assert sorted(picks.tolist()) == list(range(50))


def test_draws_follow_the_weights_and_never_touch_a_zero():
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0, 0.0])
    g = rng()
    counts = torch.tensor([draw(weights, g) for _ in range(4000)]).bincount(minlength=5).tolist()
    assert counts[0] == counts[2] == counts[4] == 0
    assert counts[1] / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_point_that_is_not_finite_is_named():
    points = torch.zeros(5, 2)
    points[3, 1] = torch.inf
    with pytest.raises(FloatingPointError, match="position 3"):
        k_center(points, points[:1], 2)


def test_the_nearest_other_image_is_never_the_image_itself():
    points = torch.tensor([0.0, 1.0, 3.0, 3.0])[:, None]
    assert nearest_other(points, torch.arange(4)).tolist() == [1, 1, 0, 0]
    assert nearest_other(points, torch.tensor([2, 0])).tolist() == [0, 1]
    assert nearest_other(points[:1], torch.arange(1)).tolist() == [math.inf]
