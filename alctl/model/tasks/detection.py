"""Detection: objects of known classes, each in an upright box."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alctl.config import TrainConfig
from alctl.errors import AlctlError
from alctl.labels.annotation import Annotation
from alctl.labels.shapes import boxed
from alctl.model import detectors, warps
from alctl.model.boxes import Found, suppressed
from alctl.model.loss_prediction import TargetModel
from alctl.model.meters import HEADLINE, AveragePrecision, Truth
from alctl.model.ssd import TINY
from alctl.model.task import Meter, Task
from alctl.model.tensors import Distributions, Raw, Size, Target, Targets
from alctl.plugins import unknown

PAPERS = "ssd300_vgg16"
SMALL = 200
"""Height or width of a frame, in pixels, below which `Detection.crops` is mild by itself."""
FEWEST = 20
"""Anchors that an image's distributions are of where no box is left: those that are most likely an object."""


@dataclass(frozen=True)
class Detection(Task):
    """Images with any number of objects; the target is "boxes", "classes", and the marks "difficult" and "crowd"."""

    labels: ClassVar[str] = "detection"
    units: ClassVar[str] = "boxes"
    defaults: ClassVar[Mapping[str, Any]] = {"batch_size": 32}
    padding: ClassVar[Mapping[str, float]] = {"classes": -1}

    loss_norm: Literal["per_pos", "batch_pos", "sum"] = "per_pos"
    """What an image's loss is divided by: see `boxes.multibox_loss`."""
    crops: Literal["auto", "ssd", "mild"] = "auto"
    """How much training zooms: as SSD does, or mildly; auto: mildly in frames that are less than `SMALL` high or wide."""

    @classmethod
    def choose(cls, config: TrainConfig, largest: Size) -> tuple[TrainConfig, str]:
        """Take the paper's network, or on a CPU one that learns there in minutes; its input, rate and epochs are its own."""
        why = ""
        if config.model == "auto":
            slow = config.device == "cpu"
            config = replace(config, model=TINY if slow else PAPERS)
            why = (
                f"{TINY} finds objects on a CPU; {PAPERS} would take about 6 s an image here" if slow else ""
            )
        found, sgd = detectors.named(config.model), config.optimizer == "sgd"
        lr, epochs = config.lr or (found.lr if sgd else 0), config.epochs or found.epochs
        return replace(config, image_size=config.image_size or found.side, lr=lr, epochs=epochs), why

    @property
    def metric(self) -> str:
        """Mean average precision at an overlap of one half."""
        return HEADLINE

    def encode_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the whole image squeezed into the frame, as SSD does, as (3, H, W) RGB."""
        height, width = self.frame
        squeezed = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(squeezed).transpose(2, 0, 1))

    def encode_target(self, annotations: Sequence[Annotation], size: Size) -> Target:
        """Return the objects' boxes in pixels of the frame; an image without any teaches that nothing is there.

        Objects with an outline but without a box have the box around it. No side is less than a pixel.
        """
        found = [boxed(annotation) for annotation in annotations]
        for annotation in found:
            if annotation.bbox is None:
                raise AlctlError(f"detection needs boxes, but {annotation.category!r} is a class without one")
            if annotation.category not in self.names:
                raise AlctlError(unknown(annotation.category, self.names, "classes"))
        corners = np.array([annotation.bbox for annotation in found], np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        frame = np.array([self.frame[1], self.frame[0]])
        corners = (corners.reshape(-1, 2, 2) * (frame / size)).clip(0, frame)
        grown = (
            (1 - (corners[:, 1] - corners[:, 0])).clip(min=0)[:, None] / 2 * np.array([[[-1]], [[1]]])[:, 0]
        )
        return {
            "boxes": (corners + grown).reshape(-1, 4).astype(np.float32),
            "classes": np.array([self.names.index(one.category) for one in found], np.int64),
            "difficult": np.array([one.difficult for one in found], np.uint8),
            "crowd": np.array([one.crowd for one in found], np.uint8),
        }

    def check(self, targets: Targets) -> str:
        """Refuse images without any object."""
        if (targets["classes"] >= 0).any():
            return ""
        return f"none of the {len(targets['classes'])} labeled images has an object; training needs some"

    def model(self, config: TrainConfig, weights: str) -> TargetModel:
        """Build one of `detectors.NETWORKS`."""
        return detectors.build(config, weights, len(self.categories), self.frame)

    def fine_tunes(self, config: TrainConfig) -> bool:
        """Tell whether there is a file of weights, or pretrained ones for what the network is made of."""
        own = config.weights in {"auto", "pretrained", "none"}
        return not own or (config.weights != "none" and bool(detectors.named(config.model).backbone))

    def augment(self, images: Tensor, targets: Targets, rng: torch.Generator) -> tuple[Tensor, Targets]:
        """Change light, show a window of each and, with `flip`, mirror half of them (SSD, section 2.2)."""
        if self.crops == "ssd" or (self.crops == "auto" and min(self.frame) >= SMALL):
            shown = warps.ssd_windows(targets["boxes"].cpu(), targets["classes"].cpu(), self.frame, rng)
        else:
            shown = warps.mild_windows(len(images), self.frame, rng)
        mirrored = (torch.rand(len(images), generator=rng) < 0.5) & self.flip
        maps = warps.window(shown, self.frame, mirrored).to(images.device)
        images = warps.warped_images(warps.recoloured(images, rng), maps, self.frame)
        seen = warps.seen_objects(targets["boxes"], targets["classes"], maps, self.frame, self.frame)
        return images, targets | {"boxes": seen.boxes, "classes": seen.classes}

    def loss(self, raw: Raw, targets: Targets) -> Tensor:
        """Return the loss of each image, (B,), of all objects that are no crowds."""
        classes = detectors.first_of(targets["classes"], self.merged)
        classes = torch.where(targets["crowd"] != 0, -1, classes)
        return detectors.loss(raw, targets["boxes"], classes, self.loss_norm)

    def distributions(self, raw: Raw, like: Distributions | None = None) -> Distributions:
        """Return the distributions of the boxes that are left, (B, M, C + 1), the last for nothing; each counts the same."""
        p, boxes = self._answer(raw)
        if like is not None:
            return like._replace(p=_at(p, like.place))
        found = suppressed(p[..., :-1], boxes)
        likely = p[..., :-1].sum(-1).topk(min(FEWEST, p.shape[1]), dim=1).indices
        count = (found.classes >= 0).sum(1)
        length = max(found.classes.shape[1], likely.shape[1])
        places = [
            torch.nn.functional.pad(some, (0, length - some.shape[1])) for some in (found.place, likely)
        ]
        place = torch.where((count > 0)[:, None], places[0], places[1])
        number = torch.where(count > 0, count, likely.shape[1])[:, None]
        weight = (torch.arange(length, device=p.device) < number) / number
        return Distributions(_at(p, place), weight, place)

    def decode(self, raw: Raw, sizes: Sequence[Size], *, sure: float = 0.5) -> list[tuple[Annotation, ...]]:
        """Return the boxes of at least ``sure``, surest first, to a hundredth of a pixel of the original images."""
        found = self.found(raw, least=sure)
        decoded = []
        for boxes, classes, size in zip(found.boxes.cpu(), found.classes.cpu(), sizes, strict=True):
            scale = torch.tensor([size[0] / self.frame[1], size[1] / self.frame[0]] * 2)
            x1, y1, x2, y2 = (boxes[classes >= 0].double() * scale).unbind(1)
            rounded = torch.stack((x1, y1, x2 - x1, y2 - y1), 1).mul(100).round().div(100)
            pairs = zip(classes[classes >= 0].tolist(), rounded.tolist(), strict=True)
            decoded.append(
                tuple(
                    Annotation(self.names[k], bbox=(x, y, w, h))
                    for k, (x, y, w, h) in pairs
                    if w > 0 and h > 0
                )
            )
        return decoded

    def meter(self) -> "BoxMeter":
        """Measure average precision in three traditions."""
        return BoxMeter(self)

    def found(self, raw: Raw, *, least: float) -> Found:
        """Return the boxes of at least a score that are left of what the network says."""
        p, boxes = self._answer(raw)
        return suppressed(p[..., :-1], boxes, least=least)

    def truth(self, targets: Targets) -> Truth:
        """Return the objects of targets, merged classes as the first of them."""
        classes = detectors.first_of(targets["classes"], self.merged)
        return Truth(targets["boxes"], classes, targets["difficult"], targets["crowd"])

    def _answer(self, raw: Raw) -> detectors.Answer:
        answer = detectors.answer(raw, self.frame)
        return answer._replace(p=detectors.folded(answer.p, self.merged))


def _at(p: Tensor, place: Tensor) -> Tensor:
    """Return the distributions (B, M, C) at places (B, M) of all (B, A, C)."""
    return p.gather(1, place[..., None].expand(-1, -1, p.shape[2]))


class BoxMeter(Meter):
    """Measures what is left of each image's boxes, down to a score of 0.01, against its objects."""

    LEAST = 0.01

    def __init__(self, task: Detection) -> None:
        self.task = task
        self.measured = AveragePrecision(task.names)

    def update(self, raw: Raw, targets: Targets) -> Tensor:
        """Take in a batch; return the average precision of each image by itself, (B,)."""
        return self.measured.update(self.task.found(raw, least=self.LEAST), self.task.truth(targets))

    def compute(self) -> dict[str, float]:
        """Return the mean average precision in three traditions, and that of each class."""
        return self.measured.compute()

    def confusion(self) -> tuple[str, NDArray[np.int64]]:
        """Return how many boxes of each class are said to be of each, and how many are missed or invented."""
        return self.task.units, self.measured.table

    def confidence(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return scores, and whether an object of that class was there."""
        return self.measured.confidence()
