"""What every task promises, whichever it is."""

import numpy as np
import pytest
import torch
from PIL import Image

from alctl.labels.annotation import Annotation
from alctl.model.task import TASKS

SIZE, N = 32, 6


@pytest.fixture(params=TASKS.names())
def task(request):
    return TASKS.load(request.param)(["cat", "dog", "owl"])


@pytest.fixture
def raw_and_targets(task):
    model = task.model("resnet18-cifar", "none", image_size=SIZE, width=4, taps=[])
    images = torch.rand(N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    targets = torch.stack([task.encode_target((Annotation(task.categories[i % 3]),)) for i in range(N)])
    return model.eval()(images).raw.float(), targets


def test_there_is_one_loss_per_image_and_never_a_scalar(task, raw_and_targets):
    losses = task.loss(*raw_and_targets)
    assert losses.shape == (N,)
    assert torch.isfinite(losses).all()
    alone = torch.cat(
        [task.loss(raw[None], target[None]) for raw, target in zip(*raw_and_targets, strict=True)]
    )
    assert torch.allclose(losses, alone, atol=1e-6)


def test_probabilities_are_distributions(task, raw_and_targets):
    probabilities = task.probabilities(raw_and_targets[0])
    assert probabilities.shape[0] == N
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(-1), torch.ones(()), atol=1e-5)


def test_the_headline_metric_is_among_the_metrics_and_predictions_decode(task, raw_and_targets):
    raw, targets = raw_and_targets
    probabilities = task.probabilities(raw)
    assert task.metric in task.evaluate(probabilities, targets)
    decoded = task.decode(probabilities, [(SIZE, SIZE)] * N)
    assert len(decoded) == N
    assert {a.category for annotations in decoded for a in annotations} <= set(task.categories)


def test_encoding_is_deterministic_and_augmentation_follows_its_generator(task, raw_and_targets):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
    first, second = task.encode_image(picture, SIZE), task.encode_image(picture, SIZE)
    assert first.shape == (3, SIZE, SIZE)
    assert first.dtype == np.uint8
    assert (first == second).all()
    images, targets = torch.from_numpy(np.stack([first] * N)), raw_and_targets[1]
    once, again = (task.augment(images, targets, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert once.shape == images.shape
    assert torch.equal(once, again)
