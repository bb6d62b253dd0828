import copy
import itertools
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alctl.errors import AlctlError
from alctl.model.loss_prediction import LossPredictionModule, TargetModel, pairs, rank_loss
from alctl.model.tensors import floats
from alctl.model.train import new_model
from tests.fakes import classifier, pictures, tiny

PREDICTED = [0.2, 1.5, -0.3, 0.9]
TRUE = [1.0, 0.5, 2.0, 0.1]


def ranked(predicted, true, **options):
    """Return the ranking loss and its gradient with respect to the predicted losses."""
    guess = torch.tensor(predicted, dtype=torch.float64, requires_grad=True)
    value = rank_loss(guess, torch.tensor(true, dtype=torch.float64), **options)
    value.backward()
    assert guess.grad is not None
    return value.item(), guess.grad.tolist()


# --- the ranking loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "value", "gradient"),
    [
        ({"pairing": "half"}, 0.95, [0.5, -0.5, -0.5, 0.5]),
        ({"pairing": "flip"}, 2.25, [-0.5, 0.5, -0.5, 0.5]),
        ({"pairing": "all"}, 1.8166667, [-1 / 6, 1 / 6, -0.5, 0.5]),
        ({"pairing": "half", "margin": 0.1}, 0.3, [0.5, 0, -0.5, 0]),
    ],
)
def test_the_ranking_loss_and_its_gradient_are_those_of_equation_2(options, value, gradient):
    got = ranked(PREDICTED, TRUE, **options)
    assert got[0] == pytest.approx(value, abs=1e-6)
    assert got[1] == pytest.approx(gradient, abs=1e-6)


@pytest.mark.parametrize(("predicted", "value"), [([0.3, 0.9], 0.4), ([0.9, 0.3], 1.6)])
def test_a_tie_counts_as_minus_one(predicted, value):
    got, gradient = ranked(predicted, [0.7, 0.7])
    assert got == pytest.approx(value)
    assert gradient == [1, -1]


def test_the_last_of_an_odd_batch_is_left_out_of_the_ranking_loss():
    value, gradient = ranked([*PREDICTED, 5.0], [*TRUE, 9.0])
    assert value == pytest.approx(0.95)
    assert gradient[-1] == 0


def test_the_ranking_loss_of_one_image_is_zero_with_a_gradient_of_zero():
    assert ranked([3.0], [1.0]) == (0.0, [0.0])


def test_the_joint_loss_is_that_of_equation_3():
    assert np.mean(TRUE) + 1.0 * ranked(PREDICTED, TRUE)[0] == pytest.approx(1.85)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"kind": "bce", "pairing": "half"}, 0.7057824673),
        ({"kind": "bce", "pairing": "flip"}, 1.5280818297),
        ({"kind": "kl", "pairing": "half"}, 0.1289114454),
        ({"kind": "mse"}, 1.8925),
    ],
)
def test_the_other_ranking_losses_have_their_published_values(options, value):
    assert ranked(PREDICTED, TRUE, **options)[0] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("pairing", ["half", "all"])
def test_a_pair_of_two_zero_losses_adds_nothing_to_kl_and_moves_no_prediction(pairing):
    value, gradient = ranked([2.0, -1.0], [0.0, 0.0], kind="kl", pairing=pairing)
    assert (value, gradient) == (0.0, [0.0, 0.0])
    both, moved = ranked([2.0, 0.5, -1.0, 1.0], [0.0, 1.0, 0.0, 3.0], kind="kl", pairing="half")
    alone, of_alone = ranked([0.5, 1.0], [1.0, 3.0], kind="kl", pairing="half")
    assert both == pytest.approx(alone / 2)
    assert moved == pytest.approx([0.0, of_alone[0] / 2, 0.0, of_alone[1] / 2])
    assert of_alone[0] != 0


def test_the_order_of_the_batch_moves_predictions_and_losses_together():
    order = torch.tensor([2, 3, 0, 1])
    swapped = rank_loss(torch.tensor(PREDICTED)[order], torch.tensor(TRUE)[order])
    assert swapped.item() == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("predicted", "true"),
    [
        (torch.zeros(4, 1), torch.zeros(4)),
        (torch.zeros(4, 1), torch.zeros(4, 1)),
        (torch.zeros(4), torch.tensor(1.0)),
    ],
)
def test_losses_that_are_not_one_number_per_image_are_refused(predicted, true):
    with pytest.raises(ValueError, match="per-image"):
        rank_loss(predicted, true)


