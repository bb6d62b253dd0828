"""Boxes as tensors: overlap, which anchor learns which box, offsets from anchors, and what is left of many answers.

Boxes are (x1, y1, x2, y2) in pixels of a frame; pixel i covers [i, i + 1). Where images have different numbers of boxes,
the shorter ones are padded, and the class of padding is -1. Nothing here goes through the images one by one but the
suppression of answers, and no image's numbers depend on other images.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import batched_nms

VARIANCES = (0.1, 0.2)
"""What offsets of centres and of logarithms of sides are divided by (Liu et al., SSD, ECCV 2016)."""
NEGATIVES = 3
"""Background anchors that each positive one brings into the loss; as many where an image has no object."""
_LARGEST = 4.135  # log(1000 / 16): a side is never decoded to more than 62 times its anchor's


def overlaps(some: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of boxes (…, N, 4) with boxes (…, M, 4), as (…, N, M); 0 where both are empty."""
    low = torch.maximum(some[..., :, None, :2], others[..., None, :, :2])
    high = torch.minimum(some[..., :, None, 2:], others[..., None, :, 2:])
    both = (high - low).clamp_min(0).prod(-1)
    union = areas(some)[..., :, None] + areas(others)[..., None, :] - both
    return both / union.clamp_min(torch.finfo(both.dtype).tiny)


