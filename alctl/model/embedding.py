"""Frozen backbones: networks that are never trained here and turn every image into one vector, its embedding."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional as transforms

from alctl.errors import AlctlError
from alctl.model import efficientnet_lite, networks
from alctl.model.device import LAYOUT, SMALL

Pixels = NDArray[np.uint8]

LITE0 = "efficientnet-lite0"
TORCHVISION = "torchvision:"
SMALL_INPUT = 112
"""Input size for images of up to `SMALL` pixels; they gain little from more, which costs four times as much."""
_PADDING = 32
"""Pixels that the crop leaves out, of ``size`` + 32: TensorFlow's evaluation of the EfficientNets."""
_SIZES = range(32, 1025)
_CPU_BATCH = 8  # fits a processor's cache: batches of 32 take three times as long an image
_GPU_BATCH = 128


@dataclass(frozen=True)
class Backbone:
    """A frozen network, and how it wants its images."""

    name: str
    dimension: int
    least: int
    """Pixels of the shorter side that decoding has to keep."""
    weights: str
    """SHA-256 of its weights, hexadecimal."""
    preprocessing: Mapping[str, object]
    """All that the vectors depend on beside image and weights, as JSON knows it; ``size`` is the input in pixels."""
    encode: Callable[[Image.Image], Pixels]
    """Turn an upright RGB image into (3, S, S)."""
    embed: Callable[[Tensor], Tensor]
    """Turn (B, 3, S, S) uint8 into (B, D) float32 on the CPU."""
    batch: int
    """Images at once: what is fastest on its device."""


def backbone(name: str, size: int | None, largest: int, device: str) -> Backbone:
    """Return the frozen network called ``name``, with its pretrained weights.

    Args:
        name: ``efficientnet-lite0``, or ``torchvision:`` and the name of one of its classification models.
        size: Input in pixels; None is the network's own, or 112 for small images.
        largest: The largest side of any image of the pool, in pixels.
        device: Where it runs, such as cpu or cuda.

    Raises:
        AlctlError: There is no such network, its weights cannot be had, or it has no such input size.
    """
    if size is not None and size not in _SIZES:
        raise AlctlError(f"an input of {size} pixels is not possible: {_SIZES[0]} to {_SIZES[-1]} are")
    if name == LITE0:
        return _lite0(size or (SMALL_INPUT if largest <= SMALL else 224), device)
    if name.startswith(TORCHVISION):
        return _torchvision(name, size, device)
    raise AlctlError(
        f"there is no backbone {name!r}; there are {LITE0}, {TORCHVISION}NAME, model (the last training run's), "
        "and table:FILE (your own vectors)"
    )


def record(size: int, *, mean: Sequence[float], std: Sequence[float], **resize: object) -> dict[str, object]:
    """Return the preprocessing record of a backbone; ``mean`` and ``std`` are of pixels from 0 to 255."""
    return {
        "size": size,
        **resize,
        "mean": list(mean),
        "std": list(std),
        "views": 1,
        "decoder": f"pillow {PIL.__version__}",
        "compute": "float32",
    }


def crop_centre(image: Image.Image, size: int, share: float) -> Pixels:
    """Return the square in the middle, ``share`` of the shorter side wide, as (3, size, size): bicubic."""
    width, height = image.size
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return _channels_first(image.resize((size, size), Image.Resampling.BICUBIC, box))


def _channels_first(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.moveaxis(np.asarray(image), 2, 0))


def _lite0(size: int, device: str) -> Backbone:
    """Return EfficientNet-Lite0: pixels as (pixel − 127) / 128, and of small inputs the whole square in the middle."""
    share = 1.0 if size <= SMALL_INPUT else size / (size + _PADDING)
    mean, std = (127.0,) * 3, (128.0,) * 3
    network = efficientnet_lite.pretrained()
    return Backbone(
        LITE0,
        efficientnet_lite.DIMENSION,
        round(size / share),
        efficientnet_lite.DIGEST,
        record(size, mean=mean, std=std, resize="crop", crop_share=share, interpolation="bicubic"),
        partial(crop_centre, size=size, share=share),
        _runner(network, mean, std, device),
        batch_of(device),
    )


def _torchvision(name: str, size: int | None, device: str) -> Backbone:
    """Return one of torchvision's networks; its embedding is the input of its last linear layer."""
    short = name.removeprefix(TORCHVISION)
    if short not in torchvision.models.list_models(module=torchvision.models):
        raise AlctlError(f"torchvision has no classification model {short!r}")
    network = networks.pretrained(short).network
    weights = torchvision.models.get_model_weights(short).DEFAULT
    own = weights.transforms()
    if size is not None and size != own.crop_size[0]:
        raise AlctlError(f"{name} takes images of {own.crop_size[0]} pixels; leave --size out")
    head = networks.head_of(network, short)
    linear = network.get_submodule(head)
    assert isinstance(linear, nn.Linear)
    digest = weights_digest(network)
    network.set_submodule(head, nn.Identity())
    input_size, shorter = own.crop_size[0], own.resize_size[0]
    mean, std = ([255 * value for value in values] for values in (own.mean, own.std))

    def encode(image: Image.Image) -> Pixels:
        smaller = transforms.resize(image, own.resize_size, own.interpolation, antialias=own.antialias)
        return _channels_first(transforms.center_crop(smaller, own.crop_size))

    kind = own.interpolation.value
    return Backbone(
        name,
        linear.in_features,
        max(shorter, input_size),
        digest,
        record(input_size, mean=mean, std=std, resize="shorter side", to=shorter, interpolation=kind),
        encode,
        _runner(network, mean, std, device),
        batch_of(device),
    )


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and their names, hexadecimal."""
    digest = hashlib.sha256()
    for name, values in network.state_dict().items():
        digest.update(name.encode())
        digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def batch_of(device: str) -> int:
    """Return how many images at once are fastest on a device."""
    return _CPU_BATCH if device == "cpu" else _GPU_BATCH


def _runner(
    network: nn.Module, mean: Sequence[float], std: Sequence[float], device: str
) -> Callable[[Tensor], Tensor]:
    """Return the function that normalises (B, 3, S, S) uint8 images and embeds them."""
    network.eval().requires_grad_(requires_grad=False).to(device, memory_format=LAYOUT)  # type: ignore[call-overload]
    shift, scale = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))

    def embed(images: Tensor) -> Tensor:
        with torch.inference_mode():
            x = ((images.to(device) - shift) / scale).to(memory_format=LAYOUT)
            found: Tensor = network(x)
        return found.flatten(1).float().cpu()

    return embed
