import pytest
import torch
from torch import Tensor

from alctl.model.coverage import cover
from alctl.model.forecast import forecast
from alctl.model.kernel import Covered, Kernel


def made(n: int = 120) -> tuple[Kernel, Covered, Tensor]:
    """Return a kernel between n points, nothing covered yet, and all exact values of the kernel."""
    points = torch.randn(n, 5, generator=torch.Generator().manual_seed(1))
    kernel = Kernel(points, torch.arange(n), 1.0, unit_length=True)
    weights = torch.rand(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64) / n
    now = Covered(torch.zeros(n, dtype=torch.float64), weights)
    return kernel, now, torch.stack([kernel.exact(i, torch.arange(n)) for i in range(n)])


@pytest.mark.parametrize("side", [7, 1024])
def test_no_candidate_adds_more_than_is_forecast(side):
    kernel, now, exact = made()
    levels, _ = forecast(kernel, now, 10, side=side, room=100_000)
    assert len(levels) == 11
    for level in levels:
        added = (exact - level.covered.exact).clamp(min=0) @ now.weights
        assert bool((level.bound >= added).all())
        assert torch.allclose(level.bound, added, rtol=1e-3, atol=2e-5)


def test_the_first_level_is_what_is_covered_now_and_the_others_the_first_picks():
    kernel, now, exact = made()
    levels, _ = forecast(kernel, now, 10, side=1024, room=100_000)
    assert now.exact.tolist() == [0] * 120
    picks = cover(kernel.points, kernel.points[:0], 10, references=torch.arange(120), weights=now.weights)
    for i, level in enumerate(levels):
        expected = exact[picks.positions[:i]].amax(0) if i else now.exact
        assert level.covered.exact.tolist() == pytest.approx(expected.tolist(), abs=1e-12)


def test_lists_hold_all_that_is_covered_less_than_it_could_be():
    kernel, now, exact = made()
    levels, reach = forecast(kernel, now, 10, side=32, room=100_000)
    last = levels[-1].covered.exact
    for position in range(120):
        columns, above = reach.of(torch.tensor([position])).of(0)
        assert set((exact[position] > last).nonzero()[:, 0].tolist()) <= set(columns.tolist())
        assert bool((above >= exact[position, columns]).all())


def test_with_little_room_the_best_of_a_block_have_lists():
    kernel, now, _ = made()
    levels, every = forecast(kernel, now, 10, side=1024, room=100_000)
    _, few = forecast(kernel, now, 10, side=1024, room=every.used)
    kept = few.size >= 0
    assert 0 < few.used <= 0.75 * every.used
    assert levels[-1].bound[kept].min() >= levels[-1].bound[~kept].max()
