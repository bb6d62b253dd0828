"""Epochs, learning rates and optimizers."""

import itertools

import pytest
import torch

from alctl.config import TrainConfig
from alctl.model.loss_prediction import Norm
from alctl.model.schedule import enough_epochs, learning_rate, new_optimizer, with_rate
from alctl.model.train import new_model, train
from tests.fakes import Plain, classifier, pictures, tiny

CONFIG = tiny(epochs=10, lr=1.0)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "step"}, [1, 1, 1, 0.1]),
        ({"schedule": "step", "lr_drop": 0.25}, [1, 0.1, 0.1, 0.1]),  # round(2.5) is 2
        ({"schedule": "poly", "power": 1.0}, [1, 0.75, 0.5, 0.05]),
        ({"schedule": "poly", "power": 0.9}, [1, 0.75**0.9, 0.5**0.9, 0.05**0.9]),
        ({"schedule": "cosine"}, [1, 0.8535534, 0.5, 0.00615583]),
    ],
)
def test_the_learning_rate_follows_its_schedule_from_step_to_step(changes, rates):
    config = tiny(epochs=10, lr=1.0, **changes)
    assert [learning_rate(config, done) for done in (0, 2.5, 5, 9.5)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("images", "fine_tuned", "epochs"),
    [
        (50, False, 400),
        (128, False, 400),
        (129, False, 200),
        (1000, False, 200),
        (50, True, 200),
        (1000, True, 30),
    ],
)
def test_few_labels_get_enough_steps_and_pretrained_networks_fewer_epochs(images, fine_tuned, epochs):
    assert enough_epochs(images, TrainConfig(), fine_tuned=fine_tuned) == epochs


@pytest.mark.parametrize(("optimizer", "usual"), [("sgd", 0.1), ("adamw", 1e-3), ("rmsprop", 1e-3)])
def test_pretrained_networks_get_a_tenth_of_the_usual_learning_rate(optimizer, usual):
    config = tiny(lr=0.0, optimizer=optimizer)
    assert with_rate(config, fine_tuned=False).lr == usual
    assert with_rate(config, fine_tuned=True).lr == pytest.approx(usual / 10)
    assert with_rate(tiny(lr=3.0), fine_tuned=True).lr == 3


class Pretrained(Plain):
    """Says that its network was trained before, on images with a mean and deviation of their own."""

    def model(self, config, weights):
        model = super().model(config, weights)
        model.weights, model.norm = "somebody's", Norm((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
        return model


def test_a_pretrained_network_keeps_its_own_normalisation_and_is_tuned_finely():
    images, _ = pictures(8)
    trained = new_model(classifier(Pretrained), images, tiny(lr=0.0), seed=0)
    assert trained.mean.tolist() == [1, 2, 3]
    assert trained.std.tolist() == [4, 5, 6]
    assert trained.config.lr == pytest.approx(0.01)
    fresh = new_model(classifier(Plain), images, tiny(lr=0.0), seed=0)
    assert fresh.config.lr == 0.1
    assert fresh.mean.tolist() == pytest.approx(images.float().mean((0, 2, 3)).tolist(), rel=1e-5)


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adamw"])
@pytest.mark.parametrize("schedule", ["step", "poly"])
def test_a_run_that_was_stopped_is_the_run_that_was_not(tmp_path, optimizer, schedule):
    config = tiny(optimizer=optimizer, schedule=schedule, lr=0.01, epochs=4, batch_size=4)
    images, targets = pictures(16)
    task, path = classifier(), tmp_path / "run.safetensors"

    def run(stop, **options):
        trained = new_model(task, images, config, seed=7)
        steps = train(trained, task, images, targets, range(16), seed=7, **options)
        for epoch in steps:
            if epoch.epoch == stop:
                break
        steps.close()
        return trained

    whole = run(4)
    for stop in (1, 3, 4):
        pieces = run(stop, checkpoint=path, fingerprint="run")
    assert same(whole, pieces)
    assert not same(whole, run(3))


def test_a_resumed_run_keeps_the_learning_rate_and_the_normalisation_that_it_began_with(tmp_path):
    images, targets = pictures(16)
    path = tmp_path / "run.safetensors"
    for kind, epochs in ((Pretrained, 1), (Plain, 5)):  # the second time the weights cannot be had
        trained = new_model(classifier(kind), images, tiny(lr=0.0), seed=7)
        steps = train(
            trained, classifier(kind), images, targets, range(16), seed=7, checkpoint=path, fingerprint="run"
        )
        lrs = [epoch.lr for epoch in itertools.islice(steps, epochs)]
        steps.close()
    assert lrs == pytest.approx([0.01] * 3 + [0.001])
    assert trained.mean.tolist() == [1, 2, 3]
    assert trained.model.norm == Norm((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


def test_frozen_parameters_go_to_no_optimizer():
    images, _ = pictures(8)
    trained = new_model(classifier(Plain), images, tiny(), seed=0)
    for parameter in trained.model.network.get_submodule("0").parameters():
        parameter.requires_grad_(False)
    held = sum(len(group["params"]) for group in new_optimizer(trained).param_groups)
    assert held == len(list(trained.parameters())) - 2


def test_steps_are_told_as_shares_of_the_epochs():
    images, targets = pictures(16)
    task = classifier(Plain)
    trained = new_model(task, images, tiny(epochs=2, batch_size=8), seed=0)
    told = []
    list(train(trained, task, images, targets, range(16), seed=0, stepped=lambda *now: told.append(now)))
    assert told == [(0, 0), (0.5, 0.5), (1, 0.5), (1.5, 0.5), (2, 0.5)]
