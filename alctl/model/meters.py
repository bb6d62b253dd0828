"""How good detections are: average precision over torchmetrics, and how often each class is found, missed or mistaken."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alctl.model.boxes import Found, areas, overlaps

LEAST = 0.5
"""The overlap from which a box is found."""
SURE = 0.5
"""The score from which a box counts in the table of classes and on an image without objects."""
HEADLINE, VOC07, COCO = "mAP@0.5", "mAP@0.5 (11 points)", "mAP@[.5:.95]"
_MOST = 200
_POINTS = 10_000


class Truth(NamedTuple):
    """The objects of B images, padded to G each."""

    boxes: Tensor
    """(B, G, 4)."""
    classes: Tensor
    """(B, G) int64; -1 for padding."""
    difficult: Tensor
    """(B, G): 1 for an object that is neither to be found nor wrong to be found (Pascal VOC's mark)."""
    crowd: Tensor
    """(B, G): 1 for many objects as one region, in which any number may be found or none (COCO's mark)."""

    @property
    def counts(self) -> Tensor:
        """Which are to be found, (B, G)."""
        return (self.classes >= 0) & (self.difficult == 0) & (self.crowd == 0)


class AveragePrecision:
    """Average precision of boxes, in three traditions; keeps the boxes of every image until it is asked.

    "mAP@0.5" is the area under the curve of precision over recall (VOC from 2010), "mAP@0.5 (11 points)" its mean at eleven
    recalls (VOC 2007, and LL4AL), "mAP@[.5:.95]" the mean over ten overlaps (COCO). A class that no image has does not
    count. As VOC has it, answers whose best box is a difficult one are left out, however many, and so is that box.
    """

    def __init__(self, names: Sequence[str], kept: int = 1 << 16) -> None:
        """Measure boxes of classes called ``names``; at most ``kept`` scores and a batch's are kept for `confidence`."""
        self.kept = kept
        self.names = tuple(names)
        self.table = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        self._said: list[dict[str, Tensor]] = []
        self._true: list[dict[str, Tensor]] = []
        self._scores: list[Tensor] = []
        self._right: list[Tensor] = []
        self._every = 1

    def update(self, found: Found, truth: Truth) -> Tensor:
        """Take in what was found on B images; return the average precision of each image by itself, (B,) float64."""
        found, truth = Found(*_longer(found)), Truth(*_longer(truth))
        found = _without_difficult(found, truth)
        hits = assigned(found, truth, same_class=True)
        there = (found.classes >= 0) & ~_in_crowd(found, truth, hits)
        self._remember(found, truth)
        self._keep_sure(found.scores[there], hits[there] >= 0)
        self._count(found, truth, there)
        return _precision_of_images(hits >= 0, there, found.scores, truth.counts.sum(1))

    def compute(self) -> dict[str, float]:
        """Return the three means, and the first for each class as "AP: name"; 0 where no image has any object."""
        at_half = self._curves([LEAST], [i / _POINTS for i in range(_POINTS + 1)], [1, 10, _MOST])[0]
        # As pycocotools makes them: torchmetrics' own are of 32 bits, so that a recall of exactly 0.3 misses one.
        coco = self._curves(
            np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0, 1, 101).tolist(), [1, 10, 100]
        )
        occurs = (at_half >= 0).all(0)
        eleven = at_half[:: _POINTS // 10]
        of_class = {f"AP: {self.names[k]}": at_half[:, k].mean().item() for k in np.flatnonzero(occurs)}
        return {
            HEADLINE: _mean(at_half[:, occurs]),
            VOC07: _mean(eleven[:, occurs]),
            COCO: _mean(coco[:, :, occurs]),
            **of_class,
        }

    def confidence(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return scores and whether a box of that class was there, of a bounded, evenly spread part of what was found."""
        if not self._scores:
            return np.zeros(0), np.zeros(0, np.bool_)
        return torch.cat(self._scores).double().numpy(), torch.cat(self._right).numpy()

    def _remember(self, found: Found, truth: Truth) -> None:
        for i in range(len(found.classes)):
            said, true = found.classes[i] >= 0, (truth.classes[i] >= 0) & (truth.difficult[i] == 0)
            boxes, scores, labels = found.boxes[i][said], found.scores[i][said], found.classes[i][said]
            self._said.append({"boxes": boxes.float(), "scores": scores.float(), "labels": labels})
            objects = {"boxes": truth.boxes[i][true].float(), "labels": truth.classes[i][true]}
            self._true.append(objects | {"iscrowd": truth.crowd[i][true].long()})

    def _keep_sure(self, scores: Tensor, right: Tensor) -> None:
        """Keep scores, and every other one of all so far as often as they become too many."""
        self._scores.append(scores[:: self._every])
        self._right.append(right[:: self._every])
        if sum(map(len, self._scores)) > self.kept:
            self._every *= 2
            self._scores, self._right = [torch.cat(self._scores)[::2]], [torch.cat(self._right)[::2]]

    def _count(self, found: Found, truth: Truth, there: Tensor) -> None:
        """Add up which class each object is taken for; the last row and column are for nothing."""
        sure = there & (found.scores >= SURE)
        hits = assigned(found._replace(classes=torch.where(sure, found.classes, -1)), truth, same_class=False)
        nothing = len(self.names)
        true = torch.where(hits >= 0, truth.classes.gather(1, hits.clamp_min(0)), nothing)
        np.add.at(self.table, (true[sure].numpy(), found.classes[sure].numpy()), 1)
        seen = torch.zeros(len(hits), truth.classes.shape[1] + 1, dtype=torch.bool)
        seen.scatter_(1, torch.where(hits >= 0, hits, truth.classes.shape[1]), value=True)
        missed = truth.classes[truth.counts & ~seen[:, :-1]]
        self.table[:nothing, nothing] += np.bincount(missed.numpy(), minlength=nothing)

    def _curves(self, least: list[float], recalls: list[float], most: list[int]) -> NDArray[np.float64]:
        """Return precision by overlap, recall and class, (T, R, K); -1 for classes that no image has."""
        from torchmetrics.detection import MeanAveragePrecision

        metric: Any = MeanAveragePrecision(
            iou_thresholds=least, rec_thresholds=recalls, max_detection_thresholds=most,
            extended_summary=True, backend="faster_coco_eval",
        )  # fmt: skip
        metric.warn_on_many_detections = False
        metric.update(self._said, self._true)
        known = np.unique([int(k) for one in self._true + self._said for k in one["labels"]]).astype(int)
        whole = np.full((len(least), len(recalls), len(self.names)), -1.0)
        if len(known):
            whole[:, :, known] = metric.compute()["precision"].double().numpy()[:, :, :, 0, -1]
        return whole


def _mean(values: NDArray[np.float64]) -> float:
    return values.mean().item() if values.size else 0.0


def _longer(padded: Found | Truth) -> Iterator[Tensor]:
    """Yield the tensors on the CPU with one more place of padding, so that no image has none."""
    for name, value in zip(padded._fields, padded, strict=True):
        more = value.new_full((len(value), 1, *value.shape[2:]), -1 if name == "classes" else 0)
        yield torch.cat((value, more), 1).cpu()


def assigned(found: Found, truth: Truth, *, same_class: bool) -> Tensor:
    """Return for each answer the number of the object that it finds, (B, D) int64; -1 if it finds none.

    The surest answer comes first; it takes the object that it overlaps most, by at least `LEAST`, of those that count
    and were not taken.
    """
    hits = torch.full_like(found.classes, -1)
    overlap = overlaps(found.boxes, truth.boxes).masked_fill(~truth.counts[:, None], -1)
    if same_class:
        overlap = overlap.masked_fill(found.classes[:, :, None] != truth.classes[:, None], -1)
    overlap = overlap.masked_fill((found.classes < 0)[:, :, None], -1)
    for d in range(found.classes.shape[1]):
        best = overlap[:, d].max(1)
        taken = best.values >= LEAST
        hits[taken, d] = best.indices[taken]
        overlap[taken, :, best.indices[taken]] = -1
    return hits


def _without_difficult(found: Found, truth: Truth) -> Found:
    """Leave out the answers that overlap no object of their class more than a difficult one, by at least `LEAST`."""
    if not truth.difficult.any():
        return found
    other = found.classes[:, :, None] != truth.classes[:, None]
    best = overlaps(found.boxes, truth.boxes).masked_fill(other, -1).max(2)
    drop = (best.values >= LEAST) & (truth.difficult.gather(1, best.indices) != 0)
    return found._replace(classes=torch.where(drop, -1, found.classes))


def _in_crowd(found: Found, truth: Truth, hits: Tensor) -> Tensor:
    """Return which answers find nothing, but lie by half in a crowd of their class, (B, D)."""
    crowd = (truth.crowd != 0) & (truth.classes >= 0)
    if not crowd.any():
        return torch.zeros_like(hits, dtype=torch.bool)
    low = torch.maximum(found.boxes[:, :, None, :2], truth.boxes[:, None, :, :2])
    high = torch.minimum(found.boxes[:, :, None, 2:], truth.boxes[:, None, :, 2:])
    share = areas(torch.cat((low, high), -1)) / areas(found.boxes)[:, :, None].clamp_min(1e-9)
    same = crowd[:, None] & (found.classes[:, :, None] == truth.classes[:, None])
    return (hits < 0) & ((share >= LEAST) & same).any(2)


def _precision_of_images(right: Tensor, there: Tensor, scores: Tensor, objects: Tensor) -> Tensor:
    """Return the area under each image's curve; without objects 1 if nothing sure is said of it, else 0."""
    right = right & there
    precision = right.cumsum(1) / there.cumsum(1).clamp_min(1)
    highest = precision.double().flip(1).cummax(1).values.flip(1)
    area = (highest * right).sum(1) / objects.clamp_min(1)
    silent = ~(there & (scores >= SURE)).any(1)
    return torch.where(objects > 0, area, silent.double())