def test_the_true_loss_gets_no_gradient_from_the_ranking_loss():
    true = torch.tensor(TRUE, requires_grad=True)
    rank_loss(torch.tensor(PREDICTED, requires_grad=True), true).backward()
    assert true.grad is None


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_all_pairs_are_every_unordered_pair(n):
    first, second = pairs(n, "all")
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == list(
        itertools.combinations(range(n), 2)
    )


# --- the loss prediction module ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "width", "parameters"),
    [
        ([64, 128, 256, 512], 128, 123_905),
        ([64, 128, 256, 512], 256, 247_809),
        ([64, 128, 256, 512], 512, 495_617),
        ([512], 128, 65_793),
    ],
)
def test_the_module_has_as_many_parameters_as_the_paper_s(channels, width, parameters):
    assert sum(p.numel() for p in LossPredictionModule(channels, width).parameters()) == parameters


def test_the_module_comes_back_from_its_state_dict():
    features = [torch.rand(5, 3, 4, 4), torch.rand(5, 6, 2, 2)]
    module = LossPredictionModule([3, 6])
    other = LossPredictionModule([3, 6])
    assert not torch.equal(module(features), other(features))
    other.load_state_dict(module.state_dict())
    assert torch.equal(module(features), other(features))


def test_the_predicted_loss_is_not_affine_in_the_features():
    torch.manual_seed(0)
    module = LossPredictionModule([8])
    features = torch.randn(6, 8, 4, 4)
    at_0, at_1, at_2 = (module([features * scale]) for scale in (-1.0, 0.0, 1.0))
    assert (at_0 + at_2 - 2 * at_1).abs().max() > 0.01


@pytest.mark.parametrize("pairing", ["half", "flip", "all"])
def test_the_module_can_learn_the_order_of_a_few_images(pairing):
    rng = torch.Generator().manual_seed(0)
    features, true = torch.randn(12, 16, 1, 1, generator=rng), torch.randperm(12, generator=rng)
    module = LossPredictionModule([16])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(300):
        order = torch.randperm(12, generator=rng)
        optimizer.zero_grad()
        rank_loss(module([features[order]]), true[order], pairing=pairing).backward()
        optimizer.step()
    assert torch.equal(module([features]).argsort(), true.argsort())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_pooling_s_gradient_is_that_of_the_plain_mean(layout):
    torch.manual_seed(0)
    module = LossPredictionModule([5])
    ours = torch.randn(3, 5, 4, 6).to(memory_format=layout).requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    compress = module.compress[0]
    from_ours = torch.autograd.grad(module([ours]).sum(), ours)[0]
    by_hand = module.predict(F.relu(compress(plain.mean((2, 3))))).sum()
    assert torch.allclose(from_ours, torch.autograd.grad(by_hand, plain)[0], atol=1e-7)
    assert from_ours.is_contiguous(memory_format=layout)


