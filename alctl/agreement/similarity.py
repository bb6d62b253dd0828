"""Measure how alike two people's objects in one image are, from 0 to 1, for boxes, poses and segmentations.

Objects of a class are paired so that the pairs' likenesses add up to the most (the Hungarian method); a pair counts
from `NEEDED` on. With the likeness of a pair l, the likeness of two sets is 2 Σ l / (objects of one + of the other):
the panoptic quality of Kirillov et al. (CVPR 2019), that is F1 of the pairing times their mean likeness. Two empty sets
are alike. Objects that are crowds are no single objects and are left out.

- Boxes: intersection over union (IoU).
- Poses: object keypoint similarity (OKS), as COCO defines it, made symmetric: a point that only one of both has counts
  as 0, and the scale is the geometric mean of both boxes' areas.
- Segmentations: no pairing; the IoU of each class's pixels, averaged over the classes that either of both has.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from alctl.labels import rle, shapes
from alctl.labels.annotation import RLE, Annotation
from alctl.labels.rle import inside

Floats = NDArray[np.float64]
Objects = Sequence[tuple[Annotation, int]]
"""What one person drew in an image, each with the id of its class."""

NEEDED = 0.5
"""Likeness from which on two objects are the same one."""
SIGMA = 0.05
"""Spread of a keypoint where nobody has measured it: between COCO's eyes (0.025) and wrists (0.062)."""
COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip
"""Spread of each of COCO's keypoints of people, from its evaluation code."""
COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


class Part(NamedTuple):
    """What two people's objects of one class, or of all, have in common."""

    pairs: int = 0
    """Objects that both have; for a segmentation 1 if both have the class."""
    alike: float = 0.0
    """The sum of the pairs' likenesses."""
    objects: int = 0
    """Of one and of the other together; for a segmentation 2."""

    def plus(self, other: "Part") -> "Part":
        """Return both together."""
        return Part(self.pairs + other.pairs, self.alike + other.alike, self.objects + other.objects)

    @property
    def f1(self) -> float | None:
        """How many of the objects are in a pair; None without any."""
        return 2 * self.pairs / self.objects if self.objects else None

    @property
    def mean(self) -> float | None:
        """The mean likeness of the pairs; None without any."""
        return self.alike / self.pairs if self.pairs else None


