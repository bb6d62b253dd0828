"""Small networks whose convolutions have few channels, and what their gradients are beside those in float64."""

import copy
import json
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ShuffleNetV2
from torchvision.models.regnet import BlockParams, RegNet

from alctl.model.loss_prediction import TargetModel
from alctl.model.train import new_model, train
from tests.fakes import CLASSES, classifier, pictures, tiny

SIZE = 24
"""Pixels of the images: as many as it takes for a fault of the processor's library to show."""


class Between(nn.Module):
    """What is asked for, between a convolution and a linear layer."""

    def __init__(self, channels: int, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.middle = middle
        self.tap = nn.Identity()
        self.head = nn.LazyLinear(len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.tap(self.middle(F.relu(self.first(images)))).flatten(1))
        return out


class Functional(nn.Module):
    """A strided 1 × 1 convolution that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, weight=self.kernel, stride=(2, 2))


class Permuted(nn.Module):
    """A normalisation over the channels, for which the maps become (B, H, W, C) and come back with its strides."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.shrink = nn.Conv2d(4, 8, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shrink(self.norm(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2))
        return out


class Rows(nn.Module):
    """A strided convolution of size 1 over the pixels in a row, in (B, L, C) order as transformers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.shrink = nn.Conv1d(4, 8, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1).flatten(1, 2).contiguous()
        out: Tensor = self.shrink(rows.transpose(1, 2)).unflatten(2, (-1, SIZE))
        return out


MIDDLES: dict[str, Callable[[], tuple[int, nn.Module]]] = {
    "a strided 1 × 1 convolution": lambda: (4, nn.Conv2d(4, 8, 1, stride=2)),
    "one of 7 channels": lambda: (7, nn.Conv2d(7, 8, 1, stride=2)),
    "one of a single channel": lambda: (1, nn.Conv2d(1, 8, 1, stride=2)),
    "one that is strided along rows only": lambda: (4, nn.Conv2d(4, 8, 1, stride=(1, 2))),
    "one that is strided along columns only": lambda: (4, nn.Conv2d(4, 8, 1, stride=(2, 1), bias=False)),
    "one in groups": lambda: (8, nn.Conv2d(8, 16, 1, stride=2, groups=2)),
    "a transposed one": lambda: (8, nn.ConvTranspose2d(8, 4, 1, stride=2, output_padding=1)),
    "a functional one": lambda: (4, Functional()),
    "one behind a permutation": lambda: (4, Permuted()),
    "one over rows of pixels": lambda: (4, Rows()),
    "a strided 3 × 3 convolution": lambda: (4, nn.Conv2d(4, 8, 3, stride=2, padding=1)),
}


def small_models() -> Iterator[tuple[str, TargetModel]]:
    """Yield every network with its name."""
    for name, make in MIDDLES.items():
        network = Between(*make())
        network(torch.zeros(1, 3, SIZE, SIZE))
        yield name, TargetModel(network, ("tap",), "<head", (SIZE, SIZE))
    blocks = BlockParams.from_init_params(depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8)
    narrow = RegNet(blocks, num_classes=len(CLASSES), stem_width=4)
    yield "torchvision's RegNet, narrow", TargetModel(narrow, ("trunk_output",), "<fc", (2 * SIZE, 2 * SIZE))
    shuffle = ShuffleNetV2([1, 1, 1], [4, 8, 16, 32, 64], num_classes=len(CLASSES))
    yield "torchvision's ShuffleNet, narrow", TargetModel(shuffle, ("stage3",), "<fc", (2 * SIZE, 2 * SIZE))


def worst_gradient(model: TargetModel) -> tuple[float, str]:
    """Return how far the worst gradient is from that in float64, of its length, and whose it is.

    Batch normalisation uses its running statistics: a batch's own, of few numbers, would magnify rounding.
    """
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, *model.shape, generator=rng)
    exact = copy.deepcopy(model).double().to(memory_format=torch.contiguous_format)
    model.to(memory_format=torch.channels_last).eval()
    exact.eval()
    model(images.contiguous(memory_format=torch.channels_last)).raw.square().sum().backward()
    exact(images.double()).raw.square().sum().backward()
    wanted = {name: p.grad for name, p in exact.named_parameters() if p.grad is not None}
    small = 1e-6 * max(float(grad.norm()) for grad in wanted.values())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return max((float((found[n] - grad).norm() / (grad.norm() + small)), n) for n, grad in wanted.items())


def compare_all(threads: int, widths: range) -> None:
    """Train every width of the ResNet and every small network; print a line before each, and one of its gradients.

    A test runs this in a process of its own, since what it looks for may crash it.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    task = classifier(size=SIZE)
    images, targets = pictures(8, size=SIZE)
    for width in widths:
        print(json.dumps({"begun": f"width {width}"}), flush=True)  # noqa: T201
        trained = new_model(task, images, tiny(width=width, image_size=SIZE, epochs=1), seed=0)
        error, name = worst_gradient(copy.deepcopy(trained.model))
        list(train(trained, task, images, targets, range(8), seed=0))
        print(json.dumps({"error": error, "name": name}), flush=True)  # noqa: T201
    for network, model in small_models():
        print(json.dumps({"begun": network}), flush=True)  # noqa: T201
        error, name = worst_gradient(model)
        print(json.dumps({"error": error, "name": name}), flush=True)  # noqa: T201
