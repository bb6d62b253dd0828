import math

import pytest
import torch
from torch import Tensor

from alctl.model.coverage import cover, drawn
from alctl.model.strategy import Selection


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def directions(*degrees: float) -> Tensor:
    radians = torch.tensor(degrees, dtype=torch.float64).mul(math.pi / 180)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def on_a_line(
    pool: Tensor, known: Tensor, n: int, *, sigma: float, weights: Tensor | None = None
) -> Selection:
    """Return what covers all of the pool, in distances as they are."""
    everything = torch.arange(len(pool))
    return cover(pool, known, n, references=everything, weights=weights, sigma=sigma, unit_length=False)


def plain_greedy(points: Tensor, known: Tensor, weights: Tensor, n: int, sigma: float) -> list[int]:
    """Return what the definition says: all gains of every turn, in float64, from all pairs."""
    x = torch.nn.functional.normalize(points.double(), dim=1)
    y = torch.nn.functional.normalize(known.double(), dim=1)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-(a[:, None] - b[None]).square().sum(-1) / sigma**2).exp()

    pairs = kernel(x, x)
    covered = kernel(y, x).amax(0) if len(y) else torch.zeros(len(x), dtype=torch.float64)
    picks: list[int] = []
    for _ in range(n):
        gains = ((pairs - covered).clamp(min=0) * weights).sum(1)
        gains[picks] = -1
        picks.append(int((gains >= gains.max() * (1 - 1e-9)).nonzero()[0]))
        covered = torch.maximum(covered, pairs[picks[-1]])
    return picks


# --- oracles ----------------------------------------------------------------------------------------------------------


def test_each_pick_covers_most_of_what_is_left():
    positions, gains = on_a_line(line(0, 0.1, 0.2, 1, 1.1, 2.5), line(), 4, sigma=0.5)
    assert positions.tolist() == [1, 4, 5, 0]
    assert gains.tolist() == pytest.approx(
        [0.4965097354, 0.3172839290, 0.1666010552, 0.0065350935], abs=1e-10
    )