def areas(boxes: Tensor) -> Tensor:
    """Return the area of boxes (…, 4), (…)."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0).prod(-1)


def matched(priors: Tensor, boxes: Tensor, classes: Tensor, *, least: float = 0.5) -> Tensor:
    """Return for each anchor the number of the box that it learns, (B, A) int64; -1 for background.

    A box is learned by every anchor that overlaps no other box more, by at least ``least``, and by the anchor that
    overlaps it most, whatever else that one overlaps; of two boxes with the same best anchor the later has it.

    Args:
        priors: (A, 4).
        boxes: (B, G, 4); G may be 0.
        classes: (B, G); -1 for padding.
        least: The overlap from which an anchor learns a box.
    """
    n, count = classes.shape
    if count == 0:
        return classes.new_full((n, len(priors)), -1)
    there = classes >= 0
    overlap = overlaps(priors, boxes).masked_fill(~there[:, None], -1)
    best = overlap.max(2)
    found = torch.where(best.values >= least, best.indices, -1)
    numbers = torch.where(there, torch.arange(count, device=boxes.device), -1)
    # Not by index: where several write to the same place, a GPU takes them in any order.
    claimed = torch.full_like(found, -1).scatter_reduce(1, overlap.argmax(1), numbers, "amax")
    return torch.where(claimed >= 0, claimed, found)


def encoded(boxes: Tensor, priors: Tensor) -> Tensor:
    """Return boxes (…, 4) as offsets from their anchors (…, 4)."""
    centre, side = _middle(priors)
    wanted, size = _middle(boxes)
    return torch.cat(((wanted - centre) / side / VARIANCES[0], (size / side).log() / VARIANCES[1]), -1)


def decoded(offsets: Tensor, priors: Tensor, variances: tuple[float, float] = VARIANCES) -> Tensor:
    """Return the boxes (…, 4) that offsets from anchors stand for; they may reach out of the frame."""
    centre, side = _middle(priors)
    centre = centre + offsets[..., :2] * variances[0] * side
    half = side * (offsets[..., 2:] * variances[1]).clamp_max(_LARGEST).exp() / 2
    return torch.cat((centre - half, centre + half), -1)


def _middle(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


class Lesson(NamedTuple):
    """What each anchor of B images is to say."""

    classes: Tensor
    """(B, A) int64: 0 for background, else 1 + the class."""
    offsets: Tensor
    """(B, A, 4); 0 for background."""


def lesson(priors: Tensor, boxes: Tensor, classes: Tensor) -> Lesson:
    """Return what anchors (A, 4) learn from boxes (B, G, 4) of ``classes`` (B, G), -1 for padding."""
    longest = int((classes >= 0).sum(1).max()) if classes.numel() else 0
    if classes.shape[1] and not (classes[:, longest:] >= 0).any():
        boxes, classes = boxes[:, :longest], classes[:, :longest]
    box = matched(priors, boxes, classes)
    if not classes.shape[1]:
        return Lesson(torch.zeros_like(box), boxes.new_zeros(*box.shape, 4))
    positive, index = box >= 0, box.clamp_min(0)
    wanted = boxes.gather(1, index[..., None].expand(-1, -1, 4))
    wanted = torch.where(positive[..., None], wanted, priors)
    return Lesson(torch.where(positive, classes.gather(1, index) + 1, 0), encoded(wanted, priors))


def multibox_loss(logits: Tensor, offsets: Tensor, wanted: Lesson, *, norm: str = "per_pos") -> Tensor:
    """Return the loss of SSD for each image, (B,), from logits (B, A, C + 1) and offsets (B, A, 4).

    Smooth L1 of the positive anchors' offsets, their cross entropy, and that of the `NEGATIVES` times as many background
    anchors of the same image that are most wrong; divided as `normalised` says.
    """
    positive = wanted.classes > 0
    count = positive.sum(1)
    place = F.smooth_l1_loss(offsets, wanted.offsets, reduction="none").sum(2)
    place = place.masked_fill(~positive, 0).sum(1)
    entropy = F.cross_entropy(logits.flatten(0, 1), wanted.classes.flatten(), reduction="none")
    entropy = entropy.view(positive.shape)
    hardest = entropy.masked_fill(positive, -torch.inf).sort(1, descending=True).values
    mined = (NEGATIVES * count).clamp_min(NEGATIVES).minimum(positive.shape[1] - count)
    among = torch.arange(positive.shape[1], device=count.device) < mined[:, None]
    summed = place + entropy.masked_fill(~positive, 0).sum(1) + hardest.masked_fill(~among, 0).sum(1)
    return normalised(summed, count, norm)


def normalised(summed: Tensor, count: Tensor, norm: str) -> Tensor:
    """Return losses (B,), each summed over an image's anchors, divided by what ``norm`` says; ``count`` are positive ones.

    "per_pos" is by the image's own; "batch_pos" by the mean number of them in the batch, so that the mean over images is
    the loss of the paper; "sum" by nothing.
    """
    if norm == "per_pos":
        return summed / count.clamp_min(1)
    return summed / (count.sum() / len(count)).clamp_min(1 / len(count)) if norm == "batch_pos" else summed


class Found(NamedTuple):
    """The boxes that are left of the answers for B images, at most D each, surest first."""

    boxes: Tensor
    """(B, D, 4), inside the frame."""
    scores: Tensor
    """(B, D); 0 for padding."""
    classes: Tensor
    """(B, D) int64; -1 for padding."""
    place: Tensor
    """(B, D) int64: the anchor; 0 for padding."""


def suppressed(
    scores: Tensor,
    boxes: Tensor,
    *,
    least: float = 0.05,
    candidates: int = 400,
    overlap: float = 0.45,
    most: int = 200,
) -> Found:
    """Return what is left of boxes (B, A, 4), inside the frame, with scores (B, A, C) of the classes.

    Of each class the ``candidates`` surest of at least ``least``, without those that overlap a surer one of the same
    class by more than ``overlap``; of all classes the ``most`` surest (SSD, section 2.2: 0.45 and 200).
    """
    scores, place = scores.transpose(1, 2).topk(min(candidates, scores.shape[1]), dim=2)
    number = torch.arange(scores.shape[1], device=scores.device)[:, None].expand(scores.shape[1:])
    kept = []
    for i in range(len(scores)):
        sure = scores[i] >= least
        at, score, of_class = place[i][sure], scores[i][sure], number[sure]
        left = batched_nms(boxes[i][at], score, of_class, overlap)[:most]
        kept.append((boxes[i][at[left]], score[left], of_class[left], at[left]))
    columns = list(zip(*kept, strict=True))
    return Found(_padded(columns[0]), _padded(columns[1]), _padded(columns[2], -1), _padded(columns[3]))


def _padded(parts: Sequence[Tensor], value: int = 0) -> Tensor:
    padded: Tensor = pad_sequence(list(parts), batch_first=True, padding_value=value)
    return padded


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return boxes (…, 4) without what reaches out of a frame."""
    limits = boxes.new_tensor([width, height, width, height])
    return boxes.clamp_min(0).minimum(limits)
