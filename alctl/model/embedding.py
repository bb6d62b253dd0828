"""Frozen backbones by name: EfficientNet-Lite0, networks of torchvision and timm, and own weights for any of these."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms import functional as transforms

from alctl.errors import AlctlError
from alctl.files import file_digest
from alctl.model import efficientnet_lite, networks
from alctl.model.backbone import Backbone, Pixels, batch_of, channels_first, record, runner, weights_digest
from alctl.model.device import SMALL
from alctl.model.timm_backbone import TIMM, timm_backbone

LITE0 = "efficientnet-lite0"
TORCHVISION = "torchvision:"
FILE = "file:"
SMALL_INPUT = 112
"""Input size for images of up to `SMALL` pixels; they gain little from more, which costs four times as much."""
_PADDING = 32
"""Pixels that the crop leaves out, of ``size`` + 32: TensorFlow's evaluation of the EfficientNets."""
_SIZES = range(32, 1025)


class Named(NamedTuple):
    """What the name of a frozen backbone says."""

    network: str
    file: Path | None
    """Its weights; None: the pretrained ones."""

    def __str__(self) -> str:
        """Return the name with the whole path of the file, so that it means the same from everywhere."""
        return self.network if self.file is None else f"{FILE}{self.network}={self.file}"


def named(name: str) -> Named:
    """Return what a name says; AlctlError for a file without the network that its weights are of."""
    if not name.startswith(FILE):
        return Named(name, None)
    network, equals, path = name.removeprefix(FILE).partition("=")
    if not equals or not path:
        raise AlctlError(
            f"{name!r} does not say which network the weights are of, and which file they are in; "
            f"write {FILE}NETWORK=PATH, such as {FILE}{TORCHVISION}resnet50=weights.safetensors"
        )
    return Named(network, Path(path).expanduser().resolve())


def backbone(name: str, size: int | None, largest: int, device: str) -> Backbone:
    """Return the frozen network called ``name``.

    Args:
        name: ``efficientnet-lite0``, ``torchvision:`` or ``timm:`` and the name of one of its networks, with pretrained
            weights; or ``file:NETWORK=PATH``, one of these with the weights of a .safetensors or .pt file.
        size: Input in pixels; None is the network's own, or 112 for small images with EfficientNet-Lite0.
        largest: The largest side of any image of the pool, in pixels.
        device: Where it runs, such as cpu or cuda.

    Raises:
        AlctlError: There is no such network, its weights cannot be had, or it has no such input size.
    """
    if size is not None and size not in _SIZES:
        raise AlctlError(f"an input of {size} pixels is not possible: {_SIZES[0]} to {_SIZES[-1]} are")
    network, file = named(name)
    if network == LITE0:
        return _lite0(size or (SMALL_INPUT if largest <= SMALL else 224), device, file)
    if network.startswith(TORCHVISION):
        return _torchvision(network, size, device, file)
    if network.startswith(TIMM):
        return timm_backbone(network, size, device, file)
    raise AlctlError(
        f"there is no backbone {network!r}; there are {LITE0}, {TORCHVISION}NAME, {TIMM}NAME, {FILE}NETWORK=PATH "
        "(own weights for one of these), model (the last training run's), and table:FILE (your own vectors)"
    )


def crop_centre(image: Image.Image, size: int, share: float) -> Pixels:
    """Return the square in the middle, ``share`` of the shorter side wide, as (3, size, size): bicubic."""
    width, height = image.size
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return channels_first(image.resize((size, size), Image.Resampling.BICUBIC, box))


def _lite0(size: int, device: str, file: Path | None) -> Backbone:
    """Return EfficientNet-Lite0: pixels as (pixel − 127) / 128, and of small inputs the whole square in the middle."""
    share = 1.0 if size <= SMALL_INPUT else size / (size + _PADDING)
    mean, std = (127.0,) * 3, (128.0,) * 3
    network = efficientnet_lite.pretrained(file)
    return Backbone(
        LITE0,
        efficientnet_lite.DIMENSION,
        round(size / share),
        file_digest(file) if file else efficientnet_lite.DIGEST,
        record(size, mean=mean, std=std, resize="crop", crop_share=share, interpolation="bicubic"),
        partial(crop_centre, size=size, share=share),
        runner(network, mean, std, device),
        batch_of(device),
    )


def _torchvision(name: str, size: int | None, device: str, file: Path | None) -> Backbone:
    """Return one of torchvision's networks; its embedding is the input of its last linear layer."""
    short = name.removeprefix(TORCHVISION)
    if short not in torchvision.models.list_models(module=torchvision.models):
        raise AlctlError(f"torchvision has no classification model {short!r}")
    weights = torchvision.models.get_model_weights(short).DEFAULT
    own = weights.transforms()
    if size is not None and size != own.crop_size[0]:
        raise AlctlError(f"{name} takes images of {own.crop_size[0]} pixels; leave --size out")
    network, dimension, digest = _headless(short, file)
    input_size, shorter = own.crop_size[0], own.resize_size[0]
    mean, std = ([255 * value for value in values] for values in (own.mean, own.std))

    def encode(image: Image.Image) -> Pixels:
        smaller = transforms.resize(image, own.resize_size, own.interpolation, antialias=own.antialias)
        return channels_first(transforms.center_crop(smaller, own.crop_size))

    kind = own.interpolation.value
    return Backbone(
        name,
        dimension,
        max(shorter, input_size),
        digest,
        record(input_size, mean=mean, std=std, resize="shorter side", to=shorter, interpolation=kind),
        encode,
        runner(network, mean, std, device),
        batch_of(device),
    )


class _Headless(NamedTuple):
    network: nn.Module
    dimension: int
    digest: str
    """Of the weights; the head's too where they are torchvision's."""


def _headless(short: str, file: Path | None) -> _Headless:
    """Return a network of torchvision without its last linear layer, with torchvision's weights or those of a file."""
    network = (
        networks.pretrained(short).network
        if file is None
        else torchvision.models.get_model(short, weights=None)
    )
    head = networks.head_of(network, short)
    linear = network.get_submodule(head)
    assert isinstance(linear, nn.Linear)
    digest = weights_digest(network) if file is None else ""
    network.set_submodule(head, nn.Identity())
    if file is not None:
        networks.fit_weights(network, networks.read_weights(file), file)
        digest = weights_digest(network)
    return _Headless(network, linear.in_features, digest)
