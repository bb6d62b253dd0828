import math

import pytest
import torch

from alctl.model.tensors import Distributions
from alctl.model.uncertainty import dropout_entropies, entropy, least_confidence, margin
from tests.model.strategies.fakes import evenly

KNOWN = [
    ([0.5, 0.3, 0.2], 1.0296530140, 0.5, 0.2),
    ([0.25, 0.25, 0.25, 0.25], 1.3862943611, 0.75, 0.0),
    ([1.0, 0.0, 0.0], 0.0, 0.0, 1.0),
    ([0.6, 0.4], 0.6730116670, 0.4, 0.2),
]


@pytest.mark.parametrize(("p", "nats", "doubt", "gap"), KNOWN)
def test_known_distributions_have_the_known_uncertainty(p, nats, doubt, gap):
    probabilities = torch.tensor(p, dtype=torch.float64)
    assert entropy(probabilities).item() == pytest.approx(nats, abs=1e-9)
    assert least_confidence(probabilities).item() == pytest.approx(doubt, abs=1e-12)
    assert margin(probabilities).item() == pytest.approx(gap, abs=1e-12)


def test_the_entropy_of_a_saturated_softmax_is_zero():
    p = torch.tensor([0.0, -200.0, -200.0]).softmax(-1)
    assert p.tolist() == [1.0, 0.0, 0.0]
    assert entropy(p).item() == 0


def test_heatmaps_that_differ_by_one_pixel_have_different_entropies():
    flat, peak, sharp = torch.zeros(3, 64 * 64, dtype=torch.float64).unbind()
    peak[5] = 1
    sharp[5] = 20
    found = entropy(torch.stack([flat, peak, sharp]).softmax(-1).float())
    assert found.tolist() == pytest.approx([8.3177661667, 8.3175222164, 0.0001772474], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("function", [entropy, least_confidence, margin])
def test_half_precision_is_refused(function, dtype):
    with pytest.raises(TypeError, match="too coarse"):
        function(torch.zeros(1, 64 * 64).softmax(-1).to(dtype))


def mutual_information(*draws: list[float]) -> float:
    of_mean, mean = dropout_entropies(
        evenly(torch.tensor(p, dtype=torch.float64)[None, None], None) for p in draws
    )
    return (of_mean - mean).item()


def test_disagreeing_passes_have_the_known_mutual_information():
    assert mutual_information([0.9, 0.1], [0.1, 0.9]) == pytest.approx(0.3680642072, abs=1e-9)
    cycle = [[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]]
    assert mutual_information(*cycle) == pytest.approx(0.2967937361, abs=1e-9)


def test_identical_passes_have_no_mutual_information_at_all():
    p = torch.rand(50, 1, 7, generator=torch.Generator().manual_seed(0)).softmax(-1)
    for passes in (2, 3, 7, 10, 25):
        of_mean, mean = dropout_entropies([evenly(p, None)] * passes)
        assert torch.equal(of_mean, mean)


def test_dropout_averages_probabilities_and_not_logits():
    of_mean, _ = dropout_entropies(
        evenly(torch.tensor([[p]], dtype=torch.float64), None) for p in ([0.98, 0.02], [0.5, 0.5])
    )
    assert of_mean.item() == pytest.approx(-0.74 * math.log(0.74) - 0.26 * math.log(0.26))


def test_passes_and_distributions_of_an_image_are_told_apart():
    first_pass = [[0.9, 0.1], [0.5, 0.5]]
    second_pass = [[0.1, 0.9], [0.5, 0.5]]
    of_mean, mean = dropout_entropies(
        evenly(torch.tensor([p], dtype=torch.float64), None) for p in (first_pass, second_pass)
    )
    assert (of_mean - mean).item() == pytest.approx(0.3680642072 / 2, abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 1, 10), (40, 3, 1000), (40, 17, 21), (40, 1000, 2)])
def test_the_batch_an_image_is_in_changes_no_bit(shape):
    p = torch.randn(shape, generator=torch.Generator().manual_seed(0)).softmax(-1)
    for function in (entropy, least_confidence, margin):
        whole = function(p).mean(-1)
        for size in (1, 7):
            assert torch.equal(torch.cat([function(part).mean(-1) for part in p.split(size)]), whole)


def test_what_weighs_nothing_counts_for_nothing_even_where_it_is_no_number():
    p = torch.tensor([[[0.5, 0.5], [0.9, 0.1], [torch.nan, 0.0]]])
    said = Distributions(p, torch.tensor([[0.25, 0.75, 0.0]]), torch.tensor([[4, 7, 0]]))
    assert said.mean(least_confidence).tolist() == pytest.approx([0.25 * 0.5 + 0.75 * 0.1])
    highest, which = said.likeliest()
    assert (highest.tolist(), which.tolist()) == ([pytest.approx(0.8)], [0])
