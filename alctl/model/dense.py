"""RetinaNet and FCOS on a feature pyramid of ResNet-50 as target models, with their losses for each image.

Both say for each class whether it is there, by a sigmoid: a network gives "sigmoids" (B, A, C), "offsets" (B, A, 4), "priors"
(B, A, 4), the anchors in pixels of the frame, and FCOS also "centres" (B, A), how near a place is to its object's middle.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from alctl.model.boxes import areas, decoded, overlaps
from alctl.model.ssd import map_sizes
from alctl.model.tensors import Frame

UNIT = (1.0, 1.0)
"""RetinaNet's offsets are divided by nothing."""
OBJECT, BACKGROUND = 0.5, 0.4
"""RetinaNet: an anchor learns a box from the one overlap on, and nothing below the other (Lin et al. 2017, section 4)."""
RADIUS = 1.5
"""FCOS: places learn an object within so many strides of its middle (Tian et al. 2020, section 3)."""
TAPS = (
    *(f"backbone.fpn.layer_blocks.{i}" for i in range(3)),
    "backbone.fpn.extra_blocks.p6",
    "backbone.fpn.extra_blocks.p7",
)
BETWEEN = -2


class Dense(nn.Module):
    """A feature pyramid with a head of torchvision's that is the same on all of its maps."""

    priors: Tensor
    """(A, 4) in pixels of the frame; in no file of weights, since it follows from the frame."""

    def __init__(self, backbone: nn.Module, head: nn.Module, priors: Tensor) -> None:
        super().__init__()
        self.taps = TAPS
        self.backbone = backbone
        self.head = head
        self.register_buffer("priors", priors, persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return what there is at each anchor of (B, 3, *frame) images."""
        said = self.head(list(self.backbone(images).values()))
        raw = {
            "sigmoids": said["cls_logits"],
            "offsets": said["bbox_regression"],
            "priors": self.priors.expand(len(images), -1, -1),
        }
        return raw | ({"centres": said["bbox_ctrness"][..., 0]} if "bbox_ctrness" in said else {})


def retinanet(classes: int, frame: Frame, *, backbone: nn.Module | None = None) -> Dense:
    """Return RetinaNet with group normalisation in its head (torchvision's second version)."""
    maps = _pyramid(backbone, LastLevelP6P7(2048, 256))
    head = RetinaNetHead(256, 9, classes, norm_layer=partial(nn.GroupNorm, 32))
    sizes = tuple(tuple(int(side * 2 ** (k / 3)) for k in range(3)) for side in (32, 64, 128, 256, 512))
    return Dense(maps, head, _anchors(maps, frame, sizes, (0.5, 1.0, 2.0)))


def fcos(classes: int, frame: Frame, *, backbone: nn.Module | None = None) -> Dense:
    """Return FCOS, whose anchors are places: squares as wide as the stride."""
    maps = _pyramid(backbone, LastLevelP6P7(256, 256))
    return Dense(
        maps, FCOSHead(256, 1, classes), _anchors(maps, frame, ((8,), (16,), (32,), (64,), (128,)), (1.0,))
    )


def _pyramid(backbone: nn.Module | None, extra: nn.Module) -> Any:
    """Return a pyramid whose batch normalisation learns; the maps are at strides 8 to 128."""
    made = backbone or resnet50(weights=None)
    return _resnet_fpn_extractor(made, 5, returned_layers=[2, 3, 4], extra_blocks=extra)


def _anchors(
    maps: nn.Module, frame: Frame, sizes: tuple[tuple[int, ...], ...], ratios: tuple[float, ...]
) -> Tensor:
    """Return torchvision's anchors (A, 4) for a frame."""
    grids = map_sizes(maps, frame)[0]
    with torch.device("cpu"):
        generator = AnchorGenerator(sizes, (ratios,) * len(sizes))
        strides = [
            [torch.tensor(frame[0] // height), torch.tensor(frame[1] // width)] for height, width in grids
        ]
        found: list[Tensor] = generator.grid_anchors([list(grid) for grid in grids], strides)
        return torch.cat(found)


def retinanet_loss(raw: dict[str, Tensor], boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed loss of each image, (B,), and how many anchors learn an object, (B,).

    Focal loss of all anchors that are not between object and background, and the generalised overlap of objects' boxes.
    """
    priors = raw["priors"][0]
    match = _retinanet_matches(priors, boxes, classes)
    wanted, positive = _wanted(priors, boxes, match)
    focal = _focal(raw["sigmoids"], classes, match).masked_fill((match == BETWEEN)[..., None], 0)
    found = decoded(raw["offsets"], priors, UNIT)
    place = _of_positive(generalized_box_iou_loss(found, wanted), positive)
    return focal.sum((1, 2)) + place, positive.sum(1)


def _retinanet_matches(priors: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Return the number of the box that each anchor learns, (B, A); `BETWEEN` for those that learn nothing at all."""
    if not classes.shape[1]:
        return classes.new_full((len(classes), len(priors)), -1)
    there = (classes >= 0)[:, None]
    overlap = overlaps(priors, boxes).masked_fill(~there, -1)
    best = overlap.max(2)
    nearest = ((overlap == overlap.amax(1, keepdim=True)) & there).any(2)
    unsure = torch.where(best.values >= BACKGROUND, BETWEEN, -1)
    return torch.where((best.values >= OBJECT) | nearest, best.indices, unsure)


def fcos_loss(raw: dict[str, Tensor], boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed loss of each image, (B,), and how many places learn an object, (B,).

    Focal loss of all places; of those in an object the generalised overlap of its box, and how central they are.
    """
    priors = raw["priors"][0]
    match = _fcos_matches(priors, boxes, classes)
    wanted, positive = _wanted(priors, boxes, match)
    place = generalized_box_iou_loss(fcos_boxes(raw), wanted)
    sides = _distances((priors[:, :2] + priors[:, 2:]) / 2, wanted[:, :, None])[:, :, 0].clamp_min(0)
    shares = [sides[..., k::2].amin(-1) / sides[..., k::2].amax(-1).clamp_min(1e-9) for k in (0, 1)]
    central = (shares[0] * shares[1]).sqrt()
    middle = F.binary_cross_entropy_with_logits(raw["centres"], central, reduction="none")
    summed = _focal(raw["sigmoids"], classes, match).sum((1, 2)) + _of_positive(place + middle, positive)
    return summed, positive.sum(1)


def fcos_boxes(raw: dict[str, Tensor]) -> Tensor:
    """Return the boxes (B, A, 4) that FCOS's offsets stand for: distances to each side, in strides."""
    priors = raw["priors"]
    middle, side = (priors[..., :2] + priors[..., 2:]) / 2, priors[..., 2:] - priors[..., :2]
    reach = raw["offsets"] * side.repeat(1, 1, 2)
    return torch.cat((middle - reach[..., :2], middle + reach[..., 2:]), -1)


def _fcos_matches(priors: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Return the number of the smallest box in whose middle, and range of sizes, each place lies, (B, A); else -1."""
    if not classes.shape[1]:
        return classes.new_full((len(classes), len(priors)), -1)
    stride = priors[:, 2] - priors[:, 0]
    middle, centre = (priors[:, :2] + priors[:, 2:]) / 2, (boxes[..., :2] + boxes[..., 2:]) / 2
    near = (middle[:, None] - centre[:, None]).abs().amax(-1) < RADIUS * stride[:, None]
    reach = _distances(middle, boxes[:, None])
    least = torch.where(stride == stride.amin(), 0, 4 * stride)[:, None]
    most = torch.where(stride == stride.amax(), torch.inf, 8 * stride)[:, None]
    largest = reach.amax(-1)
    fits = near & (reach.amin(-1) > 0) & (largest > least) & (largest < most) & (classes >= 0)[:, None]
    best = areas(boxes)[:, None].expand(fits.shape).masked_fill(~fits, torch.inf).min(2)
    return torch.where(best.values.isfinite(), best.indices, -1)


def _distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Return how far boxes' left, upper, right and lower sides are from points (A, 2), (…, A, M, 4); below 0 outside."""
    return torch.cat((points[:, None] - boxes[..., :2], boxes[..., 2:] - points[:, None]), -1)


def _wanted(priors: Tensor, boxes: Tensor, match: Tensor) -> tuple[Tensor, Tensor]:
    """Return the box that each anchor is to find, (B, A, 4), its own where there is none, and whether there is one."""
    positive = match >= 0
    if not boxes.shape[1]:
        return priors.expand(len(boxes), -1, -1), positive
    found = boxes.gather(1, match.clamp_min(0)[..., None].expand(-1, -1, 4))
    return torch.where(positive[..., None], found, priors), positive


def _focal(logits: Tensor, classes: Tensor, match: Tensor) -> Tensor:
    """Return the focal loss (B, A, C) of saying the classes of the matched boxes, and no other."""
    target = torch.zeros_like(logits)
    if classes.shape[1]:
        of_class = classes.gather(1, match.clamp_min(0)).clamp_min(0)[..., None]
        target.scatter_(2, of_class, (match >= 0)[..., None].to(logits.dtype))
    loss: Tensor = sigmoid_focal_loss(logits, target)
    return loss


def _of_positive(loss: Tensor, positive: Tensor) -> Tensor:
    return loss.masked_fill(~positive, 0).sum(1)


def probabilities(raw: dict[str, Tensor]) -> Tensor:
    """Return (B, A, C + 1) that sum to 1: each class as its sigmoid says, and nothing with what is left, if anything is."""
    p = raw["sigmoids"].float().sigmoid()
    if "centres" in raw:
        p = (p * raw["centres"].float().sigmoid()[..., None]).sqrt()
    p = p / p.sum(-1, keepdim=True).clamp_min(1)
    return torch.cat((p, (1 - p.sum(-1, keepdim=True)).clamp_min(0)), -1)
