"""Classification: one class for the whole image."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation
from alctl.model.loss_prediction import TargetModel
from alctl.model.networks import build
from alctl.model.task import Task
from alctl.plugins import unknown


class Classification(Task):
    """Images with exactly one class each; the target is its index in the class list."""

    metric: ClassVar[str] = "accuracy"

    def model(
        self, name: str, weights: str, *, image_size: int, width: int, taps: Sequence[str]
    ) -> TargetModel:
        """Build resnet18-cifar or a torchvision classification model; `TargetModel.weights` says what was used."""
        built = build(
            name, weights, classes=len(self.categories), image_size=image_size, width=width, taps=taps
        )
        return TargetModel(built.network, built.taps, built.head, image_size, built.weights)

    def encode_image(self, image: Image.Image, size: int) -> np.ndarray:
        """Return the central square, resized to (3, size, size) uint8 RGB; the identity at that size already."""
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        square = image.resize(
            (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def encode_target(self, annotations: Sequence[Annotation]) -> Tensor:
        """Return the index of the image's class, a long scalar."""
        if len(annotations) != 1:
            raise AlctlError(f"classification needs exactly one class for an image, not {len(annotations)}")
        annotation = annotations[0]
        if annotation.bbox or annotation.keypoints or annotation.segmentation:
            raise AlctlError(
                f"classification needs a class for the whole image, but {annotation.category!r} is an object in it"
            )
        if annotation.category not in self.categories:
            raise AlctlError(unknown(annotation.category, self.categories, "classes"))
        return torch.tensor(self.categories.index(annotation.category))

    def augment(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crop the zero-padded image at random and, with `flip`, flip half of them, as LL4AL section 4.1 does.

        The paper crops 32 × 32 out of 36 × 36: a padding of 2 pixels, a sixteenth of the side. Crop and flip are one
        gather over rows and columns, which also leaves the batch in channels-last order.
        """
        n, _, height, width = images.shape
        pad = max(1, height // 16)
        shift = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=rng).to(images.device, non_blocking=True)
        flip = torch.randint(0, 2, (n, 1), generator=rng).to(images.device, non_blocking=True)
        across = torch.arange(width, device=images.device)
        rows = torch.arange(height, device=images.device) + shift[0]
        columns = torch.where((flip == 1) & self.flip, width - 1 - across, across) + shift[1]
        padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
        image = torch.arange(n, device=images.device)[:, None, None]
        return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2), targets

    def loss(self, raw: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy of each image, shape (B,), from logits (B, C)."""
        return F.cross_entropy(self._logits(raw), targets, reduction="none")

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return the softmax of logits (B, C) as (B, 1, C) float32."""
        return self._logits(raw).float().softmax(dim=1)[:, None, :]

    def _logits(self, raw: Tensor) -> Tensor:
        """Return logits (B, C) under which a merged class has no probability, and the class it counts as has both's."""
        if not self.merged:
            return raw
        raw = raw.float()
        folded = raw.clone()
        for places in map(list, self.merged):
            folded[:, places] = -torch.inf
            folded[:, places[0]] = raw[:, places].logsumexp(dim=1)
        return folded

    def decode(self, probabilities: Tensor, sizes: Sequence[tuple[int, int]]) -> list[tuple[Annotation, ...]]:
        """Return the most probable class of each image; ``sizes`` does not matter."""
        best = probabilities[:, 0].argmax(dim=1).tolist()
        return [(Annotation(self.categories[index]),) for index in best]

    def evaluate(self, probabilities: Tensor, targets: Tensor) -> dict[str, float]:
        """Return accuracy and balanced accuracy: the recall of each class that occurs, averaged."""
        correct = (probabilities[:, 0].argmax(dim=1) == targets).double()
        recall = [correct[targets == index].mean() for index in targets.unique()]
        return {
            "accuracy": correct.mean().item(),
            "balanced_accuracy": torch.stack(recall).mean().item(),
        }
