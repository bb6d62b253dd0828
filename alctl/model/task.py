"""The contract of a task: everything that differs between classification, detection, pose and segmentation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alctl.labels.annotation import Annotation
from alctl.model.loss_prediction import TargetModel
from alctl.plugins import Plugins


class Task(ABC):
    """One kind of label and all that training and scoring need to know of it; made for one class list."""

    metric: ClassVar[str]
    """The name of the headline number that `evaluate` returns, such as "accuracy"."""
    merged: Sequence[Sequence[int]] = ()
    """Places in ``categories`` that count as one class; probabilities and losses are those of the first of them."""

    flip: bool = True
    """Whether a mirror image shows the same, so that `augment` may flip."""

    def __init__(self, categories: Sequence[str]) -> None:
        self.categories = tuple(categories)

    @abstractmethod
    def model(
        self, name: str, weights: str, *, image_size: int, width: int, taps: Sequence[str]
    ) -> TargetModel:
        """Build the target model; ``weights`` is "auto", "pretrained", "none" or a file."""

    @abstractmethod
    def encode_image(self, image: Image.Image, size: int) -> np.ndarray:
        """Return (3, size, size) uint8, deterministic: what the cache holds and what scoring sees."""

    @abstractmethod
    def encode_target(self, annotations: Sequence[Annotation]) -> Tensor:
        """Return the training target of one image as a tensor."""

    @abstractmethod
    def augment(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment a batch of (B, 3, H, W) uint8 on its device; all chance comes from ``rng``, a CPU generator."""

    @abstractmethod
    def loss(self, raw: Tensor, targets: Tensor) -> Tensor:
        """Return the target loss of each image, shape (B,), never a scalar."""

    @abstractmethod
    def probabilities(self, raw: Tensor) -> Tensor:
        """Return (B, M, C) float32 class probabilities."""

    @abstractmethod
    def decode(self, probabilities: Tensor, sizes: Sequence[tuple[int, int]]) -> list[tuple[Annotation, ...]]:
        """Turn (B, M, C) probabilities into annotations in pixels of images of the given (width, height)."""

    @abstractmethod
    def evaluate(self, probabilities: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the task's metrics over (N, M, C) probabilities and N targets; `metric` is among them."""


TASKS = Plugins("alctl.model.tasks", Task)