def test_predicted_losses_stay_apart_in_bfloat16():
    module = LossPredictionModule([4])
    features = torch.rand(2000, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predicted = module([features])
    assert predicted.dtype == torch.float32
    assert len(predicted.unique()) > 1900


# --- both together ----------------------------------------------------------------------------------------------------


def test_a_detached_ranking_loss_reaches_the_module_and_nothing_else():
    images, targets = pictures(16)
    task = classifier()
    trained = new_model(task, images, tiny(), seed=0).train()
    for detach in (False, True):
        trained.zero_grad()
        output, predicted = trained(images, detach=detach)
        assert predicted is not None
        assert trained.module is not None
        rank_loss(predicted, task.loss(output.raw, targets)).backward()
        reached = any(p.grad is not None and bool(p.grad.any()) for p in trained.model.parameters())
        assert reached is not detach
        unmoved = [n for n, p in trained.module.named_parameters() if p.grad is None or not p.grad.any()]
        assert unmoved == ["predict.bias"]  # it is in both halves of every pair


def test_the_taps_are_live_activations_and_the_embedding_is_the_head_s_input():
    images, _ = pictures(6)
    trained = new_model(classifier(), images, tiny(), seed=0).eval()
    output, _ = trained(images)
    assert [tuple(feature.shape[1:]) for feature in output.features] == [
        (4, 8, 8),
        (8, 4, 4),
        (16, 2, 2),
        (32, 1, 1),
    ]
    assert all(feature.requires_grad for feature in output.features)
    head = trained.model.network.fc
    assert torch.allclose(head(output.embedding), output.raw)  # type: ignore[operator]


def test_a_deep_copy_reads_its_own_features():
    images, _ = pictures(6)
    trained = new_model(classifier(), images, tiny(), seed=0).eval()
    copied = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.zero_()
    output, predicted = copied(images)
    assert output.embedding.abs().sum() > 0
    assert not torch.equal(predicted, trained(images)[1])


def test_a_layer_that_is_not_there_or_gives_no_map_is_named():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2))
    with pytest.raises(AlctlError, match=r"no layer 'layer9'"):
        TargetModel(network, ["layer9"], "<2", (8, 8))
    with pytest.raises(AlctlError, match=r"layer '1' gives \(1, 72\)"):
        TargetModel(network, ["1"], "<2", (8, 8))


class Oblong(torch.nn.Module):
    """A network that says two things, of maps and of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.tokens = torch.nn.Linear(5, 6)
        self.head = torch.nn.Conv2d(5, 2, 1)

    def forward(self, images):
        maps = self.body(images).relu()
        return OrderedDict(out=self.head(maps), tokens=self.tokens(maps.flatten(2).mT))


@pytest.mark.parametrize("deeper", [False, True])
def test_a_tap_is_what_comes_out_of_a_layer_or_what_goes_into_one_map_or_tokens(deeper):
    torch.manual_seed(0)
    model = TargetModel(Oblong(), ("<head", "tokens"), "<head", (8, 16)).eval()
    assert model.channels == [5, 6]
    assert model.head == "head"
    images = torch.randn(4, 3, 8, 16)
    output = model(images)
    maps = model.network.get_submodule("body")(images).relu()
    assert [tuple(feature.shape) for feature in output.features] == [(4, 5, 4, 8), (4, 32, 6)]
    assert torch.equal(output.features[0], maps)
    assert torch.allclose(output.embedding, maps.mean((2, 3)))
    assert list(output.raw) == ["out", "tokens"]
    module = LossPredictionModule(model.channels, 7, deeper=deeper).eval()
    predicted = module(output.features)
    assert predicted.shape == (4,)
    if not deeper:
        pooled = [maps.mean((2, 3)), output.features[1].mean(1)]
        hidden = [layer(pool).relu() for layer, pool in zip(module.compress, pooled, strict=True)]
        assert torch.allclose(predicted, module.predict(torch.cat(hidden, dim=1))[:, 0], atol=1e-6)
    model.zero_grad()
    predicted.sum().backward()
    assert bool(model.network.body.weight.grad.any())  # type: ignore[union-attr,operator]


def test_a_network_that_says_several_things_comes_out_in_float32_and_whole_numbers_stay():
    said = floats(
        {"logits": torch.zeros(2, 3, dtype=torch.bfloat16), "anchors": torch.zeros(2, dtype=torch.int64)}
    )
    assert isinstance(said, dict)
    assert {name: value.dtype for name, value in said.items()} == {
        "logits": torch.float32,
        "anchors": torch.int64,
    }


def test_dropout_at_an_embedding_that_comes_out_of_a_layer_leaves_the_embedding_whole():
    model = TargetModel(Oblong(), ("body",), "body", (8, 8)).train()
    model.drop_out(0.5)
    output = model(torch.randn(2, 3, 8, 8))
    into_head: list[torch.Tensor] = []
    model.network.get_submodule("head").register_forward_pre_hook(
        lambda _, inputs: into_head.append(inputs[0])
    )
    model(torch.randn(2, 3, 8, 8))
    assert (into_head[0] == 0).float().mean() > 0.6  # half by ReLU, half of the rest by dropout
    assert output.embedding.shape == (2, 5)
