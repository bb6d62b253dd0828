"""Small stand-ins: pictures that can be learned in a second, tasks that misbehave, a model whose score is the id."""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alctl.config import TrainConfig
from alctl.labels.annotation import Category
from alctl.model.loss_prediction import LossPredictionModule, TargetModel, Trained
from alctl.model.tasks.classification import Classification
from alctl.model.tensors import Raw, Targets, first
from alctl.model.train import new_model, train

TINY = TrainConfig(
    model="resnet18-cifar",
    weights="none",
    width=4,
    image_size=8,
    epochs=5,
    batch_size=8,
    lr=0.05,
    precision="fp32",
    device="cpu",
    checkpoint_every=1,
)
torch.set_num_threads(1)  # such small networks gain nothing from more, and lose much on a busy machine

CLASSES = ("top", "upper", "lower", "bottom")


def pictures(n: int, *, size: int = 8, seed: int = 0) -> tuple[Tensor, Targets]:
    """Return (n, 3, size, size) uint8 noise with one brighter band of rows, faint in some, and which band it is."""
    rng = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 4, (n,), generator=rng)
    images = torch.randint(0, 100, (n, 3, size, size), generator=rng)
    strength = torch.randint(0, 150, (n,), generator=rng)
    for image, target, extra in zip(images, targets, strength, strict=True):
        image[:, int(target) * size // 4 : (int(target) + 1) * size // 4] += extra
    return images.to(torch.uint8), {"class": targets}


def tiny(**changes: Any) -> TrainConfig:
    """Return the smallest useful training settings, changed."""
    return replace(TINY, **changes)


def classifier(
    kind: Callable[..., Any] = Classification, names: Iterable[str] = CLASSES, size: int = 8, **options: Any
) -> Any:
    """Return a task of these classes for square images."""
    return kind(tuple(map(Category, names)), (size, size), **options)


@dataclass(frozen=True)
class Plain(Classification):
    """Classification without augmentation, by a network without batch normalisation."""

    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
        return images, targets

    def model(self, config: TrainConfig, weights: str) -> TargetModel:
        network = nn.Sequential(
            nn.Conv2d(3, config.width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.width, config.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(config.width, len(self.categories)),
        )
        return TargetModel(network, ("1", "3"), "<6", self.frame)


@dataclass(frozen=True)
class ShortOfMemory(Plain):
    """Passes of more than ``limit`` images run out of memory; notes how many went through."""

    limit: int = 0
    passes: list[int] = field(default_factory=list)

    def loss(self, raw: Raw, targets: Targets) -> Tensor:
        if len(first(raw)) > self.limit:
            raise torch.OutOfMemoryError("out of memory, says the fake")
        self.passes.append(len(first(raw)))
        return super().loss(raw, targets)


@dataclass(frozen=True)
class NeverFinite(Plain):
    """The loss of an image whose first pixel is 255 is not a number."""

    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
        return images, {**targets, "spoilt": images[:, 0, 0, 0] == 255}

    def loss(self, raw: Raw, targets: Targets) -> Tensor:
        return torch.where(targets["spoilt"], torch.nan, super().loss(raw, targets))


@dataclass(frozen=True)
class Recorder(Plain):
    """Keeps the targets of every training step."""

    steps: list[list[int]] = field(default_factory=list)

    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
        self.steps.append(targets["class"].tolist())
        return images, targets


@dataclass(frozen=True)
class KillsItself(Classification):
    """Ends its process in the middle of the third epoch of four steps, as `kill -9` would."""

    calls: list[int] = field(default_factory=list)

    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
        self.calls.append(len(images))
        if len(self.calls) == 11:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().augment(images, targets, rng)


def train_until_killed(checkpoint: str) -> None:
    """Train `KillsItself`; the test runs this in a process of its own."""
    images, targets = pictures(32)
    killing = classifier(KillsItself)
    trained = new_model(killing, images, tiny(), seed=7)
    for _ in train(
        trained, killing, images, targets, range(32), seed=7, checkpoint=Path(checkpoint), fingerprint="run"
    ):
        pass


def id_reader() -> Trained:
    """Return a model whose predicted loss is the number that `id_images` put into an image's pixels."""
    network = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    module = LossPredictionModule([3], 1)
    with torch.no_grad():
        module.compress[0].weight.copy_(torch.tensor([[1.0, 256.0, 0.0]]))  # type: ignore[operator]
        for zero in (module.compress[0].bias, module.predict.bias):
            zero.zero_()  # type: ignore[operator]
        module.predict.weight.fill_(1.0)
    model = TargetModel(network, ("0",), "<2", (4, 4))
    return Trained(model, module, torch.zeros(3), torch.ones(3), tiny(image_size=4)).eval()


def id_images(ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return (len(ids), 3, 4, 4) uint8 images that carry their id, up to 65,535, in the first two channels."""
    images = np.zeros((len(ids), 3, 4, 4), np.uint8)
    images[:, 0] = (np.asarray(ids) % 256)[:, None, None]
    images[:, 1] = (np.asarray(ids) // 256)[:, None, None]
    return images
