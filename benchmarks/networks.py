"""What the training and scoring benchmarks share: random CIFAR-size images, and the loop of a typical port.

The port is written here after the common recipe of public ports of LL4AL, not anybody's code: torchvision transforms
on PIL images in a DataLoader, float32, NCHW, two optimisers, one loss read back from the device at every step.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from alctl.config import TrainConfig
from alctl.labels.annotation import Category
from alctl.model.loss_prediction import TargetModel, Trained, rank_loss
from alctl.model.tasks.classification import Classification
from alctl.model.tensors import Targets
from alctl.model.train import new_model

SIZE = 32


def settings(*, precision: str, loss_weight: float = 1.0, width: int = 64) -> TrainConfig:
    """The paper's settings, on the CPU, for as many epochs as are asked for."""
    return replace(
        TrainConfig(), model="resnet18-cifar", image_size=SIZE, device="cpu", precision=precision,
        loss_weight=loss_weight, width=width, epochs=10_000, checkpoint_every=10_000,
    )  # fmt: skip


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Let the network be narrower, and leave out what this processor only imitates, so that it ends in two minutes.

    Without bf16 instructions a pass in bf16 takes many times as long as in fp32, and says nothing about either.
    """
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=("bf16", "fp32"),
        default=["bf16", "fp32"] if has_bf16 else ["fp32"],
        help="default: both, fp32 alone on a processor without bf16 instructions",
    )
    parser.add_argument("--width", type=int, default=64, help="of ResNet-18's first layer; the paper's is 64")


def random_images(n: int) -> tuple[Tensor, Targets]:
    """(n, 3, 32, 32) uint8 and their classes."""
    rng = torch.Generator().manual_seed(0)
    return (
        torch.randint(0, 256, (n, 3, SIZE, SIZE), generator=rng, dtype=torch.uint8),
        {"class": torch.randint(0, 10, (n,), generator=rng)},
    )


def fresh(config: TrainConfig, images: Tensor) -> tuple[Classification, Trained]:
    """A task of 10 classes and its untrained model."""
    task = Classification(tuple(Category(str(i)) for i in range(10)), config.frame)
    return task, new_model(task, images, config, seed=0)


class PortModule(nn.Module):
    """The loss prediction module as the ports write it."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.layers = nn.ModuleList(nn.Linear(c, 128) for c in channels)
        self.out = nn.Linear(128 * len(channels), 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """(B,) from the tapped maps."""
        hidden = [
            layer(self.pool(f).flatten(1)).relu() for layer, f in zip(self.layers, features, strict=True)
        ]
        out: Tensor = self.out(torch.cat(hidden, 1)).view(-1)
        return out


class PilImages(Dataset[tuple[Tensor, int]]):
    """Arrays that become PIL images and then tensors, one by one."""

    def __init__(self, images: Tensor, classes: Tensor, *, train: bool) -> None:
        self.arrays = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        self.classes = classes.tolist()
        augment = [transforms.RandomHorizontalFlip(), transforms.RandomCrop(SIZE, padding=4)] if train else []
        self.transform = transforms.Compose(
            [*augment, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.25,) * 3)]
        )

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.classes[index]


class Port:
    """A port's training and scoring loops."""

    def __init__(self, images: Tensor, targets: Targets, width: int) -> None:
        _, trained = fresh(settings(precision="fp32", loss_weight=0, width=width), images)
        self.model: TargetModel = trained.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.module = PortModule(self.model.channels)
        options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
        self.optimizers = [
            torch.optim.SGD(part.parameters(), **options) for part in (self.model, self.module)
        ]
        self.train_loader = DataLoader(PilImages(images, targets["class"], train=True), 128, shuffle=True)
        self.score_loader = DataLoader(PilImages(images, targets["class"], train=False), 128)

    def epoch(self) -> None:
        """Train one epoch."""
        self.model.train()
        for images, classes in self.train_loader:
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            output = self.model(images)
            losses = nn.functional.cross_entropy(output.raw, classes, reduction="none")
            loss = losses.mean() + rank_loss(self.module(output.features), losses, pairing="flip")
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            loss.item()

    def score(self) -> Tensor:
        """Predict the loss of every image."""
        self.model.eval()
        scores = torch.tensor([])
        with torch.no_grad():
            for images, _ in self.score_loader:
                scores = torch.cat([scores, self.module(self.model(images).features)])
        return scores
