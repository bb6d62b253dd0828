"""The contract of a task: everything that differs between classification, detection, pose and segmentation.

`project.task` is a kind of labels. A task learns from one kind; which one is in `Task.labels`, so that a model of one's
own is one more task for the same labels.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alctl.config import TrainConfig
from alctl.labels.annotation import Annotation, Category
from alctl.model.loss_prediction import TargetModel
from alctl.model.tensors import Distributions, Frame, Raw, Size, Target, Targets
from alctl.plugins import Plugins

WHOLE_IMAGES = "images"
"""The `Task.units` of a task that gives each image exactly one class distribution."""


class Meter(ABC):
    """Measures a model over as many batches as come; its memory does not grow with boxes or pixels."""

    @abstractmethod
    def update(self, raw: Raw, targets: Targets) -> Tensor:
        """Take in a batch; return how good each image's answer is, (B,) in [0, 1]: what models are compared by."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Return every metric by name; those of a class are called "AP: RBC"."""

    def confusion(self) -> tuple[str, NDArray[np.int64]] | None:
        """Return what is counted ("images", "boxes", "pixels") and the table true × said.

        Its last row and column are for nothing, where there can be nothing. None where classes are not told apart.
        """
        return None

    def confidence(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
        """Return probabilities (K,) and whether each was right, for calibration: a bounded part of them if they are many."""
        return None


@dataclass(frozen=True)
class Task(ABC):
    """A kind of model for one kind of labels. It holds no state: two tasks of the same values are the same."""

    labels: ClassVar[str]
    """The kind of labels that it learns from, one of `annotation.KINDS`."""
    units: ClassVar[str]
    """What each of an image's class distributions is of: `WHOLE_IMAGES`, "boxes", "joints" or "pixels"."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Training settings that are other than those of `TrainConfig` by default."""
    cuts: ClassVar[bool] = False
    """Whether what does not fit the frame's shape is cut off from images."""
    padding: ClassVar[Mapping[str, float]] = {}
    """What `stack` fills up with where a target is shorter than others, by key; else 0."""

    categories: tuple[Category, ...]
    frame: Frame
    """Height and width of the images that it encodes, which the cache holds."""
    merged: tuple[tuple[int, ...], ...] = ()
    """Places in ``categories`` that count as one class; probabilities and losses are those of the first of them."""
    flip: bool = True
    """Whether a mirror image shows the same, so that `augment` may flip."""

    @classmethod
    @abstractmethod
    def choose(cls, config: TrainConfig, largest: Size) -> tuple[TrainConfig, str]:
        """Replace a model of "auto" and a size of 0 by what there is for these images on the config's device.

        Also return why, in a sentence, where somebody would wonder; else "".
        """

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(category.name for category in self.categories)

    @property
    @abstractmethod
    def metric(self) -> str:
        """The name of the headline number among those that its `meter` computes, such as "accuracy"."""

    @abstractmethod
    def encode_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return (3, *frame) uint8, deterministic; called in threads."""

    @abstractmethod
    def encode_target(self, annotations: Sequence[Annotation], size: Size) -> Target | str:
        """Return what the label of an image of this size teaches, or a clause that says why it teaches nothing.

        "Nothing there" may be a lesson; an image without any labeled joint or pixel is none. AlctlError for a label that
        is not of the task's kind.
        """

    def stack(self, targets: Sequence[Target]) -> Targets:
        """Return the targets of N images as one tensor for each key, (N, …), padded to the longest; none: {}."""
        keys = targets[0] if targets else ()
        return {key: _stacked([target[key] for target in targets], self.padding.get(key, 0)) for key in keys}

    def check(self, targets: Targets) -> str:
        """Return why nothing can be learned from these targets, such as "all 40 labeled images are 'cat'"; else ""."""
        return ""

    @abstractmethod
    def model(self, config: TrainConfig, weights: str) -> TargetModel:
        """Build the target model; ``weights`` is "auto", "pretrained", "none" or a file.

        It is also built on torch's meta device, to check a file of weights: sizes may matter to it, values may not.
        """

    def fine_tunes(self, config: TrainConfig) -> bool:
        """Tell, as far as it can be told without them, whether the weights that training starts from were learned before."""
        return config.weights != "none"

    @abstractmethod
    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
        """Augment a batch of (B, 3, *frame) uint8 on its device; all chance comes from ``rng``, a CPU generator."""

    def view(self, images: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
        """Return what the network sees of a batch outside of training, without chance; ``targets`` may be {}."""
        return images, targets

    @abstractmethod
    def loss(self, raw: Raw, targets: Targets) -> Tensor:
        """Return the target loss of each image, (B,), never a scalar; no image's may depend on the others."""

    @abstractmethod
    def distributions(self, raw: Raw, like: Distributions | None = None) -> Distributions:
        """Return the class distributions of each image; those at the places of ``like`` where that is given."""

    @abstractmethod
    def decode(self, raw: Raw, sizes: Sequence[Size], *, sure: float = 0.5) -> list[tuple[Annotation, ...]]:
        """Turn what the network says into annotations in pixels of the original images, objects of at least ``sure``."""

    @abstractmethod
    def meter(self) -> Meter:
        """Return what measures a model of this task, with nothing in it yet."""


def _stacked(values: Sequence[NDArray[np.generic]], padding: float) -> Tensor:
    """Return arrays of the same rank as one tensor; the shorter ones are filled up at the end of each dimension."""
    longest = np.max([value.shape for value in values], axis=0).astype(int)
    whole = np.full((len(values), *longest), padding, values[0].dtype)
    for i, value in enumerate(values):
        whole[i : i + 1][(slice(None), *map(slice, value.shape))] = value
    return torch.from_numpy(whole)


TASKS = Plugins("alctl.model.tasks", Task)
