import math

import pytest
import torch

from alctl.model.kernel import Covered, Kernel, rounded_down
from alctl.model.reach import better


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("unit_length", [True, False])
def test_the_quick_kernel_is_never_below_the_exact_one(sigma, unit_length):
    points = torch.randn(60, 12, generator=rng())
    points[30:40] = points[:10] * (1 + 1e-6)
    kernel = Kernel(points, torch.arange(60), sigma, unit_length=unit_length)
    above = kernel.above(kernel.rows(slice(None)), slice(None)).double()
    exact = torch.stack([kernel.exact(i, torch.arange(60)) for i in range(60)])
    assert bool((above + 1e-45 >= exact).all())
    if unit_length:
        assert bool((above <= exact * math.exp(1e-4 / sigma**2) + 1e-30).all())


def test_rounding_down_never_rounds_up():
    values = torch.rand(1000, generator=rng(), dtype=torch.float64)
    rounded = rounded_down(values)
    assert rounded.dtype == torch.float32
    assert bool((rounded.double() <= values).all())
    assert torch.allclose(rounded.double(), values, rtol=1e-6)


def covered(*values: float) -> Covered:
    exact = torch.tensor(values, dtype=torch.float64)
    return Covered(exact, torch.tensor([1, 2, 4], dtype=torch.float64))


def test_a_gain_is_what_is_covered_better_by_weight():
    now = covered(0.5, 0.25, 0)
    near, kernel = torch.tensor([0, 1, 2]), torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    assert now.gain(near, kernel) == 0.5 + 3
    now.add(near, kernel)
    assert now.exact.tolist() == [0.5, 0.5, 0.75]
    assert now.gain(near, kernel) == 0


def test_what_is_lacking_is_where_another_covers_more():
    places, sum_of_it = covered(0.5, 0.25, 0).lacks(covered(0.25, 0.5, 0.5))
    assert places.tolist() == [1, 2]
    assert sum_of_it == 0.5 + 2


def test_bounds_are_the_same_from_all_references_and_from_lists():
    now = covered(0.5, 0.25, 0)
    above = torch.tensor([[0.25, 0.5, 0.75], [1, 0, 0], [0, 0, 0]], dtype=torch.float32)
    assert now.bounds(above).tolist() == pytest.approx([3.5, 0.5, 0], rel=2e-4)
    lists = better(above, now.below)
    assert now.bounds_of(lists, 3).tolist() == pytest.approx([3.5, 0.5, 0], rel=2e-4)
    assert bool((now.bounds_of(lists, 3) >= torch.tensor([3.5, 0.5, 0])).all())
