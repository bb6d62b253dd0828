"""The contract of a frozen backbone, a network that is never trained here, and what all of them are made of."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import PIL
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from alctl.model.device import LAYOUT

Pixels = NDArray[np.uint8]

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
    licence: str = ""
    """Of its weights, where their library says so."""


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


def with_views(backbone: Backbone, views: int) -> Backbone:
    """Return the backbone itself for one view; for two views, one that sees each image and its mirror image.

    Its vector is then the mean of the unit vectors of both, scaled to length 1 (SELECTION.md §1.5).
    """
    if views == 1:
        return backbone

    def embed(images: Tensor) -> Tensor:
        both = [F.normalize(backbone.embed(seen)) for seen in (images, images.flip(-1))]
        return F.normalize(both[0] + both[1])

    return replace(backbone, preprocessing={**backbone.preprocessing, "views": views}, embed=embed)


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


def channels_first(image: Image.Image) -> Pixels:
    """Return the pixels (3, H, W) of an image."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(image), 2, 0))


def runner(
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