def test_labeled_points_cover_and_count_in_the_mean():
    positions, gains = on_a_line(line(0, 0.1, 0.2, 1, 1.1), line(2.5), 3, sigma=0.5)
    assert positions.tolist() == [1, 3, 0]
    assert gains.tolist() == pytest.approx([0.4964235554, 0.3172183175, 0.0065350935], abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("length", [1, 30])
def test_directions_are_compared_whatever_their_length(dtype, length):
    pool = (length * directions(0, 5, 10, 90, 95, 180, 200)).to(dtype)
    positions, gains = cover(pool, pool[:0], 4, references=torch.arange(7))
    assert positions.tolist() == [2, 5, 3, 6]
    exact = [0.4789843140, 0.2640877114, 0.2342543181, 0.0162320911]
    assert gains.tolist() == pytest.approx(exact, abs=1e-10 if dtype == torch.float64 else 1e-7)


def test_vectors_stored_in_half_the_bits_give_the_same_picks():
    points = torch.randn(200, 64, generator=rng(1))
    everything = torch.arange(200)
    expected = cover(points, points[:0], 20, references=everything).positions.tolist()
    stored = points.half()
    assert cover(stored, stored[:0], 20, references=everything).positions.tolist() == expected
    assert cover(stored.float(), points[:0], 20, references=everything).positions.tolist() == expected


WITHOUT_SECOND = line(0, 0.2, 1, 1.1, 2.5)
WEIGHTS = torch.tensor([0.05, 0.05, 0.9, 0.8, 0.3], dtype=torch.float64)


@pytest.mark.parametrize(
    ("sigma", "expected", "gains"),
    [
        (0.5, [2, 4, 3], [0.2697947596, 0.0499938295, 0.0052280748]),
        (0.001, [2, 3, 4], [0.15, 0.1333333333, 0.05]),
    ],
    ids=["near ones count", "only itself counts"],
)
def test_what_weighs_more_is_covered_first(sigma, expected, gains):
    positions, found = on_a_line(WITHOUT_SECOND, line(0.1), 3, weights=WEIGHTS, sigma=sigma)
    assert positions.tolist() == expected
    assert found.tolist() == pytest.approx(gains, abs=1e-10)


def test_without_weights_all_count_the_same():
    positions = on_a_line(WITHOUT_SECOND, line(0.1), 3, sigma=0.5).positions
    assert positions.tolist() == [3, 4, 0]


# --- exactness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_the_picks_are_those_of_the_plain_algorithm_in_float64(seed):
    g = rng(seed)
    n, d = int(torch.randint(5, 150, (), generator=g)), int(torch.randint(1, 20, (), generator=g))
    sigma = float(torch.rand((), generator=g)) * 1.5 + 0.02
    points = torch.randn(n, d, generator=g)
    points[torch.randint(n, (n // 3,), generator=g)] = points[torch.randint(n, (n // 3,), generator=g)]
    known = torch.cat([torch.randn(seed % 4, d, generator=g), points[: seed % 3]])
    weights = (
        torch.rand(n, generator=g, dtype=torch.float64) if seed % 2 else torch.ones(n, dtype=torch.float64)
    )
    wanted = min(n, 40)
    found = cover(points, known, wanted, references=torch.arange(n), weights=weights, sigma=sigma)
    assert found.positions.tolist() == plain_greedy(points, known, weights, wanted, sigma)


def test_a_sample_of_references_that_misleads_changes_no_pick():
    points = torch.randn(1100, 8, generator=rng(1))
    weights = torch.zeros(1100, dtype=torch.float64)
    weights[1::2] = torch.rand(
        550, generator=rng(2), dtype=torch.float64
    )  # every other one is looked at first
    found = cover(points, points[:0], 12, references=torch.arange(1100), weights=weights)
    assert found.positions.tolist() == plain_greedy(points, points[:0], weights, 12, 1.0)


@pytest.mark.parametrize("side", [3, 7, 80, 100])
def test_the_size_of_a_block_changes_nothing(side):
    points, known = torch.randn(100, 16, generator=rng(1)), torch.randn(5, 16, generator=rng(2))
    chosen = drawn(100, 80, rng(3))
    expected = cover(points, known, 60, references=chosen)
    found = cover(points, known, 60, references=chosen, side=side)
    assert found.positions.tolist() == expected.positions.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize("n", [300, 2500])
def test_lists_that_have_no_room_change_nothing(n):
    points = torch.nn.functional.normalize(torch.randn(n, 6, generator=rng(1)))
    chosen = drawn(n, 200, rng(3))
    expected = cover(points, points[:0], 100, references=chosen)
    found = cover(points, points[:0], 100, references=chosen, kept=1)
    assert found.positions.tolist() == expected.positions.tolist()
    assert found.scores.tolist() == expected.scores.tolist()


def test_the_order_of_files_decides_ties_only():
    points = torch.randn(60, 4, generator=rng(1))
    points[30:] = points[:30]  # each image twice
    forward = cover(points, points[:0], 8, references=torch.arange(60))
    backward = cover(points.flip(0), points[:0], 8, references=torch.arange(60))
    assert forward.positions.max() < 30
    assert (59 - backward.positions).min() >= 30
    assert forward.positions.tolist() == (59 - backward.positions - 30).tolist()
    assert forward.scores.tolist() == pytest.approx(backward.scores.tolist(), abs=1e-12)


def test_what_is_covered_already_goes_by_position_with_nothing_to_gain():
    points = directions(0, 40, 80)
    positions, gains = cover(points, points, 3, references=torch.arange(3))
    assert positions.tolist() == [0, 1, 2]
    assert gains.tolist() == [0, 0, 0]


def test_references_are_all_images_or_a_random_part_in_order():
    assert drawn(5, 5, rng()).tolist() == [0, 1, 2, 3, 4]
    some = drawn(1000, 50, rng())
    assert len(some.unique()) == 50
    assert some.tolist() == sorted(some.tolist())
    assert some.max() > 500
    assert some.tolist() == drawn(1000, 50, rng()).tolist()
    assert some.tolist() != drawn(1000, 50, rng(1)).tolist()


def test_a_vector_that_is_not_finite_is_a_bug():
    points = directions(0, 40, 80)
    points[1] = torch.nan
    with pytest.raises(FloatingPointError, match="position 1"):
        cover(points, points[:0], 1, references=torch.arange(3))
