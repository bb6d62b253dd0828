"""Classification: one class for the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation
from alctl.model.device import SMALL
from alctl.model.loss_prediction import TargetModel
from alctl.model.networks import RESNET_CIFAR, build, can_be_pretrained
from alctl.model.task import WHOLE_IMAGES, Meter, Task
from alctl.model.tensors import Distributions, Raw, Size, Target, Targets, of_whole_images
from alctl.plugins import unknown


@dataclass(frozen=True)
class Classification(Task):
    """Images with exactly one class each; the target is its index in the class list, under "class"."""

    labels: ClassVar[str] = "classification"
    units: ClassVar[str] = WHOLE_IMAGES
    cuts: ClassVar[bool] = True

    @classmethod
    def choose(cls, config: TrainConfig, largest: Size) -> tuple[TrainConfig, str]:
        """Take the paper's network for images of up to `SMALL` pixels, which keep their size."""
        side = max(largest)
        size = config.image_size or (side if side <= SMALL else 224)
        own = RESNET_CIFAR if size <= SMALL else "resnet18"
        return replace(config, image_size=size, model=own if config.model == "auto" else config.model), ""

    @property
    def metric(self) -> str:
        """Accuracy, beside the balanced one."""
        return "accuracy"

    def model(self, config: TrainConfig, weights: str) -> TargetModel:
        """Build resnet18-cifar or a torchvision classification model; `TargetModel.weights` says what was used."""
        return build(
            config.model, weights, classes=len(self.categories), shape=self.frame, width=config.width,
            taps=config.tap_names,
        )  # fmt: skip

    def fine_tunes(self, config: TrainConfig) -> bool:
        """Tell whether there is a file of weights, or there are pretrained ones for the network."""
        return config.weights != "none" and (
            config.weights not in {"auto", "pretrained"} or can_be_pretrained(config.model)
        )

    def encode_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the middle of the image, as much as the frame's shape allows, as (3, H, W) RGB; bicubic."""
        image = image.convert("RGB")
        height, width = self.frame
        across, down = (
            min(image.width, image.height * width / height), min(image.height, image.width * height / width)
        )  # fmt: skip
        left, top = (image.width - across) / 2, (image.height - down) / 2
        box = (left, top, left + across, top + down)
        middle = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
        return np.ascontiguousarray(np.asarray(middle).transpose(2, 0, 1))

    def encode_target(self, annotations: Sequence[Annotation], size: Size) -> Target | str:
        """Return the index of the image's class."""
        if len(annotations) != 1:
            raise AlctlError(f"classification needs exactly one class for an image, not {len(annotations)}")
        annotation = annotations[0]
        if not annotation.whole_image:
            raise AlctlError(
                f"classification needs a class for the whole image, but {annotation.category!r} is an object in it"
            )
        if annotation.category not in self.names:
            raise AlctlError(unknown(annotation.category, self.names, "classes"))
        return {"class": np.array(self.names.index(annotation.category))}

    def check(self, targets: Targets) -> str:
        """Refuse images of a single class."""
        found = targets["class"].unique()
        if len(found) > 1:
            return ""
        only = self.names[int(found[0])]
        return f"all {len(targets['class'])} labeled images are {only!r}; training needs at least two classes"

    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
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

    def loss(self, raw: Raw, targets: Targets) -> Tensor:
        """Return the cross entropy of each image, shape (B,), from logits (B, C)."""
        return F.cross_entropy(self._logits(raw), targets["class"], reduction="none")

    def distributions(self, raw: Raw, like: Distributions | None = None) -> Distributions:
        """Return the softmax of logits (B, C), one distribution for each image, in float32."""
        return of_whole_images(self._logits(raw).float().softmax(dim=1))

    def _logits(self, raw: Raw) -> Tensor:
        """Return logits (B, C) under which a merged class has no probability, and the class it counts as has both's."""
        assert isinstance(raw, Tensor)
        if not self.merged:
            return raw
        raw = raw.float()
        folded = raw.clone()
        for places in map(list, self.merged):
            folded[:, places] = -torch.inf
            folded[:, places[0]] = raw[:, places].logsumexp(dim=1)
        return folded

    def decode(self, raw: Raw, sizes: Sequence[Size], *, sure: float = 0.5) -> list[tuple[Annotation, ...]]:
        """Return the most probable class of each image, however sure; ``sizes`` do not matter."""
        return [(Annotation(self.names[index]),) for index in self.distributions(raw).likeliest()[1].tolist()]

    def meter(self) -> "Accuracy":
        """Measure accuracy and balanced accuracy."""
        return Accuracy(self)


class Accuracy(Meter):
    """Counts images by true class and the class that is said."""

    def __init__(self, task: Classification) -> None:
        self.task = task
        self.table = torch.zeros(len(task.categories), len(task.categories), dtype=torch.int64)
        self.sure: list[tuple[Tensor, Tensor]] = []

    def update(self, raw: Raw, targets: Targets) -> Tensor:
        """Return 1 for an image whose true class is the most probable, else 0."""
        probability, said = self.task.distributions(raw).likeliest()
        true = targets["class"]
        right = said == true
        self.table += _table(true, said, len(self.table)).cpu()
        self.sure.append((probability, right))
        return right.double()

    def compute(self) -> dict[str, float]:
        """Return accuracy, and balanced accuracy: the recall of each class that occurs, averaged."""
        right, of_class = self.table.diagonal().double(), self.table.sum(dim=1).double()
        occurs = of_class > 0
        return {
            "accuracy": (right.sum() / of_class.sum()).item(),
            "balanced_accuracy": (right[occurs] / of_class[occurs]).mean().item(),
        }

    def confusion(self) -> tuple[str, NDArray[np.int64]]:
        """Return how many images of each class are said to be of each; every image is said to be of one."""
        return self.task.units, self.table.numpy().copy()

    def confidence(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of the class that is said of each image, and whether it is right."""
        probability, right = (torch.cat(part).cpu() for part in zip(*self.sure, strict=True))
        return probability.double().numpy(), right.numpy()


def _table(true: Tensor, said: Tensor, classes: int) -> Tensor:
    """Return how often each pair of classes occurs, (C, C)."""
    return torch.bincount(true * classes + said, minlength=classes**2).view(classes, classes)
