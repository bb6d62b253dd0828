"""What goes between a task and a network: targets as dicts of tensors, raw outputs, class distributions."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Raw = Tensor | dict[str, Tensor]
"""What a network says of B images; the first dimension of every tensor is B."""
Target = dict[str, NDArray[np.generic]]
"""What one image's label teaches, in pixels of the frame; lengths may differ between images."""
Targets = dict[str, Tensor]
"""Of N images, each entry (N, …), padded to the longest: classification has a class (N,)."""
Size = tuple[int, int]
"""Width and height of an original image, upright."""
Frame = tuple[int, int]
"""Height and width of the images that a task encodes."""


class Distributions(NamedTuple):
    """Class distributions of B images, M each: of the whole image, or of its boxes, joints or pixels."""

    p: Tensor
    """(B, M, C) float32 or float64; rows sum to 1."""
    weight: Tensor
    """(B, M) what each counts; rows sum to 1, and 0 is padding."""
    place: Tensor
    """(B, M) int64: which anchor, joint or pixel it is, so that a pass with dropout can be asked for the same."""

    def mean(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the weighted mean of ``of``, (…, C) → (…), over the M of each image: (B,) float64."""
        return self.mean_of(of(self.p))

    def mean_of(self, values: Tensor) -> Tensor:
        """Return the weighted mean of (B, M) over the M of each image, (B,) float64; what weighs 0 may be anything."""
        weight = self.weight.double()
        return (values.double() * weight).masked_fill(weight == 0, 0).sum(-1)

    def likeliest(self) -> tuple[Tensor, Tensor]:
        """Return the highest of the mean probabilities of each image, (B,), and the class that has it."""
        weight = self.weight[..., None].to(self.p.dtype)
        highest = (self.p * weight).masked_fill(weight == 0, 0).sum(1).max(1)
        return highest.values, highest.indices


def of_whole_images(p: Tensor) -> Distributions:
    """Return (B, C) probabilities as one distribution for each image."""
    return Distributions(p[:, None], p.new_ones(len(p), 1), p.new_zeros(len(p), 1, dtype=torch.int64))


def floats(raw: Raw) -> Raw:
    """Return what a network says in float32, whatever autocast made of it; whole numbers stay what they are."""
    if isinstance(raw, Tensor):
        return raw.float()
    return {name: value.float() if value.is_floating_point() else value for name, value in raw.items()}


def first(raw: Raw) -> Tensor:
    """Return one of the tensors of what a network says: all have a row for each image."""
    return raw if isinstance(raw, Tensor) else next(iter(raw.values()))


def rows(targets: Targets, items: Tensor | slice) -> Targets:
    """Return the targets of some images."""
    return {name: value[items] for name, value in targets.items()}


def moved(targets: Targets, device: torch.device | str) -> Targets:
    """Return targets on a device, without waiting for it."""
    return {name: value.to(device, non_blocking=True) for name, value in targets.items()}


def cut(targets: Targets, count: int) -> list[Targets]:
    """Cut targets into ``count`` parts whose lengths differ by one at most."""
    parts = {name: value.tensor_split(count) for name, value in targets.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(count)]