@dataclass(frozen=True)
class Comparison:
    """How alike two sets of objects are."""

    classes: Mapping[int, Part]
    confused: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Pairs of objects in the same place whose classes differ: class of one, class of the other."""

    @property
    def whole(self) -> Part:
        """All classes together."""
        total = Part()
        for part in self.classes.values():
            total = total.plus(part)
        return total

    @property
    def value(self) -> float:
        """The likeness of the two sets, in [0, 1]."""
        whole = self.whole
        return 2 * whole.alike / whole.objects if whole.objects else 1.0


LIKENESS = {"detection": "mean_iou", "segmentation": "mean_iou", "pose": "mean_oks"}
"""What the mean likeness of objects is called."""


def mean_likeness(task: str, part: Part) -> float | None:
    """Return the mean likeness of paired objects; of a segmentation, the mean IoU of the classes that either has."""
    if task == "segmentation":
        return 2 * part.alike / part.objects if part.objects else None
    return part.mean


def compared(
    task: str, one: Objects, other: Objects, size: tuple[int, int], keypoints: Mapping[int, Sequence[str]]
) -> Comparison:
    """Compare two people's objects in an image of ``size`` (height, width); ``keypoints`` has the names of each class's."""
    if task == "segmentation":
        return _of_pixels(one, other, size)
    one, other = _single(one), _single(other)
    overlaps = iou(_boxes(one), _boxes(other))
    ids_one, ids_other = (np.array([id_ for _, id_ in some], dtype=np.int64) for some in (one, other))
    classes = {}
    for id_ in sorted({*ids_one.tolist(), *ids_other.tolist()}):
        rows, columns = np.flatnonzero(ids_one == id_), np.flatnonzero(ids_other == id_)
        alike = overlaps[np.ix_(rows, columns)]
        if task == "pose":
            own = [one[i][0] for i in rows.tolist()], [other[i][0] for i in columns.tolist()]
            alike = oks(*own, alike, _sigmas(keypoints.get(id_, ())))
        found = paired(alike)
        classes[id_] = Part(len(found), float(alike[tuple(found.T)].sum()), len(rows) + len(columns))
    confused = Counter(
        (int(ids_one[i]), int(ids_other[j])) for i, j in paired(overlaps) if ids_one[i] != ids_other[j]
    )
    return Comparison(classes, confused)


def paired(alike: Floats) -> NDArray[np.int64]:
    """Return which rows of (A, B) likenesses belong to which columns, shape (pairs, 2); none below `NEEDED`."""
    good = np.where(alike >= NEEDED, alike, 0.0)
    rows, columns = linear_sum_assignment(good, maximize=True)
    kept = good[rows, columns] > 0
    return np.stack([rows[kept], columns[kept]], axis=1).astype(np.int64)


def _single(objects: Objects) -> Objects:
    return [(shapes.boxed(annotation), id_) for annotation, id_ in objects if not annotation.crowd]


def _boxes(objects: Objects) -> Floats:
    """Return left, top, right, bottom of each object, shape (n, 4), around its labeled keypoints if it has no box."""
    found = np.zeros((len(objects), 4))
    for i, (annotation, _) in enumerate(objects):
        box = annotation.bbox
        if box is None:
            points = [number for x, y, v in annotation.keypoints if v for number in (x, y)]
            box = shapes.box_around(points) if points else (0.0, 0.0, 0.0, 0.0)
        found[i] = (box[0], box[1], box[0] + box[2], box[1] + box[3])
    return found


def iou(one: Floats, other: Floats) -> Floats:
    """Return the intersection over union of each box of (A, 4) with each of (B, 4) corners, shape (A, B)."""
    top_left = np.maximum(one[:, None, :2], other[None, :, :2])
    bottom_right = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(bottom_right - top_left, 0, None).prod(axis=2)
    union = _areas(one)[:, None] + _areas(other)[None, :] - common
    found: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _sigmas(names: Sequence[str]) -> Floats:
    """Return the spread of each keypoint of a class: COCO's for COCO's people."""
    known = tuple(name.strip().lower().replace(" ", "_") for name in names) == COCO_KEYPOINTS
    return np.array(COCO_SIGMAS) if known else np.full(len(names), SIGMA)


def oks(one: Sequence[Annotation], other: Sequence[Annotation], overlaps: Floats, sigmas: Floats) -> Floats:
    """Return the object keypoint similarity of each of A with each of B, shape (A, B).

    OKS = Σ exp(-d² / (2 area (2 σ)²)) / points, over the points that either has; without any it is the boxes' IoU,
    ``overlaps`` (A, B).
    """
    if not one or not other:
        return overlaps
    count = max(len(annotation.keypoints) for annotation in (*one, *other))
    spread = np.full(count, SIGMA)
    spread[: len(sigmas)] = sigmas[:count]
    (a, seen_a), (b, seen_b) = _points(one, count), _points(other, count)
    areas = [
        np.maximum(_areas(_boxes([(annotation, 0) for annotation in some])), 1.0) for some in (one, other)
    ]
    area = np.sqrt(areas[0][:, None] * areas[1][None, :])
    squared = ((a[:, None] - b[None, :]) ** 2).sum(axis=3)
    likeness = np.exp(-squared / (2 * area[:, :, None] * (2 * spread) ** 2))
    both, either = seen_a[:, None] & seen_b[None, :], seen_a[:, None] | seen_b[None, :]
    points = either.sum(axis=2)
    found: Floats = np.where(points > 0, (likeness * both).sum(axis=2) / np.maximum(points, 1), overlaps)
    return found


def _points(annotations: Sequence[Annotation], count: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the keypoints of each, (n, count, 2), and which of them are labeled, (n, count)."""
    found = np.zeros((len(annotations), count, 3))
    for i, annotation in enumerate(annotations):
        if annotation.keypoints:
            found[i, : len(annotation.keypoints)] = annotation.keypoints
    return found[:, :, :2], found[:, :, 2] > 0


def _of_pixels(one: Objects, other: Objects, size: tuple[int, int]) -> Comparison:
    ids = sorted({id_ for some in (one, other) for _, id_ in some})
    places = {id_: place for place, id_ in enumerate(ids, start=1)}
    n = len(ids) + 1
    first, second = (painted(some, places, size) for some in (one, other))
    table = np.bincount((first.astype(np.int64) * n + second).ravel(), minlength=n * n).reshape(n, n)
    classes = {}
    for id_, place in places.items():
        common, union = table[place, place], table[place].sum() + table[:, place].sum() - table[place, place]
        if union:
            both = bool(table[place].sum() and table[:, place].sum())
            classes[id_] = Part(int(both), float(common / union), 2)
    return Comparison(classes)


def painted(objects: Objects, places: Mapping[int, int], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Return (height, width) with the place of the class of each pixel, 0 where there is none; later objects cover earlier ones."""
    picture = np.zeros(size, dtype=np.uint16)
    for annotation, id_ in objects:
        if isinstance(annotation.segmentation, RLE):
            mask = rle.to_mask(annotation.segmentation)[: size[0], : size[1]]
            picture[: mask.shape[0], : mask.shape[1]][mask] = places[id_]
        for polygon in annotation.segmentation if isinstance(annotation.segmentation, tuple) else ():
            _paint(picture, polygon, places[id_])
    return picture


def _paint(picture: NDArray[np.uint16], polygon: Sequence[float], place: int) -> None:
    """Fill a polygon, looking only at the pixels around it."""
    points = np.asarray(polygon, dtype=float).reshape(-1, 2)
    limits = picture.shape[1], picture.shape[0]
    low = np.clip(np.floor(points.min(axis=0)).astype(int), 0, np.array(limits) - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int), low + 1, limits)
    window = picture[low[1] : high[1], low[0] : high[0]]
    window[inside((points - low).ravel().tolist(), (window.shape[0], window.shape[1]))] = place
