"""The SSD networks (Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016) as target models with their taps.

A network gives a dict for B images and A anchors: "logits" (B, A, C + 1), background first, "offsets" (B, A, 4) from the
anchors (`boxes.decoded`), and "priors" (B, A, 4), the anchors in pixels of the frame: whoever reads the answer needs nothing else.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large, vgg16, vgg16_bn
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG, SSDHead
from torchvision.models.detection.ssdlite import SSDLiteFeatureExtractorMobileNet, SSDLiteHead

from alctl.model.tensors import Frame

TINY = "ssd-tiny"
MOMENTUM = 0.1
"""Of batch normalisation from scratch: torchvision's mobile networks have 0.01 and 0.03, too slow for small projects."""
_300 = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
_STEPS_300 = (8, 16, 32, 64, 100, 300)
_FEW, _MANY = (2.0,), (2.0, 3.0)


class SSD(nn.Module):
    """A network that gives feature maps, with a head that says for each anchor on them what it is and where."""

    taps: tuple[str, ...]
    """Every map that the head reads, as it reads it: the first of VGG16 after its L2 normalisation."""
    priors: Tensor
    """(A, 4) in pixels of the frame; in no file of weights, since it follows from the frame."""

    def __init__(self, backbone: nn.Module, head: nn.Module, maps: int, priors: Tensor) -> None:
        """Join a network that gives ``maps`` feature maps, a head of torchvision's that reads them, and the anchors."""
        super().__init__()
        self.taps = tuple(f"<head.classification_head.module_list.{i}" for i in range(maps))
        self.backbone = backbone
        self.head = head
        self.register_buffer("priors", priors, persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits, offsets and anchors for (B, 3, *frame) images."""
        said = self.head(list(self.backbone(images).values()))
        return {
            "logits": said["cls_logits"],
            "offsets": said["bbox_regression"],
            "priors": self.priors.expand(len(images), -1, -1),
        }


def anchors(
    maps: Sequence[Frame],
    frame: Frame,
    scales: Sequence[float],
    ratios: Sequence[Sequence[float]],
    steps: Sequence[float] = (),
) -> Tensor:
    """Return the default boxes (A, 4) in pixels on maps of the given heights and widths (SSD, section 2.2).

    At each place of map k: a square of scale k, one of the geometric mean of that and the next scale, and of each ratio
    a box that is wider and one that is higher. ``scales`` has one more entry than there are maps; they are shares of the
    frame, and no side is longer than that. ``steps`` are pixels between neighbours, where maps do not divide the frame.
    """
    found = []
    with torch.device(
        "cpu"
    ):  # sizes make them, not values: also where the network itself is on the meta device
        sides = torch.tensor([frame[1], frame[0]], dtype=torch.float64)
        for k, (height, width) in enumerate(maps):
            step = (
                sides.new_tensor((steps[k], steps[k])) if steps else sides / sides.new_tensor((width, height))
            )
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            centre = (torch.stack((x, y), -1).view(-1, 1, 2) + 0.5) * step
            half = torch.tensor(_shapes(scales[k], scales[k + 1], ratios[k]), dtype=torch.float64)
            half = half.clamp_max(1) * sides / 2
            found.append(torch.cat((centre - half, centre + half), -1).view(-1, 4))
        return torch.cat(found).float()


def _shapes(scale: float, following: float, ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Return the width and height of each default box at a place, as shares of the frame."""
    mean = math.sqrt(scale * following)
    shapes = [(scale, scale), (mean, mean)]
    for root in map(math.sqrt, ratios):
        shapes += [(scale * root, scale / root), (scale / root, scale * root)]
    return shapes


def map_sizes(backbone: nn.Module, frame: Frame) -> tuple[list[Frame], list[int]]:
    """Return the heights and widths of a network's maps, and their channels; nothing is computed."""
    state = {name: value.to("meta") for name, value in backbone.state_dict(keep_vars=True).items()}
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        found = torch.func.functional_call(backbone, state, torch.zeros(1, 3, *frame, device="meta"))
    backbone.train(training)
    return [(o.shape[2], o.shape[3]) for o in found.values()], [o.shape[1] for o in found.values()]


def vgg(classes: int, frame: Frame, *, normalised: bool = False, backbone: nn.Module | None = None) -> SSD:
    """Return SSD300 of VGG16, with six maps; ``normalised``: of VGG16 with batch normalisation, which learns from scratch.

    Args:
        classes: How many, without background.
        frame: Height and width; the anchors' places on the maps are those of the paper at 300 × 300.
        normalised: With batch normalisation.
        backbone: A pretrained VGG16 instead of a random one.
    """
    made: Any = backbone or (vgg16_bn if normalised else vgg16)(weights=None)
    maps = SSDFeatureExtractorVGG(made.features, highres=False)
    sizes, channels = map_sizes(maps, frame)
    ratios = (_FEW, _MANY, _MANY, _MANY, _FEW, _FEW)
    steps = _STEPS_300 if frame == (300, 300) else ()
    head = SSDHead(channels, [2 + 2 * len(some) for some in ratios], classes + 1)
    return SSD(maps, head, len(sizes), anchors(sizes, frame, _300, ratios, steps))


def mobile(classes: int, frame: Frame, *, backbone: nn.Module | None = None) -> SSD:
    """Return SSDLite320 of MobileNetV3 (Howard et al. 2019), with six maps and few multiplications."""
    momentum = 0.03 if backbone else MOMENTUM
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=momentum)
    made: Any = backbone or mobilenet_v3_large(weights=None, norm_layer=norm, reduced_tail=True)
    strided = [i for i, block in enumerate(made.features) if getattr(block, "_is_cn", False)]
    maps = SSDLiteFeatureExtractorMobileNet(made.features, strided[-1], norm)
    sizes, channels = map_sizes(maps, frame)
    scales = [0.2 + 0.15 * k for k in range(6)] + [1.0]
    head = SSDLiteHead(channels, [6] * 6, classes + 1, norm)
    return SSD(maps, head, len(sizes), anchors(sizes, frame, scales, (_MANY,) * 6))


class TinyMaps(nn.Module):
    """Eight convolutions of 3 × 3 with batch normalisation: maps at strides 8, 16, 32 and 64."""

    def __init__(self, width: int) -> None:
        """Start with ``width`` channels; the maps have 4, 8, 8 and 8 times as many."""
        super().__init__()
        w = width
        self.stem = nn.Sequential(
            _block(3, w, 2), _block(w, w, 1), _block(w, 2 * w, 2), _block(2 * w, 2 * w, 1)
        )
        sides = (2 * w, 4 * w, 8 * w, 8 * w, 8 * w)
        self.maps = nn.ModuleList(_block(before, after, 2) for before, after in pairwise(sides))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the four maps of (B, 3, H, W) images, by number."""
        x, found = self.stem(images), {}
        for i, block in enumerate(self.maps):
            found[str(i)] = x = block(x)
        return found


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def tiny(classes: int, frame: Frame, width: int = 32) -> SSD:
    """Return a small SSD that learns on a CPU in minutes, at 128 × 128 pixels or so."""
    maps = TinyMaps(width)
    sizes, channels = map_sizes(maps, frame)
    head = SSDHead(channels, [6] * 4, classes + 1)
    return SSD(maps, head, len(sizes), anchors(sizes, frame, (0.07, 0.15, 0.3, 0.55, 0.85), (_MANY,) * 4))
